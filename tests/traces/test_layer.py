"""`grus.trace` of grus' layers: the reference's values, the bits of the layer's call, any cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import grus  # noqa: E402
from agreement import Problem, WrongKernelError  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus import InputError, runtime  # noqa: E402
from grus.traces import Trace, layer as module, recording  # noqa: E402
from inside import Inside, check  # noqa: E402
from test_agreement import KERNEL_CELLS  # noqa: E402

pytestmark = pytest.mark.torch
T, B, I, H = 9, 5, 4, 19  # noqa: E741
Array = np.ndarray

both = pytest.mark.parametrize("bidirectional", [False, True])
every_cell = pytest.mark.parametrize("name", KERNEL_CELLS)


def layer(name: str = "gru", **options: Any) -> grus.Recurrent:
    """Two layers; a projection where the cell has one, as many inputs as units where it must."""
    torch.manual_seed(0)
    cell = ALL_CELLS[name]
    sizes = {"proj_size": 7} if "projected" in name else {}
    inputs = H if cell.shapes.equal else I
    width = sizes.get("proj_size", H) * (1 + options.get("bidirectional", False))
    layers = 1 if cell.shapes.equal and width != inputs else 2
    return grus.Recurrent(cell, inputs, H, **{"num_layers": layers, **sizes, **options})


def data(one: grus.Recurrent) -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    x = torch.randn(T, B, one.input_size, dtype=getattr(one, one._first).dtype)
    rows = one.num_layers * (1 + one.bidirectional)
    states = tuple(torch.randn(rows, B, size, dtype=x.dtype) for size in one._state_sizes)
    return x, states if len(states) > 1 else states[0]


def output(trace: Trace) -> Array:
    """The last layer's output, its directions side by side; 0 past a row's end, as layers give."""
    last = trace[trace.cell.output][-1]
    return np.nan_to_num(np.concatenate(list(last), axis=-1))


def everything(one: grus.Recurrent) -> list[str]:
    return [name for name, _ in one.cell.equations]


def check_trace(one: grus.Recurrent, x: Tensor, state: Any, trace: Trace) -> None:
    """Every layer and direction against the reference, from what the trace says it read."""
    states = state if isinstance(state, tuple) else (state,)
    rows = module.read(one).stack.rows
    now = x.numpy()
    for k in range(one.num_layers):
        for d in range(1 + one.bidirectional):
            row = k * (1 + one.bidirectional) + d
            start = tuple(s[row].numpy() for s in states)
            problem = Problem(trace.cell, dict(rows[row]), now, start)
            found = {name: trace[name][k, d] for name in everything(one)}
            check(Inside(problem, found, reverse=d == 1))
        now = np.concatenate(list(trace[trace.cell.output][k]), axis=-1)


@every_cell
@both
def test_every_value_is_the_references_and_the_output_has_the_layers_own_bits(
    name: str, bidirectional: bool
) -> None:
    one = layer(name, bidirectional=bidirectional)
    x, state = data(one)
    trace = grus.trace(one, x, state, values=everything(one))
    check_trace(one, x, state, trace)
    assert output(trace).tobytes() == one(x, state)[0].detach().numpy().tobytes()
    for at, own in enumerate(one.cell.states):
        states = state if isinstance(state, tuple) else (state,)
        want = states[at].numpy().reshape(trace.start[own].shape)
        assert trace.start[own].tobytes() == want.tobytes()


CUTS: list[dict[str, Any]] = [
    {},
    {"lengths": [9, 0, 4, 9, 1]},
    {"resets": True},
    {"resets": True, "reset_to": "h0"},
    {"lengths": [9, 0, 4, 9, 1], "resets": True, "reset_to": "h0"},
]


def arguments(cut: dict[str, Any]) -> dict[str, Any]:
    if "resets" in cut:
        return {**cut, "resets": np.random.default_rng(0).random((T, B)) < 0.3}
    return dict(cut)


@pytest.mark.parametrize("cut", CUTS, ids=lambda c: "-".join(map(str, c)) or "plain")
@both
@pytest.mark.parametrize("name", ["gru", "lstm_projected"])
def test_lengths_and_resets_are_the_layers_own(
    name: str, bidirectional: bool, cut: dict[str, Any]
) -> None:
    one = layer(name, bidirectional=bidirectional)
    x, state = data(one)
    trace = grus.trace(one, x, state, **arguments(cut))
    want = one(x, state, **arguments(cut))[0].detach().numpy()
    assert output(trace).tobytes() == want.tobytes()
    past = np.arange(T)[:, None] >= trace.lengths
    for value in trace.values.values():
        assert np.isnan(value[:, :, past]).all()
        assert not np.isnan(value[:, :, ~past]).any()


REQUESTS: list[dict[str, Any]] = [
    {},
    {"values": ["z"]},
    {"values": ["h"], "units": [0, 3, 18]},
    {"values": ["n", "h_next", "m"], "steps": "2:7"},
    {"values": ["z", "h"], "steps": slice(7, 1, -2), "units": slice(4, 9)},
    {"steps": [0, 4, 8], "layers": 0},
    {"values": ["z"], "layers": [1], "directions": -1},
    {"values": ["r"], "directions": 0, "steps": 3},
    {"values": ["r"], "steps": [], "units": []},
    {"values": []},
]


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
@pytest.mark.parametrize("cut", [CUTS[0], CUTS[-1]], ids=["plain", "ragged"])
@both
def test_no_value_depends_on_the_window_or_on_what_else_is_recorded(
    asked: dict[str, Any], cut: dict[str, Any], bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = layer(bidirectional=bidirectional)
    x, state = data(one)
    whole = grus.trace(one, x, state, values=everything(one), **arguments(cut))
    for window in (1, 2, 4, 7, 100):
        monkeypatch.setattr(recording, "SHORTEST", window)
        monkeypatch.setattr(recording, "WINDOW_BYTES", 0)
        part = grus.trace(one, x, state, **asked, **arguments(cut))
        for name in part.names:
            want = whole[name][part.layers][:, part.directions][:, :, part.steps][..., part.units]
            assert part[name].tobytes() == want.tobytes()
        for own, begin in part.start.items():
            want = whole.start[own][part.layers][:, part.directions][..., part.units]
            assert begin.tobytes() == want.tobytes()


def test_what_is_recorded_unless_told_otherwise() -> None:
    want = {"gru": "r z n h", "lstm": "i f g o c h", "rnn": "h", "sru": "f r c y", "mgu": "f n h"}
    for name, names in want.items():
        one = layer(name, num_layers=1)
        assert grus.trace(one, data(one)[0]).names == tuple(names.split())


def test_a_trace_names_what_it_holds() -> None:
    one = layer(bidirectional=True)
    trace = grus.trace(one, data(one)[0], steps="3:7:2", units="1,-1", tokens="abcdefghi")
    assert trace.cell == one.cell
    assert trace.layers.tolist() == trace.directions.tolist() == [0, 1]
    assert trace.steps.tolist() == [3, 5]
    assert trace.units.tolist() == [1, H - 1]
    assert trace.tokens == ("d", "f")
    assert trace.lengths.tolist() == [T] * B
    assert trace["z"].shape == (2, 2, 2, B, 2)
    assert not trace["z"].flags.writeable


def test_any_form_of_the_input_gives_the_same_trace() -> None:
    one, first = layer(), layer(batch_first=True)
    x, state = data(one)
    want = grus.trace(one, x, state)
    fixed = x.numpy().copy()
    fixed.flags.writeable = False
    forms: list[tuple[grus.Recurrent, Any]] = [
        (one, x.numpy()),
        (one, fixed),
        (one, x.clone().requires_grad_()),
        (one, x.permute(2, 0, 1).contiguous().permute(1, 2, 0)),
        (first, x.transpose(0, 1)),
        (first, x.transpose(0, 1).contiguous().numpy()),
    ]
    for again, form in forms:
        found = grus.trace(again, form, state.numpy())
        assert all(found[n].tobytes() == want[n].tobytes() for n in want.names)
    row = grus.trace(first, x[:, 2], state[:, 2])
    assert row["z"].shape == (2, 1, T, 1, H)
    assert row["z"].tobytes() == want["z"][:, :, :, 2:3].tobytes()


@both
def test_a_packed_sequence_comes_in_the_callers_order(bidirectional: bool) -> None:
    one = layer(bidirectional=bidirectional)
    x, state = data(one)
    lengths = [4, 9, 1, 9, 5]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    want = grus.trace(one, x, state, lengths=lengths)
    found = grus.trace(one, packed, state)
    assert found.lengths.tolist() == lengths
    assert all(found[n].tobytes() == want[n].tobytes() for n in want.names)
    with pytest.raises(InputError, match="has its lengths"):
        grus.trace(one, packed, lengths=lengths)


def test_a_layer_in_training_is_traced_as_in_evaluation_and_left_as_it_is() -> None:
    torch.manual_seed(0)
    one = grus.LSTM(
        I, H, 2, dropout=0.5, layer_norm="split", zoneout=0.2, recurrent_dropout=0.3,
        input_dropout=0.1, weight_dropout=0.1,
    )  # fmt: skip
    x, before = torch.randn(T, B, I), {k: v.clone() for k, v in one.state_dict().items()}
    drawn = torch.get_rng_state()
    trace = grus.trace(one, x)
    assert one.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(v, before[k]) for k, v in one.state_dict().items())
    assert all(p.grad is None for p in one.parameters())
    assert output(trace).tobytes() == one.eval()(x)[0].detach().numpy().tobytes()


def test_a_held_cell_is_traced_even_one_without_weights() -> None:
    for held, names in (({"r": 1}, ("z", "n", "h")), ({"z": 1}, ("h",))):
        one = grus.Recurrent(grus.hold("gru", **held), I, H)
        x, state = data(one)
        trace = grus.trace(one, x, state)
        assert trace.names == names
        assert output(trace).tobytes() == one(x, state)[0].detach().numpy().tobytes()
    assert (trace["h"][0, 0] == state[0].numpy()).all()


def test_an_empty_sequence_has_an_empty_trace() -> None:
    trace = grus.trace(layer(), torch.zeros(0, B, I))
    assert trace["z"].shape == (2, 1, 0, B, H)


class Own(grus.GRU):
    """A layer that does something of its own."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return super().forward(*arguments, **options)


X = torch.zeros(T, B, I)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: grus.trace(torch.nn.Linear(3, 4), X), "a trace is of a layer.*got Linear"),
        (lambda: grus.trace(Own(I, H), X), "Own has a forward of its own"),
        (lambda: grus.trace(layer(dtype=torch.bfloat16), X), "the layer is bfloat16 on cpu"),
        (lambda: grus.trace(layer().to("meta"), X), "float32 on meta"),
        (lambda: grus.trace(layer(), X.double()), "x must be float32 like the layer, got float64"),
        (lambda: grus.trace(layer(), [[1.0]]), "x must be a tensor or an array, got list"),
        (lambda: grus.trace(layer(), X[..., :3]), "with 4 inputs, got"),
        (lambda: grus.trace(layer(), X, torch.zeros(1, B, H)), "hx of state h must be"),
        (lambda: grus.trace(layer(), X, values=["q"]), "gru has no value 'q'"),
        (lambda: grus.trace(layer(), X, values="zr"), "must be a list of names"),
        (lambda: grus.trace(layer(), X, units=[H]), "units: there is no 19, they are 0 to 18"),
        (lambda: grus.trace(layer(), X, layers=2), "layers: there is no 2, they are 0 to 1"),
        (lambda: grus.trace(layer(), X, directions=1), "directions: there is no 1, they are 0"),
        (lambda: grus.trace(layer(), X, steps="1-3"), "steps must be like 3, 0,4,7 or 10:20"),
        (lambda: grus.trace(layer(), X, steps="1:2:0"), "steps: a range cannot go on by 0"),
        (lambda: grus.trace(layer(), X, steps="5:5"), "steps: 5:5 is empty; they are 0 to"),
        (lambda: grus.trace(layer(), X, steps=[0.5]), "steps must be a number, a list"),
        (lambda: grus.trace(layer(), X, tokens="abc"), "tokens must be 9, one for each"),
        (lambda: grus.trace(layer(), X, tokens=range(T)), "tokens must be texts"),
        (lambda: grus.trace(layer(), X, lengths=[T] * 4), "lengths must be"),
    ],
)
def test_what_cannot_be_is_said(call: Callable[[], Trace], said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()


def test_the_kernels_must_be_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    with pytest.raises(InputError, match="the kernels write a trace"):
        grus.trace(layer(), X)


def _directions_swapped(patch: pytest.MonkeyPatch) -> None:
    right = module.both_ways
    patch.setattr(module, "both_ways", lambda *a: right(*a)[::-1])


def _windows_from_the_wrong_end(patch: pytest.MonkeyPatch) -> None:
    right = recording.windows
    patch.setattr(recording, "windows", lambda *a: list(right(*a))[::-1])


def _the_state_not_carried(patch: pytest.MonkeyPatch) -> None:
    right = runtime.store

    def store(cell, weights, x, state, into, after, steps, threads, start):
        right(cell, weights, x, start, into, after, steps, threads, start)

    patch.setattr(runtime, "store", store)


def _the_state_before_the_step(patch: pytest.MonkeyPatch) -> None:
    right = runtime.store

    def store(cell, weights, x, state, into, *rest):
        before = {n.removesuffix("_next") if n != cell.output else n: a for n, a in into.items()}
        right(cell, weights, x, state, before, *rest)

    patch.setattr(runtime, "store", store)


def _one_step_late(patch: pytest.MonkeyPatch) -> None:
    run = recording._LayerRun.run

    def late(row, x, first, end, output=None, *, needed):
        found = run(row, x, first, end, output, needed=needed)
        for into, _ in row.into.values():
            into[...] = np.roll(into, 1, 0)
        return found

    patch.setattr(recording._LayerRun, "run", late)


def _the_layer_above_reads_x(patch: pytest.MonkeyPatch) -> None:
    run = recording._LayerRun.run

    def wrong(row, x, first, end, output=None, *, needed):
        found = run(row, x, first, end, output, needed=needed)
        return found[:, ::-1] if needed else found

    patch.setattr(recording._LayerRun, "run", wrong)


BREAKS: list[tuple[Callable[[pytest.MonkeyPatch], None], bool]] = [
    (_directions_swapped, True),
    (_windows_from_the_wrong_end, False),
    (_windows_from_the_wrong_end, True),
    (_the_state_not_carried, False),
    (_the_state_before_the_step, False),
    (_one_step_late, False),
    (_one_step_late, True),
    (_the_layer_above_reads_x, False),
]


@pytest.mark.parametrize(("broken", "bidirectional"), BREAKS)
def test_a_break_is_caught(
    broken: Callable[[pytest.MonkeyPatch], None],
    bidirectional: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = layer("lstm", bidirectional=bidirectional)
    x, state = data(one)
    monkeypatch.setattr(recording, "SHORTEST", 4)
    monkeypatch.setattr(recording, "WINDOW_BYTES", 0)
    check_trace(one, x, state, grus.trace(one, x, state))
    broken(monkeypatch)
    with pytest.raises(WrongKernelError):
        check_trace(one, x, state, grus.trace(one, x, state))
