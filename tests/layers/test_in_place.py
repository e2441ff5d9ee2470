"""What a layer returned may be changed in place, before backward, as what torch's layers return."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import grus  # noqa: E402
from grus.layers import kernel_calls  # noqa: E402
from torch_version import since  # noqa: E402

pytestmark = pytest.mark.torch
hooks_can_be_asked = since("2.8", "before it every output that may be changed is copied")
T, B, I, H = 5, 3, 4, 6  # noqa: E741

Change = Callable[[Tensor], Tensor]


def part(y: Tensor) -> Tensor:
    y[1:3] += y[1:3].detach()
    return y


CHANGES: dict[str, tuple[Change, Change]] = {
    "relu": (torch.relu, torch.relu_),
    "dropout": (
        lambda y: torch.dropout(y, 0.5, True),
        nn.Dropout(0.5, inplace=True),
    ),
    "mul": (lambda y: y * 2, lambda y: y.mul_(2)),
    "part": (
        lambda y: torch.cat([y[:1], y[1:3] + y[1:3].detach(), y[3:]]),
        part,
    ),
    "view": (lambda y: y * 3, lambda y: (y.transpose(0, 1).mul_(3), y)[1]),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: grus.GRU(I, H),
    "batch first": lambda: grus.GRU(I, H, batch_first=True),
    "lstm": lambda: grus.LSTM(I, H),
    "projected": lambda: grus.LSTM(I, H, proj_size=2),
    "relu rnn": lambda: grus.RNN(I, H, nonlinearity="relu"),
    "both directions": lambda: grus.GRU(I, H, bidirectional=True),
    "both directions of an rnn": lambda: grus.RNN(I, H, bidirectional=True),
    "layers": lambda: grus.GRU(I, H, 2),
    "layers, both directions": lambda: grus.GRU(I, H, 2, bidirectional=True),
    "recompute rnn": lambda: grus.RNN(I, H, recompute=True),
    "recompute": lambda: grus.GRU(I, H, recompute=True),
    "drawn": lambda: grus.GRU(I, H, zoneout=0.3, recurrent_dropout=0.3),
    "composite": lambda: grus.GRU(I, H, backend="composite"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": [3, 5, 0]},
    "resets": {"resets": torch.eye(T, B)},
}


def gradients(
    layer: Any, change: Change, change_states: Change, options: dict[str, Any]
) -> list[Tensor]:
    """The changed results, and the gradients of x, the states and the parameters."""
    torch.manual_seed(2)
    x = torch.randn(*((B, T) if layer.batch_first else (T, B)), I, requires_grad=True)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    states = [
        torch.randn(rows, B, size, requires_grad=True)
        for size in ([layer.proj_size or H, H] if isinstance(layer, grus.LSTM) else [H])
    ]
    y, end = layer(x, tuple(states) if len(states) > 1 else states[0], **options)
    y = change(y)
    ends = [change_states(state) for state in tree_leaves(end)]
    loss = y.square().sum() + sum(one.square().sum() for one in ends)
    found = torch.autograd.grad(loss, [x, *states, *layer.parameters()])
    return [t.detach() for t in (y, *ends, *found)]


def same(layer: Any, name: str, options: dict[str, Any]) -> None:
    outside, inside = CHANGES[name]
    want = gradients(layer, outside, lambda s: s * 3, options)
    found = gradients(layer, inside, lambda s: s.mul_(3), options)
    assert all(map(torch.equal, found, want))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_change_in_place_gives_the_bits_of_one_that_is_not(layer: str, name: str) -> None:
    torch.manual_seed(1)
    same(LAYERS[layer](), name, {})


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("layer", ["gru", "relu rnn", "both directions of an rnn", "recompute"])
def test_with_lengths_and_resets_too(layer: str, option: str) -> None:
    torch.manual_seed(1)
    same(LAYERS[layer](), "relu", OPTIONS[option])


@pytest.mark.parametrize("make", [nn.GRU, nn.LSTM, nn.RNN])
def test_a_model_that_changes_its_layers_output_is_as_it_was_with_torchs(make: Any) -> None:
    torch.manual_seed(1)
    theirs = make(I, H, 2, dropout=0.0, bidirectional=True).double()
    x = torch.randn(T, B, I).double()

    def run() -> list[Tensor]:
        x.requires_grad_()
        y, _ = theirs(x)
        return list(torch.autograd.grad(torch.relu_(y).sum(), [x, *theirs.parameters()]))

    want = run()
    grus.accelerate(theirs, say=None)
    for one, other in zip(run(), want, strict=True):
        assert (one - other).abs().max() <= 1e-12


@pytest.mark.parametrize("layer", ["relu rnn", "both directions"])
def test_twice_backward_and_second_derivatives(layer: str) -> None:
    """The graph kept, the output changed between two ways back; and a gradient of a gradient."""
    made = LAYERS[layer]().double()
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    y, _ = made(x)
    want = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    with torch.no_grad():
        y.mul_(2)
    assert torch.equal(torch.autograd.grad(y.sum(), x, retain_graph=True)[0], want)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    few = torch.randn(2, 1, I, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: made(x)[0].mul_(2), few)


@pytest.mark.parametrize("layer", ["relu rnn", "both directions"])
def test_transforms_that_differentiate(layer: str) -> None:
    made = LAYERS[layer]()
    x = torch.randn(T, B, I)
    func = torch.func
    one = func.grad(lambda x: made(x)[0].relu().sum())(x)
    assert torch.equal(func.grad(lambda x: made(x)[0].relu_().sum())(x), one)
    many = func.vmap(func.grad(lambda x: made(x)[0].relu().sum()))(x[None].repeat(3, 1, 1, 1))
    changed = func.vmap(func.grad(lambda x: made(x)[0].relu_().sum()))
    assert torch.equal(changed(x[None].repeat(3, 1, 1, 1)), many)


@pytest.mark.parametrize("layer", ["relu rnn", "both directions"])
def test_hooks_of_saved_tensors(layer: str) -> None:
    """Offloaded, packed or made again by a checkpoint, a tensor counts no changes."""
    made = LAYERS[layer]()
    x = torch.randn(T, B, I, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        y: Tensor = made(x)[0]
        loss: Tensor = torch.relu_(y).sum()
        return loss

    want = torch.autograd.grad(torch.relu(made(x)[0]).sum(), x)[0]
    for hooks in (save_on_cpu(), saved_tensors_hooks(lambda t: t, lambda t: t)):
        with hooks:
            loss = run(x)
        assert torch.equal(torch.autograd.grad(loss, x)[0], want)
    again = checkpoint(run, x, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again, x)[0], want)


@hooks_can_be_asked
@pytest.mark.parametrize("layer", ["relu rnn", "both directions of an rnn"])
def test_what_is_not_changed_costs_no_second_call(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grus.layers import stack
    from grus.runtime.forward_calls import Forwards

    made, calls = LAYERS[layer](), list[int]()
    for place, name in ((kernel_calls, "forward"), (stack, "_forward"), (Forwards, "again")):
        real = getattr(place, name)

        def counted(*arguments: Any, _real: Any = real, **options: Any) -> Any:
            calls.append(1)
            return _real(*arguments, **options)

        monkeypatch.setattr(place, name, counted)
    y, _ = made(torch.randn(T, B, I))
    y.sum().backward()
    assert len(calls) == 1
    y, _ = made(torch.randn(T, B, I))
    y.mul_(2).sum().backward()
    assert len(calls) == 3


@hooks_can_be_asked
def test_the_output_is_let_go_of_with_the_graph() -> None:
    """A loss that is kept, to be logged, keeps no outputs."""
    made = grus.RNN(I, H)
    y, _ = made(torch.randn(T, B, I))
    node, loss = y.grad_fn, y.sum()
    loss.backward(retain_graph=True)
    assert node.output is not None
    loss.backward()
    del y
    gc.collect()
    assert node.output is None


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_what_the_operator_gives_may_be_changed_too(name: str) -> None:
    """Inside a dispatch mode the sequence is one operator; torch's own LSTM refuses this there."""
    layer, x = getattr(grus, name)(3, 4), torch.randn(5, 2, 3)
    gradients = []
    for mode in (FlopCounterMode(display=False), nullcontext()):
        with mode:
            y, _ = layer(x)
            (y.mul_(2) if isinstance(mode, FlopCounterMode) else y * 2).sum().backward()
        gradients.append([p.grad.clone() for p in layer.parameters()])
        layer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
