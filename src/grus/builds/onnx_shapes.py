"""Shapes that an ONNX graph computes: their parts are numbers or the names of a tensor's axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.builds.flow import FEATURES, Axes, Flow
from grus.errors import InputError

DIRECTION = "direction"
"""The axis of a recurrent node's output that has one place for each direction."""
MERGED = "steps of all rows"
FILLED = ("Expand", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Tile", "Split",
          "Identity", "Cast")  # fmt: skip
"""What gives zeros where its first input is zeros."""
ALIKE = ("Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast")
"""What leaves the parts of a shape as they are."""
LONGEST = 8
Part = int | str


@dataclass(frozen=True)
class Shape:
    """What no layer gave and is no number of the file: a shape by its ``parts``, None where they
    are not followed; zeros (``zero``); an input of the graph beside the first (``argument``)."""

    parts: tuple[Part, ...] | None = None
    zero: bool = False
    argument: bool = False


def of_flow(flow: Flow) -> tuple[Part, ...]:
    """The shape of a tensor."""
    known = {FEATURES: flow.chain.outputs or FEATURES, DIRECTION: 1}
    return tuple(known.get(axis, axis) for axis in flow.known)


def of_shapes(kind: str, values: Sequence[Any], node: Any) -> Shape:
    """What an operator gives of shapes and numbers."""
    if kind == "ConstantOfShape":
        fill = [a.t for a in node.attribute if a.name == "value"]
        return Shape(zero=not any(t.raw_data.strip(b"\0") or any(t.float_data) for t in fill))
    zeros = [_is_zeros(value) for value in values]
    zero = all(zeros) if kind == "Concat" else kind in FILLED and bool(zeros[:1] == [True])
    return Shape(_computed(kind, [_parts(value) for value in values]), zero)


def _computed(kind: str, parts: list[tuple[Part, ...] | None]) -> tuple[Part, ...] | None:
    whole = [part for part in parts if part is not None]
    if not whole or len(whole) < len(parts):
        return None
    first, numbers = whole[0], [[n for n in p if isinstance(n, int)] for p in whole]
    shape: tuple[Part, ...] | None = None
    if kind in ALIKE:
        shape = first
    elif kind == "Concat":
        shape = tuple(n for part in whole for n in part)
    elif kind == "Gather" and len(whole) == 2:
        shape = tuple(first[n] for n in numbers[1] if -len(first) <= n < len(first))
    elif kind == "Slice" and len(whole) >= 3 and numbers[3:] in ([], [[0]], [[0], [1]]):
        shape = first[numbers[1][0] : numbers[2][0]] if numbers[1] and numbers[2] else None
    elif kind == "Mul" and [len(n) for n in numbers] == [1, 1]:
        shape = (numbers[0][0] * numbers[1][0],)
    return shape


def _parts(value: Any) -> tuple[Part, ...] | None:
    if isinstance(value, Shape):
        return value.parts
    small = isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.size <= LONGEST
    return tuple(value.ravel().tolist()) if small else None


def _is_zeros(value: Any) -> bool:
    if isinstance(value, Shape):
        return value.zero
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and not value.any()


def reshaped(
    path: str,
    flow: Flow,
    shape: Sequence[Any],
    attributes: Mapping[str, Any],
    sizes: Mapping[str, int],
) -> Axes:
    """The axes after a Reshape to ``shape``, a node's further input or its attribute; ``sizes`` are
    those of axes that are known. Raises InputError where numbers change steps."""
    parts = _parts(shape[0]) if shape else tuple(attributes.get("shape", ()))
    before = [axis for axis in flow.known if axis != DIRECTION]
    if parts is not None and not (attributes.get("allowzero") and 0 in parts):
        target = [_axis(part, k, flow, sizes) for k, part in enumerate(parts)]
        if target.count(-1) == 1 and len(target) == len(before):
            rest = [axis for axis in before if axis not in target]
            target[target.index(-1)] = rest[0] if len(rest) == 1 else -1
        if target == before:
            return tuple(before)
        if target == [-1, FEATURES] and before[-1] == FEATURES:
            return MERGED, FEATURES
    raise InputError(f"{path}: Reshape moves numbers from one step to another: build without it")


def _axis(part: Part, place: int, flow: Flow, sizes: Mapping[str, int]) -> Part:
    """The axis that a part of a new shape is; itself where it is none."""
    axes = flow.known
    if part == 0 and place < len(axes):
        return axes[place]
    if part == flow.chain.outputs:
        return FEATURES
    if place < len(axes) and part == sizes.get(axes[place]):
        return axes[place]
    return part
