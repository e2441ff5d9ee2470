"""What other projects' test suites expect comes out of the dialect records.

Keras: keras/src/layers/rnn/{gru,lstm,simple_rnn}_test.py of keras-team/keras, whose layers have
every kernel weight 0.01, every recurrent one 0.02, every bias 0.03 and x = 0, 1, 2, ... Its units
are therefore alike, and neither the order of the gates nor the place of the reset is seen; what is
seen are the two biases, the direction, the masks. Arraymancer:
tests/nn_primitives/test_nnp_gru.nim of mratsim/Arraymancer, numbers it took from PyTorch, one step
and two layers of four.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from grus.dialects import Network, convert, find

Array = np.ndarray
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Case:
    """A layer of Keras' tests: the final output of each row."""

    record: str
    shape: tuple[int, int, int]
    """Batch, time, input."""
    final: Rows
    reverse: bool = False
    bias: bool = True
    forget: bool = True
    """Keras' LSTM begins with a forget bias of 1."""
    h0: bool = False
    """Initial states 0, 1, 2, ..."""
    lengths: tuple[int, ...] = ()

    def tensors(self) -> dict[str, Array]:
        dialect, units = find(self.record), len(self.final[0])
        values = {"kernel": 0.01, "recurrent_kernel": 0.02, "bias": 0.03}
        found = {
            t.name: np.full(t.shape(units, self.shape[2], True), values[t.name])
            for t in dialect.tensors
            if self.bias or t.matrix
        }
        if dialect.cell_name == "lstm" and self.forget and self.bias:
            found["bias"][units : 2 * units] = 1.0
        return found

    def run(self, network: Network) -> Array:
        x = np.swapaxes(np.arange(float(np.prod(self.shape))).reshape(self.shape), 0, 1)
        size = (1, self.shape[0], len(self.final[0]))
        start = np.arange(float(np.prod(size))).reshape(size)
        count = len(network.cell.states)
        lengths = np.array(self.lengths) if self.lengths else None
        return network.run(x, (start,) * count if self.h0 else None, lengths).state[0][0]


def alike(*rows: float, units: int = 3) -> Rows:
    return tuple((row,) * units for row in rows)


LONG, SHORT = (3, 6, 4), (2, 4, 3)
KERAS = (
    Case("keras", LONG, alike(0.5217289, 0.6371659, 0.39384964)),
    Case("keras", LONG, alike(0.24406259, 0.611516, 0.3928808), reverse=True),
    Case("keras_reset_before", LONG, alike(0.51447755, 0.6426879, 0.40208298)),
    Case("keras", LONG, alike(0.49988455, 0.64701194, 0.4103359), bias=False),
    Case("keras", SHORT, ((0.23774096, 0.33508456), (0.83659905, 1.0227708)), h0=True),
    Case("keras", SHORT, ((0.13486053, 0.23261218), (0.78257304, 0.9691353)), True, h0=True),
    Case("keras_lstm", LONG, alike(0.6288687, 0.86899155, 0.9460773)),
    Case("keras_lstm", LONG, alike(0.35622165, 0.74789524, 0.8872726), reverse=True),
    Case("keras_lstm", LONG, alike(0.57019705, 0.8661914, 0.9459622), forget=False),
    Case("keras_lstm", LONG, alike(0.54986924, 0.86226785, 0.9443936), bias=False),
    Case("keras_lstm", SHORT, ((0.20574439, 0.3558822), (0.64930826, 0.66276)), h0=True),
    Case("keras_lstm", SHORT, ((0.13281618, 0.2790356), (0.5839337, 0.5992567)), True, h0=True),
    Case("keras_lstm", SHORT, alike(0.11755939, 0.28556206, units=2), lengths=(3, 2)),
    Case("keras_rnn", (2, 3, 4), alike(0.405432, 0.73605347, units=4)),
    Case("keras_rnn", (2, 3, 4), alike(0.11144729, 0.5528889, units=4), reverse=True),
    Case("keras_rnn", SHORT, alike(0.33621645, 0.6262637, units=4), h0=True),
    Case("keras_rnn", SHORT, alike(0.07344437, 0.43043602, units=4), True, h0=True),
)
# Printed from float32, whose last place is 6e-8 at these numbers, after six steps of sums.
PRINTED = 2e-6
every_case = pytest.mark.parametrize(
    "case", KERAS, ids=[f"{k}-{case.record}" for k, case in enumerate(KERAS)]
)


@every_case
def test_what_keras_tests_expect_comes_out(case: Case) -> None:
    network = find(case.record).read(case.tensors(), reverse=case.reverse)
    assert np.abs(case.run(network) - np.array(case.final)).max() < PRINTED


@every_case
def test_it_comes_out_of_onnx_weights_too(case: Case) -> None:
    target = find("onnx", find(case.record).cell)
    there = convert(case.tensors(), find(case.record), target, reverse=case.reverse)
    network = there.target.read(there.tensors, reverse=case.reverse)
    assert np.abs(case.run(network) - np.array(case.final)).max() < PRINTED


def test_with_units_all_alike_only_the_inner_bias_tells_the_place_of_the_reset() -> None:
    """A break, and its limit: one r for all units commutes with U.n."""
    after, before = KERAS[0], KERAS[2]
    tensors = before.tensors()
    tensors["bias"] = np.stack([tensors["bias"], 0 * tensors["bias"]])
    as_after = before.run(find("keras").read(tensors))
    assert np.abs(as_after - np.array(before.final)).max() < PRINTED
    tensors = after.tensors()
    tensors["bias"] = tensors["bias"].sum(axis=0)
    as_before = after.run(find("keras_reset_before").read(tensors))
    assert np.abs(as_before - np.array(after.final)).max() > 100 * PRINTED


def tenths(*rows: str) -> Array:
    return np.array([[int(word) / 10 for word in row.split()] for row in rows])


STEP = {
    "weight_ih": tenths("9 8 7 6", "8 7 6 5", "7 6 5 4", "6 5 4 3", "5 4 3 2", "4 3 2 1"),
    "weight_hh": tenths("-3 -1", "-2 0", "-3 -1", "-2 0", "-3 -1", "-2 0"),
    "bias_ih": tenths("1 2 3 4 5 6")[0],
    "bias_hh": tenths("-1 -2 -3 -4 -5 -6")[0],
}
STACK = {
    "weight_ih_l0": tenths(
        "9 8 7 6 5", "8 7 6 5 4", "7 6 5 4 3", "6 5 4 3 2", "5 4 3 2 1", "4 3 2 1 0"
    ),
    "weight_ih_l1": tenths("5 6", "4 5", "3 4", "2 3", "1 2", "0 1"),
    "weight_hh_l0": STEP["weight_hh"],
    "weight_hh_l1": tenths("-4 -5", "-4 5", "-4 -5", "-4 5", "-4 -5", "-4 5"),
    "bias_ih_l0": STEP["bias_ih"],
    "bias_ih_l1": tenths("2 3 4 2 3 4")[0],
    "bias_hh_l0": STEP["bias_hh"],
    "bias_hh_l1": tenths("1 2 3 4 5 6")[0],
}
UP, DOWN, LARGE = "1 2 3 4 5", "-1 -2 -3 -4 -5", "5 6 7 8 9"
STEPS = np.stack(
    [tenths(UP, DOWN, LARGE), tenths(DOWN, DOWN, LARGE), tenths(UP, DOWN, DOWN),
     tenths(DOWN, DOWN, DOWN)]
)  # fmt: skip
STACK_START = np.stack([np.full((3, 2), -1.0), np.tile([2.0, 3.0], (3, 1))])
STEP_RESULT = (
    (-0.5317437280, -0.4752916969), (-0.3930421219, -0.3209550879),
    (-0.7325259335, -0.6429624731),
)  # fmt: skip
FIRST_OUTPUT = (
    (0.2564464804, 2.4324064858), (0.3212793315, 2.4821776260), (0.1983539289, 2.3849941275),
)  # fmt: skip
LAST_STATES = (
    ((0.0155439572, 0.1680427130), (-0.0038861287, 0.1854366532), (-0.0549487103, 0.1189245136)),
    ((0.1355803839, 1.8195602154), (0.1369919053, 1.8612790359), (0.1230976350, 1.7381913793)),
)
TEN_DIGITS = 1e-10


def arraymancer(step: Network, stack: Network) -> float:
    """How far both are from the published numbers."""
    x = tenths("1 2 3 4", "-1 -2 -3 -4", "5 6 7 8")[None]
    one = step.run(x, np.full((1, 3, 2), -1.0)).output[0]
    two = stack.run(STEPS, STACK_START)
    return max(
        float(np.abs(one - np.array(STEP_RESULT)).max()),
        float(np.abs(two.output[0] - np.array(FIRST_OUTPUT)).max()),
        float(np.abs(two.state[0] - np.array(LAST_STATES)).max()),
    )


def test_pytorchs_numbers_of_a_step_and_of_two_layers_come_out() -> None:
    torch = find("torch")
    assert arraymancer(torch.read(STEP), torch.read(STACK)) < TEN_DIGITS


@pytest.mark.parametrize(
    "name", ["keras", "onnx_reset_after", "openvino_reset_after", "flax", "equinox", "mlx", "burn"]
)
def test_they_come_out_of_other_dialects_too(name: str) -> None:
    read = []
    for tensors in (STEP, STACK):
        there = convert(tensors, "torch", name)
        read.append(there.target.read(there.tensors))
    assert arraymancer(*read) < TEN_DIGITS


def test_gates_in_another_order_miss_pytorchs_numbers() -> None:
    torch = find("torch")
    swapped = replace(torch, holds={**torch.holds, "weight_hh": "U.zrn", "weight_ih": "W.zrn"})
    assert arraymancer(swapped.read(STEP), swapped.read(STACK)) > 1e-3
