"""A trace at a glance: the range of each value, as rows of numbers and as a small HTML table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations.text import counted

if TYPE_CHECKING:
    from grus.traces.recorded import Trace

Array = np.ndarray[Any, np.dtype[Any]]
BINS = 64
"""Cells of a strip at most; longer sequences are averaged."""
WIDEST = 384
"""Pixels of a strip."""
ROWS = 48
"""Rows of the HTML table at most."""
LOW, MIDDLE, HIGH = (178, 24, 43), (247, 247, 247), (33, 102, 172)
"""Red, white, blue: apart for all kinds of colour vision, light to dark away from 0."""


@dataclass(frozen=True)
class Summary:
    """One value in one layer and direction: its least, mean and greatest number over valid steps,
    rows and units (NaN where there is none), and the means of stretches of steps, over units and
    rows."""

    name: str
    layer: int
    direction: int
    low: float
    mean: float
    high: float
    strip: tuple[float, ...]


def summaries(trace: Trace) -> list[Summary]:
    """One for each value, layer and direction, in this order."""
    edges = np.linspace(0, len(trace.steps), min(BINS, len(trace.steps)) + 1).astype(int)
    rows = []
    for name, array in trace.values.items():
        for k, layer in enumerate(trace.layers):
            for d, direction in enumerate(trace.directions):
                part = array[k, d]
                strip = tuple(_mean(part[a:b]) for a, b in pairwise(edges))
                ends = [np.nan, np.nan]
                if part.size:
                    ends = [float(end.reduce(part, axis=None)) for end in (np.fmin, np.fmax)]
                numbers = (ends[0], _mean(part), ends[1])
                rows.append(Summary(name, int(layer), int(direction), *numbers, strip))
    return rows


def _mean(array: Array) -> float:
    """Of all but NaN."""
    valid = ~np.isnan(array)
    if not valid.any():
        return float("nan")
    return float(array.mean(where=valid, dtype=np.float64))


def html(trace: Trace) -> str:
    """The table for a notebook: no script, nothing from elsewhere, all text escaped."""
    rows = summaries(trace)
    sizes = ", ".join(
        counted(len(numbers), word)
        for word, numbers in (
            ("layer", trace.layers),
            ("direction", trace.directions),
            ("step", trace.steps),
            ("row", trace.lengths),
            ("unit", trace.units),
        )
    )
    lines = [f"<div><b>Trace</b> of {escape(trace.cell.name)}: {sizes}"]
    if trace.tokens is not None:
        text = "".join(trace.tokens[:100]) + ("…" if len(trace.tokens) > 100 else "")
        lines.append(f"<br><code>{escape(text)}</code>")
    heads = ("value", "layer", "direction", "least", "mean", "greatest", "means over time")
    lines.append("<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>")
    lines += [_row(summary, trace.tokens) for summary in rows[:ROWS]]
    lines.append("</table>")
    if len(rows) > ROWS:
        lines.append(f"and {len(rows) - ROWS} more")
    return "\n".join([*lines, "</div>"])


def _row(summary: Summary, tokens: Sequence[str] | None) -> str:
    way = "backward" if summary.direction else "forward"
    numbers = (f"{n:.4g}" for n in (summary.low, summary.mean, summary.high))
    cells = [escape(summary.name), str(summary.layer), way, *numbers, _strip(summary, tokens)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _strip(summary: Summary, tokens: Sequence[str] | None) -> str:
    """One coloured cell for each stretch of steps; a step's token where they are one to one."""
    count = len(summary.strip)
    if not count:
        return ""
    width = min(12.0, WIDEST / count)
    most = max((abs(v) for v in summary.strip if not math.isnan(v)), default=0.0) or 1.0
    labels = tokens if tokens is not None and len(tokens) == count else None
    cells = []
    for k, value in enumerate(summary.strip):
        title = f"{value:.4g}" + (f" at {escape(labels[k])}" if labels else "")
        cells.append(
            f'<rect x="{k * width:.2f}" width="{width:.2f}" height="12"'
            f' fill="{_colour(value / most)}"><title>{title}</title></rect>'
        )
    return f'<svg width="{count * width:.0f}" height="12">{"".join(cells)}</svg>'


def _colour(part: float) -> str:
    """Of a number from -1 to 1; grey for NaN."""
    if math.isnan(part):
        return "#999999"
    end = HIGH if part >= 0 else LOW
    mixed = (round(m + abs(part) * (e - m)) for m, e in zip(MIDDLE, end, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
