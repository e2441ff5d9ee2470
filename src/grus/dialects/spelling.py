"""How others spell the weights of a cell: one record for each framework and cell.

A spelling says which cell it is, in which order and along which side of the packed tensor the
gates stand, how the biases are given, and what its tensors and gates are called. The sense of z
and the place of the reset are the cell's and are read off its equations, never stated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from grus.dialects import torch_record
from grus.equations import CELLS, Apply, Cell, Expr, Name, State
from grus.errors import InputError

Side = Literal["rows", "columns"]
Second = Literal["none", "gates", "inner"]


@dataclass(frozen=True, slots=True)
class Biases:
    """How a framework gives its biases.

    ``second`` is what there is beside the input bias of all gates: nothing, a recurrent bias of
    all gates (where the cell has no inner bias only the sum counts), or the inner bias alone.
    ``together`` means that one tensor holds both.
    """

    second: Second
    together: bool
    said: str


ONE = Biases("none", False, "one bias")
TWO = Biases("gates", False, "two biases: the input's, and the recurrent one")
ROWS = Biases("gates", True, "one tensor of two rows: the input bias, then the recurrent one")
JOINED = Biases("gates", True, "one vector: the input biases, then the recurrent ones")
INNER = Biases("inner", False, "one bias, and the inner bias of the candidate alone")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one framework or paper stores the weights of one cell."""

    dialect: str
    """The framework. Several spellings may share it; their cells tell them apart."""
    title: str
    cell: str
    """The name of the cell in `CELLS`."""
    order: tuple[str, ...]
    """The gates as they stand in a packed tensor, in the cell's letters; () where each gate has
    a tensor of its own."""
    gates_in: Side
    """Where the gates stand: "rows" is [gates * H, I] for W x, "columns" [I, gates * H] for x W."""
    biases: Biases
    names: Mapping[str, str]
    """Weight family -> what its tensor is called."""
    letters: Mapping[str, str] = field(default_factory=dict)
    """The cell's gate letter -> theirs, where it differs."""
    name: str = ""
    """A name of this one spelling; the dialect's where it is empty."""


KERAS = {"W": "kernel", "U": "recurrent_kernel", "b": "bias", "d": "bias"}
ONNX = {"W": "W", "U": "R", "b": "B", "d": "B"}
TORCH = torch_record.NAMES
PAPER: dict[str, str] = {}
H = {"n": "h"}
ZRN, RZN, IFGO = ("z", "r", "n"), ("r", "z", "n"), ("i", "f", "g", "o")

# tests/peers runs PyTorch, Keras, ONNX Runtime, Flax, Equinox and Haiku against their rows; the
# other rows were read in the source that they name.
SPELLINGS = (
    # dialect, title, cell, order, gates in, biases, tensor names, letters, name
    Spelling(
        "keras", "Keras 3 and tf.keras, GRU(reset_after=True), the default",
        "gru", ZRN, "columns", ROWS, KERAS, H,
    ),
    Spelling(
        "keras", "Keras GRU(reset_after=False)",
        "gru_reset_before", ZRN, "columns", ONE, KERAS, H, "keras_reset_before",
    ),
    Spelling("keras", "Keras LSTM", "lstm", IFGO, "columns", ONE, KERAS, {"g": "c"}),
    Spelling("keras", "Keras SimpleRNN", "rnn", ("h",), "columns", ONE, KERAS),
    Spelling("keras", "Keras SimpleRNN(relu)", "rnn_relu", ("h",), "columns", ONE, KERAS),
    Spelling("torch", "PyTorch nn.GRU", "gru", RZN, "rows", TWO, TORCH),
    Spelling("torch", "PyTorch nn.LSTM", "lstm", IFGO, "rows", TWO, TORCH),
    Spelling("torch", "PyTorch nn.RNN", "rnn", ("h",), "rows", TWO, TORCH),
    Spelling("torch", "PyTorch nn.RNN(relu)", "rnn_relu", ("h",), "rows", TWO, TORCH),
    Spelling(
        "onnx", "ONNX GRU, linear_before_reset = 0, the default",
        "gru_reset_before", ZRN, "rows", JOINED, ONNX, H, "onnx_reset_before",
    ),
    Spelling(
        "onnx", "ONNX GRU, linear_before_reset = 1",
        "gru", ZRN, "rows", JOINED, ONNX, H, "onnx_reset_after",
    ),
    Spelling("onnx", "ONNX LSTM", "lstm", ("i", "o", "f", "g"), "rows", JOINED, ONNX, {"g": "c"}),
    Spelling("onnx", "ONNX RNN", "rnn", ("h",), "rows", JOINED, ONNX, {"h": "i"}),
    Spelling("onnx", "ONNX RNN (relu)", "rnn_relu", ("h",), "rows", JOINED, ONNX, {"h": "i"}),
    Spelling(
        "flax", "Flax linen GRUCell", "gru", (), "columns", INNER,
        {"W": "ir, iz, in: kernel", "U": "hr, hz, hn: kernel", "b": "ir, iz, in: bias",
         "d": "hn: bias"},
    ),
    Spelling(
        "flax_nnx", "Flax nnx GRUCell", "gru", RZN, "columns", ONE,
        {"W": "dense_i.kernel", "U": "dense_h.kernel", "b": "dense_i.bias"},
    ),
    Spelling(
        "haiku", "Haiku GRU", "gru_reset_before_admit", ZRN, "columns", ONE,
        {"W": "w_i", "U": "w_h", "b": "b"}, {"n": "a"},
    ),
    Spelling(
        "equinox", "Equinox GRUCell", "gru", RZN, "rows", INNER,
        {"W": "weight_ih", "U": "weight_hh", "b": "bias", "d": "bias_n"},
    ),
    Spelling(
        "lasagne", "Lasagne GRULayer", "gru_admit", (), "columns", ONE,
        {
            "W": "W_in_to_resetgate, ...",
            "U": "W_hid_to_resetgate, ...",
            "b": "b_resetgate, ...",
        },
        {"n": "hidden_update"},
    ),
    Spelling(
        "cho2014", "Cho et al. 2014 (v3)", "gru_reset_before", (), "rows", ONE, PAPER, {"n": "h~"},
    ),
    Spelling(
        "chung2014", "Chung et al. 2014", "gru_reset_before_admit", (), "rows", ONE, PAPER,
        {"n": "h~"},
    ),
    Spelling(
        "d2l", "Dive into Deep Learning, from scratch", "gru_reset_before", (), "columns", ONE,
        {"W": "W_xr, W_xz, W_xh", "U": "W_hr, W_hz, W_hh", "b": "b_r, b_z, b_h"},
        {"r": "R", "z": "Z", "n": "H~"},
    ),
    Spelling(
        "wikipedia", "Wikipedia, fully gated unit", "gru_reset_before_admit", (), "rows", ONE,
        PAPER, {"n": "h^"},
    ),
)  # fmt: skip


def spellings(cell: Cell) -> tuple[Spelling, ...]:
    """The spellings of this cell, in the table's order."""
    return tuple(s for s in SPELLINGS if CELLS[s.cell] == cell)


def find_spelling(dialect: str, cell: Cell) -> Spelling:
    """The spelling of ``cell`` in a dialect, or the spelling of that name.

    Raises InputError when nothing is called that, or when it spells other cells only.
    """
    named = [s for s in SPELLINGS if dialect in (s.dialect, s.name)]
    if not named:
        known = dict.fromkeys(s.dialect for s in SPELLINGS)
        raise InputError(f"no dialect is called {dialect[:100]!r}; there are {', '.join(known)}")
    for spelling in named:
        if CELLS[spelling.cell] == cell:
            return spelling
    cells = ", ".join(f"{s.cell} ({s.title})" for s in named)
    raise InputError(f"dialect {dialect} does not spell the cell {cell.name}; it spells {cells}")


def sense(cell: Cell) -> tuple[str, Literal["keep", "admit"]] | None:
    """The gate that mixes old state and candidate, and what it does near 1.

    ``h_next = z * h + (1 - z) * n`` is ("z", "keep"), ``(1 - z) * h + z * n`` is ("z", "admit").
    None for a cell that has no such equation.
    """
    for state in cell.states:
        for kept, rest in _mixed(cell[f"{state}_next"], State(state)):
            for gate in (f for f in (kept, *rest) if isinstance(f, Name)):
                if kept == gate and 1 - gate in rest:
                    return gate.name, "keep"
                if kept == 1 - gate and gate in rest:
                    return gate.name, "admit"
    return None


def _mixed(expr: Expr, state: State) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """For ``a * state + b * c``, in any order: (a, (b, c)). Nothing for another expression."""
    if not isinstance(expr, Apply) or expr.op != "add":
        return
    left, right = expr.args
    for old, new in ((left, right), (right, left)):
        if isinstance(old, Apply) and isinstance(new, Apply) and old.op == new.op == "mul":
            one, other = old.args
            if state in (one, other):
                yield (one if other == state else other), new.args
