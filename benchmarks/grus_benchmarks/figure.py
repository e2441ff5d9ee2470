"""The ratios as a figure: a panel for each kind, a line for each problem, a mark for each peer."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from grus.errors import needed_for
from grus_benchmarks.tables import KINDS, Measured

MARKS = {
    "torch": ("o", "#d1495b"),
    "jax": ("s", "#2e86ab"),
    "onnxruntime": ("^", "#5b8c5a"),
    "openvino": ("D", "#8e6c8a"),
    "keras": ("v", "#d98e04"),
}
OTHER = ("P", "#555555")


def figure_class() -> Any:
    """matplotlib's. Raises MissingPackageError where matplotlib is not installed."""
    with needed_for("the figure", "bench"):
        from matplotlib.figure import Figure
    return Figure


def draw(found: Measured) -> bytes:
    """The figure as PNG. Raises MissingPackageError without matplotlib."""
    kinds = [kind for kind in KINDS if found.peers(kind)]
    problems = [result.problem for result in found.results]
    height = 1.6 + 0.27 * len(problems)
    figure = figure_class()(figsize=(2.6 + 3.6 * max(1, len(kinds)), height), layout="constrained")
    panels = figure.subplots(1, max(1, len(kinds)), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=False):
        _panel(panel, found, kind)
    panels[0].set_yticks(range(len(problems)), [str(problem) for problem in problems], fontsize=9)
    panels[0].set_ylim(len(problems) - 0.5, -0.5)
    handles: dict[str, Any] = {}
    for panel in panels:
        marks, names = panel.get_legend_handles_labels()
        handles |= dict(zip(names, marks, strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=6, frameon=False)
    figure.supxlabel(
        "a peer's time as a multiple of this project's (right of 1: the peer is slower)"
    )
    png = BytesIO()
    figure.savefig(png, format="png", dpi=130)
    return png.getvalue()


def _panel(panel: Any, found: Measured, kind: str) -> None:
    for name in found.peers(kind):
        at = [k for k, one in enumerate(found.results) if name in one.times.get(kind, {})]
        ratios = [found.results[k].times[kind][name].ratio for k in at]
        mark, color = MARKS.get(name, OTHER)
        panel.plot(ratios, at, mark, color=color, label=name, markersize=6, alpha=0.9)
    panel.set_xscale("log", base=2)
    panel.axvline(1, color="black", linewidth=1)
    low, high = panel.get_xlim()
    panel.set_xlim(min(low, 0.8), max(high, 2.2))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.grid(axis="both", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_title(kind, fontsize=10)
