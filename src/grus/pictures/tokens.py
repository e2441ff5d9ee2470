"""Tokens as labels: what cannot be seen or drawn is spelt out."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEN = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "": "∅"}
LONGEST = 12  # characters of a token that are printed
FONT = "DejaVu Sans Mono"  # comes with matplotlib
SIZE, NARROWEST = 8.5, 0.11  # points; inches that a label needs


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
    if tokens is not None and inches / max(len(steps), 1) >= NARROWEST:
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
