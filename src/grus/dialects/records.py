"""The table of dialects: one record for each framework, format or paper, and cell."""

from __future__ import annotations

from grus.dialects.dialect import Dialect
from grus.dialects.scheme import Scheme
from grus.equations import CELLS, Cell
from grus.errors import InputError

TORCH = Scheme("_l{}", ("", "_reverse"), "suffix", always=True)
KERAS = Scheme("{}/", ("forward_layer/", "backward_layer/"))
ONNX = Scheme("{}/", axis=True)
CELL = Scheme()

N_IS_H, G_IS_C = {"n": "h"}, {"g": "c"}


def _torch(gates: str, second: str) -> dict[str, str]:
    return {
        "weight_ih": f"W.{gates}",
        "weight_hh": f"U.{gates}",
        "bias_ih": f"b.{gates}",
        "bias_hh": second,
    }


def _keras(gates: str, bias: str = "") -> dict[str, str]:
    return {
        "kernel": f"W.{gates}",
        "recurrent_kernel": f"U.{gates}",
        "bias": bias or f"b.{gates}",
    }


def _onnx(gates: str, second: str = "") -> dict[str, str]:
    return {
        "W": f"W.{gates}",
        "R": f"U.{gates}",
        "B": f"b.{gates} {second or f'a.{gates}'}",
    }


def _linen(gate_biases: str) -> dict[str, str]:
    """Flax linen: a Dense for each product, with the biases said."""
    gates = "rzn"
    held = {f"i{g}/kernel": f"W.{g}" for g in gates} | {f"i{g}/bias": f"b.{g}" for g in gates}
    held |= {f"h{g}/kernel": f"U.{g}" for g in gates}
    return held | {f"h{g}/bias": f"d.{g}" for g in gate_biases}


# framework, title, cell, gates in columns, tensors, scheme, letters, name
DIALECTS = (
    Dialect(
        "keras", "Keras 3 and tf.keras, GRU(reset_after=True), the default",
        "gru", True, _keras("zrn", "b.zrn / a.zr d.n"), KERAS, N_IS_H,
    ),
    Dialect(
        "keras", "Keras GRU(reset_after=False)",
        "gru_reset_before", True, _keras("zrn"), KERAS, N_IS_H, "keras_reset_before",
    ),
    Dialect("keras", "Keras LSTM", "lstm", True, _keras("ifgo"), KERAS, G_IS_C, "keras_lstm"),
    Dialect("keras", "Keras SimpleRNN", "rnn", True, _keras("h"), KERAS, {}, "keras_rnn"),
    Dialect(
        "keras", "Keras SimpleRNN(relu)",
        "rnn_relu", True, _keras("h"), KERAS, {}, "keras_rnn_relu",
    ),
    Dialect("torch", "PyTorch nn.GRU", "gru", False, _torch("rzn", "a.rz d.n"), TORCH),
    Dialect(
        "torch", "PyTorch nn.LSTM",
        "lstm", False, _torch("ifgo", "a.ifgo"), TORCH, {}, "torch_lstm",
    ),
    Dialect("torch", "PyTorch nn.RNN", "rnn", False, _torch("h", "a.h"), TORCH, {}, "torch_rnn"),
    Dialect(
        "torch", "PyTorch nn.RNN(relu)",
        "rnn_relu", False, _torch("h", "a.h"), TORCH, {}, "torch_rnn_relu",
    ),
    Dialect(
        "onnx", "ONNX GRU, linear_before_reset = 0, the default",
        "gru_reset_before", False, _onnx("zrn"), ONNX, N_IS_H, "onnx_reset_before",
    ),
    Dialect(
        "onnx", "ONNX GRU, linear_before_reset = 1",
        "gru", False, _onnx("zrn", "a.zr d.n"), ONNX, N_IS_H, "onnx_reset_after",
    ),
    Dialect("onnx", "ONNX LSTM", "lstm", False, _onnx("iofg"), ONNX, G_IS_C, "onnx_lstm"),
    Dialect("onnx", "ONNX RNN", "rnn", False, _onnx("h"), ONNX, {"h": "i"}, "onnx_rnn"),
    Dialect(
        "onnx", "ONNX RNN (relu)", "rnn_relu", False, _onnx("h"), ONNX, {"h": "i"}, "onnx_rnn_relu",
    ),
    Dialect("flax", "Flax linen GRUCell", "gru", True, _linen("n"), CELL),
    Dialect(
        "flax_nnx", "Flax nnx GRUCell", "gru", True,
        {"dense_i.kernel": "W.rzn", "dense_h.kernel": "U.rzn", "dense_i.bias": "b.rzn"}, CELL,
    ),
    Dialect(
        "haiku", "Haiku GRU", "gru_reset_before_admit", True,
        {"w_i": "W.zrn", "w_h": "U.zrn", "b": "b.zrn"}, CELL, {"n": "a"},
    ),
    Dialect(
        "equinox", "Equinox GRUCell", "gru", False,
        {"weight_ih": "W.rzn", "weight_hh": "U.rzn", "bias": "b.rzn", "bias_n": "d.n"}, CELL,
    ),
    Dialect(
        "lasagne", "Lasagne GRULayer", "gru_admit", True,
        {
            f"{what}_{side}{gate}": f"{family}.{letter}"
            for what, side, family in (("W", "in_to_", "W"), ("W", "hid_to_", "U"), ("b", "", "b"))
            for gate, letter in (("resetgate", "r"), ("updategate", "z"), ("hidden_update", "n"))
        },
        CELL, {"n": "hidden_update"},
    ),
    Dialect("cho2014", "Cho et al. 2014 (v3)", "gru_reset_before", letters={"n": "h~"}),
    Dialect("chung2014", "Chung et al. 2014", "gru_reset_before_admit", letters={"n": "h~"}),
    Dialect(
        "d2l", "Dive into Deep Learning, from scratch", "gru_reset_before", True,
        {
            f"{family}_{side}{gate}": f"{held}.{letter}"
            for family, side, held in (("W", "x", "W"), ("W", "h", "U"), ("b", "", "b"))
            for gate, letter in (("r", "r"), ("z", "z"), ("h", "n"))
        },
        CELL, {"r": "R", "z": "Z", "n": "H~"},
    ),
    Dialect(
        "wikipedia", "Wikipedia, fully gated unit", "gru_reset_before_admit", letters={"n": "h^"},
    ),
)  # fmt: skip


def dialects(cell: Cell) -> tuple[Dialect, ...]:
    """The dialects of this cell, in the table's order."""
    return tuple(one for one in DIALECTS if one.cell == cell)


def find(name: str, cell: str | Cell | None = None) -> Dialect:
    """The dialect of that name; of a framework with several, the one of ``cell``.

    Without a cell the framework's first is meant: its default GRU. Raises InputError when
    nothing is called that, or when it has other cells only.
    """
    wanted = CELLS.get(cell, cell) if isinstance(cell, str) else cell
    named = [one for one in DIALECTS if name in (one.framework, one.named)]
    if not named:
        known = dict.fromkeys(one.framework for one in DIALECTS)
        raise InputError(f"no dialect is called {name[:100]!r}; there are {', '.join(known)}")
    if wanted is None:
        return named[0]
    for one in named:
        if one.cell == wanted:
            return one
    cells = ", ".join(f"{one.cell_name} ({one.title})" for one in named)
    called = wanted.name if isinstance(wanted, Cell) else wanted
    raise InputError(f"dialect {name} does not spell the cell {called}; it spells {cells}")
