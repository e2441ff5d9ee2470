"""What each operator means on NumPy arrays: one line per operator.

A vector is an array [..., axis]; a weight matrix is [rows, columns], so W @ v is ``v @ W.T``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any


@dataclass(frozen=True)
class Operations:
    """An array library as the evaluator sees it: operators by name, and what sequences need."""

    name: str
    table: Mapping[str, Callable[..., Array]]
    where: Callable[[Array, Array, Array], Array]
    stack: Callable[[list[Array]], Array]
    zeros_like: Callable[[Array], Array]


def _sigmoid(v: Array) -> Array:
    # exp only of numbers <= 0: no overflow, and exactly 0 and 1 where sigmoid saturates.
    e = np.exp(-np.abs(v))
    return np.where(v >= 0, 1 / (1 + e), e / (1 + e))


NUMPY = Operations(
    name="numpy",
    table={
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "neg": lambda a: -a,
        "matmul": lambda w, v: v @ w.T,
        "matmul_t": lambda w, v: v @ w,
        "sigmoid": _sigmoid,
        "tanh": np.tanh,
        "relu": lambda a: np.where(a <= 0, 0.0, a),
        "exp": np.exp,
        "sqrt": np.sqrt,
        "positive": lambda a: np.where(a > 0, 1.0, 0.0),
        "minimum": np.minimum,
        "maximum": np.maximum,
        "mean": lambda a: a.mean(axis=-1, keepdims=True),
    },
    where=np.where,
    stack=np.stack,
    zeros_like=np.zeros_like,
)
