"""Both directions at once: the bits of one after the other, in every kind of call."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from grus.kernels import split, threads  # noqa: E402
from grus.layers import stack  # noqa: E402

CELLS = ("gru", "lstm", "gru_reset_before", "rnn", "lstm_projected")
OPTIONS = {"lstm_projected": {"proj_size": 4}}


@pytest.fixture(params=["at once", "in turn"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Both ways of calling the kernels; notes how many calls ran at once."""
    seen: list[int] = []
    real = stack.together

    def noted(parts: Any, count: int) -> None:
        seen.append(len(parts))
        real(parts, count)

    monkeypatch.setattr(stack, "together", noted)
    monkeypatch.setattr(threads, "limit", lambda: 2)
    if request.param == "at once":
        monkeypatch.setattr(stack, "pays", lambda works: True)
    else:
        monkeypatch.setattr(stack, "pays", lambda works: False)
    return seen


def made(cell: str, layers: int = 1, **options: Any) -> Any:
    torch.manual_seed(3)
    options |= OPTIONS.get(cell, {})
    return grus.Recurrent(cell, 5, 7, layers, bidirectional=True, **options)


def separately(monkeypatch: pytest.MonkeyPatch, run: Any) -> Any:
    """What comes of one direction after the other."""
    with monkeypatch.context() as patch:
        patch.setattr(stack, "both", lambda *_: None)
        return run()


def results(layer: Any, x: Any, needs_x: bool = True) -> list[Any]:
    x = x.clone().requires_grad_(needs_x)
    output, state = layer(x)
    states = state if isinstance(state, tuple) else (state,)
    dy = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    wanted = [p for p in (x, *layer.parameters()) if p.requires_grad]
    loss = (output * dy).sum() + sum((s * 0.3).sum() for s in states)
    return [output.detach(), *(s.detach() for s in states), *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_bits_are_those_of_one_after_the_other(
    cell: str, dtype: Any, layers: int, way: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = made(cell, layers, dtype=dtype), torch.randn(6, 3, 5, dtype=dtype)
    want = separately(monkeypatch, lambda: results(layer, x))
    assert not way
    for found, wanted in zip(results(layer, x), want, strict=True):
        assert found.equal(wanted)
    with torch.no_grad():
        assert layer(x)[0].equal(want[0])


def test_they_run_at_once_where_the_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forced but that there is a second thread, which costs nothing."""
    seen: list[int] = []
    real = stack.together
    monkeypatch.setattr(stack, "together", lambda p, n: (seen.append(len(p)), real(p, n)))
    monkeypatch.setattr(threads, "limit", lambda: 2)
    for cost in ("WAKE", "PIECE"):
        monkeypatch.setattr(split, cost, 0.0)
    layer, x = made("gru"), torch.randn(6, 1, 5)
    with torch.no_grad():
        layer(x)
    assert seen == [2]
    monkeypatch.setattr(split, "WAKE", 1e9)
    with torch.no_grad():
        layer(x)
    assert seen == [2]


def test_a_batch_first_input_and_frozen_parameters(
    way: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = made("gru", batch_first=True), torch.randn(3, 6, 5)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_("weight_hh" in name or "reverse" in name)
    for needs_x in (True, False):
        run = lambda n=needs_x: results(layer, x, n)  # noqa: E731
        want = separately(monkeypatch, run)
        for found, wanted in zip(run(), want, strict=True):
            assert found.equal(wanted)


def test_derivatives_of_derivatives(way: list[int]) -> None:
    layer = made("gru", dtype=torch.float64)
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0].square(), (x,), atol=1e-5)
    assert torch.autograd.gradcheck(lambda x: layer(x)[1], (x,))


def test_batched_gradients(way: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = made("lstm", dtype=torch.float64), torch.randn(4, 2, 5, dtype=torch.float64)
    vectors = torch.randn(3, 4, 2, 14, dtype=torch.float64)

    def run() -> Any:
        output = layer(x)[0]
        return torch.autograd.grad(output, list(layer.parameters()), vectors, is_grads_batched=True)

    for found, wanted in zip(run(), separately(monkeypatch, run), strict=True):
        # Sums of 8 rows in another order.
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_output_may_be_changed_in_place(
    cell: str, way: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = made(cell, 2), torch.randn(6, 3, 5)

    def run() -> list[Any]:
        output = layer(x)[0]
        output.mul_(2.0)
        return list(torch.autograd.grad(output.square().sum(), list(layer.parameters())))

    for found, wanted in zip(run(), separately(monkeypatch, run), strict=True):
        assert found.equal(wanted)


def test_a_graph_is_walked_twice(way: list[int]) -> None:
    layer, x = made("gru"), torch.randn(4, 2, 5)
    output, _ = layer(x)
    first = torch.autograd.grad(output.sum(), list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(output.sum(), list(layer.parameters()))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
