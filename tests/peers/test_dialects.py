"""Every record is the framework's: its own code on random tensors agrees with the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from frameworks import FRAMEWORKS, IN_SINGLE, NOT_RUN

from grus.dialects import DIALECTS, SECOND, Dialect, Layout, unpack
from grus.equations import CELLS
from grus.reference import run

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
RUN = [s for s in DIALECTS if s.framework in FRAMEWORKS and not s.named.startswith("flax_")]
Array = np.ndarray


def draw(record: Dialect, rng: np.random.Generator) -> dict[str, Array]:
    """Random tensors in the framework's own shapes, no bias of them zero."""
    cell = CELLS[record.cell_name]
    gates = len(cell.families["W"])
    if not record.order:
        size = {"input": INPUTS, "hidden": HIDDEN}
        axes = {w: [size[axis] for axis in cell.shapes.weights[w]] for w in cell.weights}
        return {w.name: rng.normal(0, 0.5, shape[::-1]) for w, shape in axes.items()}
    shapes = {"W": (gates * HIDDEN, INPUTS), "U": (gates * HIDDEN, HIDDEN)}
    if record.gates_in == "columns":
        shapes = {key: shape[::-1] for key, shape in shapes.items()}
    biases, one = record.biases, gates * HIDDEN
    shapes["b"] = (2, one) if biases.together else (one,)
    if record.framework == "onnx":
        shapes = {key: (1, *shape) for key, shape in shapes.items()} | {"b": (1, 2 * one)}
    if biases.second != "none" and not biases.together:
        shapes[SECOND] = (HIDDEN,) if biases.second == "inner" else (one,)
    return {key: rng.normal(0, 0.5, shape) for key, shape in shapes.items()}


def single(value: Array) -> Array:
    """Numbers that float32 holds too, so that whoever computes in it is given the same."""
    return value.astype(np.float32).astype(np.float64)


def compare(record: Dialect, read_as: Dialect | None = None, seed: int = 0) -> None:
    """Run the framework and the reference on the same tensors, x and initial states."""
    cell, rng = CELLS[record.cell_name], np.random.default_rng(seed)
    tensors = {key: single(value) for key, value in draw(record, rng).items()}
    unit = 2.0**-24 if record.framework in IN_SINGLE else 2.0**-53
    x = single(rng.normal(size=(STEPS, BATCH, INPUTS)))
    start = tuple(single(rng.normal(0, 0.5, (BATCH, HIDDEN))) for _ in cell.states)
    theirs = FRAMEWORKS[record.framework](record, tensors, x, start)
    other = read_as or record
    read = unpack(other.cell, Layout.of(other), tensors)
    ours = run(other.cell, read.weights, x, start if len(start) > 1 else start[0]).output
    # A step sums I + H products and rounds a dozen times beside, at numbers of about 1; at these
    # sizes an error may at most double from step to step.
    bound = 2**STEPS * (INPUTS + HIDDEN + 12) * unit * max(1.0, float(np.abs(ours).max()))
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=bound)


@pytest.mark.parametrize("record", RUN, ids=lambda s: s.title)
def test_the_framework_computes_what_its_spelling_says(record: Dialect) -> None:
    for seed in range(3):
        compare(record, seed=seed)


def test_every_spelling_is_run_or_has_nothing_to_run() -> None:
    assert {s.framework for s in DIALECTS} == {*FRAMEWORKS, *NOT_RUN}


@pytest.mark.parametrize("dialect", ["keras", "onnx"])
def test_the_other_place_of_the_reset_is_another_function(dialect: str) -> None:
    """A break: tensors of one family read as the other's give other numbers."""
    before, after = (
        next(s for s in RUN if s.framework == dialect and s.cell_name == cell)
        for cell in ("gru_reset_before", "gru")
    )
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(before, read_as=after)


def test_another_order_of_the_gates_is_another_function() -> None:
    torch = next(s for s in RUN if s.title == "PyTorch nn.GRU")
    swapped = replace(torch, holds={**torch.holds, "weight_hh": "U.zrn"} | {"weight_ih": "W.zrn"})
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(torch, read_as=swapped)
