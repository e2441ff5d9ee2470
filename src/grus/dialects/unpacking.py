"""A framework's tensors, unpacked into weights by family as the cell's equations name them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.dialect import Biases, Dialect, Side
from grus.equations import Cell, Weight
from grus.errors import InputError

SECOND = "second bias"
"""The key of the recurrent or inner bias among the tensors that `unpack` takes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How tensors are packed. None: not said; the shapes must tell."""

    order: tuple[str, ...] = ()
    """The gates as they stand in packed tensors; () where single gates are given."""
    gates_in: Side | None = None
    biases: Biases | None = None

    @classmethod
    def of(cls, dialect: Dialect) -> Layout:
        """The layout of a framework. Raises InputError where order, side and biases are not all."""
        if not dialect.plain:
            raise InputError(
                f"{dialect.title} keeps its weights in a way that a layout does not say; convert"
                " them first"
            )
        return cls(dialect.order, dialect.gates_in, dialect.biases)

    def check(self, cell: Cell) -> None:
        """Raise InputError when the order names a gate twice, or one that the cell has not."""
        gates = list(dict.fromkeys(w.gate for w in cell.weights))
        for gate in self.order:
            if gate not in gates:
                raise InputError(
                    f"order: cell {cell.name} has no gate {gate}; its gates are {', '.join(gates)}"
                )
            if self.order.count(gate) > 1:
                raise InputError(f"order: gate {gate} stands twice in {' '.join(self.order)}")


def in_order(cell: Cell, family: str, order: tuple[str, ...]) -> tuple[str, ...]:
    """The gates of a family in the order of the layout; one gate alone needs no order.

    Raises InputError when the order does not name each of them.
    """
    gates = cell.families[family]
    if len(gates) == 1:
        return gates
    missing = [g for g in gates if g not in order]
    if missing:
        raise InputError(
            f"{family} stacks the gates {', '.join(gates)} of cell {cell.name}, but the order"
            f" {' '.join(order) or '(none)'} has no {missing[0]}"
        )
    return tuple(g for g in order if g in gates)


Array = Any


@dataclass(frozen=True, slots=True)
class TensorBlock:
    """One tensor: the gates it holds, in its order, its rows and columns by axis name, and how many
    blocks each of its matrices has."""

    key: str
    family: str
    gates: tuple[str, ...]
    axes: tuple[str, ...]
    array: Array
    count: int = 1

    @property
    def whole(self) -> int:
        """How many numbers it would hold with the zeros beside its blocks."""
        return int(self.array.size) * self.count


def solve(blocks: list[TensorBlock], side: Side) -> dict[str, int]:
    """The size of each axis, from shapes, and from counts where a list is flat."""
    sizes: dict[str, int] = {}
    waiting = blocks
    while waiting:
        later = [block for block in waiting if not _measure(block, side, sizes)]
        if len(later) == len(waiting):
            raise InputError(
                f"the size of {later[0].key} cannot be told from a flat list; write its rows"
            )
        waiting = later
    return sizes


def _measure(block: TensorBlock, side: Side, sizes: dict[str, int]) -> bool:
    """Learn sizes from one tensor; False when that must wait for another."""
    gates, array = len(block.gates), block.array
    if len(block.axes) == 1:
        _learn(block, side, sizes, block.axes[0], array.size, gates)
        return True
    rows, columns = block.axes
    if array.ndim == 2:
        stacked, plain = array.shape if side == "rows" else array.shape[::-1]
        _learn(block, side, sizes, rows, stacked, gates)
        _learn(block, side, sizes, columns, plain * block.count, 1)
    elif rows == columns:
        root = math.isqrt(block.whole // gates)
        if gates * root * root != block.whole:
            raise InputError(
                f"{block.key} has {array.size} numbers, which are not {gates} square blocks"
            )
        _learn(block, side, sizes, rows, root, 1)
    elif rows in sizes:
        _learn(block, side, sizes, columns, block.whole, gates * sizes[rows])
    elif columns in sizes:
        _learn(block, side, sizes, rows, block.whole, gates * sizes[columns])
    else:
        return False
    return True


def _learn(
    block: TensorBlock, side: Side, sizes: dict[str, int], axis: str, count: int, parts: int
) -> None:
    size, rest = divmod(count, parts)
    if rest or not size:
        where = f" in its {side}" if block.array.ndim > 1 else ""
        raise InputError(
            f"{block.key} of {_told(block.array)} does not hold {len(block.gates)} gates of one"
            f" size{where} ({', '.join(block.gates)})"
        )
    if sizes.setdefault(axis, size) != size:
        raise InputError(
            f"{block.key} of {_told(block.array)} makes the {axis} size {size}, another weight"
            f" makes it {sizes[axis]}"
        )


def cut(block: TensorBlock, side: Side, sizes: Mapping[str, int]) -> dict[Weight, Array]:
    """The tensor as one array for each gate, rows first."""
    axes = [sizes[axis] for axis in block.axes]
    axes[1:] = [size // block.count for size in axes[1:]]
    stacked = (len(block.gates) * axes[0], *axes[1:])
    if side == "columns" and len(axes) == 2:
        array = block.array.reshape(stacked[::-1]).T
    else:
        array = block.array.reshape(stacked)
    parts = np.split(array, len(block.gates))
    return {Weight(block.family, g): part for g, part in zip(block.gates, parts, strict=True)}


Gates = tuple[str, ...]
FIRST = "b"


def unpack_biases(
    cell: Cell,
    layout: Layout,
    sizes: Mapping[str, int],
    single: Mapping[Weight, Array],
    tensors: Mapping[str, Array],
) -> tuple[dict[str, Array], int]:
    """Families b and d: zeros, single biases, or the framework's one or two biases.

    Also how many biases of all gates there were: 0, 1 or 2.
    """
    families = {f: cell.families[f] for f in "bd" if f in cell.families}
    found = {
        Weight(f, g): single.get(Weight(f, g), np.zeros(sizes[cell.family_axes(f)[0]]))
        for f, gates in families.items()
        for g in gates
    }
    given = dict(_given(cell, layout, sizes, tensors))
    for which, (gates, array) in given.items():
        for gate, part in zip(gates, np.split(array, len(gates)), strict=True):
            inner = which == SECOND and gate in families.get("d", ())
            weight = Weight("d" if inner else "b", gate)
            if weight in single:
                raise InputError(f"{weight.name} is given twice")
            found[weight] = found[weight] + part
    stacked = {f: np.concatenate([found[Weight(f, g)] for g in gs]) for f, gs in families.items()}
    return stacked, len(given)


def _given(
    cell: Cell, layout: Layout, sizes: Mapping[str, int], tensors: Mapping[str, Array]
) -> Iterator[tuple[str, tuple[Gates, Array]]]:
    """The first bias and the second, each with its gates and flat."""
    first, second = tensors.get(FIRST), tensors.get(SECOND)
    if first is not None:
        (gates,) = choices = _choices(cell, layout, FIRST)
        size = _size(cell, sizes)
        both = (2, len(gates) * size)
        if layout.biases and layout.biases.together and _fits(first, *both):
            if second is not None:
                raise InputError("the second bias is given twice: b already holds both")
            first, second = np.split(np.ravel(first), 2)
        yield FIRST, _match(FIRST, first, choices, size, layout)
    if second is not None:
        choices = _choices(cell, layout, SECOND)
        yield SECOND, _match(SECOND, second, choices, _size(cell, sizes), layout)


def _choices(cell: Cell, layout: Layout, which: str) -> list[Gates]:
    """The gates that a bias may be of, by what the layout says of it."""
    kind = layout.biases.second if layout.biases else None
    if which == SECOND and kind == "none":
        raise InputError("this layout has one bias; there is no second one to give")
    outer = [in_order(cell, "b", layout.order)] if "b" in cell.families else []
    inner = [in_order(cell, "d", layout.order)] if "d" in cell.families else []
    if which == FIRST:
        found = outer
    elif kind:
        found = inner if kind == "inner" else outer or inner
    else:
        found = [*outer, *inner]
    if not found:
        raise InputError(f"cell {cell.name} has no such bias as the {_said(which)}")
    return found


def _match(
    which: str, array: Array, choices: list[Gates], size: int, layout: Layout
) -> tuple[Gates, Array]:
    for gates in choices:
        if _fits(array, len(gates), size):
            return gates, np.ravel(array)
    told = " or ".join(f"{len(gates)} x {size} ({', '.join(gates)})" for gates in choices)
    if which == FIRST and layout.biases and layout.biases.together:
        told += ", or two rows of that"
    raise InputError(f"the {_said(which)} has {_told(array)}, wanted {told}")


def _fits(array: Array, blocks: int, size: int) -> bool:
    """True for a vector of all blocks, or a row for each; other shapes say something else."""
    whole = blocks * size
    return array.shape in ((whole,), (1, whole), (whole, 1), (blocks, size))


def _size(cell: Cell, sizes: Mapping[str, int]) -> int:
    return sizes[cell.family_axes("b" if "b" in cell.families else "d")[0]]


def _said(which: str) -> str:
    return "bias b" if which == FIRST else which


def _told(array: Array) -> str:
    return f"shape {array.shape}" if array.ndim > 1 else f"{array.size} numbers"


@dataclass(frozen=True)
class Unpacked:
    """Weights by family, stacked in the order of the equations, and how they were read."""

    weights: dict[str, Array]
    sizes: dict[str, int]
    gates_in: Side
    biases: int
    """How many biases of all gates were read: 0, 1 or 2."""


def unpack(cell: Cell, layout: Layout, tensors: Mapping[str, Array]) -> Unpacked:
    """Weights by family from packed tensors.

    ``tensors`` maps a family ("W", all gates in the layout's order) or a single weight ("W.r")
    to an array: [gates * rows, columns] or the other way round, a vector, or a flat list of the
    same numbers. "b" may hold both biases where the layout says so; `SECOND` is the other bias.
    Absent b and d are zeros.

    Raises InputError when a tensor is missing, given twice, or of a size that cannot be, and when
    the shapes do not tell which way round the tensors are.
    """
    layout.check(cell)
    blocks = list(_blocks(cell, layout, tensors))
    _check_given(cell, blocks)
    sides: tuple[Side, ...] = (layout.gates_in,) if layout.gates_in else ("rows", "columns")
    found: list[Unpacked] = []
    reasons: list[str] = []
    for side in sides:
        try:
            found.append(_unpack(cell, layout, side, blocks, tensors))
        except InputError as error:
            reasons.append(str(error))
    if not found:
        same = len(set(reasons)) == 1
        told = (f"with the gates in the {s}, {r}" for s, r in zip(sides, reasons, strict=True))
        raise InputError(reasons[0] if same else "; ".join(told))
    first, *others = (one.weights for one in found)
    if any(not np.array_equal(first[f], other[f]) for other in others for f in first):
        raise InputError(
            "the shapes do not tell whether the gates stand in the rows (PyTorch, ONNX) or in the"
            " columns (Keras, Flax); say --gates-in rows or --gates-in columns"
        )
    return found[0]


def _blocks(cell: Cell, layout: Layout, tensors: Mapping[str, Array]) -> Iterator[TensorBlock]:
    """The tensors but the biases of all gates, which may hold more than their family says."""
    for key, array in tensors.items():
        family, _, gate = key.partition(".")
        if key in (SECOND, "b"):
            continue
        if family not in cell.families or (gate and gate not in cell.families[family]):
            known = ", ".join(w.name for w in cell.weights)
            raise InputError(f"cell {cell.name} has no weight {key}; it has {known}")
        gates = (gate,) if gate else in_order(cell, family, layout.order)
        # ONNX has an axis for the direction in front.
        plain = array[0] if array.ndim == 3 and len(array) == 1 else array
        if plain.ndim > 2:
            raise InputError(f"{key} has shape {array.shape}; it takes at most two axes")
        count = cell.reading(family)[1]
        yield TensorBlock(key, family, gates, cell.family_axes(family), plain, count)


def _check_given(cell: Cell, blocks: list[TensorBlock]) -> None:
    given = [Weight(block.family, gate) for block in blocks for gate in block.gates]
    twice = [w.name for w in given if given.count(w) > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice")
    missing = [w for w in cell.weights if w not in given and w.family not in ("b", "d")]
    if missing:
        absent = dict.fromkeys(
            w.name if any(g.family == w.family for g in given) else w.family for w in missing
        )
        raise InputError(f"cell {cell.name} needs the weights {', '.join(absent)} too")


def _unpack(
    cell: Cell, layout: Layout, side: Side, blocks: list[TensorBlock], tensors: Mapping[str, Array]
) -> Unpacked:
    sizes = solve(blocks, side)
    sizes |= {axis: sizes[other] for axis, other in cell.shapes.equal if other in sizes}
    single: dict[Weight, Array] = {}
    for block in blocks:
        single |= cut(block, side, sizes)
    weights = {
        family: np.concatenate([single[Weight(family, g)] for g in gates])
        for family, gates in cell.families.items()
        if family not in ("b", "d")
    }
    biases, number = unpack_biases(cell, layout, sizes, single, tensors)
    return Unpacked(weights | biases, sizes, side, number)
