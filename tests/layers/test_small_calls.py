"""Small calls: those that are ready give what the long way gives, to the bit; gradients of few rows
are those of the library's products."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import parametrizations  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus.kernels import products  # noqa: E402
from grus.kernels.terms import Term  # noqa: E402
from grus.layers import finish, likeness, ready  # noqa: E402
from grus.layers.launch_backward import backwards  # noqa: E402

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
        patch.setattr(ready, "sequence", lambda *_: None)
        return layer(x, hx)


def flat(result: Any) -> list[bytes]:
    output, state = result
    states = state if isinstance(state, tuple) else (state,)
    return [t.contiguous().numpy().tobytes() for t in (output, *states)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call was ready."""
    found: list[bool] = []
    real = ready.sequence

    def one(*given: Any) -> Any:
        result = real(*given)
        found.append(result is not None)
        return result

    monkeypatch.setattr(ready, "sequence", one)
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
    hx = None if state is None else torch.utils._pytree.tree_map(torch.detach, state)
    with torch.no_grad():
        found = layer(x, hx)
        again = layer(x, hx)
    assert counted[-2:] == [True, True]
    assert flat(found) == flat(again) == flat(long_way(layer, x, hx, monkeypatch))
    shapes = [t.shape for t in (found[0], *torch.utils._pytree.tree_leaves(found[1]))]
    want = long_way(layer, x, hx, monkeypatch)
    assert shapes == [t.shape for t in (want[0], *torch.utils._pytree.tree_leaves(want[1]))]


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
        found = torch.utils._pytree.tree_leaves((output, state))
        loss = sum((t * t).sum() for t in found)
        grads = torch.autograd.grad(loss, [*leaves, *layer.parameters()])
        return [t.detach().contiguous().numpy().tobytes() for t in (*found, *grads)]

    counted.clear()
    found, again = run(), run()
    assert counted == [True, True]
    with monkeypatch.context() as patch:
        patch.setattr(ready, "sequence", lambda *_: None)
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


def test_a_torch_without_guards_goes_the_long_way(
    counted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = grus.GRU(4, 6), torch.randn(2, 3, 4)
    want = layer(x)[0]
    monkeypatch.setattr(likeness, "Guards", None)
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


def gradients(name: Any, dtype: Any, strided: bool, recompute: bool = False) -> list[Any]:
    torch.manual_seed(1)
    layer = made(name, dtype=dtype)
    layer.recompute = recompute
    x = torch.randn(3, 2, 5, dtype=dtype)
    if strided:
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    x.requires_grad_()
    output, _ = layer(x)
    dy = torch.linspace(-1, 1, output.numel(), dtype=dtype).view_as(output)
    return list(torch.autograd.grad(output, [x, *layer.parameters()], dy))


def agree(name: str, dtype: Any, found: list[Any], want: list[Any]) -> None:
    for one, other in zip(found, want, strict=True):
        # Sums of at most 6 rows and 4 gates' 20 columns, each term rounded once, in two orders.
        bound = 4 * 20 * torch.finfo(dtype).eps * max(1.0, float(other.abs().max()))
        assert (one - other).abs().max() <= bound, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMED)
def test_gradients_are_those_of_a_librarys_products(
    name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    def library(a: Any, b: Any, out: Any, *, adds: bool, most_threads: Any) -> None:
        used.append(1)
        out[...] = a @ b + (out if adds else 0)

    monkeypatch.setattr(products, "matmul", library)
    want = gradients(name, dtype, strided=False, recompute=True)
    assert used
    used.clear()
    agree(name, dtype, gradients(name, dtype, strided=False), want)
    agree(name, dtype, gradients(name, dtype, strided=True), want)
    assert not used, "the call itself did not make its gradients"


def _dropped_sum(self: Any, result: int, name: str, frame: Any) -> Iterator[Term]:
    del self, result, name, frame
    yield from ()


@pytest.mark.parametrize("broken", ["rows", "sums"])
def test_a_wrong_term_is_noticed(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = gradients("gru", torch.float64, strided=False)
    if broken == "rows":
        less = lambda self: iter([replace(t, size=(*t.size[:2], 1)) for t in real(self)])  # noqa: E731
        real = finish.Finish._x
        monkeypatch.setattr(finish.Finish, "_x", less)
    else:
        monkeypatch.setattr(finish.Finish, "_vectors", _dropped_sum)
    backwards.cache_clear()
    try:
        with pytest.raises(AssertionError):
            agree("gru", torch.float64, gradients("gru", torch.float64, strided=False), want)
    finally:
        backwards.cache_clear()


def test_where_kernels_must_not_run_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a kernel was asked for")

    monkeypatch.setenv("GRUS_BACKEND", "reference")
    monkeypatch.setattr(ready, "_prepare", refused)
    with torch.no_grad():
        grus.GRU(4, 6)(torch.randn(2, 3, 4))


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
    state = {k: v for k, v in layer.__dict__.items() if k not in ("_own", "_names")}
    again = grus.GRU.__new__(grus.GRU)
    again.__setstate__(state)
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
