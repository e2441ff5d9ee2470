"""What a report's page reads: the recorded numbers, cut to what a page can hold."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.pictures.tokens import visible
from grus.pictures.view import View, see

if TYPE_CHECKING:
    from grus.traces import Trace

MOST_UNITS, MOST_ROWS = 512, 8
FEWEST_STEPS = 16


def collect(trace: Trace, limit: int) -> dict[str, Any]:
    """The page's data: lists, text, and each value as base64 of float32, little-endian.

    A value is [section, row, unit, step]; a section is a layer in a direction.
    """
    if limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    longest = [row for row, length in enumerate(trace.lengths) if (trace.steps < length).any()]
    if not longest:
        raise InputError("there is nothing to draw: every row ended before the recorded steps")
    view = see(trace, batch=longest[0])
    rows = longest[:MOST_ROWS]
    sections = [(int(k), int(d)) for k in trace.layers for d in trace.directions]
    units = {name: min(len(trace.units_of(name)), MOST_UNITS) for name in trace.names}
    a_step = len(sections) * sum(units.values()) * len(rows)
    while a_step * FEWEST_STEPS > limit and len(rows) > 1:
        rows.pop()
        a_step = len(sections) * sum(units.values()) * len(rows)
    steps = min(len(trace.steps), max(limit // max(a_step, 1), 1))
    return {
        "names": [_name(view, name, units[name]) for name in trace.names],
        "values": {
            name: _packed(trace[name][:, :, :steps, rows, : units[name]]) for name in trace.names
        },
        "sections": [_section(trace, k, d, rows[0]) for k, d in sections],
        "rows": [int(row) for row in rows],
        "steps": trace.steps[:steps].tolist(),
        "tokens": None if trace.tokens is None else [visible(t) for t in trace.tokens[:steps]],
        "notes": list(_notes(trace, steps, len(rows), len(longest))),
    }


def _name(view: View, name: str, units: int) -> dict[str, Any]:
    low, high = view.limits(name)
    shut, open_ = view.meaning(name) if view.is_gate(name) else ("", "")
    return {
        "name": name,
        "equation": view.equation(name),
        "gate": view.is_gate(name),
        "low": low,
        "high": high,
        "ends": [f"{low:.3g} {shut}".strip(), f"{high:.3g} {open_}".strip()],
        "units": view.trace.units_of(name)[:units].tolist(),
        "sorted": view.trace.units_of(name) is view.trace.units,
    }


def _section(trace: Trace, layer: int, direction: int, row: int) -> dict[str, Any]:
    view = see(trace, layer=layer, direction=direction, batch=row)
    shown = [int(place) for place in view.places if place < MOST_UNITS]
    way = ("forward", "backward")[direction]
    return {"heading": f"Layer {layer}, {way}", "order": shown, "sorted_by": view.sorted_by}


def _packed(array: np.ndarray[Any, np.dtype[Any]]) -> str:
    """[layer, direction, step, row, unit] as base64 of [section, row, unit, step]."""
    turned = array.transpose(0, 1, 3, 4, 2).astype("<f4")
    return base64.b64encode(np.ascontiguousarray(turned).tobytes()).decode()


def _notes(trace: Trace, steps: int, rows: int, all_rows: int) -> Any:
    """What is not on the page, in sentences."""
    if steps < len(trace.steps):
        yield (
            f"Only the first {steps:,} of {len(trace.steps):,} recorded steps are on this page;"
            " record other steps to see them."
        )
    if len(trace.units) > MOST_UNITS:
        of = f"{len(trace.units):,} recorded units"
        yield f"Only the first {MOST_UNITS} of {of} are on this page."
    if rows < all_rows:
        yield f"Only the first {rows} of {all_rows:,} rows are on this page."
