"""The sum of a gate's two biases: exactly rounded, denormals kept whatever the thread's mode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from grus import kernels

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture
def flushing() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    yield
    torch.set_flush_denormal(False)


@both
@pytest.mark.parametrize("size", [0, 1, 7, 16, 33, 100])
def test_the_sum_is_numpys(size: int, dtype: type) -> None:
    rng = np.random.default_rng(size)
    first, second = rng.normal(size=(2, size)).astype(dtype)
    assert np.array_equal(kernels.add(first, second), first + second)


def denormals(dtype: type) -> np.ndarray:
    return np.arange(1, 20).astype(f"i{np.dtype(dtype).itemsize}").view(dtype)


@both
def test_denormals_are_kept_where_numpy_loses_them(dtype: type, flushing: None) -> None:
    tiny = denormals(dtype)
    integer = f"i{tiny.itemsize}"  # a denormal's bits are how many of the smallest it is
    assert kernels.add(tiny, tiny).view(integer).tolist() == list(range(2, 40, 2))
    assert not (tiny + tiny).view(integer).any()


@both
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_layer_with_denormal_biases_keeps_its_bits(cell: str, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    import grus

    layer = grus.Recurrent(cell, 3, 5, dtype=getattr(torch, np.dtype(dtype).name))
    tiny = torch.from_numpy(np.resize(denormals(dtype), layer.bias_ih_l0.shape))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(tiny) if parameter.dim() == 1 else parameter.zero_()
    x = torch.zeros(4, 2, 3, dtype=layer.bias_ih_l0.dtype)
    layer.requires_grad_(False)
    want = layer(x)[0]
    assert want.any(), "the biases reach the output"
    assert torch.set_flush_denormal(True)
    try:
        found = layer(x)[0].numpy().tobytes()
    finally:
        torch.set_flush_denormal(False)
    assert found == want.numpy().tobytes()
