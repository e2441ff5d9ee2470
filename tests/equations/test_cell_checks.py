"""A cell is checked when it is built; each message names the cell, the equation and the reason."""

from __future__ import annotations

import keyword
import math

import pytest

from grus.equations import (
    Apply,
    Cell,
    CellError,
    Const,
    Name,
    State,
    U,
    W,
    Weight,
    h,
    sigmoid,
    tanh,
    x,
)
from grus.equations.cell import MAX_TEXT
from grus.equations.checks import MAX_DEPTH, MAX_NODES
from grus.errors import InputError

WRONG_TEXT = {
    "no state": ("r = sigmoid(W.r @ x)", "no state: some equation must give a next value"),
    "no equation": ("", "no state"),
    "unknown name": ("h_next = z * h", "in h_next = .*z is used before it is given a value"),
    "used before": ("a = z * h\nz = sigmoid(h)\nh_next = a", "in a = .*z is used before"),
    "an input that is none": ("z = (1 - a) * h\nh_next = z", r"a mask .* is step\.a"),
    "unused": ("z = sigmoid(W.z @ x)\nh_next = tanh(W.h @ x + h)", "z is never used"),
    "unused, both": ("a = h * 2\nb = a + h\nh_next = h", "a, b are never used"),
    "rebound": ("r = h\nr = h * 2\nh_next = r", "r is given a value twice"),
    "state rebound": ("h = W.r @ x\nh_next = h", "h.* cannot be given a value"),
    "reserved": ("tanh = h * 2\nh_next = tanh", "'tanh' cannot be given a value"),
    "x given": ("x = h * 2\nh_next = h", "'x' cannot be given a value"),
    "keyword": ("lambda = h * 2\nh_next = h", "'lambda' cannot be given a value"),
    "not a name": ("1a = h * 2\nh_next = h", "'1a' cannot be given a value"),
    "state called x": ("x_next = W.r @ x", "no state is 'x'"),
    "state without name": ("_next = W.r @ x", "no state is ''"),
    "weight called x": ("h_next = x.r @ x + h", "no weight can be called x.r"),
    "weight keyword": ("h_next = W.f.g @ x + h", "not part of the equation language"),
    "matrix and vector": ("a = W.r @ x\nh_next = a + W.r", "W.r is a matrix left of @ and a"),
    "vector and matrix": ("a = h + W.r\nh_next = a + W.r @ x", "W.r is a vector in one place"),
    "product of number": ("h_next = W.r @ 2 + h", "W.r @ needs a vector on its right"),
    "product of mean": ("h_next = W.r @ mean(h) + h", "W.r @ needs a vector on its right"),
    "left of product": ("h_next = h @ x", "left side of @ must be a weight"),
    "scalar state": ("h_next = mean(h)", "h_next is a number"),
    "scalar output": ("h_next = W.r @ x\ny = mean(h)", "output y is a number"),
    "family of two shapes": (
        "h_next = tanh(W.r @ x + W.z @ h)\nc_next = V.c @ h + c",
        r"weights of family W have different shapes \(W.r .*; W.z .*use another letter",
    ),
    "three axes": (
        "a = V.a @ x\nk = P.k @ a\nc_next = c + W.c @ k\nh_next = Q.h @ c + U.h @ h",
        "more than two axes beside the input: a, k, c_next, h_next are each of a size of its own",
    ),
    "not an expression": ("h_next = h +", "in h_next = .*not an expression"),
    "no equals sign": ("h_next h", "not an expression"),
    "two equals signs": ("h_next == h", "not an expression"),
    "power": ("h_next = h ** 2", r"'h \*\* 2' is not part of the equation language"),
    "comparison": ("h_next = h < 2", "not part of the equation language"),
    "attribute chain": ("h_next = W.r.z @ x + h", "not part of the equation language"),
    "call of a method": ("h_next = W.r.copy() + h", "not part of the equation language"),
    "clip without a bound": ("h_next = clip(h)", "clip takes an expression and 1 number"),
    "clip of no number": ("h_next = clip(h, x)", "clip takes an expression and 1 number"),
    "unknown function": ("h_next = sin(h)", r"'sin\(h\)' is not a function"),
    "too few arguments": ("h_next = minimum(h)", "not a function of the equation language"),
    "keyword argument": ("h_next = tanh(v=h)", "not a function of the equation language"),
    "string": ("h_next = 'h'", "not part of the equation language"),
    "bool": ("h_next = h * True", "'True' is not part of the equation language"),
    "complex": ("h_next = h * 1j", "'1j' is not part of the equation language"),
    "import": ("h_next = __import__('os').system('x')", "not part of the equation language"),
    "infinite": ("h_next = h * 1e999", "inf is not a finite number"),
    "huge": (f"h_next = h * {'9' * 400}", "too large for a float"),
    "huger": (f"h_next = h * {'9' * 5000}", "not an expression"),
    "mask called x": ("h_next = W.r @ x + sequence.x + h", "no mask can be called sequence.x"),
    "mask of two kinds": ("h_next = h * step.k + sequence.k", "step.k and sequence.k share a name"),
    "deep sum": (f"h_next = h{' + 1' * 2000}", f"nested more than {MAX_DEPTH} deep"),
    "deep signs": (f"h_next = {'-' * 500}h", f"nested more than {MAX_DEPTH} deep"),
    "deeper signs": (f"h_next = {'-' * 50_000}h", "not an expression"),
    "deep brackets": (f"h_next = {'(' * 50_000}h{')' * 50_000}", "not an expression|limit"),
    "deep keyword": (f"h_next = tanh(v={'-' * 500}h)", f"nested more than {MAX_DEPTH} deep"),
    "null": ("h_next = h \0", "not an expression"),
    "too long": ("#" * (MAX_TEXT + 1), f"limit {MAX_TEXT}"),
}


@pytest.mark.parametrize(("source", "message"), WRONG_TEXT.values(), ids=WRONG_TEXT)
def test_text_that_cannot_be_a_cell_is_an_error_that_says_why(source: str, message: str) -> None:
    with pytest.raises(CellError, match=message) as caught:
        Cell.parse(source, "mine")
    assert str(caught.value).startswith("cell mine: ")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_cell_error_is_an_input_error() -> None:
    assert issubclass(CellError, InputError)


WRONG_TREES = {
    "unknown operator": (Apply("sinh", (h,)), "unknown operator sinh"),
    "wrong arity": (Apply("tanh", (h, h)), "unknown operator tanh of 2 arguments"),
    "unknown name": (Name("k") + h, "k is used before"),
    "unknown state": (State("c") + h, "state c has no next value: c_next is missing"),
    "nan": (h * math.nan, "nan is not a finite number"),
    "minus of a number": (h + Apply("neg", (Const(2.0),)), "minus a number is written"),
    "weight keyword": (Weight("W", "in") + h, "no weight can be called W.in"),
    "weight dotted": (Weight("W.r", "z") + h, "no weight can be called W.r.z"),
}


@pytest.mark.parametrize(("expr", "message"), WRONG_TREES.values(), ids=WRONG_TREES)
def test_trees_that_the_text_could_not_say_are_refused_too(expr: Apply, message: str) -> None:
    with pytest.raises(CellError, match=f"cell mine: in h_next = .*{message}"):
        Cell("mine", (("h_next", expr),))


@pytest.mark.parametrize("word", keyword.kwlist)
def test_no_equation_is_called_by_a_keyword_because_its_text_could_not_be_read(word: str) -> None:
    with pytest.raises(CellError, match="cannot be given a value"):
        Cell("mine", ((word, h + 1), ("h_next", h + 1)))


def test_a_tree_that_shares_its_parts_is_refused_before_it_is_walked() -> None:
    doubled = h + h
    for _ in range(60):  # 2^60 nodes when it is walked as a tree
        doubled = doubled + doubled
    with pytest.raises(CellError, match=f"more than {MAX_NODES} parts"):
        Cell("mine", (("h_next", doubled),))


def test_the_deepest_cell_that_is_allowed_prints_and_reads_back() -> None:
    deep = h
    for k in range(MAX_DEPTH - 1):
        deep = tanh(deep) if k % 2 else -deep
    cell = Cell("deep", (("h_next", deep),))
    assert Cell.parse(str(cell)) == cell
    with pytest.raises(CellError, match="nested"):
        Cell("deeper", (("h_next", tanh(deep)),))


def test_a_class_body_takes_equations_and_numbers_only() -> None:
    with pytest.raises(CellError, match="r must be an equation or a number, not str"):

        class Wrong(Cell):
            r = "sigmoid(W.r @ x)"


def test_a_class_body_gives_a_name_once_whether_equation_or_number() -> None:
    with pytest.raises(CellError, match="r is given a value twice"):

        class Twice(Cell):
            r = sigmoid(W.r @ x)
            r = h * 2

    with pytest.raises(CellError, match="r is given a value twice"):

        class NumberLater(Cell):
            r = sigmoid(W.r @ x)
            r = 0.5
            h_next = r * h

    with pytest.raises(CellError, match="k is given a value twice"):

        class NumberFirst(Cell):
            k = 0.5
            k = U.r @ h
