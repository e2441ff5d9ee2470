"""Which ONNX operator a cell is, with which attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from grus.dialects.activation import Activation as Chosen, factor
from grus.dialects.network import Unrepresentable
from grus.dialects.records_run import ONNX_WORDS
from grus.equations import CELLS, Cell, Expr, Name, State, U, W, Weight, b, clip, d, x
from grus.onnx.activations import KINDS, Activation, Equations

h, c = State("h"), State("c")


@dataclass(frozen=True, slots=True)
class Form:
    """What attributes say of a cell: everything but sizes, directions and numbers in tensors."""

    kind: str
    """GRU, LSTM or RNN."""
    activations: tuple[Activation, ...]
    """(f, g) of the GRU, (f, g, h) of the LSTM, (f,) of the RNN."""
    clip: float | None = None
    """Arguments of activations are kept in [-clip, clip]; None: they are not."""
    linear_before_reset: bool = False
    input_forget: bool = False
    peepholes: bool = False

    def argument(self, sum: Expr) -> Expr:
        """A sum of products as an activation receives it."""
        return sum if self.clip is None else clip(sum, self.clip)


DEFAULTS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
"""The activations of a node that names none."""


@lru_cache(maxsize=256)
def cell_of(form: Form) -> Cell:
    """The cell in house letters: gates r, z, n; i, f, g, o; h. Equal to `CELLS`' own, and run by
    the same kernel, where the node is the usual one."""
    equations = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}[form.kind](form)
    return Cell(f"onnx_{form.kind.lower()}", tuple(equations))


def _gru(form: Form) -> Equations:
    f, g = form.activations
    gates = [(gate, form.argument(_sum(gate))) for gate in ("r", "z")]
    found = [line for gate, sum in gates for line in f.equations(gate, sum)]
    if form.linear_before_reset:
        found.append(("m", U.n @ h + d.n))
        candidate = W.n @ x + b.n + Name("r") * Name("m")
    else:
        candidate = W.n @ x + U.n @ (Name("r") * h) + b.n
    found += g.equations("n", form.argument(candidate))
    return [*found, ("h_next", Name("z") * h + (1 - Name("z")) * Name("n"))]


def _lstm(form: Form) -> Equations:
    f, g, out = form.activations
    found = f.equations("i", form.argument(_peep(form, "i", c)))
    if form.input_forget:
        found.append(("f", 1 - Name("i")))
    else:
        found += f.equations("f", form.argument(_peep(form, "f", c)))
    found += g.equations("g", form.argument(_sum("g")))
    output = f.equations("o", form.argument(_peep(form, "o", Name("c_next"))))
    state: Equations = [("c_next", Name("f") * c + Name("i") * Name("g"))]
    # With peepholes o sees the new cell state; without, it stands where the house's LSTM has it.
    found += [*state, *output] if form.peepholes else [*output, *state]
    *before, (name, squashed) = out.equations("h_out", Name("c_next"))
    if before:
        return [*found, *before, (name, squashed), ("h_next", Name("o") * Name(name))]
    return [*found, ("h_next", Name("o") * squashed)]


def _rnn(form: Form) -> Equations:
    (f,) = form.activations
    return f.equations("h_next", form.argument(_sum("h")))


def _sum(gate: str) -> Expr:
    return Weight("W", gate) @ x + Weight("U", gate) @ h + Weight("b", gate)


def _peep(form: Form, gate: str, state: Expr) -> Expr:
    """With peepholes the gate sees the cell state too, each unit its own."""
    return _sum(gate) + Weight("p", gate) * state if form.peepholes else _sum(gate)


MIRRORED = {"gru_admit": "gru", "gru_reset_before_admit": "gru_reset_before"}
"""The same cell with the other sense of z: sigmoid(-a) = 1 - sigmoid(a)."""


OPERATORS = {
    "gru": "GRU",
    "gru_reset_before": "GRU",
    "lstm": "LSTM",
    "rnn": "RNN",
    "rnn_relu": "RNN",
}
"""The cells of the house -> the operator; activations aside."""
NAMES = {known.name: word for word, known in ONNX_WORDS.items()}
"""Activations of `grus.dialects.activation` -> ONNX's names."""


@dataclass(frozen=True)
class Written:
    """A cell as an ONNX operator."""

    form: Form
    mirrored: tuple[str, ...] = ()
    """Gates whose weights and biases change sign."""


@lru_cache(maxsize=256)
def written(cell: Cell) -> Written:
    """The operator and attributes that compute ``cell``.

    Raises Unrepresentable where there are none; it names the first equation that differs from
    the nearest operator's.
    """
    for admits, keeps in MIRRORED.items():
        if cell == CELLS[admits]:
            return Written(written(CELLS[keeps]).form, ("z",))
    for form in _forms(cell):
        if cell_of(form) == cell:
            return Written(form)
    found = _factored(cell)
    if found is not None:
        return found
    raise Unrepresentable(f"ONNX has no operator for the cell {cell.name}: {_nearest(cell)}")


def _factored(cell: Cell) -> Written | None:
    """A cell of the house with other activations, or clipped; None where ONNX has not all."""
    parts = factor(cell)
    if parts is None:
        return None
    base, chosen = parts.base.name, parts.activations
    mirrored = ("z",) if base in MIRRORED and chosen.gates.symmetric else ()
    kind = OPERATORS.get(MIRRORED[base] if mirrored else base)
    wanted = {
        "GRU": (chosen.gates, chosen.candidate),
        "LSTM": (chosen.gates, chosen.candidate, chosen.output),
        "RNN": (chosen.candidate,),
    }
    if kind is None or any(one.name not in {*NAMES, "linear"} for one in wanted[kind]):
        return None
    after = MIRRORED.get(base, base) == "gru"
    activations = tuple(map(_in_onnx, wanted[kind]))
    return Written(Form(kind, activations, clip=chosen.clip, linear_before_reset=after), mirrored)


def _in_onnx(one: Chosen) -> Activation:
    if one.name == "linear":
        return Activation("Affine", 1.0, 0.0)
    return Activation(NAMES[one.name], one.alpha or 0.0, one.beta or 0.0)


def _forms(cell: Cell) -> Iterator[Form]:
    """What could be meant: the operators of the cell's states, with every activation at its
    default numbers."""
    usual = [
        Activation(k.name, _number(k.alpha), _number(k.beta))
        for k in KINDS.values()
        if "required" not in (k.alpha, k.beta)
    ]
    kinds = ["LSTM"] if cell.states == ("h", "c") else ["GRU", "RNN"]
    for kind in kinds:
        for chosen in product(usual, repeat=len(DEFAULTS[kind])):
            yield Form(kind, chosen)
            if kind == "GRU":
                yield Form(kind, chosen, linear_before_reset=True)
    if kinds == ["LSTM"]:
        plain = tuple(Activation(name) for name in DEFAULTS["LSTM"])
        for forget, peep in ((True, False), (False, True), (True, True)):
            yield Form("LSTM", plain, input_forget=forget, peepholes=peep)


def _number(default: float | str | None) -> float:
    return default if isinstance(default, float) else 0.0


def _nearest(cell: Cell) -> str:
    """The first equation that no operator of these states has."""
    known = [cell_of(form) for form in _forms(cell)]
    shared = [{one[name] for one in known if name in dict(one.equations)} for name, _ in cell]
    for (name, expr), others in zip(cell, shared, strict=True):
        if expr not in others:
            line = next(line for line in str(cell).splitlines() if line.startswith(f"{name} ="))
            return f"no operator computes {line}"
    return "its equations stand together in no operator"
