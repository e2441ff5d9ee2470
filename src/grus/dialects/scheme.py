"""How a framework tells the tensors of several layers and of two directions apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from grus.errors import InputError

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
