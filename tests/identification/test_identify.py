"""`identify`: what it finds from one example, what it leaves open, what it refuses."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import numpy as np
import pytest

import grus
from grus.dialects import DIALECTS, Dialect, Network, find
from grus.equations import CELLS
from grus.errors import InputError
from grus.identification import Answer, identify, tolerance

Array = Any
STORED = [one for one in DIALECTS if one.tensors]
PAIRS, CHUNK = 60, 3


@dataclass
class Example:
    """A network of a dialect and what it makes of some input."""

    dialect: Dialect
    network: Network
    x: Array
    h0: tuple[Array, ...]
    y: Array

    @property
    def tensors(self) -> dict[str, Array]:
        return self.dialect.write(self.network)

    def identify(self, named: bool = True, y: Array | None = None) -> Answer:
        tensors = self.tensors if named else list(self.tensors.values())
        h0 = self.h0 if len(self.h0) > 1 else self.h0[0]
        return identify(tensors, self.x, self.y if y is None else y, h0)


def draw(
    dialect: Dialect,
    rng: np.random.Generator,
    sizes: tuple[int, int] = (3, 2),
    steps: int = 4,
    batch: int = 2,
) -> Example:
    """Weights of normal size, no bias 0 that the dialect has a place for; float32."""
    cell, (hidden, inputs) = dialect.cell, sizes
    size = {"hidden": hidden, "input": inputs}
    weights = {
        family: (0.6 * rng.normal(size=cell.family_shape(family, size))).astype(np.float32)
        for family in cell.families
    }
    if "d" in weights and not any(block.family == "d" for block in dialect.blocks):
        weights["d"][:] = 0
    network = Network(cell, ((weights,),))
    x = rng.normal(size=(steps, batch, inputs)).astype(np.float32)
    h0 = tuple(rng.uniform(-0.9, 0.9, (batch, hidden)).astype(np.float32) for _ in cell.states)
    y = network.run(x, tuple(h[None] for h in h0)).output.astype(np.float32)
    return Example(dialect, network, x, h0, y)


@pytest.mark.parametrize("chunk", range(PAIRS // CHUNK))
def test_a_dialect_is_identified_from_one_example_and_a_perturbed_one_fits_nothing(
    chunk: int,
) -> None:
    rng = np.random.default_rng(chunk)
    for k in range(CHUNK):
        dialect = STORED[int(rng.integers(len(STORED)))]
        sizes = int(rng.integers(1, 7)), int(rng.integers(1, 6))
        example = draw(dialect, rng, sizes, int(rng.integers(2, 6)), int(rng.integers(1, 4)))
        while dialect.cell == CELLS["rnn_relu"] and example.y.all():
            example = draw(dialect, rng, sizes, 4, 3)  # relu of positive numbers is no relu
        named = k % 2 == 0
        answer = example.identify(named)
        assert len(answer.matches) == 1, (dialect.name, sizes, str(answer))
        assert dialect.name in answer.dialects, (dialect.name, sizes, str(answer))
        moved = example.y + np.float32(1e-2) * rng.choice((-1, 1), example.y.shape)
        wrong = example.identify(named, moved.astype(np.float32))
        assert not wrong.matches, (dialect.name, sizes, str(wrong))


@pytest.mark.parametrize("name", ["keras_cudnn", "tf1_lstm"])
def test_blocks_as_cudnn_has_them_and_a_forget_bias_that_no_tensor_holds(name: str) -> None:
    rng, dialect = np.random.default_rng(8), find(name)
    arrays = [rng.normal(size=t.shape(4, 3, dialect.columns)) for t in dialect.tensors]
    x = rng.normal(size=(6, 1, 3))
    network = dialect.read(dict(zip(dialect.holds, arrays, strict=True)))
    answer = identify(arrays, x, network.run(x).output)
    assert name in answer.dialects


def test_the_network_of_a_match_is_the_network_that_made_the_example() -> None:
    example = draw(find("keras"), np.random.default_rng(1))
    (match,) = example.identify().matches
    assert match.cell == example.network.cell
    again = match.network.run(example.x, example.h0[0][None]).output
    np.testing.assert_array_equal(again.astype(np.float32), example.y)


def test_the_tolerance_is_where_a_match_ends() -> None:
    example = draw(find("torch"), np.random.default_rng(2))
    allowed = example.identify().matches[0].tolerance
    # Rounding in float32 moves an output of size 1 by some 1e-7 a step; not by 1e-4.
    assert 2.0**-24 < allowed < 1e-5
    inside = example.y + np.float32(0.5 * allowed)
    assert example.identify(y=inside.astype(np.float32)).matches
    outside = example.y + np.float32(3 * allowed)
    answer = example.identify(y=outside.astype(np.float32))
    assert not answer.matches
    assert answer.nearest[0].dialects[0] == "torch"


def test_a_network_that_turns_rounding_into_more_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However much rounding scatters y, that is no reason to let 0.01 pass."""
    example = draw(find("torch"), np.random.default_rng(15))
    monkeypatch.setattr(tolerance, "_scatter", lambda *_: 1.0)
    answer = example.identify(y=example.y + np.float32(0.01))
    assert not answer.matches
    assert "torch" in answer.nearest[0].dialects  # it is the one, and is not called so
    assert answer.nearest[0].tolerance < 2e-3


def test_float64_arrays_are_held_to_float64() -> None:
    example = draw(find("torch"), np.random.default_rng(3))
    weights = {n: t.astype(np.float64) + 1e-10 for n, t in example.tensors.items()}
    x, h0 = example.x.astype(np.float64), example.h0[0].astype(np.float64)
    y = find("torch").read({f"{n}": t for n, t in weights.items()}).run(x, h0[None]).output
    answer = identify(weights, x, y, h0)
    assert answer.dialects[0] == "torch"
    assert answer.matches[0].tolerance < 1e-13
    assert not identify(weights, x, y + 1e-12, h0)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("torch", lambda e: (e.x, e.y[-1]), "y is the last output, x time first"),
        (
            "torch",
            lambda e: (e.x.swapaxes(0, 1), e.y.swapaxes(0, 1)),
            "y is every output, x batch first",
        ),
        ("keras", lambda e: (e.x[::-1], e.y[-1]), "backward, y is the last output, x time first"),
        (
            "keras",
            lambda e: (e.x[::-1], e.y),
            "backward, y is every output in the order of processing, x time first",
        ),
        ("flax", lambda e: (e.x[::-1], e.y[::-1]), "backward, y is every output, x time first"),
    ],
)
def test_what_y_is_and_the_direction_are_found(name: str, change: Any, said: str) -> None:
    example = draw(find(name), np.random.default_rng(4), (4, 3), 5, 3)
    x, y = change(example)
    answer = identify(example.tensors, x, y, example.h0[0])
    assert name in answer.dialects
    assert answer.matches[0].example == said


def test_one_sequence_needs_no_batch_axis() -> None:
    example = draw(find("torch_lstm"), np.random.default_rng(5), batch=1)
    h, c = (state[0] for state in example.h0)
    answer = identify(example.tensors, example.x[:, 0], example.y[:, 0], (h, c))
    assert answer.dialects[0] == "torch_lstm"


def test_the_names_of_another_framework_do_not_mislead() -> None:
    example = draw(find("keras"), np.random.default_rng(6))
    kernel, recurrent, bias = example.tensors.values()
    named = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": bias[0]}
    answer = identify(named | {"bias_hh": bias[1]}, example.x, example.y, example.h0[0])
    (match,) = answer.matches
    assert "webnn" in match.dialects  # the order z, r, n in the rows
    assert "torch" not in match.dialects


def test_activations_that_users_can_choose_are_found_with_who_has_them() -> None:
    keras = find("keras").activated(gates="hard_sigmoid")
    example = draw(keras, np.random.default_rng(7))
    (match,) = example.identify().matches
    assert match.dialects == ()
    assert "keras" in match.options
    assert "hard_sigmoid(0.166667, 0.5)" in match.said


def test_square_matrices_of_one_gate_are_read_both_ways() -> None:
    example = draw(find("torch_rnn"), np.random.default_rng(8), (3, 3))
    w, u, *biases = example.tensors.values()
    turned = identify([w.T, u.T, *biases], example.x, example.y, example.h0[0])
    assert "torch_rnn" not in turned.dialects
    assert turned.matches[0].hypotheses[0].fit.columns != find("torch_rnn").columns
    assert "torch_rnn" in example.identify(named=False).dialects


def first_step(name: str, seed: int) -> tuple[Example, Answer]:
    """One step from zeros: the recurrent weights are not seen."""
    example = draw(find(name), np.random.default_rng(seed), (3, 2), 1, 1)
    y = example.network.run(example.x).output.astype(np.float32)
    return example, identify(example.tensors, example.x, y)


def test_what_an_example_cannot_tell_apart_is_said_with_one_that_can() -> None:
    example, answer = first_step("keras_reset_before", 9)
    assert len(answer.matches) > 1
    assert {"keras_reset_before", "sonnet_cudnn"} <= set(answer.dialects)
    told = answer.apart
    assert told is not None
    assert told.tensors is None
    assert told.distance > 1e-3
    # It does what it promises: run there, each contender is found, and nothing of another group.
    for said, y, group in zip(told.said, told.y, told.groups, strict=True):
        again = identify(example.tensors, told.x, y, told.h0[0])
        same = {s for s, g in zip(told.said, told.groups, strict=True) if g == group}
        assert {", ".join(match.dialects) for match in again.matches} & same, said
        names = {name for other in same for name in other.split(", ")}
        assert set(again.dialects) <= names | set(again.matches[0].dialects)
        assert len(again.matches) < len(answer.matches)


def test_contenders_of_an_example_that_tells_them_apart_are_run_by_their_own_records() -> None:
    example, answer = first_step("keras_reset_before", 9)
    told = answer.apart
    assert told is not None
    ours = next(y for s, y in zip(told.said, told.y, strict=True) if "keras_reset_before" in s)
    right = example.network.run(told.x[:, None], told.h0[0][None, None]).output[:, 0]
    np.testing.assert_allclose(ours, right, rtol=0, atol=1e-6)  # float32 weights, float64 sums


def test_what_these_weights_never_tell_apart_is_said_with_others_that_do() -> None:
    rng = np.random.default_rng(10)
    weights = {"kernel": rng.normal(size=(1, 3)), "recurrent_kernel": rng.normal(size=(1, 3))}
    x = rng.normal(size=(4, 1))
    y = find("keras").read(weights).run(x[:, None]).output[:, 0]
    answer = identify(weights, x, y)
    (match,) = answer.matches
    assert {"keras", "keras_reset_before"} <= set(match.dialects)
    assert answer.apart is None
    told = answer.elsewhere
    assert told is not None
    assert told.tensors is not None
    for said, y in zip(told.said, told.y, strict=True):
        dialect = find(said.split(", ")[0])
        names = [tensor.name for tensor in dialect.tensors]
        network = dialect.read(dict(zip(names, (t for _, t in told.tensors), strict=False)))
        again = network.run(told.x[:, None], told.h0[0][None, None]).output[:, 0]
        np.testing.assert_allclose(y, again, rtol=0, atol=1e-14)
    ys = {s.split(", ")[0]: y for s, y in zip(told.said, told.y, strict=True)}
    assert np.abs(ys["keras"] - ys["keras_reset_before"]).max() >= told.distance > 1e-3


def test_so_few_digits_that_anything_fits_are_no_match() -> None:
    example = draw(find("keras"), np.random.default_rng(11), (1, 1), 3, 1)
    y = round(float(example.network.run(example.x).output[-1, 0, 0]), 1)
    answer = identify(example.tensors, example.x[:, 0], y, digits=1)
    assert not answer
    assert not answer.matches
    assert answer.undecided
    assert answer.undecided[0].odds > 0.01


def test_the_odds_are_the_trials_times_the_tolerance_for_each_number() -> None:
    example = draw(find("keras"), np.random.default_rng(12), (1, 1), 3, 1)
    answer = identify(example.tensors, example.x[:, 0], example.y[-1, 0], example.h0[0])
    (match,) = answer.matches
    assert match.odds == pytest.approx(answer.trials * match.tolerance)
    both = identify(example.tensors, example.x[:, 0], example.y[:, 0], example.h0[0])
    best = both.matches[0]
    assert best.odds == pytest.approx(both.trials * best.tolerance**3)


def test_a_chance_hit_is_as_rare_as_the_odds_say() -> None:
    """Unrelated numbers with two decimals: as many are hit as the odds bound allows, not more."""
    rng = np.random.default_rng(13)
    example = draw(find("keras"), rng, (1, 1), 3, 1)
    hits, bound = 0, 0.0
    for _ in range(40):
        y = np.round(rng.uniform(-1, 1, (3, 1)), 2)
        answer = identify(example.tensors, example.x[:, 0], y, digits=2)
        hits += bool(answer.matches or answer.undecided)
        bound += answer.nearest[0].odds
    # 40 independent trials: their number stays below the mean and four standard deviations.
    assert hits <= bound + 4 * np.sqrt(bound)


def test_an_answer_is_a_frozen_value_and_the_arguments_are_left_alone() -> None:
    example = draw(find("torch"), np.random.default_rng(14))
    tensors = example.tensors
    before = [t.copy() for t in (*tensors.values(), example.x, example.y)]
    answer = identify(tensors, example.x, example.y, example.h0[0])
    for array, old in zip((*tensors.values(), example.x, example.y), before, strict=True):
        np.testing.assert_array_equal(array, old)
    with pytest.raises(FrozenInstanceError):
        answer.matches = ()  # type: ignore[misc]
    assert grus.identify is identify


def test_hypotheses_that_are_one_function_are_counted_once() -> None:
    zeros = np.zeros((2, 3))
    weights = {"kernel": np.ones((1, 3)), "recurrent_kernel": np.ones((1, 3)), "bias": zeros}
    answer = identify(weights, [1.0, 2.0], 0.5, digits=5)
    assert answer.functions < answer.hypotheses / 4  # every order of equal gates is one
    assert answer.trials >= answer.functions


W, U = np.ones((2, 3)), np.ones((1, 3))


@pytest.mark.parametrize(
    ("tensors", "x", "y", "h0", "said"),
    [
        ([], [1.0], 0.5, None, "there are no tensors"),
        ([W * np.nan, U], [[1.0, 2.0]], 0.5, None, "tensor holds numbers that are not finite"),
        ([W, U], [[1.0, np.inf]], 0.5, None, "x holds numbers that are not finite"),
        ([W, U], [[1.0, 2.0]], ["a"], None, "y must hold real numbers"),
        ([W, U], [[1.0], [1.0, 2.0]], 0.5, None, "x: rows of different lengths"),
        ([W, U], [[1.0, 2.0, 3.0]], 0.5, None, "no known cell has weights of these shapes for 3"),
        ([np.ones((2, 5)), U], [[1.0, 2.0]], 0.5, None, r"shapes.*\(2, 5\), \(1, 3\)"),
        ([W, U], [[1.0, 2.0]], [0.5, 0.2], None, r"1 units and 2 features.*y of shape \(2,\)"),
        ([W, U], [[1.0, 2.0]], 0.5, [0.1, 0.2], r"h0 of shape \(2,\) are no example"),
        ([W, U], np.ones((0, 2)), 0.5, None, "x holds 0 numbers"),
    ],
)
def test_what_cannot_be_is_one_clear_sentence(
    tensors: Any, x: Any, y: Any, h0: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        identify(tensors, x, y, h0)


def test_several_layers_are_refused_by_name() -> None:
    named = {
        f"{name}_l{k}": array
        for k in (0, 1)
        for name, array in draw(find("torch"), np.random.default_rng(0), (2, 2)).tensors.items()
        for name in (name.removesuffix("_l0"),)
    }
    with pytest.raises(InputError, match="2 layers or directions of PyTorch"):
        identify(named, np.ones((3, 2)), np.ones((3, 2)))
