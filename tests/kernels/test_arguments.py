"""What callers hand in: any memory layout is right, nothing else is touched, and what cannot be is
one sentence that names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import grus
from agreement import Problem, draw, train
from bits import forward, parts, same
from cells import ALL_CELLS, every_cell
from grus import InputError, kernels, runtime
from grus.equations import Cell
from grus.kernels.builder import Builder

Array = np.ndarray
GRU = ALL_CELLS["gru"]
both = pytest.mark.parametrize("dtype", ["float32", "float64"])


def strided(axis: int, step: int) -> Callable[[Array], Array]:
    """A view of the same numbers, every ``step``-th of a larger array along one axis."""

    def change(array: Array) -> Array:
        at = axis % array.ndim
        shape = [n * abs(step) if k == at else n for k, n in enumerate(array.shape)]
        larger = np.full(shape, np.nan, array.dtype)
        view = larger[tuple(slice(None, None, step if k == at else 1) for k in range(array.ndim))]
        view[...] = array
        return view

    return change


def misaligned(array: Array) -> Array:
    """The same numbers from an odd address on."""
    memory = np.frombuffer(b"?" + array.tobytes(), np.uint8)[1:]
    found = memory.view(array.dtype).reshape(array.shape)
    assert found.size == 0 or not found.flags.aligned
    return found


def read_only(array: Array) -> Array:
    found = array.copy()
    found.flags.writeable = False
    return found


def turned(array: Array) -> Array:
    """The same numbers with the first two axes the other way round in memory, as batch first."""
    return np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1) if array.ndim > 1 else array


def in_records(array: Array) -> Array:
    """One field of packed records: rows at odd distances."""
    record = np.zeros(array.shape[:-1], [("flag", "u1"), ("row", array.dtype, array.shape[-1:])])
    record["row"] = array
    return record["row"]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "every other time or row": strided(0, 2),
    "every third of the middle axis": strided(1, 3),
    "every other of the last axis": strided(-1, 2),
    "backward in time or rows": strided(0, -1),
    "backward along the middle axis": strided(1, -1),
    "backward along the last axis": strided(-1, -2),
    "misaligned": misaligned,
    "read-only": read_only,
    "batch first": turned,
    "Fortran order": np.asfortranarray,
    "a field of packed records": in_records,
}


@both
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gru", "lstm", "sru"])
def test_every_memory_layout_gives_the_same_bits(name: str, layout: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (4, 5, 3, 19), dtype)
    want, change = parts(forward(problem)), LAYOUTS[layout]
    weights = {family: change(w) for family, w in problem.weights.items()}
    start = tuple(map(change, problem.start))
    for moved in (
        replace(problem, x=change(problem.x)),
        replace(problem, start=start),
        replace(problem, weights=weights),
        replace(problem, x=change(problem.x), start=start, weights=weights),
    ):
        before = _bytes(moved)
        same(layout, parts(forward(moved)), want)
        same(layout, parts(forward(moved, threads=None)), want)
        assert _bytes(moved) == before, "an input was changed"


def _bytes(problem: Problem) -> list[bytes]:
    return [a.tobytes() for a in (problem.x, *problem.start, *problem.weights.values())]


@both
@pytest.mark.parametrize("layout", LAYOUTS)
def test_backward_takes_every_layout_of_what_it_is_given(layout: str, dtype: str) -> None:
    run = train(draw(GRU, (4, 5, 3, 19), dtype))
    p, change = run.problem, LAYOUTS[layout]
    dy, dfinal = np.cos(run.output), tuple(map(np.sin, run.final))

    def gradients(x: Array, weights: dict[str, Array], dy: Array) -> list[Array]:
        found = runtime.backward(p.cell, weights, x, run.output, run.saved, dy, dfinal)
        assert found.x is not None
        return [*found.weights.values(), found.x, *found.h0]

    def last_axis_whole(array: Array) -> Array:
        moved = change(array)
        return moved if moved.strides[-1] == moved.itemsize else array

    weights = {family: last_axis_whole(w) for family, w in p.weights.items()}
    want = gradients(p.x, p.weights, dy)
    found = gradients(last_axis_whole(p.x), weights, last_axis_whole(dy))
    same(layout, found, want)


@both
def test_one_row_of_state_and_one_step_may_stand_for_all(dtype: str) -> None:
    problem = draw(GRU, (4, 5, 3, 19), dtype)
    h0, x = problem.start[0][:1], problem.x[:1]
    copied = replace(problem, x=np.repeat(x, 4, 0), start=(np.repeat(h0, 5, 0),))
    given = replace(
        problem, x=np.broadcast_to(x, copied.x.shape), start=(np.broadcast_to(h0, (5, 19)),)
    )
    same("broadcast", parts(forward(given)), parts(forward(copied)))


@both
@pytest.mark.parametrize("name", ["gru", "lstm", "sru"])
def test_an_empty_sequence_gives_back_the_initial_state(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (0, 5, 3, 19), dtype)
    found = forward(problem)
    assert found.output.shape == (0, 5, 19)
    same("state", found.state, problem.start)
    assert not any(map(np.shares_memory, found.state, problem.start))
    alone = runtime.run(problem.cell, problem.weights, problem.x)
    same("zeros", alone.state, [np.zeros((5, 19), dtype) for _ in problem.start])


@both
@pytest.mark.parametrize(("steps", "batch"), [(3, 0), (0, 2), (0, 0)])
def test_no_rows_or_no_steps_are_allowed_backward_too(steps: int, batch: int, dtype: str) -> None:
    run = train(draw(GRU, (steps, batch, 3, 19), dtype))
    p, dfinal = run.problem, tuple(np.cos(s) for s in run.final)
    found = runtime.backward(p.cell, p.weights, p.x, run.output, run.saved, run.output, dfinal)
    assert found.x is not None
    assert found.x.shape == (steps, batch, 3)
    same("dh0", found.h0, dfinal)
    assert all(not g.any() and g.shape == p.weights[f].shape for f, g in found.weights.items())


@both
def test_no_initial_state_equals_zeros_exactly(dtype: str) -> None:
    p = draw(ALL_CELLS["lstm"], (4, 5, 3, 19), dtype)
    zeros = replace(p, start=tuple(map(np.zeros_like, p.start)))
    same("no h0", parts(runtime.run(p.cell, p.weights, p.x)), parts(forward(zeros)))


def surrounded(shape: tuple[int, ...], dtype: str) -> tuple[Array, Array]:
    """An array inside a larger one, every row with room on both sides; and the larger one."""
    larger = np.full(tuple(n + 4 for n in shape), 12345.5, dtype)
    return larger[tuple(slice(2, 2 + n) for n in shape)], larger


def write_into_surrounded(problem: Problem) -> None:
    """Raise AssertionError where a training call or backward writes beside its outputs."""
    p = problem
    shape = (*p.x.shape[:2], p.hidden)
    saved_shape = (kernels.saved_size(p.cell, p.x.shape, p.size),)
    pairs = [surrounded(s, p.dtype) for s in (shape, saved_shape, *(s.shape for s in p.start))]
    output, saved, *final = (inside for inside, _ in pairs)
    runtime.forward(p.cell, p.weights, p.x, p.start, output, tuple(final), saved)
    want = train(p)
    same("surrounded", [output, *final, saved], [want.output, *want.final, want.saved])
    for inside, around in pairs:
        inside[...] = 12345.5
        assert (around == 12345.5).all(), "a kernel wrote beside an output"


@both
@pytest.mark.parametrize("hidden", [1, 15, 16, 17, 31])
def test_nothing_is_written_beside_the_outputs(hidden: int, dtype: str) -> None:
    for name in ("gru", "lstm"):
        for batch in (1, 3, 9):
            write_into_surrounded(draw(ALL_CELLS[name], (3, batch, 5, hidden), dtype))


def test_a_mask_one_lane_too_long_is_seen(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Builder.lanes_below
    monkeypatch.setattr(Builder, "lanes_below", lambda f, k, *n: right(f, f.add(k, 1), *n))
    p = draw(GRU, (3, 3, 5, 17), "float32")

    def with_room(array: Array) -> Array:
        found, _ = surrounded(array.shape, p.dtype)
        found[...] = array
        return found

    weights = {family: with_room(w) for family, w in p.weights.items()}
    roomy = replace(p, x=with_room(p.x), weights=weights, start=tuple(map(with_room, p.start)))
    with pytest.raises(AssertionError):
        write_into_surrounded(roomy)


def gru(**changes: Any) -> dict[str, Any]:
    """Arguments of a right call (T 2, B 3, I 4, H 5), some of them changed."""
    p = draw(GRU, (2, 3, 4, 5), "float32")
    weights = p.weights | changes.pop("weights", {})
    return {"weights": weights, "x": p.x, "h0": p.start[0]} | changes


def zeros(*shape: int, dtype: Any = "float32") -> Array:
    return np.zeros(shape, dtype)


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"x": zeros(2, 3)}, ["x must be [time, batch, input]", "(2, 3)"]),
    ({"x": zeros(2, 3, 4, 1)}, ["x must be", "(2, 3, 4, 1)"]),
    ({"x": zeros(2, 3, 4).tolist()}, ["x must be a NumPy array", "list"]),
    ({"x": None}, ["x must be a NumPy array", "NoneType"]),
    ({"x": zeros(2, 3, 4, dtype="float16")}, ["x must be float32 or float64", "float16"]),
    ({"x": zeros(2, 3, 4, dtype="int64")}, ["x must be float32 or float64", "int64"]),
    ({"x": zeros(2, 3, 4, dtype=">f4")}, ["x must be float32 or float64", ">f4"]),
    ({"x": zeros(2, 3, 4, dtype="complex64")}, ["x must be float32 or float64", "complex64"]),
    ({"x": zeros(2, 3, 4, dtype=object)}, ["x must be float32 or float64", "object"]),
    ({"x": zeros(2, 3, 4, dtype="float64")}, ["weights['W'] must be float64 like x", "float32"]),
    ({"x": zeros(2, 3, 7)}, ["weights['W']", "(15, 7)", "(15, 4)"]),
    ({"x": zeros(2, 3, 0), "weights": {"W": zeros(15, 0)}}, ["input", "at least 1", "0"]),
    ({"weights": {"W": zeros(14, 4)}}, ["weights['W'] must stack 3 gates", "(14, 4)"]),
    ({"weights": {"W": zeros(15)}}, ["weights['W'] must stack 3 gates of a matrix", "(15,)"]),
    ({"weights": {"U": zeros(15, 4)}}, ["weights['U']", "(15, 5)", "(15, 4)"]),
    ({"weights": {"U": zeros(5, 15).T[:, :4]}}, ["weights['U']", "(15, 5)", "(15, 4)"]),
    ({"weights": {"b": zeros(15, 1)}}, ["weights['b'] must stack 3 gates of a vector", "(15, 1)"]),
    ({"weights": {"d": zeros(6)}}, ["weights['d']", "(5,)", "(6,)"]),
    ({"weights": {"b": zeros(15, dtype=float)}}, ["weights['b']", "float32 like x", "float64"]),
    ({"weights": {"b": [0.0] * 15}}, ["weights['b'] must be a NumPy array", "list"]),
    ({"weights": {"V": zeros(5, 5)}}, ["families W, U, b, d, got", "V"]),
    ({"h0": zeros(3, 6)}, ["h0 must have shape (3, 5)", "(3, 6)"]),
    ({"h0": zeros(5)}, ["h0 must have shape (3, 5)", "(5,)"]),
    ({"h0": zeros(3, 5, dtype=float)}, ["h0 must be float32 like x", "float64"]),
    ({"h0": (zeros(3, 5), zeros(3, 5))}, ["h0 must hold 1 states", "got 2"]),
    ({"h0": [zeros(3, 5)]}, ["h0 must be a NumPy array", "list"]),
    ({"threads": 0}, ["threads must be a whole number from 1 up", "0"]),
    ({"threads": -2}, ["threads must be", "-2"]),
    ({"threads": 1.5}, ["threads must be", "1.5"]),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_what_cannot_be_is_one_sentence_with_the_name_of_the_argument(
    changes: dict[str, Any], words: list[str]
) -> None:
    for run in (runtime.run, grus.run):
        arguments = gru(**changes)
        with pytest.raises(InputError) as raised:
            run(GRU, **arguments)
        said = str(raised.value)
        assert all(word in said for word in words), said
        assert "\n" not in said


def test_a_missing_family_is_named() -> None:
    arguments = gru()
    del arguments["weights"]["d"]
    with pytest.raises(InputError, match="families W, U, b, d, got W, U, b"):
        runtime.run(GRU, **arguments)


def test_the_state_of_a_cell_with_two_is_named() -> None:
    p = draw(ALL_CELLS["lstm"], (2, 3, 4, 5), "float32")
    with pytest.raises(InputError, match="h0 of state c must have shape"):
        runtime.run(p.cell, p.weights, p.x, (p.start[0], zeros(3, 4)))
    with pytest.raises(InputError, match="h0 must hold 2 states"):
        runtime.run(p.cell, p.weights, p.x, p.start[0])


def test_x_element_by_element_must_have_the_states_size() -> None:
    p = draw(ALL_CELLS["sru"], (2, 3, 5, 5), "float32")
    with pytest.raises(InputError):
        runtime.run(p.cell, p.weights, zeros(2, 3, 4))


def test_a_cell_without_weights_does_not_know_its_size() -> None:
    cell = Cell.parse("h_next = tanh(0.5 * h)")
    with pytest.raises(InputError, match="no weight tells the size of state h"):
        runtime.run(cell, {}, zeros(2, 3, 4))


@every_cell
def test_every_cell_of_the_table_runs_or_says_what_is_missing(cell: Cell) -> None:
    from cells import draw_weights, sizes

    weights = draw_weights(cell, sizes(cell), np.random.default_rng(0))
    x = np.ones((2, 3, sizes(cell)["input"]))
    if _supported(cell):
        assert np.isfinite(runtime.run(cell, weights, x).output).all()
    else:
        with pytest.raises(kernels.UnsupportedCellError, match=f"cell {cell.name}: .* yet"):
            runtime.run(cell, weights, x)


def _supported(cell: Cell) -> bool:
    return not [i for i in cell.inputs if i.name != "x"]
