"""The kit run on a backend, or on answers that a file brings."""

from __future__ import annotations

from collections.abc import Mapping

from grus.check.backend import Backend, NotOfferedError, WrongAnswerError
from grus.check.cases import Case, cases
from grus.check.judge import Given, Judge
from grus.check.meaning import Answer
from grus.equations import Cell


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
