"""What an ONNX node has beside its matrices is carried, or the layer is refused; and matrices that
the graph puts together of stored tensors are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import readings
from sample_files import need

import grus
from grus.errors import InputError
from grus.files.formats import load
from grus.files.layers import Layer, find_layers
from grus.onnx import described, others
from grus.onnx.described import by_onnx

onnx = need("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
INFO = helper.make_tensor_value_info
SIZE, HIDDEN, BATCH = 3, 4, 2
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
ORDER = {
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
rng = np.random.default_rng(0)


def arrays(kind: str, directions: int = 1, **more: np.ndarray) -> dict[str, np.ndarray]:
    rows = GATES[kind] * HIDDEN
    shapes = {"W": (directions, rows, SIZE), "R": (directions, rows, HIDDEN)}
    drawn = {n: rng.normal(0, 0.5, s).astype(np.float32) for n, s in shapes.items()}
    return drawn | more


def saved(
    folder: Path, kind: str, held: dict[str, np.ndarray], fed: tuple[str, ...] = (), **more: Any
) -> Path:
    """A model of one node; ``held`` stands in the file, ``fed`` are inputs of the graph."""
    names = [n if n in held or n in fed or n == "X" else "" for n in ORDER[kind]]
    node = helper.make_node(kind, names, ["Y"], name="enc", hidden_size=HIDDEN, **more)
    inputs = [INFO(n, 6 if n == "sequence_lens" else 1, None) for n in ("X", *fed)]
    tensors = [numpy_helper.from_array(a, n) for n, a in held.items()]
    graph = helper.make_graph([node], "g", inputs, [INFO("Y", 1, None)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    path = folder / "m.onnx"
    onnx.save(model, path)
    return path


def layers(path: Path) -> tuple[Layer, ...]:
    return find_layers(load(path))


def drawn(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "more", "fed", "attributes", "said"),
    [
        ("LSTM", {"P": drawn(1, 3 * HIDDEN)}, (), {}, "peepholes, which no weights here carry"),
        ("LSTM", {}, ("P",), {}, "enc/P stands .* computed when the model runs"),
        ("GRU", {}, ("B",), {}, "enc/B stands .* computed when the model runs"),
        (
            "GRU",
            {"initial_h": drawn(1, BATCH, HIDDEN)},
            (),
            {},
            "enc/initial_h stands .* no weights here carry it",
        ),
        (
            "LSTM",
            {"initial_c": drawn(1, BATCH, HIDDEN)},
            (),
            {},
            "enc/initial_c stands .* no weights here carry it",
        ),
        (
            "RNN",
            {"sequence_lens": np.array([2, 3], np.int32)},
            (),
            {},
            "enc/sequence_lens stands .* no weights here carry it",
        ),
        ("LSTM", {}, (), {"input_forget": 1}, "input_forget=1"),
        ("GRU", {}, (), {"activations": ["Softplus", "Tanh"]}, "activation 'Softplus'"),
        ("GRU", {}, (), {"activations": ["Sigmoid", "ScaledTanh"]}, "ScaledTanh needs a number"),
        ("GRU", {}, (), {"clip": 0.0}, "clip must be a positive number"),
        ("RNN", {}, (), {"clip": -1.0}, "clip must be a positive number"),
        ("RNN", {}, (), {"linear_before_reset": 1}, "does not know: .'linear_before_reset'"),
        ("GRU", {}, (), {"activations": ["Tanh"]}, "2 activations for each"),
    ],
)
def test_what_no_weights_carry_refuses_the_layer(
    kind: str, more: Any, fed: Any, attributes: Any, said: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, kind, arrays(kind, **more), fed, **attributes)
    with pytest.raises(InputError, match=f"enc: .*{said}"):
        _ = [layer.readings for layer in layers(path)]


def test_each_direction_s_activations_are_held_against_the_other_s(tmp_path: Path) -> None:
    same = ["HardSigmoid", "Affine"] * 2
    more = {"direction": "bidirectional", "activations": same}
    both = {"activation_alpha": [0.3, 0.9] * 2, "activation_beta": [0.4, 0.1] * 2}
    (layer,) = layers(saved(tmp_path, "GRU", arrays("GRU", 2), **more, **both))
    chosen = layer.readings[0].dialect.activations
    assert (chosen.gates.alpha, chosen.candidate.beta) == pytest.approx((0.3, 0.1))
    other = {"activation_alpha": [0.3, 0.9, 0.2, 0.9], "activation_beta": [0.4, 0.1] * 2}
    with pytest.raises(InputError, match="different activations"):
        readings(layers(saved(tmp_path, "GRU", arrays("GRU", 2), **more, **other)))


@pytest.mark.parametrize(
    "more",
    [
        {"P": np.zeros((1, 3 * HIDDEN), np.float32)},
        {"initial_h": np.zeros((1, BATCH, HIDDEN), np.float32)},
    ],
)
def test_what_is_zero_is_nothing(more: dict[str, np.ndarray], tmp_path: Path) -> None:
    (layer,) = layers(saved(tmp_path, "LSTM", arrays("LSTM", **more)))
    assert layer.readings[0].network.cell == grus.CELLS["lstm"]


def test_what_the_caller_feeds_is_the_caller_s(tmp_path: Path) -> None:
    path = saved(tmp_path, "GRU", arrays("GRU"), ("sequence_lens", "initial_h"))
    assert len(layers(path)) == 1
    assert load(path).aside == ("enc/sequence_lens (sequence_lens)", "enc/initial_h (initial_h)")


def test_stored_lengths_that_are_all_one_are_told(tmp_path: Path) -> None:
    held = arrays("GRU", sequence_lens=np.array([5, 5], np.int32))
    (layer,) = layers(saved(tmp_path, "GRU", held))
    assert layer.notes == ("enc stops after 5 steps of every row (sequence_lens)",)


# The network that was read beside the file's own node.

NODES = [
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.25, 0.125]}),
    ("LSTM", {"direction": "reverse", "clip": 0.5}),
    ("RNN", {"direction": "bidirectional", "activations": ["Elu", "Elu"]}),
]


@pytest.mark.parametrize("runtime", [True, False], ids=["ONNX Runtime", "grus.onnx"])
@pytest.mark.parametrize(("kind", "attributes"), NODES)
def test_the_proof_runs_the_node_and_not_the_reading(
    kind: str, attributes: Any, runtime: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime:
        need("onnxruntime")
    else:
        monkeypatch.setattr(others, "runtime", lambda: None)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    contents = load(saved(tmp_path, kind, arrays(kind, directions), **attributes))
    (layer,) = find_layers(contents)
    (reading,) = layer.readings
    said = contents.described["enc"]
    described.check(said, reading.network, reading.tensors)
    wrong = arrays(kind, directions)
    with pytest.raises(InputError, match="computes something else than what was read, off by"):
        described.check(said, reading.dialect.read(wrong), reading.tensors)
    plain = reading.dialect.activated(candidate="Softsign")
    with pytest.raises(InputError, match="computes something else"):
        described.check(said, plain.read(reading.tensors), reading.tensors)


def test_a_layer_whose_node_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is made to forget the activations, and the file's own node tells."""
    path = saved(tmp_path, "GRU", arrays("GRU"), activations=["Sigmoid", "Relu"])
    blind = lambda dialect, said: by_onnx(dialect, {**said, "activations": ("Sigmoid", "Tanh")})  # noqa: E731
    monkeypatch.setattr(described, "by_onnx", blind)
    with pytest.raises(InputError, match=r"^the layer at enc: its node computes something else"):
        readings(layers(path))


# Matrices put together of stored tensors.


def computed(folder: Path, opset: int = 13, inside: bool = False, **changed: Any) -> Path:
    """W: dequantised and unsqueezed; R: two halves transposed and joined; B: a slice, cast."""
    rows = 3 * HIDDEN
    held = {
        "w8": rng.integers(-100, 100, (rows, SIZE)).astype(np.int8),
        "scale": np.array(0.01, np.float32),
        "zero": np.array(3, np.int8),
        "half": drawn(HIDDEN, rows // 2),
        "other": drawn(HIDDEN, rows // 2),
        "bias": rng.normal(size=(1, 2 * rows + 3)),
        "axis": np.array([0]), "from": np.array([1]), "to": np.array([2 * rows + 1]),
        "second": np.array([1]),
    } | changed  # fmt: skip
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["w8", "scale", "zero"], ["w"]),
        node("Unsqueeze", ["w", "axis"], ["W"]),
        node("Transpose", ["half"], ["half_t"], perm=[1, 0]),
        node("Transpose", ["other"], ["other_t"], perm=[1, 0]),
        node("Concat", ["half_t", "other_t"], ["r"], axis=0),
        node("Unsqueeze", ["r", "axis"], ["R"]),
        node("Slice", ["bias", "from", "to", "second"], ["cut"]),
        node("Cast", ["cut"], ["B"], to=1),
        node("GRU", ["X", "W", "R", "B"], ["Y"], name="enc", hidden_size=HIDDEN),
    ]
    tensors = [numpy_helper.from_array(a, n) for n, a in held.items()]
    inputs, outputs = [INFO("X", 1, None)], [INFO("Y", 1, None)]
    if inside:
        branches = [helper.make_graph(nodes, "a", [], outputs),
                    helper.make_graph([node("Identity", ["none"], ["n"])], "b", [],
                                      [INFO("n", 1, None)])]  # fmt: skip
        tensors.append(numpy_helper.from_array(drawn(1), "none"))
        nodes = [node("If", ["up"], ["Y"], then_branch=branches[0], else_branch=branches[1])]
        inputs.append(INFO("up", 9, []))
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    ids = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=ids, ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("inside", [False, True])
def test_matrices_put_together_of_stored_tensors_are_found(inside: bool, tmp_path: Path) -> None:
    path = computed(tmp_path, inside=inside)
    (layer,) = layers(path)
    x = drawn(5, BATCH, SIZE)
    fed = {"X": x} | ({"up": np.array(True)} if inside else {})
    found = grus.onnx.load(path).run(fed)["Y"]
    want = layer.readings[0].network.run(x).output
    np.testing.assert_allclose(found[:, 0], want, atol=1e-5)
    assert set(load(path).tensors) <= {"enc/W", "enc/R", "enc/B", "none"}


def test_a_node_alone_has_the_matrices_that_the_graph_puts_together(tmp_path: Path) -> None:
    model, x = grus.onnx.load(computed(tmp_path)), drawn(5, BATCH, SIZE)
    found = model.nodes["enc"].run({"X": x})["Y"]
    assert np.array_equal(found, model.run({"X": x})["Y"])


def test_matrices_that_depend_on_what_is_fed_are_told(tmp_path: Path) -> None:
    for held in ({"R": arrays("GRU")["R"]}, {}):
        path = saved(tmp_path, "GRU", held, ("W", "R") if not held else ("W",))
        with pytest.raises(
            InputError, match="enc/W cannot be read: it is computed when the model runs"
        ):
            readings(layers(path))


def test_numbers_that_a_file_of_that_size_may_not_ask_for_are_refused(tmp_path: Path) -> None:
    node = helper.make_node
    doubled = [node("Concat", [f"w{k}"] * 2, [f"w{k + 1}"], axis=0) for k in range(40)]
    gru = node("GRU", ["X", "w40", "w40"], ["Y"], name="enc")
    graph = helper.make_graph(
        [*doubled, gru], "g", [INFO("X", 1, None)], [INFO("Y", 1, None)],
        [numpy_helper.from_array(drawn(9, 3), "w0")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="more than a file of"):
        load(tmp_path / "m.onnx")
