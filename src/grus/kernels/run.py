"""Sequences on compiled kernels, over NumPy arrays: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import passes, recompute
from grus.kernels.arguments import check, check_narrow, check_steps, check_threads
from grus.kernels.layout import output_size, with_masks
from grus.kernels.passes import Gradients
from grus.kernels.plan import make_plan
from grus.kernels.steps import PLAIN, Narrow, Steps

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Result:
    """The output [time, batch, hidden] and the final states, each [batch, hidden]."""

    output: Array
    state: tuple[Array, ...]


def run(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    reset_to: Literal["zero", "h0"] = "zero",
    reverse: bool = False,
    seed: int | None = None,
    threads: int | None = None,
    narrow: Narrow = "",
) -> Result:
    """Run a cell over ``x`` [time, batch, input] in the dtype of ``x`` (float32 or float64).

    ``weights`` maps families to stacked arrays, as `reference.run` takes them; ``h0`` defaults to
    zeros. ``lengths`` [batch], 0 allowed, any order: outputs past a row's end are 0, its final
    state is the one at its last valid step, and what stands in the padding is never read.
    ``resets`` [time, batch], bool or 0 and 1: this step begins with the state at zero, or at h0
    with ``reset_to="h0"``. ``reverse`` goes from each row's last valid step to the first, results
    in time order. ``seed`` draws the cell's own masks; without it their means stand for them. An
    empty sequence gives back h0. ``narrow``: what is bfloat16 in products of float32. A row's
    result does not depend, bit for bit, on the other rows, on their number, on padding, on the
    threads, or on where the sequence is cut.

    Raises InputError naming the argument whose shape, dtype or values cannot be.
    """
    make_plan(cell)  # what the kernels cannot run is said before anything else
    x, weights, start = check(cell, weights, x, h0)
    check_threads(threads)
    steps = check_steps(lengths, resets, reset_to, x.shape[:2], reverse=reverse)
    check_narrow(narrow, x.dtype)
    steps = replace(steps, seed=seed, narrow=narrow)
    output = np.empty((*x.shape[:2], output_size(cell, weights, start)), x.dtype)
    final = tuple(np.empty(s.shape, x.dtype) for s in start)
    forward(cell, weights, x, start, output, final, steps=steps, threads=threads)
    return Result(output, final)


def forward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: tuple[Array, ...],
    output: Array,
    final: tuple[Array, ...],
    saved: Array | None = None,
    *,
    steps: Steps = PLAIN,
    threads: int | None = None,
) -> None:
    """Run into ``output`` and ``final``; with ``saved`` (`saved_size` numbers) keep what
    `backward` needs. Arguments are already checked; ``output`` is zeroed past a row's end."""
    if steps.narrow and saved is not None:
        raise InputError(f"training keeps full numbers, narrow={steps.narrow!r} is for inference")
    cell = with_masks(cell, steps)
    if steps.recompute and saved is not None:
        recompute.forward(cell, weights, x, start, output, final, saved, steps, threads)
    else:
        passes.forward(cell, weights, x, start, output, final, saved, steps, threads, start)


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    output: Array,
    saved: Array,
    dy: Array,
    dfinal: tuple[Array, ...],
    *,
    steps: Steps = PLAIN,
    need_x: bool = True,
    need_weights: bool = True,
    threads: int | None = None,
) -> Gradients:
    """Backpropagate through the sequence that `forward` ran with these arguments.

    ``dy`` [time, batch, hidden] is dL/d(output), ``dfinal`` dL/d(final states).
    """
    cell = with_masks(cell, steps)
    one = recompute.backward if steps.recompute else passes.backward
    found, base = one(
        cell,
        weights,
        x,
        output,
        saved,
        dy,
        dfinal,
        steps,
        need_x,
        need_weights,
        threads,
    )
    if not base:
        return found
    h0 = tuple(d + b for d, b in zip(found.h0, base, strict=True))
    return Gradients(found.weights, found.x, h0)
