"""Activations by the names that frameworks call them, with their numbers, as expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType

from grus.dialects import KINDS
from grus.equations import (
    Expr,
    exp,
    hard_sigmoid,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from grus.errors import InputError


@dataclass(frozen=True)
class Activation:
    """An expression in v and numbers; ``numbers`` are their names in torch and their defaults."""

    make: Callable[..., Expr]
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def function(self, path: str, chosen: Mapping[str, object]) -> Callable[[Expr], Expr]:
        """The activation with these numbers, the defaults where they are not there or None. Raises
        InputError, beginning with the path, for what is no number."""
        numbers: list[float | None] = []
        for name, default in self.numbers.items():
            number = default if chosen.get(name) is None else chosen[name]
            if isinstance(number, bool) or not isinstance(number, (int, float, NoneType)):
                raise InputError(f"{path}: {name} of an activation must be a number")
            if number is not None and not math.isfinite(number):
                raise InputError(f"{path}: {name} of an activation is {number}")
            numbers.append(number)
        return lambda v: self.make(v, *numbers)


SELU = 1.0507009873554805, 1.6732632423543772
"""Scale and alpha of Klambauer et al. 2017 (arXiv 1706.02515), as torch has them."""


def _kind(name: str) -> Callable[..., Expr]:
    return lambda v, a=0.0, b=0.0: KINDS[name].make(v, a, b)


def _softplus(v: Expr, beta: float, threshold: float) -> Expr:
    # Past the threshold torch's is the identity, which softplus is to exp(-threshold) there.
    del threshold
    return softplus(v) if beta == 1 else softplus(beta * v) / beta


def _clamp(v: Expr, low: float | None, high: float | None) -> Expr:
    v = v if low is None else maximum(v, low)
    return v if high is None else minimum(v, high)


def _gelu(v: Expr) -> Expr:
    return 0.5 * v * (1 + tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * (v * v * v))))


ACTIVATIONS = {
    "relu": Activation(relu),
    "tanh": Activation(tanh),
    "sigmoid": Activation(sigmoid),
    "exp": Activation(exp),
    "log": Activation(log),
    "sqrt": Activation(sqrt),
    "abs": Activation(lambda v: maximum(v, -v)),
    "neg": Activation(lambda v: -v),
    "square": Activation(lambda v: v * v),
    "relu6": Activation(lambda v: minimum(relu(v), 6)),
    "silu": Activation(_kind("silu")),
    "softsign": Activation(_kind("softsign")),
    "leaky_relu": Activation(_kind("leaky_relu"), {"negative_slope": 0.01}),
    "elu": Activation(_kind("elu"), {"alpha": 1.0}),
    "selu": Activation(lambda v: SELU[0] * KINDS["elu"].make(v, SELU[1], 0.0)),
    "hardtanh": Activation(_clamp, {"min_val": -1.0, "max_val": 1.0}),
    "clamp": Activation(_clamp, {"min": None, "max": None}),
    "hardsigmoid": Activation(lambda v: hard_sigmoid(v, 1 / 6)),
    "hardswish": Activation(lambda v: v * hard_sigmoid(v, 1 / 6)),
    "softplus": Activation(_softplus, {"beta": 1.0, "threshold": 20.0}),
    "logsigmoid": Activation(lambda v: -softplus(-v)),
    "mish": Activation(lambda v: v * tanh(softplus(v))),
    "tanhshrink": Activation(lambda v: v - tanh(v)),
    "gelu_tanh": Activation(_gelu),
}


def _bounded(v: Expr, slope: float, most: float | None, threshold: float) -> Expr:
    if threshold:
        raise InputError("a ReLU with a threshold cannot be built")
    return _clamp(_kind("leaky_relu")(v, slope) if slope else relu(v), None, most)


KERAS = {
    **{name: ACTIVATIONS[name] for name in ("relu", "tanh", "sigmoid", "selu", "softplus", "elu")},
    **{name: ACTIVATIONS[name] for name in ("softsign", "silu", "relu6", "mish", "gelu_tanh")},
    **dict.fromkeys(("swish",), ACTIVATIONS["silu"]),
    **dict.fromkeys(("hard_silu", "hard_swish"), ACTIVATIONS["hardswish"]),
    "exponential": ACTIVATIONS["exp"],
    "hard_tanh": ACTIVATIONS["hardtanh"],
    "tanh_shrink": ACTIVATIONS["tanhshrink"],
    "log_sigmoid": ACTIVATIONS["logsigmoid"],
    "hard_sigmoid": ACTIVATIONS["hardsigmoid"],
    "hard_sigmoid_2": Activation(hard_sigmoid),
    "leaky_relu": Activation(_kind("leaky_relu"), {"negative_slope": 0.2}),
    "LeakyReLU": Activation(_kind("leaky_relu"), {"negative_slope": 0.3}),
    "ELU": Activation(_kind("elu"), {"alpha": 1.0}),
    "ReLU": Activation(_bounded, {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}),
}
"""Keras' words for activations, and its layers that are one, with their settings; hard_sigmoid_2
is the hard_sigmoid before Keras 3."""
LOGITS = ("softmax", "log_softmax", "softmin", "argmax")
"""What is computed from all outputs of the last layer, whose order it keeps."""


ONNX = {
    **{name.title(): ACTIVATIONS[name] for name in ("relu", "tanh", "sigmoid", "exp", "log")},
    **{name.title(): ACTIVATIONS[name] for name in ("sqrt", "abs", "neg", "softsign", "mish")},
    "Softplus": Activation(softplus),
    "HardSwish": ACTIVATIONS["hardswish"],
    "Elu": ACTIVATIONS["elu"],
    "Selu": Activation(
        lambda v, a, g: g * KINDS["elu"].make(v, a, 0.0), {"alpha": SELU[1], "gamma": SELU[0]}
    ),
    "LeakyRelu": Activation(_kind("leaky_relu"), {"alpha": 0.01}),
    "HardSigmoid": Activation(hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "ThresholdedRelu": Activation(_kind("thresholded_relu"), {"alpha": 1.0}),
}
"""ONNX' operators that are activations, with their attributes."""


def refused(path: str, name: str) -> InputError:
    """Why a layer or an operator cannot be built; ``path`` says where it stands."""
    reasons = {
        **dict.fromkeys(
            LOGITS,
            "needs all outputs at once: read the logits before it (logits=True, or --logits, leaves"
            " it out where it stands last)",
        ),
        "gelu": "needs the error function; with approximate='tanh' it can be built",
    }
    joining = "adds" if name == "add" else "joins"
    for two in ("add", "sub", "mul", "cat", "concat", "stack"):
        reasons[two] = f"{joining} two branches, and layers are built one behind the other"
    why = reasons.get(name, "is none of the recurrent layers, linear layers and activations")
    return InputError(f"{path}: {name} cannot be built: it {why}")
