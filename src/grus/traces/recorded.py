"""A trace: arrays with named axes, which print, show and save themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from grus.atomic_file import replace_by
from grus.equations import Cell
from grus.errors import InputError
from grus.files import npz
from grus.traces.recording import state_name

Array = np.ndarray[Any, np.dtype[Any]]
AXES = ("layer", "direction", "time", "batch", "unit")
MOST = 2**48
"""Steps, units or layers that a trace may speak of."""


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The values of one sequence through the layers of a cell.

    ``values`` maps names to arrays with the axes `axes`, in the layer's dtype, NaN past a row's
    end; a state is recorded under its own name ("h") and is what a step leaves behind. A value that
    is one number for each row has one unit. ``start`` maps each state to the one that the sequence
    began with, [layer, direction, batch, unit]; in direction 1 it is the one before the last step.

    Along the axes stand ``layers``, ``directions`` (0 forward, 1 backward in time), ``steps`` and
    ``units``: which ones were recorded, int64, counted from 0. ``units`` are those of the hidden
    axis; a value along another axis is recorded whole. ``lengths`` [batch] int64 is how many steps
    each row has in the whole sequence. ``tokens`` are labels of the recorded steps, or None.

    All arrays are read-only. Raises InputError where shapes do not fit each other.
    """

    cell: Cell
    values: Mapping[str, Array]
    start: Mapping[str, Array]
    layers: Array
    directions: Array
    steps: Array
    units: Array
    lengths: Array
    tokens: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "directions", "steps", "units", "lengths"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
                raise InputError(f"a trace's {name} must be a list of whole numbers")
            object.__setattr__(self, name, _fixed(_numbers(name, array)))
        for name in ("values", "start"):
            arrays = {key: _fixed(array) for key, array in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(arrays))
        if self.tokens is not None:
            object.__setattr__(self, "tokens", tuple(self.tokens))
        self._check()

    def _check(self) -> None:
        known = {*self.cell.states, *(name for name, _ in self.cell.equations)}
        rows, batch = (len(self.layers), len(self.directions)), (len(self.lengths),)
        for arrays, lead in (
            (self.values, (*rows, len(self.steps), *batch)),
            (self.start, (*rows, *batch)),
        ):
            for name, array in arrays.items():
                if name not in known:
                    raise InputError(f"cell {self.cell.name} has no value {name[:80]!r}")
                if array.ndim != len(lead) + 1 or array.shape[:-1] != lead:
                    raise InputError(f"{name} must be {lead} and its units, got {array.shape}")
                if self._along_hidden(name) and array.shape[-1] != len(self.units):
                    raise InputError(
                        f"{name} must have {len(self.units)} units, got {array.shape[-1]}"
                    )
        if self.tokens is not None and len(self.tokens) != len(self.steps):
            raise InputError(f"{len(self.steps)} steps need as many tokens, got {len(self.tokens)}")

    def _along_hidden(self, name: str) -> bool:
        shapes = self.cell.shapes
        return (shapes.states.get(name) or shapes.values.get(name)) == "hidden"

    def __repr__(self) -> str:
        sizes = map(len, (self.layers, self.directions, self.steps, self.lengths, self.units))
        extent = ", ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes, strict=True))
        return f"<Trace of {self.cell.name}: {', '.join(self.names)} [{extent}]>"

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes of every value."""
        return AXES

    @property
    def names(self) -> tuple[str, ...]:
        """The values that were recorded, a state under its own name."""
        return tuple(self.values)

    def __getitem__(self, name: str) -> Array:
        """The array of a value; a state also as its equation calls it ("h_next").

        Raises InputError for a value that was not recorded.
        """
        array = self.values.get(state_name(self.cell, name))
        if array is None:
            raise InputError(
                f"{str(name)[:80]!r} was not recorded; there are {', '.join(self.names)}"
            )
        return array

    def units_of(self, name: str) -> Array:
        """The number of each unit of a value: `units`, or 0, 1, ... along another axis."""
        array = self[name]
        hidden = self._along_hidden(state_name(self.cell, name))
        return self.units if hidden else np.arange(array.shape[-1])

    def select(
        self,
        name: str,
        *,
        layer: int | None = None,
        direction: int | None = None,
        time: int | None = None,
        batch: int | None = None,
        unit: int | None = None,
    ) -> Array:
        """A value at some layer, direction, step, row or unit: what is left of its axes, in order.

        Numbers are those of the sequence, not places in the array: ``time=100`` is step 100 even
        where only steps 90 to 110 were recorded. Raises InputError for what was not recorded.
        """
        array = self[name]
        numbers = (self.layers, self.directions, self.steps, np.arange(len(self.lengths)))
        places: list[Any] = []
        asked = (layer, direction, time, batch, unit)
        for axis, number, known in zip(AXES, asked, (*numbers, self.units_of(name)), strict=True):
            if number is None:
                places.append(slice(None))
                continue
            at = np.flatnonzero(known == number)
            if not len(at):
                raise InputError(f"{axis} {number} of {name} was not recorded; {_some(known)}")
            places.append(int(at[0]))
        selected: Array = array[tuple(places)]  # a scalar where every axis is chosen
        return selected

    def save(self, path: str | PathLike[str]) -> None:
        """Write the trace as .npz, whole or not at all. Raises InputError when it cannot."""
        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Trace:
        """Read a saved trace; the file may come from anyone. Raises InputError."""
        return load(path)

    def _repr_html_(self) -> str:
        from grus.traces import summary

        return summary.html(self)


def _numbers(name: str, array: Array) -> Array:
    """As int64, if they are lengths, or numbers that go up from 0 on."""
    numbers = array.astype(np.int64)
    most = {"directions": 1}.get(name, MOST)
    if numbers.size and (numbers.min() < 0 or array.max() > most):
        raise InputError(f"a trace's {name} must lie in 0..{most}")
    if name != "lengths" and (np.diff(numbers) <= 0).any():
        raise InputError(f"a trace's {name} must go up, each once")
    return numbers


def _fixed(array: Array) -> Array:
    """A view that cannot be written to."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _some(known: Array) -> str:
    if not len(known):
        return "there are none"
    several = len(known) > 1 and (np.diff(known) == 1).all()
    listed = f"{known[0]} to {known[-1]}" if several else ", ".join(map(str, known[:20]))
    return f"there are {listed}{', ...' if not several and len(known) > 20 else ''}"


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
    replace_by(target, lambda file: npz.write(file, arrays))


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


def _about(stored: Array | None) -> dict[str, Any]:
    """The cell's name and equations, and the tokens."""
    if stored is None or stored.dtype != np.uint8:
        raise InputError("an .npz file, but not a trace")
    try:
        about = json.loads(stored.tobytes())
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
