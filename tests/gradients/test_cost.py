"""The costs are what running the equations really does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from backprop import backpropagate
from cells import ALL_CELLS, draw_weights, every_cell, sizes
from gradient_check import draw
from grus.dialects import find
from grus.equations import OPERATORS, Cell, State, W, cell, x
from grus.errors import InputError
from grus.gradients import backward
from grus.gradients.cost import Cost, Count, cost, sizes_for
from grus.reference import NUMPY, Operations, split, step_values
from grus.worksheet.stages import cost_text, stored
from random_cells import cells

SIZES = {"inputs": 3, "hidden": 5, "projection": 2}


def counting(done: list[int]) -> Operations:
    """NumPy's operators, each noting how many operations it does on one row."""

    def noting(op: str) -> Any:
        def apply(*args: Any) -> Any:
            result = NUMPY.table[op](*args)
            if OPERATORS[op].kind == "linear":
                done.append(2 * args[0].size)
            elif OPERATORS[op].kind == "reduction":
                done.append(args[0].shape[-1])
            else:
                done.append(np.asarray(result).size)
            return result

        return apply

    return replace(NUMPY, table={op: noting(op) for op in OPERATORS})


def counted_by_running(cell: Cell) -> tuple[int, int]:
    """The operations of one forward and one backward step of one row, counted as they are done."""
    rng = np.random.default_rng(0)
    size, back = sizes(cell, **SIZES), backward(cell)
    weights = split(cell, draw_weights(cell, size, rng))
    x = rng.normal(size=(1, size["input"]))
    masks = {i.name: np.ones((1, size["hidden"])) for i in cell.inputs if i.name != "x"}
    state = tuple(rng.normal(size=(1, size[cell.shapes.states[s]])) for s in cell.states)
    forward: list[int] = []
    step_values(cell, weights, {"x": x, **masks}, state, counting(forward))
    flat = back.forward
    states = dict(zip(cell.states, state, strict=True))
    reading = tuple(states[name] for name in flat.states)
    seen = step_values(flat, weights, {"x": x, **masks}, reading) | states | masks | {"x": x}
    seen["dy"] = np.ones_like(seen[cell.output])
    adjoint = tuple(states[name.removeprefix("d")] for name in back.cell.states)
    backwards: list[int] = []
    now = step_values(back.cell, weights, seen, adjoint, counting(backwards))
    sums = sum(2 * weights[t.weight].size for t in back.weights if t.operand is not None)
    sums += sum(weights[t.weight].size for t in back.weights if t.operand is None)
    assert set(now) == {name for name, _ in back.cell.equations}
    return sum(forward), sum(backwards) + sums


def check(cell: Cell) -> None:
    found, size = cost(cell), sizes(cell, **SIZES)
    assert (found.forward.at(size), found.backward.at(size)) == counted_by_running(cell)


@every_cell
def test_operations_are_those_that_running_a_step_does(cell: Cell) -> None:
    check(cell)


@settings(max_examples=40, deadline=None)
@given(cells())
def test_operations_of_random_cells_are_those_that_running_does(cell: Cell) -> None:
    check(cell)


@every_cell
def test_parameters_and_kept_values_are_those_of_the_arrays(cell: Cell) -> None:
    found, size = cost(cell), sizes(cell, **SIZES)
    families = [cell.family_shape(f, size) for f in cell.families]
    assert found.parameters.at(size) == sum(int(np.prod(shape)) for shape in families)
    problem = draw(cell, steps=1, batch=1, rng=np.random.default_rng(0))
    weights, back = split(cell, problem.weights), backward(cell)
    state = dict(zip(cell.states, problem.start, strict=True))
    masks = {k: m[0] if m.ndim == 3 else m for k, m in problem.masks.items()}
    reading = tuple(state[name] for name in back.forward.states)
    kept = step_values(back.forward, weights, {"x": problem.x[0], **masks}, reading) | state
    drawn = {"input": problem.x.shape[-1], **{k: v for k, v in sizes(cell).items() if k != "input"}}
    # A value that reads no row, such as a function of weights alone, is kept once all the same.
    assert found.saved.at(drawn) == sum(np.atleast_2d(kept[n]).shape[-1] for n in back.saved)
    arrives = (
        problem.x[0].size
        + sum(s.size for s in problem.start)
        + sum(m.shape[-1] for m in problem.masks.values())
    )
    assert found.read.at(drawn) == arrives
    assert backpropagate(cell, back, problem).x.shape == problem.x.shape


def test_the_gru_by_hand() -> None:
    """r and z: two adds and a sigmoid each; m one add; n two adds, a product, tanh; h four."""
    found = cost(ALL_CELLS["gru"])
    assert str(found.parameters) == "3 H² + 3 H I + 4 H"
    assert str(found.forward) == "6 H² + 6 H I + 15 H"
    assert str(found.saved) == "5 H"
    assert found.dx == Count.of("hidden", "input", times=6) + Count.of("input", times=2)


def test_a_longer_equation_costs_more() -> None:
    """A break: a term that is not counted would leave the cost as it was."""
    base = Cell.parse("h_next = tanh(W.a @ x + U.a @ h)")
    more = Cell.parse("h_next = tanh(W.a @ x + U.a @ h + b.a)")
    size = {"input": 3, "hidden": 5}
    for part in ("parameters", "forward", "backward"):
        less, longer = getattr(cost(base), part), getattr(cost(more), part)
        assert longer.at(size) - less.at(size) == 5


def test_a_count_prints_as_a_formula() -> None:
    count = Count.of("hidden", "input", times=3) + Count.of("hidden", "hidden") + Count.of(None)
    assert str(count) == "H² + 3 H I + 1"
    assert str(Count()) == "0"
    assert count.at({"input": 2, "hidden": 4}) == 16 + 24 + 1


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="hidden must be at least 1, got 0"):
        sizes_for(ALL_CELLS["gru"], None, 0, 1)
    with pytest.raises(InputError, match="input must equal hidden, got 3 and 4"):
        sizes_for(ALL_CELLS["sru"], 3, 4, 1)
    assert sizes_for(ALL_CELLS["sru"], None, 4, 1)["input"] == 4


def test_one_number_for_each_part() -> None:
    assert all(isinstance(count, Count) for count in vars(cost(ALL_CELLS["gru"])).values())
    assert isinstance(cost(ALL_CELLS["gru"]), Cost)
    assert cost(Cell("one", (("h_next", W.a @ x + State("h")),))).saved == Count()


def test_a_dialect_stores_a_second_bias_of_a_gate() -> None:
    """Keras and PyTorch count 6,336 numbers in a GRU of 32 units; the equations need 6,272."""
    sized = sizes_for(cell("gru"), 32, 32, 1)
    assert cost(cell("gru")).parameters.at(sized) == 6272
    assert {stored(find(name)).at(sized) for name in ("keras", "torch")} == {6336}
    assert stored(find("haiku")).at(sized) == 6240
    text = cost_text(cell("gru"), sized, 1, 1, "float32", find("keras"))
    assert all(part in text for part in ("as keras stores them", "6,336", "6,272"))
