"""Reading tensors into a network, writing them back, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cells import draw_tensors
from grus.dialects import DIALECTS, Dialect, Network, Unrepresentable, find
from grus.errors import InputError
from grus.reference import run

Array = np.ndarray
INPUT, HIDDEN = 3, 4
STORED = [one for one in DIALECTS if one.tensors]
stored = pytest.mark.parametrize("dialect", STORED, ids=lambda one: one.title)


@stored
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_writing_what_was_read_gives_the_same_bits(
    dialect: Dialect, layers: int, directions: int
) -> None:
    tensors = draw_tensors(dialect, layers, directions)
    network = dialect.read(tensors)
    assert (len(network.layers), network.directions) == (layers, directions)
    assert (network.input_size, network.hidden_size) == (INPUT, HIDDEN)
    written = dialect.write(network)
    assert written.keys() == tensors.keys()
    assert all(np.array_equal(written[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.title)
def test_no_matrix_of_the_cell_is_without_a_place(dialect: Dialect) -> None:
    matrices = {weight for weight in dialect.cell.weights if weight.family in "WU"}
    assert not dialect.tensors or matrices <= dialect.blocks


def test_two_layers_of_two_directions_are_runs_of_the_cell_one_after_the_other() -> None:
    network = find("torch").read(draw_tensors(find("torch"), 2, 2))
    rng = np.random.default_rng(1)
    x, h0 = rng.normal(size=(5, 3, INPUT)), rng.normal(size=(4, 3, HIDDEN))
    lengths = np.array([5, 0, 3])
    now, finals = x, []
    for k in range(2):
        done = [
            run(
                network.cell,
                network.layers[k][d],
                now,
                h0[2 * k + d],
                lengths=lengths,
                reverse=d == 1,
            )
            for d in range(2)
        ]
        now = np.concatenate([one.output for one in done], axis=-1)
        finals += [one.state[0] for one in done]
    found = network.run(x, h0, lengths)
    assert np.abs(found.output - now).max() < 1e-15
    assert np.abs(found.state[0] - np.stack(finals)).max() < 1e-15
    assert not found.output[3:, 2].any()


def test_the_kernels_run_a_network_too() -> None:
    network = find("torch").read(draw_tensors(find("torch"), 2, 2))
    rng = np.random.default_rng(1)
    x, h0 = rng.normal(size=(5, 3, INPUT)), rng.normal(size=(4, 3, HIDDEN))
    lengths = np.array([5, 0, 3])
    slow, fast = network.run(x, h0, lengths), network.run(x, h0, lengths, kernels=True)
    single = network.run(x.astype("f4"), h0.astype("f4"), lengths, kernels=True)
    assert single.output.dtype == np.float32
    # Two layers of five steps, sums of I + 2 H products; an error at most doubles with a step.
    for found, unit in ((fast, 2.0**-53), (single, 2.0**-24)):
        bound = 2**6 * (2 * HIDDEN + HIDDEN + 12) * unit
        assert np.abs(found.output - slow.output).max() < bound
        assert np.abs(found.state[0] - slow.state[0]).max() < bound


def test_tensors_are_found_below_a_name_and_others_are_left_alone() -> None:
    torch = find("torch")
    tensors = draw_tensors(torch, 1, 1)
    given = {f"encoder.rnn.{name}": array for name, array in tensors.items()}
    given["head.weight"] = np.zeros((2, 2))
    written = torch.write(torch.read(given, "encoder.rnn"))
    assert all(np.array_equal(written[name], tensors[name]) for name in tensors)


def test_a_cell_of_pytorch_has_names_without_a_layer() -> None:
    torch = find("torch")
    tensors = draw_tensors(torch, 1, 1)
    bare = {name.removesuffix("_l0"): array for name, array in tensors.items()}
    written = torch.write(torch.read(bare))
    assert all(np.array_equal(written[name], tensors[name]) for name in tensors)


def test_absent_biases_are_zero() -> None:
    tensors = draw_tensors(find("torch"), 1, 1)
    network = find("torch").read({n: a for n, a in tensors.items() if "bias" not in n})
    assert not network.layers[0][0]["b"].any()
    assert not network.layers[0][0]["d"].any()


def test_an_inner_bias_without_a_place_is_refused_by_name() -> None:
    network = find("torch").read(draw_tensors(find("torch"), 1, 1))
    with pytest.raises(Unrepresentable, match=r"nnx GRUCell has no place for the inner bias d\.n"):
        find("flax_nnx").write(network)


def test_equations_on_paper_have_nothing_to_read() -> None:
    with pytest.raises(InputError, match="it has no tensors"):
        find("chung2014").read({})


BREAKS: list[tuple[str, Callable[[dict[str, Array]], object], str]] = [
    ("missing", lambda t: t.pop("weight_hh_l0"), "weight_hh_l0 is missing"),
    ("unknown", lambda t: t.update(extra=np.ones(3)), "no tensor is called 'extra'"),
    (
        "transposed",
        lambda t: t.update(weight_ih_l0=t["weight_ih_l0"].T),
        "makes the hidden size 4, another",
    ),
    ("wide", lambda t: t.update(weight_hh_l0=np.ones((12, 5))), "not square"),
    (
        "short bias",
        lambda t: t.update(bias_hh_l0=np.ones(8)),
        r"bias_hh_l0 must have shape \(12,\)",
    ),
    ("whole numbers", lambda t: t.update(bias_hh_l0=np.ones(12, int)), "floating point"),
    ("a hole", lambda t: t.update(weight_ih_l2=np.ones((12, 4))), "count from 0"),
    ("another size", lambda t: t.update(weight_ih_l0=np.ones((15, 3))), "hidden size 4, another"),
    ("twice", lambda t: t.update(weight_ih=np.ones((12, 3))), "are the same tensor"),
]


@pytest.mark.parametrize(("what", "change", "message"), BREAKS, ids=[b[0] for b in BREAKS])
def test_tensors_that_cannot_be_are_refused(
    what: str, change: Callable[[dict[str, Array]], object], message: str
) -> None:
    tensors = draw_tensors(find("torch"), 1, 1)
    change(tensors)
    with pytest.raises(InputError, match=message):
        find("torch").read(tensors)


def test_a_network_of_layers_that_do_not_fit_is_refused() -> None:
    one = find("torch").read(draw_tensors(find("torch"), 1, 1)).layers[0]
    cell = find("torch").cell
    with pytest.raises(InputError, match="layer 1: "):
        Network(cell, (one, one))
    with pytest.raises(InputError, match="same directions"):
        Network(cell, (one, (*one, *one)))
    with pytest.raises(InputError, match="families W, U, b, d, got W"):
        Network(cell, (({"W": one[0]["W"]},),))
