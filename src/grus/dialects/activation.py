"""Activations as equations: what a framework lets its users choose, in the one language.

`activated` puts them, and clipping, into a cell; `factor` finds them in one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from grus.equations import (
    CELLS,
    Apply,
    Cell,
    Const,
    Expr,
    Name,
    clip as clipped,
    exp,
    maximum,
    minimum,
    positive,
    relu,
    sigmoid,
    tanh,
)
from grus.equations.expr import parts
from grus.equations.flat import has_product
from grus.errors import InputError

Make = Callable[[Expr, float | Expr, float | Expr], Expr]
Equations = list[tuple[str, Expr]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of activation: its equation in v, alpha and beta, and their defaults (ONNX')."""

    make: Make
    alpha: float | None = None
    beta: float | None = None
    onnx: str = ""
    """What ONNX calls it; "" where it has no such activation."""
    defaults: bool = True
    """False where an ONNX node must give the numbers."""


def below(v: Expr) -> Expr:
    """min(v, 0) with the derivative 1 at 0, which is what relu(v) leaves of v there."""
    # Bounded, since infinity times zero is no zero.
    return minimum(v, 1) * (1 - positive(v))


SERIES = 18
"""Terms of the series of log1p in softplus: at s <= 1/3 the next one is below 1e-18."""


def _softplus(stem: str, v: Expr) -> tuple[Equations, Expr]:
    """log(1 + exp(v)) = relu(v) + 2 artanh(s), s = u / (2 + u), u = exp(-|v|).

    |v| is relu(v) - below(v), whose derivative at 0 is -1: so softplus has 1/2 there.
    """
    u, s, q = (Name(f"{stem}_{letter}") for letter in "usq")
    series: Expr = Const(1 / (2 * SERIES - 1))
    for k in reversed(range(SERIES - 1)):
        series = 1 / (2 * k + 1) + q * series
    lines: Equations = [
        (u.name, exp(below(v) - relu(v))),
        (s.name, u / (2 + u)),
        (q.name, s * s),
    ]
    return lines, relu(v) + 2 * s * series


KINDS: dict[str, Kind] = {
    "sigmoid": Kind(lambda v, a, b: sigmoid(v), onnx="Sigmoid"),
    "tanh": Kind(lambda v, a, b: tanh(v), onnx="Tanh"),
    "relu": Kind(lambda v, a, b: relu(v), onnx="Relu"),
    "linear": Kind(lambda v, a, b: v),
    "hard_sigmoid": Kind(
        lambda v, a, b: minimum(maximum(a * v + b, 0), 1), 0.2, 0.5, "HardSigmoid"
    ),
    "softsign": Kind(lambda v, a, b: v / (1 + maximum(v, -v)), onnx="Softsign"),
    "scaled_tanh": Kind(lambda v, a, b: a * tanh(b * v), 1.0, 1.0, "ScaledTanh", defaults=False),
    "leaky_relu": Kind(lambda v, a, b: relu(v) + a * below(v), 0.01, onnx="LeakyRelu"),
    # Not v * positive(...): minus infinity times zero is no zero.
    "thresholded_relu": Kind(
        lambda v, a, b: maximum(v, a) * positive(v - a), 1.0, onnx="ThresholdedRelu"
    ),
    "elu": Kind(lambda v, a, b: relu(v) + a * (exp(below(v)) - 1), 1.0, onnx="Elu"),
    "affine": Kind(lambda v, a, b: a * v + b, 1.0, 0.0, "Affine"),
    "exponential": Kind(lambda v, a, b: exp(v)),
    "silu": Kind(lambda v, a, b: v * sigmoid(v)),
}
"""What a framework may let its users choose; each is one expression."""
SOFTPLUS = "softplus"
"""ONNX' other activation: several equations, which no record of weights has."""


def _no_expression(v: Expr, alpha: float | Expr, beta: float | Expr) -> Expr:
    raise InputError(f"{SOFTPLUS} is several equations and no expression")


EVERY = KINDS | {SOFTPLUS: Kind(_no_expression, onnx="Softplus")}


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation: a kind of `KINDS` and its numbers, the kind's defaults where None."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in EVERY:
            raise InputError(
                f"no activation is called {self.name[:60]!r}; there are {', '.join(KINDS)}"
            )
        for number in ("alpha", "beta"):
            default = getattr(EVERY[self.name], number)
            if getattr(self, number) is None:
                object.__setattr__(self, number, default)
            elif default is None:
                raise InputError(f"activation {self.name} has no {number}")

    def __call__(self, v: Expr) -> Expr:
        """The equation."""
        return EVERY[self.name].make(v, self.alpha or 0.0, self.beta or 0.0)

    def equations(self, name: str, v: Expr) -> Equations:
        """``name = act(v)``, after the equations that it needs; ``v`` gets a name of its own where
        the activation reads it more than once."""
        stem, before = name.removesuffix("_next"), Equations()
        if isinstance(v, Apply) and (self.name == SOFTPLUS or _uses(self) > 1):
            before.append((f"{stem}_in", v))
            v = Name(f"{stem}_in")
        if self.name == SOFTPLUS:
            lines, last = _softplus(stem, v)
            return [*before, *lines, (name, last)]
        return [*before, (name, self(v))]

    def __str__(self) -> str:
        numbers = [f"{n:.6g}" for n in (self.alpha, self.beta) if n is not None]
        return f"{self.name}({', '.join(numbers)})" if numbers else self.name

    @property
    def symmetric(self) -> bool:
        """True where f(-v) = 1 - f(v), so that negated weights turn the gate's sense round."""
        return self.name == "sigmoid" or (
            self.name in ("hard_sigmoid", "affine") and self.beta == 0.5
        )


SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")


@dataclass(frozen=True)
class Activations:
    """The activations of a cell: its gates', its candidate's, an LSTM's output's; and clipping.

    ``clip`` bounds what goes into the activations of gates and candidate to [-clip, clip].
    """

    gates: Activation = SIGMOID
    candidate: Activation = TANH
    output: Activation = TANH
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise InputError(f"clip must be a positive number, got {self.clip}")

    def __str__(self) -> str:
        said = [f"gates {self.gates}, candidate {self.candidate}"]
        said += [f"output {self.output}"] if self.output != TANH else []
        return ", ".join(said + ([f"clip {self.clip:g}"] if self.clip else []))


USUAL = Activations()


def activated(
    cell: Cell,
    gates: str | Activation = SIGMOID,
    candidate: str | Activation = TANH,
    output: str | Activation = TANH,
    *,
    clip: float | None = None,
) -> Cell:
    """The cell with other activations, as a cell of equations like any other.

    ``gates`` stands for every sigmoid; ``candidate`` for every tanh or relu of a sum of products
    (in an RNN, the one there is); ``output`` for every other tanh, that of an LSTM's state.
    ``clip`` bounds the sums that go into gates and candidate. Activations are names of `KINDS`
    with their default numbers, or `Activation`. The usual ones give the cell itself.

    Raises InputError for an unknown activation or a clip that is not positive.
    """
    chosen = Activations(_made(gates), _made(candidate), _made(output), clip)
    return cell if chosen == USUAL and cell != CELLS["rnn_relu"] else _activated(cell, chosen)


def _made(given: str | Activation) -> Activation:
    return Activation(given) if isinstance(given, str) else given


@lru_cache(maxsize=1024)
def _activated(cell: Cell, chosen: Activations) -> Cell:
    found: list[tuple[str, Expr]] = []
    for name, expr in cell.equations:
        inside: list[tuple[str, Expr]] = []
        new = _replaced(expr, chosen, name, inside)
        found += [*inside, (name, new)]
    return Cell(cell.name, tuple(found), cell.doc if chosen == USUAL else "")


def _replaced(expr: Expr, chosen: Activations, name: str, inside: list[tuple[str, Expr]]) -> Expr:
    """The expression with its activations changed; ``inside`` gets what is named on the way."""
    if not isinstance(expr, Apply):
        return expr
    args = tuple(_replaced(arg, chosen, name, inside) for arg in expr.args)
    role = _role(expr)
    if role is None:
        return Apply(expr.op, args)
    (v,) = args
    activation: Activation = getattr(chosen, role)
    if chosen.clip is not None and role != "output":
        v = clipped(v, chosen.clip)
    *before, (_, found) = activation.equations(name, v)
    inside += before
    return found


def _role(expr: Apply) -> str | None:
    if expr.op == "sigmoid":
        return "gates"
    if expr.op in ("tanh", "relu"):
        return "candidate" if has_product(expr) else "output"
    return None


@lru_cache(maxsize=1024)
def _uses(activation: Activation) -> int:
    """How often the equation reads v."""
    return _count(activation(Name("v")), Name("v"))


def _count(expr: Expr, leaf: Expr) -> int:
    return (expr == leaf) + sum(_count(part, leaf) for part in parts(expr))


@dataclass(frozen=True)
class Factored:
    """A cell taken apart: one of `CELLS` with the usual activations, and its own ones."""

    base: Cell
    activations: Activations

    @cached_property
    def cell(self) -> Cell:
        """Put together again."""
        a = self.activations
        if a == USUAL:
            return self.base
        return activated(self.base, a.gates, a.candidate, a.output, clip=a.clip)


@lru_cache(maxsize=1024)
def factor(cell: Cell) -> Factored | None:
    """The cell of `CELLS` that this is but for activations and clip; None where it is none."""
    named = {name: expr for name, expr in cell.equations if name.endswith("_in")}
    plain = [(n, _inlined(expr, named)) for n, expr in cell.equations if n not in named]
    for base in CELLS.values():
        if [n for n, _ in plain] != [n for n, _ in base.equations]:
            continue
        pairs = [(expr, base[name]) for name, expr in plain]
        for found in _all_match(pairs, {}):
            usual = {"gates": SIGMOID, "candidate": TANH, "output": TANH}
            clip = found.pop("clip", None)
            factored = Factored(base, Activations(**(usual | found), clip=clip or None))
            if factored.cell == cell:
                return factored
    return None


def _inlined(expr: Expr, named: dict[str, Expr]) -> Expr:
    if isinstance(expr, Name) and expr.name in named:
        return _inlined(named[expr.name], named)
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_inlined(arg, named) for arg in expr.args))
    return expr


Found = dict[str, Any]


def _all_match(pairs: list[tuple[Expr, Expr]], found: Found) -> Iterator[Found]:
    """Every way in which each expression is its base but for activations, the same for a role."""
    if not pairs:
        yield dict(found)
        return
    (expr, base), *rest = pairs
    role = _role(base) if isinstance(base, Apply) else None
    if role is None or not isinstance(base, Apply):
        if isinstance(expr, Apply) and isinstance(base, Apply):
            if expr.op == base.op and len(expr.args) == len(base.args):
                yield from _all_match([*zip(expr.args, base.args, strict=True), *rest], found)
        elif expr == base:
            yield from _all_match(rest, found)
        return
    for activation, inner, clip in _peeled(expr, role):
        new = {role: activation} | ({} if role == "output" else {"clip": clip})
        if all(found.get(key, value) == value for key, value in new.items()):
            yield from _all_match([(inner, base.args[0]), *rest], found | new)


def _peeled(expr: Expr, role: str) -> Iterator[tuple[Activation, Expr, float]]:
    """Each activation that this expression may be of, what is inside, and the clip (0: none)."""
    for name, kind in KINDS.items():
        pattern = kind.make(Name("?v"), Name("?alpha"), Name("?beta"))
        bound: dict[str, Expr] = {}
        if not _match(pattern, expr, bound):
            continue
        numbers = {
            key: value.value
            for key in ("alpha", "beta")
            if isinstance(value := bound.get(f"?{key}"), Const)
        }
        activation, inner = Activation(name, **numbers), bound["?v"]
        yield activation, inner, 0.0
        limits: dict[str, Expr] = {}
        if role != "output" and _match(CLIPPED, inner, limits):
            low, high = limits["?alpha"], limits["?beta"]
            if isinstance(low, Const) and isinstance(high, Const) and low.value == -high.value:
                yield activation, limits["?v"], high.value


CLIPPED = minimum(maximum(Name("?v"), Name("?alpha")), Name("?beta"))


def _match(pattern: Expr, expr: Expr, bound: dict[str, Expr]) -> bool:
    """True when the expression is the pattern with something put for each name with a ?."""
    if isinstance(pattern, Name) and pattern.name.startswith("?"):
        if pattern.name != "?v" and not isinstance(expr, Const):
            return False
        return bound.setdefault(pattern.name, expr) == expr
    if isinstance(pattern, Apply) and isinstance(expr, Apply):
        return pattern.op == expr.op and all(
            _match(one, other, bound) for one, other in zip(pattern.args, expr.args, strict=True)
        )
    return pattern == expr
