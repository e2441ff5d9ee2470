"""Derivatives, transforms and serving of layers that draw masks: one seed, one function.

After `torch.manual_seed` the kernels and the composite draw the same masks, so their derivatives
are those of one function.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from test_derivatives import agree, penalty  # noqa: E402
from torch import Tensor, func  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import grus  # noqa: E402

pytestmark = pytest.mark.torch
OPTIONS: dict[str, Any] = {"zoneout": 0.2, "recurrent_dropout": 0.3, "layer_norm": "split"}


def layer(kind: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(3, 4, dtype=torch.float64, **OPTIONS, **options)


def data() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(5, 2, 3, dtype=torch.float64)


def samples() -> Tensor:
    return torch.stack([data()] * 3)


RUNS = {
    "penalty on the gradient": penalty,
    "jvp": lambda m, x: func.jvp(lambda v: m(v)[0], (x,), (x.cos(),)),
    "gradient of the gradient": lambda m, x: func.vjp(
        func.grad(lambda v: m(v)[0].square().sum()), x
    )[1](x),
}

both = pytest.mark.parametrize("kind", [grus.GRU, grus.LSTM])


@both
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("training", [True, False])
def test_derivatives_are_the_composites_for_one_seed(kind: Any, run: str, training: bool) -> None:
    found = []
    for backend in (None, "composite"):
        module = layer(kind, backend=backend).train(training)
        x = data()
        torch.manual_seed(2)
        found.append(RUNS[run](module, x))
    agree(*found)


@both
def test_samples_of_one_seed_have_the_masks_of_their_own_rows(kind: Any) -> None:
    """Folded into one batch they would draw those of other rows."""
    module = layer(kind)
    x, several = data(), samples()
    torch.manual_seed(2)
    want = module(x)[0]
    assert not torch.equal(module(x)[0], want)  # masks are drawn, anew for each call
    torch.manual_seed(2)
    found = func.vmap(lambda v: module(v)[0], randomness="same")(several)
    assert all(torch.equal(one, want) for one in found)

    def gradient(x: Tensor) -> Any:
        return func.grad(lambda v: module(v)[0].square().sum())(x)

    torch.manual_seed(2)
    alone = gradient(x)
    torch.manual_seed(2)
    agree(func.vmap(gradient, randomness="same")(several), torch.stack([alone] * 3))


@pytest.mark.parametrize("randomness", ["error", "different"])
def test_what_torch_cannot_draw_under_vmap_raises(randomness: str) -> None:
    module = layer(grus.GRU)
    with pytest.raises(RuntimeError, match="vmap"):
        func.vmap(lambda v: module(v)[0], randomness=randomness)(samples())


@both
def test_means_are_compiled_exported_and_served_with_the_bits_of_eval(kind: Any) -> None:
    module = layer(kind, num_layers=2).eval()
    x = data()
    with torch.no_grad():
        want = module(x)
    for call in (
        torch.compile(module, fullgraph=True, backend="aot_eager"),
        torch.export.export(module, (x,)).module(),
    ):
        assert all(map(torch.equal, tree_leaves(call(x)), tree_leaves(want)))
    stepper, state = module.stepper(), None
    for t, now in enumerate(x):
        y, state = stepper(now, state)
        assert torch.equal(y, want[0][t])
