"""A dialect's tensors taken apart into a network, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.dialects.network import Network, Pair, Unrepresentable
from grus.dialects.packing import ADDED, MATRICES, Incomplete, Place, measure, turn
from grus.equations import Cell, Weight
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.dialects.dialect import Dialect

Array = Any


def read(dialect: Dialect, tensors: Mapping[str, Array], where: str, reverse: bool) -> Network:
    """The network that ``tensors`` are; `Dialect.read` says what it takes."""
    _storable(dialect)
    given = {name: np.asarray(array) for name, array in _below(tensors, where)}
    if not given:
        raise InputError(f"{dialect.title}: there are no tensors{f' in {where}' if where else ''}")
    for name, array in given.items():
        if array.dtype.kind != "f":
            raise InputError(f"{name} must hold floating point numbers, got {array.dtype}")
    try:
        found = dict(_layers(dialect, given))
    except InputError as error:
        raise type(error)(f"{dialect.title}: {error}") from None
    layers = 1 + max(layer for layer, _ in found)
    if layers > 1:
        check_order(dialect, reverse)
    both = range(1 + max(direction for _, direction in found))
    weights = tuple(tuple(found[k, d][0] for d in both) for k in range(layers))
    pairs = tuple(tuple(found[k, d][1] for d in both) for k in range(layers))
    kept = pairs if any(pair is not None for one in pairs for pair in one) else ()
    return Network(dialect.cell, weights, reverse, kept)


def pack(dialect: Dialect, network: Network) -> dict[str, Array]:
    """The tensors of a network of the dialect's own cell.

    Raises Unrepresentable for a bias that has no place, for another cell, or for one direction
    that runs backward where the dialect has none.
    """
    _storable(dialect)
    if network.cell != dialect.cell:
        raise Unrepresentable(
            f"{dialect.title} is the cell {dialect.cell_name}, not {network.cell.name}"
        )
    if network.reverse and not dialect.runtime.backward:
        raise Unrepresentable(f"{dialect.title} has no layer that runs backward alone")
    layers, directions = len(network.layers), network.directions
    if layers > 1:
        check_order(dialect, network.reverse)
    found: dict[str, Array] = {}
    for k in range(layers):
        packed = [_pack(dialect, network, (k, d)) for d in range(directions)]
        for d, tensors in enumerate(packed):
            for base, array in tensors.items():
                name = dialect.scheme.name(base, (k, d), layers, directions)
                if not dialect.scheme.axis:
                    found[name] = array
                elif d == 0:
                    found[name] = np.stack([one[base] for one in packed])
    return found


def check_order(dialect: Dialect, reverse: bool) -> None:
    """Raise Unrepresentable where layers that run backward, one on another, are no such network.

    Each hands its outputs on in the order of processing there, so the second would run forward.
    """
    if reverse and dialect.runtime.order == "processing":
        raise Unrepresentable(
            f"{dialect.title} hands on the outputs of a layer that runs backward in the order of"
            " processing, so every second one of a stack runs forward in time; take one at a time"
        )


def _storable(dialect: Dialect) -> None:
    if not dialect.tensors:
        raise Unrepresentable(f"{dialect.title} prints equations; it has no tensors")


def _below(tensors: Mapping[str, Array], where: str) -> Iterator[tuple[str, Array]]:
    where = where.rstrip("./")
    for name, array in tensors.items():
        if not where:
            yield name, array
        elif name.startswith((f"{where}.", f"{where}/")):
            yield name[len(where) + 1 :], array


def _layers(
    dialect: Dialect, given: Mapping[str, Array]
) -> Iterator[tuple[Place, tuple[dict[str, Array], Pair | None]]]:
    bases = [tensor.name for tensor in dialect.tensors]
    places = dialect.scheme.places(bases, given)
    _whole(dialect, places)
    for (layer, direction), names in places.items():
        arrays = {base: given[name] for base, name in names.items()}
        if not dialect.scheme.axis:
            yield (layer, direction), _unpack(dialect, arrays, names)
            continue
        counts = {len(array) if array.ndim else 0 for array in arrays.values()}
        if counts not in ({1}, {2}):
            raise InputError("the first axis of every tensor is the directions: 1 or 2")
        for d in range(counts.pop()):
            yield (layer, d), _unpack(dialect, {b: a[d] for b, a in arrays.items()}, names)


def _whole(dialect: Dialect, places: Mapping[Place, Mapping[str, str]]) -> None:
    """Raise Incomplete unless every place has all matrices, and all biases or none has any."""
    biased = dialect.biased.intersection(base for names in places.values() for base in names)
    wanted = biased if dialect.either or not biased else dialect.biased
    layers, directions = (1 + max(place[k] for place in places) for k in (0, 1))
    for place, names in places.items():
        for tensor in dialect.tensors:
            if tensor.name not in names and (tensor.matrix or tensor.name in wanted):
                name = dialect.scheme.name(tensor.name, place, layers, directions)
                raise Incomplete(f"the tensor {name} is missing")


def _unpack(
    dialect: Dialect, arrays: Mapping[str, Array], names: Mapping[str, str]
) -> tuple[dict[str, Array], Pair | None]:
    hidden, inputs = measure(dialect.tensors, arrays, dialect.columns, names)
    single: dict[Weight, Array] = {}
    for tensor in dialect.tensors:
        if tensor.name in arrays:
            array = arrays[tensor.name]
            want = tensor.shape(hidden, inputs, dialect.columns)
            if not tensor.matrix and _same_numbers(array, want):
                array = array.reshape(want)
            if array.shape != want:
                raise InputError(f"{names[tensor.name]} must have shape {want}, got {array.shape}")
            if dialect.turned and tensor.matrix:
                array = turn(array, len(tensor.parts[0]))
            single |= tensor.cut(array, hidden, inputs, dialect.columns)
    dtype = np.result_type(*single.values())
    for gate, more in dialect.shift.items():  # kept apart, so that it comes off again to the bit
        single[Weight(ADDED, gate)] = np.full(hidden, more, dtype)
    return _families(dialect.cell, single, hidden)


def _same_numbers(array: Array, want: tuple[int, ...]) -> bool:
    """True for a bias with axes of length 1 beside its own, or with its rows in one vector."""
    long, wanted = ([n for n in shape if n > 1] for shape in (array.shape, want))
    return bool(array.size == np.prod(want)) and long in (wanted, [array.size])


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


def _pack(dialect: Dialect, network: Network, place: Place) -> dict[str, Array]:
    single = _single(network, place)
    for gate, more in dialect.shift.items():
        outer, second = Weight("b", gate), single.get(Weight(ADDED, gate))
        kept = second is not None and np.all(second == more)
        single[outer] = single[Weight("first", gate)] if kept else single[outer] - more
    biases = _place_biases(dialect, single)
    found = {t.name: t.join(single | biases, dialect.columns) for t in dialect.tensors}
    if dialect.turned:
        matrices = {t.name: len(t.parts[0]) for t in dialect.tensors if t.matrix}
        found |= {name: turn(found[name], n, back=True) for name, n in matrices.items()}
    return found


def _single(network: Network, place: Place) -> dict[Weight, Array]:
    """The weights of one layer gate by gate; two biases as first and a where they were kept."""
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
