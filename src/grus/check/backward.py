"""What goes wrong in gradients alone: each mistake as something that can be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from grus.check.cases import Array, Case, again
from grus.check.hypotheses import Hypothesis
from grus.check.meaning import Back, gradients, step_masks
from grus.equations import Cell

Gradients = dict[str, Array]
STEP = 2.0**-14
"""A step of central differences in float64: truncation (squared) and cancellation both stay near
1e-9 of a loss of about 1."""


def derivative_causes() -> Iterator[tuple[str, Callable[[Cell, Case], Gradients]]]:
    """Each mistake by name, and the gradients of somebody who makes it."""

    def back(**changed: object) -> Callable[[Cell, Case], Gradients]:
        return lambda cell, case: gradients(cell, case, Back(**changed))  # type: ignore[arg-type]

    def masks(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[..., Gradients]:
        return lambda cell, case: gradients(cell, case, Back(masks=change(step_masks(case))))

    def after(change: Callable[[Gradients, Case], Gradients]) -> Callable[[Cell, Case], Gradients]:
        def run(cell: Cell, case: Case) -> Gradients:
            right = gradients(cell, case)
            return right | change(right, case)

        return run

    yield "no gradient goes back from step to step", back(carried=False)
    yield "the final state's gradient ignored", back(dh_n=0.0)
    yield "the output's gradient ignored", back(dy=0.0)
    yield "no gradient reaches h0", after(lambda g, _: {"h0": np.zeros_like(g["h0"])})
    yield "no gradient reaches x", after(lambda g, _: {"x": np.zeros_like(g["x"])})
    yield "the inner bias' gradient lacks the reset gate", after(_same_biases)
    yield (
        "no gradient reaches the biases",
        after(lambda g, _: {n: np.zeros_like(a) for n, a in g.items() if n.startswith("bias")}),
    )
    yield "weight gradients averaged over the batch", after(_averaged)
    yield (
        "every gradient averaged over the batch",
        after(lambda g, case: {n: a / case.x.shape[1] for n, a in g.items()}),
    )
    yield "every gradient has the wrong sign", after(lambda g, _: {n: -a for n, a in g.items()})
    yield "gradients go through resets", masks(lambda m: {"alive": np.ones_like(m["alive"])})
    yield "padding sends gradients", masks(lambda m: {"valid": np.ones_like(m["valid"])})
    yield "zoneout forgotten on the way back", masks(lambda m: {"kept": np.zeros_like(m["kept"])})
    yield (
        "zoneout mask of the step before on the way back",
        masks(lambda m: {"kept": np.roll(m["kept"], 1, axis=0)}),
    )
    yield (
        "zoneout mask of the step after on the way back",
        masks(lambda m: {"kept": np.roll(m["kept"], -1, axis=0)}),
    )
    yield (
        "the first step's zoneout mask on the way back",
        masks(lambda m: {"kept": np.broadcast_to(m["kept"][:1], m["kept"].shape)}),
    )


def _same_biases(right: Gradients, case: Case) -> Gradients:
    return {n: right[n.replace("_hh", "_ih")] for n in right if n.startswith("bias_hh")}


def _averaged(right: Gradients, case: Case) -> Gradients:
    return {n: a / case.x.shape[1] for n, a in right.items() if n not in ("x", "h0")}


def follows(
    mistake: Hypothesis, cell: Cell, case: Case, given: Mapping[str, Array], dtype: str
) -> bool:
    """Whether gradients are those of a wrong forward run, by differences along directions."""
    rng = np.random.default_rng(0)
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    for _ in range(3):
        along: dict[str, Any] = {n: rng.normal(size=g.shape) for n, g in given.items()}
        slope = (
            _loss(mistake, cell, case, along, STEP) - _loss(mistake, cell, case, along, -STEP)
        ) / (2 * STEP)
        told = sum(float(np.sum(given[n] * along[n])) for n in given)
        size = sum(float(np.abs(given[n] * along[n]).sum()) for n in given)
        # The sum of all terms, each rounded through every step; and the differences' own error.
        limit = (2.0 ** len(case.x) * 32 * unit + 1e-6) * max(1.0, size)
        if not abs(slope - told) <= limit:
            return False
    return True


def _loss(
    mistake: Hypothesis, cell: Cell, case: Case, along: Mapping[str, Any], step: float
) -> float:
    weights = {n: w + step * along[n] for n, w in case.weights.items()}
    moved = {"x": case.x + step * along["x"], "weights": weights}
    if case.h0 is not None:
        moved["h0"] = case.h0 + step * along["h0"]
    found = mistake.run(cell, again(case, case.name, case.why, **moved))
    return float(np.sum(case.dy * found.output) + np.sum(case.dh_n * found.h_n))
