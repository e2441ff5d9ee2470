"""A recurrent ONNX node: the usual ones are the house's cells, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.equations import CELLS, Cell, x
from grus.errors import InputError
from grus.onnx import Node
from grus.onnx.forms import DEFAULTS, NAMES, NodeForm, activations, cell_of
from grus.onnx.node import ORDER, runs_on_kernels
from grus.reference import step_values

STEPS, BATCH, INPUTS, HIDDEN = 4, 3, 2, 5
rng = np.random.default_rng(0)


def usual(kind: str, **more: Any) -> NodeForm:
    return NodeForm(kind, activations(DEFAULTS[kind], [], [], ""), **more)


def tensors(kind: str, directions: int = 1, dtype: str = "float32") -> dict[str, np.ndarray]:
    gates = len(ORDER[kind])
    shapes = {
        "X": (STEPS, BATCH, INPUTS),
        "W": (directions, gates * HIDDEN, INPUTS),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "initial_h": (directions, BATCH, HIDDEN),
    }
    return {name: rng.normal(0, 0.5, shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (usual("GRU", linear_before_reset=True), "gru"),
        (usual("GRU"), "gru_reset_before"),
        (usual("LSTM"), "lstm"),
        (usual("RNN"), "rnn"),
        (NodeForm("RNN", activations(["Relu"], [], [], "")), "rnn_relu"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_the_usual_nodes_are_cells_of_the_house(form: NodeForm, name: str) -> None:
    assert cell_of(form) == CELLS[name]


MEANS = {
    "Relu": lambda a, _, __: np.maximum(a, 0),
    "Tanh": lambda a, _, __: np.tanh(a),
    "Sigmoid": lambda a, _, __: 1 / (1 + np.exp(-a)),
    "Affine": lambda a, alpha, beta: alpha * a + beta,
    "LeakyRelu": lambda a, alpha, _: np.where(a >= 0, a, alpha * a),
    "ThresholdedRelu": lambda a, alpha, _: np.where(a > alpha, a, 0),
    "ScaledTanh": lambda a, alpha, beta: alpha * np.tanh(beta * a),
    "HardSigmoid": lambda a, alpha, beta: np.clip(alpha * a + beta, 0, 1),
    "Elu": lambda a, alpha, _: np.where(a >= 0, a, alpha * np.expm1(a)),
    "Softsign": lambda a, _, __: a / (1 + np.abs(a)),
    "Softplus": lambda a, _, __: np.logaddexp(a, 0),
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("alpha", [0.7, -0.4])
def test_an_activation_is_its_formula(name: str, alpha: float) -> None:
    a = np.concatenate([np.linspace(-40, 40, 801), [-700.0, 700.0, 1e-9, -1e-9]])
    (one,) = activations([name], [alpha], [0.3], "")
    cell = Cell("one", tuple(one.equations("h_next", x)))
    found = step_values(cell, {}, {"x": a[:, None]}, (np.zeros((len(a), 1)),))["h_next"][:, 0]
    with np.errstate(over="ignore"):
        wanted = MEANS[name](a, alpha, 0.3)
    # Elu subtracts 1 from exp, so it is right to an ulp of 1, not of itself.
    np.testing.assert_allclose(found, wanted, rtol=8 * 2.0**-52, atol=4 * 2.0**-52)


def test_every_activation_has_a_formula_here() -> None:
    assert set(NAMES) == {name.lower() for name in MEANS}


@pytest.mark.parametrize("name", MEANS)
def test_the_kernels_run_every_activation(name: str) -> None:
    three = activations([name] * 3, [0.5] * 3, [0.5] * 3, "")
    assert runs_on_kernels(cell_of(NodeForm("LSTM", three, clip=1.0, peepholes=True)))


@pytest.mark.parametrize("kind", ORDER)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_results_have_the_dtype_of_x(kind: str, dtype: str) -> None:
    found = Node.read(kind, "n", {}).run(tensors(kind, dtype=dtype))
    assert {str(a.dtype) for a in found.values()} == {dtype}


@pytest.mark.parametrize("kind", ORDER)
def test_batch_first_is_the_same_transposed(kind: str) -> None:
    given = tensors(kind, 2)
    plain = Node.read(kind, "n", {"direction": "bidirectional"}).run(given)
    swapped = {n: a.swapaxes(0, 1) if n in ("X", "initial_h") else a for n, a in given.items()}
    found = Node.read(kind, "n", {"direction": "bidirectional", "layout": 1}).run(swapped)
    assert np.array_equal(found["Y"], plain["Y"].transpose(2, 0, 1, 3))
    assert np.array_equal(found["Y_h"], plain["Y_h"].swapaxes(0, 1))


@pytest.mark.parametrize("kind", ORDER)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_row_does_not_see_other_rows_lengths(kind: str, direction: str) -> None:
    given = tensors(kind)
    node = Node.read(kind, "n", {"direction": direction})
    lengths = np.array([2, 0, 4], np.int32)
    found = node.run(given | {"sequence_lens": lengths})
    for row, length in enumerate(lengths):
        one = {n: a[:, [row]] if n in ("X", "initial_h") else a for n, a in given.items()}
        alone = node.run(one | {"X": one["X"][:length]})
        assert np.array_equal(found["Y"][:length, :, row], alone["Y"][:, :, 0])
        assert np.array_equal(found["Y_h"][:, row], alone["Y_h"][:, 0])
        assert not found["Y"][length:, :, row].any()


def test_a_row_of_length_zero_ends_with_zeros_whatever_it_began_with() -> None:
    given = tensors("GRU") | {"sequence_lens": np.array([0, 1, 2])}
    found = Node.read("GRU", "n", {}).run(given)
    assert given["initial_h"][0, 0].all()
    assert not found["Y_h"][0, 0].any()


def test_padding_may_hold_nan() -> None:
    given = tensors("GRU") | {"sequence_lens": np.array([2, 2, 2])}
    given["X"][2:] = np.nan
    assert np.isfinite(Node.read("GRU", "n", {}).run(given)["Y"]).all()


def test_inputs_are_not_modified() -> None:
    given = tensors("LSTM", 2) | {"sequence_lens": np.array([2, 0, 4])}
    before = {name: a.copy() for name, a in given.items()}
    Node.read("LSTM", "n", {"direction": "bidirectional", "clip": 0.5}).run(given)
    assert all(np.array_equal(before[name], a) for name, a in given.items())


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"direction": "sideways"}, "direction must be one of"),
        ({"layout": 2}, "layout must be 0 or 1"),
        ({"activations": ["Sigmoid"]}, "2 activations for each of 1 directions"),
        ({"activations": ["Sigmoid", "Gelu"]}, "no activation is called 'Gelu'"),
        ({"activations": ["Sigmoid", "ScaledTanh"]}, "ScaledTanh needs a number"),
        ({"input_forget": 1}, "does not know: .'input_forget'"),
    ],
)
def test_an_attribute_that_cannot_be_is_named(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Node.read("GRU", "encoder", attributes)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"X": np.zeros((4, 3), "f")}, "X must have 3 axes"),
        ({"X": np.zeros((4, 3, 2), "i")}, "X must be a float tensor, got int32"),
        ({"W": np.zeros((1, 15, 3), "f")}, "X must have 3 features a step, as W has, got 2"),
        ({"W": np.zeros((1, 14, 2), "f")}, r"W must have shape \(1, 15, 2\)"),
        ({"R": np.zeros((1, 15), "f")}, "R must have 3 axes"),
        ({"B": np.zeros((1, 15), "f")}, r"B must have shape \(1, 30\)"),
        ({"initial_h": np.zeros((1, 3, 5), "d")}, "initial_h must be float32 like X"),
        ({"initial_c": np.zeros((1, 3, 5), "f")}, "has no input 'initial_c'"),
        ({"sequence_lens": np.array([1, 2])}, r"sequence_lens must be \[batch\] = \(3,\)"),
        ({"sequence_lens": np.array([1, 2, 5])}, r"must lie in 0..4, got 1..5"),
        ({"sequence_lens": np.array([1, 2, -1])}, "must lie in 0..4"),
    ],
)
def test_an_input_that_cannot_be_is_named(changed: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=f"GRU node 'encoder'.*{said}"):
        Node.read("GRU", "encoder", {}).run(tensors("GRU") | changed)


def test_a_missing_input_is_named() -> None:
    given = tensors("GRU")
    del given["R"]
    with pytest.raises(InputError, match="needs the input R"):
        Node.read("GRU", "n", {}).run(given)
