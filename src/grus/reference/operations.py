"""What each operator means on NumPy arrays, from its record.

A vector is an array [..., axis]; a weight matrix is [rows, columns], so W @ v is ``v @ W.T``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import OPERATORS

Array = Any


@dataclass(frozen=True)
class Operations:
    """An array library as the evaluator sees it: operators by name, and what sequences need."""

    name: str
    table: Mapping[str, Callable[..., Array]]
    where: Callable[[Array, Array, Array], Array]
    stack: Callable[[list[Array]], Array]
    zeros_like: Callable[[Array], Array]


NUMPY = Operations(
    name="numpy",
    table={name: op.on(np) for name, op in OPERATORS.items()},
    where=np.where,
    stack=np.stack,
    zeros_like=np.zeros_like,
)
