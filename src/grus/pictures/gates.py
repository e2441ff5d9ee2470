"""Gates and states over the steps, with the tokens that were read below them."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.pictures import style
from grus.pictures.view import TraceView, see

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grus.traces import Trace


SEEN = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "": "∅"}
LONGEST = 12  # characters of a token that are printed
FONT = "DejaVu Sans Mono"  # comes with matplotlib
SIZE, NARROWEST_LABEL = 8.5, 0.11  # points; inches that a label needs


def visible(token: str) -> str:
    """A token on one line: white space as its sign, controls as escapes, long ones cut."""
    if token in SEEN:
        return SEEN[token]
    cut = token if len(token) <= LONGEST else token[: LONGEST - 1] + "…"
    return "".join(SEEN.get(c, c) if c.isprintable() or c in SEEN else _code(c) for c in cut)


def drawable(token: str) -> str:
    """`visible`, with what matplotlib's font has no glyph for as its code point."""
    known = _glyphs()
    shown = (
        c if ord(c) in known and not unicodedata.combining(c) else _code(c) for c in visible(token)
    )
    return "".join(shown)


def _code(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"U+{ord(character):04X}"


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    font: Any = get_font(findfont(FONT))
    return frozenset(font.get_charmap())


def label_steps(ax: Axes, steps: list[int], tokens: list[str] | None) -> None:
    """Name the steps along x, which stand at 0, 1, ...: by their tokens where there is room.

    Numbers stand where there are no tokens or more than fit.
    """
    inches = ax.get_window_extent().width / ax.figure.dpi
    if tokens is not None and inches / max(len(steps), 1) >= NARROWEST_LABEL:
        labels = [drawable(token) for token in tokens]
        long = any(len(label) > 1 for label in labels)
        drawn = ax.set_xticks(range(len(steps)), labels, rotation=90 if long else 0)
        for tick in drawn:
            tick.label1.set(fontfamily=FONT, fontsize=SIZE, parse_math=False)
        ax.tick_params(axis="x", length=0, pad=3)
        ax.set_xlabel("token, one a step")
        return
    _number(ax, steps, inches)
    ax.set_xlabel("step")


def _number(ax: Axes, steps: list[int], inches: float) -> None:
    """Round numbers of steps, at their places."""
    from matplotlib.ticker import MaxNLocator

    if not steps:
        ax.set_xticks([])
        return
    place = {step: k for k, step in enumerate(steps)}
    most = max(2, min(12, int(inches / 0.7)))
    wanted = MaxNLocator(most, integer=True).tick_values(steps[0], steps[-1])
    shown = [int(step) for step in wanted if int(step) in place]
    if len(shown) < 2:  # steps with gaps between them
        shown = [steps[k] for k in range(0, len(steps), -(-len(steps) // most))]
    ax.set_xticks([place[step] for step in shown], [str(step) for step in shown])


LINES = 4  # as many units are told apart as lines
GATE_MAP, SIGNED_MAP = "Blues", "cividis"  # lightness goes one way in both
PANEL, LINE_PANEL, EDGE = 1.55, 1.7, 1.1  # inches
PIXELS = (128, 600)  # units and steps that a panel shows one by one
STEP, NARROWEST, WIDEST = 0.13, 6.5, 12.0


def gate(
    trace: Trace,
    name: str,
    *,
    ax: Axes | None = None,
    layer: int | None = None,
    direction: int | None = None,
    batch: int = 0,
    units: Sequence[int] | None = None,
    order: str | None = "memory",
) -> Axes:
    """One value of one row over time, on ``ax`` or on a new figure: `gates` of one name."""
    several = None if ax is None else [ax]
    chosen = {"layer": layer, "direction": direction, "batch": batch}
    (drawn,) = gates(trace, [name], ax=several, units=units, order=order, **chosen)  # type: ignore[arg-type]
    return drawn


def gates(
    trace: Trace,
    names: Sequence[str] | None = None,
    *,
    ax: Sequence[Axes] | None = None,
    layer: int | None = None,
    direction: int | None = None,
    batch: int = 0,
    units: Sequence[int] | None = None,
    order: str | None = "memory",
) -> tuple[Axes, ...]:
    """Values of one row over time, a panel each: units down, steps along, tokens as tick labels.

    ``names`` are values of the trace, all by default. ``layer`` and ``direction`` are the first
    that were recorded unless given, ``batch`` is the row; steps past its end are not drawn.
    ``units`` picks some; up to four are drawn as lines. ``order`` sorts the units of all panels
    alike: "memory" by the mean share of the state that the update (or forget) gate keeps, largest
    on top; the name of a value by its mean over the steps; None by number. A cell without such a
    gate, or a trace without it, is in the order of numbers.

    A gate's colours go from 0, pale, to 1, dark; those of a signed value from dark blue below zero
    to yellow above. Returns the panels' axes: those of ``ax``, one for each name, or of a new
    figure. Raises InputError for what was not recorded.
    """
    view = see(trace, names, layer, direction, batch, units, order)
    few = all(len(view.units(name)) <= LINES for name in view.names)
    heights = [LINE_PANEL if few else PANEL] * len(view.names)
    heights[-1] += EDGE / 2
    width = min(max(STEP * len(view.steps) + 2.2, NARROWEST), WIDEST)
    panels = style.panels(ax, heights, width)
    for panel, name in zip(panels, view.names, strict=True):
        (_lines if len(view.units(name)) <= LINES else _map)(panel, view, name)
        panel.set_title(_title(view, name), loc="left", fontsize=10.5, fontfamily=FONT)
        panel.title.set_parse_math(False)
    _steps(panels, view)
    if ax is None:
        title = view.title + (f": units, {view.sorted_by}" if view.sorted_by else "")
        panels[0].figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return tuple(panels)


def _steps(panels: list[Axes], view: TraceView) -> None:
    """Labels of steps under the last of panels that share x, under each of others."""
    shared = [a for a in panels[:-1] if panels[-1] in a.get_shared_x_axes().get_siblings(a)]
    for panel in panels:
        if panel in shared:
            panel.tick_params(axis="x", length=0, labelbottom=False)
        else:
            label_steps(panel, view.steps.tolist(), view.tokens)


def _title(view: TraceView, name: str) -> str:
    equation = view.equation(name)
    return equation if len(equation) <= 72 else equation[:71] + "…"


def _map(ax: Axes, view: TraceView, name: str) -> None:
    """Units down, steps along, value as colour."""
    import matplotlib

    values = view.value(name)
    low, high = view.limits(name)
    colours = matplotlib.colormaps[GATE_MAP if view.is_gate(name) else SIGNED_MAP]
    # Square corners, and small in an SVG; averaged where pixels are fewer than values.
    fits = values.shape[0] <= PIXELS[0] and values.shape[1] <= PIXELS[1]
    look: dict[str, Any] = {"interpolation": "none" if fits else "antialiased", "cmap": colours}
    image = ax.imshow(values, aspect="auto", vmin=low, vmax=high, **look)
    ax.set_ylabel("unit")
    numbers = view.units(name)
    places = np.arange(0, len(numbers), -(-len(numbers) // 5))
    ax.set_yticks(places, [str(numbers[k]) for k in places])
    ax.tick_params(axis="y", labelsize=style.SMALL)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=12, fraction=0.03)
    ticks, labels = _ends(view, name)
    bar.set_ticks(ticks, labels=labels)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.outline.set_visible(False)


def _ends(view: TraceView, name: str) -> tuple[list[float], list[str]]:
    """The colour bar's ticks, saying what a gate's ends do."""
    low, high = view.limits(name)
    if view.is_gate(name):
        shut, open_ = view.meaning(name)
        return [low, (low + high) / 2, high], [f"0 {shut}", "0.5", f"1 {open_}"]
    return [low, 0.0, high], [f"{low:.3g}", "0", f"{high:.3g}"]


def _lines(ax: Axes, view: TraceView, name: str) -> None:
    """A line for each unit."""
    values, numbers = view.value(name), view.units(name)
    low, high = view.limits(name)
    places = np.arange(len(view.steps))
    every = max(1, len(places) // 12)
    for k, (unit, line) in enumerate(zip(numbers, values, strict=True)):
        look: dict[str, Any] = style.series(k)
        ax.plot(
            places, line, label=f"unit {unit}", markevery=(k % every, every), markersize=4, **look
        )
    style.plain(ax)
    edge = 0.04 * (high - low)
    ax.set_ylim(low - edge, high + edge)
    ax.set_xlim(-0.5, len(places) - 0.5)
    if view.is_gate(name):
        shut, open_ = view.meaning(name)
        ax.set_yticks([0, 0.5, 1], [f"0 {shut}", "0.5", f"1 {open_}"])
    else:
        ax.set_ylabel("value")
    if name == view.names[0]:
        style.legend(ax)
