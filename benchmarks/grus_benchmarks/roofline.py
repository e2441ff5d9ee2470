"""The least time that a machine allows, from its measured limits: the roofline.

    seconds >= max(F / P, D / R(D), S / R(U))

- F: floating-point operations of the products alone; G gates (GRU 3, LSTM 4), for each layer and
  direction, 2 G T B H (I + H) forward. Backward adds 4 G T B H^2 (through U, and U's gradient)
  and 2 G T B H I (W's gradient), and as much again where the gradient of its x is wanted: always in
  a layer above the first. Gates, sums and functions are not counted, nor anything computed again.
- P: the best rate of a float32 matrix product (SGEMM) with all threads, whatever library has it.
- D: bytes that a call reads or writes at least once: x, the output, the weights; with backward dy
  and the gradients too. What is kept for backward is not counted, since it may be computed again.
- S: bytes of the recurrent weights U that are read in the course of time. A step needs the state
  before it, so U is read again at every step, forward and backward: 4 G H^2 bytes times T, or
  2 T. It comes from the cache that holds it, not from memory. With one row a number of U is used
  once, for two operations, and reading it bounds a call; with more rows F / P is larger.
- R(n): bytes a second at which all threads together read n bytes again and again, each its
  own share: from L1, L2, L3 or memory, as n fits. It is measured at several n; between two of them
  the faster is taken, so that the bound stays a bound. Where n exceeds every cache, R is memory's.

A call repeated on the same data finds in a cache what fits there, hence R(D), not R of memory. No
implementation can be faster but for two things that the formula leaves out: U held in registers
(H up to about 16) and a product that beats the best SGEMM found here. Both show as more than 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grus_benchmarks.problem import BOTH_DX, FORWARD, Problem

ITEM = 4  # bytes of a float32


@dataclass(frozen=True)
class Limits:
    """The measured limits of the machine."""

    sgemm: Mapping[str, float]
    """Operations a second of the best product, by library and size."""
    read: Mapping[int, float]
    """Bytes a second of reading, by the bytes read again and again (all threads together)."""
    triad: float
    """Bytes a second of a = b + s c over arrays beyond every cache, three transfers a number."""

    @property
    def peak(self) -> float:
        """The best SGEMM."""
        return max(self.sgemm.values())

    def reading(self, count: float) -> float:
        """R(count): the fastest of the measured sizes from the largest that is not above count."""
        below = [size for size in self.read if size <= count]
        first = max(below) if below else min(self.read)
        return max(rate for size, rate in self.read.items() if size >= first)


def operations(problem: Problem, kind: str) -> float:
    """F."""
    steps, batch, _, hidden = problem.shape.sizes
    unit = 2.0 * problem.gates * steps * batch * hidden
    total = 0.0
    for end, inputs in problem.parts:
        total += unit * (inputs + hidden)
        if kind != FORWARD:
            total += unit * (2 * hidden + inputs)
            total += unit * inputs if kind == BOTH_DX or not end.startswith("_l0") else 0.0
    return total


def touched(problem: Problem, kind: str) -> float:
    """D, in bytes."""
    steps, batch, inputs, hidden = problem.shape.sizes
    weights = sum(problem.gates * hidden * (width + hidden + 2) for _, width in problem.parts)
    x, output = steps * batch * inputs, steps * batch * hidden * problem.directions
    if kind == FORWARD:
        return ITEM * (weights + x + output)
    return ITEM * (2.0 * weights + x * (2 if kind == BOTH_DX else 1) + 2 * output)


def recurrent(problem: Problem) -> float:
    """The bytes of U, of one layer and direction."""
    return float(ITEM * problem.gates * problem.shape.hidden**2)


def streamed(problem: Problem, kind: str) -> float:
    """S, in bytes, over all layers and directions."""
    times = problem.shape.steps * (1 if kind == FORWARD else 2)
    return recurrent(problem) * problem.layers * problem.directions * times


def bounds(problem: Problem, kind: str, limits: Limits) -> dict[str, float]:
    """The three bounds in seconds, by what sets them; the roofline is the largest."""
    everything, each = touched(problem, kind), recurrent(problem)
    return {
        "operations": operations(problem, kind) / limits.peak,
        "bytes once": everything / limits.reading(everything),
        "weights again": streamed(problem, kind) / limits.reading(each),
    }
