"""Random ONNX models: what ONNX Runtime runs, runs here and gives the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grus
from grus.onnx import evaluator, node, others

onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from random_onnx import HIDDEN, SIZE, STEPS, Random  # noqa: E402

MODELS = {"ONNX Runtime": 24, "the onnx package": 200}
"""Cells are compiled for the first, and run by the slow reference for the second."""
ROUNDS = 3
"""A loop's rounds, or the layers of a stack, one after another."""


def theirs(one: Random) -> list[np.ndarray] | None:
    """What ONNX Runtime gives; None where it refuses the model, or where activations that nothing
    bounds have grown past any comparison."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    content, on = one.model.SerializeToString(), ["CPUExecutionProvider"]
    try:
        found = runtime.InferenceSession(content, options, providers=on).run(None, one.feeds)
    except Exception:  # noqa: BLE001  its errors share no class of their own
        return None
    tame = all(np.isfinite(a).all() and np.abs(a).max(initial=0) < 300 for a in found)
    return found if tame else None


def close(got: np.ndarray, want: np.ndarray, label: str) -> None:
    # A step sums I + H products and rounds a dozen times beside; unbounded activations and these
    # sizes let an error at most triple from step to step.
    largest = max(1.0, float(np.abs(want).max(initial=0)))
    bound = 3 ** (STEPS + ROUNDS) * (SIZE + 2 * HIDDEN + 12) * 2.0**-24 * largest
    np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=label)
    assert got.dtype == want.dtype, label


@pytest.mark.parametrize("by", ["ONNX Runtime", "the onnx package"])
def test_what_onnx_runtime_runs_runs_here(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layouts, directions, activations, clips, lengths, quantised inputs, functions, branches,
    loops, scans, opsets 7 to 23; other operators by either of the two."""
    if by == "the onnx package":
        for place in (others, evaluator):
            monkeypatch.setattr(place, "runtime", lambda: None)
        monkeypatch.setattr(node, "backend", lambda: "reference")
    places: Counter[str] = Counter()
    for seed in range(MODELS[by]):
        one = Random(seed)
        want = theirs(one)
        if want is None:
            continue
        onnx.save(one.model, tmp_path / "m.onnx")
        found = grus.onnx.load(tmp_path / "m.onnx").run(one.feeds)
        for got, wanted in zip(found.values(), want, strict=True):
            close(got, wanted, one.said)
        places[one.place] += 1
    assert sum(places.values()) > 0.8 * MODELS[by]
    assert len(places) >= 7


def loaded(one: Random, path: Path) -> Any:
    onnx.save(one.model, path)
    return grus.onnx.load(path)


def test_an_operator_that_nobody_runs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = (r for r in map(Random, range(99)) if r.place == "stack")
    one = next(r for r in every if theirs(r) is not None)
    one.model.graph.node[-1].op_type = "Frobnicate"
    model = loaded(one, tmp_path / "m.onnx")
    with pytest.raises(grus.InputError, match="operator Frobnicate"):
        model.run(one.feeds)
    for place in (others, evaluator):
        monkeypatch.setattr(place, "runtime", lambda: None)
    with pytest.raises(grus.InputError, match="operator Frobnicate"):
        loaded(one, tmp_path / "m.onnx").run(one.feeds)


def test_a_loop_gathers_what_its_rounds_give_as_onnx_runtime_does(tmp_path: Path) -> None:
    one = next(r for r in map(Random, range(99)) if r.place == "Loop" and theirs(r) is not None)
    want = theirs(one)
    assert want is not None
    found = loaded(one, tmp_path / "m.onnx").run(one.feeds)
    assert [a.shape for a in found.values()] == [a.shape for a in want]


def calls(depth: int) -> Any:
    """A function that calls the one before it twice, and so on: 2**depth nodes written out."""
    make = onnx.helper
    functions = [make.make_function("f", "F0", ["x"], ["y"], [make.make_node("Neg", ["x"], ["y"])],
                                    [make.make_opsetid("", 17)])]  # fmt: skip
    for k in range(1, depth):
        nodes = [make.make_node(f"F{k - 1}", [a], [b], domain="f") for a, b in ("xm", "my")]
        functions.append(make.make_function(
            "f", f"F{k}", ["x"], ["y"], nodes, [make.make_opsetid("f", 1)]
        ))  # fmt: skip
    one = next(r for r in map(Random, range(99)) if r.place == "plain" and r.opset >= 14)
    model = one.model
    model.functions.extend(functions)
    model.opset_import.add(domain="f", version=1)
    model.graph.node.append(make.make_node(f"F{depth - 1}", ["X"], ["z"], domain="f"))
    return model


def test_functions_that_multiply_or_call_themselves_are_refused(tmp_path: Path) -> None:
    onnx.save(calls(40), tmp_path / "m.onnx")
    with pytest.raises(grus.InputError, match="written out have"):
        grus.onnx.load(tmp_path / "m.onnx")
    model = calls(2)
    model.functions[0].node[0].op_type, model.functions[0].node[0].domain = "F1", "f"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(grus.InputError, match="calls itself"):
        grus.onnx.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_a_clip_that_is_not_positive_is_refused(kind: str, clip: float, tmp_path: Path) -> None:
    every = (r for r in map(Random, range(999)) if r.place == "plain")
    one = next(r for r in every if r.model.graph.node[-1].op_type == kind)
    node = one.model.graph.node[-1]
    kept = [a for a in node.attribute if a.name != "clip"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("clip", clip)])
    with pytest.raises(grus.InputError, match="clip must be a positive number"):
        loaded(one, tmp_path / "m.onnx")
