"""int8: whole sums, proven ranges, errors within their bound, the same bits everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells_built import HIDDEN as HEIGHT, STRICT, compiled, model_of, weights_of

import grus
from grus.builds import build
from grus.builds.model import Array, Model, layer
from grus.builds.ranges import bounds, operand_ranges, worst_errors
from grus.builds.step_program import StepProgram
from grus.builds.targets import simulated
from grus.equations import Cell, State, U, W, b, exp, h, maximum, p, relu, sigmoid, tanh, x
from grus.errors import InputError
from grus.kernels import MACHINES, make_plan
from grus.zoo import PUBLISHED

SAME = "model: 8 steps, the same bits\n"
INPUTS, HIDDEN = 6, 20


def numbers(*shape: int, seed: int = 3) -> Array:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rounded(values: Array, largest: float) -> Array:
    """Whole 127ths of a range."""
    return np.rint(np.clip(values / largest, -1, 1) * 127)


def by_hand(weights: dict[str, Array], read: Array, largest: float) -> Array:
    """A GRU whose products are whole numbers, all else in float64."""
    whole = {}
    for family in "WU":
        rows = weights[family].astype(np.float64)
        scale = np.abs(rows).max(1) / 127
        whole[family] = np.rint(rows / scale[:, None]), scale

    def product(family: str, values: Array, most: float) -> Array:
        matrix, scale = whole[family]
        return matrix @ rounded(values, most) * scale * most / 127

    def sigma(v: Array) -> Array:
        return 1 / (1 + np.exp(-v))

    hidden, outputs = np.zeros(HIDDEN), []
    for values in read.astype(np.float64):
        wr, wz, wn = np.split(product("W", values, largest) + weights["b"], 3)
        ur, uz, un = np.split(product("U", hidden, 1.0), 3)
        r, z = sigma(wr + ur), sigma(wz + uz)
        n = np.tanh(wn + r * (un + weights["d"]))
        hidden = z * hidden + (1 - z) * n
        outputs.append(hidden)
    return np.array(outputs)


def built(model: Model, largest: float) -> StepProgram:
    """The program of a model as int8."""
    return StepProgram(model, MACHINES["sse2"], operand_ranges(model.layers, largest))


def test_products_are_whole_numbers_times_a_scale() -> None:
    """Against a GRU in NumPy; an operand that is clipped; float32 gates are the only other error:
    20 steps of a map that does not expand, each within 32 roundings."""
    model = model_of(grus.cell("torch"), INPUTS, HIDDEN)
    read = numbers(20, INPUTS)
    most = 1.5  # numbers beyond it are there, and are clipped
    assert np.abs(read).max() > most
    wanted = by_hand(dict(model.layers[0].weights), read, most)
    difference = np.abs(simulated(built(model, most), read) - wanted).max()
    assert difference < 20 * 32 * 2.0**-24
    assert np.abs(simulated(built(model, 2 * most), read) - wanted).max() > 1e-3


def test_its_error_is_within_its_bound() -> None:
    """Of one linear layer, whose output is its sum; the bound is not far above."""
    cell = Cell.parse("h_next = W.h @ x + b.h", "linear")
    weights = weights_of(cell, 40, 30)
    model = Model((layer("dense", cell, weights, 40),))
    read = np.clip(numbers(200, 40), -3, 3)
    program = built(model, 3.0)
    (bound,) = worst_errors(program)
    error = np.abs(simulated(program, read) - model.run(read)).max()
    assert bound / 20 < error < bound


class Between(Cell):
    """Stays between, spelled as n + z (h - n)."""

    z = sigmoid(W.z @ x + U.z @ h)
    n = tanh(W.n @ x + U.n @ h + b.n)
    h_next = n + z * (h - n)


class Grows(Cell):
    """A gate that is no gate."""

    z = maximum(sigmoid(W.z @ x + U.z @ h), 0.5) * 2
    h_next = z * h + (1 - z) * tanh(W.n @ x)


class Rectified(Cell):
    """A layer without a state."""

    h_next = relu(W.h @ x + b.h)


def test_states_are_proven_to_stay_between() -> None:
    """By every spelling of the mix; one with a gate above 1, or a relu, is refused by name."""
    for name in ("torch", "gru_admit", "cho2014", "lstm", "mgu", "nbrc", "ugrnn"):
        of = model_of(grus.cell(name)).layers[0]
        assert bounds(of, 3.0).states["h"] == (-1, 1), name
    between = model_of(grus.cell(Between)).layers
    (ranges,) = operand_ranges(between, 2.0)
    assert ranges[State("h")] == 1
    for cell in (grus.cell(Grows), grus.cell("rnn_relu")):
        with pytest.raises(InputError, match="do not bound h"):
            operand_ranges(model_of(cell).layers, 2.0)


class Reordered(Cell):
    """Its flat form reads p.b, inside of a function, before p.a."""

    h_next = p.a * tanh(W.h @ x) + 0 * sigmoid(p.b + U.h @ h)


class Overflows(Cell):
    """Infinite less infinite: nothing is known of it."""

    h_next = exp(2000 + 0 * h) - exp(2000 + 0 * h) + 0 * tanh(U.h @ h + W.h @ x)


def test_bounds_are_of_the_gates_as_they_are_stacked() -> None:
    """A gain of one gate, an offset of the other; a cell of which nothing is known is refused."""
    model = model_of(grus.cell(Reordered))
    (of,) = model.layers
    of.weights["p"][:HEIGHT], of.weights["p"][HEIGHT:] = 0.5, 3.0
    assert make_plan(of.cell).cell.families["p"] != of.cell.families["p"]
    assert 0.4 < bounds(of, 2.0).values["h_next"][1] <= 0.5
    of.weights["p"][:HEIGHT], of.weights["p"][HEIGHT:] = 3.0, 0.5
    assert 2.4 < bounds(of, 2.0).values["h_next"][1] <= 3.0
    with pytest.raises(InputError, match="do not bound h"):
        operand_ranges(model_of(grus.cell(Overflows)).layers, 2.0)


def test_ranges_hold_on_numbers() -> None:
    """No state of any published cell that is proven leaves its interval, however large x is."""
    proven = 0
    for name, known in PUBLISHED.items():
        if known.cell.gathers or known.cell.further:
            continue
        of = model_of(known.cell).layers[0]
        found = bounds(of, 8.0)
        if [*found.states.values()] != [(-1, 1)]:
            continue
        proven += 1
        read = 8 * np.sign(numbers(60, of.inputs))
        result = grus.run(known.cell, of.weights, read[:, None])
        assert np.abs(result.state).max() <= 1, name
    assert proven > 20


def test_all_have_the_same_bits(tmp_path: Path) -> None:
    """C by every way of compiling, layers behind layers, one without weights; few bytes."""
    first = model_of(grus.cell("lstm"), INPUTS, 64).layers[0]
    between = layer("tanh", Cell.parse("h_next = tanh(x)", "tanh"), {}, 64)
    second = model_of(grus.cell("cho2014"), 64, 48).layers[0]
    model = Model((first, between, second))
    plain = build(model, tmp_path)
    read = numbers(50, INPUTS)
    files = build(model, tmp_path, weights="int8", data=read)
    assert plain.weights / files.weights > 3
    assert files.errors[1] < files.errors[0]
    for flags in (("-O0",), ("-O3", "-march=native")):
        assert compiled(tmp_path, "cc", *STRICT, *flags) == SAME
    assert compiled(tmp_path, "cc", "-O2", "-fsanitize=address,undefined") == SAME


def test_what_reads_symbols_needs_no_range(tmp_path: Path) -> None:
    """Its table has all numbers that it reads."""
    model = model_of(grus.cell("torch"), INPUTS, HIDDEN)
    build(Model(model.layers, numbers(9, INPUTS)), tmp_path, weights="int8")
    assert compiled(tmp_path, "cc", *STRICT, "-O1") == SAME


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": "int8"}, "int8 needs the size of the largest number"),
        ({"weights": "int8", "largest": -1.0}, "int8 needs the size"),
        ({"weights": "int4"}, "weights must be float32 or int8"),
        ({"largest": 1.0}, "go with int8"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    """And nothing is written."""
    with pytest.raises(InputError, match=words):
        build(model_of(grus.cell("torch")), tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_relu_is_bounded_where_its_weights_are() -> None:
    """A layer whose output the weights bound may be read by the next one."""
    cell = grus.cell(Rectified)
    layers = (*model_of(cell, INPUTS, 8).layers, *model_of(grus.cell("torch"), 8, 4).layers)
    first, second = operand_ranges(layers, 1.0)
    weights = np.abs(layers[0].weights["W"]).sum(1).max()
    assert second[next(iter(second))] <= weights + np.abs(layers[0].weights["b"]).max()
    assert first
