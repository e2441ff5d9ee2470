"""Programs evaluated in NumPy have the bits of the compiled kernels: every cell, forward and
backward, weight gradients, one thread and two in step, which do not race."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agreement import draw
from cells import ALL_CELLS
from evaluated import caches, evaluated
from grus import kernels, runtime
from grus.equations import Apply, Cell, W, b, h, mean, p, tanh, x
from grus.equations.operators import OPERATORS
from grus.equations.regularised import recurrent_dropout, zoneout
from grus.kernels import PLAIN, Steps, call, jit, make_plan, split, terms, threads
from grus.kernels.builder import SlotBuilder
from grus.kernels.functions import SPELLINGS
from grus.kernels.jit import host_features
from grus.kernels.loops import Block, Do, For, If, LoopError, Program
from grus.kernels.machine import AVX2, NEON, Machine
from grus.kernels.program import cell_program, guarded
from products import matmul

Array = np.ndarray
CELLS = [name for name in ALL_CELLS if name != "zoneout"]  # a mask per sequence: no kernels
SMALL = (2, 2, 3, 5)
TWO_TILES = {"float32": (2, 3, 2, 17), "float64": (2, 3, 2, 9)}
"""Two vectors of hidden units, and rows for two threads."""
WAYS = ("alone", "rows", "hidden")
KEPT = caches()
"""Evaluated programs that several tests run."""
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one processor too; few products are shared as many would be."""
    if threads.openmp():
        monkeypatch.setattr(threads, "limit", lambda: 2)
        monkeypatch.setattr(terms, "WAKE", 0.0)


def forced(way: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have calls shared in this way; how many threads they may have."""
    if way != "alone" and not threads.openmp():
        pytest.skip("no OpenMP runtime: there is one thread")
    monkeypatch.setattr(split, "forced", way)
    return 1 if way == "alone" else 2


def results(
    cell: Cell,
    sizes: tuple[int, int, int, int],
    most: int = 1,
    dtype: str = "float32",
    steps: Steps = PLAIN,
) -> list[Array]:
    """All that a forward and a backward call give."""
    p, rng = draw(cell, sizes, dtype), np.random.default_rng(1)
    output = np.zeros((*p.x.shape[:2], kernels.output_size(p.cell, p.weights)), dtype)
    final = tuple(map(np.zeros_like, p.start))
    saved = np.zeros(kernels.saved_size(p.cell, p.x.shape, p.size, steps), dtype)
    runtime.forward(
        p.cell, p.weights, p.x, p.start, output, final, saved, steps=steps, threads=most
    )
    dy, *dfinal = (rng.normal(size=array.shape).astype(dtype) for array in (output, *final))
    back = runtime.backward(
        p.cell, p.weights, p.x, output, saved, dy, tuple(dfinal), steps=steps, threads=most
    )
    assert back.x is not None
    return [output, *final, saved, back.x, *back.h0, *back.weights.values()]


def same(evaluation: list[Array], compiled: list[Array]) -> None:
    for k, (one, other) in enumerate(zip(evaluation, compiled, strict=True)):
        assert one.tobytes() == other.tobytes(), f"result {k}"


@every_way
@pytest.mark.parametrize("name", CELLS)
def test_a_program_means_in_numpy_what_the_kernel_computes(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = SMALL if way == "alone" else TWO_TILES["float32"]
    arguments = ALL_CELLS[name], sizes, forced(way, monkeypatch)
    compiled = results(*arguments)
    with evaluated(remembered=KEPT) as teams:
        same(results(*arguments), compiled)
    assert len(teams) == 3, "forward, backward, weight gradients"
    assert {*teams} == {1 if way == "alone" else 2}


@pytest.mark.parametrize("name", CELLS)
def test_so_it_does_in_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ALL_CELLS[name], TWO_TILES["float64"], forced("hidden", monkeypatch), "float64"
    compiled = results(*arguments)
    with evaluated():
        same(results(*arguments), compiled)


class Centred(Cell):
    """A mean, and no product of the state, so that no barrier stands between two steps for it."""

    a = W.n @ x + b.n
    h_next = 0.5 * h + 0.5 * tanh(a - mean(a) * mean(a * a))


class CentredState(Cell):
    """A mean of the state."""

    h_next = tanh(W.n @ x + b.n + h - mean(h))


@every_way
@pytest.mark.parametrize("cell", [Centred, CentredState], ids=lambda c: c.name)
def test_numbers_of_a_row_do_not_race_over_many_steps(
    cell: Cell, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = cell, (6, 3, 4, 17), forced(way, monkeypatch)
    compiled = results(*arguments)
    with evaluated():
        same(results(*arguments), compiled)


def test_numbers_of_a_row_need_no_barrier_of_their_own() -> None:
    """Every thread works them out for itself, those of means of numbers too."""
    for plan in (make_plan(cell) for cell in (ALL_CELLS["layer_norm_gru"], Centred)):
        axes = [stage.axis for k, stage in enumerate(plan.stages) if guarded(plan, k)]
        assert axes
        assert "one" not in axes


LENGTHS = np.array([3, 0, 2])
RESETS = np.random.default_rng(0).random((3, 3)) < 0.5
STEPS = {
    "lengths": Steps(lengths=LENGTHS),
    "lengths in reverse": Steps(lengths=LENGTHS, reverse=True),
    "resets": Steps(resets=RESETS),
    "resets to the initial state": Steps(resets=RESETS, reset_to="h0"),
    "both": Steps(lengths=LENGTHS, resets=RESETS, reset_to="h0"),
    "masks": Steps(seed=7),
    "masks of rows with lengths": Steps(lengths=LENGTHS, seed=7),
    "recomputed": Steps(recompute=True),
}
VARIED = {
    "gru": zoneout(ALL_CELLS["gru"], {"h": 0.3}),
    "lstm_projected": ALL_CELLS["lstm_projected"],
    "layer_norm_gru": recurrent_dropout(ALL_CELLS["layer_norm_gru"], 0.25),
}


@pytest.mark.parametrize("way", ["rows", "hidden"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", VARIED)
def test_so_it_does_with_lengths_resets_and_masks(
    name: str, steps: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = VARIED[name], (3, 3, 2, 17), forced(way, monkeypatch), "float32", STEPS[steps]
    compiled = results(*arguments)
    with evaluated(remembered=KEPT):
        same(results(*arguments), compiled)


@every_way
@pytest.mark.parametrize("narrow", ["weights", "products"])
def test_so_it_does_with_bfloat16_in_products(
    narrow: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if narrow == "products" and not host_features().get("avx512bf16"):
        pytest.skip("this processor has no products of bfloat16")
    p, most = draw(ALL_CELLS["gru_reset_before"], (3, 3, 5, 17)), forced(way, monkeypatch)

    def run() -> list[Array]:
        done = runtime.run(p.cell, p.weights, p.x, p.start, narrow=narrow, threads=most)
        return [done.output, *done.state]

    compiled = run()
    with evaluated():
        same(run(), compiled)


LONG = {
    "float32": [(130, 8, 5), (8, 515, 5), (9, 8, 258)],
    "float64": [(66, 16, 4), (4, 258, 4), (4, 4, 258)],
}
"""Rows, columns and depth of products: each time more than a block along one of them."""


@pytest.mark.parametrize(("dtype", "size"), [(d, s) for d, sizes in LONG.items() for s in sizes])
def test_long_products_are_evaluated_block_by_block(dtype: str, size: tuple[int, int, int]) -> None:
    rng, (rows, columns, depth) = np.random.default_rng(0), size
    a, b = (rng.normal(size=s).astype(dtype) for s in ((depth, rows), (depth, columns)))

    def run() -> list[Array]:
        results = []
        for left in (a.T, np.ascontiguousarray(a.T)):  # packed, and read where it stands
            results.append(np.ones((rows, columns), dtype))
            matmul(left, b, results[-1], adds=True)
        return results

    compiled = run()
    with evaluated():
        same(run(), compiled)


def barriers(block: Block) -> Iterator[tuple[Block, int]]:
    """Where each barrier of a block stands, those of inner ones too."""
    for k, s in enumerate(block):
        if isinstance(s, Do) and s.effect == "barrier":
            yield block, k
        elif isinstance(s, (For, If)):
            yield from barriers(s.body)


def without_barrier(monkeypatch: pytest.MonkeyPatch, way: str, number: int) -> None:
    """The program of one way loses a barrier of its time loop."""
    programs: list[Program] = []

    def build(*arguments: Any) -> Program:
        programs.append(cell_program(*arguments))
        if len(programs) == 1 + (way == "backward"):
            (loop,) = (s for s in programs[-1].by_name["work"].body if isinstance(s, For))
            block, at = [*barriers(loop.body)][number]
            del block[at]
        return programs[-1]

    monkeypatch.setattr(call, "cell_program", build)


@pytest.mark.parametrize(
    ("name", "way", "number"),
    [
        ("gru", "forward", 0),
        ("gru", "backward", 0),
        ("gru_reset_before", "forward", 0),
        ("gru_reset_before", "forward", 1),
        ("gru_reset_before", "backward", 0),
        ("gru_reset_before", "backward", 1),
        ("layer_norm_gru", "forward", 0),
        ("layer_norm_gru", "forward", 1),
        ("layer_norm_gru", "backward", 0),
        ("layer_norm_gru", "backward", 1),
    ],
)
def test_a_barrier_left_out_is_a_race(
    name: str, way: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = forced("hidden", monkeypatch)
    without_barrier(monkeypatch, way, number)
    with evaluated(), pytest.raises(LoopError, match=r"thread \d (reads|writes) what thread \d"):
        results(ALL_CELLS[name], TWO_TILES["float32"], most)


def test_a_barrier_that_not_all_come_to_is_waited_at_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most, right = forced("hidden", monkeypatch), SlotBuilder.barrier
    monkeypatch.setattr(SlotBuilder, "barrier", lambda f, parties: right(f, f.add(parties, 1)))
    with evaluated(), pytest.raises(LoopError, match="wait for ever"):
        results(ALL_CELLS["gru"], TWO_TILES["float32"], most)


@pytest.mark.parametrize("machine", [AVX2, NEON], ids=lambda m: m.name)
def test_another_machine_has_the_bits_of_this_one(machine: Machine) -> None:
    """Sums over time and batch are the same too: each output has one chain."""
    if not jit.host().fma:
        pytest.skip("this processor rounds products")
    compiled = results(ALL_CELLS["gru"], SMALL)
    with evaluated(machine):
        same(results(ALL_CELLS["gru"], SMALL), compiled)


def samples(dtype: str, seed: int) -> Array:
    """Numbers of any bits, moderate ones and ends of ranges."""
    rng = np.random.default_rng(seed)
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, -87.5, 88.5, -708.5, 709.5]
    moderate = np.concatenate([ends, rng.normal(0, 8, 150)]).astype(dtype)
    any_bits = np.frombuffer(rng.bytes(150 * np.dtype(dtype).itemsize), dtype)
    return rng.permutation(np.concatenate([moderate, any_bits]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", SPELLINGS)
def test_each_operator_has_the_bits_of_the_machine(operator: str, dtype: str) -> None:
    arguments = (b.h, p.h)[: OPERATORS[operator].arity]
    cell = Cell("applied", (("h_next", Apply(operator, arguments)),), "")
    weights = {family: samples(dtype, k) for k, family in enumerate(cell.families)}
    x = np.zeros((1, 1, 1), dtype)
    compiled = runtime.run(cell, weights, x).output
    with evaluated():
        evaluation = runtime.run(cell, weights, x).output
    number = ~np.isnan(compiled)  # which NaN it is nobody promises
    assert (np.isnan(evaluation) == ~number).all()
    same([evaluation[number]], [compiled[number]])
