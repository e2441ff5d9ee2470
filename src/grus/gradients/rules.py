"""The derivative of each operator: g is the adjoint of the result y, and each line gives the
adjoints of the arguments, in order. Products with weights have their own rule in `adjoint`.

The adjoint of a number (a mean, and what is made of means) is carried per unit: the mean, not the
sum, of what the units hand down. So the rule of a mean over n units needs no division by n.
"""

from __future__ import annotations

from collections.abc import Callable

from grus.equations import Expr, positive

Rule = Callable[..., tuple[Expr, ...]]

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
    "minimum": lambda g, y, a, b: (g * positive(b - a), g * (1 - positive(b - a))),
    "maximum": lambda g, y, a, b: (g * positive(a - b), g * (1 - positive(a - b))),
    "mean": lambda g, y, a: (g,),
}
