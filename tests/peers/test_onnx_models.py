"""`grus.onnx.load`: what ONNX Runtime and the onnx package's own tests compute is what we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grus
from grus.onnx.node import ORDER, OUTPUTS
from grus.onnx.stored import INPUTS

onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
helper = onnx.helper
TENSOR = helper.make_tensor_value_info
STEPS, BATCH, SIZE, HIDDEN = 5, 3, 3, 4

Arrays = dict[str, np.ndarray]


def draw(kind: str, directions: int, rng: np.random.Generator) -> Arrays:
    gates = len(ORDER[kind])
    shapes = {
        "X": (STEPS, BATCH, SIZE),
        "W": (directions, gates * HIDDEN, SIZE),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "initial_h": (directions, BATCH, HIDDEN),
    }
    if kind == "LSTM":
        shapes |= {"initial_c": (directions, BATCH, HIDDEN), "P": (directions, 3 * HIDDEN)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(kind: str, arrays: Arrays, attributes: dict[str, Any], held: str = "WRBP") -> Any:
    """One node; what ``held`` names stands in the file, the rest are inputs."""
    inputs = [name if name in arrays else "" for name in INPUTS[kind]]
    node = helper.make_node(kind, inputs, OUTPUTS[kind], hidden_size=HIDDEN, **attributes)
    infos = [
        TENSOR(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
        if name not in held
    ]
    outputs = [TENSOR(name, 1, None) for name in OUTPUTS[kind]]
    constants = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items() if n in held]
    graph = helper.make_graph([node], "one", infos, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def compare(model: Any, feeds: Arrays, path: Path) -> None:
    """ONNX Runtime and this project on one file."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx.save(model, path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(None, feeds)
    ours = grus.onnx.load(path).run(feeds)
    for (name, got), want in zip(ours.items(), theirs, strict=True):
        # A step sums I + H products and rounds a dozen times beside; unbounded activations and
        # these sizes let an error at most triple from step to step.
        steps = feeds["X"].shape[0]
        bound = 3**steps * (SIZE + HIDDEN + 12) * 2.0**-24 * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)
        assert got.dtype == want.dtype


LENGTHS = (None, (0, 5, 2), (1, 1, 1), (0, 0, 0))
KINDS = {
    "GRU": [{}, {"linear_before_reset": 1}],
    "LSTM": [{}, {"input_forget": 1}],
    "RNN": [{}],
}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize(
    ("kind", "attributes"), [(k, a) for k, every in KINDS.items() for a in every]
)
def test_onnx_runtime_agrees(
    kind: str, attributes: dict, clip: float | None, lengths: Any, direction: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(len(direction) + 100 * len(kind))
    directions = 2 if direction == "bidirectional" else 1
    arrays = draw(kind, directions, rng)
    attributes = attributes | {"direction": direction} | ({"clip": clip} if clip else {})
    if lengths is not None:
        arrays["sequence_lens"] = np.array(lengths, np.int32)
    # Everything; then without what is optional; then without peepholes.
    for dropped in ((), ("B", "initial_h", "initial_c"), ("P",)):
        given = {name: a for name, a in arrays.items() if name not in dropped}
        feeds = {name: a for name, a in given.items() if name not in "WRBP"}
        compare(model_of(kind, given, attributes), feeds, tmp_path / "m.onnx")


NAMES = ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh"]
NAMES += ["HardSigmoid", "Elu", "Softsign", "Softplus"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_agrees_on_activations(kind: str, name: str, tmp_path: Path) -> None:
    """Two directions with activations of their own; numbers are taken in turn."""
    rng = np.random.default_rng(NAMES.index(name))
    arrays = draw(kind, 2, rng)
    usual = {"GRU": ["Sigmoid"], "LSTM": ["Sigmoid", "HardSigmoid"], "RNN": []}[kind]
    # Small numbers keep what is unbounded from growing.
    attributes = {
        "activations": [*usual, name, *usual, "ScaledTanh"],
        "activation_alpha": [0.3, 0.6, 0.4, 0.5][: 4 if kind == "LSTM" else 2],
        "activation_beta": [0.4, 0.3, 0.6, 0.2][: 4 if kind == "LSTM" else 2],
        "direction": "bidirectional",
    }
    feeds = {name: a for name, a in arrays.items() if name not in "WRBP"}
    compare(model_of(kind, arrays, attributes), feeds, tmp_path / "m.onnx")


def test_a_missing_number_is_onnx_s_default(tmp_path: Path) -> None:
    arrays = draw("RNN", 1, np.random.default_rng(0))
    feeds = {name: a for name, a in arrays.items() if name not in "WRBP"}
    for name in ("LeakyRelu", "HardSigmoid", "Elu"):
        compare(model_of("RNN", arrays, {"activations": [name]}), feeds, tmp_path / "m.onnx")


def node_cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"):  # collecting computes every other operator's cases too
        every = {case.name: case for case in collect_testcases()}
    return [case for name, case in every.items() if case.model.graph.node[0].op_type in KINDS]


def test_the_onnx_package_s_own_cases_pass(tmp_path: Path) -> None:
    cases = node_cases()
    assert {case.model.graph.node[0].op_type for case in cases} == set(KINDS)
    assert len(cases) >= 15
    for case in cases:
        onnx.save(case.model, tmp_path / "case.onnx")
        model = grus.onnx.load(tmp_path / "case.onnx")
        for inputs, outputs in case.data_sets:
            found = model.run(dict(zip(model.inputs, inputs, strict=True)))
            for (name, got), want in zip(found.items(), outputs, strict=True):
                label = f"{case.name} {name}"
                # The tolerance of that suite.
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-7, err_msg=label)
                assert (got.shape, got.dtype) == (want.shape, want.dtype), label


def two_nodes() -> Any:
    rng = np.random.default_rng(3)
    arrays = draw("GRU", 2, rng)
    constants = [onnx.numpy_helper.from_array(arrays[n], n) for n in "WR"]
    both = {"direction": "bidirectional", "hidden_size": HIDDEN}
    nodes = [
        helper.make_node("GRU", ["X", "W", "R", "", "lens"], ["", "last"], name="encoder", **both),
        helper.make_node("Transpose", ["last"], ["swapped"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["X", "W", "R", "", "", "last"], ["y", ""], **both),
    ]
    infos = [TENSOR("X", 1, ["T", "B", SIZE]), TENSOR("lens", 6, ["B"])]
    outputs = [TENSOR("swapped", 1, None), TENSOR("y", 1, None)]
    graph = helper.make_graph(nodes, "two", infos, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def test_a_graph_of_several_nodes_runs_whole(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, SIZE)).astype(np.float32)
    compare(two_nodes(), {"X": x, "lens": np.array([2, 0, 5], np.int32)}, tmp_path / "m.onnx")


def test_each_node_runs_alone_by_the_operator_s_names(tmp_path: Path) -> None:
    onnx.save(two_nodes(), tmp_path / "m.onnx")
    model = grus.onnx.load(tmp_path / "m.onnx")
    assert list(model.nodes) == ["encoder", "GRU_1"]
    assert model.others == ("Transpose",)
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, SIZE)).astype(np.float32)
    lens = np.array([2, 0, 5], np.int32)
    whole = model.run({"X": x, "lens": lens})
    alone = model.nodes["encoder"].run({"X": x, "sequence_lens": lens})
    assert list(alone) == ["Y_h"]
    assert np.array_equal(whole["swapped"], alone["Y_h"].swapaxes(0, 1))
    later = model.nodes["GRU_1"].run({"X": x, "initial_h": alone["Y_h"]})
    assert np.array_equal(whole["y"], later["Y"])


def test_one_node_takes_the_operator_s_names(tmp_path: Path) -> None:
    arrays = draw("GRU", 1, np.random.default_rng(0))
    onnx.save(model_of("GRU", arrays, {}), tmp_path / "m.onnx")
    model = grus.onnx.load(tmp_path / "m.onnx")
    given = {"X": arrays["X"], "sequence_lens": np.array([1, 2, 3])}
    found = model.run(given)
    assert set(found) == {"Y", "Y_h"}
    assert not found["Y"][1:, :, 0].any()


def test_a_node_inside_a_branch_is_run_by_this_project(tmp_path: Path) -> None:
    arrays = draw("RNN", 1, np.random.default_rng(0))
    branches = []
    for activation in ("Tanh", "Softplus"):
        more = {"activations": [activation], "hidden_size": HIDDEN}
        node = helper.make_node("RNN", ["X", "W", "R"], ["y"], **more)
        branches.append(helper.make_graph([node], activation, [], [TENSOR("y", 1, None)]))
    split = helper.make_node("If", ["up"], ["Y"], then_branch=branches[0], else_branch=branches[1])
    infos = [TENSOR("X", 1, ["T", "B", SIZE]), TENSOR("up", 9, [])]
    held = [onnx.numpy_helper.from_array(arrays[n], n) for n in "WR"]
    graph = helper.make_graph([split], "if", infos, [TENSOR("Y", 1, None)], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    for up in (True, False):
        compare(made, {"X": arrays["X"], "up": np.array(up)}, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"X": np.zeros((5, 3, 3), "f")}, "its inputs are X, lens; lens is missing"),
        ({"x": np.zeros((5, 3, 3), "f")}, "not x"),
        (
            {"X": np.zeros((5, 3, 3), "d"), "lens": np.zeros(3, "i")},
            "X must be float32, got float64",
        ),
        (
            {"X": np.zeros((5, 3, 2), "f"), "lens": np.zeros(3, "i")},
            "X must have 3 features a step",
        ),
    ],
)
def test_what_cannot_be_is_named(given: Arrays, said: str, tmp_path: Path) -> None:
    onnx.save(two_nodes(), tmp_path / "m.onnx")
    with pytest.raises(grus.InputError, match=said):
        grus.onnx.load(tmp_path / "m.onnx").run(given)


def test_an_operator_nobody_knows_is_named(tmp_path: Path) -> None:
    model = two_nodes()
    model.graph.node[1].op_type = "Frobnicate"
    onnx.save(model, tmp_path / "m.onnx")
    loaded = grus.onnx.load(tmp_path / "m.onnx")
    given = {"X": np.zeros((5, 3, 3), "f"), "lens": np.zeros(3, "i")}
    with pytest.raises(grus.InputError, match="Frobnicate"):
        loaded.run(given)
    assert loaded.nodes["encoder"].run({"X": given["X"]})["Y_h"].shape == (2, 3, HIDDEN)


def test_a_model_without_recurrent_nodes_is_refused(tmp_path: Path) -> None:
    model = two_nodes()
    del model.graph.node[2], model.graph.node[0]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(grus.InputError, match="no GRU, LSTM or RNN node; it has Transpose"):
        grus.onnx.load(tmp_path / "m.onnx")


def external(location: str, folder: Path) -> Path:
    """The model with W kept in another file."""
    model = two_nodes()
    tensor = model.graph.initializer[0]
    (folder / "w.bin").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location, 0, len(tensor.raw_data))
    tensor.ClearField("raw_data")
    path = folder / "model" / "m.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    return path


def test_tensors_beside_the_model_are_read(tmp_path: Path) -> None:
    path = external("w.bin", tmp_path)
    (tmp_path / "w.bin").rename(path.parent / "w.bin")
    onnx.save(two_nodes(), tmp_path / "whole.onnx")
    given = {"X": np.ones((5, 3, 3), "f"), "lens": np.full(3, 5, "i")}
    found, want = (grus.onnx.load(p).run(given) for p in (path, tmp_path / "whole.onnx"))
    assert all(np.array_equal(found[name], want[name]) for name in want)


@pytest.mark.parametrize("location", ["../w.bin", "{folder}/w.bin", "..\\w.bin", "link.bin", ""])
def test_tensors_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    path = external(location.format(folder=tmp_path), tmp_path)
    (path.parent / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(grus.InputError, match=r"m\.onnx: W"):
        grus.onnx.load(path)
