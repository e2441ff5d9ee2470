"""`grus.trace` of torch's layers: what torch's own forward gives, within rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import grus  # noqa: E402
from grus import InputError  # noqa: E402
from grus.traces import Trace  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections")]
T, B, I, H = 12, 4, 5, 11  # noqa: E741
CLOSE = 1e-12
"""Float64: 12 steps of 16 products each way are some thousand roundings of 1e-16 at most."""

KINDS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "lstm, projected": (nn.LSTM, {"proj_size": 3}),
    "rnn": (nn.RNN, {}),
    "rnn, relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru without biases": (nn.GRU, {"bias": False}),
}
both = pytest.mark.parametrize("bidirectional", [False, True])


def layer(kind: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    made, own = KINDS[kind]
    return made(I, H, 2, **own, dtype=torch.float64, **options)  # type: ignore[arg-type]


def data(one: nn.RNNBase) -> tuple[torch.Tensor, Any]:
    torch.manual_seed(1)
    rows = 2 * (1 + one.bidirectional)
    sizes = [one.proj_size or H, H] if isinstance(one, nn.LSTM) else [H]
    states = tuple(torch.randn(rows, B, n, dtype=torch.float64) for n in sizes)
    x = torch.randn(T, B, I, dtype=torch.float64)
    return x, states if len(states) > 1 else states[0]


def output(trace: Trace) -> np.ndarray:
    return np.nan_to_num(np.concatenate(list(trace["h"][-1]), axis=-1))


@pytest.mark.parametrize("kind", KINDS)
@both
def test_the_recorded_state_is_torchs_output_and_the_last_one_its_final_state(
    kind: str, bidirectional: bool
) -> None:
    one = layer(kind, bidirectional=bidirectional, dropout=0.3).eval()
    x, state = data(one)
    want, final = one(x, state)
    trace = grus.trace(one.train(), x, state)
    np.testing.assert_allclose(output(trace), want.detach(), atol=CLOSE, rtol=0)
    finals = final if isinstance(final, tuple) else (final,)
    for name, last in zip(trace.cell.states, finals, strict=True):
        for d in range(1 + bidirectional):
            found = trace[name][:, d, 0 if d else -1]
            rows = last.detach()[d :: 1 + bidirectional]
            np.testing.assert_allclose(found, rows, atol=CLOSE, rtol=0)


@both
def test_the_gates_are_torchs_equations(bidirectional: bool) -> None:
    """Worked from nn.GRU's own tensors and output, by the formulas of its documentation."""
    one = layer("gru", bidirectional=bidirectional)
    x, state = data(one)
    trace = grus.trace(one, x, state)
    w, u = one.weight_ih_l0, one.weight_hh_l0
    b, d = one.bias_ih_l0, one.bias_hh_l0
    h = torch.cat([state[0][None], torch.from_numpy(trace["h"][0, 0, :-1].copy())])
    r, z, n = (x @ w.T + b).chunk(3, -1)
    r2, z2, n2 = (h @ u.T + d).chunk(3, -1)
    r, z = torch.sigmoid(r + r2), torch.sigmoid(z + z2)
    want = {"r": r, "z": z, "n": torch.tanh(n + r * n2)}
    for name, value in want.items():
        np.testing.assert_allclose(trace[name][0, 0], value.detach(), atol=CLOSE, rtol=0)


@both
def test_batch_first_and_packed_sequences_are_read_as_torch_reads_them(bidirectional: bool) -> None:
    one = layer("gru", bidirectional=bidirectional, batch_first=True)
    x, state = data(one)
    want, _ = one(x.transpose(0, 1), state)
    found = output(grus.trace(one, x.transpose(0, 1), state)).swapaxes(0, 1)
    np.testing.assert_allclose(found, want.detach(), atol=CLOSE, rtol=0)
    packed = pack_padded_sequence(x, torch.tensor([3, 12, 1, 7]), enforce_sorted=False)
    want, _ = pad_packed_sequence(one(packed, state)[0])
    found = output(grus.trace(one, packed, state))
    np.testing.assert_allclose(found, want.detach(), atol=CLOSE, rtol=0)


def test_a_module_stays_torchs_and_accelerated_it_gives_the_same_bits() -> None:
    one = layer("gru")
    x, state = data(one)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    trace = grus.trace(one, x, state)
    assert type(one) is nn.GRU
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    again = grus.trace(grus.accelerate(one, say=None), x, state)
    assert all(trace[name].tobytes() == again[name].tobytes() for name in trace.names)


def test_weights_behind_a_parametrization_are_those_that_torch_uses() -> None:
    one = layer("gru")
    nn.utils.parametrizations.weight_norm(one, "weight_hh_l0")
    with torch.no_grad():
        one.parametrizations.weight_hh_l0.original0.mul_(2)  # type: ignore[union-attr,operator]
    x, state = data(one)
    want, _ = one(x, state)
    found = output(grus.trace(one, x, state))
    np.testing.assert_allclose(found, want.detach(), atol=CLOSE, rtol=0)


def test_a_cell_and_a_model_are_no_layers() -> None:
    for other in (nn.GRUCell(I, H), nn.Sequential(nn.GRU(I, H))):
        with pytest.raises(InputError, match="a trace is of a layer"):
            grus.trace(other, torch.zeros(T, B, I))
