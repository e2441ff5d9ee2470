"""Layers one behind the other in time: the bits of one layer after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from grus.kernels import split, threads  # noqa: E402
from grus.layers import stack  # noqa: E402

CELLS = ("gru", "lstm", "gru_reset_before", "rnn_relu", "lstm_projected")


@pytest.fixture
def waves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every call that may goes in pieces; notes of how many each was made."""
    seen: list[int] = []
    real = stack.together

    def noted(parts: Any, count: int) -> None:
        seen.append(len(parts))
        real(parts, count)

    monkeypatch.setattr(stack, "together", noted)
    monkeypatch.setattr(threads, "limit", lambda: 2)
    monkeypatch.setattr(stack, "wave_pays", lambda works, pieces: True)
    return seen


def made(cell: str = "gru", layers: int = 3, **options: Any) -> Any:
    torch.manual_seed(3)
    if cell == "lstm_projected":
        options["proj_size"] = 4
    return grus.Recurrent(cell, 5, 7, layers, **options)


def leaves(result: Any) -> list[Any]:
    return list(torch.utils._pytree.tree_leaves(result))


def in_turn(layer: Any, *given: Any) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(stack, "wave", lambda *_: None)
        return leaves(layer(*given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("time", [17, 40, 130, 131])
@pytest.mark.parametrize("cell", CELLS)
def test_bits_are_those_of_one_layer_after_the_other(
    cell: str, time: int, dtype: Any, waves: list[int]
) -> None:
    layer, x = made(cell, dtype=dtype), torch.randn(time, 2, 5, dtype=dtype)
    want = in_turn(layer, x)
    state = tuple(torch.randn_like(s) for s in want[1:])
    hx = state if len(state) > 1 else state[0]
    with torch.no_grad():
        for _ in range(5):  # what waits for nothing is wrong now and then
            for found, wanted in zip(leaves(layer(x)), want, strict=True):
                assert found.equal(wanted)
        for found, wanted in zip(leaves(layer(x, hx)), in_turn(layer, x, hx), strict=True):
            assert found.equal(wanted)
    pieces = -(-time // max(16, -(-time // 8)))
    assert waves == [3 * pieces] * 6


@pytest.mark.parametrize("kind", ["batch first", "one sequence", "every other", "reversed"])
def test_inputs_that_lie_otherwise(kind: str, waves: list[int]) -> None:
    layer, x = made(batch_first=kind == "batch first"), torch.randn(50, 3, 5)
    x = {
        "batch first": x.transpose(0, 1).contiguous(),
        "one sequence": x[:, 0],
        "every other": torch.randn(50, 3, 10)[..., ::2],
        "reversed": x.flip(0),
    }[kind]
    want = in_turn(layer, x)
    with torch.no_grad():
        for found, wanted in zip(leaves(layer(x)), want, strict=True):
            assert found.equal(wanted)
    assert waves


def test_a_piece_that_does_not_wait_is_seen(
    waves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = made(layers=6), torch.randn(256, 2, 5)
    want = in_turn(layer, x)[0]
    real = stack.together
    monkeypatch.setattr(
        stack,
        "together",
        # Backwards in time: each reads what is not there yet.
        lambda parts, count: real([replace(p, after=()) for p in parts[::-1]], count),
    )
    with torch.no_grad():
        assert not layer(x)[0].equal(want)


def test_only_where_it_is_faster(waves: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    seen: list[int] = []
    monkeypatch.setattr(stack, "_run_wave", lambda laid, *_: seen.append(len(laid)))
    monkeypatch.setattr(threads, "limit", lambda: 2)
    small, large = grus.GRU(32, 32, 3), grus.GRU(16, 16, 3)
    with torch.no_grad():
        small(torch.randn(900, 1, 32))
        assert seen == [3]
        large(torch.randn(200, 64, 16))  # rows for both threads
        small(torch.randn(16, 1, 32))  # no pieces
        monkeypatch.setattr(split, "WAKE", 1e9)
        small(torch.randn(900, 1, 32))
    small(torch.randn(900, 1, 32))  # a derivative is recorded
    assert seen == [3]
