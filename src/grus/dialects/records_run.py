"""The dialects that the tests run: each record stands beside the framework's own arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from grus.dialects.activation import KINDS, Activation, Activations
from grus.dialects.dialect import Dialect, Runtime
from grus.dialects.stored_network import Scheme

TORCH = Scheme("_l{}", ("", "_reverse"), "suffix", always=True)
KERAS = Scheme("{}/", ("forward_layer/", "backward_layer/"))
AXIS = Scheme("{}/", axis=True)
CELL = Scheme()
LINEN = Scheme("{}/", ("forward_rnn/cell/", "backward_rnn/cell/"))
NNX = Scheme("{}.", ("forward_rnn.cell.", "backward_rnn.cell."))

PACKED = Runtime("zero", "row", "time", "refused", backward=False)
BY_MASK = Runtime("repeat", "row", "processing", "initial")
BY_LENGTH = Runtime("zero", "row", "time", "zero")
FLAX = Runtime("raw", "row", "processing", "last")

N_IS_H, G_IS_C, H_IS_I = {"n": "h"}, {"g": "c"}, {"h": "i"}

KERAS_WORDS = {
    name: Activation(name)
    for name in ("sigmoid", "tanh", "relu", "linear", "softsign", "elu", "exponential", "silu")
} | {"hard_sigmoid": Activation("hard_sigmoid", 1 / 6), "leaky_relu": Activation("leaky_relu", 0.2)}
KERAS_2_WORDS = KERAS_WORDS | {"hard_sigmoid": Activation("hard_sigmoid", 0.2)}
ONNX_WORDS = {
    KINDS[name].onnx: Activation(name)
    for name in ("sigmoid", "tanh", "relu", "hard_sigmoid", "softsign", "scaled_tanh", "leaky_relu",
                 "thresholded_relu", "elu", "affine")
}  # fmt: skip
OPENVINO_WORDS = {name: Activation(name) for name in ("sigmoid", "tanh", "relu")}
HARD = Activations(gates=KERAS_2_WORDS["hard_sigmoid"])


def torch(
    title: str, cell: str, gates: str, second: str, name: str = "", runtime: Runtime = PACKED
) -> Dialect:
    """PyTorch's tensors, which others share: gates in the rows, two biases."""
    holds = {
        "weight_ih": f"W.{gates}",
        "weight_hh": f"U.{gates}",
        "bias_ih": f"b.{gates}",
        "bias_hh": second,
    }
    return Dialect(
        "torch", title, cell, False, holds, TORCH, named=name, runtime=runtime,
        evidence="torch 2.13.0",
    )  # fmt: skip


def keras(
    title: str,
    cell: str,
    gates: str,
    bias: str = "",
    letters: Mapping[str, str] | None = None,
    name: str = "",
) -> Dialect:
    """Keras' tensors: gates in the columns, one bias, of two rows where the reset comes after."""
    holds = {
        "kernel": f"W.{gates}",
        "recurrent_kernel": f"U.{gates}",
        "bias": bias or f"b.{gates}",
    }
    return Dialect(
        "keras", title, cell, True, holds, KERAS, letters or {}, name, words=KERAS_WORDS,
        runtime=BY_MASK, evidence="keras 3.15.1",
    )  # fmt: skip


def keras_2(title: str, cell: str, gates: str, bias: str, name: str) -> Dialect:
    """Keras 2 as it was: the gates are hard_sigmoid, 0.2 v + 0.5."""
    letters = {"lstm": G_IS_C}.get(cell, N_IS_H)
    holds = {"kernel": f"W.{gates}", "recurrent_kernel": f"U.{gates}", "bias": bias}
    return Dialect(
        "keras_2", title, cell, True, holds, KERAS, letters, name, HARD, KERAS_2_WORDS,
        runtime=BY_MASK, evidence="keras 3.15.1",
    )  # fmt: skip


def cudnn(title: str, cell: str, gates: str, second: str, name: str) -> Dialect:
    """CuDNNGRU and CuDNNLSTM: always two biases, in one vector; blocks as the library has them."""
    holds = {
        "kernel": f"W.{gates}",
        "recurrent_kernel": f"U.{gates}",
        "bias": f"b.{gates} {second}",
    }
    letters = G_IS_C if cell == "lstm" else N_IS_H
    return Dialect(
        "keras_cudnn", title, cell, True, holds, KERAS, letters, name, runtime=BY_MASK,
        evidence="tf-keras 2.16.0", turned=True,
    )  # fmt: skip


def keras_1(title: str, cell: str, gates: Mapping[str, str], name: str = "") -> Dialect:
    """Keras 1: a tensor for each gate and family."""
    held = {f"{w}_{theirs}": f"{w}.{gate}" for gate, theirs in gates.items() for w in "WUb"}
    letters = {gate: theirs for gate, theirs in gates.items() if gate != theirs}
    return Dialect(
        "keras_1", title, cell, True, held, KERAS, letters, name, HARD, KERAS_2_WORDS,
        runtime=BY_MASK, evidence="tf-keras 2.16.0",
    )  # fmt: skip


def onnx(
    title: str, cell: str, gates: str, second: str, letters: Mapping[str, str], name: str
) -> Dialect:
    """ONNX' tensors: a leading axis of directions, all biases in one vector."""
    holds = {"W": f"W.{gates}", "R": f"U.{gates}", "B": f"b.{gates} {second}"}
    return Dialect(
        "onnx", title, cell, False, holds, AXIS, letters, name, words=ONNX_WORDS, free=True,
        runtime=BY_LENGTH, evidence="onnxruntime 1.31.1",
    )  # fmt: skip


def openvino(
    title: str, cell: str, gates: str, bias: str, letters: Mapping[str, str], name: str
) -> Dialect:
    """OpenVINO's tensors: ONNX', but the two biases already added."""
    holds = {"W": f"W.{gates}", "R": f"U.{gates}", "B": bias}
    return Dialect(
        "openvino", title, cell, False, holds, AXIS, letters, name, words=OPENVINO_WORDS, free=True,
        runtime=BY_LENGTH, evidence="openvino 2026.4.1",
    )  # fmt: skip


def dense(inputs: str, hidden: str, biases: Mapping[str, str]) -> dict[str, str]:
    """Flax linen: a Dense for each product; ``biases`` says which of them have one."""
    held = {f"i{g}/kernel": f"W.{g}" for g in inputs} | {f"h{g}/kernel": f"U.{g}" for g in hidden}
    return held | {f"{name}/bias": text for name, text in biases.items()}


def flax(title: str, cell: str, holds: Mapping[str, str], name: str = "") -> Dialect:
    """A cell of Flax linen, by the paths of its parameters."""
    return Dialect(
        "flax", title, cell, True, holds, LINEN, named=name, runtime=FLAX, evidence="flax 0.12.8"
    )


def flax_nnx(title: str, cell: str, gates: str, bias: str, name: str = "") -> Dialect:
    """A cell of Flax nnx."""
    holds = {
        "dense_i.kernel": f"W.{gates}",
        "dense_h.kernel": f"U.{gates}",
        f"dense_{bias}.bias": f"b.{gates}",
    }
    return Dialect(
        "flax_nnx", title, cell, True, holds, NNX, named=name, runtime=FLAX,
        evidence="flax 0.12.8",
    )  # fmt: skip


RUN = (
    keras("Keras 3 and tf.keras, GRU(reset_after=True), the default", "gru", "zrn",
          "b.zrn / a.zr d.n", N_IS_H),
    keras("Keras GRU(reset_after=False)", "gru_reset_before", "zrn", "", N_IS_H,
          "keras_reset_before"),
    keras("Keras LSTM", "lstm", "ifgo", "", G_IS_C, "keras_lstm"),
    keras("Keras SimpleRNN", "rnn", "h", "", {}, "keras_rnn"),
    keras("Keras SimpleRNN(relu)", "rnn_relu", "h", "", {}, "keras_rnn_relu"),
    torch("PyTorch nn.GRU", "gru", "rzn", "a.rz d.n"),
    torch("PyTorch nn.LSTM", "lstm", "ifgo", "a.ifgo", "torch_lstm"),
    torch("PyTorch nn.RNN", "rnn", "h", "a.h", "torch_rnn"),
    torch("PyTorch nn.RNN(relu)", "rnn_relu", "h", "a.h", "torch_rnn_relu"),
    onnx("ONNX GRU, linear_before_reset = 0, the default", "gru_reset_before", "zrn", "a.zrn",
         N_IS_H, "onnx_reset_before"),
    onnx("ONNX GRU, linear_before_reset = 1", "gru", "zrn", "a.zr d.n", N_IS_H,
         "onnx_reset_after"),
    onnx("ONNX LSTM", "lstm", "iofg", "a.iofg", G_IS_C, "onnx_lstm"),
    onnx("ONNX RNN", "rnn", "h", "a.h", H_IS_I, "onnx_rnn"),
    onnx("ONNX RNN (relu)", "rnn_relu", "h", "a.h", H_IS_I, "onnx_rnn_relu"),
    flax("Flax linen GRUCell", "gru", dense("rzn", "rzn",
         {"ir": "b.r", "iz": "b.z", "in": "b.n", "hn": "d.n"})),
    flax("Flax linen LSTMCell, OptimizedLSTMCell", "lstm", dense("ifgo", "ifgo",
         {f"h{g}": f"b.{g}" for g in "ifgo"}), "flax_lstm"),
    flax("Flax linen SimpleCell", "rnn",
         {"i/kernel": "W.h", "h/kernel": "U.h", "i/bias": "b.h"}, "flax_rnn"),
    flax_nnx("Flax nnx GRUCell", "gru", "rzn", "i"),
    flax_nnx("Flax nnx OptimizedLSTMCell", "lstm", "ifgo", "h", "flax_nnx_lstm"),
    flax_nnx("Flax nnx SimpleCell", "rnn", "h", "i", "flax_nnx_rnn"),
    Dialect("haiku", "Haiku GRU", "gru_reset_before_admit", True,
            {"w_i": "W.zrn", "w_h": "U.zrn", "b": "b.zrn"}, CELL, {"n": "a"},
            evidence="dm-haiku 0.0.17"),
    Dialect("equinox", "Equinox GRUCell", "gru", False,
            {"weight_ih": "W.rzn", "weight_hh": "U.rzn", "bias": "b.rzn", "bias_n": "d.n"}, CELL,
            evidence="equinox 0.13.8"),
    Dialect("mlx", "MLX nn.GRU", "gru", False,
            {"Wx": "W.rzn", "Wh": "U.rzn", "b": "b.rzn", "bhn": "d.n"}, CELL,
            evidence="mlx 0.32.4"),
    openvino("OpenVINO GRUSequence, linear_before_reset=false, the default", "gru_reset_before",
             "zrn", "b.zrn", N_IS_H, "openvino_reset_before"),
    openvino("OpenVINO GRUSequence, linear_before_reset=true", "gru", "zrn", "b.zrn d.n", N_IS_H,
             "openvino_reset_after"),
    openvino("OpenVINO LSTMSequence", "lstm", "figo", "b.figo", G_IS_C, "openvino_lstm"),
    openvino("OpenVINO RNNSequence", "rnn", "h", "b.h", {}, "openvino_rnn"),
    keras_2("Keras 2 and tf.compat.v1.keras GRU", "gru_reset_before",
            "zrn", "b.zrn", ""),
    keras_2("Keras 2 GRU(reset_after=True)", "gru", "zrn", "b.zrn / a.zr d.n",
            "keras_2_reset_after"),
    keras_2("Keras 2 LSTM", "lstm", "ifgo", "b.ifgo", "keras_2_lstm"),
    Dialect("tf1", "TensorFlow 1 nn.rnn_cell.GRUCell", "gru_reset_before", True,
            {"gates/kernel": "W.rz & U.rz", "gates/bias": "b.rz",
             "candidate/kernel": "W.n & U.n", "candidate/bias": "b.n"}, CELL,
            runtime=Runtime("zero", "row", "time", "initial"), evidence="tf-keras 2.21.0"),
    cudnn("Keras CuDNNGRU", "gru", "zrn", "a.zr d.n", ""),
    cudnn("Keras CuDNNLSTM", "lstm", "ifgo", "a.ifgo", "keras_cudnn_lstm"),
    keras_1("Keras 1 GRU", "gru_reset_before", {"z": "z", "r": "r", "n": "h"}),
    keras_1("Keras 1 LSTM", "lstm", {"i": "i", "g": "c", "f": "f", "o": "o"}, "keras_1_lstm"),
    Dialect("tf1", "TensorFlow 1 nn.rnn_cell.LSTMCell, BasicLSTMCell; forget_bias 1", "lstm", True,
            {"lstm_cell/kernel": "W.igfo & U.igfo", "lstm_cell/bias": "b.igfo"}, CELL, {"g": "j"},
            "tf1_lstm", runtime=Runtime("zero", "row", "time", "initial"),
            evidence="tf-keras 2.16.0", shift={"f": 1.0}),
)  # fmt: skip
