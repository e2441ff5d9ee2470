"""A dialect's tensors taken apart into a network and put together again, layer by layer, and how
their names tell layers and directions apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from grus.dialects.network import Network, Pair, Unrepresentable
from grus.dialects.tensor_layout import ADDED, Sizes, Tensor, pair, stacked, weights
from grus.equations import Weight
from grus.errors import InputError
from grus.reference import split

if TYPE_CHECKING:
    from grus.dialects.dialect import Dialect

Array = Any
Place = tuple[int, int]
"""(layer, direction)."""


class Incomplete(InputError):  # noqa: N818  the refusal is no failure
    """Some tensors of a layer are there and others are not; the message names one of these."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Names of tensors beside their own: what is said of layer and direction, and where."""

    layer: str = "{}/"
    """What names a layer, {} its number from 0; left away where there is one layer alone."""
    directions: tuple[str, str] = ("forward/", "backward/")
    """What names a direction; left away where there is one alone."""
    at: Literal["prefix", "suffix"] = "prefix"
    always: bool = False
    """The layer is named even if there is one alone."""
    axis: bool = False
    """Both directions are in one tensor, on a leading axis."""
    turned: bool = False
    """The direction stands before the layer, and always."""

    def name(self, base: str, place: Place, layers: int, directions: int) -> str:
        """The name of a tensor at a place."""
        layer, direction = place
        said = self.layer.format(layer) if layers > 1 or self.always else ""
        side = self.directions[direction]
        if self.turned:
            said = side + said
        elif directions > 1 and not self.axis:
            said += side
        return said + base if self.at == "prefix" else base + said

    def places(
        self, bases: Iterable[str], tensors: Mapping[str, Array]
    ) -> dict[Place, dict[str, str]]:
        """Place -> own name -> full name, for the tensors given.

        Raises InputError for a name that is none of these, and for layers or directions that are
        not there.
        """
        bases = tuple(bases)
        pattern = self.pattern(bases)
        found: dict[Place, dict[str, str]] = {}
        for name in tensors:
            match = pattern.fullmatch(name)
            if match is None:
                raise InputError(f"no tensor is called {name[:100]!r}; they are {', '.join(bases)}")
            place = (
                int(match["layer"] or 0),
                self.directions.index(match["direction"] or self.directions[0]),
            )
            names = found.setdefault(place, {})
            if match["base"] in names:
                raise InputError(f"{names[match['base']]} and {name} are the same tensor")
            names[match["base"]] = name
        self._check(found)
        return found

    def pattern(self, bases: tuple[str, ...]) -> re.Pattern[str]:
        """What the names are, with the groups base, layer and direction."""
        one = "|".join(map(re.escape, bases))
        before, after = map(re.escape, self.layer.split("{}"))
        sides = "|".join(re.escape(side) for side in self.directions if side)
        number, side = rf"(?:{before}(?P<layer>\d{{1,4}}){after})?", rf"(?P<direction>{sides})?"
        said = side + number if self.turned else number + side
        base = f"(?P<base>{one})"
        return re.compile(said + base if self.at == "prefix" else base + said)

    def _check(self, found: Mapping[Place, object]) -> None:
        layers = {layer for layer, _ in found}
        directions = {direction for _, direction in found}
        if layers != set(range(len(layers))) or not layers:
            raise Incomplete(f"the layers must count from 0, got {sorted(layers) or 'none'}")
        if 0 not in directions or len(found) != len(layers) * len(directions):
            raise Incomplete("every layer needs the same directions, the forward one first")


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
    kept = pairs if any(both is not None for one in pairs for both in one) else ()
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
    """Weights by family, and the two biases where there are two."""
    cell, sizes = dialect.cell, dialect.packing.sizes(arrays, names)
    shaped = {
        tensor.name: _shaped(dialect, tensor, arrays[tensor.name], sizes, names[tensor.name])
        for tensor in dialect.tensors
        if tensor.name in arrays
    }
    single = dialect.packing.cut(shaped, sizes)
    dtype = np.result_type(*single.values())
    for gate, more in dialect.shift.items():  # kept apart, so that it comes off again to the bit
        single[Weight(ADDED, gate)] = np.full(sizes[0], more, dtype)
    found = stacked(cell, weights(cell, single, sizes[0]))
    return found, pair(cell, single, sizes[0])


def _shaped(dialect: Dialect, tensor: Tensor, array: Array, sizes: Sizes, name: str) -> Array:
    """A tensor in its own shape; a bias may come flat, or with axes of length 1."""
    want = dialect.packing.shape(tensor, sizes)
    if not tensor.matrix and _same_numbers(array, want):
        array = array.reshape(want)
    if array.shape != want:
        raise InputError(f"{name} must have shape {want}, got {array.shape}")
    return array


def _same_numbers(array: Array, want: tuple[int, ...]) -> bool:
    """True for a bias with axes of length 1 beside its own, or with its rows in one vector."""
    long, wanted = ([n for n in shape if n > 1] for shape in (array.shape, want))
    return bool(array.size == np.prod(want)) and long in (wanted, [array.size])


def _pack(dialect: Dialect, network: Network, place: Place) -> dict[str, Array]:
    layer, direction = place
    found = network.layers[layer][direction]
    single, kept = split(network.cell, found), network.blocks(layer, direction)
    for gate, more in dialect.shift.items():
        outer, added = Weight("b", gate), Weight(ADDED, gate)
        same = added in kept and np.all(kept[added] == more)
        single[outer] = kept[outer] if same else single[outer] - more
    for weight, array in dict(single).items():
        added, has_place = Weight(ADDED, weight.gate), weight in dialect.blocks
        if weight.family == "b" and added in dialect.blocks:
            if has_place and added in kept:
                single[weight], single[added] = kept[weight], kept[added]
            else:
                single[added] = np.zeros_like(array) if has_place else array
        elif weight.family in ("b", "d") and not has_place:
            _refuse_unless_zero(dialect, weight, array)
    return dialect.packing.join(single, (network.hidden_size, found["W"].shape[1]))


def _refuse_unless_zero(dialect: Dialect, weight: Weight, array: Array) -> None:
    if np.any(array):
        what = "the inner bias" if weight.family == "d" else "the bias"
        raise Unrepresentable(
            f"{dialect.title} has no place for {what} {weight.name}, whose largest entry is"
            f" {float(np.abs(array).max()):.6g}"
        )
