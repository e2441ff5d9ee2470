"""An answer in print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from grus.identification.apart import Apart
from grus.identification.find import Answer, Found
from grus.identification.mine import Mine
from grus.identification.signs import Proof

Array = Any
WIDTH = 96
MANY = 6  # rows of a table, numbers of an array


def page(answer: Answer) -> str:
    """The answer as text: what fits, how sure that is, what does not fit."""
    lines = [*_head(answer), ""]
    if not answer.matches and not answer.likely:
        lines += [*_known(answer)]
    lines += _facts(answer)
    for example, with_these in ((answer.apart, True), (answer.elsewhere, False)):
        if example is not None:
            lines += ["", *_apart(example, with_these)]
    if answer.mine is not None:
        lines += ["", *_mine(answer.mine)]
    return "\n".join(lines)


Answer.__str__ = page  # type: ignore[method-assign, assignment]


def _head(answer: Answer) -> Iterator[str]:
    fitting = answer.matches or answer.likely
    if fitting:
        one = len(fitting) == 1
        which = "One function fits" if one else f"{len(fitting)} functions fit alike"
        given = (
            "" if answer.matches or answer.digits is None else f" to the {_digits(answer)} given"
        )
        yield f"{which}{given}."
        for found in fitting[:MANY]:
            yield ""
            yield from _match(found)
        if len(fitting) > MANY:
            yield f"... and {len(fitting) - MANY} more"
        if not answer.matches:
            yield ""
            yield from _text(
                f"The chance is {_odds(fitting[0].odds)} that so few digits fit by accident; more"
                " decimals of y, or every output in place of the last one, would settle it."
            )
    elif answer.undecided:
        count = len(answer.undecided)
        yield "Too few digits to tell."
        yield from _text(
            f"{count} {'function fits' if count == 1 else 'functions fit'}, but so few digits fit"
            " by chance; give more decimals of y, or every output in place of the last one."
        )
    else:
        yield "No dialect explains this example."
        yield from _text(
            "Nothing that is tried gives y. If the layer is of a kind that is tried, these weights"
            " and this y are not of one model, or x or h0 is not what it was fed. Not tried:"
            " peepholes, projections, normalisation, forget biases other than 0 and 1 that no"
            " tensor holds, several layers at once, cells and activations beside those of `grus"
            " dialects`."
        )


def _digits(answer: Answer) -> str:
    return "one decimal" if answer.digits == 1 else f"{answer.digits} decimals"


def _match(found: Found) -> Iterator[str]:
    name = ", ".join(found.dialects) or "no dialect as it comes"
    yield from _text(name, "  ")
    yield from _text(found.said, "    ")
    yield f"    {found.example}; off by {found.error:.1e}"
    if found.options and not found.dialects:
        yield from _text(f"with these activations: {', '.join(found.options)}", "    ")
    if found.papers:
        yield from _text(f"the equations of {', '.join(found.papers)}", "    ")


def _facts(answer: Answer) -> Iterator[str]:
    """What was tried and how sure the answer is, in one column."""
    best = (*answer.matches, *answer.undecided, *answer.nearest)[0]
    merged = f"{answer.hypotheses:,} hypotheses are {answer.functions:,} functions"
    yield from _fact("tried", f"{answer.trials:,}: {merged}, in each direction and reading of y")
    if answer.digits is None:
        why = "what rounding may move y by"
    else:
        why = f"y has {answer.digits} decimals; the rest is what rounding may move y by"
    yield from _fact("tolerance", f"{best.tolerance:.1e}: {why}")
    if answer.nearest:
        near = answer.nearest[0]
        what = "nearest other" if answer.matches else "nearest"
        times = near.error / near.tolerance
        yield from _fact(what, f"off by {near.error:.2g}, {times:.2g} times the tolerance:")
        yield from _fact("", f"{near.name}; {near.example}")
    yield from _fact(
        "chance",
        f"{_odds(best.odds)} that one of them fits {_count(answer.numbers)} that has nothing to"
        f" do with the weights: {answer.trials:,} x {best.tolerance:.1e}"
        + (f"^{answer.numbers}" if answer.numbers > 1 else ""),
    )


def _fact(name: str, said: str) -> Iterator[str]:
    for k, line in enumerate(wrap(said, WIDTH - 16, break_on_hyphens=False)):
        yield f"{name if k == 0 else '':14}  {line}"


def _count(numbers: int) -> str:
    return "a y" if numbers == 1 else f"a y of {numbers} numbers"


def _odds(value: float) -> str:
    if value >= 1:
        return "certain"
    if value < 1e-15:
        return "less than 1 in 10^15"
    return f"1 in {1 / value:,.0f}" if value > 1e-6 else f"1 in {1 / value:.0e}"


def _known(answer: Answer) -> Iterator[str]:
    """What each dialect gives, and where the signs exclude y."""
    if not answer.known:
        return
    yield "What the dialects give for these weights:"
    yield ""
    shown = [
        (_shown(one.y), f"{one.error:.2g}", ", ".join(one.dialects)) for one in answer.known[:9]
    ]
    yield from _table(("y", "off by", "dialect"), shown)
    yield ""
    proofs = [(one, one.impossible) for one in answer.known if one.impossible is not None]
    for one, proof in proofs[:1]:
        yield from _proof(one, proof)
        others = "; ".join(_short(other.dialects) for other, _ in proofs[1:])
        if others:
            yield from _text(f"So it is, by their signs, in: {others}.")
        yield ""


def _short(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(names[: 2 if more else 3]) + more


def _proof(found: Found, proof: Proof) -> Iterator[str]:
    unit = f" of unit {proof.unit + 1}" if found.y.size > 1 else ""
    if proof.high <= 0 < proof.y:
        what = f"the output{unit} can never be positive"
    elif proof.low >= 0 > proof.y:
        what = f"the output{unit} can never be negative"
    else:
        what = f"the output{unit} stays between {proof.low:g} and {proof.high:g}"
    yield from _text(
        f"In {_short(found.dialects)} {what}, whatever the sizes of these numbers; their signs"
        " are enough:"
    )
    for line in proof.lines:
        yield from _text(line, "  ")


def _apart(example: Apart, with_these: bool) -> Iterator[str]:
    if with_these:
        yield "This example would tell them apart:"
    else:
        yield from _text("No example with these weights tells all of these apart. These do:")
        for name, array in example.tensors or ():
            yield from _text(f"{name} = {_shown(array, whole=True)}", "  ")
    yield from _text(f"x = {_shown(example.x, whole=True)}", "  ")
    for name, state in zip(("h0", "c0"), example.h0, strict=False):
        yield from _text(f"{name} = {_shown(state, whole=True)}", "  ")
    yield ""
    rows = [(_shown(y[-1]), said) for y, said in zip(example.y, example.said, strict=True)]
    yield from _table(("last output", "if it is"), rows)


def _mine(mine: Mine) -> Iterator[str]:
    value = _written(mine.value, mine.digits)
    tried = f"{mine.tried:,} calculations with one slip, two or none were tried"
    if not mine.found:
        yield from _text(
            f"{value}: none of the known slips gives that, alone or in pairs; {tried}."
        )
        return
    count = len(mine.found[0].slips)
    if count == 0:
        bases = "; ".join(_short(one.base) for one in mine.found)
        yield from _text(f"{value} is right for {bases}.")
        return
    many = "this slip gives" if count == 1 else "these two slips together give"
    yield f"{value}: {many} just that{'' if len(mine.found) == 1 else ', or'}"
    for k, one in enumerate(mine.found):
        lead = "  or " if k and len(mine.found) > 1 else "     "
        yield from _text(" and ".join(one.slips), lead)
        yield from _text(f"(otherwise calculated as in {_short(one.base)})", "     ")
    yield from _text(
        f"{tried}; the odds that one gives an unrelated number are {_odds(mine.odds)}."
    )


def _written(value: Array, digits: int | None) -> str:
    shown = [f"{v:.{digits}f}" if digits is not None else f"{v:.6g}" for v in np.ravel(value)]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _shown(array: Array, whole: bool = False) -> str:
    """A number, or an array; the last few numbers where it is long."""
    if np.size(array) == 1 and not whole:
        return f"{float(np.ravel(array)[0]):.5f}"
    if whole:
        return np.array2string(np.asarray(array), separator=", ", max_line_width=10_000).replace(
            "\n", ""
        )
    flat = np.ravel(array)
    said = ", ".join(f"{v:.5f}" for v in flat[-MANY:])
    return f"[{'... ' if len(flat) > MANY else ''}{said}]"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side; the last one is wrapped."""
    widths = [max(len(row[k]) for row in (columns, *rows)) for k in range(len(columns) - 1)]
    for row in (columns, *rows):
        lead = "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)) + "  "
        for k, line in enumerate(wrap(row[-1], WIDTH - len(lead), break_on_hyphens=False)):
            yield (lead if k == 0 else " " * len(lead)) + line


def _text(said: str, lead: str = "") -> Iterator[str]:
    yield from wrap(
        said, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False
    )
