"""Numbers that other projects' own test suites expect: inputs, weights and answers, as facts.

Each case names the project, the file and the test that state the numbers. They are written as
ONNX nodes take them (W, R and B stacked z r n, i o f g; a case whose source stacks in another
order says so); nothing but numbers was taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Published:
    """One test of another project."""

    source: str
    kind: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    attributes: dict[str, Any] = field(default_factory=dict)
    digits: int = 7
    """Decimals that the source prints."""


def array(values: Any, *shape: int) -> Array:
    return np.asarray(values, np.float32).reshape(shape or np.shape(values))


def twice(directions: int, *values: float) -> list[float]:
    """The same numbers for each direction."""
    return list(values) * directions


def rzn_to_zrn(stacked: Array) -> Array:
    r, z, n = np.split(stacked, 3)
    return np.concatenate([z, r, n])


def ifgo_to_iofg(stacked: Array) -> Array:
    i, f, g, o = np.split(stacked, 4)
    return np.concatenate([i, o, f, g])


# ONNX Runtime, onnxruntime/test/providers/cpu/rnn/deep_cpu_gru_op_test.cc.
GRU_FILE = "onnxruntime deep_cpu_gru_op_test.cc"
FORWARD = {"forward": 1, "reverse": 1, "bidirectional": 2}

ROWS = {  # direction, linear_before_reset -> Y, two rows; Y_h is the last step of each direction
    "forward": [[0.4750208, 0.450166, 0.4255575, 0.45016602, 0.40131235, 0.35434368],
                [0.6027093, 0.5083023, 0.44950223, 0.5754369, 0.45485455, 0.3747841]],
    "reverse": [[0.6082785, 0.50623393, 0.4426924, 0.5803454, 0.4527356, 0.36886263],
                [0.26894143, 0.11920292, 0.04742587, 0.24973989, 0.09975048, 0.03557118]],
}  # fmt: skip
THIRD = {  # what a third row adds, with linear_before_reset = 1
    "forward": [[0.42555748, 0.35434369, 0.28905049], [0.54791767, 0.40301081, 0.30608854]],
    "reverse": [[0.5521325, 0.40092295, 0.30118297], [0.23147521, 0.08317269, 0.02659699]],
}


def _no_bias(direction: str, after: bool) -> Published:
    sides = ["forward", "reverse"] if direction == "bidirectional" else [direction]
    rows = 3 if after else 2
    every = [np.hstack([ROWS[s], THIRD[s]]) if after else np.array(ROWS[s]) for s in sides]
    y = array(np.stack(every, axis=1), 2, len(sides), rows, 3)
    last = {"forward": 1, "reverse": 0}
    y_h = array([y[last[side], k] for k, side in enumerate(sides)])
    x = [1, 2, 3, 10, 11, 12] if after else [1, 2, 10, 11]
    d = len(sides)
    return Published(
        f"{GRU_FILE} {direction.title()}DefaultActivationsSimpleWeightsNoBias",
        "GRU",
        {
            "X": array(x, 2, rows, 1),
            "W": array(twice(d, 0.1, 0.2, 0.3, 1, 2, 3, 10, 11, 12), d, 9, 1),
            "R": np.full((d, 9, 3), 0.1, np.float32),
        },
        {"Y": y, "Y_h": y_h},
        {"direction": direction, "linear_before_reset": int(after)},
    )


def _with_bias(name: str, x: Any, y: Any, direction: str, after: bool) -> Published:
    rows = len(x) // 2
    bias = [-0.01, 0.1, 0.01, -0.2, -0.02, 0.02, 0.3, -0.3, -0.3]
    bias += [-0.03, 0.5, -0.7, 0.05, -0.7, 0.3, 0.07, -0.03, 0.5]
    return Published(
        f"{GRU_FILE} {name}",
        "GRU",
        {
            "X": array(x, 2, rows, 1),
            "W": array([0.1, 0.2, 0.3, 0.2, 0.3, 0.1, 0.3, 0.1, 0.2], 1, 9, 1),
            "R": np.full((1, 9, 3), 0.1, np.float32),
            "B": array(bias, 1, 18),
        },
        {"Y": array(y, 2, 1, rows, 3)},
        {"direction": direction, "linear_before_reset": int(after)},
    )


FOUR, TWO = (-0.1, 0.2, -0.3, 0.4), (-0.1, -0.3)
FORWARD_AFTER = [0.15024948, -0.11097029, -0.02121867, 0.18887489, -0.09747667, 0.02093463,
                 0.19538902, -0.19016478, -0.05644283, 0.30856851, -0.15190377, 0.05999807
]  # fmt: skip
REVERSE_AFTER = [0.20910699, -0.18880953, -0.04005555, 0.29700265, -0.15308119, 0.04537245,
                 0.12252139, -0.12032216, -0.05064924, 0.21249877, -0.08884402, 0.04751285
]  # fmt: skip
FORWARD_BEFORE = [0.16783132, -0.11754231, 0.11977843, 0.2046872, -0.10372487, 0.15365849,
                  0.22688604, -0.19698407, 0.14017843, 0.33386092, -0.15799662, 0.2381169
]  # fmt: skip


def _first(values: list[float]) -> list[float]:
    """The first of two rows."""
    return values[:3] + values[6:9]


SMALL_W = [-0.494659, 0.0453352, -0.487793, 0.417264, -0.0091708, -0.255364, -0.106952, -0.266717,
           -0.0888852, -0.428709, -0.283349, 0.208792]  # fmt: skip
SMALL_R = [0.146626, -0.0620289, -0.0815302, 0.100482, -0.228172, 0.405972, 0.31576, 0.281487,
           -0.394864, 0.42111, -0.386624, -0.390225]  # fmt: skip
SMALL_B = [0.381619, 0.0323954, -0.258721, 0.45056, -0.250755, 0.0967895, *[0.0] * 6]


def _small(
    name: str,
    x: list[float],
    lengths: list[int],
    start: list[float] | None,
    y: list[float],
    y_h: list[float],
    direction: str = "forward",
    **attributes: Any,
) -> Published:
    d, rows = FORWARD[direction], len(lengths)
    inputs = {
        "X": array(x, 2, rows, 2),
        "W": array(twice(d, *SMALL_W), d, 6, 2),
        "R": array(twice(d, *SMALL_R), d, 6, 2),
        "B": array(twice(d, *SMALL_B), d, 12),
        "sequence_lens": np.array(lengths, np.int32),
    }
    if start is not None:
        inputs["initial_h"] = array(start, d, rows, 2)
    return Published(
        f"{GRU_FILE} {name}",
        "GRU",
        inputs,
        {"Y": array(y, 2, d, rows, 2), "Y_h": array(y_h, d, rows, 2)},
        {"direction": direction, "hidden_size": 2, **attributes},
    )


X = [-0.455351, -0.276391, -0.185934, -0.269585]
TWICE = [*X[:2], *X[:2], *X[2:], *X[2:]]
GROWN = [*X[:2], *X[:2], *X[2:], 0.0, 0.0]
MIDDLE = [-0.455351, -0.276391, 0.855351, 0.676391, -0.185934, -0.269585, -0.585934, 0.669585,
          -0.351455, -0.391276, 0.670351, 0.894676]  # fmt: skip
FOUR_ROWS = [*MIDDLE, 0.987653, 1.876567, -1.234357, -0.775668]

SMALL = [
    _small("ForwardBasic", X, [2], [0, 0],
           [-0.03255286, 0.0774838, -0.05556786, 0.0785508], [-0.05556786, 0.0785508]),
    _small("BackwardBasic", [*X[2:], *X[:2]], [2], [0, 0],
           [-0.05556786, 0.0785508, -0.03255286, 0.0774838], [-0.05556786, 0.0785508], "reverse"),
    _small("BidirectionalBasic", X, [2], [0] * 4,
           [-0.03255286, 0.0774838, -0.05469977, 0.1004222,
            -0.05556786, 0.0785508, -0.04566499, 0.04621252],
           [-0.05556786, 0.0785508, -0.05469977, 0.1004222], "bidirectional"),
    _small("ForwardActivation", X, [2], [0, 0],
           [0.222789, 0.4669829, 0.3810334, 0.4944591], [0.3810334, 0.4944591],
           activations=["tanh", "sigmoid"]),
    _small("ForwardInitialHiddenState", X, [2], [0.5, -0.5],
           [0.2366661, -0.1500429, 0.07378622, -0.02782359], [0.07378622, -0.02782359]),
    _small("ForwardBatch", TWICE, [2, 2], [0.5, -0.5, 0, 0],
           [0.2366661, -0.1500429, -0.03255286, 0.0774838,
            0.07378622, -0.02782359, -0.05556786, 0.0785508],
           [0.07378622, -0.02782359, -0.05556786, 0.0785508]),
    _small("ForwardBatchLinearBeforeReset", TWICE, [2, 2], [0.5, -0.5, 0, 0],
           [0.2539424, -0.174207777, -0.0325528607, 0.0774837881,
            0.0874997079, -0.0485242009, -0.0577347837, 0.0796165839],
           [0.0874997079, -0.0485242009, -0.0577347837, 0.0796165839], linear_before_reset=1),
    _small("GrowBatchSequenceLength", GROWN, [2, 1], [0.5, -0.5, 0, 0],
           [0.2366661, -0.1500429, -0.03255286, 0.0774838, 0.07378622, -0.02782359, 0, 0],
           [0.07378622, -0.02782359, -0.03255286, 0.0774838]),
    _small("GrowBatchSequenceLengthLinearBeforeReset", GROWN, [2, 1], [0.5, -0.5, 0, 0],
           [0.2539424, -0.174207777, -0.0325528607, 0.0774837881, 0.0874997079, -0.0485242009,
            0, 0],
           [0.0874997079, -0.0485242009, -0.0325528607, 0.0774837881], linear_before_reset=1),
    _small("SequenceLengthWithBidirectionalLinearBeforeReset",
           [*X[:2], 0.855351, 0.676391, *X[2:], 0.585934, 0.669585], [2, 1], [0] * 8,
           [-0.0325528607, 0.0774837881, -0.275918573, -0.00228558504,
            -0.0559310019, 0.101836264, -0.275918573, -0.00228558504,
            -0.0577347837, 0.0796165839, 0, 0, -0.0456649921, 0.0462125241, 0, 0],
           [-0.0577347837, 0.0796165839, -0.275918573, -0.00228558504,
            -0.0559310019, 0.101836264, -0.275918573, -0.00228558504],
           "bidirectional", linear_before_reset=1),
    _small("SequenceLengthWithBidirectionalLinearBeforeResetB2",
           [0.855351, 0.676391, 0.585934, 0.669585], [2], [0] * 4,
           [-0.275918573, -0.002285585, -0.385578573, 0.0370728001,
            -0.382134795, 0.0607641526, -0.24875176, 0.0347689129],
           [-0.382134795, 0.0607641526, -0.385578573, 0.0370728001],
           "bidirectional", linear_before_reset=1),
    _small("ShorterSeqInMiddle", MIDDLE, [2, 1, 2], [0] * 12,
           [-0.0325528607, 0.0774837881, -0.275918573, -0.00228558504, -0.0456649921, 0.0462125241,
            -0.108452908, 0.15118938684, -0.2759185731, -0.002285585, -0.1950065642, 0.0961040258,
            -0.1671274304, 0.1817691028, 0, 0, -0.3073617219, 0.0686715841,
            -0.1494070887, 0.1356348693, 0, 0, -0.286650002, 0.0448506586],
           [-0.1671274304, 0.18176910281, -0.2759185731, -0.00228558504, -0.3073617219,
            0.0686715841, -0.1084529086, 0.15118938684, -0.2759185731, -0.00228558504,
            -0.1950065642, 0.0961040258], "bidirectional", linear_before_reset=1),
    _small("ZeroSeqInMiddle", FOUR_ROWS, [2, 0, 2, 2], [0] * 16,
           [-0.0325528607, 0.0774837881, 0, 0, -0.0456649921, 0.0462125241,
            -0.1494070887, 0.1356348693, -0.0398676469, 0.1030099019, 0, 0,
            -0.2552363872, 0.1258624643, -0.1111927852, 0.1987708956,
            -0.031734541, 0.0898682102, 0, 0, -0.4344840049, 0.1124109625,
            -0.0373909101, 0.1958667039, -0.0190722197, 0.0559314489, 0, 0,
            -0.412174046, 0.0858790874, 0.0524947792, 0.1172080263],
           [-0.031734541, 0.0898682102, 0, 0, -0.4344840049, 0.1124109625, -0.0373909101,
            0.1958667039, -0.0398676469, 0.1030099019, 0, 0, -0.2552363872, 0.1258624643,
            -0.1111927852, 0.1987708956], "bidirectional", linear_before_reset=1),
    _small("SequenceLengthWithPartialZero",
           [*X[:2], 0.455351, 0.276391, *X[2:], 0.185934, 0.269585], [2, 0], [0] * 8,
           [-0.03255286, 0.0774838, 0, 0, -0.05469977, 0.1004222, 0, 0,
            -0.05556786, 0.0785508, 0, 0, -0.04566499, 0.04621252, 0, 0],
           [-0.05556786, 0.0785508, 0, 0, -0.05469977, 0.1004222, 0, 0], "bidirectional"),
    _small("SequenceLengthShorterThanInputSequenceLength", X, [1],
           [0, 0, -0.04566499, 0.04621252],
           [-0.03255286, 0.0774838, -0.05469977, 0.1004222, 0, 0, 0, 0],
           [-0.03255286, 0.0774838, -0.05469977, 0.1004222], "bidirectional"),
    _small("SequenceLengthAllZeros", GROWN, [0, 0], [0] * 4, [0] * 8, [0] * 4),
]  # fmt: skip


def _large(name: str, x: list[float], start: float, y: Any, **attributes: Any) -> Published:
    """32 hidden units, weights by formula."""
    d, size = FORWARD[attributes["direction"]], 32
    w = np.repeat([0.1, 0.2, 0.3], size)[:, None] * np.ones((1, 2))
    index = np.arange(size)
    r = [np.diag(0.1 + 0.1 * (index % m)) for m in (2, 3, 5)]
    bias = [*np.repeat([0.1, 0.2, 0.3], size), *np.zeros(3 * size)]
    rows = len(x) // 2
    return Published(
        f"{GRU_FILE} {name}",
        "GRU",
        {
            "X": array(x, 1, rows, 2),
            "W": array([w] * d),
            "R": array([np.concatenate(r)] * d),
            "B": array([bias] * d),
            "initial_h": np.full((d, rows, size), start, np.float32),
        },
        {"Y": array(y, 1, d, rows, size), "Y_h": array(y, d, rows, size)},
        attributes,
    )


ALPHA_BETA = [
    [0.589157104, 0.577891906, 0.59649929, 0.583932266, 0.602660999, 0.574613517, 0.592591742,
     0.581152059, 0.599870466, 0.586889011, 0.589262946, 0.578086951, 0.595908617, 0.584296266,
     0.603117381, 0.574411143, 0.592796084, 0.581434103, 0.599111006, 0.587327912, 0.589368677,
     0.577696449, 0.596204425, 0.584658707, 0.602202148, 0.574512383, 0.592999994, 0.580869112,
     0.59949155, 0.587764452, 0.589157104, 0.577891906],
    [0.929764611, 0.920318863, 0.931350964, 0.92173605, 0.932696545, 0.919528323, 0.930568024,
     0.921062381, 0.932059412, 0.922380157, 0.92977091, 0.92033032, 0.931318216, 0.921756237,
     0.932720158, 0.919515979, 0.930579785, 0.921078415, 0.932018666, 0.922403709, 0.929777143,
     0.920307279, 0.931334685, 0.921776182, 0.932672632, 0.919522183, 0.930591417, 0.921046161,
     0.932039162, 0.922426966, 0.929764611, 0.920318863],
]  # fmt: skip

GRU = [
    *(_no_bias(side, False) for side in ("forward", "reverse", "bidirectional")),
    _no_bias("bidirectional", True),
    _with_bias("ForwardWithBiasBatchParallel", FOUR, FORWARD_BEFORE, "forward", False),
    _with_bias("ForwardWithBiasLinearBeforeResetBatch", FOUR, FORWARD_AFTER, "forward", True),
    _with_bias("ReverseWithBiasLinearBeforeResetBatch", FOUR, REVERSE_AFTER, "reverse", True),
    _with_bias("ForwardWithBiasLinearBeforeReset", TWO, _first(FORWARD_AFTER), "forward", True),
    _with_bias("ReverseWithBiasLinearBeforeReset", TWO, _first(REVERSE_AFTER), "reverse", True),
    *SMALL,
    _large(
        "PositiveActivationClipping", [1000, 2000, -1e20, -1e10], 0.25, [[0.25] * 32, [-1.0] * 32],
        direction="forward",
    ),
    _large(
        "PositiveActivationAlphaBeta", [1, 2], 0.25, ALPHA_BETA, direction="bidirectional",
        activations=["LeakyRelu", "Tanh", "Sigmoid", "ScaledTanh"],
        activation_alpha=[0.5, 2.0], activation_beta=[2.0],
    ),
]  # fmt: skip
