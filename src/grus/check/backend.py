"""Somebody's GRU: found, asked, and its answers taken as arrays."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.check.cases import Array, Case, again
from grus.check.meaning import Answer
from grus.errors import InputError

Function = Callable[..., Any]


class NotOfferedError(Exception):
    """The backend does not do what a case asks for; it says so or has no such argument."""


class WrongAnswerError(Exception):
    """What came back is no answer at all: it raised, or its shapes cannot be."""


def load(place: str) -> Function:
    """The function at MODULE:FUNCTION; the module may be a file beside, as in ``mine:gru``.

    Raises InputError when there is no such module or function.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise InputError(f"a backend is MODULE:FUNCTION, got {place!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"there is no module {error.name!r} for the backend {place!r}") from None
    function = getattr(found, name, None)
    if not callable(function):
        raise InputError(f"module {module!r} has no function {name!r}")
    return function  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Backend:
    """A function that runs cases, and one that gives gradients if there is one.

    ``forward(x, weights, h0, **options)`` gives (output, h_n); ``gradients(x, weights, h0, dy,
    dh_n, **options)`` gives the derivatives of sum(dy * output) + sum(dh_n * h_n) by name: "x",
    "h0" where there is one, and the weights' names. `Case` says what the arguments are; options
    are those that a case needs. Either may raise NotImplementedError, or lack an argument.
    """

    forward: Function
    gradients: Function | None = None
    dtype: str = "float32"

    def answer(self, case: Case) -> Answer:
        """Its output and final state. Raises NotOfferedError or WrongAnswerError."""
        if not case.stepwise:
            output, h_n = self._call(case)
            return Answer(output, h_n)
        outputs, state = [], case.h0
        for t in range(len(case.x)):
            now = again(case, case.name, case.why, x=case.x[t : t + 1], h0=state)
            output, state = self._call(now)
            outputs.append(output)
        assert state is not None
        return Answer(np.concatenate(outputs), state)

    def derivatives(self, case: Case) -> dict[str, Array]:
        """Its gradients. Raises NotOfferedError or WrongAnswerError."""
        if self.gradients is None or case.stepwise:
            raise NotOfferedError
        sent = (self._own(case.dy), self._own(case.dh_n))
        given = _ask(self.gradients, (*self._inputs(case), *sent), case.options)
        if not isinstance(given, Mapping):
            raise WrongAnswerError(f"gradients gave {type(given).__name__}, wanted a mapping")
        wanted = {"x": case.x, **case.weights}
        if case.h0 is not None:
            wanted["h0"] = case.h0
        missing = [name for name in wanted if name not in given]
        if missing:
            raise WrongAnswerError(f"no gradient of {', '.join(missing)}")
        return {n: _array(f"the gradient of {n}", given[n], w.shape) for n, w in wanted.items()}

    def _call(self, case: Case) -> tuple[Array, Array]:
        given = _ask(self.forward, self._inputs(case), case.options)
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise WrongAnswerError("wanted (output, h_n)")
        steps, batch = case.x.shape[:2]
        size = case.directions * case.hidden
        rows = case.num_layers * case.directions
        output = _array("output", given[0], (steps, batch, size))
        return output, _array("h_n", given[1], (rows, batch, case.hidden))

    def _own(self, array: Array) -> Array:
        """A copy in the dtype that is asked for, so that nobody can change ours."""
        return np.array(array, self.dtype)

    def _inputs(self, case: Case) -> tuple[Any, ...]:
        weights = {name: self._own(w) for name, w in case.weights.items()}
        return self._own(case.x), weights, None if case.h0 is None else self._own(case.h0)


def _ask(function: Function, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions have none to show
        parameters = None
    if parameters is not None:
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        missing = [name for name in options if name not in parameters and not anything]
        if missing:
            raise NotOfferedError(f"no argument {', '.join(missing)}")
    copies = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in options.items()}
    try:
        return function(*arguments, **copies)
    except NotImplementedError as error:
        raise NotOfferedError(str(error)) from None
    except TypeError as error:
        unknown = [n for n in options if f"unexpected keyword argument '{n}'" in str(error)]
        if unknown:  # it took **anything and handed it on
            raise NotOfferedError(f"no argument {', '.join(unknown)}") from None
        raise WrongAnswerError(f"raised TypeError: {_line(error)}") from error
    except Exception as error:
        raise WrongAnswerError(f"raised {type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _array(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise WrongAnswerError(f"{name} is no array of numbers") from None
    if found.shape != shape:
        raise WrongAnswerError(f"{name} has shape {found.shape}, wanted {shape}")
    return found
