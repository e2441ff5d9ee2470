"""Deliberate breaks: each of them is a mistake one could make, and the gradient check sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from cells import ALL_CELLS, every_cell
from gradient_check import WrongGradientError, check
from grus.equations import OPERATORS, Apply, Cell, Const, Expr, Input, Name, State
from grus.equations.operators import Derivative
from grus.gradients import Backward, backward

GRU = ALL_CELLS["gru"]

# Cells in which each rule matters. What none of the table's cells has stands here as text.
USERS = {
    "exp": Cell.parse("h_next = tanh(exp(W.a @ x) * h)"),
    "log": Cell.parse("h_next = log(2 + tanh(W.a @ x) * h)"),
    "softplus": Cell.parse("h_next = softplus(W.a @ x - h)"),
    "sqrt": ALL_CELLS["odd"],
    "div": ALL_CELLS["odd"],
    "neg": ALL_CELLS["odd"],
    "mean": ALL_CELLS["odd"],
    "relu": ALL_CELLS["odd"],
    "sub": ALL_CELLS["odd"],
    "minimum": Cell.parse("h_next = tanh(minimum(W.a @ x, h))"),
    "maximum": Cell.parse("h_next = tanh(maximum(W.a @ x, h))"),
    # positive stands for a step function: its derivative is 0, and any other is wrong.
    "positive": Cell.parse("h_next = tanh(W.a @ x + positive(h + W.b @ x) * h)"),
}


def derived_anew(cell: Cell) -> Backward:
    """The backward step by the table as it is now, not as it was when first asked."""
    return backward.__wrapped__(cell)


def assert_caught(cell: Cell, back: Backward, what: str) -> None:
    """Fail unless the gradient check refuses ``back``."""
    try:
        check(cell, back)
    except WrongGradientError:
        return
    pytest.fail(f"{what} went unseen")


def with_rule(monkeypatch: pytest.MonkeyPatch, op: str, rule: Derivative | None) -> None:
    """The operator with another derivative."""
    monkeypatch.setitem(OPERATORS, op, replace(OPERATORS[op], derivative=rule))


@pytest.mark.parametrize("op", sorted(name for name, op in OPERATORS.items() if op.derivative))
def test_a_wrong_term_in_any_rule_is_caught(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = USERS.get(op, GRU)
    right = OPERATORS[op].derivative
    assert right is not None
    change = (lambda adjoint: adjoint + 0.01) if op == "positive" else (lambda adjoint: -adjoint)
    for k in range(OPERATORS[op].arity):
        with_rule(monkeypatch, op, _replace_argument(right, k, change))
        with pytest.raises(WrongGradientError):
            check(cell, derived_anew(cell))


def _replace_argument(
    rule: Callable[..., tuple[Expr, ...]], k: int, change: Callable[[Expr], Expr]
) -> Callable[..., tuple[Expr, ...]]:
    def changed(*args: Expr) -> tuple[Expr, ...]:
        parts = list(rule(*args))
        parts[k] = change(parts[k])
        return tuple(parts)

    return changed


def test_two_swapped_rules_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmoid, tanh = OPERATORS["sigmoid"].derivative, OPERATORS["tanh"].derivative
    with_rule(monkeypatch, "sigmoid", tanh)
    with_rule(monkeypatch, "tanh", sigmoid)
    with pytest.raises(WrongGradientError):
        check(GRU, derived_anew(GRU))


@every_cell
def test_every_term_dropped_from_the_backward_equations_is_caught(cell: Cell) -> None:
    back = backward(cell)
    for name, changed in _without_a_term(back):
        assert_caught(cell, changed, f"{name} without one of its terms")


@every_cell
def test_every_flipped_sign_in_the_backward_equations_is_caught(cell: Cell) -> None:
    back = backward(cell)
    for k, (name, expr) in enumerate(back.cell.equations):
        assert_caught(cell, _with_equation(back, k, -expr), f"-({name})")


@every_cell
def test_every_wrong_forward_value_in_the_backward_equations_is_caught(cell: Cell) -> None:
    back = backward(cell)
    for k, (name, expr) in enumerate(back.cell.equations):
        for leaf in {n for n in _nodes(expr) if isinstance(n, Input) and n.name != "x"}:
            changed = _with_equation(back, k, _swap(expr, leaf, leaf * 1.01))
            if _step_function(expr, leaf):
                continue
            assert_caught(cell, changed, f"{name} with 1.01 * {leaf}")


@every_cell
def test_a_forgotten_carry_is_caught(cell: Cell) -> None:
    """The adjoint of a state that does not flow to the step before."""
    back = backward(cell)
    for k, (name, expr) in enumerate(back.cell.equations):
        if name.endswith("_next"):
            assert_caught(cell, _with_equation(back, k, 0 * expr), f"{name} = 0")


@every_cell
def test_every_weight_gradient_left_out_is_caught(cell: Cell) -> None:
    back = backward(cell)
    for k, term in enumerate(back.weights):
        left = replace(back, weights=back.weights[:k] + back.weights[k + 1 :])
        assert_caught(cell, left, f"no gradient of {term.weight.name}")


@pytest.mark.parametrize("wrong", ["n", "m"])
def test_the_wrong_operand_of_a_weight_gradient_is_caught(wrong: str) -> None:
    """After a reset before the product, U.n has seen r * h; in a GRU, U.n has seen h."""
    back = backward(GRU)
    terms = tuple(
        replace(t, operand=Name(wrong)) if t.weight.name == "U.n" and t.operand is not None else t
        for t in back.weights
    )
    with pytest.raises(WrongGradientError, match="along U"):
        check(GRU, replace(back, weights=terms))


def test_the_state_instead_of_the_reset_state_as_operand_is_caught() -> None:
    cell = ALL_CELLS["gru_reset_before"]
    back = backward(cell)
    terms = tuple(
        replace(t, operand=State("h")) if t.operand == Name("r_h") else t for t in back.weights
    )
    assert terms != back.weights
    with pytest.raises(WrongGradientError, match="along U"):
        check(cell, replace(back, weights=terms))


@every_cell
def test_every_term_of_dx_left_out_is_caught(cell: Cell) -> None:
    back = backward(cell)
    for k in range(len(back.dx)):
        with pytest.raises(WrongGradientError, match="along x"):
            check(cell, replace(back, dx=back.dx[:k] + back.dx[k + 1 :]))


def test_a_not_a_number_is_caught() -> None:
    back = backward(GRU)
    nan = Apply("div", (Const(0.0) * State("dh"), Const(0.0) * State("dh")))
    with pytest.raises(WrongGradientError), pytest.warns(RuntimeWarning):
        check(GRU, _with_equation(back, 0, nan))


def _with_equation(back: Backward, k: int, expr: Expr) -> Backward:
    equations = list(back.cell.equations)
    equations[k] = (equations[k][0], expr)
    return replace(back, cell=Cell(back.cell.name, tuple(equations)))


def _without_a_term(back: Backward) -> Iterator[tuple[str, Backward]]:
    for k, (name, expr) in enumerate(back.cell.equations):
        for node in {n for n in _nodes(expr) if isinstance(n, Apply) and n.op in ("add", "sub")}:
            if _step_function(expr, node):
                continue
            for term in node.args:
                # Times zero, not gone: what only that term joins to an axis stays joined.
                without = Apply(node.op, tuple(0 * a if a is term else a for a in node.args))
                yield name, _with_equation(back, k, _swap(expr, node, without))


def _nodes(expr: Expr) -> list[Expr]:
    args = expr.args if isinstance(expr, Apply) else ()
    return [expr, *(n for a in args for n in _nodes(a))]


def _swap(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_swap(a, old, new) for a in expr.args))
    return expr


def _step_function(expr: Expr, inner: Expr) -> bool:
    """True when ``inner`` only decides a branch there, where a small change changes nothing."""
    return any(
        isinstance(n, Apply) and n.op == "positive" and inner in _nodes(n) for n in _nodes(expr)
    )
