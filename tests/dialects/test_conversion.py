"""Weights from one dialect into another: exact, or refused by name with how far off it would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import grus
from cells import draw_tensors as draw
from grus.dialects import DIALECTS, Activation, Dialect, Network, Unrepresentable, activated, find
from grus.dialects.conversion import convert, distance, nearest, rounding
from grus.dialects.transform import scaled
from grus.equations import CELLS, Cell, Weight
from grus.errors import InputError

Array = np.ndarray
TORCH = find("torch")
STORED = [one for one in DIALECTS if one.tensors]
# Both sides run the same equations on the same numbers in float64; orders of sums differ.
TARGETS = {"lstm": 8, "rnn": 6}
"""How many stored dialects have these cells as they are."""
SAME = 64 * 2.0**-52


def single(tensors: dict[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def inner_places(dialect: Dialect) -> bool:
    return "d" not in dialect.cell.families or Weight("d", "n") in dialect.blocks


GRUS = [one for one in STORED if one.cell_name == "gru" and inner_places(one)]


@pytest.mark.parametrize("target", GRUS, ids=lambda one: one.title)
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2)])
def test_a_torch_gru_comes_back_from_every_dialect_that_holds_it(
    target: Dialect, layers: int, directions: int
) -> None:
    tensors = single(draw(TORCH, layers, directions))
    there = convert(tensors, "torch", target)
    back = convert(there.tensors, there.target, "torch")
    assert all(array.dtype == np.float32 for array in there.tensors.values())
    two = Weight("a", "r") in target.blocks
    bits = {name: np.array_equal(back.tensors[name], tensors[name]) for name in tensors}
    assert all(bits.values()) == two
    assert all(same for name, same in bits.items() if "weight" in name)
    network = TORCH.read(tensors)
    moved = distance(network, TORCH.read(back.tensors))
    assert moved == 0 if two else 0 < moved <= rounding(network)
    assert any("cannot be restored" in note for note in there.notes) != two


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_other_cells_come_back_too(cell: str) -> None:
    source = find("torch", cell)
    tensors = draw(source, 2, 2)
    targets = [t for t in STORED if t.cell_name == cell and t.cell == CELLS[cell]]
    assert len(targets) == TARGETS[cell], [t.name for t in targets]
    for target in targets:
        there = convert(tensors, source, target)
        assert there.difference <= SAME
        back = convert(there.tensors, target, source)
        assert distance(source.read(tensors), source.read(back.tensors)) <= SAME


def test_z_is_turned_round_by_a_sign_and_back_to_the_same_bits() -> None:
    haiku = find("haiku")
    tensors = draw(haiku, 1, 1)
    there = convert(tensors, "haiku", "keras")
    assert there.target.name == "keras_reset_before"
    assert there.difference <= SAME
    assert any("z keeps instead of admits" in note for note in there.notes)
    back = convert(there.tensors, "keras_reset_before", "haiku").tensors
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)


def test_a_hard_sigmoids_slope_is_taken_into_the_weights() -> None:
    source = find("keras_2")
    tensors = draw(source, 1, 1)
    there = convert(tensors, "keras_2", "keras")
    assert there.target.activations.gates == Activation("hard_sigmoid", 1 / 6)
    assert np.allclose(there.tensors["kernel"][:, : 2 * 4], 1.2 * tensors["kernel"][:, :8])
    assert np.array_equal(there.tensors["kernel"][:, 8:], tensors["kernel"][:, 8:])
    # The slope is not a binary number: each gate rounds once, and hard gates have no slack.
    assert there.difference < 1e-13


def test_a_scaled_tanh_is_taken_into_the_candidate() -> None:
    source = find("onnx", "gru").activated(candidate=Activation("scaled_tanh", 1.0, 0.5))
    there = convert(draw(find("onnx", "gru"), 1, 2), source, "torch")
    assert there.difference <= SAME
    other = find("onnx", "gru").activated(candidate=Activation("scaled_tanh", 2.0, 0.5))
    with pytest.raises(Unrepresentable, match=r"no scaled_tanh\(2, 0\.5\) for the candidate"):
        convert(draw(find("onnx", "gru"), 1, 1), other, "torch")


def diagonal(tensors: dict[str, Array]) -> dict[str, Array]:
    found = dict(tensors)
    blocks = np.split(found["weight_hh_l0"], 3)
    blocks[2] = np.diag(np.diag(blocks[2]))
    found["weight_hh_l0"] = np.concatenate(blocks)
    found["bias_hh_l0"] = found["bias_hh_l0"] * np.repeat([1.0, 1.0, 0.0], 4)
    return found


def test_where_the_place_of_the_reset_cannot_be_seen_it_is_no_obstacle() -> None:
    there = convert(diagonal(draw(TORCH, 1, 1)), "torch", "tf1")
    assert there.difference <= SAME
    back = convert(there.tensors, "tf1", "torch")
    assert back.difference <= SAME


REFUSED = [
    ("haiku", "resets before the product, this network after it"),
    ("flax_nnx", r"no place for the inner bias d\.n.*the inner bias (left out|added)"),
    ("sonnet_cudnn", r"no place for the inner bias d\.n"),
    ("torch_lstm", "gru is another kind"),
    ("wikipedia", "has no tensors|resets before"),
]


@pytest.mark.parametrize(("target", "message"), REFUSED)
def test_what_a_target_cannot_hold_is_refused_by_name(target: str, message: str) -> None:
    with pytest.raises(Unrepresentable, match=message):
        convert(draw(TORCH, 1, 1), "torch", target)


def test_a_refusal_says_how_far_off_the_nearest_would_be() -> None:
    network = TORCH.read(draw(TORCH, 1, 1))
    near = nearest(network, find("flax_nnx"))
    assert near is not None
    dropped = replace(network, layers=(({**network.layers[0][0], "d": np.zeros(4)},),))
    assert 0 < near.difference <= distance(network, dropped)
    with pytest.raises(Unrepresentable, match=f"off by {near.difference:.2g} on random input"):
        convert(network, None, "flax_nnx")


def test_gates_that_are_not_symmetric_keep_their_sense() -> None:
    source = find("onnx_reset_before").activated(gates="Relu")
    tensors = draw(find("onnx_reset_before"), 1, 1)
    assert convert(tensors, source, "keras_reset_before").difference <= 1e-12
    target = replace(find("haiku"), words=source.words, free=True)
    with pytest.raises(Unrepresentable, match=r"1 - relu\(v\) is not relu\(-v\)"):
        convert(tensors, source, target)


def test_a_clip_goes_only_where_there_is_one() -> None:
    source = find("onnx", "gru").activated(clip=2.0)
    tensors = draw(find("onnx", "gru"), 1, 1)
    with pytest.raises(Unrepresentable, match="has no clip, and 2 bounds"):
        convert(tensors, source, "torch")
    assert convert(tensors, source, "onnx").difference == 0


def test_one_direction_that_runs_backward_goes_where_there_is_one() -> None:
    tensors = draw(find("onnx", "gru"), 1, 1)
    there = convert(tensors, "onnx_reset_after", "keras", reverse=True)
    assert there.network.reverse
    assert any("runs backward" in note for note in there.notes)
    assert any("reverse them along time" in note for note in there.notes)
    same = convert(there.tensors, "keras", "flax", reverse=True)
    assert not any("reverse them along" in note for note in same.notes)
    with pytest.raises(Unrepresentable, match="no layer that runs backward alone"):
        convert(tensors, "onnx_reset_after", "torch", reverse=True)


def test_tensors_that_fit_two_cells_are_not_guessed() -> None:
    tensors = draw(find("onnx", "gru"), 1, 1)
    with pytest.raises(InputError, match=r"onnx_reset_before .* onnx_reset_after"):
        convert(tensors, "onnx", "torch")
    assert convert(draw(find("keras", "lstm"), 1, 1), "keras", "torch").target.name == "torch_lstm"


def test_a_wrong_conversion_would_be_seen() -> None:
    """Breaks: each of these is what a slip in a record or a transformation would give."""
    tensors = single(draw(TORCH, 1, 1))
    network = TORCH.read(tensors)
    for broken in (
        scaled(network, {Weight("W", "z"): -1.0}),
        scaled(network, {Weight("b", "r"): 1 + 1e-5}),
        replace(network, cell=CELLS["gru_admit"]),
        replace(network, reverse=True),
    ):
        assert distance(network, broken) > rounding(network)


def test_a_record_that_packs_wrongly_converts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target = find("equinox")
    swapped = replace(target, holds={**target.holds, "weight_hh": "U.zrn"})
    tensors = convert(draw(TORCH, 1, 1), "torch", swapped).tensors
    # What it writes it reads back, so that alone proves nothing: the framework's record does.
    assert distance(TORCH.read(draw(TORCH, 1, 1)), target.read(tensors)) > 0.1
    monkeypatch.setattr("grus.dialects.conversion.pack", lambda d, n: tensors)
    with pytest.raises(Unrepresentable, match="nothing was converted"):
        convert(draw(TORCH, 1, 1), "torch", "equinox")


def test_a_cell_of_ones_own_has_no_dialect() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ x + U.h @ h + b.h) + h")
    weights = {"W": np.ones((2, 1)), "U": np.ones((2, 2)), "b": np.ones(2)}
    with pytest.raises(Unrepresentable, match="another kind"):
        convert(Network(cell, ((weights,),)), None, "torch")


def test_inputs_are_left_as_they_were_and_the_result_reads_well() -> None:
    tensors = draw(TORCH, 1, 1)
    before = {name: array.copy() for name, array in tensors.items()}
    there = grus.convert(tensors, "torch", "openvino")
    assert all(np.array_equal(before[name], tensors[name]) for name in tensors)
    lines = str(there).splitlines()
    assert lines[0] == "OpenVINO GRUSequence, linear_before_reset=true:"
    assert "B (1, 16)" in lines
    assert lines[-1].startswith("both sides run on random input: largest difference ")


def test_words_of_a_framework_name_its_own_activations() -> None:
    keras, onnx = find("keras"), find("onnx", "gru")
    hard = keras.activated("hard_sigmoid", "relu")
    assert hard.cell == activated(CELLS["gru"], Activation("hard_sigmoid", 1 / 6), "relu")
    assert onnx.activated("HardSigmoid").activations.gates == Activation("hard_sigmoid", 0.2)
    with pytest.raises(InputError, match="cannot have gates relu"):
        TORCH.activated("relu")
    with pytest.raises(InputError, match=r"cannot have .*clip 3"):
        keras.activated(clip=3.0)


# Cells of others, as the survey's transformations have them: name -> equations.
MADE = {
    "gates by other names": (
        "s = sigmoid(W.s @ x + U.s @ h + b.s)\nu = sigmoid(W.u @ x + U.u @ h + b.u)\n"
        "k = tanh(W.k @ x + U.k @ (s * h) + b.k)\nh_next = (1 - u) * h + u * k"
    ),
    "MGU of the paper": (
        "f = sigmoid(W.f @ x + U.f @ h + b.f)\nn = tanh(W.n @ x + U.n @ (f * h) + b.n)\n"
        "h_next = (1 - f) * h + f * n"
    ),
    "MGU of Flax": (
        "f = sigmoid(W.f @ x + U.f @ h + b.f)\nn = tanh(W.n @ x + b.n + f * (U.n @ h + d.n))\n"
        "h_next = f * h + (1 - f) * n"
    ),
    "UGRNN": (
        "g = sigmoid(W.g @ x + U.g @ h + b.g)\nn = tanh(W.n @ x + U.n @ h + b.n)\n"
        "h_next = g * h + (1 - g) * n"
    ),
    "Li-GRU, its normalisation folded in": (
        "z = sigmoid(W.z @ x + U.z @ h + b.z)\nn = relu(W.n @ x + U.n @ h + b.n)\n"
        "h_next = z * h + (1 - z) * n"
    ),
    "a diagonal U": (
        "r = sigmoid(W.r @ x + U.r * h + b.r)\nz = sigmoid(W.z @ x + U.z * h + b.z)\n"
        "n = tanh(W.n @ x + b.n + r * (U.n * h + d.n))\nh_next = z * h + (1 - z) * n"
    ),
}
GOES_TO = {
    "gates by other names": ("tf1", "haiku", "keras_reset_before"),
    "MGU of the paper": ("haiku", "tf1"),
    "MGU of Flax": ("torch", "keras", "equinox"),
    "UGRNN": ("torch", "haiku", "flax_nnx"),
    "Li-GRU, its normalisation folded in": ("keras", "onnx_reset_before"),
    "a diagonal U": ("torch",),
}


def own(name: str) -> Network:
    cell, rng = Cell.parse(MADE[name]), np.random.default_rng(2)
    layers = tuple(
        tuple(
            {f: rng.normal(size=cell.family_shape(f, sizes)) for f in cell.families}
            for _ in range(2)
        )
        for sizes in ({"input": 3, "hidden": 4}, {"input": 8, "hidden": 4})
    )
    return Network(cell, layers)


@pytest.mark.parametrize(("name", "target"), [(n, t) for n, ts in GOES_TO.items() for t in ts])
def test_a_cell_of_another_make_is_converted_where_it_is_the_same_function(
    name: str, target: str
) -> None:
    there = convert(own(name), None, target)
    # The relu's state grows where tanh's does not; the difference is measured beside it.
    assert there.difference <= rounding(own(name))
    assert there.notes
    if name == "a diagonal U":
        assert "U.r = diag(U.r)" in there.notes


@pytest.mark.parametrize(
    ("name", "target"), [("MGU of the paper", "torch"), ("UGRNN", "torch_rnn")]
)
def test_a_cell_of_another_make_that_is_another_function_is_refused(name: str, target: str) -> None:
    with pytest.raises(Unrepresentable, match="is another kind"):
        convert(own(name), None, target)


def test_one_r_for_all_units_makes_the_resets_place_invisible() -> None:
    tensors = draw(TORCH, 1, 1)
    tensors["bias_hh_l0"][2 * 4 :] = 0
    for name in tensors:
        tensors[name][:4] = tensors[name][0]
    there = convert(tensors, "torch", "haiku")
    assert there.difference <= SAME
    tensors["weight_ih_l0"][0, 0] += 1
    with pytest.raises(Unrepresentable, match="resets before the product"):
        convert(tensors, "torch", "haiku")


PROVEN_GRUS = [one for one in STORED if one.proven and one.cell_name.startswith("gru")]


@pytest.mark.parametrize("target", PROVEN_GRUS, ids=lambda one: one.title)
def test_a_torch_gru_that_every_dialect_can_hold_comes_back_from_each(target: Dialect) -> None:
    """No inner bias, U.n diagonal: neither the place of the reset nor the inner bias is missed."""
    tensors = diagonal(draw(TORCH, 1, 1))
    if target.activations.gates != Activation("sigmoid"):
        target = target.activated(gates="sigmoid")
    there = convert(tensors, "torch", target)
    back = convert(there.tensors, there.target, "torch")
    assert there.difference <= SAME
    assert distance(TORCH.read(tensors), TORCH.read(back.tensors)) <= SAME
