"""What a tensor of a framework holds, as a short text; how it is cut and put together, and how
names tell layers and directions apart.

    W.zrn               the blocks W.z, W.r, W.n, one below the other
    W.rz & U.rz         two such stacks side by side: a matrix for [x; h]
    b.zrn / a.zr d.n    a bias of two rows
    b.zrn a.zr d.n      one vector

Families are the cell's; ``a`` is a second bias of a gate, which is added to b. The text is for
rows, W @ x; a framework with gates in its columns stores the matrices transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from grus.equations import Weight
from grus.errors import InputError

Array = Any
MATRICES = "WU"
ADDED = "a"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a framework: its name, and its blocks."""

    name: str
    parts: tuple[tuple[Weight, ...], ...]
    """Stacks side by side for a matrix; rows for a bias of two rows; one part otherwise."""

    @property
    def matrix(self) -> bool:
        """True for weights, False for a bias."""
        return self.parts[0][0].family in MATRICES

    @property
    def blocks(self) -> tuple[Weight, ...]:
        """All that it holds, in its order."""
        return tuple(block for part in self.parts for block in part)

    def shape(self, hidden: int, inputs: int, columns: bool) -> tuple[int, ...]:
        """The shape for these sizes."""
        long = len(self.parts[0]) * hidden
        if self.matrix:
            wide = sum(inputs if part[0].family == "W" else hidden for part in self.parts)
            return (wide, long) if columns else (long, wide)
        return (long,) if len(self.parts) == 1 else (len(self.parts), long)

    def cut(self, array: Array, hidden: int, inputs: int, columns: bool) -> dict[Weight, Array]:
        """Its blocks as arrays, rows first."""
        if self.matrix:
            widths = [inputs if part[0].family == "W" else hidden for part in self.parts]
            rows = array.T if columns else array
            sides = np.split(rows, np.cumsum(widths)[:-1], axis=1)
        else:
            sides = array.reshape(len(self.parts), -1)
        found: dict[Weight, Array] = {}
        for part, side in zip(self.parts, sides, strict=True):
            found |= zip(part, np.split(side, len(part)), strict=True)
        return found

    def join(self, single: Mapping[Weight, Array], columns: bool) -> Array:
        """The tensor made of these blocks; `cut` turned round."""
        parts = [np.concatenate([single[block] for block in part]) for part in self.parts]
        if self.matrix:
            whole = np.concatenate(parts, axis=1)
            return np.ascontiguousarray(whole.T if columns else whole)
        return parts[0] if len(parts) == 1 else np.stack(parts)


def turn(array: Array, gates: int, back: bool = False) -> Array:
    """Blocks [I, H] that are the memory of matrices [H, I], as their transposes; and ``back``.

    What Keras does between CuDNNGRU and GRU (tf_keras saving/legacy/hdf5_format.py,
    `_convert_rnn_weights`): it transposes each gate's block from Fortran's order into C's.
    """
    blocks = np.split(array, gates, axis=1)
    if back:
        return np.concatenate([m.T.reshape(m.shape) for m in blocks], axis=1)
    return np.concatenate([m.reshape(m.shape[::-1]).T for m in blocks], axis=1)


@lru_cache(maxsize=1024)
def parse(name: str, text: str) -> Tensor:
    """The tensor that a text of the page above describes."""
    pieces = text.split("&") if "&" in text else text.split("/")
    return Tensor(name, tuple(tuple(_stack(piece)) for piece in pieces))


def _stack(text: str) -> Iterable[Weight]:
    for word in text.split():
        family, _, gates = word.partition(".")
        yield from (Weight(family, gate) for gate in gates)


def measure(
    specs: Iterable[Tensor], tensors: Mapping[str, Array], columns: bool, shown: Mapping[str, str]
) -> tuple[int, int]:
    """(hidden, input) sizes from the matrices; ``shown`` is each tensor's full name.

    Raises InputError when a tensor's shape does not fit its blocks or the other tensors.
    """
    hidden = inputs = 0
    side = "columns" if columns else "rows"
    for spec in (s for s in specs if s.matrix):
        array, name = tensors[spec.name], shown[spec.name]
        if array.ndim != 2:
            raise InputError(f"{name} must be a matrix, got shape {array.shape}")
        long, wide = array.shape[::-1] if columns else array.shape
        size, rest = divmod(long, len(spec.parts[0]))
        if rest or not size:
            gates = ", ".join(block.name for block in spec.parts[0])
            raise InputError(f"{name} of shape {array.shape} does not hold {gates} in its {side}")
        if hidden and size != hidden:
            raise InputError(
                f"{name} of shape {array.shape} makes the hidden size {size}, another weight"
                f" makes it {hidden}"
            )
        hidden = size
        families = [part[0].family for part in spec.parts]
        left = wide - hidden * families.count("U")
        if "W" in families:
            if left <= 0 or (inputs and inputs != left):
                wanted = f"of {inputs}" if inputs else "at all"
                raise InputError(f"{name} of shape {array.shape} leaves no input size {wanted}")
            inputs = left
        elif left:
            raise InputError(
                f"{name} of shape {array.shape} is not square for each gate: hidden size {hidden}"
            )
    return hidden, inputs


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
