"""Recording a sequence: the choice of values, and the kernels that compute them by windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from grus import runtime
from grus.equations import Apply, Cell, Connection, input_size
from grus.errors import InputError
from grus.kernels import axis_sizes
from grus.kernels.steps import Steps, part
from grus.runtime import equation, value_names, value_sizes

Array = np.ndarray[Any, np.dtype[Any]]
Chosen = int | slice | str | Sequence[int] | Array | None
"""A number, a slice, the text "a:b" or "a:b:c", or a list of numbers; None is all."""
ACTIVATIONS = {"sigmoid", "tanh", "relu", "minimum", "maximum"}
"""Operators at the root of a gate or candidate; hard and clipped ones end in a minimum."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The caller's choice; None means the usual values, and all of everything else."""

    values: Sequence[str] | None = None
    layers: Chosen = None
    directions: Chosen = None
    steps: Chosen = None
    units: Chosen = None

    def request(self, cell: Cell, sizes: tuple[int, int, int, int]) -> Recording:
        """The request in numbers; ``sizes`` are those of layers, directions, steps and units.

        Raises InputError naming what cannot be: a value that the cell has not, a number beyond the
        end, a text that is no range.
        """
        values = notable(cell) if self.values is None else value_names(cell, self.values)
        wanted = {equation(cell, name) for name in values}
        return Recording(
            tuple(name for name, _ in cell.equations if name in wanted),
            numbers("layers", self.layers, sizes[0]),
            numbers("directions", self.directions, sizes[1]),
            numbers("steps", self.steps, sizes[2]),
            numbers("units", self.units, sizes[3]),
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """The parts of a cell to record: equations in the cell's order, int64 numbers in ascending
    order."""

    names: tuple[str, ...]
    layers: Array
    directions: Array
    steps: Array
    units: Array


def notable(cell: Cell) -> tuple[str, ...]:
    """The gates, candidates and states of a cell, and its output: what a trace records unless told
    otherwise. A gate or a candidate is a value that an activation gives."""
    names = []
    for name, expr in cell.equations:
        active = isinstance(expr, Apply) and expr.op in ACTIVATIONS
        if active or state_name(cell, name) != name or name == cell.output:
            names.append(name)
    return tuple(names)


def state_name(cell: Cell, name: str) -> str:
    """A state's own name where ``name`` is the equation of its next value, else ``name``."""
    state = name.removesuffix("_next")
    return state if state in cell.states else name


def numbers(name: str, asked: Chosen, size: int) -> Array:
    """The numbers asked for, ascending, out of 0 ... ``size`` - 1; negative ones count from the
    end. Raises InputError."""
    if asked is None:
        return np.arange(size)
    if isinstance(asked, str):
        chosen = numbers(name, _range(name, asked), size)
        if not len(chosen):
            raise InputError(f"{name}: {asked[:80]} is empty; they are 0 to {size - 1}")
        return chosen
    if isinstance(asked, slice):
        if asked.step == 0:
            raise InputError(f"{name}: a range cannot go on by 0")
        try:
            return np.arange(size)[asked][:: -1 if (asked.step or 1) < 0 else 1]
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: {error}, got {asked}") from None
    chosen = np.atleast_1d(np.asarray(asked))
    if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and chosen.size):
        raise InputError(f"{name} must be a number, a list of them, or a range, got {asked!r:.80}")
    wrong = chosen[(chosen < -size) | (chosen >= size)]
    if len(wrong):
        raise InputError(f"{name}: there is no {wrong[0]}, they are 0 to {size - 1}")
    chosen = chosen.astype(np.int64)
    return np.unique(np.where(chosen < 0, chosen + size, chosen))


def _range(name: str, text: str) -> slice | list[int]:
    """``a:b``, ``a:b:c``, or numbers with commas between them."""
    try:
        if ":" in text:
            parts = [int(part) if part.strip() else None for part in text.split(":")]
            if len(parts) <= 3:
                return slice(*parts)
        else:
            return [int(part) for part in text.split(",")]
    except ValueError:
        pass
    raise InputError(f"{name} must be like 3, 0,4,7 or 10:20, got {text[:80]!r}")


States = tuple[Array, ...]
Above = Callable[[int, Array, Array], Array]
"""(layer, what it read, its output) -> what the next layer reads."""
WINDOW_BYTES = 8 * 2**20
"""The approximate size of all buffers of a window."""
SHORTEST = 64
"""Steps of a window below which packing the weights anew would be felt."""


@dataclass(frozen=True, eq=False)
class StackedLayers:
    """Layers of a cell: weights by family of each row of h_n, checked, of one dtype.

    ``cells`` are what the rows run as where that is not ``cell`` alone (`equations.joined`);
    ``above`` says what the next layer reads, None: the output.
    """

    cell: Cell
    rows: tuple[Mapping[str, Array], ...]
    bidirectional: bool = False
    cells: tuple[Cell, ...] = ()
    above: Above | None = None

    def run_as(self, row: int) -> Cell:
        """The cell that a row runs as."""
        return self.cells[row] if self.cells else self.cell

    @property
    def directions(self) -> int:
        """Their number."""
        return 2 if self.bidirectional else 1

    @property
    def layers(self) -> int:
        """Their number."""
        return len(self.rows) // self.directions


def record(
    stack: StackedLayers,
    x: Array,
    start: Sequence[States],
    steps: tuple[Steps, Steps],
    request: Recording,
    window: int | None = None,
) -> dict[str, Array]:
    """The values that ``request`` names, each [layer, direction, time, batch, unit].

    ``x`` [time, batch, input], last axis contiguous, behind it the further inputs, which all layers
    read; ``start`` are the initial states of each row
    of h_n; ``steps`` are those forward and backward in time. ``window`` is the steps of a window;
    None chooses. Raises UnsupportedCellError for what the kernels cannot run.
    """
    sizes = value_sizes(stack.cell, stack.rows[0], start[0])
    lead = (len(request.layers), len(request.directions), len(request.steps), x.shape[1])
    units = {name: _units(stack.cell, name, sizes[name], request) for name in request.names}
    arrays = {n: np.empty((*lead, len(u)), x.dtype) for n, u in units.items()}
    if not all(lead[:3]) or not request.names:
        return arrays

    def layer_run(k: int) -> _LayerRun:
        layer, direction = divmod(k, stack.directions)
        at = (request.layers == layer, request.directions == direction)
        wanted = at[0].any() and at[1].any()
        place = tuple(int(np.argmax(axis)) for axis in at)
        cell, into = stack.run_as(k), {}
        if wanted:
            names = {"y": Connection.OUTPUT} if cell != stack.cell else {}
            into = {names.get(n, n): (a[place], units[n]) for n, a in arrays.items()}
        return _LayerRun(cell, stack.rows[k], start[k], steps[direction], request.steps, into)

    rows = [layer_run(k) for k in range((int(request.layers[-1]) + 1) * stack.directions)]
    if window is None:
        size = max(row.size for row in rows) * x.shape[1] * x.itemsize * len(rows)
        window = max(SHORTEST, WINDOW_BYTES // max(size, 1))
    run = _both_ways if stack.bidirectional else _one_way
    above = stack.above or _output
    axes = axis_sizes(stack.cell, stack.rows[0], start[0])
    more = x.shape[2] - input_size(stack.cell, x.shape[2], axes)
    run(rows, x, request, window, partial(_beside, above, more) if more else above)
    for row in rows:
        row.finish()
    return arrays


def _output(layer: int, read: Array, y: Array) -> Array:
    del layer, read
    return y


def _beside(above: Above, more: int, layer: int, read: Array, y: Array) -> Array:
    """The same with the further inputs behind it, the last ``more`` numbers of what is read."""
    return np.concatenate([above(layer, read[..., :-more], y), read[..., -more:]], axis=2)


def _one_way(
    rows: Sequence[_LayerRun], x: Array, request: Recording, window: int, above: Above
) -> None:
    for first, end in windows(0, int(request.steps[-1]) + 1, request.steps, window):
        now = x[first:end]
        for k, row in enumerate(rows[:-1]):
            now = above(k, now, row.run(now, first, end, needed=True))
        rows[-1].run(now, first, end, needed=False)


def _both_ways(
    rows: Sequence[_LayerRun], x: Array, request: Recording, window: int, above: Above
) -> None:
    time = len(x)
    for k in range(0, len(rows), 2):
        last = k + 2 == len(rows)
        size = rows[k].sizes[rows[k].cell.output]
        output = None if last else np.empty((*x.shape[:2], 2 * size), x.dtype)
        for direction in request.directions if last else (0, 1):
            ends = (0, time)
            if last:
                ends = (
                    (int(request.steps[0]), time) if direction else (0, int(request.steps[-1]) + 1)
                )
            cuts = list(windows(*ends, request.steps, window))
            for first, end in reversed(cuts) if direction else cuts:
                into = None
                if output is not None:
                    into = output[first:end, :, direction * size : (direction + 1) * size]
                rows[k + direction].run(x[first:end], first, end, into, needed=not last)
        x = x if output is None else above(k // 2, x, output)


def windows(first: int, end: int, steps: Array, size: int) -> Iterator[tuple[int, int]]:
    """First step and end of each window from ``first`` to ``end``, ``size`` steps at most; none
    holds both steps before, between and after those recorded."""
    cuts = {first, end, *(c for c in (int(steps[0]), int(steps[-1]) + 1) if first < c < end)}
    edges = sorted(cuts)
    for begin, stop in pairwise(edges):
        for at in range(begin, stop, size):
            yield at, min(at + size, stop)


def _units(cell: Cell, name: str, size: int, request: Recording) -> Array:
    """The units of a value that are recorded: those asked for along the hidden axis, else all."""
    return request.units if cell.shapes.values[name] == "hidden" else np.arange(size)


class _LayerRun:
    """One layer in one direction on its way through the windows."""

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        start: States,
        steps: Steps,
        recorded: Array,
        into: Mapping[str, tuple[Array, Array]],
    ) -> None:
        self.cell, self.weights, self.steps = cell, weights, steps
        self.start, self.state = start, start
        self.recorded, self.into = recorded, into
        self.sizes = value_sizes(cell, weights, start)
        self.size = sum(self.sizes[name] for name in {*into, cell.output})
        self.buffers: dict[str, Array] = {}

    def run(
        self, x: Array, first: int, end: int, output: Array | None = None, *, needed: bool
    ) -> Array:
        """Take the steps of a window; gives the output there (into ``output`` if it is given) where
        it is ``needed``, else ``x``."""
        low, high = np.searchsorted(self.recorded, (first, end))
        arrays, aside = {}, []
        for name, (into, units) in self.into.items():
            if high - low == len(x) and len(units) == self.sizes[name]:
                arrays[name] = into[low:high]
            else:
                arrays[name] = self.buffer(name, x)
                aside.append(name)
        output_name = self.cell.output
        if needed and output_name not in arrays:
            arrays[output_name] = self.buffer(output_name, x) if output is None else output
        after = tuple(map(np.empty_like, self.state))
        inner = part(self.steps, first, end)
        runtime.store(
            self.cell, self.weights, x, self.state, arrays, after, inner, None, self.start
        )
        self.state = after
        picked = self.recorded[low:high] - first
        for name in aside:
            into, units = self.into[name]
            into[low:high] = arrays[name][picked][:, :, units]
        if needed and output is not None and arrays[output_name] is not output:
            output[...] = arrays[output_name]
        return arrays[output_name] if needed else x

    def buffer(self, name: str, x: Array) -> Array:
        """Memory for a window as long as ``x``."""
        shape = (*x.shape[:2], self.sizes[name])
        if name not in self.buffers or len(self.buffers[name]) < len(x):
            self.buffers[name] = np.empty(shape, x.dtype)
        return self.buffers[name][: len(x)]

    def finish(self) -> None:
        """Put NaN past each row's end."""
        if self.steps.lengths is not None:
            past = self.recorded[:, None] >= self.steps.lengths
            for into, _ in self.into.values():
                into[past] = np.nan
