"""The two things that can be judged: a function, and a file of its answers."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grus.atomic_file import replace, replace_by
from grus.check.cases import again, cases
from grus.equations import Cell
from grus.errors import InputError
from grus.files import npz
from grus.mistakes import Answer, Array, Case, answer

Function = Callable[..., Any]


class NotOfferedError(Exception):
    """The backend does not do what a case asks for; it says so or has no such argument."""


class WrongAnswerError(Exception):
    """The function raised, or returned shapes that no answer has."""


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
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"there is no module {error.name!r} for the backend {place!r}") from None
    function = getattr(loaded, name, None)
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
        sent = (self._copied(case.dy), self._copied(case.dh_n))
        returned = _ask(self.gradients, (*self._inputs(case), *sent), case.options)
        if not isinstance(returned, Mapping):
            raise WrongAnswerError(f"gradients gave {type(returned).__name__}, wanted a mapping")
        wanted = {"x": case.x, **case.weights}
        if case.h0 is not None:
            wanted["h0"] = case.h0
        missing = [name for name in wanted if name not in returned]
        if missing:
            raise WrongAnswerError(f"no gradient of {', '.join(missing)}")
        return {n: _array(f"the gradient of {n}", returned[n], w.shape) for n, w in wanted.items()}

    def _call(self, case: Case) -> tuple[Array, Array]:
        returned = _ask(self.forward, self._inputs(case), case.options)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise WrongAnswerError("wanted (output, h_n)")
        output, h_n = _shapes(case)
        return _array("output", returned[0], output), _array("h_n", returned[1], h_n)

    def _copied(self, array: Array) -> Array:
        """A copy in the requested dtype, which the function may change."""
        return np.array(array, self.dtype)

    def _inputs(self, case: Case) -> tuple[Any, ...]:
        weights = {name: self._copied(w) for name, w in case.weights.items()}
        return self._copied(case.x), weights, None if case.h0 is None else self._copied(case.h0)


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


def _array(
    name: str, value: Any, shape: tuple[int, ...], error: type[Exception] = WrongAnswerError
) -> Array:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise error(f"{name} is no array of numbers") from None
    if array.shape != shape:
        raise error(f"{name} has shape {array.shape}, wanted {shape}")
    return array


FORMAT = "grus check 1"
LARGEST = 2**28
"""Answers of all cases take well under a megabyte."""
ARRAYS = ("x", "h0", "lengths", "resets", "mask", "zoneout", "dy", "dh_n")


def write_vectors(path: Path, cell: Cell, seed: int = 0) -> None:
    """Write the vectors with the right answers, as .json or .npz.

    JSON: ``{"format", "cell", "equations", "seed", "cases": [...]}``; a case holds its name, why,
    num_layers, bidirectional, stepwise, the arrays that it has as nested lists (null for NaN),
    ``weights`` by PyTorch's names, and ``expected`` with output, h_n and gradients. In .npz the
    same arrays are called ``CASE/x``, ``CASE/weights/NAME``, ``CASE/expected/output``, ...

    Raises InputError for another ending.
    """
    every = [_described(cell, case) for case in cases(cell, seed)]
    if path.suffix == ".json":
        whole = {
            "format": FORMAT, "cell": cell.name, "equations": str(cell), "seed": seed,
            "cases": [_lists(described) for described in every],
        }  # fmt: skip
        replace(path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())
    elif path.suffix == ".npz":
        named = {described["name"]: described for described in every}
        arrays = {k: a for name, case in named.items() for k, a in _flat(name, case).items()}
        replace_by(path, lambda file: npz.write(file, arrays))
    else:
        raise InputError(f"vectors are written as .json or .npz, got {path}")


def _described(cell: Cell, case: Case) -> dict[str, Any]:
    expected = answer(cell, case, gradients=True)
    gradients = dict(expected.gradients)
    if case.h0 is None:
        del gradients["h0"]
    arrays = {n: getattr(case, n) for n in ARRAYS if getattr(case, n) is not None}
    return {
        "name": case.name,
        "why": case.why,
        "num_layers": case.num_layers,
        "bidirectional": case.bidirectional,
        "stepwise": case.stepwise,
        **arrays,
        "weights": dict(case.weights),
        "expected": {"output": expected.output, "h_n": expected.h_n, "gradients": gradients},
    }


def _lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and np.isnan(value).any():
            objects = value.astype(object)
            objects[np.isnan(value)] = None
            return objects.tolist()
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _lists(inner) for name, inner in value.items()}
    return value


def _flat(name: str, value: Any) -> dict[str, Array]:
    if isinstance(value, Mapping):
        parts = (_flat(f"{name}/{k}", v) for k, v in value.items() if k not in ("name", "why"))
        return {k: v for part in parts for k, v in part.items()}
    return {name: np.asarray(value)}


def read_answers(path: Path, cell: Cell, seed: int = 0) -> dict[str, Answer]:
    """The answers that a program wrote, by case.

    JSON: ``{"cases": {CASE: {"output": ..., "h_n": ..., "gradients": {NAME: ...}}}}``, gradients
    where there are any; .npz: ``CASE/output``, ``CASE/h_n``, ``CASE/gradients/NAME``. Cases may be
    left out. Raises InputError for what cannot be read, unknown names and wrong shapes.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} is larger than answers can be ({LARGEST} bytes)")
    known = {case.name: case for case in cases(cell, seed)}
    answers = _json(path) if path.suffix == ".json" else _npz(path)
    unknown = [name for name in answers if name not in known]
    if unknown:
        raise InputError(f"{path}: no case is called {str(unknown[0])[:60]!r}")
    return {n: _answer(f"{path}: {n}", known[n], content) for n, content in answers.items()}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    answers = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(answers, dict):
        raise InputError(f'{path} must be {{"cases": {{NAME: {{"output": ..., "h_n": ...}}}}}}')
    return answers


def _npz(path: Path) -> dict[str, Any]:
    if path.suffix != ".npz":
        raise InputError(f"answers are .json or .npz, got {path}")
    try:
        arrays = npz.read(path).tensors
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    answers: dict[str, Any] = {}
    for name, array in arrays.items():
        case, _, rest = name.partition("/")
        place = answers.setdefault(case, {})
        if rest.startswith("gradients/"):
            place = place.setdefault("gradients", {})
            rest = rest.removeprefix("gradients/")
        place[rest] = array
    return answers


def _answer(where: str, case: Case, content: Any) -> Answer:
    if not isinstance(content, Mapping) or not {"output", "h_n"} <= set(content):
        raise InputError(f"{where}: an answer needs output and h_n")
    wanted = {"x": case.x, **case.weights} | ({} if case.h0 is None else {"h0": case.h0})
    gradients = content.get("gradients") or {}
    if not isinstance(gradients, Mapping) or not set(gradients) <= set(wanted):
        raise InputError(f"{where}: gradients are of {', '.join(wanted)}")
    output, h_n = (
        _array(f"{where}: {name}", content[name], shape, InputError)
        for name, shape in zip(("output", "h_n"), _shapes(case), strict=True)
    )
    arrays = {
        name: _array(f"{where}: gradient of {name}", gradient, wanted[name].shape, InputError)
        for name, gradient in gradients.items()
    }
    return Answer(output, h_n, arrays)


def _shapes(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the output and of the final state."""
    steps, batch = case.x.shape[:2]
    rows = case.num_layers * case.directions
    return (steps, batch, case.directions * case.hidden), (rows, batch, case.hidden)
