"""Derivatives of every order and kind through the kernels' doors, against the composite's.

The composite is torch's own operations, which torch differentiates; in float64 both are off by
some hundreds of roundings, so they agree to 1e-10 of the largest number: a missing term, which is
what goes wrong here, is off by 1e-3 and more.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, func  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import grus  # noqa: E402
from grus.layers import function  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, INPUT, HIDDEN = 4, 2, 3, 3
CELLS = ("gru", "gru_reset_before", "lstm", "rnn")

Run = Callable[[Any, Tensor], Any]
every = pytest.mark.parametrize("cell", CELLS)


def pair(cell: str) -> tuple[grus.Recurrent, grus.Recurrent]:
    """A layer on the kernels and one on the composite, with the same weights."""
    torch.manual_seed(0)
    made = [
        grus.Recurrent(cell, INPUT, HIDDEN, dtype=torch.float64, backend=backend)
        for backend in (None, "composite")
    ]
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


def data() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(TIME, BATCH, INPUT, dtype=torch.float64)


def loss(module: Any, x: Tensor, parameters: Any = None) -> Tensor:
    """A number that depends on the output and every state, and is no polynomial of low degree."""
    found = module(x) if parameters is None else func.functional_call(module, parameters, (x,))
    y, states = found
    return y.sin().sum() + sum((s * s * s).sum() for s in tree_leaves(states))


def weights(module: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters()}


def samples(x: Tensor, axis: int = 0) -> Tensor:
    return torch.stack([x, x.sin(), x.cos()], axis)


def of_x(module: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: loss(module, x)


def output(module: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: module(x)[0]


def tangent(module: Any) -> Callable[[Tensor], Any]:
    return lambda x: func.jvp(output(module), (x,), (x.cos(),))


def gradient_of_weights(module: Any) -> Callable[[Tensor], Any]:
    return lambda x: func.grad(lambda p: loss(module, x, p))(weights(module))


def without_grad(run: Run) -> Run:
    def quiet(module: Any, x: Tensor) -> Any:
        with torch.no_grad():
            return run(module, x)

    return quiet


def dual(module: Any, x: Tensor) -> list[Tensor]:
    with forward_ad.dual_level():
        y, states = module(forward_ad.make_dual(x, x.cos()))
        return [forward_ad.unpack_dual(t).tangent for t in (y, *tree_leaves(states))]


def forward_over_reverse(module: Any, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with forward_ad.dual_level():
        moving = forward_ad.make_dual(x, x.detach().cos())
        found = torch.autograd.grad(loss(module, moving), [moving, *module.parameters()])
        return [forward_ad.unpack_dual(g).tangent for g in found]


def moving_cotangent(module: Any, x: Tensor) -> Any:
    y, pull = func.vjp(output(module), x)
    return func.jvp(lambda dy: pull(dy)[0], (y.sin(),), (y.cos(),))


def penalty(module: Any, x: Tensor) -> Any:
    leaves = [x.clone().requires_grad_(), *module.parameters()]
    value = loss(module, leaves[0])
    found = torch.autograd.grad(value, leaves, create_graph=True)
    return torch.autograd.grad(value + sum(g.square().sum() for g in found), leaves)


def third(module: Any, x: Tensor) -> Any:
    leaves = [x.clone().requires_grad_(), *module.parameters()]
    value = loss(module, leaves[0])
    for _ in range(2):
        found = torch.autograd.grad(value, leaves, create_graph=True)
        value = sum((g / 10).sin().sum() for g in found)  # of about 1, so that it stays in bounds
    return torch.autograd.grad(value, leaves)


def batched_gradients(module: Any, x: Tensor) -> Any:
    leaves = [x.clone().requires_grad_(), *module.parameters()]
    y, _ = module(leaves[0])
    return torch.autograd.grad(y, leaves, samples(y.detach()), is_grads_batched=True)


def stacked(module: Any) -> dict[str, Tensor]:
    """The weights of three models."""
    return {name: samples(p) for name, p in weights(module).items()}


def states(module: Any, x: Tensor) -> Any:
    """Three initial states, along the second axis."""
    each = tuple(samples(x[k : k + 1], 1) for k in range(len(module.cell.states)))
    return each if len(each) > 1 else each[0]


RUNS: dict[str, Run] = {
    "grad": lambda m, x: func.grad(of_x(m))(x),
    "grad of the weights": lambda m, x: gradient_of_weights(m)(x),
    "vjp": lambda m, x: func.vjp(output(m), x)[1](x.new_ones(TIME, BATCH, HIDDEN)),
    "jvp": lambda m, x: tangent(m)(x),
    "jvp without grad": without_grad(lambda m, x: tangent(m)(x)),
    "jvp of the weights": lambda m, x: func.jvp(
        lambda p: func.functional_call(m, p, (x,)), (weights(m),), (weights(m),)
    ),
    "jvp of the gradient": lambda m, x: func.jvp(func.grad(of_x(m)), (x,), (x.cos(),)),
    "jvp of a vjp": moving_cotangent,
    "dual": dual,
    "dual without grad": without_grad(dual),
    "forward over reverse": forward_over_reverse,
    "vmap": lambda m, x: func.vmap(output(m))(samples(x)),
    "vmap over another axis": lambda m, x: func.vmap(output(m), 2, 1)(samples(x, 2)),
    "vmap of vmap": lambda m, x: func.vmap(func.vmap(output(m)))(samples(samples(x))),
    "vmap over the state": lambda m, x: func.vmap(lambda h: m(x, h), 1)(states(m, x)),
    "vmap of grad": lambda m, x: func.vmap(func.grad(of_x(m)))(samples(x)),
    "gradients per sample": lambda m, x: func.vmap(gradient_of_weights(m))(samples(x)),
    "grad of vmap": lambda m, x: func.grad(lambda v: func.vmap(of_x(m))(samples(v)).sin().sum())(x),
    "vmap of jvp": lambda m, x: func.vmap(tangent(m))(samples(x)),
    "ensemble": lambda m, x: func.vmap(lambda p: func.functional_call(m, p, (x,)))(stacked(m)),
    "ensemble, samples of their own": lambda m, x: func.vmap(
        lambda p, v: func.functional_call(m, p, (v,))
    )(stacked(m), samples(x)),
    "ensemble trained": lambda m, x: func.vmap(func.grad(lambda p: loss(m, x, p)))(stacked(m)),
    "grad of an ensemble": lambda m, x: func.grad(
        lambda p: func.vmap(lambda q: loss(m, x, q))(p).sin().sum()
    )(stacked(m)),
    "jacrev": lambda m, x: func.jacrev(output(m))(x),
    "jacfwd": lambda m, x: func.jacfwd(output(m))(x),
    "vjp of grad": lambda m, x: func.vjp(func.grad(of_x(m)), x)[1](x.cos()),
    "vjp of vjp": lambda m, x: func.vjp(lambda v: func.vjp(output(m), v)[1](output(m)(v))[0], x)[1](
        x.cos()
    ),
    "vmap of jacrev": lambda m, x: func.vmap(func.jacrev(output(m)))(samples(x)),
    "hessian": lambda m, x: func.hessian(of_x(m))(x),
    "hessian of the weights": lambda m, x: func.hessian(lambda p: loss(m, x, p))(weights(m)),
    "vmap of hessian": lambda m, x: func.vmap(func.hessian(of_x(m)))(samples(x)),
    "jacrev of jacrev": lambda m, x: func.jacrev(func.jacrev(of_x(m)))(x),
    "vmap of jacrev of jacrev": lambda m, x: func.vmap(func.jacrev(func.jacrev(of_x(m))))(
        samples(x)
    ),
    "jacrev of jacfwd": lambda m, x: func.jacrev(func.jacfwd(of_x(m)))(x),
    "jacfwd of jacfwd": lambda m, x: func.jacfwd(func.jacfwd(of_x(m)))(x),
    "jvp of jvp of jvp": lambda m, x: func.jvp(
        lambda u: func.jvp(
            lambda v: func.jvp(of_x(m), (v,), (v.sin(),))[1], (u,), (u.cos(),)
        )[1],
        (x,),
        (x,),
    ),
    "batched gradients": batched_gradients,
    "vectorised jacobian": lambda m, x: torch.autograd.functional.jacobian(
        output(m), x, vectorize=True
    ),
    "penalty on the gradient": penalty,
    "third derivative": third,
}  # fmt: skip


def agree(found: Any, want: Any) -> None:
    pairs = list(zip(tree_leaves(found), tree_leaves(want), strict=True))
    assert any(other.any() for _, other in pairs), "nothing but zeros proves nothing"
    for one, other in pairs:
        assert one.shape == other.shape
        size = max(1.0, float(other.detach().abs().max()))
        assert (one - other).detach().abs().max() <= 1e-10 * size


@pytest.mark.parametrize("run", RUNS)
@every
def test_every_derivative_is_the_composites(cell: str, run: str) -> None:
    ours, slow = pair(cell)
    assert ours.path(data()) == "kernels"
    agree(RUNS[run](ours, data()), RUNS[run](slow, data()))


def test_values_beside_tangents_are_the_kernels_bit_for_bit() -> None:
    ours, _ = pair("gru")
    value, _ = tangent(ours)(data())
    assert torch.equal(value, ours(data())[0])
    with forward_ad.dual_level():
        y = ours(forward_ad.make_dual(data(), data()))[0]
        assert torch.equal(forward_ad.unpack_dual(y).primal, value)


def test_vmap_over_inputs_gives_the_bits_of_each_sample() -> None:
    ours, _ = pair("gru")
    x = samples(data())
    want = torch.stack([ours(one)[0] for one in x])
    assert torch.equal(func.vmap(output(ours))(x), want)
    assert torch.equal(func.vmap(output(ours), 2)(x.movedim(0, 2)), want)


BREAKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    # What a derivative is made of, put to zero; the runs that must not pass with it.
    "pushed": (
        lambda f, fixed, at, moved: tuple(map(torch.zeros_like, f(*fixed, *at))),
        ("jvp", "jvp without grad", "dual", "dual without grad"),
    ),
    "pullback": (
        lambda f, fixed, at, given: tuple(map(torch.zeros_like, at)),
        ("jacrev of jacrev", "vmap of jacrev of jacrev"),
    ),
    "replayed": (
        lambda f, fixed, at, given: list(map(torch.zeros_like, at)),
        ("penalty on the gradient", "batched gradients"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_derivative_that_is_silently_zero_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, runs = BREAKS[name]
    monkeypatch.setattr(function, name, wrong)
    ours, slow = pair("gru")
    for run in runs:
        with pytest.raises(AssertionError):
            agree(RUNS[run](ours, data()), RUNS[run](slow, data()))


def strided(x: Tensor) -> Tensor:
    """The same numbers, no two of them side by side."""
    return torch.stack([x, x], -1)[..., 0].mT.contiguous().mT


def test_tangents_and_values_of_any_layout_are_read() -> None:
    ours, _ = pair("gru")
    x, v = data(), data().cos()
    want = func.jvp(ours, (x,), (v,))
    for one, other in ((strided(x), v), (x, strided(v)), (x, v.new_ones(1).expand_as(v))):
        want = func.jvp(ours, (x,), (other.contiguous(),))
        agree(func.jvp(ours, (one,), (other,)), want)
    agree(func.vmap(tangent(ours), 2)(strided(samples(x, 2))), func.vmap(tangent(ours))(samples(x)))


@every
def test_no_result_shares_memory_with_another(cell: str) -> None:
    ours, _ = pair(cell)
    x = data()[:1, :1]  # one step of one row: output and final state are the same numbers
    kinds = (
        lambda: ours(x),
        lambda: func.vmap(ours)(x[None]),
        lambda: func.vjp(ours, x)[0],
        lambda: func.jvp(ours, (x,), (x,)),
        lambda: torch.compile(ours, backend="aot_eager", fullgraph=True)(x),
    )
    for run in kinds:
        found = tree_leaves(run())
        addresses = [r.untyped_storage().data_ptr() for r in found]
        assert len(set(addresses)) == len(found)


def test_several_threads_train_one_layer_at_once() -> None:
    ours, _ = pair("gru")
    torch.set_num_threads(2)
    wide = torch.randn(30, 16, INPUT, dtype=torch.float64)
    given = [wide * k for k in range(1, 5)]

    def run(x: Tensor) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        value = loss(ours, leaf)
        found = torch.autograd.grad(value, [leaf, *ours.parameters()], retain_graph=True)
        return [*found, *func.vmap(func.grad(of_x(ours)))(samples(x[:3]))]

    want = [run(x) for x in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, expected in zip(pool.map(run, given), want, strict=True):
                assert all(map(torch.equal, found, expected))
