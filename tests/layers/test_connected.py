"""Layers that are joined: against torch's single layers joined by hand, on every way there is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import grus  # noqa: E402
from grus.equations import Connection, Input, Name, joined  # noqa: E402

pytestmark = pytest.mark.torch
KINDS = ("residual", "highway", "dense")
TIME, BATCH, SIZE, LAYERS = 40, 3, 4, 3

every = pytest.mark.parametrize("kind", KINDS)
inputs = pytest.mark.parametrize("size", [SIZE, 5], ids=["input as wide", "input of another size"])
ways = pytest.mark.parametrize("both", [False, True], ids=["one direction", "two directions"])
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


def made(kind: str, size: int = SIZE, both: bool = False, cell: str = "gru", **options: Any) -> Any:
    torch.manual_seed(0)
    options.setdefault("dtype", torch.float64)
    layer = grus.Recurrent(cell, size, SIZE, LAYERS, bidirectional=both, connect=kind, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("highway_bias"):
                parameter.normal_()
    return layer


def data(size: int = SIZE, time: int = TIME) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(time, BATCH, size, dtype=torch.float64)


def by_hand(layer: Any, x: Tensor, cell: str = "gru", lengths: Any = None, drop: Any = None) -> Any:
    """The stack made of torch's single layers, which share the parameters: output, final states.

    Written down a second time here, from the papers and not from the equations that run."""
    final = []
    for k in range(layer.num_layers):
        with torch.random.fork_rng():  # the weights drawn are replaced at once
            one = CELLS[cell](
                x.shape[2], SIZE, bidirectional=layer.bidirectional, dtype=torch.float64
            )
        held = {n: getattr(layer, n.replace("_l0", f"_l{k}")) for n, _ in one.named_parameters()}
        given = x
        if lengths is not None:
            given = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        y, state = torch.func.functional_call(one, held, (given,))
        if lengths is not None:
            y, _ = pad_packed_sequence(y, total_length=len(x))
        final.append(state if isinstance(state, tuple) else (state,))
        last = k == layer.num_layers - 1
        y = drop(y) if drop is not None and not last else y
        if layer.connect == "dense":
            x = y if last else torch.cat([x, y], -1)
        elif x.shape != y.shape:
            x = y
        elif layer.connect == "residual":
            x = y + x
        else:
            ends = ("", "_reverse")[: 1 + layer.bidirectional]
            weight = torch.cat([getattr(layer, f"highway_weight_l{k}{end}") for end in ends])
            bias = torch.cat([getattr(layer, f"highway_bias_l{k}{end}") for end in ends])
            t = torch.sigmoid(x @ weight.T + bias)
            x = t * y + (1 - t) * x
        if lengths is not None:
            valid = torch.arange(len(x))[:, None] < torch.tensor(lengths)
            x = x * valid[..., None]
    return x, tuple(torch.cat(states) for states in zip(*final, strict=True))


def close(found: Any, want: Any) -> None:
    """Float64 over some hundred roundings, each of numbers of size 1 to 10: 1e-12 is ample."""
    pairs = list(zip(tree_leaves(found), tree_leaves(want), strict=True))
    assert pairs
    for one, other in ((a.detach(), b.detach()) for a, b in pairs):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-12 * max(1.0, float(other.abs().max()))


def gradients(layer: Any, x: Tensor, call: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    leaves = [x, *layer.parameters()]
    results = tree_leaves(call(layer, x))
    torch.manual_seed(2)
    loss = torch.stack([(r * torch.randn_like(r)).sum() for r in results]).sum()
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("cell", CELLS)
@ways
@inputs
@every
def test_values_and_gradients_are_those_of_layers_joined_by_hand(
    kind: str, size: int, both: bool, cell: str
) -> None:
    layer, x = made(kind, size, both, cell), data(size)
    with torch.no_grad():
        close(layer(x), by_hand(layer, x, cell))
    close(
        gradients(layer, x, lambda layer, x: layer(x)),
        gradients(layer, x, lambda layer, x: by_hand(layer, x, cell)),
    )


@ways
@every
def test_lengths_and_packed_sequences(kind: str, both: bool) -> None:
    layer, x, lengths = made(kind, both=both), data(), [7, TIME, 20]
    padded = x.clone()
    padded[7:, 0] = padded[20:, 2] = torch.nan
    want = by_hand(layer, x, lengths=lengths)
    close(layer(padded, lengths=lengths), want)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, state = layer(packed)
    close((pad_packed_sequence(y)[0], state), want)
    found = gradients(layer, padded, lambda layer, x: layer(x, lengths=lengths))
    assert all(bool(g.isfinite().all()) for g in found)
    close(found, gradients(layer, x, lambda layer, x: by_hand(layer, x, lengths=lengths)))


@ways
@every
def test_an_episode_is_a_sequence_of_its_own(kind: str, both: bool) -> None:
    layer, x = made(kind, both=both), data()
    resets = torch.zeros(TIME, BATCH)
    resets[15] = 1
    y, _ = layer(x, resets=resets)
    close(y, torch.cat([layer(x[:15])[0], layer(x[15:])[0]]))


@ways
@every
def test_dropout_is_of_the_layers_own_outputs(kind: str, both: bool) -> None:
    layer, x = made(kind, both=both, dropout=0.5), data()
    torch.manual_seed(4)
    found = layer(x)
    torch.manual_seed(4)
    close(found, by_hand(layer, x, drop=lambda y: torch.dropout(y, 0.5, True)))


@inputs
@every
def test_one_step_at_a_time_has_the_bits_of_the_sequence(kind: str, size: int) -> None:
    layer, x = made(kind, size), data(size)
    with torch.no_grad():
        want, final = layer(x)
        stepper = pickle.loads(pickle.dumps(layer.stepper()))
        state = served = None
        for t in range(TIME):
            y, state = layer.step(x[t], state)
            assert y.equal(want[t])
            y, served = stepper(x[t], served)
            assert y.equal(want[t])
        assert state.equal(final)
        assert served.equal(final)


@inputs
@every
def test_layers_one_behind_the_other_have_the_bits_of_one_after_the_other(
    kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grus.kernels import threads
    from grus.layers import stack

    layer, x = made(kind, size), data(size, 131)
    with torch.no_grad():
        want = layer(x)
        seen: list[int] = []
        real = stack.together
        monkeypatch.setattr(threads, "limit", lambda: 2)
        monkeypatch.setattr(stack, "wave_pays", lambda works, pieces: True)
        monkeypatch.setattr(stack, "together", lambda p, n: (seen.append(len(p)), real(p, n))[1])
        for _ in range(3):
            found = layer(x)
            assert all(a.equal(b) for a, b in zip(found, want, strict=True))
    assert seen == [LAYERS * 8] * 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "both"), [("residual", False), ("highway", True), ("dense", False)]
)
def test_compiled_and_exported_programs_are_the_layer(kind: str, both: bool) -> None:
    layer, x = made(kind, both=both), data(time=5)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    close(compiled(x), layer(x))
    close(compiled(x, lengths=torch.tensor([2, 5, 4])), layer(x, lengths=[2, 5, 4]))
    program = torch.export.export(layer, (x,))
    close(program.module()(x), layer(x))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
@ways
@every
def test_other_paths_agree(kind: str, both: bool) -> None:
    layer, x = made(kind, both=both), data()
    slow = made(kind, both=both, backend="composite")
    slow.load_state_dict(layer.state_dict())
    less = made(kind, both=both, recompute=True)
    less.load_state_dict(layer.state_dict())
    want = gradients(layer, x, lambda layer, x: layer(x))
    close(gradients(slow, x, lambda layer, x: layer(x)), want)
    close(gradients(less, x, lambda layer, x: layer(x)), want)
    traced = torch.jit.trace(layer, (x,), check_trace=False)
    with torch.no_grad():
        close(traced(data(time=9)), layer(data(time=9)))


@every
def test_copies_and_files_hold_all_of_it(kind: str) -> None:
    layer, x = made(kind), data()
    again = made(kind)
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.load_state_dict(layer.state_dict())
    with torch.no_grad():
        want = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), again):
            assert other(x)[0].equal(want[0])
    assert f"connect='{kind}'" in repr(layer)


def test_a_plain_stack_is_what_it_was() -> None:
    layer = made("")
    assert list(layer.state_dict()) == list(nn.GRU(SIZE, SIZE, LAYERS).state_dict())
    assert "connect" not in repr(layer)
    assert repr(grus.GRU(3, 4, connect=None)) == repr(nn.GRU(3, 4))


def test_a_highway_has_a_gate_for_each_layer_and_direction_that_is_joined() -> None:
    layer = grus.GRU(5, SIZE, 2, bidirectional=True, connect="highway")
    gates = {n: tuple(p.shape) for n, p in layer.named_parameters() if "highway" in n}
    assert gates == {
        "highway_weight_l1": (SIZE, 2 * SIZE),
        "highway_bias_l1": (SIZE,),
        "highway_weight_l1_reverse": (SIZE, 2 * SIZE),
        "highway_bias_l1_reverse": (SIZE,),
    }
    assert bool((layer.highway_bias_l1 == -1).all())


def test_what_cannot_be_joined_is_refused() -> None:
    with pytest.raises(grus.InputError, match="connect must be one of residual, highway, dense"):
        grus.GRU(4, 4, connect="ladder")
    with pytest.raises(grus.InputError, match="what layer 1 reads"):
        grus.Recurrent("sru", 4, 4, 2, connect="dense")
    with pytest.raises(grus.InputError, match="joined"):
        torch.jit.script(made("residual"))
    with pytest.raises(grus.InputError, match="joined"):
        grus.onnx.to_model(made("residual"))


RANDOM: dict[str, Any] = {
    "zoneout": {"zoneout": 0.3},
    "input dropout": {"input_dropout": 0.4},
    "weight dropout and a norm": {"weight_dropout": 0.3, "layer_norm": "split"},
}


@pytest.mark.parametrize("options", RANDOM.values(), ids=RANDOM)
@every
def test_masks_are_drawn_alike_on_both_paths(kind: str, options: Any) -> None:
    found = []
    for backend in ("kernels", "composite"):
        layer = made(kind, backend=backend, **options)
        torch.manual_seed(5)
        found.append(layer(data(time=9)))
    close(found[0], found[1])


def test_what_passes_a_layer_is_not_dropped_with_its_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all inputs dropped, layers give all rows the same, and x stands in the sum whole."""
    monkeypatch.setattr("grus.layers.regularised.mask", lambda like, *_: torch.zeros_like(like))
    layer, x = made("residual", input_dropout=0.5), data()
    passed = layer(x)[0] - x
    close(passed, passed[:, :1].expand_as(passed))


@ways
@every
def test_a_projected_stack_is_joined_at_the_projections_size(kind: str, both: bool) -> None:
    width, results = 2 * (1 + both), []
    for backend in ("kernels", "composite"):
        torch.manual_seed(0)
        layer = grus.LSTM(
            width, SIZE, LAYERS, proj_size=2, bidirectional=both, connect=kind, backend=backend,
            dtype=torch.float64,
        )  # fmt: skip
        results.append(gradients(layer, data(width, 9), lambda layer, x: layer(x)))
    close(results[0], results[1])
    if not both:
        layer.backend, x = None, data(width, 9)
        with torch.no_grad():
            want, _ = layer(x)
            serve, state = layer.stepper(), None
            for t, now in enumerate(x):
                y, state = serve(now, state)
                assert y.equal(want[t])


@ways
def test_a_wrong_sign_is_seen(both: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = Input("x"), Name(Connection.OUTPUT)
    monkeypatch.setitem(Connection.EQUATIONS, "residual", (("y", y - x),))
    joined.cache_clear()
    layer, given = made("residual", both=both), data()
    joined.cache_clear()
    with pytest.raises(AssertionError):
        close(layer(given), by_hand(layer, given))
