"""`grus.run`: a sequence over NumPy arrays, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from grus import reference, runtime
from grus.equations import Cell, cell as find_cell, columns, sizes
from grus.errors import InputError
from grus.kernels.backend import backend
from grus.kernels.steps import Narrow
from grus.runtime import Result

Array = np.ndarray[Any, np.dtype[Any]]


def run(
    cell: str | Cell | type[Cell],
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
    further: Mapping[str, Array] | None = None,
) -> Result:
    """Run a cell over ``x`` [time, batch, input], float32 or float64, in its dtype.

    ``cell`` is whatever `grus.cell` takes; ``weights`` maps its families to stacked arrays (for
    the GRU W [3H, I], U [3H, H], b [3H], d [H], gates in the order r, z, n); ``h0`` [batch,
    hidden], a tuple of them for a cell with several states, defaults to zeros.

    ``lengths`` [batch], 0 to T, any order: outputs past a row's end are 0, the final state is the
    one at its last valid step, padding is never read. ``resets`` [time, batch], bool or 0 and 1:
    this step begins with the state at zero, or at h0 with ``reset_to="h0"``. ``reverse`` runs from
    each row's last valid step to its first. ``seed`` draws the random masks of a cell that has
    some; without it their means stand for them. ``threads`` caps the threads. An empty sequence
    gives h0.

    ``narrow`` makes products of float32 read half the bytes: "weights" rounds the matrices to
    bfloat16 and computes in float32, bit for bit what rounded matrices give; "products" rounds x,
    states and whatever else the matrices are multiplied with, too (on processors with
    AVX512_BF16). Neither has the bits of the other, nor of float32.

    ``further`` has the further inputs of a cell that reads some, by name: each [time, batch, its
    size], what is one number [time, batch], in the dtype of ``x`` or bool.

    The kernels run, or the reference if GRUS_BACKEND=reference. Raises InputError naming the
    argument whose shape, dtype or values cannot be.
    """
    equations = find_cell(cell)
    steps: Any = {"lengths": lengths, "resets": resets, "reset_to": reset_to, "reverse": reverse}
    steps["seed"] = seed
    x = runtime.row(equations, weights, x, further or {})
    if backend() == "kernels":
        return runtime.run(equations, weights, x, h0, threads=threads, narrow=narrow, **steps)
    if narrow:
        raise InputError(f"the reference computes in float64; narrow={narrow!r} needs the kernels")
    x, weights, start = runtime.check(equations, weights, x, h0)
    places = columns(equations, sizes(equations, weights, x.shape[2], start, row=True))
    parts = {name: x[:, :, first : first + count] for name, (first, count) in places.items()}
    slow = reference.run(equations, weights, parts.pop("x"), start, masks=parts, **steps)
    return Result(slow.output.astype(x.dtype), tuple(s.astype(x.dtype) for s in slow.state))
