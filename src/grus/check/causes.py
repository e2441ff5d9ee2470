"""Anyone's GRU judged: its answers compared, the table, and what the failures have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from grus.check.answers import Backend, NotOfferedError, WrongAnswerError
from grus.check.cases import cases
from grus.equations import Cell, CellError
from grus.equations.text import columns, counted
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
class Finding:
    """Whether an answer or its gradients are right, how far off, and why."""

    status: Status
    off: float = 0.0
    """The largest difference, absolute; NaN or infinity where the answer has those."""
    reason: str = ""
    """Why there is no number: what it raised, what it lacks."""
    cause: str = ""


@dataclass(frozen=True)
class CaseFindings:
    """One case: the answer's output and final state as one part, its gradients as another."""

    case: Case
    forward: Finding
    gradients: Finding


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


def off_by(expected: Array, actual: Array) -> float:
    """The largest difference; NaN where one is NaN and the other is not."""
    with np.errstate(invalid="ignore"):
        both_nan = np.isnan(expected) & np.isnan(actual)
        difference = np.where(both_nan, 0.0, np.abs(expected - actual))
    return float(difference.max()) if difference.size else 0.0


def _off(wanted: Answer, actual: Answer) -> tuple[float, float]:
    """The largest differences of the output and of the final state."""
    return off_by(wanted.output, actual.output), off_by(wanted.h_n, actual.h_n)


def fits(case: Case, dtype: str, wanted: Answer, actual: Answer) -> bool:
    """Whether an answer is the wanted one, but for rounding."""
    largest = max(float(np.nanmax(np.abs(a), initial=0.0)) for a in (wanted.output, wanted.h_n))
    limit = bound(case, dtype, largest)
    return all(off <= limit for off in _off(wanted, actual))


@dataclass(frozen=True)
class Response:
    """The answer to one case."""

    case: Case
    answer: Answer | None = None
    reason: str = ""
    """Without an answer: why. It is a failure if it was ``offered``."""
    offered: bool = True
    gradients: Mapping[str, Array] | None = None
    gradients_reason: str = ""
    gradients_offered: bool = False


@dataclass
class Judge:
    """All answers, compared with the right ones."""

    cell: Cell
    dtype: str
    responses: tuple[Response, ...]
    tried: int = 0
    _cache: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _paired: set[str] = field(default_factory=set)
    """The cases that two mistakes at once were tried for."""

    @cached_property
    def truth(self) -> dict[str, Answer]:
        """The right answer of each case, with gradients."""
        return {g.case.name: answer(self.cell, g.case, gradients=True) for g in self.responses}

    @cached_property
    def answered(self) -> tuple[Response, ...]:
        """The cases with an answer."""
        return tuple(g for g in self.responses if g.answer is not None)

    @cached_property
    def failing(self) -> tuple[Response, ...]:
        """The cases whose answer is wrong."""
        return tuple(g for g in self.answered if not self._is(g, self.truth[g.case.name]))

    def _is(self, response: Response, wanted: Answer) -> bool:
        assert response.answer is not None
        return fits(response.case, self.dtype, wanted, response.answer)

    def explains(self, mistake: Mistake, response: Response) -> bool:
        """Whether this mistake gives exactly this answer."""
        key = (mistake.name, response.case.name)
        if key not in self._cache:
            self.tried += 1
            self._cache[key] = mistake.run(self.cell, response.case)
        return self._is(response, self._cache[key])

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
        causes: dict[str, Mistake] = {}
        for whole in singles:
            if self.failing and all(self.explains(whole, g) for g in self.answered):
                return {g.case.name: whole for g in self.failing}
        scores = {h.name: sum(self.explains(h, g) for g in self.failing) for h in singles}
        for g in self.failing:
            fitting = [h for h in singles if self.explains(h, g)]
            if fitting:
                causes[g.case.name] = max(fitting, key=lambda h: scores[h.name])
        left = [g for g in self.failing if g.case.name not in causes]
        return causes | self._pairs(singles, left)

    def _pairs(self, singles: tuple[Mistake, ...], left: list[Response]) -> dict[str, Mistake]:
        """Pairs of mistakes for the cases that no single one explains; a pair is searched in the
        first cases and only tried on the others."""
        causes: dict[str, Mistake] = {}
        for g in left[:SEARCHED]:
            if g.case.name in causes or not _finite(g):
                continue
            self._paired.add(g.case.name)
            seen = [h for h in singles if not self._harmless(h, g)]
            for first, second in combinations(seen, 2):
                if first.fits_with(second) and self._both(both := first & second, g):
                    causes |= {o.case.name: both for o in left if self._both(both, o)}
                    break
        return causes

    def _harmless(self, mistake: Mistake, response: Response) -> bool:
        """Whether this mistake does not show in this case."""
        self.explains(mistake, response)
        mistaken = self._cache[mistake.name, response.case.name]
        return fits(response.case, self.dtype, self.truth[response.case.name], mistaken)

    def _both(self, both: Mistake, response: Response) -> bool:
        try:
            return self.explains(both, response)
        except CellError:  # two changes of one equation need not be a cell together
            return False

    def rows(self) -> tuple[CaseFindings, ...]:
        """One row for each case, in their order."""
        return tuple(
            CaseFindings(g.case, self._forward(g), self._gradients(g)) for g in self.responses
        )

    def _forward(self, response: Response) -> Finding:
        if response.answer is None:
            status: Status = "fails" if response.offered else "not offered"
            return Finding(status, reason=response.reason)
        wanted = self.truth[response.case.name]
        off = max(_off(wanted, response.answer))
        if response not in self.failing:
            return Finding("ok", off)
        cause = self.causes.get(response.case.name)
        return Finding("fails", off, cause=cause.name if cause else self._nearest(response))

    def _nearest(self, response: Response) -> str:
        """The mistake that comes nearest to an answer that none gives."""
        assert response.answer is not None
        tried = self.singles
        distances = []
        for mistake in tried:
            self.explains(mistake, response)
            mistaken = self._cache[mistake.name, response.case.name]
            distances.append(sum(_off(mistaken, response.answer)))
        k = int(np.argmin(np.nan_to_num(distances, nan=np.inf)))
        ways = "singly and in pairs" if response.case.name in self._paired else "singly"
        return (
            f"unknown: {len(tried)} mistakes tried, {ways}; nearest is"
            f" {tried[k].name!r}, off by {distances[k]:.2g}"
        )

    def _gradients(self, response: Response) -> Finding:
        if response.gradients is None:
            status: Status = "fails" if response.gradients_offered else "not offered"
            return Finding(status, reason=response.gradients_reason)
        wanted = self.truth[response.case.name].gradients
        limits = self._limits(response.case)
        wrong, off = [], 0.0
        for name, gradient in response.gradients.items():
            difference = off_by(wanted[name], gradient)
            off = float(np.maximum(off, difference))  # NaN stays NaN
            wrong += [name] if not difference <= limits[name] else []
        if not wrong:
            return Finding("ok", off)
        return Finding("fails", off, reason=", ".join(wrong), cause=self._gradient_cause(response))

    def _limits(self, case: Case) -> dict[str, float]:
        wanted = self.truth[case.name].gradients
        # Back through time the same sums are taken again, of numbers that were rounded on the way.
        return {n: 8 * bound(case, self.dtype, float(np.abs(g).max())) for n, g in wanted.items()}

    def _gradient_cause(self, response: Response) -> str:
        assert response.gradients is not None
        forward = self.causes.get(response.case.name)
        if forward and follows(forward, self.cell, response.case, response.gradients, self.dtype):
            return f"the forward run's: {forward.name}"
        limits = self._limits(response.case)
        for mistake in gradient_mistakes():
            assert mistake.gradients is not None
            wrong = mistake.gradients(self.cell, response.case)
            if all(off_by(wrong[n], g) <= limits[n] for n, g in response.gradients.items()):
                return mistake.name
        return "unknown"


def _finite(response: Response) -> bool:
    assert response.answer is not None
    return bool(
        np.isfinite(response.answer.output).all() and np.isfinite(response.answer.h_n).all()
    )


STEP = 2.0**-14
"""A step of central differences in float64: truncation (squared) and cancellation both stay near
1e-9 of a loss of about 1."""


def follows(
    mistake: Mistake, cell: Cell, case: Case, gradients: Mapping[str, Array], dtype: str
) -> bool:
    """Whether gradients are those of a wrong forward run, by differences along directions."""
    rng = np.random.default_rng(0)
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    for _ in range(3):
        along: dict[str, Any] = {n: rng.normal(size=g.shape) for n, g in gradients.items()}
        losses = [_loss(mistake, cell, case, along, step) for step in (STEP, -STEP)]
        slope = (losses[0] - losses[1]) / (2 * STEP)
        terms = [gradients[n] * along[n] for n in gradients]
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
    lines = [*columns(table), "", *_causes(rows)]
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


def _short(part: Finding) -> str:
    if part.status == "fails" and not part.cause and part.reason:
        return "fails"
    if part.status == "fails":
        return f"off by {part.off:.2g}"
    return part.status if part.status == "not offered" else f"ok, {part.off:.0e}"


def _causes(rows: tuple[CaseFindings, ...]) -> list[str]:
    """Each cause once, with the cases that have it."""
    causes: dict[str, list[str]] = {}
    for row in rows:
        for part, what in ((row.forward, ""), (row.gradients, " (gradients)")):
            if part.status == "fails":
                cause = part.cause or part.reason
                if what and part.cause == "unknown" and part.reason:
                    cause = f"{part.cause} [{part.reason}]"
                causes.setdefault(cause, []).append(row.case.name + what)
    lines = []
    for cause, names in causes.items():
        whole = f"Likely cause: {cause}. Seen in: {', '.join(names)}."
        lines += [*textwrap.wrap(whole, WIDTH, subsequent_indent="  "), ""]
    return lines


def check(cell: Cell, backend: Backend, seed: int = 0) -> Judge:
    """Ask a backend every case."""
    responses = tuple(ask(backend, case) for case in cases(cell, seed))
    return Judge(cell, backend.dtype, responses)


def ask(backend: Backend, case: Case) -> Response:
    """Ask one case: its answer, then its gradients."""
    try:
        reply = backend.answer(case)
    except NotOfferedError as error:
        return Response(case, reason=str(error), offered=False)
    except WrongAnswerError as error:
        return Response(case, reason=str(error))
    try:
        return Response(case, reply, gradients=backend.derivatives(case))
    except NotOfferedError as error:
        return Response(case, reply, gradients_reason=str(error))
    except WrongAnswerError as error:
        return Response(case, reply, gradients_reason=str(error), gradients_offered=True)


def from_answers(cell: Cell, answers: Mapping[str, Answer], dtype: str, seed: int = 0) -> Judge:
    """Answers by case, as another program wrote them; a case without one is not offered."""
    responses = []
    for case in cases(cell, seed):
        reply = answers.get(case.name)
        gradients = (reply.gradients or None) if reply else None
        responses.append(Response(case, reply, offered=reply is not None, gradients=gradients))
    return Judge(cell, dtype, tuple(responses))
