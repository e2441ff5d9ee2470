"""More numbers of other projects' test suites; see `published`."""

from __future__ import annotations

from typing import Any

import numpy as np
from published import FORWARD, Published, X, array, ifgo_to_iofg, rzn_to_zrn, twice

Array = np.ndarray

# ONNX Runtime, onnxruntime/test/providers/cpu/rnn/deep_cpu_lstm_op_test.cc.
LSTM_FILE = "onnxruntime deep_cpu_lstm_op_test.cc"
W = [-0.494659, 0.0453352, -0.487793, 0.417264, -0.0175329, 0.489074, -0.446013, 0.414029,
     -0.0091708, -0.255364, -0.106952, -0.266717, -0.0888852, -0.428709, -0.283349, 0.208792
]  # fmt: skip
R = [0.146626, -0.0620289, -0.0815302, 0.100482, -0.219535, -0.306635, -0.28515, -0.314112,
     -0.228172, 0.405972, 0.31576, 0.281487, -0.394864, 0.42111, -0.386624, -0.390225]  # fmt: skip
P = [0.2345, 0.5235, 0.4378, 0.3475, 0.8927, 0.3456]
B = [0.381619, 0.0323954, -0.14449, 0.420804, -0.258721, 0.45056, -0.250755, 0.0967895, *[0.0] * 8]
TANH = ["tanh", "sigmoid", "tanh"]


def _lstm(
    name: str,
    y: list[float],
    y_h: list[float],
    y_c: list[float] | None,
    x: list[float] = X,
    rows: int = 1,
    direction: str = "forward",
    drop: str = "",
    more: dict[str, Any] | None = None,
    **attributes: Any,
) -> Published:
    d = FORWARD[direction]
    inputs = {
        "X": array(x, 2, rows, 2),
        "W": array(twice(d, *W), d, 8, 2),
        "R": array(twice(d, *R), d, 8, 2),
        "B": array(twice(d, *B), d, 16),
        "P": array(twice(d, *P), d, 6),
    }
    inputs = {key: value for key, value in inputs.items() if key not in drop}
    for key, value in (more or {}).items():
        inputs[key] = (
            np.array(value, np.int32) if key == "sequence_lens" else array(value, d, rows, 2)
        )
    outputs = {"Y": array(y, 2, d, rows, 2), "Y_h": array(y_h, d, rows, 2)}
    if y_c is not None:
        outputs["Y_c"] = array(y_c, d, rows, 2)
    attributes["direction"] = direction
    return Published(f"{LSTM_FILE} {name}", "LSTM", inputs, outputs, attributes, digits=6)


SIDES = {  # two rows, no bias: Y by step, Y_c
    "forward": ([[0.28828835, 0.36581863, 0.45679406, 0.34526032, 0.47220859, 0.55850911],
                 [0.84196719, 0.89402526, 0.91073048, 0.85882828, 0.90703777, 0.92382453]],
                [1.27731147, 1.44181041, 1.53179041, 1.3249796, 1.51063104, 1.61451544]),
    "reverse": ([[0.55391603, 0.69201493, 0.82696019, 0.64046413, 0.82303363, 0.91610711],
                 [0.61249432, 0.70678632, 0.74094619, 0.62759886, 0.71640738, 0.74624585]],
                [1.27850552, 1.46799496, 1.57641257, 1.34960834, 1.54772296, 1.65633056]),
}  # fmt: skip
SHORT = [0.28828835, 0.36581863, 0.45679406]
SHORT_C = [0.52497941, 0.54983425, 0.5744428]


def _rows(name: str, direction: str, lengths: list[int], y: Any, y_h: Any, y_c: Any) -> Published:
    d = FORWARD[direction]
    inputs = {
        "X": array([1, 2, 10, 11], 2, 2, 1),
        "W": array(twice(d, 0.1, 0.2, 0.3, 0.4, 1, 2, 3, 4, 10, 11, 12, 13), d, 12, 1),
        "R": np.full((d, 12, 3), 0.1, np.float32),
        "sequence_lens": np.array(lengths, np.int32),
    }
    outputs = {
        "Y": array(y, 2, d, 2, 3), "Y_h": array(y_h, d, 2, 3), "Y_c": array(y_c, d, 2, 3),
    }  # fmt: skip
    return Published(
        f"{LSTM_FILE} {name}", "LSTM", inputs, outputs, {"direction": direction}, digits=6
    )


def _two_rows() -> list[Published]:
    (fy, fc), (ry, rc) = SIDES["forward"], SIDES["reverse"]
    mixed = [*SHORT, *fy[0][3:], 0, 0, 0, *fy[1][3:]]
    backward = [*SHORT, *ry[0][3:], 0, 0, 0, *ry[1][3:]]
    return [
        _rows("ForwardSimpleWeightsNoBiasTwoRows", "forward", [2, 2], fy, fy[1], fc),
        _rows("ReverseSimpleWeightsNoBiasTwoRows", "reverse", [2, 2], ry, ry[0], rc),
        _rows(
            "BidirectionalSimpleWeightsNoBiasTwoRows", "bidirectional", [2, 2],
            [fy[0], ry[0], fy[1], ry[1]], [fy[1], ry[0]], [fc, rc],
        ),
        _rows(
            "MixedSequenceLengths", "forward", [1, 2], mixed, [*SHORT, *fy[1][3:]],
            [*SHORT_C, *fc[3:]],
        ),
        _rows(
            "MixedSequenceLengthsReverse", "reverse", [1, 2], backward, [*SHORT, *ry[0][3:]],
            [*SHORT_C, *rc[3:]],
        ),
    ]  # fmt: skip


# Rows 0, 1, 15 and 31 of LargeBatchNoClipping and LargeBatchWithClip; x of row k is k + 1, k + 33.
CLIPPED = {
    None: [0.90387899, 0.9135572, 0.91772245, 0.90897038, 0.92132433, 0.92825467,
           0.94937864, 0.96114929, 0.96344629, 0.96105254, 0.96391004, 0.96402279],
    4.0: [0.88572926, 0.89251395, 0.89655037, 0.89074291, 0.90035688, 0.90727429,
          0.92955856, 0.94103248, 0.94266769, 0.94103248, 0.94266769, 0.94266769],
}  # fmt: skip


def _large(clip: float | None) -> Published:
    x = np.array([[k + 1, k + 33] for k in (0, 1, 15, 31)], np.float32).T[:, :, None]
    w = array([0.1, 0.2, 0.3, 0.4, 1, 2, 3, 4, 10, 11, 12, 13], 1, 12, 1)
    inputs = {"X": np.ascontiguousarray(x), "W": w, "R": np.full((1, 12, 3), 0.1, np.float32)}
    return Published(
        f"{LSTM_FILE} LargeBatchWithClip {clip}",
        "LSTM",
        inputs,
        {"Y_h": array(CLIPPED[clip], 1, 4, 3)},
        {} if clip is None else {"clip": clip},
    )


LSTM = [
    *_two_rows(),
    _large(None),
    _large(4.0),
    _lstm("ForwardPeepHole", [-0.0251062475, 0.0561261699, -0.03277518, 0.05935364],
          [-0.03277518, 0.05935364], [-0.0780206, 0.098829]),
    _lstm("BidirectionalBasic",
          [-0.0251062, 0.0561262, -0.0318928, 0.0762679,
           -0.0327752, 0.0593536, -0.0306872, 0.028035],
          [-0.0327752, 0.0593536, -0.0318928, 0.0762679],
          [-0.0780206, 0.098829, -0.0753684, 0.120794], direction="bidirectional"),
    _lstm("ForwardNoBiasUsePeepholes", [0.04154162, 0.01969122, 0.05298181, 0.0030589],
          [0.05298181, 0.0030589], [0.11169686, 0.00625722], drop="B"),
    _lstm("ForwardInputForget", [-0.02510626, 0.05612619, -0.0314321, 0.05087372],
          [-0.0314321, 0.05087372], [-0.07474898, 0.08480116], input_forget=1, clip=999.0),
    _lstm("ForwardClip", [-0.02280854, 0.02744377, -0.03516197, 0.03875681],
          [-0.03516197, 0.03875681], [-0.07415761, 0.07395997], clip=0.1),
    _lstm("Backward", [-0.03189282, 0.07626793, -0.03068724, 0.02803503],
          [-0.03189282, 0.07626793], [-0.07536839, 0.12079399], direction="reverse"),
    _lstm("Backward_gpu", [-0.033075746, 0.074455738, -0.031248707, 0.027853041],
          [-0.033075746, 0.074455738], [-0.076699793, 0.11975205], direction="reverse", drop="P"),
    _lstm("ForwardHiddenState", [0.01797521, -0.07104912, -0.03174796, -0.0152949],
          [-0.03174796, -0.0152949], [-0.07285583, -0.02545788], drop="P",
          more={"initial_h": [0.34, 0.72]}),
    _lstm("ForwardCellState", [0.12797015, 0.0097284, 0.02716939, 0.01842997],
          [0.02716939, 0.01842997], [0.06408449, 0.03139432], drop="P",
          more={"initial_h": [0.34, 0.72], "initial_c": [0.63, 0.21]}),
    _lstm("Activation", [-0.0660155, 0.0351227, -0.04236888, 0.0177365],
          [-0.04236888, 0.0177365], [0.1624992, 0.04672481], drop="P", activations=TANH),
    _lstm("OutputWrite",
          [-0.06601551, 0.03512269, -0.05520744, 0.03879774,
           -0.04236888, 0.01773649, -0.05332068, 0.00207076],
          [-0.04236888, 0.01773649, -0.05520744, 0.03879774],
          [0.1624992, 0.04672481, 0.22009919, 0.08087098], direction="bidirectional", drop="P",
          activations=TANH * 2),
    _lstm("SequenceLengthPartialZeros",
          [-0.1269719, -0.01049645, 0, 0, -0.12206709, -0.0051103, 0, 0,
           -0.02778835, 0.00775075, 0, 0, -0.04350187, 0.01127771, 0, 0],
          [-0.02778835, 0.00775075, 0, 0, -0.12206709, -0.0051103, 0, 0],
          [0.14675268, 0.01759163, 0, 0, 0.26577898, -0.01694398, 0, 0],
          x=[-0.455351, -0.776391, 0, 0, -0.185934, -0.169585, 0, 0], rows=2,
          direction="bidirectional", drop="P", activations=TANH * 2,
          more={"sequence_lens": [2, 0]}),
    _lstm("SequenceLengthShorterThanInputSequenceLength",
          [-0.0251062, 0.0561262, -0.0318928, 0.0762679, 0, 0, 0, 0],
          [-0.0251062, 0.0561262, -0.0318928, 0.0762679], None, direction="bidirectional",
          more={"sequence_lens": [1], "initial_h": [0, 0, -0.0306872, 0.028035],
                "initial_c": [0, 0, -0.07243599, 0.0467052]}),
    _lstm("SequenceLengthShorterThanInputSequenceLengthNoP",
          [0.0415416, 0.0196912, 0.0295027, 0.03344, 0, 0, 0, 0],
          [0.0415416, 0.0196912, 0.0295027, 0.03344], None, direction="bidirectional", drop="B",
          more={"sequence_lens": [1], "initial_h": [0, 0, -0.0306872, 0.028035],
                "initial_c": [0, 0, -0.07243599, 0.0467052]}),
]  # fmt: skip

# ONNX Runtime, onnxruntime/test/providers/cpu/rnn/rnn_op_test.cc; its numbers are batch first.
RNN_FILE = "onnxruntime rnn_op_test.cc"


def _rnn(name: str, x: Any, w: Any, r: Any, b: Any, start: float, y: Any, y_h: Any, **more: Any):
    d = FORWARD[more["direction"]]
    batch_first = array(y, 2, 5, d, 3)
    inputs = {
        "X": np.ascontiguousarray(array(x, 2, 5, 2).swapaxes(0, 1)),
        "W": array(w, d, 3, 2),
        "R": array(r, d, 3, 3),
        "B": array(b, d, 6),
        "sequence_lens": np.array([5, 3], np.int32),
        "initial_h": np.full((d, 2, 3), start, np.float32),
    }
    outputs = {"Y": batch_first.transpose(1, 2, 0, 3), "Y_h": array(y_h, d, 2, 3)}
    return Published(f"{RNN_FILE} {name}", "RNN", inputs, outputs, more)


RNN = [
    _rnn(
        "RNN_bidirectional_bias_initial_zigged_batch",
        [1.64644051, 2.14556813, 1.80829012, 1.63464952, 1.27096438, 1.93768239,
         1.31276166, 2.67531896, 2.89098835, 1.15032458,
         1.30798471, 0.0777787, 1.64898741, 1.30596721, 1.26110339, 0.99100447, 0, 0, 0, 0],
        [0.4317745, 0.37378395, -1.0386457, -0.22681296, 0.4418987, 0.49973935,
         0.47248289, -0.63369429, 0.89542073, 0.69698066, 0.65118814, 1.0828459],
        [-0.24072374, -0.29326528, -0.91741192, 0.5447638, 0.53938544, 0.79502326,
         -0.59813821, 0.020413321, -0.52225035, -0.4292987, -0.14766316, -0.91084105,
         0.23699039, 0.064034894, 0.089069292, -0.12803128, -0.081178986, 0.967533],
        [-0.44529742, 0.80094892, -1.0028138, 0, 0, 0,
         0.57412368, 0.13440208, -0.85748988, 0, 0, 0], 1.2,
        [-0.58767605, 0.69586837, -0.48001164, -0.71697658, 0.99646497, 0.9980582,
         0.8678354, -0.94409049, 0.8424542, -0.37213817, 0.99391747, 0.99555576,
         0.12221602, -0.31430662, -0.42285997, -0.62726945, 0.988343, 0.9956606,
         0.91737539, -0.92293501, 0.78396499, -0.87013513, 0.99671143, 0.9990834,
         0.51060104, -0.95055139, -0.12672578, -0.51847482, 0.99931973, 0.99655205,
         -0.92063117, 0.93283325, -0.93614483, 0.1513377, 0.90150106, 0.74947751,
         0.91569924, -0.96036619, 0.89311725, -0.13006453, 0.98576784, 0.98875856,
         -0.28076148, -0.04275616, -0.75480938, -0.84641802, 0.98438591, 0.96007115, *[0] * 12],
        [0.51060104, -0.95055139, -0.12672578, -0.28076148, -0.04275616, -0.75480938,
         -0.71697658, 0.99646497, 0.9980582, 0.1513377, 0.90150106, 0.74947751],
        direction="bidirectional",
    ),
    _rnn(
        "RNN_reverse_direction_zigged_batch",
        [0.54881352, 0.71518934, 0.60276335, 0.54488319, 0.42365479, 0.64589411,
         0.4375872, 0.89177299, 0.96366274, 0.38344151,
         0.41702199, 0.720324516, 0.0001143748, 0.30233258, 0.146755889, 0.0923385918, 0, 0, 0, 0],
        [0.60482931, 0.67304987, 0.13166776, -0.33417314, 0.66345924, -0.49411628],
        [0.50877059, 0.78382635, 0.665046, 0.89860243, -0.71745688, 0.80142093,
         -0.76517141, -0.88981366, -0.48568386],
        [0] * 6, 0.0,
        [0.87014002, 0.09402763, -0.54269236, 0.37661949, 0.28492415, 0.15850827,
         0.8218801, -0.33996487, -0.7320742, 0.90398145, 0.61396617, -0.70602065,
         0.68629962, -0.00125255, 0.4218055, 0.64809889, -0.19472955, -0.24271242,
         0.29596764, 0.08308408, -0.27175695, 0.14977546, -0.01153355, 0.05169443, *[0] * 6],
        [0.87014002, 0.09402763, -0.54269236, 0.64809889, -0.19472955, -0.24271242],
        direction="reverse",
    ),
]  # fmt: skip


def _keras(name: str, last: Any, units: int, steps: int, inputs: int, **more: Any) -> Published:
    """Keras, keras/src/layers/rnn/gru_test.py: constant weights 0.01, 0.02 and biases 0.03 (both
    rows of them where the reset comes after the product), x counted up, batch first."""
    rows = len(last)
    x = np.arange(rows * steps * inputs, dtype=np.float32).reshape(rows, steps, inputs)
    bias, start = more.pop("bias", 0.03), more.pop("start", None)
    b = np.full((1, 6 * units), bias, np.float32)
    if not more["linear_before_reset"]:
        b[:, 3 * units :] = 0.0
    given = {
        "X": np.ascontiguousarray(x.swapaxes(0, 1)),
        "W": np.full((1, 3 * units, inputs), 0.01, np.float32),
        "R": np.full((1, 3 * units, units), 0.02, np.float32),
        "B": b,
    }
    if start is not None:
        given["initial_h"] = array(start, 1, rows, units)
    y_h = array(last, 1, rows, units)
    return Published(f"keras gru_test.py {name}", "GRU", given, {"Y_h": y_h}, more, digits=6)


def _three(*rows: float) -> list[list[float]]:
    return [[row] * 3 for row in rows]


START = [0, 1, 2, 3]
KERAS = [
    _keras("correctness", _three(0.5217289, 0.6371659, 0.39384964), 3, 6, 4, linear_before_reset=1),
    _keras("go_backwards", _three(0.24406259, 0.611516, 0.3928808), 3, 6, 4,
           linear_before_reset=1, direction="reverse"),
    _keras("reset_after=False", _three(0.51447755, 0.6426879, 0.40208298), 3, 6, 4,
           linear_before_reset=0),
    _keras("use_bias=False", _three(0.49988455, 0.64701194, 0.4103359), 3, 6, 4, bias=0.0,
           linear_before_reset=1),
    _keras("pass_initial_state", [[0.23774096, 0.33508456], [0.83659905, 1.0227708]], 2, 4, 3,
           start=START, linear_before_reset=1),
    _keras("pass_initial_state go_backwards", [[0.13486053, 0.23261218], [0.78257304, 0.9691353]],
           2, 4, 3, start=START, linear_before_reset=1, direction="reverse"),
]  # fmt: skip


def _webnn(name: str, y: Any, start: float, b: Any, c: Any, after: bool, **more: Any) -> Published:
    """webmachinelearning/webnn-baseline, test/gru_cell_test.js: weights 0.1, x = 1, 2, ..."""
    units = len(b) // 3
    inputs = {9: 3, 15: 2}[len(b)]
    given = {
        "X": np.arange(1, 1 + 3 * inputs, dtype=np.float32).reshape(1, 3, inputs),
        "W": np.full((1, 3 * units, inputs), 0.1, np.float32),
        "R": np.full((1, 3 * units, units), 0.1, np.float32),
        "B": array([*b, *c], 1, 6 * units),
        "initial_h": np.full((1, 3, units), start, np.float32),
    }
    more["linear_before_reset"] = int(after)
    return Published(
        f"webnn-baseline gru_cell {name}", "GRU", given, {"Y_h": array(y, 1, 3, units)}, more
    )


BIAS = [1.9853785, 2.2497437, 0.6179927, 0.3148022, -0.4366297, -0.9718124,
        -1.257099, -1.5698853, -0.39671835]  # fmt: skip
ZEROS, ONES, TENTHS = [0.0] * 9, [1.0] * 9, [0.1] * 9
WEBNN = [
    _webnn("defaults", np.repeat([0.12397026218, 0.20053661856, 0.19991654117], 5), 0.0, [0.0] * 15,
           [0.0] * 15, True),
    _webnn("bias", _three(0.20053661856, 0.15482337214, 0.07484276504), 0.0, TENTHS, ZEROS, True),
    _webnn("recurrentBias", _three(0.14985295238, 0.0746777039, 0.03221881599), 0.0, ZEROS, ONES,
           True),
    _webnn("resetAfter true", _three(1.90645748018, 1.96068702407, 1.98368806871), 2.0, TENTHS,
           ONES, True),
    _webnn("resetAfter false", _three(1.90685611742, 1.96069809915, 1.98368837119), 2.0, TENTHS,
           ONES, False),
    _webnn("zrn layout",
           [1.98016731836, 1.98125346828, 1.93765927063, 1.99351927306, 1.994756957, 1.97599585018,
            1.99746944539, 1.99804042524, 1.99020712552], 2.0, BIAS, ONES, True),
    _webnn("[tanh, sigmoid] activations",
           [1.99940529734, 1.99962656704, 1.99164693753, 1.9999129608, 1.99994675648, 1.9987442445,
            1.99998658122, 1.99999193816, 1.99979987736], 2.0, BIAS, ONES, True,
           activations=["Tanh", "Sigmoid"]),
]  # fmt: skip


def _candle(kind: str, gates: int, outputs: dict[str, Array]) -> Published:
    """huggingface/candle, candle-nn/tests/rnn.rs: cosines and sines, in PyTorch's order."""
    order = rzn_to_zrn if kind == "GRU" else ifgo_to_iofg
    bias = np.resize(np.array([-1, 1, -0.5, 2]), gates * 3)
    x = [[v, v * 0.5] for v in (3, 1, 4, 1, 5, 9, 2)]
    inputs = {
        "X": array(x, 7, 1, 2),
        "W": array(order(np.cos(np.arange(gates * 6)).reshape(-1, 2)))[None],
        "R": array(order(np.sin(np.arange(gates * 9)).reshape(-1, 3)))[None],
        "B": array(np.concatenate([order(bias), order(np.cos(bias))]))[None],
    }
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    return Published(f"candle rnn.rs {kind.lower()}", kind, inputs, outputs, extra, digits=4)


def _arraymancer() -> Published:
    """mratsim/Arraymancer, tests/nn_primitives/references/test_nnp_gru_cell.py, PyTorch's order."""
    w = [[0.9, 0.8, 0.7, 0.6], [0.8, 0.7, 0.6, 0.5], [0.7, 0.6, 0.5, 0.4],
         [0.6, 0.5, 0.4, 0.3], [0.5, 0.4, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1]]  # fmt: skip
    r = [[-0.3, -0.1], [-0.2, 0.0]] * 3
    b = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    x = [[0.1, 0.2, 0.3, 0.4], [-0.1, -0.2, -0.3, -0.4], [0.5, 0.6, 0.7, 0.8]]
    inputs = {
        "X": array(x)[None],
        "W": rzn_to_zrn(array(w))[None],
        "R": rzn_to_zrn(array(r))[None],
        "B": array(np.concatenate([rzn_to_zrn(b), rzn_to_zrn(-b)]))[None],
        "initial_h": np.full((1, 3, 2), -1.0, np.float32),
    }
    y_h = array([[-0.5317, -0.4753], [-0.3930, -0.3210], [-0.7325, -0.6430]])[None]
    return Published(
        "Arraymancer test_nnp_gru_cell.py", "GRU", inputs, {"Y_h": y_h},
        {"linear_before_reset": 1}, digits=4,
    )  # fmt: skip


def _tensorflow(inputs: int, value: float) -> Published:
    """tensorflow/python/kernel_tests/nn_ops/rnn_cell_test.py, testGRUCell: all weights 0.5; that
    cell's gate biases are 1, its candidate's 0."""
    b = [1.0] * 4 + [0.0] * 8
    given = {
        "X": np.ones((1, 1, inputs), np.float32),
        "W": np.full((1, 6, inputs), 0.5, np.float32),
        "R": np.full((1, 6, 2), 0.5, np.float32),
        "B": array(b, 1, 12),
        "initial_h": np.full((1, 1, 2), 0.1, np.float32),
    }
    return Published(
        f"tensorflow rnn_cell_test.py {inputs} inputs", "GRU", given,
        {"Y_h": array([value, value], 1, 1, 2)}, digits=6,
    )  # fmt: skip


OTHERS = [
    *KERAS,
    *WEBNN,
    _candle("GRU", 3, {"Y_h": array([0.0579, 0.8836, -0.9991], 1, 1, 3)}),
    _candle(
        "LSTM", 4,
        {"Y_h": array([0.9919, 0.1738, -0.1451], 1, 1, 3),
         "Y_c": array([5.725, 0.4458, -0.2908], 1, 1, 3)},
    ),
    _arraymancer(),
    _tensorflow(2, 0.175991),
    _tensorflow(3, 0.156736),
]  # fmt: skip
