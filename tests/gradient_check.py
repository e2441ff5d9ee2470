"""The gradient check: derived gradients against central differences along random directions.

Let L(e) be the loss when every leaf (weights, x, initial states) has moved by e times a random
direction of unit scale, and D(e) = (L(e) - L(-e)) / 2e. Then D(e) = L' + e^2 L'''/6 + O(e^4), and
one Richardson step, R(e) = (4 D(e) - D(2e)) / 3, leaves L' + c e^4 with c = -L^(5)/30 + O(e^2). So

- truncation: R(2e) - R(e) = 15 c e^4 + O(e^6), fifteen times the error of R(e): taken as it is,
  it bounds that error with room for the O(e^6);
- rounding: each L is a sum of magnitude S whose terms come through chains of at most n roundings,
  so it is wrong by at most about n u S (u = 2^-53); R(e) adds four such errors, two times 2/3e
  and two times 1/12e: at most 1.5 n u S / e. Doubled, for the derived gradient's own rounding.

A kink (relu, minimum, maximum, positive) between the points would spoil the expansion, so a
direction along which any of them changes its branch is drawn again. A tolerance that came out wide
would excuse anything, so a wide one is an error too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from backprop import Gradients, Problem, backpropagate
from cells import draw_masks, draw_states, draw_weights, sizes
from grus.equations import Cell
from grus.gradients import Backward, backward
from grus.reference import NUMPY, Operations, split, step_values

STEP = 2.0**-9
WIDEST = 1e-6  # of the loss's magnitude: every break worth the name is larger
DRAWS = 50

Array = np.ndarray


class WrongGradientError(AssertionError):
    """A derived gradient that the differences contradict."""


class ProvesNothingError(AssertionError):
    """A difference so uncertain that any gradient would pass."""


@dataclass(frozen=True)
class Difference:
    """A directional derivative by differences, and how far it may be off."""

    value: float
    tolerance: float


def check(cell: Cell, back: Backward | None = None, seed: int = 0, steps: int = 4) -> None:
    """Raise WrongGradientError where ``back`` (default: the derived one) is not the gradient.

    One random direction for each leaf by itself, so that the message can say which is wrong, and
    one for all leaves together.
    """
    rng = np.random.default_rng(seed)
    problem = draw(cell, steps, batch=2, rng=rng)
    gradients = backpropagate(cell, back or backward(cell), problem)
    for name, moved in leaves(problem):
        direction, difference = measure(cell, problem, moved, rng)
        derived = along(gradients, direction)
        # `not <=`, so that a NaN is wrong too.
        if not abs(derived - difference.value) <= difference.tolerance:
            raise WrongGradientError(
                f"{cell.name}, along {name}: derived {derived!r}, by differences"
                f" {difference.value!r} within {difference.tolerance:.1e}"
            )


def draw(cell: Cell, steps: int, batch: int, rng: np.random.Generator) -> Problem:
    """A random sequence with a random linear loss of its outputs and final states."""
    size = sizes(cell)
    weights = draw_weights(cell, size, rng)
    axis = cell.shapes.values[cell.output]
    assert axis is not None
    return Problem(
        weights=weights,
        x=rng.normal(0.0, 1.0, (steps, batch, size["input"])),
        start=draw_states(cell, size, batch, rng),
        masks=draw_masks(cell, size, steps, batch, rng),
        dy=rng.normal(0.0, 1.0, (steps, batch, size[axis])),
        dstate=draw_states(cell, size, batch, rng),
    )


def leaves(problem: Problem) -> Iterator[tuple[str, frozenset[str]]]:
    """What a direction may move: each leaf alone, then all of them."""
    names = [*problem.weights, "x", *(f"state {k}" for k in range(len(problem.start)))]
    names += [f"input {name}" for name in further(problem)]
    for name in names:
        yield name, frozenset([name])
    yield "everything", frozenset(names)


def further(problem: Problem) -> dict[str, Array]:
    """What arrives at each step beside x, by name."""
    return {name: mask for name, mask in problem.masks.items() if mask.ndim == 3}


def measure(
    cell: Cell, problem: Problem, moved: frozenset[str], rng: np.random.Generator
) -> tuple[Gradients, Difference]:
    """A direction that meets no kink, and the derivative along it."""
    for _ in range(DRAWS):
        direction = _direction(problem, moved, rng)
        points = {k: loss(cell, _move(problem, direction, k * STEP)) for k in (-4, -2, -1, 1, 2, 4)}
        if len({branches for _, _, branches in points.values()}) == 1:
            return direction, _difference(problem, points)
    raise AssertionError(f"{cell.name}: no direction without a kink in {DRAWS} draws")


def _difference(problem: Problem, points: dict[int, tuple[float, float, bytes]]) -> Difference:
    central = {k: (points[k][0] - points[-k][0]) / (2 * k * STEP) for k in (1, 2, 4)}
    fine = (4 * central[1] - central[2]) / 3
    coarse = (4 * central[2] - central[4]) / 3
    size = max(magnitude for _, magnitude, _ in points.values())
    # A chain: a dot product over each axis and a dozen operations a step, through all steps, and
    # the sum that is the loss.
    chain = len(problem.x) * (16 + sum(w.shape[-1] for w in problem.weights.values()))
    chain += problem.dy.size
    rounding = 3 * chain * 2.0**-53 * size / STEP
    tolerance = abs(coarse - fine) + rounding
    if not tolerance <= WIDEST * size:
        raise ProvesNothingError(f"a tolerance of {tolerance} proves nothing")
    return Difference(fine, tolerance)


def along(gradients: Gradients, direction: Gradients) -> float:
    """The inner product of the gradients with a direction."""
    total = sum(float(np.sum(g * direction.weights[f])) for f, g in gradients.weights.items())
    total += float(np.sum(gradients.x * direction.x))
    total += sum(float(np.sum(gradients.further[n] * d)) for n, d in direction.further.items())
    pairs = zip(gradients.start, direction.start, strict=True)
    return total + sum(float(np.sum(g * d)) for g, d in pairs)


def loss(cell: Cell, problem: Problem) -> tuple[float, float, bytes]:
    """The loss, the sum of its terms' magnitudes, and which side of each kink was taken."""
    branches: list[bytes] = []
    weights, states, terms = split(cell, problem.weights), problem.start, []
    per_step = {i.name for i in cell.inputs if i.per != "sequence"}
    for t, x in enumerate(problem.x):
        masks = {k: m[t] if k in per_step else m for k, m in problem.masks.items()}
        values = step_values(cell, weights, {"x": x, **masks}, states, _recording(branches))
        states = tuple(values[f"{name}_next"] for name in cell.states)
        terms.append((problem.dy[t] * values[cell.output]).ravel())
    terms += [(d * s).ravel() for d, s in zip(problem.dstate, states, strict=True)]
    all_terms = np.concatenate(terms)
    return float(all_terms.sum()), float(np.abs(all_terms).sum()), b"".join(branches)


def _recording(branches: list[bytes]) -> Operations:
    """NumPy's operators; those with a kink also note which side they took."""

    def noting(op: str, side: Callable[..., Array]) -> Callable[..., Array]:
        def apply(*args: Array) -> Array:
            branches.append(np.packbits(side(*args)).tobytes())
            return NUMPY.table[op](*args)

        return apply

    return replace(
        NUMPY,
        table={
            **NUMPY.table,
            "relu": noting("relu", lambda a: a > 0),
            "positive": noting("positive", lambda a: a > 0),
            "minimum": noting("minimum", lambda a, b: a < b),
            "maximum": noting("maximum", lambda a, b: a > b),
        },
    )


def _direction(problem: Problem, moved: frozenset[str], rng: np.random.Generator) -> Gradients:
    def draw_one(name: str, like: Array) -> Array:
        return rng.normal(0.0, 1.0, like.shape) if name in moved else np.zeros_like(like)

    drawn = Gradients(
        {f: draw_one(f, w) for f, w in problem.weights.items()},
        draw_one("x", problem.x),
        tuple(draw_one(f"state {k}", s) for k, s in enumerate(problem.start)),
        {name: draw_one(f"input {name}", value) for name, value in further(problem).items()},
    )
    length = np.sqrt(along(drawn, drawn))
    return Gradients(
        {f: v / length for f, v in drawn.weights.items()},
        drawn.x / length,
        tuple(v / length for v in drawn.start),
        {name: value / length for name, value in drawn.further.items()},
    )


def _move(problem: Problem, direction: Gradients, by: float) -> Problem:
    return replace(
        problem,
        weights={f: w + by * direction.weights[f] for f, w in problem.weights.items()},
        x=problem.x + by * direction.x,
        start=tuple(s + by * d for s, d in zip(problem.start, direction.start, strict=True)),
        masks={n: m + by * direction.further.get(n, 0.0) for n, m in problem.masks.items()},
    )
