"""Vectors for programs in other languages, and their answers: JSON or NumPy's .npz."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grus.check.cases import Array, Case, cases
from grus.check.meaning import Answer, answer
from grus.dialects.files import npz
from grus.dialects.files.whole import replace, replace_by
from grus.equations import Cell
from grus.errors import InputError

FORMAT = "grus check 1"
LARGEST = 2**28
"""Answers of all cases take well under a megabyte."""
ARRAYS = ("x", "h0", "lengths", "resets", "mask", "zoneout", "dy", "dh_n")


def write(path: Path, cell: Cell, seed: int = 0) -> None:
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
            "cases": [_lists(one) for one in every],
        }  # fmt: skip
        replace(path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())
    elif path.suffix == ".npz":
        arrays = dict(item for one in every for item in _flat(one["name"], one).items())
        replace_by(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
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
            found = value.astype(object)
            found[np.isnan(value)] = None
            return found.tolist()
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _lists(inner) for name, inner in value.items()}
    return value


def _flat(name: str, value: Any) -> dict[str, Array]:
    if isinstance(value, Mapping):
        parts = (_flat(f"{name}/{k}", v) for k, v in value.items() if k not in ("name", "why"))
        return {k: v for part in parts for k, v in part.items()}
    return {name: np.asarray(value)}


def read(path: Path, cell: Cell, seed: int = 0) -> dict[str, Answer]:
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
    given = _json(path) if path.suffix == ".json" else _npz(path)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"{path}: no case is called {str(unknown[0])[:60]!r}")
    return {name: _answer(f"{path}: {name}", known[name], one) for name, one in given.items()}


def _json(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    found = given.get("cases") if isinstance(given, dict) else None
    if not isinstance(found, dict):
        raise InputError(f'{path} must be {{"cases": {{NAME: {{"output": ..., "h_n": ...}}}}}}')
    return found


def _npz(path: Path) -> dict[str, Any]:
    if path.suffix != ".npz":
        raise InputError(f"answers are .json or .npz, got {path}")
    try:
        arrays = npz.read(path).tensors
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        case, _, rest = name.partition("/")
        place = found.setdefault(case, {})
        if rest.startswith("gradients/"):
            place = place.setdefault("gradients", {})
            rest = rest.removeprefix("gradients/")
        place[rest] = array
    return found


def _answer(where: str, case: Case, given: Any) -> Answer:
    if not isinstance(given, Mapping) or not {"output", "h_n"} <= set(given):
        raise InputError(f"{where}: an answer needs output and h_n")
    steps, batch = case.x.shape[:2]
    rows = case.num_layers * case.directions
    output = _array(f"{where}: output", given["output"],
                    (steps, batch, case.directions * case.hidden))  # fmt: skip
    h_n = _array(f"{where}: h_n", given["h_n"], (rows, batch, case.hidden))
    wanted = {"x": case.x, **case.weights} | ({} if case.h0 is None else {"h0": case.h0})
    gradients = given.get("gradients") or {}
    if not isinstance(gradients, Mapping) or not set(gradients) <= set(wanted):
        raise InputError(f"{where}: gradients are of {', '.join(wanted)}")
    found = {n: _array(f"{where}: gradient of {n}", g, wanted[n].shape)
             for n, g in gradients.items()}  # fmt: skip
    return Answer(output, h_n, found)


def _array(where: str, value: Any, shape: tuple[int, ...]) -> Array:
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where} is no array of numbers") from None
    if found.shape != shape:
        raise InputError(f"{where} has shape {found.shape}, wanted {shape}")
    return found
