"""Style shared by all figures: colours, new axes without pyplot, files."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.atomic_file import replace
from grus.errors import InputError, needed_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Six of Okabe and Ito's eight (2008): the six whose neighbours stay apart for deuteranopes too.
BLUE, AMBER, INK = "#0072B2", "#E69F00", "#1a1a1a"
SKY, RED, PURPLE = "#56B4E9", "#D55E00", "#CC79A7"
COLOURS = (BLUE, AMBER, INK, SKY, RED, PURPLE)
# The same distinction without colour.
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY, PALE = "#5f6368", "#e4e6e8"
SMALL = 9.0  # points; nothing is printed smaller than this but tokens
FORMATS = ("svg", "png")
DPI = 144


def series(k: int) -> dict[str, Any]:
    """Colour, dash and marker of the ``k``-th line; after six they repeat in other pairs."""
    shift = k // len(COLOURS)
    place = (k + shift) % len(DASHES)
    return {"color": COLOURS[k % 6], "linestyle": DASHES[place], "marker": MARKERS[place]}


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """``ax`` itself, or the axes of a new figure of that size in inches, unknown to pyplot."""
    return panels(None, [height], width)[0] if ax is None else ax


def panels(axes: Iterable[Axes] | None, heights: list[float], width: float) -> list[Axes]:
    """One axes for each height, below each other with a common x; ``axes`` must be as many."""
    if axes is not None:
        several = list(axes)
        if len(several) != len(heights):
            raise InputError(
                f"ax must be {len(heights)} axes, one for each value, got {len(several)}"
            )
        return several
    figure = new_figure(width, sum(heights))
    grid = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    return list(grid[:, 0])


def new_figure(width: float, height: float) -> Figure:
    """A figure that lays itself out, made without pyplot, so that nothing has to be closed."""
    with needed_for("a figure"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def plain(ax: Axes) -> None:
    """No box, a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=SMALL)


def name(ax: Axes, x: str, y: str, title: str) -> None:
    """The names of both axes, and the title."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, loc="left", fontsize=12)


def line(k: int, points: int, marks: int) -> dict[str, Any]:
    """`series` with about ``marks`` markers along a line of so many points."""
    return series(k) | {"markevery": max(1, points // marks), "markersize": 5}


def legend(ax: Axes, title: str | None = None) -> None:
    """The key at the right of the axes, where it covers nothing."""
    ax.legend(
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize=SMALL,
        title_fontsize=SMALL,
        handlelength=3.2,
        alignment="left",
    )


def save(drawn: Axes | Figure | Iterable[Axes], path: str | Path) -> None:
    """Write a figure, or the one that some axes stand on, to an .svg or .png file, whole or not.

    The text of an SVG stays text. The same figure gives the same bytes. Raises InputError for
    another suffix, a folder that does not exist, and axes of several figures.
    """
    path = Path(path)
    check_path(path, FORMATS)
    form = path.suffix[1:].lower()
    replace(path, content(figure_of(drawn), form))


def check_path(path: Path, forms: tuple[str, ...]) -> None:
    """Raise InputError unless a file of one of these forms can be made there."""
    if path.suffix[1:].lower() not in forms:
        raise InputError(f"a picture must be a file .{', .'.join(forms)}, got {path}")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"a picture must be a file in a folder that exists, got {path}")


def content(figure: Figure, form: str) -> bytes:
    """The bytes of the figure's file, without a date in them."""
    import matplotlib

    into = io.BytesIO()
    settings = {"svg.hashsalt": "grus", "svg.fonttype": "none"}
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type,unused-ignore]
        figure.savefig(into, format=form, dpi=DPI, metadata=metadata)
    return into.getvalue()


def figure_of(drawn: Axes | Figure | Iterable[Axes]) -> Figure:
    """The one figure that is meant."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if isinstance(drawn, Figure):
        return drawn
    several = [drawn] if isinstance(drawn, Axes) else list(drawn)
    figures = {id(ax.figure.canvas.figure): ax.figure.canvas.figure for ax in several}
    if len(figures) != 1:
        raise InputError(f"one figure is saved at a time, got axes of {len(figures)}")
    (figure,) = figures.values()
    return figure
