"""Small calls: those that are ready give what the long way gives, to the bit."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import parametrizations  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus.kernels import call, jit  # noqa: E402
from grus.layers import dispatch  # noqa: E402

pytestmark = pytest.mark.torch

NAMED = [name for name, cell in ALL_CELLS.items() if {i.name for i in cell.inputs} == {"x"}]


def made(name: str, **options: Any) -> Any:
    """Of 5 features and units, for cells that read x element by element, too."""
    projected = {"proj_size": 3} if "projected" in name else {}
    return grus.Recurrent(ALL_CELLS[name], 5, 5, **projected, **options)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def long_way(layer: Any, x: Any, hx: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(dispatch, "ready", lambda *_, **__: None)
        return layer(x, hx)


def flat(result: Any) -> list[bytes]:
    output, state = result
    states = state if isinstance(state, tuple) else (state,)
    return [t.contiguous().numpy().tobytes() for t in (output, *states)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call was ready."""
    found: list[bool] = []
    real = dispatch.ready

    def one(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        found.append(result is not None)
        return result

    monkeypatch.setattr(dispatch, "ready", one)
    return found


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_ready_call_has_the_bits_of_the_long_way(
    name: str,
    given: bool,
    batch_first: bool,
    counted: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = made(name, batch_first=batch_first)
    x = torch.randn(3, 4, 5)
    state = layer(x)[1] if given else None
    hx = None if state is None else tree_map(torch.detach, state)
    with torch.no_grad():
        found = layer(x, hx)
        again = layer(x, hx)
    assert counted[-2:] == [True, True]
    assert flat(found) == flat(again) == flat(long_way(layer, x, hx, monkeypatch))
    shapes = [t.shape for t in (found[0], *tree_leaves(found[1]))]
    want = long_way(layer, x, hx, monkeypatch)
    assert shapes == [t.shape for t in (want[0], *tree_leaves(want[1]))]


def test_parameters_are_read_as_they_are_now(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = grus.GRU(4, 6), torch.randn(2, 3, 4)

    def same() -> None:
        with torch.no_grad():
            assert flat(layer(x)) == flat(long_way(layer, x, None, monkeypatch))

    same()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    same()
    layer.weight_ih_l0.data = torch.randn(4, 18).T  # columns lie one after the other
    same()
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.clone()
    same()
    layer.double()
    x = x.double()
    same()


def test_what_is_not_plain_goes_the_long_way(counted: list[bool]) -> None:
    x = torch.randn(2, 3, 4)
    layer = grus.GRU(4, 6)
    layer(x)  # a derivative is recorded
    torch.func.grad(lambda x: layer(x)[0].sum())(x)
    with torch.no_grad():
        torch.func.functional_call(layer, dict(layer.named_parameters()), (x,))
        assert counted == [True, False, True]
        torch.vmap(layer, randomness="error")(x.expand(2, 2, 3, 4))
        with torch.autograd.forward_ad.dual_level():
            layer(x)
        assert counted == [True, False, True, False, False]
        layer(x[:, 0])  # one sequence
        with pytest.raises(grus.InputError, match="input must be"):
            layer(x[..., :3])
        with pytest.raises(grus.InputError, match="hx of state h must be"):
            layer(x, torch.zeros(1, 2, 6))
        with pytest.raises(grus.InputError, match="hx must be one tensor"):
            layer(x, (torch.zeros(1, 3, 6),) * 2)
        with pytest.raises(ValueError, match="does not match weight dtype"):
            layer(x.double())
        assert not any(counted[3:])
        frozen = grus.GRU(4, 6).requires_grad_(False)
    frozen(x)
    assert counted[-1]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_recorded_call_has_the_gradients_of_the_long_way(
    name: str,
    given: bool,
    batch_first: bool,
    counted: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x = made(name, batch_first=batch_first), torch.randn(3, 4, 5)
    states = layer(x)[1] if given else ()
    states = (states,) if isinstance(states, torch.Tensor) else states
    leaves = [t.detach().clone().requires_grad_() for t in (x, *states)]

    def run() -> list[bytes]:
        hx = leaves[1] if len(leaves) == 2 else tuple(leaves[1:]) or None
        output, state = layer(leaves[0], hx)
        found = tree_leaves((output, state))
        loss = sum((t * t).sum() for t in found)
        grads = torch.autograd.grad(loss, [*leaves, *layer.parameters()])
        return [t.detach().contiguous().numpy().tobytes() for t in (*found, *grads)]

    counted.clear()
    found, again = run(), run()
    assert counted == [True, True]
    monkeypatch.setattr(dispatch, "ready", lambda *_, **__: None)
    assert found == again == run()


def test_whether_a_derivative_is_wanted_is_asked_at_each_call() -> None:
    layer, x = grus.GRU(4, 6), torch.randn(2, 3, 4)
    for _ in range(2):
        assert layer(x)[0].requires_grad
        with torch.no_grad():
            assert not layer(x)[0].requires_grad
        layer.requires_grad_(False)
        assert not layer(x)[0].requires_grad
        assert layer(x.clone().requires_grad_())[0].requires_grad
        layer.weight_hh_l0.requires_grad_(True)
        assert layer(x)[0].requires_grad
        layer.requires_grad_(True)
        with torch.inference_mode():
            assert not layer(x)[0].requires_grad


def test_calls_are_found_again_by_turns_and_with_one_tensor_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_anew: list[int] = []
    real = dispatch._prepare
    monkeypatch.setattr(dispatch, "_prepare", lambda *a: made_anew.append(1) or real(*a))
    layer, zeros = grus.LSTM(4, 6), torch.zeros(1, 3, 6)
    short, long, ones = torch.randn(2, 3, 4), torch.randn(5, 3, 4), torch.ones(1, 3, 6)
    with torch.no_grad():
        for _ in range(3):
            same, other = layer(short, (zeros, zeros))[0], layer(short, (zeros, ones))[0]
            assert same.equal(layer(short)[0])
            assert not same.equal(other)
            layer(long)
    # Without states at two lengths; the others take turns, and are told apart.
    assert made_anew.count(1) <= 2 + 2 * 3


def test_a_wrong_number_of_states_is_refused() -> None:
    with pytest.raises(grus.InputError, match="hx must be"):
        grus.LSTM(4, 6)(torch.randn(2, 3, 4), ())


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_parameter_of_another_shape_is_refused(recorded: bool, bidirectional: bool) -> None:
    layer = grus.GRU(4, 6, bidirectional=bidirectional)
    layer.bias_hh_l0 = torch.nn.Parameter(torch.zeros(5))
    with torch.set_grad_enabled(recorded), pytest.raises(grus.InputError, match="bias_hh must be"):
        layer(torch.randn(2, 3, 4))


def test_a_torch_without_guards_goes_the_long_way(
    counted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = grus.GRU(4, 6), torch.randn(2, 3, 4)
    want = layer(x)[0]
    monkeypatch.setattr(dispatch, "TORCH", replace(dispatch.TORCH, guards=None))
    found = layer(x)[0]
    assert counted == [True, False]
    assert found.equal(want)


def test_parametrized_and_dropped_layers_go_the_long_way(counted: list[bool]) -> None:
    x = torch.randn(2, 3, 4)
    layer = parametrizations.weight_norm(grus.GRU(4, 6), "weight_hh_l0")
    with torch.no_grad():
        layer(x)
        grus.GRU(4, 6, zoneout=0.5)(x)
        assert counted == []
        grus.GRU(4, 6, zoneout=0.5).eval()(x)
        assert counted == [True]


def test_the_switch_is_read_at_each_call(
    counted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = grus.GRU(4, 6), torch.randn(2, 3, 4)
    with torch.no_grad():
        layer(x)
        monkeypatch.setenv("GRUS_BACKEND", "reference")
        layer(x)
    assert counted == [True, False]


def test_results_share_no_memory_and_zeros_stay_zeros() -> None:
    layer, x = grus.GRU(4, 6), torch.randn(1, 3, 4)
    with torch.no_grad():
        output, state = layer(x)
        kept = output.clone()
        state.fill_(7)
        assert output.equal(kept)
        output.fill_(9)
        assert layer(x)[0].equal(kept)
        assert layer(x, torch.zeros(1, 3, 6))[0].equal(kept)


def test_threads_may_call_one_layer_at_once() -> None:
    layer = grus.GRU(8, 8)
    inputs = [torch.randn(5, 1, 8) for _ in range(8)]
    with torch.no_grad():
        want = [layer(x)[0].clone() for x in inputs]
    wrong: list[int] = []

    def work(k: int) -> None:
        with torch.no_grad():
            for _ in range(300):
                if not layer(inputs[k])[0].equal(want[k]):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_where_kernels_must_not_run_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a kernel was asked for")

    monkeypatch.setenv("GRUS_BACKEND", "reference")
    # Every way to machine code leads through one of these.
    monkeypatch.setattr(jit, "Compiled", refused)
    monkeypatch.setattr(call, "kernel", refused)
    monkeypatch.setattr(dispatch, "_prepare", refused)
    with torch.no_grad():
        grus.GRU(4, 6)(torch.randn(2, 3, 4))
        grus.GRU(4, 6)(torch.randn(2, 3, 4), torch.zeros(1, 3, 6), lengths=torch.tensor([1, 2, 2]))
    grus.GRU(4, 6)(torch.randn(2, 3, 4))[0].sum().backward()


def test_the_zeros_where_calls_begin_are_kept_once_whatever_the_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "_zeros", {})
    layer = grus.GRU(2, 5)
    with torch.no_grad():
        for batch in range(1, 200):
            layer(torch.randn(2, batch, 2))
    with torch.inference_mode():
        layer(torch.randn(2, 999, 2))
    layer(torch.randn(2, 999, 2))[0].sum().backward()
    kept = dispatch._zeros[torch.float32]
    assert 999 * 5 <= kept.numel() <= 2 * 1024 * 5
    assert not kept.any()
    assert not kept.is_inference()


def test_a_state_that_comes_once_is_read_once() -> None:
    layer, x = grus.LSTM(2, 3), torch.randn(4, 1, 2)
    h = torch.zeros(1, 1, 3)
    with torch.no_grad():
        assert layer(x, (s for s in (h, h)))[0].equal(layer(x)[0])
        with pytest.raises(grus.InputError, match="hx"):
            grus.GRU(2, 3)(x, h.numpy())


def negated(x: Any) -> Any:
    """The same numbers behind torch's negative bit: memory holds their negatives."""
    found = torch._neg_view(-x)
    assert found.is_neg()
    return found


@pytest.mark.parametrize("lengths", [None, [2, 3, 4]])
def test_numbers_behind_the_negative_bit_are_read_as_they_are(lengths: Any) -> None:
    layer, x = grus.GRU(5, 7), torch.randn(4, 3, 5)
    dy = torch.randn(4, 3, 7)
    parameters = list(layer.parameters())
    want = layer(x, lengths=lengths)[0]
    for _ in range(2):  # the second time what was laid out is found again
        with torch.no_grad():
            assert layer(negated(x), lengths=lengths)[0].equal(want)
        found = layer(negated(x), lengths=lengths)[0]
        assert found.equal(want)
        grads = torch.autograd.grad(found, parameters, negated(dy))
        for one, other in zip(grads, torch.autograd.grad(want, parameters, dy, True), strict=True):
            assert one.equal(other)


def test_what_forward_kept_may_come_back_strided() -> None:
    layer, x = grus.GRU(5, 7), torch.randn(4, 3, 5)
    layer(x)[0].sum().backward()
    want = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    pack = lambda t: torch.stack([t, t * 0], -1)  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t[..., 0]):
        loss = layer(x)[0].sum()
    loss.backward()
    assert all(p.grad.equal(g) for p, g in zip(layer.parameters(), want, strict=True))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_traced_module_runs_torchs_operations(frozen: bool) -> None:
    layer, x = grus.GRU(5, 7).requires_grad_(not frozen), torch.randn(4, 3, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing itself says
        traced = torch.jit.trace(layer, (x,), check_trace=False)
        found = traced(2 * x)[0]
    # Four steps of sums of 12 products.
    assert (found - layer(2 * x)[0]).abs().max() < 4 * 12 * 2.0**-22


def test_a_module_pickled_before_names_were_kept_runs() -> None:
    layer, x = grus.GRU(3, 4), torch.randn(2, 1, 3)
    names = ["_parameter_names", "_names", "connect", "_connection", "_cell_rows", "_records"]
    state = {k: v for k, v in layer.__dict__.items() if k not in names} | {"_drawn": None}
    (again := grus.GRU.__new__(grus.GRU)).__setstate__(state)
    with torch.no_grad():
        assert again(x)[0].equal(layer(x)[0])


def test_a_cell_of_biases_alone_needs_them() -> None:
    cell = grus.Cell.parse("z = sigmoid(b.z)\nh_next = z * h", "v")
    with pytest.raises(grus.InputError, match="biases alone"):
        grus.Recurrent(cell, 3, 5, bias=False)


def test_holding_a_gate_leaves_torchs_generator_alone() -> None:
    from grus.layers.held import hold_layer

    layer = grus.GRU(3, 4, recompute=True)
    before = torch.get_rng_state()
    assert hold_layer(layer, {"z": 0.5}).recompute
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("cls", [grus.GRUCell, grus.LSTMCell])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_step_of_a_cell_is_ready(cls: Any, recorded: bool, counted: list[bool]) -> None:
    cell, x = cls(5, 6), torch.randn(4, 5)
    with torch.set_grad_enabled(recorded):
        state = cell(x)
        found = cell(x, state)
        assert counted == [True, True]
        row = cell(x[1], tree_map(lambda s: s[1], state))  # unbatched: the long way
    assert all(map(torch.equal, [s[1] for s in tree_leaves(found)], tree_leaves(row)))
