"""The expression language: Python's operators build nodes, and what has no meaning is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from grus.equations import (
    OPERATORS,
    Apply,
    CellError,
    Const,
    Expr,
    Family,
    Input,
    Name,
    State,
    U,
    W,
    Weight,
    b,
    blocks,
    clip,
    exp,
    h,
    hard_sigmoid,
    log,
    maximum,
    mean,
    minimum,
    neighbours,
    patches,
    positive,
    relu,
    sequence,
    sigmoid,
    softplus,
    sqrt,
    step,
    tanh,
    walk,
    x,
)

BUILT = {
    "add": h + x,
    "sub": h - x,
    "mul": h * x,
    "div": h / x,
    "neg": -h,
    "matmul": W.r @ x,
    "sigmoid": sigmoid(h),
    "tanh": tanh(h),
    "relu": relu(h),
    "exp": exp(h),
    "sqrt": sqrt(h),
    "positive": positive(h),
    "minimum": minimum(h, x),
    "maximum": maximum(h, x),
    "mean": mean(h),
    "log": log(h),
    "softplus": softplus(h),
    "patches": patches(h, 3),
    "neighbours": neighbours(h),
    "blocks": blocks(h, 2),
}


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - {"matmul_t"}))
def test_every_operator_has_a_spelling_and_its_arity(name: str) -> None:
    built = BUILT[name]
    assert isinstance(built, Apply)
    assert built.op == name
    assert len(built.args) == OPERATORS[name].arity + OPERATORS[name].numbers[0]


def test_numbers_stand_on_either_side_of_an_operator() -> None:
    for left, right, op in (
        (1 + h, h + 1, "add"),
        (1 - h, h - 1, "sub"),
        (2 * h, h * 2, "mul"),
        (1 / h, h / 1, "div"),
    ):
        assert isinstance(left, Apply)
        assert isinstance(right, Apply)
        assert left.op == right.op == op
        assert isinstance(left.args[0], Const)
        assert isinstance(right.args[1], Const)


def test_minus_a_number_is_a_number() -> None:
    assert -Const(2.0) == Const(-2.0)
    assert -Const(-2.0) == Const(2.0)


def test_leaves_are_values_equal_by_what_they_say() -> None:
    assert Weight("W", "r") == W.r
    assert W.r != W.z
    assert U.r != W.r
    assert State("h") == h
    assert Input("keep", "step") == step.keep
    assert step.keep != sequence.keep
    assert len({h + x, h + x, x + h}) == 2


def test_walk_gives_arguments_before_their_node_from_left_to_right() -> None:
    assert walk(W.r @ x + b.r) == [W.r, x, W.r @ x, b.r, W.r @ x + b.r]


def test_clip_and_hard_sigmoid_are_written_in_the_language() -> None:
    assert clip(h, 2) == minimum(maximum(h, -2), 2)
    assert hard_sigmoid(h, 0.25, 0.5) == minimum(maximum(0.25 * h + 0.5, 0), 1)


@pytest.mark.parametrize("value", [True, "h", None, [1.0], 1j], ids=repr)
def test_what_is_neither_expression_nor_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="expressions and numbers"):
        h + value  # type: ignore[operator]


@pytest.mark.parametrize("left", [h, x, h + x, sigmoid(h)], ids=repr)
def test_only_a_weight_stands_left_of_the_product(left: Expr) -> None:
    with pytest.raises(TypeError, match=r"left side of @ is a weight"):
        left @ h


@pytest.mark.parametrize("letter", ["x", "step", "tanh", "1W", "", "a b"])
def test_a_family_needs_a_plain_name_of_its_own(letter: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        Family(letter)


def test_families_and_masks_do_not_pretend_to_have_private_attributes() -> None:
    # copy, pickle and notebooks probe for names such as _repr_html_.
    for owner in (W, step):
        with pytest.raises(AttributeError):
            owner._repr_html_  # noqa: B018


@pytest.mark.parametrize("node", [h, W.r, x, Const(1.0), h + x], ids=repr)
def test_nodes_cannot_be_changed(node: Expr) -> None:
    field = dataclasses.fields(node)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(node, field, "other")


NO_VALUE: dict[str, tuple[Callable[[Expr], object], str]] = {
    "truth": (bool, "is not true or false"),
    "choice": (lambda z: h if z else x, "is not true or false"),
    "and": (lambda z: z and h, "is not true or false"),
    "not": (lambda z: not z, "is not true or false"),
    "below": (lambda z: z < h, "cannot be compared"),
    "not above": (lambda z: z <= 0.5, "cannot be compared"),  # type: ignore[operator]
    "above": (lambda z: z > 0.5, "cannot be compared"),  # type: ignore[operator]
    "not below": (lambda z: z >= 1, "cannot be compared"),  # type: ignore[operator]
    "equal to a number": (lambda z: z == 1, "cannot be compared"),
    "a number unlike it": (lambda z: z != 0.5, "cannot be compared"),
    "iteration": (list, "has no elements"),
    "unpacking": (lambda z: [*z], "has no elements"),
    "index": (lambda z: z[0], "has no elements"),
    "slice": (lambda z: z[1:], "has no elements"),
    "membership": (lambda z: h in z, "has no elements"),  # type: ignore[operator]
}


@pytest.mark.parametrize(("use", "message"), NO_VALUE.values(), ids=NO_VALUE)
@pytest.mark.parametrize("z", [Const(1), x, h, W.r, Name("z"), h * x], ids=str)
def test_an_expression_has_no_truth_no_order_and_no_elements(
    z: Expr, use: Callable[[Expr], object], message: str
) -> None:
    with pytest.raises(CellError, match=f"{message}.*only when the cell runs"):
        use(z)


def test_a_long_expression_is_named_in_short() -> None:
    total: Expr = h
    for _ in range(50):
        total = total + x
    with pytest.raises(CellError, match=r"^h \+ x.*\.\.\. is not true or false"):
        bool(total)


def test_expressions_are_equal_by_structure_and_to_nothing_else() -> None:
    assert h * x == h * x
    assert h * x != x * h
    assert h != Name("h")
    assert h != "h"
    assert len({h * x, h * x, Name("h"), h}) == 3
