"""What a weight file holds, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Contents:
    """The tensors of one file by the names the file has for them, in its order.

    ``metadata`` is plain text that the file carries; ``described`` what it says of its recurrent
    layers beside their tensors (Keras' configuration, ONNX' attributes), by the layer's path;
    ``aside`` names what is in the file and is no tensor of numbers; ``unread`` are tensors that
    are there and whose numbers cannot be had, each with the reason: a layer that has one is
    refused. ``notes`` say what was done to tensors on the way.
    """

    format: str
    tensors: Mapping[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def widen_bfloat16(raw: Array) -> Array:
    """float32 of bfloat16 given as uint16: the same numbers, exactly."""
    return (raw.astype(np.uint32) << 16).view(np.float32)
