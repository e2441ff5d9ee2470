"""Each operator means something everywhere: its record is enough for every table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import pytest

from grus.equations import (
    OPERATORS,
    Apply,
    Cell,
    Const,
    Expr,
    Name,
    Operator,
    State,
    W,
    latex,
    operators,
    text,
    x,
)
from grus.equations.simplify import simplify
from grus.equations.symbols import RESERVED
from grus.gradients import backward
from grus.kernels.functions import SPELLINGS
from grus.reference import NUMPY, run

LINEAR = {name for name, op in OPERATORS.items() if op.linear}
GATHERS = {name for name, op in OPERATORS.items() if op.kind in ("gather", "blocks")}
"""Values of gathers need to know where the positions are: they are no entries of these tables;
those of blocks are operands of products alone."""


def applied(op: str) -> Expr:
    """The operator on the simplest arguments it takes."""
    if op in LINEAR:
        return Apply(op, (W.a, x))
    if op in ("patches", "blocks"):
        return W.a @ Apply(op, (State("h"), Const(3)))
    return Apply(op, (State("h"), Name("v"))[: OPERATORS[op].arity])


def test_the_kernels_have_every_elementwise_operator_and_no_other() -> None:
    """Products are stages' own, and reductions over the hidden axis are refused by name."""
    elementwise = {name for name, op in OPERATORS.items() if op.kind == "elementwise"}
    assert set(SPELLINGS) == elementwise


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - GATHERS))
def test_every_table_takes_an_operators_number_of_arguments(op: str) -> None:
    torch = pytest.importorskip("torch")
    from grus.layers.composite import TORCH

    arity = OPERATORS[op].arity
    square = np.full((2, 2), 0.5)
    want = NUMPY.table[op](*[square] * arity)
    result = TORCH.table[op](*[torch.from_numpy(square)] * arity)
    np.testing.assert_allclose(result.numpy(), want, rtol=1e-15)
    with pytest.raises((TypeError, ValueError)):
        NUMPY.table[op](*[square] * (arity + 2))
    with pytest.raises(TypeError):
        TORCH.table[op](*[torch.from_numpy(square)] * (arity + 1))
    rule = OPERATORS[op].derivative
    if rule is not None:
        assert len(inspect.signature(rule).parameters) == 2 + arity
        args = (State("h"), Name("v"), State("c"))
        assert len(rule(args[0], args[1], *args[:arity])) == arity
    if op in SPELLINGS:
        assert accepts(SPELLINGS[op], 1 + arity)
        assert not accepts(SPELLINGS[op], 2 + arity)


def accepts(function: Callable[..., object], count: int) -> bool:
    """Whether a function takes so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - LINEAR - GATHERS))
def test_numbers_alone_give_what_the_reference_gives(op: str) -> None:
    number = OPERATORS[op].number
    assert number is not None
    for v in (-1.5, -0.25, 0.25, 2.0):
        if op in ("log", "sqrt") and v < 0:
            continue
        numbers = (v, 0.75)[: OPERATORS[op].arity]
        want = NUMPY.table[op](*(np.array([n]) for n in numbers))
        assert number(*numbers) == pytest.approx(float(want[0]), rel=1e-15)
        # -0 and 0 are one number there.
        assert simplify(Apply(op, tuple(map(Const, numbers)))) == Const(number(*numbers) + 0.0)


@pytest.mark.parametrize("op", sorted(name for name, op in OPERATORS.items() if op.rises))
def test_what_is_said_to_rise_never_falls(op: str) -> None:
    points = np.linspace(-4, 4, 81)
    for constant in (-1.0, 0.0, 1.5):
        args = [points, np.full(81, constant)][: OPERATORS[op].arity]
        assert (np.diff(NUMPY.table[op](*args)) >= 0).all()


def test_no_two_operators_look_the_same() -> None:
    for show in (text.show, lambda e: latex.show(e, ("h",))):
        assert len({show(applied(op)) for op in OPERATORS}) == len(OPERATORS)


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_every_operator_prints_as_text_that_reads_back(op: str) -> None:
    cell = Cell(
        "one",
        (("v", applied(op) if op in LINEAR else -State("h")), ("h_next", State("h") + applied(op))),
    )
    assert Cell.parse(str(cell), unused=True) == cell


def test_no_cell_may_take_an_operators_name() -> None:
    assert set(OPERATORS) <= RESERVED


@pytest.fixture
def arctan() -> Iterator[Operator]:
    """An operator of one entry, as a newcomer would write it."""
    operators._function(
        "arctan",
        "The arc tangent.",
        number=math.atan,
        derivative=lambda g, y, a: (g / (1 + a * a),),
    )
    yield OPERATORS["arctan"]
    del OPERATORS["arctan"]


def test_an_entry_is_all_that_an_elementwise_operator_needs(
    arctan: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read, printed, worked out and derived; nothing else was edited."""
    cell = Cell.parse("h_next = arctan(W.a @ x + U.a @ h)")
    assert "arctan(" in str(cell)
    assert latex.show(cell.equations[-1][1], ("h",)).startswith(r"\operatorname{arctan}")
    assert "a_h = d_h / (1 +" in str(backward(cell).cell)
    weights = {"W": np.full((2, 2), 0.5), "U": np.eye(2)}
    # Made of the records when the room is loaded.
    monkeypatch.setitem(cast("dict[str, object]", NUMPY.table), "arctan", arctan.on(np))
    done = run(cell, weights, np.ones((1, 1, 2)))
    np.testing.assert_array_equal(done.output[0], np.arctan([[1.0, 1.0]]))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"derivative": None, "number": math.atan}, "needs its value on numbers and its deriv"),
        ({"derivative": lambda g, y, a: (g,)}, "needs its value on numbers and its derivative"),
        ({"kind": "linear"}, "a linear operator, and no other, says how"),
    ],
)
def test_a_gap_in_a_record_is_refused(known: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        operators._record("arctan", 1, **known)
    assert "arctan" not in OPERATORS
