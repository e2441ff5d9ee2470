"""A layer's weights packed once, for serving: one time step a call, over tensors or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.arguments import check_further_names
from grus.equations import Connection, columns
from grus.errors import InputError
from grus.kernels import Array, Narrow
from grus.kernels.backend import backend
from grus.layers import kernel_calls, parameters
from grus.layers.kernel_calls import TORCH
from grus.layers.parameters import bind
from grus.layers.torch_state import WIDE, differentiated
from grus.runtime import PackedLayers, check_narrow, has_rows

if TYPE_CHECKING:
    from grus.layers.recurrent import Recurrent

Value = Tensor | Array
States = Value | tuple[Value, ...]


class Stepper:
    """What ``layer.stepper()`` gives: the layer as it is now, one step at a time.

    A call takes ``x`` [batch, input] and the states, each [layers, batch, size] (a tuple where the
    cell has several; None is zeros), and the further inputs of a cell that has some by name, as
    ``layer.step`` does. It gives (output [batch, size], states): tensors for tensors, arrays for
    arrays, in the layer's dtype, with the bits of ``layer.step`` and of the whole sequence. With
    ``out=(output, states)`` the results are written there and nothing is allocated, but for a row
    of x and its further inputs; the states written may be the states read. Weights that change
    later do not count: take another stepper. Its masks are their means, it has no dropout and no
    gradients, runs on the thread that calls it, and lets one caller in at a time.

    ``narrow`` makes it read half the bytes, and then its bits are its own: "weights" keeps the
    matrices in bfloat16 and computes in float32, "products" rounds what they are multiplied with,
    too (`grus.run` has the same).

    Raises InputError for a layer of two directions, of another dtype than float32 or float64 or
    not on the CPU, for what does not have the shape or dtype, and where a derivative is wanted.
    """

    def __init__(self, layer: Recurrent, narrow: Narrow = "") -> None:
        kernels.make_plan(layer.cell)  # refuses by name what they cannot run
        first = parameters.tensor(layer, layer._first)
        if layer.bidirectional:
            raise InputError("a layer of two directions cannot take one step at a time")
        if first.dtype not in WIDE or not first.is_cpu or backend() != "kernels":
            raise InputError(
                "a stepper runs torch.float32 and torch.float64 on the CPU's kernels, the layer is"
                f" {first.dtype} on {first.device} ({backend()})"
            )
        if not layer.cell.families:
            raise InputError(f"cell {layer.cell.name} has no weights for a stepper to pack")
        self._cell, self._kind = layer.cell, first.dtype
        self._dtype = np.dtype(str(first.dtype).removeprefix("torch."))
        check_narrow(narrow, self._dtype)
        self._narrow = narrow
        self._weights = [_snapshot(layer, k) for k in range(layer.num_layers)]
        self._inputs, self._sizes = layer.input_size, layer._state_sizes
        places = columns(self._cell, layer._axes(0)).items()
        self._further = {name: size for name, (first, size) in places if first}
        if self._further and layer.connect == "dense":
            raise InputError("a stepper of a dense stack takes no further inputs: call layer.step")
        axes = kernels.axis_sizes(self._cell, self._weights[0])
        self._width = axes[str(self._cell.shapes.values[self._cell.output])]
        self._cells = tuple(record.cell for record in layer._records)
        self._connection = replace(layer._connection, width=self._width)
        self._packed = self._pack()

    def _pack(self) -> PackedLayers:
        more = sum(self._further.values())
        return PackedLayers(self._cells, self._weights, self._connection, more, self._narrow)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        layers = len(state["_weights"])
        plain = Connection("", state["_inputs"], state["_width"], layers)
        earlier = {"_narrow": "", "_cells": (state["_cell"],) * layers, "_connection": plain}
        self.__dict__.update({**earlier, "_further": {}, **state})
        self._packed = self._pack()

    def __call__(
        self,
        x: Value,
        state: States | None = None,
        *,
        out: tuple[Value, States] | None = None,
        **further: Value,
    ) -> tuple[Any, Any]:
        """One step."""
        if not isinstance(x, (Tensor, np.ndarray)) or x.ndim != 2:
            raise InputError(f"x must be a tensor or array [batch, input], got {_kind_of(x)}")
        batch = x.shape[0]
        self._check("x", x, x, (batch, self._inputs))
        if further or self._further:
            x = self._row(x, further)
        shapes = [(len(self._weights), batch, size) for size in self._sizes]
        before = self._states("state", x, state, shapes)
        if out is None:
            output, after = _empty(x, (batch, self._width)), [_empty(x, s) for s in shapes]
        else:
            output = self._check("out's output", x, out[0], (batch, self._width), written=True)
            after = self._states("out's state", x, out[1], shapes, written=True)
        self._packed(TORCH, batch, x, before, output, after)
        if out is not None:
            return out
        return output, tuple(after) if len(after) > 1 else after[0]

    def _row(self, x: Value, further: Mapping[str, Value]) -> Value:
        """x and the further inputs behind it."""
        check_further_names(self._cell.name, self._further, further)
        row: list[Any] = [x]
        for name, size in self._further.items():
            value: Any = further[name]
            if isinstance(value, type(x)) and size == 1 and value.ndim == 1:
                value = value[:, None]  # one number a row
            if str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
                tensor = isinstance(value, Tensor)
                value = value.to(self._kind) if tensor else value.astype(self._dtype)
            row.append(self._check(name, x, value, (x.shape[0], size)))
        return torch.cat(row, 1) if isinstance(x, Tensor) else np.concatenate(row, 1)

    def _states(
        self,
        name: str,
        x: Value,
        values: States | None,
        shapes: Sequence[tuple[int, ...]],
        *,
        written: bool = False,
    ) -> list[Value]:
        if values is None:
            return [_zeros(x, shape) for shape in shapes]
        states = list(values) if isinstance(values, (tuple, list)) else [values]
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
            raise InputError(f"{name} must be a {kind.__name__} of {dtype}, got {_kind_of(value)}")
        if tuple(value.shape) != shape:
            raise InputError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        if written and not has_rows(value):
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
    families = bind(layer._records[row], tuple(named)).weights(tuple(named.values()))
    return {family: np.array(weights, order="C") for family, weights in families.items()}


def _kind_of(value: Any) -> str:
    return f"{type(value).__name__} of {getattr(value, 'dtype', 'no dtype')}"


def _empty(like: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(like, Tensor):
        return torch.empty(shape, dtype=like.dtype)
    return np.empty(shape, like.dtype)


def _zeros(like: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(like, Tensor):
        return torch.zeros(shape, dtype=like.dtype)
    return np.zeros(shape, like.dtype)
