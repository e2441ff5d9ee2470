"""What other projects' test suites expect comes out of the ONNX path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from published import GRU, Published
from published_more import LSTM, OTHERS, RNN

from grus.onnx import Node

CASES = [*GRU, *LSTM, *RNN, *OTHERS]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.source)


def bound(case: Published) -> float:
    """Half of the last digit printed, and what float32 may lose on each side: a step sums I + H
    products and rounds a dozen times beside, and at these sizes an error at most doubles from
    step to step."""
    steps, _, inputs = case.inputs["X"].shape
    hidden = case.inputs["R"].shape[2]
    lost = 2**steps * (inputs + hidden + 12) * 2.0**-24
    largest = max(1.0, *(float(np.abs(y).max()) for y in case.outputs.values()))
    return 0.5 * 10.0**-case.digits + 2 * lost * largest


def compare(case: Published) -> None:
    found = Node.read(case.kind, "published", case.attributes).run(case.inputs)
    for name, expected in case.outputs.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=bound(case), err_msg=name)


@every_case
def test_the_published_numbers_come_out(case: Published) -> None:
    compare(case)


@every_case
def test_the_reference_gives_them_too(case: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    compare(case)


@pytest.mark.parametrize("name", ["W", "R", "B", "P", "initial_h", "initial_c"])
def test_a_changed_input_is_seen(name: str) -> None:
    """A break: the comparison fails where a tensor differs by a hundredth."""
    for case in (c for c in CASES if name in c.inputs and c.inputs["X"].max() < 2):
        if case.inputs.get("sequence_lens", np.ones(1)).any():
            changed = {name: case.inputs[name] + np.float32(0.01)}
            with pytest.raises(AssertionError, match="Not equal to tolerance"):
                compare(replace(case, inputs=case.inputs | changed))
