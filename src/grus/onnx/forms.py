"""Which ONNX operator a cell is, with which attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from grus.dialects.activation import EVERY, KINDS, USUAL, Activation, activated, factor
from grus.dialects.network import Unrepresentable
from grus.equations import CELLS, Cell, Name, State, Weight, sigmoid, x
from grus.errors import InputError

h, c = State("h"), State("c")


@dataclass(frozen=True, slots=True)
class NodeForm:
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


ROLES = {"GRU": ("gates", "candidate"), "LSTM": ("gates", "candidate", "output"),
         "RNN": ("candidate",)}  # fmt: skip
"""The activations of a node in ONNX' order: f, g, h."""
DEFAULTS = {
    kind: tuple(KINDS[getattr(USUAL, role).name].onnx for role in roles)
    for kind, roles in ROLES.items()
}
"""The activations of a node that names none."""
BASES = {("GRU", False): "gru_reset_before", ("GRU", True): "gru", ("LSTM", False): "lstm",
         ("RNN", False): "rnn"}  # fmt: skip
"""The operator, and whether its reset comes after the product -> the cell of the house."""
NAMES = {kind.onnx.lower(): name for name, kind in EVERY.items() if kind.onnx}
"""ONNX' names, which are read in any case -> the house's."""
PEEPHOLES = "iof"
"""The gates that see the cell state, in the order of the tensor P."""


def activations(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], where: str
) -> tuple[Activation, ...]:
    """The activations of a node: each takes the next alpha, the next beta, if it has one.

    Raises InputError for a name that ONNX does not know, and for a number that is missing and has
    no default.
    """
    left = {"alpha": iter(alphas), "beta": iter(betas)}
    found = []
    for word in names:
        name = NAMES.get(word.lower())
        if name is None:
            known = ", ".join(EVERY[one].onnx for one in NAMES.values())
            raise InputError(f"{where}: no activation is called {word[:100]!r}; ONNX has {known}")
        kind, numbers = EVERY[name], dict[str, float]()
        for which, values in left.items():
            default = getattr(kind, which)
            value = None if default is None else next(values, default if kind.defaults else None)
            if value is not None:
                numbers[which] = float(value)
            elif default is not None:
                raise InputError(
                    f"{where}: {kind.onnx} needs a number in activation_{which}; it has no default"
                )
        found.append(Activation(name, **numbers))
    return tuple(found)


def attributes(form: NodeForm, directions: int) -> dict[str, Any]:
    """The attributes that differ from ONNX's defaults, and where the reset stands."""
    found: dict[str, Any] = {"activations": [EVERY[a.name].onnx for a in form.activations]}
    for number in ("alpha", "beta"):
        every = (getattr(a, number) for a in form.activations)
        found[f"activation_{number}"] = [value for value in every if value is not None]
    found = {name: values * directions for name, values in found.items() if values}
    if form.clip is not None:
        found["clip"] = form.clip
    if form.kind == "GRU":
        found["linear_before_reset"] = int(form.linear_before_reset)
    if form.input_forget:
        found["input_forget"] = 1
    return found


@lru_cache(maxsize=256)
def cell_of(form: NodeForm) -> Cell:
    """The cell in house letters: gates r, z, n; i, f, g, o; h. Equal to `CELLS`' own, and run by
    the same kernel, where the node is the usual one."""
    chosen = dict(zip(ROLES[form.kind], form.activations, strict=True))
    found = activated(_base(form), **chosen, clip=form.clip)
    return Cell(f"onnx_{form.kind.lower()}", found.equations)


def _base(form: NodeForm) -> Cell:
    """The cell with the usual activations."""
    if form.kind != "LSTM":
        return CELLS[BASES[form.kind, form.linear_before_reset]]
    equations = dict(CELLS["lstm"].equations)
    if form.peepholes:  # each unit its own; o sees the new cell state
        for gate, state in {"i": c, "f": c, "o": Name("c_next")}.items():
            w, u, bias, p = (Weight(family, gate) for family in "WUbp")
            equations[gate] = sigmoid(w @ x + u @ h + bias + p * state)
        equations |= {name: equations.pop(name) for name in ("c_next", "o", "h_next")}
    if form.input_forget:
        equations["f"] = 1 - Name("i")
    return Cell("lstm", tuple(equations.items()))


MIRRORED = {"gru_admit": "gru", "gru_reset_before_admit": "gru_reset_before"}
"""The same cell with the other sense of z: sigmoid(-a) = 1 - sigmoid(a)."""
OPERATORS = {base: kind for (kind, _), base in BASES.items()} | {"rnn_relu": "RNN"}
"""The cells of the house -> the operator; activations aside."""


@dataclass(frozen=True)
class Written:
    """A cell as an ONNX operator."""

    form: NodeForm
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
    wanted = [getattr(chosen, role) for role in ROLES[kind]] if kind else []
    if not kind or any(not KINDS[one.name].onnx and one.name != "linear" for one in wanted):
        return None
    after = MIRRORED.get(base, base) == "gru"
    affine = [Activation("affine") if one.name == "linear" else one for one in wanted]
    return Written(
        NodeForm(kind, tuple(affine), clip=chosen.clip, linear_before_reset=after), mirrored
    )


def _forms(cell: Cell) -> Iterator[NodeForm]:
    """What could be meant: the operators of the cell's states, with every activation at its
    default numbers."""
    usual = [Activation(name) for name in NAMES.values() if EVERY[name].defaults]
    kinds = ["LSTM"] if cell.states == ("h", "c") else ["GRU", "RNN"]
    for kind in kinds:
        for chosen in product(usual, repeat=len(ROLES[kind])):
            yield NodeForm(kind, chosen)
            if kind == "GRU":
                yield NodeForm(kind, chosen, linear_before_reset=True)
    if kinds == ["LSTM"]:
        plain = activations(DEFAULTS["LSTM"], (), (), "")
        for forget, peep in ((True, False), (False, True), (True, True)):
            yield NodeForm("LSTM", plain, input_forget=forget, peepholes=peep)


def _nearest(cell: Cell) -> str:
    """The first equation that no operator of these states has."""
    known = [cell_of(form) for form in _forms(cell)]
    shared = [{one[name] for one in known if name in dict(one.equations)} for name, _ in cell]
    for (name, expr), others in zip(cell, shared, strict=True):
        if expr not in others:
            line = next(line for line in str(cell).splitlines() if line.startswith(f"{name} ="))
            return f"no operator computes {line}"
    return "its equations stand together in no operator"
