"""One row of one layer and direction of a trace, ready to be drawn: units sorted, ends cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.dialects.transform import sense
from grus.equations import Cell, Expr, Name, flat, walk
from grus.equations.text import show
from grus.errors import InputError
from grus.traces import keeps

if TYPE_CHECKING:
    from grus.traces import Trace

Array = np.ndarray[Any, np.dtype[Any]]
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, eq=False)
class TraceView:
    """The content of a `gates` figure; ``places`` [unit] has the hidden units in drawn order."""

    trace: Trace
    names: tuple[str, ...]
    layer: int
    direction: int
    batch: int
    steps: Array
    tokens: list[str] | None
    places: Array
    sorted_by: str

    def value(self, name: str) -> Array:
        """[unit, step], in drawn order; steps past the row's end are left out."""
        chosen = {"layer": self.layer, "direction": self.direction, "batch": self.batch}
        array: Array = self.trace.select(name, **chosen)[: len(self.steps)]
        return array.T[self._order(name)]

    def units(self, name: str) -> Array:
        """The number of each unit, in drawn order."""
        return np.asarray(self.trace.units_of(name)[self._order(name)])

    def _order(self, name: str) -> Array:
        """The hidden axis is sorted; another one is as it is."""
        numbers = self.trace.units_of(name)
        return self.places if numbers is self.trace.units else np.arange(len(numbers))

    def equation(self, name: str) -> str:
        """``z = sigmoid(...)``; of a state its next value's."""
        return f"{name} = {show(root(self.trace.cell, name))}"

    def is_gate(self, name: str) -> bool:
        """Whether the value lies between 0 and 1 because it ends in a sigmoid."""
        return is_gate(self.trace.cell, name)

    def limits(self, name: str) -> tuple[float, float]:
        """The ends of the scale: 0 and 1 of a gate; else -1 and 1, or as far as the values go."""
        if self.is_gate(name):
            return 0.0, 1.0
        values = self.trace[name]
        finite = values[np.isfinite(values)]
        high = float(max(1.0, np.abs(finite).max())) if finite.size else 1.0
        return -high, high

    def meaning(self, name: str) -> tuple[str, str]:
        """The effect of a gate at 0 and at 1."""
        known = sense(self.trace.cell)
        if known is not None and known[0] == name:
            return ("replaces", "keeps") if known[1] == "keep" else ("keeps", "replaces")
        return "shut", "open"

    @property
    def title(self) -> str:
        """``gru, layer 0, forward``."""
        row = f", row {self.batch}" if len(self.trace.lengths) > 1 else ""
        way = DIRECTIONS[self.direction]
        return f"{self.trace.cell.name}, layer {self.layer}, {way}{row}"


def see(
    trace: Trace,
    names: Sequence[str] | None = None,
    layer: int | None = None,
    direction: int | None = None,
    batch: int = 0,
    units: Sequence[int] | None = None,
    order: str | None = "memory",
) -> TraceView:
    """The part of a trace that is drawn. Raises InputError for what was not recorded."""
    if isinstance(names, str):
        raise InputError(f"names must be a list of names, got the text {names[:80]!r}")
    chosen = tuple(trace.names if names is None else names)
    if not chosen or not len(trace.layers) or not len(trace.directions):
        raise InputError("there is nothing to draw: no value was asked for or recorded")
    layer = int(trace.layers[0]) if layer is None else layer
    direction = int(trace.directions[0]) if direction is None else direction
    for name in chosen:
        trace.select(name, layer=layer, direction=direction, batch=batch)
    count = int((trace.steps < trace.lengths[batch]).sum())
    if not count:
        raise InputError(f"row {batch} ended before the recorded steps began")
    labels = None if trace.tokens is None else list(trace.tokens[:count])
    places = _places(trace, units)
    view = TraceView(
        trace, chosen, layer, direction, batch, trace.steps[:count], labels, places, ""
    )
    return _sorted(view, order)


def _places(trace: Trace, units: Sequence[int] | None) -> Array:
    if units is None:
        return np.arange(len(trace.units))
    at = {int(unit): k for k, unit in enumerate(trace.units)}
    unknown = [unit for unit in units if unit not in at]
    if unknown:
        raise InputError(f"units {unknown[:5]} were not recorded")
    return np.array([at[unit] for unit in units], dtype=np.int64)


def _sorted(view: TraceView, order: str | None) -> TraceView:
    """The view with its units in that order, which ``sorted_by`` names."""
    cell = view.trace.cell
    keeper = memory_gate(cell) if order == "memory" else None
    known = view.trace.names
    if order is not None and order != "memory" and order not in known:
        raise InputError(
            f"order must be 'memory', None or one of {', '.join(known)}, got {order!r}"
        )
    name = keeper[0] if keeper else order
    if name not in known or view.trace.units_of(str(name)) is not view.trace.units:
        return view
    means = np.nanmean(view.value(str(name)), axis=1)
    admits = keeper is not None and not keeper[1]
    ranks = np.argsort(means if admits else -means, kind="stable")
    words = "longest memory on top" if keeper else f"largest mean {name} on top"
    return replace(view, places=view.places[ranks], sorted_by=words)


def root(cell: Cell, name: str) -> Expr:
    """The right side of a value's equation, of a state that of its next value."""
    return cell[f"{name}_next" if name in cell.states else name]


def is_gate(cell: Cell, name: str) -> bool:
    """Whether a value is between 0 and 1, as `equations.flat` has it."""
    return flat.is_gate(root(cell, name))


def memory_gate(cell: Cell) -> tuple[str, bool] | None:
    """The gate that is the factor of the old state in the next one, and whether it keeps it (or
    else admits the new). A GRU's z, an LSTM's f; None where no gate by itself is."""
    for factor in keeps(cell).values():
        for node in walk(factor):
            if isinstance(node, Name) and factor in (node, 1 - node):
                return node.name, factor == node
    return None
