"""Lengths, resets, direction: the reference's results, and the bits of rows run alone in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import pieces
from agreement import FLOAT64, Problem, draw
from bits import parts, same
from cells import ALL_CELLS
from grus import InputError, kernels, reference, runtime
from grus.kernels import Steps, lengths_resets as clearing, split, steps as module_of_steps
from grus.kernels.layout import saved_size
from grus.kernels.split import Split
from grus.runtime import prepared
from grus.runtime.rows import dense_flags, flags
from test_agreement import KERNEL_CELLS
from test_bits import splits  # noqa: F401  a fixture

SIZES = [(9, 5, 3, 17), (13, 21, 4, 33), (6, 1, 3, 5), (40, 9, 2, 16)]
CELLS = ("gru", "gru_reset_before", "lstm", "sru")
STEPS = [
    (lengths, resets, to, reverse)
    for lengths, resets, to, reverse in product((0, 1), (0, 1), ("zero", "h0"), (False, True))
    if lengths or resets
]
every_cell = pytest.mark.parametrize("name", KERNEL_CELLS)
each_cell = pytest.mark.parametrize("name", CELLS)
all_steps = pytest.mark.parametrize(
    "kind", STEPS, ids=lambda k: f"L{k[0]}R{k[1]}{k[2]}{'<' if k[3] else '>'}"
)


def case(name: str, sizes: tuple[int, ...], dtype: str, kind: tuple) -> tuple[Problem, Steps]:
    """A problem whose padding is NaN; lengths hold 0 and T where there is room for both."""
    time, batch, inputs, hidden = sizes
    cell = ALL_CELLS[name]
    p = draw(cell, (time, batch, hidden if cell.shapes.equal else inputs, hidden), dtype)
    rng = np.random.default_rng([*sizes, kind[0], kind[1]])
    lengths = rng.integers(0, time + 1, batch) if kind[0] else None
    resets = rng.random((time, batch)) < 0.3 if kind[1] else None
    if lengths is not None:
        lengths[: 2 if batch > 2 else 0] = [0, time][: 2 if batch > 2 else 0]
        x = p.x.copy()
        for row, length in enumerate(lengths):
            x[length:, row] = np.nan
        p = replace(p, x=x)
    return p, Steps(lengths, resets, kind[2], kind[3])


def run(p: Problem, steps: Steps, threads: int | None = None) -> runtime.Result:
    return runtime.run(
        p.cell, p.weights, p.x, p.start, lengths=steps.lengths, resets=steps.resets,
        reset_to=steps.reset_to, reverse=steps.reverse, threads=threads,
    )  # fmt: skip


@all_steps
@every_cell
def test_a_sequence_is_the_references(name: str, kind: tuple) -> None:
    for sizes in SIZES[:2]:
        p, steps = case(name, sizes, "float64", kind)
        found = run(p, steps)
        want = reference.run(
            p.cell, p.weights, p.x, p.start, lengths=steps.lengths, resets=steps.resets,
            reset_to=steps.reset_to, reverse=steps.reverse,
        )  # fmt: skip
        for one, other in zip(
            (found.output, *found.state), (want.output, *want.state), strict=True
        ):
            # A cell may grow without bound (rnn_relu): each step adds an error of its size.
            size = max(1.0, np.abs(other).max())
            assert np.abs(one - other).max() <= FLOAT64 * size


@all_steps
@each_cell
def test_a_row_has_the_bits_it_has_alone_in_pieces_however_the_call_is_split(
    name: str,
    kind: tuple,
    splits: list[Split],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    chunks: Callable[[int], None],
) -> None:
    monkeypatch.setattr(split, "forced", "hidden")
    chunks(4096)
    for sizes in SIZES:
        p, steps = case(name, sizes, "float32", kind)
        want = parts(pieces.forward(p, steps))
        splits.clear()
        for threads in (1, 2, None):
            same(f"{threads} threads", parts(run(p, steps, threads)), want)
        assert splits[0].threads == 1
        if sizes[3] > 16 or sizes[1] > 8:
            assert splits[-1].threads > 1


def train_gradients(p: Problem, steps: Steps, threads: int | None) -> dict[str, np.ndarray]:
    """Gradients of the same random linear loss as `wanted_gradients`."""
    sizes = (*p.x.shape[:2], kernels.output_size(p.cell, p.weights))
    output, final = np.full(sizes, np.nan, p.dtype), tuple(map(np.empty_like, p.start))
    saved = np.full(saved_size(p.cell, p.x.shape, p.size, steps), np.nan, p.dtype)
    runtime.forward(p.cell, p.weights, p.x, p.start, output, final, saved, steps=steps)
    dy, dfinal = adjoints(p, steps)
    found = runtime.backward(
        p.cell, p.weights, p.x, output, saved, dy, dfinal, steps=steps, threads=threads
    )
    assert found.x is not None
    named = {f"h0 {s}": d for s, d in zip(p.cell.states, found.h0, strict=True)}
    return {**found.weights, "x": found.x, **named}


def adjoints(p: Problem, steps: Steps) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(5)
    dy = rng.normal(0.0, 1.0, (*p.x.shape[:2], p.hidden)).astype(p.dtype)
    if steps.lengths is not None:
        for row, length in enumerate(steps.lengths):
            dy[length:, row] = np.nan  # never read
    return dy, tuple(rng.normal(0.0, 1.0, s.shape).astype(p.dtype) for s in p.start)


@all_steps
@every_cell
def test_gradients_are_the_sums_over_rows_and_pieces(name: str, kind: tuple) -> None:
    """The same sums in another order: float64's 2^-53 times a few hundred terms."""
    for sizes in SIZES[:3]:
        p, steps = case(name, sizes, "float64", kind)
        want = pieces.backward(p, steps, *adjoints(p, steps))
        for threads in (1, None):
            found = train_gradients(p, steps, threads)
            for leaf, gradient in want.items():
                size = max(1.0, np.abs(gradient).max())
                assert np.abs(found[leaf] - gradient).max() <= FLOAT64 * size, leaf


@each_cell
def test_running_windows_again_changes_no_result(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of the weights, and of h0 where resets lead to it, are the same sums in another
    order; the others have the same bits, since the steps run again have."""
    monkeypatch.setattr(module_of_steps, "SHORTEST", 3)
    for kind in [(0, 0, "zero", False), (0, 0, "zero", True), *STEPS]:
        p, steps = case(name, SIZES[1], "float64", kind)
        want, found = (train_gradients(p, s, None) for s in (steps, replace(steps, recompute=True)))
        for leaf, gradient in want.items():
            size = max(1.0, np.abs(gradient).max())
            assert np.abs(found[leaf] - gradient).max() <= FLOAT64 * size, leaf
        if kind[2] == "zero":
            same("h0", *([g[k] for k in g if k.startswith("h0")] for g in (found, want)))


def test_running_windows_again_keeps_little() -> None:
    sizes, cell = (900, 2, 8), ALL_CELLS["gru"]
    assert saved_size(cell, sizes, {"hidden": 8}, Steps(recompute=True)) == 30 * 2 * 8
    assert saved_size(cell, sizes, {"hidden": 8}) == 900 * 2 * 8 * len(kernels.layout(cell).saved)


def test_no_row_and_no_step() -> None:
    for sizes in [(0, 3, 2, 4), (3, 0, 2, 4), (0, 0, 2, 4)]:
        p = draw(ALL_CELLS["gru"], sizes, "float32")
        steps = Steps(np.zeros(sizes[1], np.int64), np.zeros(sizes[:2], bool))
        done = run(p, steps)
        assert done.output.shape == (*sizes[:2], 4)
        same("h0", done.state, p.start)


def test_rows_that_are_all_empty_give_h0_and_no_gradient() -> None:
    p = draw(ALL_CELLS["lstm"], (4, 3, 2, 5), "float64")
    steps = Steps(np.zeros(3, np.int64))
    done = run(replace(p, x=np.full_like(p.x, np.nan)), steps)
    same("h0", done.state, p.start)
    assert not done.output.any()
    found = train_gradients(p, steps, None)
    assert not any(found[name].any() for name in ("W", "U", "b", "x"))
    dfinal = adjoints(p, steps)[1]
    same("dh0", [found["h0 h"], found["h0 c"]], dfinal)


def test_nan_before_a_reset_reaches_nothing_after_it() -> None:
    p = draw(ALL_CELLS["gru"], (6, 2, 3, 4), "float64")
    x = p.x.copy()
    x[:3, 0] = np.nan
    resets = np.zeros((6, 2), bool)
    resets[3, 0] = True
    done = run(replace(p, x=x), Steps(resets=resets))
    assert np.isnan(done.output[:3, 0]).all()
    assert np.isfinite(done.output[3:]).all()
    assert np.isfinite(done.output[:, 1]).all()


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [1, 7], [-1, 2], [1], [[1, 2]]])
def test_lengths_that_cannot_be_are_refused(wrong: list) -> None:
    p = draw(ALL_CELLS["gru"], (6, 2, 3, 4), "float32")
    with pytest.raises(InputError, match="lengths must"):
        runtime.run(p.cell, p.weights, p.x, p.start, lengths=np.array(wrong))


def test_resets_may_be_bool_or_0_and_1_and_nothing_else() -> None:
    p = draw(ALL_CELLS["gru"], (6, 2, 3, 4), "float32")
    flags = np.random.default_rng(0).random((6, 2)) < 0.4
    results = [
        runtime.run(p.cell, p.weights, p.x, p.start, resets=flags.astype(kind)).output
        for kind in (bool, np.int64, np.float32)
    ]
    same("kinds of resets", results[1:], [results[0]] * 2)
    for wrong in (flags * 0.5, flags[:3], np.full((6, 2), np.nan), flags * 2):
        with pytest.raises(InputError, match="resets must"):
            runtime.run(p.cell, p.weights, p.x, p.start, resets=wrong)


def test_a_reset_that_comes_one_step_late_is_noticed(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = prepared.dense_flags
    monkeypatch.setattr(
        prepared, "dense_flags", lambda *a, ahead, **k: right(*a, ahead=ahead - 1, **k)
    )
    p, steps = case("gru", SIZES[0], "float32", (0, 1, "zero", False))
    with pytest.raises(AssertionError):
        same("late", parts(run(p, steps)), parts(pieces.forward(p, steps)))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_flags_of_full_rows_are_those_of_rows_with_lengths(
    steps: int, ahead: int, backwards: bool
) -> None:
    resets = np.random.default_rng(steps).random((steps, 5)) < 0.4
    want = flags(resets, np.full(5, steps), backwards=backwards, ahead=ahead)
    found = dense_flags(resets, backwards=backwards, ahead=ahead)
    assert found.tobytes() == want.tobytes()


def test_a_state_that_is_not_put_back_is_noticed(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An LSTM whose resets forget the cell state."""
    right = clearing.put_back
    monkeypatch.setattr(clearing, "put_back", lambda m, at: [s for s in right(m, at) if s != "c"])
    p, steps = case("lstm", SIZES[0], "float32", (0, 1, "zero", False))
    with pytest.raises(AssertionError):
        same("c", parts(run(p, steps)), parts(pieces.forward(p, steps)))
