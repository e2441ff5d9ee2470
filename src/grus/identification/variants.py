"""The equations that are tried: every cell with these gates, with every usual activation.

The cells are those of the package and of the dialects' records; beside them stand two that reset
the whole candidate, W x and b included (Dreamer's). Activations are put in by `activated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from grus.dialects.activation import TANH, Activation, Activations, activated
from grus.dialects.records import DIALECTS
from grus.dialects.transform import MOVED, sense
from grus.equations import CELLS, Apply, Cell, Name, State, walk, x
from grus.mistakes import HARD, reset_of_all


def _reset_whole(name: str, base: str) -> Cell:
    return Cell(name, reset_of_all(CELLS[base]).equations)


RESET_WHOLE = (
    _reset_whole("gru_reset_whole", "gru_reset_before"),
    _reset_whole("gru_reset_whole_admit", "gru_reset_before_admit"),
)
GATES = (Activation("sigmoid"), *HARD)
CANDIDATES = tuple(
    map(Activation, ("tanh", "relu", "sigmoid", "linear", "softsign", "hard_sigmoid"))
)
FAMILIES = {"W", "U", "b", "d"}  # what tensors are read as; other cells are not tried


@dataclass(frozen=True)
class CellKind:
    """One set of equations that is tried."""

    cell: Cell
    base: str
    """The name of the cell without its activations."""
    activations: Activations
    said: str
    """The equations in words."""
    twin: Cell | None = None
    """The cell that resets before the product, where this one resets after it: the same function
    where U.n is diagonal and d.n is 0."""


def gates_of(cell: Cell) -> frozenset[str]:
    """The gates that a cell's tensors hold; cells with the same gates are tried together."""
    return frozenset(cell.families.get("W", ()))


@lru_cache(maxsize=64)
def variants(gates: frozenset[str]) -> tuple[CellKind, ...]:
    """Every set of equations over these gates, each once; those of dialects among them."""
    found: dict[Cell, CellKind] = {}
    for base in _bases():
        if gates_of(base) == gates:
            own = [d.activations for d in DIALECTS if d.cell_name == base.name]
            for chosen in (*_activations(base), *own):
                variant = _variant(base, chosen)
                found.setdefault(variant.cell, variant)
    return tuple(found.values())


def _bases() -> tuple[Cell, ...]:
    return tuple(one for one in (*CELLS.values(), *RESET_WHOLE) if set(one.families) <= FAMILIES)


def _activations(base: Cell) -> list[Activations]:
    """Each activation of gates and candidate; an LSTM's output has the candidate's."""
    gated = any(isinstance(node, Apply) and node.op == "sigmoid" for node in base.nodes)
    if base.name == "rnn_relu":
        return []  # the RNN with relu
    output = "o" in gates_of(base)
    return [
        Activations(gate, candidate, candidate if output else TANH)
        for gate in (GATES if gated else GATES[:1])
        for candidate in CANDIDATES
    ]


def _variant(base: Cell, chosen: Activations) -> CellKind:
    def made(cell: Cell) -> Cell:
        return activated(cell, chosen.gates, chosen.candidate, chosen.output, clip=chosen.clip)

    twin = None if "d" not in base.families else made(CELLS[MOVED[base.name]])
    said = f"{_said(base)}; {chosen}" if len(gates_of(base)) > 1 else f"RNN, {chosen.candidate}"
    return CellKind(made(base), base.name, chosen, said, twin)


def _said(cell: Cell) -> str:
    """Where the reset stands and what z does, read off the equations."""
    words = [place for place in (_reset(cell),) if place]
    mixed = sense(cell)
    if mixed:
        gate, does = mixed
        words.append(f"{gate} {'keeps the state' if does == 'keep' else 'admits the candidate'}")
    return ", ".join(words) or cell.name.replace("_", " ").upper()


def _reset(cell: Cell) -> str:
    """What r multiplies: the state, the recurrent product, or W x too."""
    equations = dict(cell.equations)
    for node in cell.nodes:
        if isinstance(node, Apply) and node.op == "mul" and node.args[0] == Name("r"):
            what = node.args[1]
            if what == State("h"):
                return "reset before the product"
            inside = equations[what.name] if isinstance(what, Name) else what
            return f"reset {'of the whole candidate' if x in walk(inside) else 'after the product'}"
    return ""
