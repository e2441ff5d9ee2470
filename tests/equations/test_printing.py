"""Equations print as text that reads back and as LaTeX that says the same thing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from grus.equations import (
    CELLS,
    OPERATORS,
    Apply,
    Cell,
    CellError,
    Const,
    Expr,
    Input,
    Name,
    State,
    U,
    V,
    W,
    Weight,
    b,
    c,
    clip,
    h,
    hard_sigmoid,
    latex,
    p,
    sequence,
    sigmoid,
    step,
    text,
    x,
)

STATES = ("h", "c")
VALUES = ("r", "z", "long_name", "v2")
LEAVES: list[Expr] = [
    *map(State, STATES),
    *map(Name, VALUES),
    x,
    step.keep,
    sequence.drop,
    p.r,
    b.gate_2,
]
MATRICES = [W.r, U.z, V.gate_2]


def expressions() -> st.SearchStrategy[Expr]:
    """Any tree of the language, whatever it may mean."""
    numbers = st.floats(allow_nan=False, allow_infinity=False).map(Const)
    return st.recursive(st.one_of(st.sampled_from(LEAVES), numbers), extended, max_leaves=30)


def extended(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    def applied(name: str) -> st.SearchStrategy[Expr]:
        op = OPERATORS[name]
        if op.kind == "linear":
            return st.tuples(st.sampled_from(MATRICES), inner).map(lambda args: Apply(name, args))
        if name == "neg":
            return inner.map(lambda v: -v)
        numbers = [st.integers(1, 9).map(lambda n: Const(float(n)))] * op.numbers[0]
        return st.tuples(*[inner] * op.arity, *numbers).map(lambda args: Apply(name, args))

    return st.sampled_from(sorted(OPERATORS)).flatmap(applied)


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_text_reads_back_as_the_same_expression(expr: Expr) -> None:
    shown = text.show(expr)
    assert text.read(shown, frozenset(STATES), frozenset(VALUES)) == expr


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_text_has_only_the_brackets_it_needs(expr: Expr) -> None:
    shown = text.show(expr)
    for start, end in bracket_pairs(shown):
        if start and (shown[start - 1].isalnum() or shown[start - 1] == "_"):
            continue  # the brackets of a function
        without = f"{shown[:start]} {shown[start + 1 : end]} {shown[end + 1 :]}"
        negative = re.fullmatch(r"-[\d.e+-]+", shown[start + 1 : end])
        try:
            read = text.read(without, frozenset(STATES), frozenset(VALUES))
        except CellError:
            continue
        assert read != expr or negative, f"{shown!r} could be {without!r}"


def bracket_pairs(shown: str) -> list[tuple[int, int]]:
    opened, pairs = [], []
    for at, sign in enumerate(shown):
        if sign == "(":
            opened.append(at)
        elif sign == ")":
            pairs.append((opened.pop(), at))
    return pairs


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_latex_says_the_same_as_the_text(expr: Expr) -> None:
    assert LatexReader(latex.show(expr, STATES)).whole() == expr


FUNCTIONS = {r"\sigma": "sigmoid", r"\tanh": "tanh", r"\exp": "exp", r"\log": "log"} | {
    r"\mathbf{1}_{>0}": "positive"
}
SIGNS = {"+": "add", "-": "sub", r"\odot": "mul", r"\cdot": "mul", "/": "div"}


class LatexReader:
    """A reader of what `latex.show` prints: a second opinion on its brackets and symbols."""

    TOKEN = re.compile(
        r"\\left\(|\\right\)|\\sigma|\\tanh|\\exp|\\log|\\operatorname\{(?P<function>\w+)\}"
        r"|\\mathbf\{1\}_\{>0\}|\^\{\\top\}|\\odot|\\cdot|[-+/,]"
        r"|(?P<number>\d[\d.]*(?: \\times 10\^\{-?\d+\})?)"
        r"|(?P<word>\\mathit\{[^}]+\}|[A-Za-z])(?P<index>_\{(?:[^{}]|\{[^{}]*\})*\})?"
    )

    def __init__(self, source: str) -> None:
        self.tokens: list[re.Match[str]] = []
        at = 0
        while at < len(source):
            match = self.TOKEN.match(source, at)
            assert match, source[at : at + 20]
            self.tokens.append(match)
            at = match.end() + (source[match.end() : match.end() + 1] == " ")

    def whole(self) -> Expr:
        expr = self.sum()
        assert not self.tokens
        return expr

    def peek(self) -> str:
        return self.tokens[0].group() if self.tokens else ""

    def take(self, sign: str) -> None:
        assert self.tokens.pop(0).group() == sign

    def sum(self) -> Expr:
        found = self.product()
        while self.peek() in ("+", "-"):
            op = SIGNS[self.tokens.pop(0).group()]
            found = Apply(op, (found, self.product()))
        return found

    def product(self) -> Expr:
        found = self.factor()
        while self.peek() in (r"\odot", r"\cdot", "/"):
            op = SIGNS[self.tokens.pop(0).group()]
            found = Apply(op, (found, self.factor()))
        return found

    def factor(self) -> Expr:
        if self.peek() == "-":
            self.take("-")
            return -self.factor()
        found = self.atom()
        if isinstance(found, Weight) and self.peek() == r"^{\top}":
            self.take(r"^{\top}")
            return Apply("matmul_t", (found, self.atom()))
        if isinstance(found, Weight) and found in MATRICES:
            return Apply("matmul", (found, self.atom()))
        return found

    def atom(self) -> Expr:
        token = self.tokens.pop(0)
        if token["number"]:
            digits, _, exponent = token["number"].partition(r" \times 10^{")
            return Const(float(f"{digits}e{exponent.rstrip('}') or 0}"))
        if token["word"]:
            return self.leaf(self.plain(token["word"]), token["index"])
        if token.group() == r"\left(":
            found = self.sum()
            self.take(r"\right)")
            return found
        name = token["function"] or FUNCTIONS[token.group()]
        self.take(r"\left(")
        args = [self.sum()]
        while self.peek() == ",":
            self.take(",")
            args.append(self.sum())
        self.take(r"\right)")
        return Apply(name, tuple(args))

    def plain(self, word: str) -> str:
        return word.removeprefix(r"\mathit{").removesuffix("}").replace(r"\_", "_")

    def leaf(self, word: str, index: str | None) -> Expr:
        if index is None:
            return Input(word, "sequence")
        if index == "_{t-1}":
            return State(word)
        if index == "_{t}":
            return Name(word) if word in VALUES else Input(word)
        return Weight(word, self.plain(index[2:-1]))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_every_cell_reads_back_from_its_text(cell: Cell) -> None:
    again = Cell.parse(str(cell), cell.name)
    assert again == cell
    assert str(again) == str(cell)


def test_comments_and_blank_lines_are_skipped() -> None:
    source = "# a cell\n\n  h_next = tanh(W.h @ x)  # the state\n"
    assert str(Cell.parse(source)) == "h_next = tanh(W.h @ x)"


SHOWN = [
    (h - (h - c), "h - (h - c)", "h_{t-1} - \\left(h_{t-1} - c_{t-1}\\right)"),
    (-(h * c), "-(h * c)", "-\\left(h_{t-1} \\odot c_{t-1}\\right)"),
    (-2 * h, "-2 * h", "-2 \\cdot h_{t-1}"),
    (h + -2 * c, "h + (-2) * c", "h_{t-1} + \\left(-2\\right) \\cdot c_{t-1}"),
    (U.n @ (h * c), "U.n @ (h * c)", "U_{n} \\left(h_{t-1} \\odot c_{t-1}\\right)"),
    (h * (W.r @ x), "h * (W.r @ x)", "h_{t-1} \\odot \\left(W_{r} x_{t}\\right)"),
    (h / (c / h), "h / (c / h)", "h_{t-1} / \\left(c_{t-1} / h_{t-1}\\right)"),
    (h * 1e-5, "h * 1e-05", "h_{t-1} \\cdot 1 \\times 10^{-5}"),
    (sigmoid(-0.5 * h), "sigmoid(-0.5 * h)", "\\sigma\\left(-0.5 \\cdot h_{t-1}\\right)"),
    (Apply("matmul_t", (W.r, h)), "W.r.T @ h", "W_{r}^{\\top} h_{t-1}"),
]


@pytest.mark.parametrize(("expr", "as_text", "as_latex"), SHOWN, ids=[s[1] for s in SHOWN])
def test_brackets_stand_where_they_are_needed(expr: Expr, as_text: str, as_latex: str) -> None:
    assert text.show(expr) == as_text
    assert latex.show(expr, STATES) == as_latex


def test_notebooks_get_an_aligned_block_of_latex() -> None:
    shown = CELLS["gru"]._repr_latex_()
    assert shown.startswith("$\\displaystyle \\begin{aligned}\n")
    assert shown.endswith("\n\\end{aligned}$")
    assert shown.count("&=") == len(CELLS["gru"])
    assert "h_{t} &= z_{t} \\odot h_{t-1} + \\left(1 - z_{t}\\right) \\odot n_{t}" in shown


def test_a_gate_called_t_is_no_transpose() -> None:
    cell = Cell.parse("h_next = tanh(W.T @ x + U.T @ h)")
    assert cell.weights == (Weight("W", "T"), Weight("U", "T"))
    assert Cell.parse(str(cell)) == cell


def test_numbers_can_be_spelled_by_the_caller() -> None:
    assert text.show(h * 0.123456, lambda v: f"{v:.2f}") == "h * 0.12"
    assert latex.show(h * 0.123456, STATES, lambda v: f"{v:.2f}") == "h_{t-1} \\cdot 0.12"


def test_functions_that_operators_make_are_read_as_these() -> None:
    cell = Cell.parse("h_next = clip(hard_sigmoid(h) + hard_sigmoid(h, 0.25, 0.5), 2)")
    assert cell["h_next"] == clip(hard_sigmoid(h) + hard_sigmoid(h, 0.25, 0.5), 2)
    assert Cell.parse(str(cell)) == cell
