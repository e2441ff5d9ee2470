"""A trace as one HTML file that needs nothing else: choose a value and a unit, point at a step."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.dialects.files.whole import replace
from grus.equations import Name, walk
from grus.errors import needed_for
from grus.pictures import report_data, style

if TYPE_CHECKING:
    from grus.traces import Trace

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
    data = report_data.collect(trace, limit)
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
    said = [f"{n:,} {word}{'s' * (n != 1)}" for word, n in counts.items()]
    return f"{', '.join(said)} of the cell {trace.cell.name}: {trace.cell.doc}".rstrip(": ")


def _measures(trace: Trace) -> str:
    """The table of `traces.measures`, where all that it measures was recorded."""
    from grus.equations.flat import gates
    from grus.traces.measures import HEAD, measures
    from grus.traces.parts import keeps

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
