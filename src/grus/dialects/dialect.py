"""`Dialect`: how one framework, format or paper stores a cell; reading and writing by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from grus.dialects.network import Network, Pair
from grus.dialects.packing import ADDED, MATRICES, Tensor, measure, parse
from grus.dialects.scheme import Place, Scheme
from grus.equations import CELLS, Cell, Weight
from grus.errors import InputError

Array = Any
Side = Literal["rows", "columns"]
Second = Literal["none", "gates", "inner"]


class Unrepresentable(InputError):  # noqa: N818  the refusal is no failure
    """A network that a dialect cannot hold; the message names the term that has no place."""


@dataclass(frozen=True, slots=True)
class Biases:
    """How a framework gives its biases.

    ``second`` is what there is beside the input bias of all gates: nothing, a recurrent bias of
    all gates (where the cell has no inner bias only the sum counts), or the inner bias alone.
    ``together`` means that one tensor holds both.
    """

    second: Second
    together: bool
    said: str


ONE = Biases("none", False, "one bias")
TWO = Biases("gates", False, "two biases: the input's, and the recurrent one")
ROWS = Biases("gates", True, "one tensor of two rows: the input bias, then the recurrent one")
JOINED = Biases("gates", True, "one vector: the input biases, then the recurrent ones")
INNER = Biases("inner", False, "one bias, and the inner bias of the candidate alone")


@dataclass(frozen=True)
class Dialect:
    """How one framework, format or paper stores the weights of one cell."""

    framework: str
    """The framework. Several dialects may share it; their cells tell them apart."""
    title: str
    cell_name: str
    """The name of the cell in `CELLS`."""
    columns: bool = False
    """Where the gates stand: False is [gates * H, I] for W x, True [I, gates * H] for x W."""
    holds: Mapping[str, str] = field(default_factory=dict)
    """Tensor name -> what it holds, in the language of `packing`."""
    scheme: Scheme = field(default_factory=Scheme)
    letters: Mapping[str, str] = field(default_factory=dict)
    """The cell's gate letter -> theirs, where it differs."""
    named: str = ""
    """A name of this one dialect; the framework's where it is empty."""

    @cached_property
    def cell(self) -> Cell:
        """The equations of a step."""
        return CELLS[self.cell_name]

    @property
    def name(self) -> str:
        """What `find` knows it by."""
        return self.named or self.framework

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of one layer in one direction, in the framework's order."""
        return tuple(parse(name, text) for name, text in self.holds.items())

    @cached_property
    def blocks(self) -> frozenset[Weight]:
        """Every weight that has a place."""
        return frozenset(block for tensor in self.tensors for block in tensor.blocks)

    # What worksheets say of it.

    @property
    def gates_in(self) -> Side:
        """Where the gates stand in a packed matrix."""
        return "columns" if self.columns else "rows"

    @property
    def order(self) -> tuple[str, ...]:
        """The gates as they stand in a packed tensor; () where no tensor holds them all."""
        gates = set(self.cell.families["W"])
        for tensor in self.tensors:
            stack = tuple(block.gate for block in tensor.parts[0])
            if tensor.matrix and len(tensor.parts) == 1 and set(stack) == gates:
                return stack
        return ()

    @property
    def biases(self) -> Biases:
        """How the biases are given."""
        families = [{block.family for block in t.blocks} for t in self.tensors if not t.matrix]
        every = set().union(*families)
        together = any("b" in one and len(one) > 1 for one in families)
        if ADDED not in every:
            return INNER if "d" in every else ONE
        if not together:
            return TWO
        return ROWS if any(len(t.parts) > 1 for t in self.tensors if not t.matrix) else JOINED

    @property
    def names(self) -> dict[str, str]:
        """Weight family -> what its tensors are called."""
        return {
            family: ", ".join(held)
            for family in "WUbd"
            if (held := [t.name for t in self.tensors if family in {w.family for w in t.blocks}])
        }

    # Reading and writing.

    def read(
        self, tensors: Mapping[str, Array], where: str = "", *, reverse: bool = False
    ) -> Network:
        """The network that ``tensors`` are, by their names in this dialect.

        ``where`` is what stands before the names, as in "encoder.rnn.weight_ih_l0"; tensors
        elsewhere are then left alone. Biases that are absent are 0. ``reverse``: one direction
        that runs backward, which no tensor tells.

        Raises InputError when a tensor is missing, unknown, or of a shape that cannot be.
        """
        self._storable()
        given = {name: np.asarray(array) for name, array in _below(tensors, where)}
        if not given:
            raise InputError(f"{self.title}: there are no tensors{f' in {where}' if where else ''}")
        for name, array in given.items():
            if array.dtype.kind != "f":
                raise InputError(f"{name} must hold floating point numbers, got {array.dtype}")
        try:
            found = dict(self._layers(given))
        except InputError as error:
            raise InputError(f"{self.title}: {error}") from None
        layers = 1 + max(layer for layer, _ in found)
        both = range(1 + max(direction for _, direction in found))
        weights = tuple(tuple(found[k, d][0] for d in both) for k in range(layers))
        pairs = tuple(tuple(found[k, d][1] for d in both) for k in range(layers))
        kept = pairs if any(pair is not None for one in pairs for pair in one) else ()
        return Network(self.cell, weights, reverse, kept)

    def write(self, network: Network) -> dict[str, Array]:
        """The tensors that this network is in this dialect, by name.

        Raises Unrepresentable naming the term that has no place here.
        """
        self._storable()
        if network.cell != self.cell:
            raise Unrepresentable(
                f"{self.title} is the cell {self.cell.name}, not {network.cell.name}"
            )
        layers, directions = len(network.layers), network.directions
        found: dict[str, Array] = {}
        for k in range(layers):
            packed = [self._pack(network, (k, d)) for d in range(directions)]
            for d, tensors in enumerate(packed):
                for base, array in tensors.items():
                    name = self.scheme.name(base, (k, d), layers, directions)
                    if not self.scheme.axis:
                        found[name] = array
                    elif d == 0:
                        found[name] = np.stack([one[base] for one in packed])
        return found

    def _storable(self) -> None:
        if not self.tensors:
            raise Unrepresentable(f"{self.title} prints equations; it has no tensors")

    def _layers(
        self, given: Mapping[str, Array]
    ) -> Iterator[tuple[Place, tuple[dict[str, Array], Pair | None]]]:
        bases = [tensor.name for tensor in self.tensors]
        for (layer, direction), names in self.scheme.places(bases, given).items():
            arrays = {base: given[name] for base, name in names.items()}
            if not self.scheme.axis:
                yield (layer, direction), self._unpack(arrays, names)
                continue
            counts = {len(array) if array.ndim else 0 for array in arrays.values()}
            if counts not in ({1}, {2}):
                raise InputError("the first axis of every tensor is the directions: 1 or 2")
            for d in range(counts.pop()):
                yield (layer, d), self._unpack({b: a[d] for b, a in arrays.items()}, names)

    def _unpack(
        self, arrays: Mapping[str, Array], names: Mapping[str, str]
    ) -> tuple[dict[str, Array], Pair | None]:
        missing = [t.name for t in self.tensors if t.matrix and t.name not in arrays]
        if missing:
            raise InputError(f"the tensor {missing[0]} is missing")
        hidden, inputs = measure(self.tensors, arrays, self.columns, names)
        single: dict[Weight, Array] = {}
        for tensor in self.tensors:
            if tensor.name in arrays:
                array = arrays[tensor.name]
                want = tensor.shape(hidden, inputs, self.columns)
                if not tensor.matrix and array.size == np.prod(want) and _flat(array, want):
                    array = array.reshape(want)
                if array.shape != want:
                    raise InputError(
                        f"{names[tensor.name]} must have shape {want}, got {array.shape}"
                    )
                single |= tensor.cut(array, hidden, inputs, self.columns)
        return _families(self.cell, single, hidden)

    def _pack(self, network: Network, place: Place) -> dict[str, Array]:
        single = _single(network, place)
        biases = _place_biases(self, single)
        return {tensor.name: tensor.join(single | biases, self.columns) for tensor in self.tensors}


def _below(tensors: Mapping[str, Array], where: str) -> Iterator[tuple[str, Array]]:
    where = where.rstrip("./")
    for name, array in tensors.items():
        if not where:
            yield name, array
        elif name.startswith((f"{where}.", f"{where}/")):
            yield name[len(where) + 1 :], array


def _flat(array: Array, want: tuple[int, ...]) -> bool:
    """True for a vector with axes of length 1 beside its own, or rows written flat."""
    return [n for n in array.shape if n > 1] in ([n for n in want if n > 1], [array.size])


def _families(
    cell: Cell, single: Mapping[Weight, Array], hidden: int
) -> tuple[dict[str, Array], Pair | None]:
    """Weights by family, and the two biases where there are two."""
    dtype = np.result_type(*single.values())
    zeros = np.zeros(hidden, dtype)

    def stack(family: str, gates: tuple[str, ...]) -> Array:
        return np.concatenate([single.get(Weight(family, g), zeros) for g in gates])

    found = {f: stack(f, gates) for f, gates in cell.families.items()}
    gates = cell.families.get("b", ())
    if not any(Weight(ADDED, gate) in single for gate in gates):
        return found, None
    pair = (found["b"], stack(ADDED, gates))
    return found | {"b": pair[0] + pair[1]}, pair


def _single(network: Network, place: Place) -> dict[Weight, Array]:
    """The weights of one layer gate by gate; two biases as b and a where they were kept apart."""
    layer, direction = place
    weights = dict(network.layers[layer][direction])
    pair = network.pairs[layer][direction] if network.pairs else None
    families = dict(network.cell.families)
    if pair is not None:
        weights |= {ADDED: pair[1], "first": pair[0]}
        families |= {ADDED: families["b"], "first": families["b"]}
    return {
        Weight(family, gate): part
        for family, gates in families.items()
        for gate, part in zip(gates, np.split(weights[family], len(gates)), strict=True)
    }


def _place_biases(dialect: Dialect, single: Mapping[Weight, Array]) -> dict[Weight, Array]:
    """Each bias where the dialect has a place for it."""
    found: dict[Weight, Array] = {}
    for weight, array in single.items():
        outer, added = Weight("b", weight.gate), Weight(ADDED, weight.gate)
        if weight.family == "d" and weight not in dialect.blocks:
            _refuse_unless_zero(dialect, weight, array)
        if weight.family != "b":
            continue
        if added not in dialect.blocks and outer not in dialect.blocks:
            _refuse_unless_zero(dialect, weight, array)
        elif outer not in dialect.blocks:
            found[added] = array
        elif added in dialect.blocks:
            kept = added in single
            found[outer] = single[Weight("first", weight.gate)] if kept else array
            found[added] = single[added] if kept else np.zeros_like(array)
    return found


def _refuse_unless_zero(dialect: Dialect, weight: Weight, array: Array) -> None:
    if np.any(array):
        what = "the inner bias" if weight.family == "d" else "the bias"
        raise Unrepresentable(
            f"{dialect.title} has no place for {what} {weight.name}, whose largest entry is"
            f" {float(np.abs(array).max()):.6g}"
        )


def missing_weights(dialect: Dialect) -> list[str]:
    """The matrices of the cell for which the dialect has no tensor; none in a sound record."""
    return [
        weight.name
        for weight in dialect.cell.weights
        if weight.family in MATRICES and dialect.tensors and weight not in dialect.blocks
    ]
