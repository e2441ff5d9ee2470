"""The operators: one record each, from which every table of operators is made.

A new elementwise operator is one entry of this page: its value on a number and on arrays, its
derivative, how it is drawn. Where NumPy and torch have a function of its name, nothing need be
written for arrays. Libraries are arguments, so this room imports none.

Derivatives: g is the adjoint of the result y, and each rule gives the adjoints of the arguments, in
order. The adjoint of a number (a mean, and what is made of means) is carried per unit: the mean,
not the sum, of what the units hand down. So the rule of a mean over n units needs no division by n.

Where two branches meet, the derivative is torch's. relu has 0 at 0. A minimum or maximum with a
number is a bound, and what has reached a bound has 0 there (torch's hardtanh, hardsigmoid, relu6);
of two values that are equal each has half (torch.minimum, torch.maximum).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from grus.equations.blocks import InBlocks, times, times_turned
from grus.equations.expr import Apply, Const, Expr, Operand, as_expr

Kind = Literal["elementwise", "linear", "reduction", "gather", "blocks"]
Derivative = Callable[..., tuple[Expr, ...]]
Axis = TypeVar("Axis")
Array = Any
"""An array of the library that is handed in."""


@dataclass(frozen=True, slots=True)
class Linear:
    """How a linear operator reads its weight, a matrix [rows, columns]."""

    adjoint: str
    """The operator that hands an adjoint of the result back to the operand."""
    turned: bool = False
    """Whether the matrix is used transposed."""

    def axes(self, rows: Axis, columns: Axis) -> tuple[Axis, Axis]:
        """(axis of the result, axis of the operand)."""
        return (columns, rows) if self.turned else (rows, columns)


@dataclass(frozen=True, slots=True)
class Operator:
    """All that is to be known of one operator."""

    name: str
    arity: int
    kind: Kind = "elementwise"
    symbol: str = ""
    """How it is written between its arguments; a function has none."""
    binding: int = 9
    """How tightly a symbol binds, as in Python: + - 1, * / @ 2, unary - 3, calls 9."""
    number: Callable[..., float] | None = None
    """Its value where all arguments are numbers; a product with a weight has none."""
    derivative: Derivative | None = None
    """(g, y, *arguments) -> adjoints of the arguments; a product has its rule in ``linear``."""
    array: Callable[..., Array] | None = None
    """(library, *arguments) -> value; None is the library's function of the same name."""
    torch: Callable[..., Array] | None = None
    """The same, where torch's differs from NumPy's."""
    latex: str = ""
    drawn: str = ""
    """Its sign in a diagram; "" is its name."""
    rises: bool = False
    """Whether it has a value everywhere and never falls where an argument grows."""
    linear: Linear | None = None
    numbers: tuple[int, int] = (0, 0)
    """How few and how many whole numbers follow the argument of a gather or of blocks."""

    def on(self, library: Any) -> Callable[..., Array]:
        """The operator on arrays of ``library``, the module numpy or torch.

        Raises AttributeError where the library has no function of its name and none is written.
        """
        written = (self.torch if library.__name__ == "torch" else None) or self.array
        if written is None:
            function: Callable[..., Array] = getattr(library, self.name)
            return function
        return lambda *args: written(library, *args)


OPERATORS: dict[str, Operator] = {}
"""Every operator by its name, in the order of this page."""


def linear(expr: Expr) -> Linear | None:
    """How the root of an expression reads a weight; None where it is no product with one."""
    return OPERATORS[expr.op].linear if isinstance(expr, Apply) else None


def _record(name: str, arity: int, **known: Any) -> None:
    """Add a record; what one leaves out would be missed only where it is first used."""
    op = Operator(name, arity, **known)
    if (op.linear is None) == (op.kind == "linear"):
        raise TypeError(f"operator {name}: a linear operator, and no other, says how")
    plain = op.kind in ("elementwise", "reduction")
    if plain and (op.number is None or op.derivative is None):
        raise TypeError(f"operator {name} needs its value on numbers and its derivative")
    OPERATORS[name] = op


def _function(name: str, meaning: str, **known: Any) -> Callable[[Operand], Expr]:
    _record(name, 1, **known)

    def apply(v: Operand) -> Expr:
        return Apply(name, (as_expr(v),))

    apply.__name__, apply.__qualname__, apply.__doc__ = name, name, meaning
    return apply


def _function_of_two(name: str, meaning: str, **known: Any) -> Callable[[Operand, Operand], Expr]:
    _record(name, 2, **known)

    def apply(v: Operand, w: Operand) -> Expr:
        return Apply(name, (as_expr(v), as_expr(w)))

    apply.__name__, apply.__qualname__, apply.__doc__ = name, name, meaning
    return apply


def _sigmoid_of_number(v: float) -> float:
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def _sigmoid(np: Any, v: Array) -> Array:
    # exp only of numbers <= 0: no overflow, and exactly 0 and 1 where sigmoid saturates.
    e = np.exp(-np.abs(v))
    return np.where(v >= 0, 1 / (1 + e), e / (1 + e))


def _larger(g: Expr, a: Expr, b: Expr, sign: int = 1) -> tuple[Expr, Expr]:
    """The adjoints of a and b where the larger is the result; with ``sign`` -1 the smaller."""
    over, under = (positive(a - b), positive(b - a))[::sign]
    if isinstance(a, Const) or isinstance(b, Const):
        return g * over, g * under
    return g * (0.5 + 0.5 * (over - under)), g * (0.5 + 0.5 * (under - over))


def _maximum_in_torch(torch: Any, a: Array, b: Array) -> Array:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.maximum(a, b)
    # A number is a bound: at it the derivative is 0, where torch.clamp has 1.
    value, bound = (a, b) if isinstance(a, torch.Tensor) else (b, a)
    return torch.where(value <= bound, bound, value)


_record(
    "add",
    2,
    symbol="+",
    binding=1,
    number=operator.add,
    array=lambda _, a, b: a + b,
    derivative=lambda g, y, a, b: (g, g),
    latex=" + ",
    drawn="+",
)
_record(
    "sub",
    2,
    symbol="-",
    binding=1,
    number=operator.sub,
    array=lambda _, a, b: a - b,
    derivative=lambda g, y, a, b: (g, -g),
    latex=" - ",
    drawn="−",
)
_record(
    "mul",
    2,
    symbol="*",
    binding=2,
    number=operator.mul,
    array=lambda _, a, b: a * b,
    derivative=lambda g, y, a, b: (g * b, g * a),
    latex=r" \odot ",
    drawn="⊙",
)
_record(
    "div",
    2,
    symbol="/",
    binding=2,
    number=operator.truediv,
    array=lambda _, a, b: a / b,
    derivative=lambda g, y, a, b: (g / b, -(g * y) / b),
    latex=" / ",
    drawn="÷",
)
_record(
    "neg",
    1,
    symbol="-",
    binding=3,
    number=operator.neg,
    array=lambda _, a: -a,
    derivative=lambda g, y, a: (-g,),
    drawn="−",
)
_record(
    "matmul",
    2,
    kind="linear",
    symbol="@",
    binding=2,
    array=times,
    linear=Linear(adjoint="matmul_t"),
)
_record(
    "matmul_t",
    2,
    kind="linear",
    symbol=".T @",
    binding=2,
    array=times_turned,
    linear=Linear(adjoint="matmul", turned=True),
)
sigmoid = _function(
    "sigmoid",
    "1 / (1 + exp(-v)).",
    number=_sigmoid_of_number,
    array=_sigmoid,
    torch=lambda torch, v: torch.sigmoid(v),
    derivative=lambda g, y, a: (g * (y * (1 - y)),),
    latex=r"\sigma",
    drawn="σ",
    rises=True,
)
tanh = _function(
    "tanh",
    "The hyperbolic tangent.",
    number=math.tanh,
    derivative=lambda g, y, a: (g * (1 - y * y),),
    latex=r"\tanh",
    rises=True,
)
relu = _function(
    "relu",
    "max(v, 0); NaN stays NaN.",
    number=lambda v: max(v, 0.0),
    array=lambda np, a: np.where(a <= 0, 0.0, a),
    torch=lambda torch, a: torch.relu(a),
    derivative=lambda g, y, a: (g * positive(y),),
    rises=True,
)
exp = _function(
    "exp",
    "e to the power v.",
    number=math.exp,
    derivative=lambda g, y, a: (g * y,),
    latex=r"\exp",
    rises=True,
)
log = _function(
    "log",
    "The natural logarithm.",
    number=math.log,
    derivative=lambda g, y, a: (g / a,),
    latex=r"\log",
    drawn="ln",
)
softplus = _function(
    "softplus",
    "log(1 + exp(v)).",
    number=lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))),
    array=lambda np, a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
    # torch's own function is the identity from 20 on, an error of 2e-9 that float64 shows.
    torch=lambda torch, a: torch.logaddexp(a, torch.zeros_like(a)),
    derivative=lambda g, y, a: (g * sigmoid(a),),
    rises=True,
)
sqrt = _function(
    "sqrt",
    "The square root.",
    number=math.sqrt,
    derivative=lambda g, y, a: (g / (2 * y),),
    drawn="√",
)
positive: Callable[[Operand], Expr] = _function(
    "positive",
    "1 where v > 0, else 0; its derivative is 0.",
    number=lambda v: float(v > 0),
    array=lambda np, a: np.where(a > 0, 1.0, 0.0),
    torch=lambda torch, a: (a > 0).to(a.dtype),
    derivative=lambda g, y, a: (0 * g,),
    latex=r"\mathbf{1}_{>0}",
    drawn=">0",
    rises=True,
)
minimum = _function_of_two(
    "minimum",
    "The smaller of two, element by element.",
    number=min,
    torch=lambda torch, a, b: -_maximum_in_torch(torch, -a, -b),
    derivative=lambda g, y, a, b: _larger(g, a, b, -1),
    drawn="min",
    rises=True,
)
maximum = _function_of_two(
    "maximum",
    "The larger of two, element by element.",
    number=max,
    torch=_maximum_in_torch,
    derivative=lambda g, y, a, b: _larger(g, a, b),
    drawn="max",
    rises=True,
)
mean = _function(
    "mean",
    "The mean over the vector's axis, a scalar per row (layer norm is built from it).",
    kind="reduction",
    number=lambda v: v,
    array=lambda _, a: a.mean(axis=-1, keepdims=True),
    torch=lambda _, a: a.mean(dim=-1, keepdim=True),
    derivative=lambda g, y, a: (g,),
)
_record("patches", 1, kind="gather", numbers=(1, 2))
_record("neighbours", 1, kind="gather", numbers=(0, 1))
_record("blocks", 1, kind="blocks", numbers=(1, 1), array=lambda _, v, n: InBlocks(v, int(n)))


def patches(v: Operand, *window: float) -> Expr:
    """What v holds under a window around each position, for the right of @: ``W.z @ patches(x, 3)``
    along a line, ``W.z @ patches(x, 3, 3)`` over an image, zeros beyond the edge.

    The sizes are odd. The axis is [channel, row, column] flattened, so a convolution's weight
    [out, in, 3, 3] is W.z [out, 9 in].
    """
    return Apply("patches", (as_expr(v), *map(as_expr, window)))


def neighbours(v: Operand, matrix: float = 0) -> Expr:
    """The sum of v over each position's neighbours: A v, A the graph's matrix of that number."""
    return Apply("neighbours", (as_expr(v), *([as_expr(matrix)] if matrix else [])))


def is_gather(expr: Expr) -> bool:
    """Whether the root of an expression reads other positions than its own."""
    return isinstance(expr, Apply) and OPERATORS[expr.op].kind == "gather"


def numbers_after(expr: Apply) -> tuple[int, ...]:
    """The whole numbers that follow an argument: a window, which matrix, how many blocks."""
    return tuple(int(arg.value) for arg in expr.args[1:] if isinstance(arg, Const))


def clip(v: Operand, bound: float) -> Expr:
    """v kept inside [-bound, bound]."""
    return minimum(maximum(v, -bound), bound)


def hard_sigmoid(v: Operand, alpha: float = 0.2, beta: float = 0.5) -> Expr:
    """min(max(alpha v + beta, 0), 1); 0.2 and 0.5 are Keras 2's, 1/6 and 0.5 are Keras 3's."""
    return minimum(maximum(alpha * as_expr(v) + beta, 0), 1)
