"""Layers on kernels: gradients of every kind, against the composite; cells of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus.equations import Cell, U, W, b, c, h, p, sigmoid, tanh, x  # noqa: E402
from grus.kernels import UnsupportedCellError, make_plan  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, SIZE = 6, 3, 5


class VectorFirst(Cell):
    """Its first family has another number of gates than W, and b another order than U."""

    f = sigmoid(p.f * c + W.f @ x + b.f)
    n = tanh(W.n @ x + U.n @ h + b.n)
    c_next = f * c + (1 - f) * n
    o = sigmoid(W.o @ x + U.o @ h + U.f @ c + b.o)
    h_next = o * tanh(c_next)


def runs(cell: Cell) -> bool:
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return set(cell.shapes.states.values()) == {"hidden"}


CELLS = {n: cell for n, cell in ALL_CELLS.items() if runs(cell)} | {"vector_first": VectorFirst}
every = pytest.mark.parametrize("name", CELLS)
some = pytest.mark.parametrize("name", ["gru", "gru_reset_before", "lstm", "sru"])


def layer(name: str, **options: Any) -> grus.Recurrent:
    """A layer whose weights depend on the seed alone."""
    torch.manual_seed(0)
    options.setdefault("dtype", torch.float64)
    return grus.Recurrent(CELLS[name], SIZE, SIZE, **options)


def flat(states: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def data(module: grus.Recurrent, time: int = TIME, batch: int = BATCH) -> tuple[Tensor, Any]:
    dtype = next(module.parameters()).dtype
    torch.manual_seed(1)
    given = torch.randn(time, batch, SIZE, dtype=dtype)
    shape = (module.num_layers, batch, SIZE)
    states = tuple(torch.randn(shape, dtype=dtype) for _ in module.cell.states)
    return given, states if len(states) > 1 else states[0]


def gradients(module: grus.Recurrent, loss: Callable[..., Tensor]) -> list[Tensor]:
    """Of ``loss(output, *states)``, by x, the initial states and the parameters."""
    given, hx = data(module)
    leaves = [given, *flat(hx)]
    for leaf in leaves:
        leaf.requires_grad_()
    y, states = module(given, hx)
    found = torch.autograd.grad(
        loss(y, *flat(states)), [*leaves, *module.parameters()], materialize_grads=True
    )
    return list(found)


def close(found: list[Tensor], want: list[Tensor]) -> None:
    """Float64, a few hundred roundings: 1e-12 of the size is a thousand units in the last place."""
    for one, other in zip(found, want, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-12 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@every
def test_kernels_and_composite_agree_with_all_gradients(name: str, layers: int, bias: bool) -> None:
    def loss(*results: Tensor) -> Tensor:
        torch.manual_seed(2)
        return torch.stack([(r * torch.randn(r.shape, dtype=r.dtype)).sum() for r in results]).sum()

    ours = layer(name, num_layers=layers, bias=bias)
    slow = layer(name, num_layers=layers, bias=bias, backend="composite")
    close(gradients(ours, loss), gradients(slow, loss))
    with torch.no_grad():
        close([ours(*data(ours))[0]], [slow(*data(slow))[0]])


LOSSES: dict[str, Callable[..., Tensor]] = {
    "sum": lambda y, *_: y.sum(),
    "mean over time and batch": lambda y, *_: (y.mean((0, 1)) * torch.arange(SIZE)).sum(),
    "every other step": lambda y, *_: y[::2].square().sum(),
    "one unit": lambda y, *_: y[..., 3].sum(),
    "turned": lambda y, *_: (y.permute(2, 0, 1).flatten() * torch.arange(y.numel())).sum(),
    "backward in time": lambda y, *_: (y.flip(0) * torch.arange(y.numel()).view(y.shape)).sum(),
    "expanded": lambda y, *_: (y.unsqueeze(0).expand(4, -1, -1, -1) ** 2).sum(),
    "the last step": lambda y, *_: y[-1].sum(),
    "states only": lambda y, *states: torch.stack([s.square().sum() for s in states]).sum(),
    "one state": lambda y, *states: states[-1].sum(),
    "both": lambda y, *states: y.sum() * states[0].sum(),
}


@pytest.mark.parametrize("loss", LOSSES)
@some
def test_gradients_of_every_layout_arrive(name: str, loss: str) -> None:
    close(
        gradients(layer(name), LOSSES[loss]),
        gradients(layer(name, backend="composite"), LOSSES[loss]),
    )


@every
def test_torchs_own_gradient_check_passes(name: str) -> None:
    module = layer(name)
    given, hx = data(module, time=3, batch=2)
    leaves = [given, *flat(hx)]
    for leaf in leaves:
        leaf.requires_grad_()

    def call(given: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        y, final = module(given, states if len(states) > 1 else states[0])
        return (y, *flat(final))

    assert torch.autograd.gradcheck(call, leaves)


@some
def test_only_what_needs_a_gradient_gets_one(name: str) -> None:
    want = gradients(layer(name), LOSSES["both"])
    module = layer(name)
    given, hx = data(module)
    for first in flat(hx):
        first.requires_grad_()
    frozen = [n for k, n in enumerate(dict(module.named_parameters())) if k % 2]
    for parameter in frozen:
        module.get_parameter(parameter).requires_grad_(False)
    y, states = module(given, hx)
    LOSSES["both"](y, *flat(states)).backward()
    assert given.grad is None
    count = 1 + len(flat(hx))
    close([first.grad for first in flat(hx)], want[1:count])
    for (n, parameter), gradient in zip(module.named_parameters(), want[count:], strict=True):
        if n in frozen:
            assert parameter.grad is None
        else:
            close([parameter.grad], [gradient])


@some
def test_with_all_parameters_frozen_x_still_gets_its_gradient(name: str) -> None:
    want = gradients(layer(name), LOSSES["sum"])[0]
    module = layer(name).requires_grad_(False)
    given, hx = data(module)
    module(given.requires_grad_(), hx)[0].sum().backward()
    close([given.grad], [want])
    with torch.no_grad():
        assert not module(given, hx)[0].requires_grad
    assert not module(given.detach(), hx)[0].requires_grad


@some
def test_backward_twice_over_a_kept_graph_gives_the_same_bits(name: str) -> None:
    module = layer(name)
    y, _ = module(*data(module))
    loss = y.square().sum()
    first = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(module.parameters()))
    assert all(map(torch.equal, first, again))


@some
def test_the_composite_has_second_derivatives(name: str) -> None:
    module = layer(name, backend="composite")
    given, hx = data(module, time=3, batch=2)
    assert torch.autograd.gradgradcheck(lambda v: module(v, hx)[0], [given.requires_grad_()])


def test_a_gate_unit_of_ones_own_in_five_lines_trains_on_the_kernels() -> None:
    class Mgu(Cell):
        f = sigmoid(W.f @ x + U.f @ h + b.f)
        n = tanh(W.n @ x + U.n @ (f * h) + b.n)
        h_next = (1 - f) * h + f * n

    def trained(backend: Any) -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(0)
        module = grus.Recurrent(Mgu, 2, 16, backend=backend, dtype=torch.float64)
        head = torch.nn.Linear(16, 1, dtype=torch.float64)
        given = torch.rand(12, 32, 2, dtype=torch.float64)
        target = given.cumsum(0)[..., :1] / 6  # something only a memory can give
        assert module.path(given) == (backend or "kernels")
        parameters = [*module.parameters(), *head.parameters()]
        optimizer, losses = torch.optim.Adam(parameters, lr=0.03), []
        for _ in range(40):
            loss = (head(module(given)[0]) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.detach() for p in parameters]

    losses, weights = trained(None)
    slow, same = trained("composite")
    assert losses[-1] < losses[0] / 4
    # Adam divides by the gradients' size: differences of 1e-16 grow, but stay far from any step.
    assert all(torch.allclose(w, s, rtol=0, atol=1e-9) for w, s in zip(weights, same, strict=True))
    assert losses == pytest.approx(slow, rel=1e-9)
