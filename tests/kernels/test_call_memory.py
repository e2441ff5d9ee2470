"""Memory that calls work in: kept for the next, not shared by two, not more than is allowed."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from grus.kernels import memory
from grus.kernels.memory import ALIGN, give, kept, lasting, take

KIND = np.dtype("float32")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # or what others have left comes back in the middle of a test
    monkeypatch.setattr(memory, "_spare", {})


@pytest.mark.parametrize("size", [0, 1, 63, 4096, 100_000, 9_999_999])
def test_memory_is_aligned_and_long_enough(size: int) -> None:
    block, start = take(size)
    first = start - block.__array_interface__["data"][0]
    assert start % ALIGN == 0
    assert 0 <= first <= block.size - size
    assert block.size <= 1.2 * size + 2 * 4096


def test_what_was_given_back_is_taken_again_and_by_one_only() -> None:
    (one, _), (other, _) = take(50_000), take(50_000)
    give(one)
    assert take(50_000)[0] is one
    assert take(50_000)[0] is not one
    give(other)
    assert take(90_000)[0].size > other.size, "it is too short"


def test_no_more_is_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMIT", 300_000)
    for size in (100_000, 120_000, 140_000, 10_000):
        give(take(size)[0])
        assert kept() <= 300_000
    before = kept()
    give(take(1_000_000)[0])
    assert kept() == before > 0, "what is too large drives nothing out"


def test_room_is_made_by_what_was_used_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMIT", 300_000)
    hot, cold = take(100_000)[0], take(130_000)[0]
    give(hot)
    give(cold)
    for _ in range(3):  # used again after the other, though it came first
        assert take(100_000)[0] is hot
        give(hot)
    give(take(80_000)[0])
    assert take(100_000)[0] is hot
    assert take(130_000)[0] is not cold


def test_room_is_made_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMIT", 300_000)
    blocks = [take(90_000)[0] for _ in range(4)]
    for block in blocks:
        give(block)
    assert kept() == 3 * blocks[0].size


def test_lasting_memory_comes_back_when_the_last_view_is_gone() -> None:
    array = lasting(1000, KIND)
    view = array.reshape(10, 100)[2:, ::3].T
    array[:] = 1.0
    del array
    gc.collect()
    assert kept() == 0, "somebody still reads it"
    assert (view == 1.0).all()
    del view
    gc.collect()
    assert kept() > 4000


def test_a_tensor_keeps_lasting_memory() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(lasting(1000, KIND))
    part = tensor.view(10, 100)[3]
    del tensor
    gc.collect()
    assert kept() == 0
    del part
    gc.collect()
    assert kept() > 0


def test_what_forward_kept_is_not_another_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two graphs at once, and one that is walked twice: the gradients of each by itself."""
    torch = pytest.importorskip("torch")
    import grus
    from grus.runtime import buffer, forward_calls

    for module in (buffer, forward_calls):
        monkeypatch.setattr(module, "LARGE", 0)
    layer, inputs = grus.GRU(5, 7), [torch.randn(9, 3, 5) for _ in range(3)]

    def gradients(y: object, keep: bool = False) -> list[object]:
        loss = y.square().sum()  # type: ignore[attr-defined]
        return list(torch.autograd.grad(loss, list(layer.parameters()), retain_graph=keep))

    alone = [gradients(layer(x)[0]) for x in inputs]
    together = [layer(x)[0] for x in inputs]
    first = gradients(together[0], keep=True)
    layer(inputs[1])  # its graph is dropped at once, its memory comes back
    found = [gradients(y) for y in together]
    for one, other in zip([first, *found], [alone[0], *alone], strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.equal(b)  # type: ignore[attr-defined]
