"""What `identify` is given: weights with or without names, and the example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from grus.equations import Cell, Weight
from grus.errors import InputError, expect
from grus.reference import NUMPY, Operations, step_values

Array = Any
MAX_AT_ONCE = 1 << 24  # numbers of weights that are stacked: 128 MiB of float64


def _matmul(w: Array, v: Array) -> Array:
    return v @ w.swapaxes(-1, -2)


MANY: Operations = replace(
    NUMPY, name="many", table={**NUMPY.table, "matmul": _matmul, "matmul_t": lambda w, v: v @ w}
)


Weights = Mapping[Weight, Array]


@dataclass(frozen=True, eq=False)
class Stacked:
    """The weights of several functions, one above the other."""

    arrays: Weights
    """[functions, rows, columns]; vectors [functions, 1, axis], beside [functions, batch, axis]."""
    count: int
    hidden: int

    @classmethod
    def of(cls, weights: Sequence[Weights], hidden: int, dtype: Any = np.float64) -> Stacked:
        """Stacked and rounded to ``dtype``."""
        arrays = {
            w: np.stack([one[w] if one[w].ndim == 2 else one[w][None] for one in weights])
            for w in weights[0]
        }
        rounded = {w: array.astype(dtype, copy=False) for w, array in arrays.items()}
        return cls(rounded, len(weights), hidden)

    def run(
        self, cell: Cell, x: Array, start: tuple[Array, ...] | None, dtype: Any = np.float64
    ) -> Array:
        """Outputs [functions, time, batch, hidden] of ``cell`` with each of the weights.

        ``x`` [time, batch, input] in the order of the steps, the states in ``start`` [batch,
        hidden]; or for each function its own, [time, functions, batch, input] and [functions,
        batch, hidden]. Every operation rounds to ``dtype``.
        """
        shape = (self.count, x.shape[-2], self.hidden)
        given = start or tuple(np.zeros(shape[1:]) for _ in cell.states)
        state = tuple(np.broadcast_to(one.astype(dtype), shape) for one in given)
        outputs = []
        # What is no match may overflow: its error is then infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            for now in x.astype(dtype):
                values = step_values(cell, self.arrays, {"x": now}, state, MANY)
                state = tuple(values[f"{name}_next"] for name in cell.states)
                outputs.append(values[cell.output])
        return np.stack(outputs, axis=1)


def chunks(weights: Sequence[Weights]) -> Iterator[Sequence[Weights]]:
    """As many at a time as may be stacked."""
    size = sum(array.size for array in weights[0].values())
    many = max(1, MAX_AT_ONCE // size)
    for k in range(0, len(weights), many):
        yield weights[k : k + many]


MAX_NUMBERS = 200_000_000
BACKWARD = "backward, "
PRINTED = 4  # decimals: PyTorch prints 4, NumPy 8


@dataclass(frozen=True, eq=False)
class GivenTensor:
    """One array of weights."""

    name: str
    """"" where it came without one."""
    array: Array
    """float64, without ONNX' axis for the direction where that has length 1."""
    half: float
    """How far each number may be off: half a unit of the last decimal that was printed, or 0."""


@dataclass(frozen=True, eq=False)
class Example:
    """The example read in one way: in the order in which the steps are taken."""

    x: Array
    """[time, batch, input], the first step first."""
    y: Array
    """[time, batch, hidden], or [batch, hidden] for the last output."""
    start: tuple[Array, ...] | None
    said: str

    @property
    def forward(self) -> bool:
        """True where the steps are taken in the order of x."""
        return not self.said.startswith(BACKWARD)


def weights_of(tensors: Mapping[str, Array] | Sequence[Array]) -> tuple[GivenTensor, ...]:
    """The weights as given.

    Weights written with four decimals or more were rounded to these by whoever printed them;
    with fewer they are taken for numbers that somebody chose, and exact.
    """
    expect("the weights must be arrays by name, or a list of them", tensors, Iterable)
    named = tensors.items() if isinstance(tensors, Mapping) else (("", t) for t in tensors)
    found = []
    for name, tensor in named:
        array = numbers(f"tensor {name}".rstrip(), tensor)
        plain = array[0] if array.ndim == 3 and len(array) == 1 else array
        written = decimals(tensor)
        half = 0.0 if written is None or written < PRINTED else 0.5 * 10.0**-written
        found.append(GivenTensor(name, plain, half))
    if not found:
        raise InputError("there are no tensors")
    return tuple(found)


def numbers(what: str, value: Any) -> Array:
    """``value`` as finite float64. Raises InputError beginning with ``what``."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{what}: rows of different lengths") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{what} must hold real numbers, got {array.dtype}")
    if not array.size or array.size > MAX_NUMBERS:
        raise InputError(f"{what} holds {array.size} numbers, wanted 1 to {MAX_NUMBERS}")
    found = array.astype(np.float64)
    if not np.isfinite(found).all():
        raise InputError(f"{what} holds numbers that are not finite")
    return found


def rounding(given: Any, array: Array) -> float:
    """The unit roundoff of the arithmetic behind these numbers.

    float64 arrays that hold nothing but float32 numbers were computed in float32.
    """
    dtype = np.asarray(given).dtype
    if dtype.kind == "f" and dtype.itemsize == 2:
        return 2.0**-11
    single = array.astype(np.float32).astype(np.float64)
    return 2.0**-24 if dtype != np.float64 or np.array_equal(single, array) else 2.0**-53


def decimals(value: Any) -> int | None:
    """The decimals that numbers were written with; None where they are those of a computation.

    Numbers with 9 significant digits or fewer were written by somebody, in text or in a program.
    """
    array = np.asarray(value)
    if array.dtype != np.float64 or array.size > 1000:
        return None
    written = [Decimal(repr(float(v))).as_tuple() for v in np.ravel(array)]
    if any(len(number.digits) > 9 for number in written):
        return None
    return max(0, *(-int(number.exponent) for number in written), 0)


def views(
    x: Array, y: Array, start: tuple[Array, ...] | None, hidden: int, inputs: int
) -> Iterator[Example]:
    """Every way to read the example for these sizes: axes, direction, outputs or the last one."""
    for steps, batch_first in _sequences(x, inputs):
        time, batch = steps.shape[:2]
        states = _states(start, batch, hidden)
        if start is not None and states is None:
            continue
        axes = "" if x.ndim < 3 else ", x batch first" if batch_first else ", x time first"
        outputs = _outputs(y, time, batch, hidden, batch_first)
        if outputs is not None:
            yield Example(steps, outputs, states, "y is every output" + axes)
            if time > 1:
                yield Example(
                    steps[::-1], outputs[::-1], states, f"{BACKWARD}y is every output{axes}"
                )
                yield Example(
                    steps[::-1],
                    outputs,
                    states,
                    f"{BACKWARD}y is every output in the order of processing{axes}",
                )
        last = _last(y, batch, hidden)
        if last is not None and not (outputs is not None and time == 1):
            yield Example(steps, last, states, "y is the last output" + axes)
            if time > 1:
                yield Example(steps[::-1], last, states, f"{BACKWARD}y is the last output{axes}")


def _sequences(x: Array, inputs: int) -> Iterable[tuple[Array, bool]]:
    """[time, batch, input], and whether the batch came first."""
    if x.ndim < 2:
        return [(x.reshape(-1, 1, inputs), False)] if x.size % inputs == 0 else []
    if x.ndim > 3 or x.shape[-1] != inputs:
        return []
    if x.ndim == 2:
        return [(x[:, None], False)]
    if x.shape[0] == 1 or x.shape[1] == 1:
        return [(x.reshape(-1, 1, inputs), x.shape[0] == 1)]
    return [(x, False), (x.swapaxes(0, 1), True)]


def _outputs(y: Array, time: int, batch: int, hidden: int, batch_first: bool) -> Array | None:
    want = (time, batch, hidden)
    if y.ndim == 3 and min(time, batch) > 1:
        turned = y.swapaxes(0, 1) if batch_first else y
        return turned if turned.shape == want else None
    flat = y.size == time * batch * hidden and min(time, batch) == 1
    plain = [n for n in y.shape if n > 1] == [n for n in want if n > 1]
    return y.reshape(want) if flat and plain else None


def _last(y: Array, batch: int, hidden: int) -> Array | None:
    want = (batch, hidden)
    plain = [n for n in y.shape if n > 1] == [n for n in want if n > 1]
    return y.reshape(want) if y.size == batch * hidden and plain else None


def _states(start: tuple[Array, ...] | None, batch: int, hidden: int) -> tuple[Array, ...] | None:
    if start is None or any(_last(one, batch, hidden) is None for one in start):
        return None
    return tuple(one.reshape(batch, hidden) for one in start)
