"""Anyone's GRU judged: its answers compared, the table, and what the failures have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from grus.check.backend import Backend, NotOfferedError, WrongAnswerError
from grus.check.cases import cases
from grus.equations import Cell, CellError
from grus.equations.text import counted
from grus.mistakes import (
    Answer,
    Array,
    Case,
    Mistake,
    answer,
    forward_mistakes,
    gradient_mistakes,
)

Status = Literal["ok", "fails", "not offered"]


@dataclass(frozen=True)
class Part:
    """One thing that was asked for: is it right, how far off, and why."""

    status: Status
    off: float = 0.0
    """The largest difference, absolute; NaN or infinity where the answer has those."""
    said: str = ""
    """Why there is no number: what it raised, what it lacks."""
    cause: str = ""


@dataclass(frozen=True)
class Row:
    """One case: the answer's output and final state as one part, its gradients as another."""

    case: Case
    forward: Part
    gradients: Part


SEARCHED = 3
"""Cases for which two mistakes at once are searched: some thousand runs each."""


def bound(case: Case, dtype: str, largest: float) -> float:
    """The error that rounding can cause in an answer in ``dtype``.

    A step sums I + H products and rounds a dozen times beside, at numbers of about ``largest``;
    with these weights an error at most doubles from step to step, in each layer. Gradients add
    such sums over time and batch.
    """
    steps, batch, inputs = case.x.shape
    terms = inputs + case.directions * case.hidden + 12 + steps * batch
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    return float(2.0 ** (steps + case.num_layers) * terms * unit * max(1.0, largest))


def off_by(ours: Array, theirs: Array) -> float:
    """The largest difference; NaN where one is NaN and the other is not."""
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, np.abs(ours - theirs))
    return float(difference.max()) if difference.size else 0.0


def fits(case: Case, dtype: str, wanted: Answer, found: Answer) -> bool:
    """Whether an answer is this one, but for rounding."""
    largest = max(float(np.nanmax(np.abs(a), initial=0.0)) for a in (wanted.output, wanted.h_n))
    limit = bound(case, dtype, largest)
    return off_by(wanted.output, found.output) <= limit and off_by(wanted.h_n, found.h_n) <= limit


@dataclass(frozen=True)
class Given:
    """The answer to one case."""

    case: Case
    answer: Answer | None = None
    said: str = ""
    """Without an answer: why. With "not offered" in front of it, it is no failure."""
    offered: bool = True
    gradients: Mapping[str, Array] | None = None
    gradients_said: str = ""
    gradients_offered: bool = False


@dataclass
class Judge:
    """All that came back, against what should have."""

    cell: Cell
    dtype: str
    given: tuple[Given, ...]
    tried: int = 0
    _cache: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _paired: set[str] = field(default_factory=set)
    """The cases that two mistakes at once were tried for."""

    @cached_property
    def truth(self) -> dict[str, Answer]:
        """The right answer of each case, with gradients."""
        return {g.case.name: answer(self.cell, g.case, gradients=True) for g in self.given}

    @cached_property
    def answered(self) -> tuple[Given, ...]:
        """The cases with an answer."""
        return tuple(g for g in self.given if g.answer is not None)

    @cached_property
    def failing(self) -> tuple[Given, ...]:
        """The cases whose answer is wrong."""
        return tuple(g for g in self.answered if not self._is(g, self.truth[g.case.name]))

    def _is(self, given: Given, wanted: Answer) -> bool:
        assert given.answer is not None
        return fits(given.case, self.dtype, wanted, given.answer)

    def explains(self, mistake: Mistake, given: Given) -> bool:
        """Whether this mistake gives exactly this answer."""
        key = (mistake.name, given.case.name)
        if key not in self._cache:
            self.tried += 1
            self._cache[key] = mistake.run(self.cell, given.case)
        return self._is(given, self._cache[key])

    @cached_property
    def singles(self) -> tuple[Mistake, ...]:
        """The mistakes that can be made with this cell."""
        return forward_mistakes(self.cell)

    @cached_property
    def causes(self) -> dict[str, Mistake]:
        """Case -> the mistake that gives its answer.

        One mistake that gives every answer, right ones too, is the cause of all; else each case
        has the mistake that gives its answer and most of the others; else two at once.
        """
        singles = self.singles
        found: dict[str, Mistake] = {}
        for whole in singles:
            if self.failing and all(self.explains(whole, g) for g in self.answered):
                return {g.case.name: whole for g in self.failing}
        scores = {h.name: sum(self.explains(h, g) for g in self.failing) for h in singles}
        for g in self.failing:
            fitting = [h for h in singles if self.explains(h, g)]
            if fitting:
                found[g.case.name] = max(fitting, key=lambda h: scores[h.name])
        left = [g for g in self.failing if g.case.name not in found]
        return found | self._pairs(singles, left)

    def _pairs(self, singles: tuple[Mistake, ...], left: list[Given]) -> dict[str, Mistake]:
        """Two mistakes at once, for what one does not explain; the first rows alone are searched,
        the others are asked whether they fit."""
        found: dict[str, Mistake] = {}
        for g in left[:SEARCHED]:
            if g.case.name in found or not _finite(g):
                continue
            self._paired.add(g.case.name)
            seen = [h for h in singles if not self._harmless(h, g)]
            for one, other in combinations(seen, 2):
                if one.fits_with(other) and self._both(both := one & other, g):
                    found |= {o.case.name: both for o in left if self._both(both, o)}
                    break
        return found

    def _harmless(self, mistake: Mistake, given: Given) -> bool:
        """Whether this mistake does not show in this case."""
        self.explains(mistake, given)
        made = self._cache[mistake.name, given.case.name]
        return fits(given.case, self.dtype, self.truth[given.case.name], made)

    def _both(self, both: Mistake, given: Given) -> bool:
        try:
            return self.explains(both, given)
        except CellError:  # two changes of one equation need not be a cell together
            return False

    def rows(self) -> tuple[Row, ...]:
        """One row for each case, in their order."""
        return tuple(Row(g.case, self._forward(g), self._gradients(g)) for g in self.given)

    def _forward(self, given: Given) -> Part:
        if given.answer is None:
            status: Status = "fails" if given.offered else "not offered"
            return Part(status, said=given.said)
        wanted = self.truth[given.case.name]
        off = max(off_by(wanted.output, given.answer.output), off_by(wanted.h_n, given.answer.h_n))
        if given not in self.failing:
            return Part("ok", off)
        cause = self.causes.get(given.case.name)
        return Part("fails", off, cause=cause.name if cause else self._nearest(given))

    def _nearest(self, given: Given) -> str:
        """Nothing fits: say which mistake comes nearest and that it is not it."""
        assert given.answer is not None
        tried = self.singles
        distances = []
        for mistake in tried:
            self.explains(mistake, given)
            one = self._cache[mistake.name, given.case.name]
            distances.append(
                off_by(one.output, given.answer.output) + off_by(one.h_n, given.answer.h_n)
            )
        k = int(np.argmin(np.nan_to_num(distances, nan=np.inf)))
        ways = "singly and in pairs" if given.case.name in self._paired else "singly"
        return (
            f"unknown: {len(tried)} mistakes tried, {ways}; nearest is"
            f" {tried[k].name!r}, off by {distances[k]:.2g}"
        )

    def _gradients(self, given: Given) -> Part:
        if given.gradients is None:
            status: Status = "fails" if given.gradients_offered else "not offered"
            return Part(status, said=given.gradients_said)
        wanted = self.truth[given.case.name].gradients
        limits = self._limits(given.case)
        wrong, off = [], 0.0
        for name, gradient in given.gradients.items():
            here = off_by(wanted[name], gradient)
            off = float(np.maximum(off, here))  # NaN stays NaN
            wrong += [name] if not here <= limits[name] else []
        if not wrong:
            return Part("ok", off)
        return Part("fails", off, said=", ".join(wrong), cause=self._gradient_cause(given))

    def _limits(self, case: Case) -> dict[str, float]:
        wanted = self.truth[case.name].gradients
        # Back through time the same sums are taken again, of numbers that were rounded on the way.
        return {n: 8 * bound(case, self.dtype, float(np.abs(g).max())) for n, g in wanted.items()}

    def _gradient_cause(self, given: Given) -> str:
        assert given.gradients is not None
        forward = self.causes.get(given.case.name)
        if forward and follows(forward, self.cell, given.case, given.gradients, self.dtype):
            return f"the forward run's: {forward.name}"
        limits = self._limits(given.case)
        for mistake in gradient_mistakes():
            assert mistake.gradients is not None
            wrong = mistake.gradients(self.cell, given.case)
            if all(off_by(wrong[n], g) <= limits[n] for n, g in given.gradients.items()):
                return mistake.name
        return "unknown"


def _finite(given: Given) -> bool:
    assert given.answer is not None
    return bool(np.isfinite(given.answer.output).all() and np.isfinite(given.answer.h_n).all())


STEP = 2.0**-14
"""A step of central differences in float64: truncation (squared) and cancellation both stay near
1e-9 of a loss of about 1."""


def follows(
    mistake: Mistake, cell: Cell, case: Case, theirs: Mapping[str, Array], dtype: str
) -> bool:
    """Whether gradients are those of a wrong forward run, by differences along directions."""
    rng = np.random.default_rng(0)
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    for _ in range(3):
        along: dict[str, Any] = {n: rng.normal(size=g.shape) for n, g in theirs.items()}
        losses = [_loss(mistake, cell, case, along, step) for step in (STEP, -STEP)]
        slope = (losses[0] - losses[1]) / (2 * STEP)
        terms = [theirs[n] * along[n] for n in theirs]
        total = sum(float(np.sum(term)) for term in terms)
        size = sum(float(np.abs(term).sum()) for term in terms)
        # The sum of all terms, each rounded through every step; and the differences' own error.
        limit = (2.0 ** len(case.x) * 32 * unit + 1e-6) * max(1.0, size)
        if not abs(slope - total) <= limit:
            return False
    return True


def _loss(mistake: Mistake, cell: Cell, case: Case, along: Mapping[str, Any], step: float) -> float:
    weights = {n: w + step * along[n] for n, w in case.weights.items()}
    h0 = None if case.h0 is None else case.h0 + step * along["h0"]
    moved = replace(case, x=case.x + step * along["x"], weights=weights, h0=h0)
    wrong = mistake.run(cell, moved)
    return float(np.sum(case.dy * wrong.output) + np.sum(case.dh_n * wrong.h_n))


HEAD = ("case", "forward", "gradients")
WIDTH = 100


def report(judge: Judge) -> str:
    """A row for each case, then each failure with its cause."""
    rows = judge.rows()
    table = [HEAD, *((row.case.name, _short(row.forward), _short(row.gradients)) for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(3)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
             for line in table]  # fmt: skip
    lines += ["", *_causes(rows)]
    wrong = sum(1 for row in rows if "fails" in (row.forward.status, row.gradients.status))
    asked = sum(1 for row in rows if row.forward.status != "not offered")
    lines.append(
        f"{asked} of {counted(len(rows), 'case')} answered, {wrong} wrong; cell {judge.cell.name},"
        f" {judge.dtype}; {counted(len(judge.singles), 'mistake')} known"
    )
    return "\n".join(lines) + "\n"


def failed(judge: Judge) -> bool:
    """Whether anything that was answered is wrong."""
    return any("fails" in (row.forward.status, row.gradients.status) for row in judge.rows())


def _short(part: Part) -> str:
    if part.status == "fails" and not part.cause and part.said:
        return "fails"
    if part.status == "fails":
        return f"off by {part.off:.2g}"
    return part.status if part.status == "not offered" else f"ok, {part.off:.0e}"


def _causes(rows: tuple[Row, ...]) -> list[str]:
    """Each cause once, with the cases that have it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for part, what in ((row.forward, ""), (row.gradients, " (gradients)")):
            if part.status == "fails":
                said = part.cause or part.said
                if what and part.cause and part.said:
                    said = f"{part.cause} [{part.said}]" if part.cause == "unknown" else part.cause
                found.setdefault(said, []).append(row.case.name + what)
    lines = []
    for cause, names in found.items():
        whole = f"Likely cause: {cause}. Seen in: {', '.join(names)}."
        lines += [*textwrap.wrap(whole, WIDTH, subsequent_indent="  "), ""]
    return lines


def check(cell: Cell, backend: Backend, seed: int = 0) -> Judge:
    """Ask a backend every case."""
    given = tuple(ask(backend, case) for case in cases(cell, seed))
    return Judge(cell, backend.dtype, given)


def ask(backend: Backend, case: Case) -> Given:
    """Ask one case: its answer, then its gradients."""
    try:
        found = backend.answer(case)
    except NotOfferedError as error:
        return Given(case, said=str(error), offered=False)
    except WrongAnswerError as error:
        return Given(case, said=str(error))
    try:
        return Given(case, found, gradients=backend.derivatives(case))
    except NotOfferedError as error:
        return Given(case, found, gradients_said=str(error))
    except WrongAnswerError as error:
        return Given(case, found, gradients_said=str(error), gradients_offered=True)


def from_answers(cell: Cell, answers: Mapping[str, Answer], dtype: str, seed: int = 0) -> Judge:
    """Answers by case, as another program wrote them; a case without one is not offered."""
    given = []
    for case in cases(cell, seed):
        found = answers.get(case.name)
        if found is None:
            given.append(Given(case, offered=False))
        elif found.gradients:
            given.append(Given(case, found, gradients=found.gradients))
        else:
            given.append(Given(case, found))
    return Judge(cell, dtype, tuple(given))
