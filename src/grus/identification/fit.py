"""Which tensor is which: every way in which the arrays given can be a dialect's tensors.

The dialects' records are the patterns. Each is tried with its gates in every order, on both
sides of the matrices, and with its two biases exchanged, so that a form of storage that nobody
has written down yet is found as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations, permutations
from math import isqrt
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Dialect
from grus.dialects.tensor_layout import SECOND, Tensor, TensorLayout, second, weights
from grus.dialects.unpacking import SECOND as SECOND_KEY
from grus.equations import Cell, Weight
from grus.errors import InputError
from grus.identification.given import GivenTensor
from grus.identification.variants import CellKind, gates_of

Array = Any
Parts = tuple[tuple[Weight, ...], ...]
# What an array is called by one who knows its family and no more.
FAMILIES = {"W": "W", "U": "U", "b": "b", SECOND_KEY: SECOND}


@dataclass(frozen=True)
class Fit:
    """One way to read the arrays given."""

    given: tuple[GivenTensor, ...]
    parts: tuple[Parts, ...]
    """What each array holds."""
    columns: bool
    hidden: int
    inputs: int
    gates: frozenset[str]
    own: frozenset[str] = frozenset()
    """The dialects whose names the arrays have."""
    turned: bool = False
    shift: tuple[tuple[str, float], ...] = ()
    """As a dialect has them: see `Dialect`."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two readings that read every number alike."""
        return self.parts, self.columns, self.hidden, self.inputs, self.turned, self.shift

    @property
    def order(self) -> tuple[str, ...]:
        """The gates in the order of the first family's blocks."""
        blocks = [w.gate for parts in self.parts for w in parts[0] if w.family == "W"]
        return tuple(blocks)

    @cached_property
    def blocks(self) -> dict[Weight, Array]:
        """The arrays cut up."""
        return self.cut([one.array for one in self.given])

    def cut(self, arrays: Sequence[Array]) -> dict[Weight, Array]:
        """Arrays of these shapes, cut up in the same way."""
        tensors = tuple(Tensor(str(k), parts) for k, parts in enumerate(self.parts))
        packing, sizes = (
            TensorLayout(tensors, self.columns, self.turned),
            (self.hidden, self.inputs),
        )
        shaped = {
            tensor.name: array.reshape(packing.shape(tensor, sizes))
            for tensor, array in zip(tensors, arrays, strict=True)
        }
        return packing.cut(shaped, sizes)

    def weights(
        self, cell: Cell, blocks: Mapping[Weight, Array] | None = None
    ) -> dict[Weight, Array]:
        """The weights of a cell: absent biases are 0, two biases of one gate are added."""
        found = weights(cell, self.blocks if blocks is None else blocks, self.hidden)
        for gate, more in self.shift:
            found[Weight("b", gate)] = found[Weight("b", gate)] + more
        return found

    def held(self, cell: Cell) -> tuple[Parts, ...]:
        """What each array holds, in the letters of this cell, as records write it."""

        def of_cell(weight: Weight) -> Weight:
            return second(cell, weight.gate) if weight.family == SECOND else weight

        return tuple(tuple(tuple(map(of_cell, part)) for part in parts) for parts in self.parts)


@cache
def _with_cell() -> dict[Cell, list[Dialect]]:
    by_cell: dict[Cell, list[Dialect]] = {}
    for dialect in DIALECTS:
        by_cell.setdefault(dialect.cell, []).append(dialect)
    return by_cell


def dialects_of(fit: Fit, variant: CellKind) -> list[Dialect]:
    """The dialects that have these equations and hold these arrays in just this way."""
    alike = _with_cell().get(variant.cell, [])
    return [dialect for dialect in alike if _holds(dialect, fit, variant.cell)]


def is_option(dialect: Dialect, fit: Fit, variant: CellKind) -> bool:
    """True when it does so with activations that its users can choose, and are not the usual."""
    return (
        dialect.cell_name == variant.base
        and dialect.activations != variant.activations
        and dialect.allows(variant.activations)
        and _holds(dialect, fit, variant.cell)
    )


def _holds(dialect: Dialect, fit: Fit, cell: Cell) -> bool:
    if not dialect.tensors or dialect.columns != fit.columns:
        return False
    if dialect.turned != fit.turned or tuple(dialect.shift.items()) != fit.shift:
        return False
    held = list(fit.held(cell))
    for tensor in dialect.tensors:
        if tensor.parts in held:
            held.remove(tensor.parts)
        elif tensor.matrix:
            return False
    return not held


def fits(given: tuple[GivenTensor, ...], inputs: int | None) -> tuple[Fit, ...]:
    """Every way to read the arrays, each once. ``inputs``: the features of a step, if known.

    Raises InputError when the arrays are of several layers or directions, or when no dialect's
    tensors have such shapes.
    """
    found: dict[tuple[object, ...], Fit] = {}
    named = _named(given)
    own = frozenset(dialect.name for dialect, _ in named)
    for dialect, tensors in named or _placed(given):
        parts = tuple(_generic(tensor) for tensor in tensors)
        for columns in (True,) if dialect.turned else (dialect.columns, not dialect.columns):
            for hidden, features in _sizes(given, tensors, columns, inputs):
                fit = Fit(
                    given, parts, columns, hidden, features, gates_of(dialect.cell), own,
                    dialect.turned,
                )  # fmt: skip
                for shift in dict.fromkeys([tuple(dialect.shift.items()), ()]):
                    for one in _varied(replace(fit, shift=shift)):
                        found.setdefault(one.key, one)
    if not found:
        shapes = ", ".join(f"{g.name} {g.array.shape}".strip() for g in given)
        wanted = "" if inputs is None else f" for {inputs} features a step"
        raise InputError(f"no known cell has weights of these shapes{wanted}: {shapes}")
    return tuple(found.values())


def _named(given: tuple[GivenTensor, ...]) -> list[tuple[Dialect, tuple[Tensor, ...]]]:
    """The dialects whose names the arrays have, and which of their tensors each is."""
    return [(d, t) for d in DIALECTS if d.tensors and (t := _by_name(d, given)) is not None]


def _placed(given: tuple[GivenTensor, ...]) -> Iterator[tuple[Dialect, tuple[Tensor, ...]]]:
    """Every dialect with so many tensors, each array by its place."""
    for dialect in (one for one in DIALECTS if one.tensors):
        yield from ((dialect, tensors) for tensors in _by_place(dialect, len(given)))


def _by_name(dialect: Dialect, given: tuple[GivenTensor, ...]) -> tuple[Tensor, ...] | None:
    """The tensor that each array is by its name; None where they are not this dialect's names."""
    names = {one.name: one.array for one in given}
    if "" in names or set(names) <= set(FAMILIES):
        return None
    tensors = {tensor.name: tensor for tensor in dialect.tensors}
    try:
        places = dialect.scheme.places(tensors, names)
    except InputError:
        return None
    if len(places) > 1:
        raise InputError(
            f"these are {len(places)} layers or directions of {dialect.title}; give the tensors"
            " of one, with its own x and y"
        )
    (place,) = places.values()
    if any(tensor.matrix and tensor.name not in place for tensor in dialect.tensors):
        return None
    own = {full: tensors[base] for base, full in place.items()}
    return tuple(own[one.name] for one in given)


def _by_place(dialect: Dialect, count: int) -> Iterator[tuple[Tensor, ...]]:
    """The tensors of a dialect in its order, with each choice of biases, for so many arrays.

    Matrices may come first, or all as the framework lists them.
    """
    matrices = [tensor for tensor in dialect.tensors if tensor.matrix]
    biases = [tensor for tensor in dialect.tensors if not tensor.matrix]
    if dialect.turned and count < len(dialect.tensors):  # CuDNN always has biases
        return
    for chosen in combinations(biases, count - len(matrices)) if count >= len(matrices) else ():
        yield (*matrices, *chosen)
        listed = tuple(t for t in dialect.tensors if t.matrix or t in chosen)
        if listed != (*matrices, *chosen):
            yield listed


def _sizes(
    given: tuple[GivenTensor, ...], tensors: tuple[Tensor, ...], columns: bool, inputs: int | None
) -> Iterator[tuple[int, int]]:
    """The hidden and input sizes for which every array has its tensor's shape."""
    if not all(_family_fits(one.name, tensor) for one, tensor in zip(given, tensors, strict=True)):
        return
    long = len(next(t for t in tensors if t.matrix).parts[0])
    hidden = {n // long for one in given for n in one.array.shape if n % long == 0}
    hidden |= {isqrt(one.array.size // long) for one in given}
    lengths = {n for one in given for n in one.array.shape}
    for units in sorted(hidden - {0}):
        wide = (
            lengths | {n - units for n in lengths} | {g.array.size // (long * units) for g in given}
        )
        for features in [inputs] if inputs else sorted(n for n in wide if n > 0):
            pairs = zip(given, tensors, strict=True)
            if all(_has(one.array, t, units, features, columns) for one, t in pairs):
                yield units, features


def _family_fits(name: str, tensor: Tensor) -> bool:
    family = FAMILIES.get(name)
    held = {w.family if w.family in "WUb" else SECOND for w in tensor.blocks}
    return family is None or name == "" or family in held


def _has(array: Array, tensor: Tensor, hidden: int, inputs: int, columns: bool) -> bool:
    want = tensor.shape(hidden, inputs, columns)
    if array.size != np.prod(want):
        return False
    if array.shape == want or array.ndim < 2:
        return True  # a flat list has the right count
    plain = [n for n in array.shape if n > 1]
    return not tensor.matrix and plain in ([n for n in want if n > 1], [array.size])


def _generic(tensor: Tensor) -> Parts:
    """The blocks with a second bias called that, whether the cell has it inside the reset."""
    return tuple(
        tuple(replace(w, family=SECOND) if w.family not in "WUb" else w for w in part)
        for part in tensor.parts
    )


def _varied(fit: Fit) -> Iterator[Fit]:
    """Every order of the gates, and the two biases exchanged.

    A family that is not of every gate, such as a candidate's inner bias alone, keeps its gate.
    """
    gates = sorted(fit.gates)
    held: dict[str, set[str]] = {}
    for weight in (w for parts in fit.parts for part in parts for w in part):
        held.setdefault(weight.family, set()).add(weight.gate)
    full = {family for family, of in held.items() if of == fit.gates}
    swaps: list[dict[str, str]] = [{}]
    if {"b", SECOND} & set(held):
        swaps.append({"b": SECOND, SECOND: "b"})
    for order in permutations(gates):
        to = dict(zip(gates, order, strict=True))
        for swap in swaps:
            parts = tuple(
                tuple(
                    tuple(
                        Weight(
                            swap.get(w.family, w.family),
                            to[w.gate] if w.family in full else w.gate,
                        )
                        for w in part
                    )
                    for part in p
                )
                for p in fit.parts
            )
            yield replace(fit, parts=parts)
