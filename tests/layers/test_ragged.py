"""Lengths, resets and packed sequences on layers: against rows and episodes run on their own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import grus  # noqa: E402
from grus import InputError  # noqa: E402
from grus.layers import inputs  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections")]
T, B, I, H = 9, 6, 4, 5  # noqa: E741
LENGTHS = [3, T, 0, 1, 5, T]
NAN = float("nan")

KINDS: dict[str, Any] = {
    "gru": grus.GRU,
    "lstm": grus.LSTM,
    "rnn": grus.RNN,
    "gru_reset_before": lambda *a, **k: grus.GRU(*a, cell="gru_reset_before", **k),
}
every = pytest.mark.parametrize("kind", KINDS)
both = pytest.mark.parametrize("bidirectional", [False, True])


def layer(kind: str, **options: Any) -> grus.Recurrent:
    torch.manual_seed(0)
    made = KINDS[kind](I, H, **{"num_layers": 2, "dtype": torch.float64, **options})
    assert isinstance(made, grus.Recurrent)
    return made


def data(module: grus.Recurrent) -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    x = torch.randn(T, B, I, dtype=torch.float64)
    rows = module.num_layers * (1 + module.bidirectional)
    states = tuple(torch.randn(rows, B, H, dtype=torch.float64) for _ in module.cell.states)
    return x, states if len(states) > 1 else states[0]


def flat(states: Any) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def row(states: Any, b: int) -> Any:
    return tuple(s[:, b : b + 1] for s in flat(states)) if isinstance(states, tuple) else (
        states[:, b : b + 1]
    )  # fmt: skip


def close(one: Tensor, other: Tensor) -> None:
    """Float64 and some hundred roundings: 1e-12 is thousands of units in the last place."""
    assert one.shape == other.shape
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@both
@every
def test_each_row_is_the_row_on_its_own_whatever_the_padding_holds(
    kind: str, bidirectional: bool
) -> None:
    module = layer(kind, bidirectional=bidirectional)
    x, hx = data(module)
    for b, length in enumerate(LENGTHS):
        x[length:, b] = NAN
    y, final = module(x, hx, lengths=torch.tensor(LENGTHS))
    for b, length in enumerate(LENGTHS):
        alone, last = module(x[:length, b : b + 1], row(hx, b))
        close(y[:length, b : b + 1], alone)
        assert not y[length:, b].any()
        for one, other in zip(flat(row(final, b)), flat(last), strict=True):
            close(one, other)


@both
@every
def test_padding_reaches_no_gradient(kind: str, bidirectional: bool) -> None:
    module = layer(kind, bidirectional=bidirectional)
    x, hx = data(module)
    valid = torch.arange(T)[:, None] < torch.tensor(LENGTHS)
    found = []
    for padding in (0.0, NAN, float("inf")):
        given = torch.where(valid[..., None], x, padding).requires_grad_()
        y, final = module(given, hx, lengths=LENGTHS)
        # Gradients of padded outputs, too, are padding: they go nowhere.
        loss = (y * torch.arange(y.numel()).view(y.shape)).sum() + sum(s.sum() for s in flat(final))
        found.append(torch.autograd.grad(loss, [given, *module.parameters()]))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    assert not found[0][0][~valid].any()
    assert found[0][0][valid].all()


@both
@every
def test_resets_are_episodes_run_on_their_own(kind: str, bidirectional: bool) -> None:
    """At the first step, the last one, in a row of steps, at none: nothing crosses, both ways."""
    module = layer(kind, bidirectional=bidirectional)
    x, hx = data(module)
    begins = [[0], [T - 1], [4], [3, 4, 5], [], [0, 2, 7]]
    resets = torch.zeros(T, B, dtype=torch.bool)
    for b, steps in enumerate(begins):
        resets[steps, b] = True
    y, final = module(x, hx, resets=resets)
    for b, steps in enumerate(begins):
        cuts = sorted({0, *steps, T})
        parts, lasts = [], []
        for first, end in pairwise(cuts):
            start = None if first in steps else row(hx, b)
            if bidirectional and start is not None and end < T:
                start = only_forward(start)
            if bidirectional and start is None and end == T:
                start = only_backward(row(hx, b))
            out, last = module(x[first:end, b : b + 1], start)
            parts.append(out)
            lasts.append(last)
        close(y[:, b : b + 1], torch.cat(parts))
        for k, one in enumerate(flat(row(final, b))):
            ahead, back = flat(lasts[-1])[k], flat(lasts[0])[k]
            if bidirectional:
                close(one[0::2], ahead[0::2])
                close(one[1::2], back[1::2])
            else:
                close(one, ahead)


def only_forward(states: Any) -> Any:
    """Initial states with those of the backward direction at zero."""
    return masked(states, 0)


def only_backward(states: Any) -> Any:
    return masked(states, 1)


def masked(states: Any, side: int) -> Any:
    kept = [s.clone() for s in flat(states)]
    for s in kept:
        s[1 - side :: 2] = 0
    return tuple(kept) if isinstance(states, tuple) else kept[0]


def test_backward_in_time_the_same_resets_would_cross_an_episode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A break: cleared at an episode's first step instead of after it, the state goes on."""
    module = layer("gru", bidirectional=True)
    x, _ = data(module)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4] = True
    changed = x.clone()
    changed[4] += 1  # the first step of the second episode
    assert torch.equal(module(x, resets=resets)[0][:4], module(changed, resets=resets)[0][:4])
    monkeypatch.setattr(inputs, "_ends", lambda begins: begins)
    assert not torch.equal(module(x, resets=resets)[0][:4], module(changed, resets=resets)[0][:4])


@both
@every
def test_rows_padded_on_the_left_begin_at_a_reset(kind: str, bidirectional: bool) -> None:
    module = layer(kind, bidirectional=bidirectional)
    x, _ = data(module)
    resets = torch.zeros(T, B, dtype=torch.bool)
    for b, length in enumerate(LENGTHS):
        x[: T - length, b] = 100.0
        resets[T - length : T - length + 1, b] = True
    y, final = module(x, resets=resets)
    for b, length in enumerate(LENGTHS):
        if length:
            alone, last = module(x[T - length :, b : b + 1])
            close(y[T - length :, b : b + 1], alone)
            ahead = slice(0, None, 2 if bidirectional else 1)
            for one, other in zip(flat(row(final, b)), flat(last), strict=True):
                close(one[ahead], other[ahead])


@every
def test_a_reset_to_h0_starts_from_it_again(kind: str) -> None:
    module = layer(kind)
    x, hx = data(module)
    resets = torch.zeros(T, B)
    resets[4] = 1
    y, _ = module(x, hx, resets=resets, reset_to="h0")
    close(y[4:], module(x[4:], hx)[0])


@every
def test_a_reset_lets_no_nan_of_the_state_through(kind: str) -> None:
    module = layer(kind)
    x, _ = data(module)
    bad = x.clone()
    bad[:4] = NAN
    resets = torch.zeros(T, B, dtype=torch.int64)
    resets[4] = 1
    assert torch.equal(module(bad, resets=resets)[0][4:], module(x, resets=resets)[0][4:])


@every
def test_no_gradient_crosses_a_reset(kind: str) -> None:
    module = layer(kind)
    x, hx = data(module)
    leaves = [x.requires_grad_(), *(h.requires_grad_() for h in flat(hx))]
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4] = True
    y, _ = module(x, hx, resets=resets)
    dx, *dstates = torch.autograd.grad(y[4:].sum(), leaves)
    assert not dx[:4].any()
    assert dx[4:].all()
    assert not any(d.any() for d in dstates)


@every
def test_bool_int_and_float_resets_are_one(kind: str) -> None:
    module = layer(kind)
    x, hx = data(module)
    resets = torch.rand(T, B) < 0.3
    want = module(x, hx, resets=resets)[0]
    for same in (resets.int(), resets.long(), resets.float(), resets.double(), resets.numpy()):
        assert torch.equal(module(x, hx, resets=same)[0], want)
    assert torch.equal(module(x, hx, resets=resets.tolist())[0], want)


@every
def test_the_state_is_reset_in_every_term(kind: str) -> None:
    """A state of 1e3 would show through any term that still held it, candidate or z * h."""
    module = layer(kind, num_layers=1)
    x, _ = data(module)
    huge = tuple(torch.full((1, B, H), 1e3, dtype=torch.float64) for _ in module.cell.states)
    hx = huge if len(huge) > 1 else huge[0]
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[0] = True
    assert torch.equal(module(x, hx, resets=resets)[0], module(x)[0])


@every
def test_step_with_resets_is_the_sequence(kind: str) -> None:
    module = layer(kind)
    x, hx = data(module)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[0, 0] = resets[4, 1] = resets[T - 1, 2] = True
    want, last = module(x, hx, resets=resets)
    state: Any = hx
    for t in range(T):
        y, state = module.step(x[t], grus.carry(state, resets[t]))
        assert torch.equal(y, want[t])
    assert all(map(torch.equal, flat(state), flat(last)))


@every
def test_batch_first_and_one_sequence_take_lengths_and_resets_of_their_axes(kind: str) -> None:
    module, turned = layer(kind), layer(kind, batch_first=True)
    x, hx = data(module)
    resets = torch.rand(T, B) < 0.3
    want, last = module(x, hx, lengths=LENGTHS, resets=resets)
    found, final = turned(x.transpose(0, 1), hx, lengths=LENGTHS, resets=resets.T)
    assert torch.equal(found.transpose(0, 1), want)
    assert all(map(torch.equal, flat(final), flat(last)))
    hx1 = tuple(h[:, 0] for h in flat(hx)) if isinstance(hx, tuple) else hx[:, 0]
    for one in (module, turned):
        alone, _ = one(x[:, 0], hx1, lengths=LENGTHS[0], resets=resets[:, 0])
        close(alone, want[:, 0])


@every
def test_full_lengths_and_no_resets_are_the_plain_call_bit_for_bit(kind: str) -> None:
    module = layer(kind, bidirectional=True)
    x, hx = data(module)
    want = module(x, hx)[0]
    assert torch.equal(module(x, hx, lengths=[T] * B)[0], want)
    assert torch.equal(module(x, hx, resets=torch.zeros(T, B))[0], want)


PACKED = [
    {"num_layers": n, "bidirectional": two, "bias": bias}
    for n, two, bias in [(1, False, True), (1, True, True), (3, True, True), (2, False, False)]
]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("sorting", ["sorted", "unsorted", "equal"])
@pytest.mark.parametrize("options", PACKED, ids=str)
@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
@pytest.mark.filterwarnings("ignore:dropout option adds")
def test_packed_sequences_are_torchs(
    name: str, options: dict[str, Any], sorting: str, dropout: float
) -> None:
    """The same seed drops the same units."""
    lengths = {"sorted": [9, 7, 7, 1], "unsorted": [2, 9, 1, 5], "equal": [9, 9, 9, 9]}[sorting]
    pair = []
    for place in (nn, grus):
        torch.manual_seed(0)
        pair.append(getattr(place, name)(I, H, dropout=dropout, dtype=torch.float64, **options))
    torch.manual_seed(1)
    x = torch.randn(T, 4, I, dtype=torch.float64, requires_grad=True)
    rows = options["num_layers"] * (1 + options["bidirectional"])
    hx: Any = torch.randn(rows, 4, H, dtype=torch.float64, requires_grad=True)
    hx = (hx, torch.randn(rows, 4, H, dtype=torch.float64)) if name == "LSTM" else hx
    results = []
    for module in pair:
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=sorting == "sorted")
        torch.manual_seed(2)
        y, final = module(packed, hx)
        assert torch.equal(y.batch_sizes, packed.batch_sizes)
        padded, counts = pad_packed_sequence(y)
        assert counts.tolist() == lengths
        leaves = [x, flat(hx)[0], *module.parameters()]
        grads = torch.autograd.grad(padded.square().sum() + flat(final)[-1].sum(), leaves)
        results.append([padded.detach(), *(s.detach() for s in flat(final)), *grads])
    for want, found in zip(*results, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_the_same_seed_drops_the_same_units(name: str) -> None:
    options: dict[str, Any] = {"num_layers": 3, "dropout": 0.5, "bidirectional": True}
    for first in (False, True):
        results = []
        for place in (nn, grus):
            torch.manual_seed(0)
            module = getattr(place, name)(I, H, batch_first=first, dtype=torch.float64, **options)
            y, _ = module(torch.ones(B, T, I, dtype=torch.float64))
            assert not torch.equal(y, module(torch.ones(B, T, I, dtype=torch.float64))[0])
            results.append(y)
            module.eval()
            still = [module(torch.ones(B, T, I, dtype=torch.float64))[0] for _ in range(2)]
            assert torch.equal(*still)
        close(*results)


def test_bidirectional_backward_state_is_its_first_output() -> None:
    module = layer("gru", bidirectional=True)
    y, final = module(data(module)[0])
    assert torch.equal(y[0, :, H:], final[-1])
    assert torch.equal(y[-1, :, :H], final[-2])


def call(**options: Any) -> Any:
    return lambda: layer("gru")(torch.zeros(T, B, I, dtype=torch.float64), **options)


def packed_call(**options: Any) -> Any:
    given = pack_padded_sequence(torch.zeros(T, 2, I, dtype=torch.float64), torch.tensor([3, 2]))
    return lambda: layer("gru")(given, **options)


WRONG: list[tuple[Any, str]] = [
    (call(lengths=[1, 2]), f"lengths must be [batch] = ({B},)"),
    (call(lengths=[1.0] * B), "lengths must be whole numbers, got float64"),
    (call(lengths=[T + 1] + [1] * (B - 1)), f"lengths must lie in 0..{T}, got 1..{T + 1}"),
    (call(lengths=[-1] * B), f"lengths must lie in 0..{T}, got -1..-1"),
    (call(resets=torch.zeros(B, T)), f"resets must be [time, batch] = {(T, B)} like the input"),
    (call(resets=torch.full((T, B), 0.5)), "resets must be bool, or 0 and 1"),
    (call(resets=torch.full((T, B), NAN)), "resets must be bool, or 0 and 1"),
    (call(resets=torch.zeros(T, B), reset_to="one"), 'reset_to must be "zero" or "h0"'),
    (packed_call(lengths=[1, 1]), "a PackedSequence has its lengths"),
    (packed_call(hx=torch.zeros(2, 3, H, dtype=torch.float64)), "hx of state h must be (2, 2, 5)"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_cannot_be_is_one_sentence(wrong: Any, words: str) -> None:
    with pytest.raises(InputError) as raised:
        wrong()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")  # what compiling warns of is not ours
def test_compiled_resets_and_lengths_of_another_shape_are_refused_too() -> None:
    module, x = layer("gru"), torch.zeros(T, B, I, dtype=torch.float64)
    compiled = torch.compile(module, backend="aot_eager")
    for wrong in ({"resets": torch.zeros(B, T)}, {"lengths": torch.ones(T, dtype=torch.int64)}):
        with pytest.raises(Exception, match=f"{next(iter(wrong))} must be"):
            compiled(x, **wrong)
