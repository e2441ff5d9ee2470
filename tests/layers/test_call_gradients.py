"""The gradients that a call makes are those of torch's own operations, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus.kernels.terms import Term  # noqa: E402
from grus.layers.kernel_calls import backwards  # noqa: E402
from grus.runtime.gradients import GradientTerms  # noqa: E402

pytestmark = pytest.mark.torch

NAMED = [name for name, cell in ALL_CELLS.items() if {i.name for i in cell.inputs} == {"x"}]


def made(name: str, **options: Any) -> Any:
    """Of 5 features and units, for cells that read x element by element, too."""
    projected = {"proj_size": 3} if "projected" in name else {}
    return grus.Recurrent(ALL_CELLS[name], 5, 5, **projected, **options)


def gradients(name: Any, dtype: Any, strided: bool, **options: Any) -> list[Any]:
    torch.manual_seed(1)
    layer = made(name, dtype=dtype, **options)
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


@pytest.mark.parametrize("name", NAMED)
def test_gradients_are_those_of_the_composite(name: str) -> None:
    want = gradients(name, torch.float64, strided=False, backend="composite")
    for strided in (False, True):
        agree(name, torch.float64, gradients(name, torch.float64, strided), want)


@pytest.mark.parametrize("name", NAMED)
def test_windows_and_lengths_have_the_gradients_of_whole_rows(name: str) -> None:
    want = gradients(name, torch.float32, strided=False)
    agree(name, torch.float32, gradients(name, torch.float32, strided=True), want)
    agree(name, torch.float32, gradients(name, torch.float32, False, recompute=True), want)


def _dropped_sum(self: Any, result: int, tensor: int, frame: Any) -> Iterator[Term]:
    del self, result, tensor, frame
    yield from ()


@pytest.mark.parametrize("broken", ["rows", "sums"])
def test_a_wrong_term_is_noticed(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = gradients("gru", torch.float64, strided=False)
    if broken == "rows":
        real = GradientTerms._x

        def less(self: Any, rows: int) -> Any:
            return iter([replace(t, size=(*t.size[:2], 1)) for t in real(self, rows)])

        monkeypatch.setattr(GradientTerms, "_x", less)
    else:
        monkeypatch.setattr(GradientTerms, "_vectors", _dropped_sum)
    backwards.cache_clear()
    try:
        with pytest.raises(AssertionError):
            agree("gru", torch.float64, gradients("gru", torch.float64, strided=False), want)
    finally:
        backwards.cache_clear()


def test_the_gradient_of_a_sum_is_that_of_ones() -> None:
    layer, x = made("lstm"), torch.randn(7, 2, 5, requires_grad=True)
    for _ in range(2):
        expanded = torch.autograd.grad(layer(x)[0].sum(), [x, *layer.parameters()])
        ones = torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], torch.ones(7, 2, 5))
        assert all(map(torch.equal, expanded, ones))
