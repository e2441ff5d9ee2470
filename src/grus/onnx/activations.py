"""The activations that ONNX names, each as equations.

`Activation.equations` writes ``name = act(argument)``; where the function reads its argument more
than once, the argument gets a name of its own first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from grus.dialects.activation import KINDS as SHARED, below
from grus.equations import Apply, Const, Expr, Name, exp, relu
from grus.errors import InputError

Equations = list[tuple[str, Expr]]
SERIES = 18
"""Terms of the series of log1p in softplus: at s <= 1/3 the next one is below 1e-18."""


def _softplus(name: str, a: Expr) -> Equations:
    """log(1 + exp(a)) = relu(a) + 2 artanh(s), s = u / (2 + u), u = exp(-|a|).

    |a| is relu(a) - below(a), whose derivative at 0 is -1: so softplus has 1/2 there.
    """
    stem = name.removesuffix("_next")
    u, s, q = (Name(f"{stem}_{letter}") for letter in "usq")
    series: Expr = Const(1 / (2 * SERIES - 1))
    for k in reversed(range(SERIES - 1)):
        series = 1 / (2 * k + 1) + q * series
    return [
        (u.name, exp(below(a) - relu(a))),
        (s.name, u / (2 + u)),
        (q.name, s * s),
        (name, relu(a) + 2 * s * series),
    ]


def _plain(function: Callable[[Expr, float, float], Expr]) -> Callable[..., Equations]:
    return lambda name, a, alpha, beta: [(name, function(a, alpha, beta))]


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table below."""

    name: str
    alpha: float | Literal["required"] | None
    """The default, as of the ONNX operator of that name; None: this activation takes no alpha."""
    beta: float | Literal["required"] | None
    once: bool
    """It reads its argument once."""
    write: Callable[..., Equations]


KINDS = {
    kind.name.lower(): kind
    for kind in (
        Kind("Relu", None, None, True, _plain(SHARED["relu"].make)),
        Kind("Tanh", None, None, True, _plain(SHARED["tanh"].make)),
        Kind("Sigmoid", None, None, True, _plain(SHARED["sigmoid"].make)),
        Kind("Affine", 1.0, 0.0, True, _plain(SHARED["affine"].make)),
        Kind("LeakyRelu", 0.01, None, False, _plain(SHARED["leaky_relu"].make)),
        Kind("ThresholdedRelu", 1.0, None, False, _plain(SHARED["thresholded_relu"].make)),
        Kind("ScaledTanh", "required", "required", True, _plain(SHARED["scaled_tanh"].make)),
        Kind("HardSigmoid", 0.2, 0.5, True, _plain(SHARED["hard_sigmoid"].make)),
        Kind("Elu", 1.0, None, False, _plain(SHARED["elu"].make)),
        Kind("Softsign", None, None, False, _plain(SHARED["softsign"].make)),
        Kind("Softplus", None, None, False, lambda name, a, _, __: _softplus(name, a)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation with its numbers; 0.0 where it takes none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def numbers(self) -> tuple[str, ...]:
        """Which of alpha and beta it takes."""
        kind = KINDS[self.name.lower()]
        return tuple(n for n in ("alpha", "beta") if getattr(kind, n) is not None)

    def equations(self, name: str, argument: Expr) -> Equations:
        """``name = act(argument)``, with the equations that it needs before."""
        kind = KINDS[self.name.lower()]
        if kind.once or not isinstance(argument, Apply):
            return list(kind.write(name, argument, self.alpha, self.beta))
        inner = Name(f"{name.removesuffix('_next')}_in")
        written = kind.write(name, inner, self.alpha, self.beta)
        return [(inner.name, argument), *written]


def activations(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], where: str
) -> tuple[Activation, ...]:
    """The activations of a node: each takes the next alpha, the next beta, if it has one.

    Names are read in any case. Raises InputError for a name that ONNX does not know, and for a
    number that is missing and has no default.
    """
    left = {"alpha": iter(alphas), "beta": iter(betas)}
    found = []
    for name in names:
        kind = KINDS.get(name.lower())
        if kind is None:
            known = ", ".join(k.name for k in KINDS.values())
            raise InputError(f"{where}: no activation is called {name[:100]!r}; ONNX has {known}")
        numbers = {}
        for which, default in (("alpha", kind.alpha), ("beta", kind.beta)):
            value = next(left[which], default) if default is not None else 0.0
            if value is None or value == "required":
                raise InputError(
                    f"{where}: {kind.name} needs a number in activation_{which}; it has no default"
                )
            numbers[which] = float(value)
        found.append(Activation(kind.name, **numbers))
    return tuple(found)
