"""The derivative of each operator: g is the adjoint of the result y, and each line gives the
adjoints of the arguments, in order. Products with weights have their own rule in `adjoint`.

The adjoint of a number (a mean, and what is made of means) is carried per unit: the mean, not the
sum, of what the units hand down. So the rule of a mean over n units needs no division by n.

Where two branches meet, the derivative is torch's. relu has 0 at 0. A minimum or maximum with a
number is a bound, and what has reached a bound has 0 there (torch's hardtanh, hardsigmoid, relu6);
of two values that are equal each has half (torch.minimum, torch.maximum).
"""

from __future__ import annotations

from collections.abc import Callable

from grus.equations import Const, Expr, positive

Rule = Callable[..., tuple[Expr, ...]]


def _larger(g: Expr, a: Expr, b: Expr, sign: int = 1) -> tuple[Expr, Expr]:
    """The adjoints of a and b where the larger is the result; with ``sign`` -1 the smaller."""
    over, under = (positive(a - b), positive(b - a))[::sign]
    if isinstance(a, Const) or isinstance(b, Const):
        return g * over, g * under
    return g * (0.5 + 0.5 * (over - under)), g * (0.5 + 0.5 * (under - over))


RULES: dict[str, Rule] = {
    "add": lambda g, y, a, b: (g, g),
    "sub": lambda g, y, a, b: (g, -g),
    "mul": lambda g, y, a, b: (g * b, g * a),
    "div": lambda g, y, a, b: (g / b, -(g * y) / b),
    "neg": lambda g, y, a: (-g,),
    "sigmoid": lambda g, y, a: (g * (y * (1 - y)),),
    "tanh": lambda g, y, a: (g * (1 - y * y),),
    "relu": lambda g, y, a: (g * positive(y),),
    "exp": lambda g, y, a: (g * y,),
    "sqrt": lambda g, y, a: (g / (2 * y),),
    "positive": lambda g, y, a: (0 * g,),
    "minimum": lambda g, y, a, b: _larger(g, a, b, -1),
    "maximum": lambda g, y, a, b: _larger(g, a, b),
    "mean": lambda g, y, a: (g,),
}
