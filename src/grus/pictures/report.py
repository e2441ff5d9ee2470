"""A trace as one HTML page to look through, by plotly."""

from __future__ import annotations

import base64
import json
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.atomic_file import replace
from grus.equations import Name, walk
from grus.errors import InputError, needed_for
from grus.pictures import style
from grus.pictures.gates import visible
from grus.pictures.view import TraceView, see

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


def _name(view: TraceView, name: str, units: int) -> dict[str, Any]:
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
    """Sentences about what the page leaves out."""
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


LIMIT = 1_000_000  # numbers in a page; 4 bytes each, a third more as text
# Nothing is fetched from anywhere, whatever a token says.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; form-action 'none'; base-uri 'none'"
)


def html(trace: Trace, *, title: str | None = None, limit: int = LIMIT) -> str:
    """The page: a section for each layer and direction, with a heat map of all units and below it
    the values of one unit; choose the value, the row, the order and the unit.

    ``title`` is the page's heading, the cell's name by default. A page holds at most ``limit``
    numbers: of a longer trace the first steps, of a wider one the first units and rows, and a note
    on the page says what is left out. plotly's JavaScript is in the page (5 MB); opening it sends
    nothing to anyone.

    Raises InputError without plotly, or where nothing was recorded.
    """
    data = collect(trace, limit)
    heading = escape(title or f"{trace.cell.name}: what it computed inside")
    notes = "".join(f'<p class="note" role="note">{escape(note)}</p>' for note in data["notes"])
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{heading}</title><style>{_resource('report.css')}</style></head><body>",
            f"<header><h1>{heading}</h1><p>{escape(_summary(trace))}</p>{notes}</header>",
            _resource("report.html"),
            _measures(trace),
            "<details><summary>The equations</summary>",
            f"<pre>{escape(str(trace.cell))}</pre></details>",
            f'<script type="application/json" id="data">{_json(data)}</script>',
            f"<script>{_plotly()}</script><script>{_resource('report.js')}</script></body></html>\n",
        ]
    )


def write(trace: Trace, path: str | Path, *, title: str | None = None, limit: int = LIMIT) -> None:
    """Write `html` to a file .html, whole or not at all."""
    path = Path(path)
    style.check_path(path, ("html",))
    replace(path, html(trace, title=title, limit=limit).encode())


def _summary(trace: Trace) -> str:
    """``gru, 1 layer, 68 steps, 64 units``."""
    counts = {
        "layer": len(trace.layers),
        "direction": len(trace.directions),
        "row": len(trace.lengths),
        "step": len(trace.steps),
        "unit": len(trace.units),
    }
    texts = [f"{n:,} {word}{'s' * (n != 1)}" for word, n in counts.items()]
    return f"{', '.join(texts)} of the cell {trace.cell.name}: {trace.cell.doc}".rstrip(": ")


def _measures(trace: Trace) -> str:
    """The table of `traces.measures`, if everything that it needs was recorded."""
    from grus.equations.flat import gates
    from grus.traces import HEAD, keeps, measures

    factors = keeps(trace.cell).values()
    kept = {n.name for factor in factors for n in walk(factor) if isinstance(n, Name)}
    wanted = {*gates(trace.cell), *trace.cell.states, *kept}
    if not wanted <= set(trace.names):
        return ""
    rows = [HEAD, *measures(trace).table()]
    lines = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    lines[0] = lines[0].replace("td>", "th>")
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    box = '<div class="wide" tabindex="0" role="region" aria-label="Measures">'
    return f"<h2>Measures</h2>{box}<table>{body}</table></div>"


def _json(data: dict[str, Any]) -> str:
    """JSON that no HTML parser sees an end of script or a comment in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return resources.files("grus.pictures").joinpath(name).read_text("utf-8")


def _plotly() -> str:
    """plotly.js as its Python package carries it."""
    with needed_for("an HTML report"):
        from plotly.offline import get_plotlyjs
    return str(get_plotlyjs())
