"""Random cells for hypothesis: every operator, nested at random, kept away from poles.

A quotient's denominator and a root's argument are made to stay above a constant, an exponential's
argument below one; everything else is free. The next state passes through tanh, so that a few
steps of any cell stay finite, and every vector is joined to h, so that all have the hidden axis.
"""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

from grus.equations import (
    Apply,
    Cell,
    Const,
    Expr,
    Input,
    Name,
    State,
    Weight,
    exp,
    h,
    log,
    maximum,
    mean,
    minimum,
    positive,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)

UNARY = {
    "neg": lambda v: -v,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "positive": positive,
    "exp": lambda v: exp(tanh(v)),
    "log": lambda v: log(1 + v * v),
    "softplus": softplus,
    "sqrt": lambda v: sqrt(1 + v * v),
}
BINARY = {
    "add": lambda v, w: v + w,
    "sub": lambda v, w: v - w,
    "mul": lambda v, w: v * w,
    "div": lambda v, w: v / (1.5 + tanh(w)),
    "minimum": minimum,
    "maximum": maximum,
}
GATES = "abcdef"


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """A cell of one to three equations and one or two states, with all that its text can say."""
    states = ["h", "c"][: draw(st.integers(1, 2))]
    equations: list[tuple[str, Expr]] = []
    for k in range(draw(st.integers(0, 2))):
        equations.append((f"v{k}", h + draw(_vectors(states, equations))))
    for state in states:
        equations.append((f"{state}_next", tanh(h + draw(_vectors(states, equations)))))
    return Cell("random", tuple(equations))


def _vectors(states: list[str], before: list[tuple[str, Expr]]) -> st.SearchStrategy[Expr]:
    """Expressions of the hidden axis."""
    products = st.builds(lambda g: Apply("matmul", (Weight("W", g), Input("x"))), _gates())
    leaves: list[st.SearchStrategy[Expr]] = [
        st.sampled_from([State(s) for s in states]),
        st.builds(partial(Weight, "p"), _gates()),
        products,
    ]
    if before:
        names = [Name(name) for name, _ in before]
        leaves += [st.sampled_from(names), st.sampled_from([v - mean(v * v) for v in names])]
    vectors = st.one_of(*leaves)
    constants = st.sampled_from([-2.0, -0.5, 0.5, 1.0, 3.0]).map(Const)

    def extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        return st.one_of(
            st.builds(lambda f, v: UNARY[f](v), st.sampled_from(sorted(UNARY)), inner),
            st.builds(
                lambda f, v, w: BINARY[f](v, w),
                st.sampled_from(sorted(BINARY)),
                inner,
                st.one_of(inner, constants),
            ),
            st.builds(lambda g, v: Apply("matmul", (Weight("U", g), h * v)), _gates(), inner),
        )

    return st.recursive(vectors, extend, max_leaves=6)


def _gates() -> st.SearchStrategy[str]:
    return st.sampled_from(GATES)
