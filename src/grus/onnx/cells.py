"""The cell that a recurrent ONNX node computes, as equations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from grus.equations import Cell, Expr, Name, State, U, W, Weight, b, clip, d, x
from grus.onnx.activations import Activation, Equations

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
