"""A trace as one .npz file: its arrays by name, and a JSON text that says what they are.

Values are called ``value.z``, initial states ``start.h``; ``layers``, ``directions``, ``steps``,
``units`` and ``lengths`` as in a `Trace`; ``about`` is the JSON as UTF-8 bytes: the cell's
equations and the tokens. NumPy reads the file as it is. A file may come from anyone: sizes are
checked before anything is allocated, no Python objects are read, nothing is executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grus.dialects.files import npz
from grus.dialects.files.whole import replace_by
from grus.equations import Cell
from grus.errors import InputError
from grus.traces.recorded import Trace

Array = np.ndarray[Any, np.dtype[Any]]
FORMAT = "grus trace"
VERSION = 1
NUMBERS = ("layers", "directions", "steps", "units", "lengths")


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace; the file appears whole or not at all. Raises InputError when it cannot."""
    target = Path(path)
    if target.suffix != ".npz":
        raise InputError(f"a trace is saved as .npz, got {target.name!r}")
    about = {
        "format": FORMAT,
        "version": VERSION,
        "cell": {"name": trace.cell.name, "equations": str(trace.cell)},
        "tokens": trace.tokens,
    }
    arrays = {name: getattr(trace, name) for name in NUMBERS}
    arrays |= {f"value.{name}": array for name, array in trace.values.items()}
    arrays |= {f"start.{name}": array for name, array in trace.start.items()}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    replace_by(target, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace. Raises InputError in one sentence for a file that is none."""
    target = Path(path)
    if not target.is_file():
        raise InputError(f"{target} not found; expected a trace")
    try:
        return _read(npz.read(target).tensors)
    except InputError as error:
        raise InputError(f"{target}: {error}") from None
    except OSError as error:
        raise InputError(f"{target} cannot be read: {error.strerror}") from None


def _read(arrays: Mapping[str, Array]) -> Trace:
    about = _about(arrays.get("about"))
    missing = [name for name in NUMBERS if name not in arrays]
    if missing:
        raise InputError(f"not a whole trace: no {', '.join(missing)}")
    for name, array in arrays.items():
        if name.startswith(("value.", "start.")) and array.dtype not in (np.float32, np.float64):
            raise InputError(f"{name} must be float32 or float64, got {array.dtype}")
    return Trace(
        Cell.parse(about["equations"], about["name"], unused=True),
        {n.removeprefix("value."): a for n, a in arrays.items() if n.startswith("value.")},
        {n.removeprefix("start."): a for n, a in arrays.items() if n.startswith("start.")},
        **{name: arrays[name] for name in NUMBERS},
        tokens=about["tokens"],
    )


def _about(found: Array | None) -> dict[str, Any]:
    """The cell's name and equations, and the tokens."""
    if found is None or found.dtype != np.uint8:
        raise InputError("an .npz file, but not a trace")
    try:
        about = json.loads(found.tobytes())
    except (ValueError, RecursionError):
        raise InputError("an .npz file, but not a trace") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError("an .npz file, but not a trace")
    if about.get("version") != VERSION:
        raise InputError(f"version {about.get('version')!r:.20}; this program reads {VERSION}")
    cell, tokens = about.get("cell"), about.get("tokens")
    if not isinstance(cell, dict) or not all(
        isinstance(cell.get(name), str) for name in ("name", "equations")
    ):
        raise InputError("the trace's cell must be a name and equations")
    if not cell["name"].isidentifier():
        raise InputError(f"the cell's name {cell['name']!r:.80} is not a name")
    texts = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
    if tokens is not None and not texts:
        raise InputError("the trace's tokens must be texts")
    return {**cell, "tokens": None if tokens is None else tuple(tokens)}
