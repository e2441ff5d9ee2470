"""A layer's weights packed once, for serving: one time step a call, over tensors or arrays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.equations import expected
from grus.errors import InputError
from grus.kernels import Narrow, address
from grus.kernels.backend import backend
from grus.layers import kernel_calls, parameters
from grus.layers.kernel_calls import TORCH
from grus.layers.parameters import bind
from grus.layers.torch_state import WIDE, differentiated
from grus.runtime import PackedStep, check_narrow

if TYPE_CHECKING:
    from grus.layers.recurrent import Recurrent

Array = np.ndarray[Any, np.dtype[Any]]
Value = Tensor | Array
States = Value | tuple[Value, ...]
BATCHES = 8
"""Numbers of rows whose memory is kept."""


class Stepper:
    """What ``layer.stepper()`` gives: the layer as it is now, one step at a time.

    A call takes ``x`` [batch, input] and the states, each [layers, batch, size] (a tuple where the
    cell has several; None is zeros), and gives (output [batch, size], states): tensors for
    tensors, arrays for arrays, in the layer's dtype, with the bits of ``layer.step`` and of the
    whole sequence. With ``out=(output, states)`` the results are written there and nothing is
    allocated; the states written may be the states read. Weights that change later do not count:
    take another stepper. Its masks are their means, it has no dropout and no gradients, runs on
    the thread that calls it, and lets one caller in at a time.

    ``narrow`` makes it read half the bytes, and then its bits are its own: "weights" keeps the
    matrices in bfloat16 and computes in float32, "products" rounds what they are multiplied with,
    too (`grus.run` has the same).

    Raises InputError for a layer of two directions, of another dtype than float32 or float64 or
    not on the CPU, for what does not have the shape or dtype, and where a derivative is wanted.
    """

    def __init__(self, layer: Recurrent, narrow: Narrow = "") -> None:
        first = parameters.one(layer, layer._first)
        if layer.bidirectional:
            raise InputError("a layer of two directions cannot take one step at a time")
        if first.dtype not in WIDE or not first.is_cpu or backend() != "kernels":
            raise InputError(
                "a stepper runs torch.float32 and torch.float64 on the CPU's kernels, the layer is"
                f" {first.dtype} on {first.device} ({backend()})"
            )
        if not layer.cell.families:
            raise InputError(f"cell {layer.cell.name} has no weights for a stepper to pack")
        self._cell, self._kind = expected(layer.cell), first.dtype
        self._dtype = np.dtype(str(first.dtype).removeprefix("torch."))
        check_narrow(narrow, self._dtype)
        self._narrow = narrow
        self._weights = [_snapshot(layer, k) for k in range(layer.num_layers)]
        self._inputs, self._sizes = layer.input_size, layer._state_sizes
        axes = kernels.axis_sizes(self._cell, self._weights[0])
        self._width = axes[str(self._cell.shapes.values[self._cell.output])]
        self._prepare()

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._packed = lru_cache(maxsize=BATCHES)(self._pack)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_packed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"_narrow": "", **state})
        self._prepare()

    def _pack(self, batch: int) -> tuple[list[PackedStep], list[Array]]:
        """The steps of all layers, and what stands between them."""
        steps, inputs = [], self._inputs
        for weights in self._weights:
            steps.append(PackedStep(self._cell, weights, batch, inputs, self._narrow))
            inputs = self._width
        return steps, [np.empty((batch, self._width), self._dtype) for _ in steps[1:]]

    def __call__(
        self, x: Value, state: States | None = None, *, out: tuple[Value, States] | None = None
    ) -> tuple[Any, Any]:
        """One step."""
        if not isinstance(x, (Tensor, np.ndarray)) or x.ndim != 2:
            raise InputError(f"x must be a tensor or array [batch, input], got {_said(x)}")
        batch = x.shape[0]
        self._check("x", x, x, (batch, self._inputs))
        shapes = [(len(self._weights), batch, size) for size in self._sizes]
        before = self._states("state", x, state, shapes)
        if out is None:
            output, after = _empty(x, (batch, self._width)), [_empty(x, s) for s in shapes]
        else:
            output = self._check("out's output", x, out[0], (batch, self._width), written=True)
            after = self._states("out's state", x, out[1], shapes, written=True)
        with self._lock:
            self._run(batch, x, before, output, after)
        if out is not None:
            return out
        return output, tuple(after) if len(after) > 1 else after[0]

    def _run(
        self, batch: int, x: Value, before: list[Value], output: Value, after: list[Value]
    ) -> None:
        steps, between = self._packed(batch)
        x, before = _contiguous(x), [_contiguous(value) for value in before]
        places = [_place(value) for value in (*before, *after)]
        read, last = _place(x), len(steps) - 1
        for k, step in enumerate(steps):
            write = _place(output if k == last else between[k])
            states = [(begin + k * strides[0], strides[1]) for begin, strides in places]
            step((read[0], read[1][0]), (write[0], write[1][0]), states)
            read = write

    def _states(
        self,
        name: str,
        x: Value,
        given: States | None,
        shapes: Sequence[tuple[int, ...]],
        *,
        written: bool = False,
    ) -> list[Value]:
        if given is None:
            return [_zeros(x, shape) for shape in shapes]
        states = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(states) != len(shapes):
            raise InputError(f"{name} must hold {len(shapes)} states, got {len(states)}")
        return [
            self._check(name, x, s, shape, written=written)
            for s, shape in zip(states, shapes, strict=True)
        ]

    def _check(
        self,
        name: str,
        x: Value,
        value: Value,
        shape: tuple[int, ...],
        *,
        written: bool = False,
    ) -> Value:
        """``written``: results go there, so it is taken as it lies."""
        kind = Tensor if isinstance(x, Tensor) else np.ndarray
        dtype = self._kind if kind is Tensor else self._dtype
        if not isinstance(value, kind) or value.dtype != dtype:
            raise InputError(f"{name} must be a {kind.__name__} of {dtype}, got {_said(value)}")
        if tuple(value.shape) != shape:
            raise InputError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        if written and not _is_contiguous(value):
            raise InputError(f"{name} must be contiguous along its last axis")
        if isinstance(value, Tensor):
            if type(value) not in kernel_calls.PLAIN_TENSORS or not value.is_cpu or value.is_neg():
                value = _plain(name, value, written)
            if (torch.is_grad_enabled() and value.requires_grad) or differentiated():
                raise InputError("a stepper is a snapshot without derivatives: call layer.step")
        return value


def _plain(name: str, value: Tensor, written: bool) -> Tensor:
    """An unusual tensor as the kernels read it. Raises InputError where they cannot."""
    if not value.is_cpu:
        raise InputError(f"{name} must be on the CPU, got {value.device}")
    kernel_calls.check([name], [value])
    if written and value.is_neg():
        raise InputError(f"{name} is written where it lies, it may not be negated when it is read")
    return value.resolve_neg()


def _snapshot(layer: Recurrent, row: int) -> dict[str, Array]:
    """The weights of a layer by family, copied."""
    named = layer.layer_tensors(row)
    kernel_calls.check(tuple(named), tuple(named.values()))
    families = bind(layer.record, tuple(named)).weights(tuple(named.values()))
    return {family: np.array(weights, order="C") for family, weights in families.items()}


def _said(value: Any) -> str:
    return f"{type(value).__name__} of {getattr(value, 'dtype', 'no dtype')}"


def _empty(like: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(like, Tensor):
        return torch.empty(shape, dtype=like.dtype)
    return np.empty(shape, like.dtype)


def _zeros(like: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(like, Tensor):
        return torch.zeros(shape, dtype=like.dtype)
    return np.zeros(shape, like.dtype)


def _is_contiguous(value: Value) -> bool:
    if isinstance(value, Tensor):
        return value.shape[-1] < 2 or value.stride(-1) == 1
    return value.shape[-1] < 2 or value.strides[-1] == value.itemsize


def _contiguous(value: Value) -> Value:
    if _is_contiguous(value):
        return value
    return value.contiguous() if isinstance(value, Tensor) else np.ascontiguousarray(value)


def _place(value: Value) -> tuple[int, Sequence[int]]:
    """Address and bytes along each axis."""
    if isinstance(value, Tensor):
        item = value.element_size()
        return TORCH.addresses((value,))[0], [item * s for s in value.stride()]
    return address(value), value.strides
