"""Each operator means something everywhere: the tables of operators have the same keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest

from grus.equations import OPERATORS, Apply, Cell, Expr, Name, State, W, latex, text, x
from grus.equations.expr import RESERVED
from grus.equations.simplify import NUMBERS
from grus.gradients import RULES
from grus.kernels.elementwise import SPELLINGS
from grus.reference import NUMPY

LINEAR = {name for name, op in OPERATORS.items() if op.kind == "linear"}


def applied(op: str) -> Expr:
    """The operator on the simplest arguments it takes."""
    if op in LINEAR:
        return Apply(op, (W.a, x))
    return Apply(op, (State("h"), Name("v"))[: OPERATORS[op].arity])


def test_the_reference_has_every_operator_and_no_other() -> None:
    assert set(NUMPY.table) == set(OPERATORS)


def test_the_composite_has_every_operator_and_no_other() -> None:
    pytest.importorskip("torch")
    from grus.layers.composite import TORCH

    assert set(TORCH.table) == set(OPERATORS)


def test_the_derivatives_have_every_operator_but_the_products() -> None:
    assert set(RULES) == set(OPERATORS) - LINEAR


def test_the_kernels_have_every_elementwise_operator_and_no_other() -> None:
    """Products are stages' own, and reductions over the hidden axis are refused by name."""
    elementwise = {name for name, op in OPERATORS.items() if op.kind == "elementwise"}
    assert set(SPELLINGS) == elementwise


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_every_table_takes_an_operators_number_of_arguments(op: str) -> None:
    torch = pytest.importorskip("torch")
    from grus.layers.composite import TORCH

    arity = OPERATORS[op].arity
    square = np.full((2, 2), 0.5)
    want = NUMPY.table[op](*[square] * arity)
    found = TORCH.table[op](*[torch.from_numpy(square)] * arity)
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-15)
    with pytest.raises((TypeError, ValueError)):
        NUMPY.table[op](*[square] * (arity + 2))
    with pytest.raises(TypeError):
        TORCH.table[op](*[torch.from_numpy(square)] * (arity + 1))
    if op in RULES:
        assert len(inspect.signature(RULES[op]).parameters) == 2 + arity
        args = (State("h"), Name("v"), State("c"))
        assert len(RULES[op](args[0], args[1], *args[:arity])) == arity
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


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - LINEAR))
def test_numbers_alone_give_what_the_reference_gives(op: str) -> None:
    """`simplify.NUMBERS` works out what is known before a cell runs."""
    for v in (-1.5, -0.25, 0.25, 2.0):
        if op == "sqrt" and v < 0:
            continue
        numbers = (v, 0.75)[: OPERATORS[op].arity]
        want = NUMPY.table[op](*(np.array([n]) for n in numbers))
        assert NUMBERS[op](*numbers) == pytest.approx(float(want[0]), rel=1e-15)


def test_numbers_have_every_operator_but_the_products() -> None:
    assert set(NUMBERS) == set(OPERATORS) - LINEAR


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
