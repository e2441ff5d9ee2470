"""What flows through a torch module or an ONNX graph: the layers so far, and what each axis is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from grus.builds.chain import Chain
from grus.errors import InputError

Axes = tuple[str, ...]
FEATURES = "features"
PLAIN = ("first", "second", FEATURES)
LAST = "the model gives the last step alone: read y after it"


@dataclass(frozen=True, eq=False)
class Flow:
    """A tensor that layers gave. ``axes`` names its axes, None while nothing has told how many
    there are; ``time`` is the one of them along which recurrent layers run, once one has told."""

    chain: Chain = field(default_factory=Chain)
    axes: Axes | None = None
    time: str = ""
    packed: bool = False
    """A PackedSequence, which layers read as [time, batch, features] whatever their batch_first."""

    @property
    def known(self) -> Axes:
        """Its axes, two before the features where nothing has told."""
        return PLAIN if self.axes is None else self.axes

    def of(self, chain: Chain) -> Flow:
        """The same axes after more layers."""
        return replace(self, chain=chain, axes=self.axes)

    def laid(self, axes: Axes) -> Flow:
        """The same numbers along these axes."""
        return replace(self, axes=axes)

    def along(self, path: str, *, normed: bool = False) -> Flow:
        """The same where the features stand last, and second where a batch norm reads three axes.
        Raises InputError where they do not."""
        if self.axes is not None:
            axis = self.axes[1 if normed and len(self.axes) == 3 else -1]
            if axis != FEATURES:
                raise InputError(f"{path} reads along the {axis} axis, not the features")
        return self

    def running(self, path: str, batch_first: bool) -> Flow:
        """The same with its time told by a recurrent layer. Raises InputError where it is another,
        or was left."""
        if len(self.known) != 3 or self.known[2] != FEATURES:
            raise InputError(f"{path} reads no sequence: its axes are {', '.join(self.known)}")
        time = self.known[1 if batch_first and not self.packed else 0]
        if self.time not in ("", time):
            raise InputError(
                f"{path} runs along another axis than the recurrent layer before it: batch_first"
                " must be one for both"
            )
        return replace(self, axes=self.known, time=time)

    def pack(self, path: str, batch_first: bool) -> Flow:
        """The same as a PackedSequence."""
        flow = self.running(path, batch_first)
        other = flow.known[0 if batch_first else 1]
        return replace(flow, axes=(flow.time, other, FEATURES), packed=True)

    def unpack(self, batch_first: bool) -> Flow:
        """The same as a tensor."""
        time, other, features = self.known
        axes = (other, time, features) if batch_first else self.known
        return replace(self, axes=axes, packed=False)

    def step(self, path: str) -> Flow:
        """The same with one step of a sequence alone, which a cell takes. Raises InputError."""
        if self.time or self.axes not in (None, (PLAIN[0], FEATURES)):
            raise InputError(f"{path} takes one step, and reads {', '.join(self.known)}")
        return replace(self, axes=(PLAIN[0], FEATURES))

    def last(self) -> Flow:
        """The last step."""
        axes = tuple(axis for axis in self.known if axis != self.time)
        return replace(self, axes=axes, chain=self.chain.noted(LAST))


@dataclass(frozen=True, eq=False)
class Given:
    """What is no output of a layer: a size, zeros, a further argument of the module."""

    what: str
    zero: bool = False
    argument: bool = False


@dataclass(frozen=True, eq=False)
class State:
    """A stack's final state [layers, batch, size]; ``output`` where its last row is the output."""

    flow: Flow
    rows: int
    output: bool

    def row(self, path: str, index: Any) -> Flow:
        """The row of a layer, which must be the last one."""
        if index not in (-1, self.rows - 1) or not self.output:
            raise InputError(
                f"{path} reads a state that is not the output of the last layer, which a built"
                " model alone gives"
            )
        return self.flow.last()


def indexed(path: str, value: Flow | State, index: Any) -> Flow:
    """``value[index]``: the whole, or the last step. Raises InputError for any other part."""
    several = index if isinstance(index, tuple) else (index,)
    if isinstance(value, State):
        rest = [item for item in several[1:] if item not in (slice(None), Ellipsis)]
        return value.row(path, "part" if rest else several[0])
    axes, spread = value.known, []
    for item in several:
        missing = len(axes) - len(several) + 1
        spread += [slice(None)] * missing if item is Ellipsis else [item]
    flow = value
    for axis, item in zip(axes, spread, strict=False):
        if item == slice(None):
            continue
        if axis != value.time or item not in (-1, slice(-1, None)):
            raise InputError(
                f"{path} takes a part of an output ([{', '.join(map(_shown, several))}]): the last"
                " step alone, or the whole, can be built"
            )
        flow = flow.last() if item == -1 else replace(flow.last(), axes=axes)
    return flow


def _shown(item: Any) -> str:
    if not isinstance(item, slice):
        return "..." if item is Ellipsis else str(item)
    ends = ["" if end is None else str(end) for end in (item.start, item.stop)]
    return ":".join(ends) + ("" if item.step is None else f":{item.step}")


def laid_out(path: str, name: str, value: Flow | State, numbers: list[Any]) -> Flow:
    """What a function of `MOVES`, with its further arguments, gives. Raises InputError where it
    would move numbers from one step to another."""
    if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)):
        numbers = list(numbers[0])
    if isinstance(value, State):
        if name == "squeeze" and numbers in ([], [0]) and value.rows == 1:
            return value.row(path, 0)
        raise InputError(f"{path}: {name} of a state cannot be built")
    axes = MOVES[name](value, numbers)
    if axes is None:
        raise InputError(f"{path}: {name} moves numbers from one step to another: build without it")
    return replace(value, axes=axes)


def _permuted(flow: Flow, order: list[Any]) -> Axes | None:
    return tuple(flow.known[axis] for axis in order)


def _transposed(flow: Flow, pair: list[Any]) -> Axes | None:
    order, (axis, other) = list(flow.known), pair
    order[axis], order[other] = order[other], order[axis]
    return tuple(order)


def _squeezed(flow: Flow, axes: list[Any]) -> Axes | None:
    single = flow.chain.outputs == 1 and FEATURES in flow.known
    if single and (not axes or flow.known[axes[0]] == FEATURES):
        return tuple(axis for axis in flow.known if axis != FEATURES)
    return None


def _unsqueezed(flow: Flow, axes: list[Any]) -> Axes | None:
    if axes == [-1] and flow.axes is None:
        return PLAIN
    lost = FEATURES not in flow.known and flow.chain.outputs == 1
    return (*flow.known, FEATURES) if axes == [-1] and lost else None


def _flattened(flow: Flow, axes: list[Any]) -> Axes | None:
    return flow.known if len(flow.known) == 2 and axes in ([], [1]) else None


def _reshaped(flow: Flow, shape: list[Any]) -> Axes | None:
    if shape[-1:] != [flow.chain.outputs] or flow.known[-1] != FEATURES:
        return None
    return flow.known if len(shape) == len(flow.known) else ("steps of all rows", FEATURES)


MOVES: dict[str, Callable[[Flow, list[Any]], Axes | None]] = {
    "permute": _permuted,
    "transpose": _transposed,
    "swapaxes": _transposed,
    "squeeze": _squeezed,
    "unsqueeze": _unsqueezed,
    "flatten": _flattened,
    "reshape": _reshaped,
    "view": _reshaped,
}
"""What only moves axes: the axes that it leaves, None where steps would change places."""
