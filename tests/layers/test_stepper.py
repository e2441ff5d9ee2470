"""Serving: one step a call with weights packed once, the bits of the sequence, no memory taken."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402

pytestmark = pytest.mark.torch
T, B, I, H = 6, 3, 4, 5  # noqa: E741

kinds = pytest.mark.parametrize("kind", ["tensor", "array"])
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
LAYERS: dict[str, Callable[..., Any]] = {
    "gru": lambda **k: grus.GRU(I, H, **k),
    "lstm, two layers": lambda **k: grus.LSTM(I, H, 2, **k),
    "projected": lambda **k: grus.LSTM(I, H, 2, proj_size=3, **k),
    "reset before, three layers": lambda **k: grus.GRU(I, H, 3, cell="gru_reset_before", **k),
    "rnn without bias": lambda **k: grus.RNN(I, H, bias=False, **k),
    "x elementwise": lambda **k: grus.Recurrent(ALL_CELLS["sru"], H, H, 2, **k),
}
every = pytest.mark.parametrize("name", LAYERS)


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return LAYERS[name](**options)


def data(layer: Any, batch: int = B) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(T, batch, layer.input_size, dtype=next(layer.parameters()).dtype)


def zeros(layer: Any, batch: int = B) -> Any:
    with torch.no_grad():
        return layer(data(layer, batch)[:0])[1]


def as_kind(kind: str, value: Any) -> Any:
    return value if kind == "tensor" else tree_map(lambda t: t.numpy().copy(), value)


def as_tensors(value: Any) -> list[Tensor]:
    leaves = tree_leaves(value)
    return [torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in leaves]


def same(found: Any, want: Any) -> None:
    pairs = list(zip(as_tensors(found), tree_leaves(want), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)


@kinds
@both
@every
def test_steps_have_the_bits_of_the_sequence(name: str, dtype: Any, kind: str) -> None:
    layer = made(name, dtype=dtype)
    x = data(layer)
    with torch.no_grad():
        want, final = layer(x)
    stepper, state = layer.stepper(), None
    for t in range(T):
        y, state = stepper(as_kind(kind, x[t]), state)
        assert isinstance(y, Tensor if kind == "tensor" else np.ndarray)
        same(y, want[t])
    same(state, final)


@kinds
@every
def test_results_are_written_where_they_are_asked_for(name: str, kind: str) -> None:
    layer = made(name)
    x = data(layer)
    with torch.no_grad():
        want, final = layer(x)
    stepper = layer.stepper()
    state, output = as_kind(kind, zeros(layer)), as_kind(kind, torch.empty_like(want[0]))
    for t in range(T):
        found = stepper(as_kind(kind, x[t]), state, out=(output, state))
        assert found[0] is output
        assert found[1] is state
        same(output, want[t])
    same(state, final)


@kinds
def test_nothing_is_allocated_when_out_is_given(kind: str) -> None:
    """No array and no tensor; what Python takes for a call's numbers is given back after it."""
    layer = made("lstm, two layers")
    stepper, x = layer.stepper(), as_kind(kind, data(layer)[0])
    state = as_kind(kind, zeros(layer))
    output = as_kind(kind, torch.empty(B, H))

    def taken(**options: Any) -> int:
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        kept = [stepper(x, state, **options) for _ in range(200)]
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return size if kept else 0

    taken(out=(output, state))
    # The list of 200 results, eight bytes each, and what it has in reserve.
    assert taken(out=(output, state)) < 200 * 8 * 2 + 1024
    assert taken() > 200 * 64  # what taking memory looks like


class Refuse(TorchDispatchMode):
    """No operation of torch at all."""

    def __torch_dispatch__(self, function: Any, *_: Any) -> Any:
        raise AssertionError(f"{function} was called")


def test_no_operation_of_torch_is_called_when_out_is_given() -> None:
    layer = made("lstm, two layers")
    stepper, x, state = layer.stepper(), data(layer)[0], zeros(layer)
    out = (torch.empty(B, H), state)
    with torch.no_grad(), Refuse():
        stepper(x, state, out=out)
        with pytest.raises(AssertionError, match="was called"):
            stepper(x, state)


def test_it_is_a_snapshot() -> None:
    layer = made("gru")
    stepper, x = layer.stepper(), data(layer)[0]
    before = stepper(x)[0].clone()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(stepper(x)[0], before)
    assert torch.equal(stepper(data(layer, 1)[0])[0], made("gru").stepper()(data(layer, 1)[0])[0])
    assert not torch.equal(layer.stepper()(x)[0], before)


def test_any_number_of_rows_and_strides_in_one_stepper() -> None:
    layer = made("lstm, two layers")
    stepper = layer.stepper()
    for batch in (1, 5, 2, 17, 1, 3, 4, 6, 7, 8, 9, 0):
        x = data(layer, batch)[0]
        with torch.no_grad():
            want = layer.step(x)
        same(stepper(x), want)
        same(stepper(x.T.contiguous().T), want)
        wide = torch.zeros(batch, 3 * layer.input_size)
        wide[:, ::3] = x
        same(stepper(wide[:, ::3]), want)
        same(stepper(x.numpy()[::-1])[0][::-1].copy(), want[0])


def test_copies_and_pickles_step_alike() -> None:
    layer = made("lstm, two layers")
    stepper, x = layer.stepper(), data(layer)[0]
    want = stepper(x)
    for twin in (copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))):
        same(twin(x), want)


def test_threads_take_turns() -> None:
    layer = made("lstm, two layers")
    stepper, x = layer.stepper(), data(layer, 8)
    with torch.no_grad():
        want = [layer.step(one) for one in x]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(300):
            found = stepper(x[k])
            if not all(map(torch.equal, tree_leaves(found), tree_leaves(want[k]))):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    assert not wrong


def test_step_has_any_derivative_and_a_stepper_says_that_it_has_none() -> None:
    layer = made("gru", dtype=torch.float64)
    x = data(layer)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: layer.step(v)[0], [x])
    stepper = layer.stepper()
    with pytest.raises(grus.InputError, match="without derivatives"):
        stepper(x)
    with pytest.raises(grus.InputError, match="without derivatives"):
        torch.func.jvp(lambda v: stepper(v)[0], (x.detach(),), (x.detach(),))
    with torch.no_grad():
        assert not stepper(x)[0].requires_grad


def test_dropout_is_not_served() -> None:
    torch.manual_seed(0)
    layer = grus.GRU(I, H, 2, dropout=0.5)
    x = data(layer)[0]
    same(layer.stepper()(x), layer.eval().step(x))


X = torch.zeros(B, I)
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: grus.GRU(I, H, bidirectional=True).stepper(), "two directions"),
    (lambda: grus.GRU(I, H, bidirectional=True).step(X), "two directions"),
    (lambda: grus.GRU(I, H).bfloat16().stepper(), "the layer is torch.bfloat16 on cpu"),
    (lambda: grus.GRU(I, H, device="meta").stepper(), "on meta"),
    (lambda: grus.GRU(I, H).stepper()(X[0]), r"[batch, input]"),
    (lambda: grus.GRU(I, H).stepper()(1.0), "got float of no dtype"),
    (lambda: grus.GRU(I, H).stepper()(X.double()), "x must be a Tensor of torch.float32"),
    (lambda: grus.GRU(I, H).stepper()(X[:, 1:]), f"x must have shape {(B, I)}, got {(B, I - 1)}"),
    (lambda: grus.GRU(I, H).stepper()(X, X), f"state must have shape {(1, B, H)}"),
    (lambda: grus.LSTM(I, H).stepper()(X, X), "state must hold 2 states, got 1"),
    (lambda: grus.GRU(I, H).stepper()(X, np.zeros((1, B, H), "f")), "must be a Tensor"),
    (
        lambda: grus.GRU(I, H).stepper()(X, out=(torch.zeros(H, B).T, torch.zeros(1, B, H))),
        "out's output must be contiguous along its last axis",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_cannot_be_is_one_sentence(wrong: Callable[[], Any], words: str) -> None:
    with pytest.raises(grus.InputError) as raised:
        wrong()
    assert words in str(raised.value)


def test_without_kernels_there_is_no_stepper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    with pytest.raises(grus.InputError, match="reference"):
        grus.GRU(I, H).stepper()
