"""What weights cannot say: padding, reverse layers and empty rows, as each framework has them."""

from __future__ import annotations

import numpy as np
import pytest
from frameworks import FRAMEWORKS, Case, Done
from test_dialects import BATCH, HIDDEN, INPUTS, STEPS, draw, network_of, single

from grus.dialects import Dialect, Output, find

Array = np.ndarray
NAMES = ("torch", "onnx_reset_after", "openvino_reset_after", "keras", "flax", "flax_nnx")
LENGTHS = np.array([2, 5, 3])
# Float32 sums of I + 2 H products, five steps; what is asked differs by more than 1e-2.
NEAR = 2**STEPS * 23 * 2.0**-24
every = pytest.mark.parametrize("name", NAMES)


def run(
    name: str, lengths: Array, directions: int = 1, backward: bool = False
) -> tuple[Dialect, Done, Output, Output, Array]:
    """The record; the framework's; ours by lengths and without; and the initial states."""
    dialect, rng = find(name), np.random.default_rng(0)
    tensors = draw(dialect, 1, directions, rng)
    x = single(rng.normal(size=(STEPS, BATCH, INPUTS)))
    h0 = single(rng.normal(0, 0.5, (directions, BATCH, HIDDEN)))
    start = tuple((state,) for state in h0)
    case = Case(dialect, tuple(tensors[0]), x, start, lengths, backward)
    done = FRAMEWORKS[dialect.framework](case)
    network = network_of(dialect, tensors)
    if backward:
        network = type(network)(network.cell, network.layers, True)
    return dialect, done, network.run(x, h0, lengths), network.run(x, h0), h0


def near(one: Array, other: Array) -> bool:
    return bool(np.abs(one - other).max() < NEAR)


@every
def test_the_final_state_is_the_one_at_the_last_valid_step(name: str) -> None:
    _, (_, finals), ours, _, _ = run(name, LENGTHS, 2)
    for d in range(2):
        assert near(finals[d][0], ours.state[0][d])


@every
def test_padding_gives_what_the_record_says(name: str) -> None:
    dialect, (output, _), ours, without, _ = run(name, LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert near(output[:length, row], ours.output[:length, row])
        wanted = {
            "zero": np.zeros((STEPS - length, HIDDEN)),
            "repeat": np.repeat(ours.output[length - 1 : length, row], STEPS - length, axis=0),
            "raw": without.output[length:, row],
        }
        past = output[length:, row]
        found = [key for key, want in wanted.items() if past.size and near(past, want)]
        assert found == ([dialect.runtime.padded] if past.size else [])


@every
def test_two_directions_meet_at_each_rows_own_steps(name: str) -> None:
    dialect, (output, _), ours, _, _ = run(name, LENGTHS, 2)
    assert dialect.runtime.reverse == "row"
    for row, length in enumerate(LENGTHS):
        assert near(output[:length, row], ours.output[:length, row])


@pytest.mark.parametrize("name", [name for name in NAMES if find(name).runtime.backward])
def test_a_reverse_layer_gives_its_outputs_in_the_order_of_the_record(name: str) -> None:
    full = np.full(BATCH, STEPS)
    dialect, (output, finals), ours, _, _ = run(name, full, backward=True)
    wanted = {"time": ours.output, "processing": ours.output[::-1]}
    assert [key for key, want in wanted.items() if near(output, want)] == [dialect.runtime.order]
    assert near(finals[0][0], ours.state[0][0])


@every
def test_a_row_of_length_0_ends_as_the_record_says(name: str) -> None:
    lengths = np.array([2, 5, 0])
    if find(name).runtime.empty == "refused":
        with pytest.raises(RuntimeError, match="greater than 0"):
            run(name, lengths)
        return
    dialect, (_, finals), _, without, h0 = run(name, lengths)
    wanted = {"initial": h0[0, 2], "zero": np.zeros(HIDDEN), "last": without.state[0][0, 2]}
    found = [key for key, want in wanted.items() if near(finals[0][0][2], want)]
    assert found == [dialect.runtime.empty]
