"""torch's weights in the layouts of other frameworks, and gradients back: NumPy only.

Every function here moves blocks about, so that its inverse takes a gradient back; biases that a
framework keeps as one sum have one gradient, which is that of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grus_benchmarks.problem import Problem
from grus_benchmarks.wire import Array, Arrays

UPDATE_FIRST = {"gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}
"""Keras: z, r, n and i, f, g, o; torch has r, z, n and i, f, g, o."""
ONNX = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""z, r, n and i, o, f, g."""
OPENVINO = {"gru": (1, 0, 2), "lstm": (1, 0, 2, 3)}
"""z, r, n and f, i, g, o."""


def ordered(stacked: Array, order: Sequence[int]) -> Array:
    """The blocks of axis 0 in another order."""
    blocks = stacked.reshape(len(order), -1, *stacked.shape[1:])
    return np.ascontiguousarray(blocks[list(order)].reshape(stacked.shape))


def restored(stacked: Array, order: Sequence[int]) -> Array:
    """The inverse of `ordered`."""
    return ordered(stacked, np.argsort(order).tolist())


def four(given: Arrays, end: str, order: Sequence[int]) -> tuple[Array, Array, Array, Array]:
    """weight_ih, weight_hh, bias_ih, bias_hh of one layer and direction, reordered."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, d = (ordered(given[name + end], order) for name in names)
    return w, u, b, d


def stacked(given: Arrays, problem: Problem, layer: int, order: Sequence[int]) -> list[Arrays]:
    """The two directions' weights of a layer as "w", "u", "b", "d"."""
    ends = [end for end, _ in problem.parts if end.startswith(f"_l{layer}")]
    return [dict(zip("wubd", four(given, end, order), strict=True)) for end in ends]
