"""Drawn masks: known answers of the generator, and kernels that draw what the reference draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from agreement import Problem, draw
from bits import same
from grus import kernels, reference, runtime
from grus.equations import CELLS, Cell, U, W, b, expected, h, sequence, step, tanh, x
from grus.equations.regularised import (
    candidate_dropout,
    joint_norm,
    recurrent_dropout,
    split_norm,
    zoneout,
)
from grus.kernels import masks as drawing, split
from grus.kernels.steps import Steps
from grus.reference import masks


class Plain(Cell):
    """A mask per step, one per sequence."""

    n = tanh(W.h @ x + U.h @ (sequence.drop(0.8, 1.25) * h) + b.h)
    h_next = step.k(0.7) * h + (1 - step.k(0.7)) * n


def all_options(name: str) -> Cell:
    cell = CELLS[name]
    cell = candidate_dropout(recurrent_dropout(split_norm(cell), 0.25), 0.2)
    return zoneout(cell, dict.fromkeys(cell.states, 0.1))


DRAWN = {
    "plain": Plain,
    "zoneout gru": zoneout(CELLS["gru"], {"h": 0.1}),
    "zoneout lstm": zoneout(CELLS["lstm"], {"h": 0.05, "c": 0.5}),
    "joint norm and zoneout": zoneout(joint_norm(CELLS["lstm"]), {"c": 0.3}),
    "all of it gru": all_options("gru"),
    "all of it before": all_options("gru_reset_before"),
    "all of it lstm": all_options("lstm"),
}
every = pytest.mark.parametrize("name", DRAWN)
SEED = 2**63 + 0x1234_5678_9ABC

# Random123 1.09, examples/kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_generator_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    found = masks.philox(tuple(np.array([c]) for c in counter), key)
    assert tuple(int(word[0]) for word in found) == answer


def test_torch_runs_the_same_generator() -> None:
    torch = pytest.importorskip("torch")
    for counter, key, answer in KNOWN:
        found = masks.philox(tuple(torch.tensor([c]) for c in counter), key)
        assert tuple(int(word[0]) for word in found) == answer


def test_the_words_of_the_kernels_are_the_generators() -> None:
    assert drawing.MULTIPLIERS == masks.MULTIPLIERS
    assert drawing.WEYL == masks.WEYL
    assert drawing.ROUNDS == masks.ROUNDS


def run(p: Problem, steps: Steps, threads: int | None = None) -> list[np.ndarray]:
    output = np.empty((*p.x.shape[:2], kernels.output_size(p.cell, p.weights)), p.dtype)
    final = tuple(map(np.empty_like, p.start))
    runtime.forward(p.cell, p.weights, p.x, p.start, output, final, steps=steps, threads=threads)
    return [output, *final]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every
def test_kernels_draw_the_references_masks(name: str, dtype: str) -> None:
    """A unit that was dropped in one and not in the other would be off by far more than rounding:
    a few steps at a slope of about one, each with a chain of 200 roundings."""
    bound = 1e-10 if dtype == "float64" else 2e-4
    for sizes in ((1, 1, 1, 1), (3, 2, 5, 7), (4, 9, 3, 17), (3, 3, 2, 70), (2, 1, 3, 130)):
        p = draw(DRAWN[name], sizes, dtype)
        for reverse in (False, True):
            steps = Steps(reverse=reverse, seed=SEED, first=5)
            want = reference.run(
                p.cell, p.weights, p.x, p.start, reverse=reverse, seed=SEED, first=5
            )
            for found, right in zip(run(p, steps), (want.output, *want.state), strict=True):
                assert np.abs(found - right).max() <= bound


@every
def test_masks_depend_on_seed_time_and_row_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, chunks: Callable[[int], None]
) -> None:
    """Not on threads, on how they share, on chunks, or on where the sequence is cut."""
    p = draw(DRAWN[name], (9, 6, 3, 130), "float32")
    whole = run(p, Steps(seed=SEED), 1)
    for way in ("rows", "hidden"):
        monkeypatch.setattr(split, "forced", way)
        same("threads", run(p, Steps(seed=SEED), None), whole)
    chunks(4096)
    same("chunks", run(p, Steps(seed=SEED)), whole)
    state, outputs = p.start, []
    for t in range(len(p.x)):
        output, *state = run(
            replace(p, x=p.x[t : t + 1], start=tuple(state)), Steps(None, seed=SEED, first=t)
        )
        outputs.append(output)
    same("step by step", [np.concatenate(outputs), *state], whole)


@every
def test_lengths_and_reverse_keep_the_time_of_a_mask(name: str) -> None:
    p = draw(DRAWN[name], (6, 4, 3, 18), "float64")
    lengths = np.array([3, 6, 0, 5])
    for reverse in (False, True):
        found = run(p, Steps(lengths=lengths, reverse=reverse, seed=SEED))
        want = reference.run(
            p.cell, p.weights, p.x, p.start, lengths=lengths, reverse=reverse, seed=SEED
        )
        for one, other in zip(found, (want.output, *want.state), strict=True):
            assert np.abs(one - other).max() <= 1e-10


def test_each_seed_has_masks_of_its_own_and_none_is_the_expectation() -> None:
    p = draw(Plain, (4, 3, 2, 40), "float64")
    drawn = [run(p, Steps(seed=seed))[0] for seed in (1, 2, 2**32 + 1)]
    assert len({d.tobytes() for d in drawn}) == 3
    mean = replace(p, cell=expected(p.cell))
    same("no seed", run(p, Steps()), run(mean, Steps(seed=3)))


def test_as_many_units_are_kept_as_was_said() -> None:
    """Of n words, kept with probability q: within five standard deviations of n q."""
    words = masks.words((50, 20, 333), SEED, 0, 0)
    for keep in (0.1, 0.5, 0.999):
        kept = (words < round(keep * 2**32)).sum()
        assert abs(kept - keep * words.size) < 5 * np.sqrt(words.size * keep * (1 - keep)) + 1


def _another_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drawing, "ALWAYS", 7)


def _another_multiplier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drawing, "MULTIPLIERS", drawing.MULTIPLIERS[::-1])


def _a_round_less(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drawing, "ROUNDS", 9)


def _units_in_another_order(patch: pytest.MonkeyPatch) -> None:
    right = drawing.in_units
    patch.setattr(drawing, "in_units", lambda f, words: right(f, words[::-1]))


@pytest.mark.parametrize(
    "broken", [_another_time, _another_multiplier, _a_round_less, _units_in_another_order]
)
def test_a_break_of_the_generator_is_caught(
    broken: object, recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)  # type: ignore[operator]
    with pytest.raises(AssertionError):
        test_kernels_draw_the_references_masks("plain", "float64")
