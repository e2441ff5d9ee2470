"""Activations in cells: their values by their own formulas, and found again by `factor`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from grus.dialects.activation import KINDS, Activation, activated, factor
from grus.dialects.records_run import ONNX_WORDS
from grus.equations import CELLS, Cell, Name
from grus.errors import InputError
from grus.onnx.forms import NAMES, NodeForm, activations, cell_of
from grus.reference import evaluate, run
from grus.runtime import run as compiled

Array = np.ndarray
V = np.array([-1e3, -7.5, -2.5, -1.0, -0.3, 0.0, 0.2, 1.0, 1.5, 2.5, 30.0])

# Each from the ONNX operator's text or Keras' own function, written out anew.
FORMULAS: dict[str, Callable[[Array, float, float], Array]] = {
    "sigmoid": lambda v, a, b: 1 / (1 + np.exp(np.minimum(-v, 700))),
    "tanh": lambda v, a, b: np.tanh(v),
    "relu": lambda v, a, b: np.where(v > 0, v, 0),
    "linear": lambda v, a, b: v,
    "hard_sigmoid": lambda v, a, b: np.clip(a * v + b, 0, 1),
    "softsign": lambda v, a, b: v / (1 + np.abs(v)),
    "scaled_tanh": lambda v, a, b: a * np.tanh(b * v),
    "leaky_relu": lambda v, a, b: np.where(v >= 0, v, a * v),
    "thresholded_relu": lambda v, a, b: np.where(v > a, v, 0),
    "elu": lambda v, a, b: np.where(v >= 0, v, a * np.expm1(np.minimum(v, 0))),
    "affine": lambda v, a, b: a * v + b,
    "exponential": lambda v, a, b: np.exp(np.minimum(v, 700)),
    "silu": lambda v, a, b: v / (1 + np.exp(np.minimum(-v, 700))),
}


def other(name: str) -> Activation:
    """The activation with numbers that are not its defaults."""
    kind = KINDS[name]
    return Activation(
        name, None if kind.alpha is None else 0.7, None if kind.beta is None else 0.45
    )


@pytest.mark.parametrize("name", KINDS)
def test_an_activation_is_its_formula(name: str) -> None:
    for activation in (Activation(name), other(name)):
        got = np.broadcast_to(evaluate(activation(Name("v")), {Name("v"): V}), V.shape)
        want = FORMULAS[name](V, activation.alpha or 0, activation.beta or 0)
        # A handful of roundings; exp - 1 near 0 is exact to the last place of 1.
        assert np.abs(got - want).max() <= 8 * 2.0**-53 * max(1, np.abs(want).max())


def test_every_kind_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(KINDS)


PAIRS = [*product(["sigmoid", "hard_sigmoid", "relu", "softsign"], KINDS)]


@pytest.mark.parametrize("base", ["gru", "gru_reset_before_admit", "lstm", "rnn"])
@pytest.mark.parametrize("clip", [None, 3.0])
def test_what_was_put_into_a_cell_is_found_again(base: str, clip: float | None) -> None:
    for gates, candidate in PAIRS:
        cell = activated(CELLS[base], other(gates), other(candidate), clip=clip)
        found = factor(cell)
        assert found is not None
        assert found.base == CELLS[base]
        if base != "rnn":
            assert found.activations.gates == other(gates)
        assert found.activations.candidate == other(candidate)
        assert found.activations.clip == clip
        assert Cell.parse(str(cell)) == cell


@pytest.mark.parametrize("output", KINDS)
def test_an_lstms_output_has_an_activation_of_its_own(output: str) -> None:
    found = factor(activated(CELLS["lstm"], output=other(output)))
    assert found is not None
    assert found.activations.output == other(output)


def test_the_usual_activations_are_the_cell_itself() -> None:
    assert activated(CELLS["gru"]) is CELLS["gru"]
    assert activated(CELLS["rnn"], candidate="relu") == CELLS["rnn_relu"]
    assert activated(CELLS["rnn_relu"], candidate="tanh") == CELLS["rnn"]


def test_gates_of_two_sorts_are_no_activation_of_the_table() -> None:
    text = str(CELLS["gru"]).replace("r = sigmoid(", "r = tanh(")
    assert factor(Cell.parse(text)) is None
    text = str(CELLS["gru"]).replace("b.n + r * m", "r * (b.n + m)")
    assert factor(Cell.parse(text)) is None


def test_what_an_activation_cannot_be_is_said() -> None:
    with pytest.raises(InputError, match="no activation is called 'swish'; there are sigmoid"):
        activated(CELLS["gru"], "swish")
    with pytest.raises(InputError, match="tanh has no alpha"):
        Activation("tanh", 2.0)
    with pytest.raises(InputError, match="clip must be a positive number"):
        activated(CELLS["gru"], clip=0.0)


@pytest.mark.parametrize("name", KINDS)
def test_only_a_symmetric_activation_turns_the_sense_round(name: str) -> None:
    for activation in (Activation(name), other(name)):
        f = FORMULAS[name]
        numbers = activation.alpha or 0, activation.beta or 0
        turned = np.abs(f(-V, *numbers) - (1 - f(V, *numbers))).max() < 1e-12
        assert activation.symmetric == turned


@pytest.mark.parametrize("word", ONNX_WORDS)
def test_a_node_of_onnx_and_its_record_are_one_cell(word: str) -> None:
    """What a file says in attributes and what `activated` is told give the same equations."""
    node = activations([word] * 3, [0.7] * 3, [0.45] * 3, "")
    one = other(ONNX_WORDS[word].name)
    for form, base in (
        (NodeForm("GRU", node[:2], 1.5, True), "gru"),
        (NodeForm("GRU", node[:2]), "gru_reset_before"),
        (NodeForm("LSTM", node, 2.0), "lstm"),
        (NodeForm("RNN", node[:1]), "rnn"),
    ):
        assert cell_of(form) == activated(CELLS[base], one, one, one, clip=form.clip)


def test_every_activation_of_onnx_but_softplus_has_a_word() -> None:
    assert set(NAMES) - {word.lower() for word in ONNX_WORDS} == {"softplus"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("base", ["gru", "gru_reset_before", "lstm"])
def test_the_kernels_run_every_activation(name: str, base: str) -> None:
    cell = activated(CELLS[base], "hard_sigmoid", other(name), clip=2.0)
    rng = np.random.default_rng(0)
    sizes = {"input": 3, "hidden": 5}
    weights = {f: rng.normal(0, 0.4, cell.family_shape(f, sizes)) for f in cell.families}
    x = rng.normal(size=(4, 3, 3))
    slow, fast = run(cell, weights, x), compiled(cell, weights, x)
    # Four steps of sums of I + H products near 1; functions of the kernels are good to 4 ulp.
    assert np.abs(slow.output - fast.output).max() < 2**4 * (3 + 5 + 16) * 2.0**-53
