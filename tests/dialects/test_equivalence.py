"""Two cells as one function of other weights: the map, checked by the reference, or numbers."""

from __future__ import annotations

import ast
import re
from itertools import product

import numpy as np
import pytest

import grus
from grus.dialects import Activation, Counterexample, activated, equivalent, find
from grus.dialects.equivalence import formula
from grus.equations import CELLS, Cell, Weight
from grus.errors import InputError
from grus.reference import run, split

Array = np.ndarray
GRUS = [name for name in CELLS if name.startswith("gru")]
MGU = "f = sigmoid(W.f @ x + U.f @ h + b.f); n = tanh(W.n @ x + U.n @ (f * h) + b.n); "
FLAX_MGU = (
    "f = sigmoid(W.f @ x + U.f @ h + b.f); n = tanh(W.n @ x + b.n + f * (U.n @ h + d.n));"
    "h_next = f * h + (1 - f) * n"
)


def check_map(a: Cell, b: Cell) -> float:
    """The difference of whole sequences, the weights of b made by the map that was found."""
    found = equivalent(a, b)
    assert found.to_b is not None
    rng = np.random.default_rng(4)
    sizes = {"input": 2, "hidden": 3}
    weights = {f: rng.normal(size=a.family_shape(f, sizes)) for f in a.families}
    single = found.to_b(split(a, weights))
    stacked = {
        f: np.concatenate([single[Weight(f, gate)] for gate in gates])
        for f, gates in b.families.items()
    }
    x = rng.normal(size=(6, 2, 2))
    start = tuple(rng.normal(size=(2, 3)) for _ in a.states)
    return float(np.abs(run(a, weights, x, start).output - run(b, stacked, x, start).output).max())


def test_the_question_that_comes_back_every_year() -> None:
    found = equivalent("h*z + (1-z)*n", "(1-z)*h + z*n")
    assert found
    assert found.to_b is not None
    assert found.to_b.lines == ("W.z = -W.z", "U.z = -U.z", "b.z = -b.z")
    assert "are one function" in str(found)
    assert grus.equivalent is equivalent


@pytest.mark.parametrize(("a", "b"), list(product(GRUS, GRUS)))
def test_of_the_four_grus_those_with_one_reset_are_one_function(a: str, b: str) -> None:
    found = equivalent(a, b)
    same = ("before" in a) == ("before" in b)
    assert bool(found) == same
    assert (found.counterexample is None) == same
    if same:
        assert check_map(CELLS[a], CELLS[b]) < 1e-12
    else:
        assert found.to_a is None
        assert found.to_b is None


def numbers(example: Counterexample) -> dict[str, Array]:
    return {name: np.array(ast.literal_eval(text)) for name, text in example.numbers}


def test_a_counterexamples_numbers_are_true() -> None:
    example = equivalent("gru", "gru_reset_before").counterexample
    assert example is not None
    given, cell = numbers(example), CELLS["gru"]
    weights = {
        f: np.concatenate([given[f"{f}.{gate}"] for gate in gates])
        for f, gates in cell.families.items()
    }
    done = run(cell, weights, given["x"][None, None], given["h"][None])
    assert np.allclose(done.output[0, 0], example.first, rtol=0, atol=1e-12)
    assert np.abs(np.subtract(example.first, example.second)).max() > 1e-3
    assert "gru_reset_before gives" in str(example)


def test_a_dialect_without_an_inner_bias_is_only_part_of_one_with_it() -> None:
    found = equivalent("torch", "flax_nnx")
    assert not found
    assert found.to_b is None
    assert found.to_a is not None
    assert str(found).startswith("every flax_nnx is a torch, but not the other way round")
    assert equivalent("flax_nnx", "sonnet_cudnn")
    assert not equivalent("haiku", "keras")
    assert equivalent("haiku", "keras_reset_before")


def test_a_gate_by_another_name_and_two_gates_tied() -> None:
    assert equivalent("h*u + (1-u)*n", "h*z + (1-z)*n")
    paper = equivalent(MGU + "h_next = (1-f)*h + f*n", "gru_reset_before_admit")
    assert not paper
    assert paper.to_b is not None
    assert "W.r = W.f" in paper.to_b.lines
    assert equivalent(FLAX_MGU, "gru").to_b is not None
    # A minimal gated unit whose f keeps is another function: -f would reset by 1 - f.
    both = equivalent(MGU + "h_next = (1-f)*h + f*n", MGU + "h_next = f*h + (1-f)*n")
    assert both.to_b is None
    assert both.to_a is None


def test_slopes_are_found_as_factors() -> None:
    steep = activated(CELLS["gru"], Activation("hard_sigmoid", 0.2))
    flat = activated(CELLS["gru"], Activation("hard_sigmoid", 1 / 6))
    found = equivalent(steep, flat)
    assert found
    assert found.to_b is not None
    assert "W.r = 1.2 * W.r" in found.to_b.lines
    assert check_map(steep, flat) < 1e-12
    relu = activated(CELLS["gru"], "relu")
    turned = activated(CELLS["gru_admit"], "relu")
    assert not equivalent(relu, turned)


@pytest.mark.parametrize("change", ["r * m", "b.n", "1 - z", "U.z"])
def test_a_changed_equation_is_another_function(change: str) -> None:
    """Breaks: each change of one place in the GRU must be seen."""
    to = {"r * m": "r * r * m", "b.n": "b.z", "1 - z": "1 + z", "U.z": "U.r"}[change]
    other = Cell.parse(str(CELLS["gru"]).replace(change, to))
    assert not equivalent("gru", other)


def test_formulas_are_completed_as_people_mean_them() -> None:
    assert formula("h*z + (1-z)*n") == formula("h' = h*z + (1-z)*n")
    cell = formula("n = tanh(W.n @ x + U.n @ (r*h) + b.n); h_next = z*h + (1-z)*n")
    assert equivalent(cell, "gru_reset_before")
    assert str(formula("f*h")) == "f = sigmoid(W.f @ x + U.f @ h + b.f)\nh_next = f * h"


WRONG = [
    ("", "no cell, no dialect|empty formula"),
    ("grru", "'grru' is no cell, no dialect and no formula"),
    ("h*z + ", "not an expression"),
    ("a b; c d", "each of several lines defines a name"),
    ("__import__('os')", "not a function of the equation language|not part"),
    ("h*" * 20_000 + "h", "at most 20000"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[w[0][:12] for w in WRONG])
def test_what_is_no_formula_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        equivalent(text, "gru")


def test_cells_of_other_states_have_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="gru has 1 states, lstm 2"):
        equivalent("gru", "lstm")


def test_it_reads_well() -> None:
    text = str(equivalent(find("torch"), find("haiku")))
    assert text.startswith("torch and haiku are two functions: of ")
    assert re.search(r"^  U\.n = \[\[[-0-9., ]+\], \[[-0-9., ]+\]\]$", text, re.M)
    assert max(map(len, text.splitlines())) < 100
