"""What each mistake changes: weights, equations, cases, answers. `hypotheses` names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grus.check.cases import Array, Case, Weights, again
from grus.check.meaning import FRESH, Answer, answer
from grus.equations import CELLS, Apply, Cell, CellError, Expr, Name, State

Tensors = dict[str, Array]


def each_layer(weights: Weights, change: Callable[[Tensors], Tensors]) -> Tensors:
    """Change each layer and direction alone."""
    ends = dict.fromkeys(name[name.index("_l") :] for name in weights)
    found: Tensors = {}
    for end in ends:
        own = {n.removesuffix(end): w for n, w in weights.items() if n.endswith(end)}
        found |= {f"{name}{end}": w for name, w in change(dict(own)).items()}
    return found


# Weights: gates r, z, n stacked along the first axis.

BIASES = ("bias_ih", "bias_hh")


def gates(order: tuple[int, int, int], *names: str) -> Callable[[Tensors], Tensors]:
    """Gates read in another order, in these tensors."""

    def change(own: Tensors) -> Tensors:
        return {
            n: np.concatenate([np.split(w, 3)[k] for k in order]) if n in (names or own) else w
            for n, w in own.items()
        }

    return change


def gate_of(tensors: Tensors, name: str, gate: int) -> Array:
    """One gate of a stacked tensor."""
    return np.split(tensors[name], 3)[gate]


def set_gate(tensors: Tensors, name: str, gate: int, value: Array | float) -> None:
    """Write one gate of a stacked tensor."""
    blocks = [b.copy() for b in np.split(tensors[name], 3)]
    blocks[gate][...] = value
    tensors[name] = np.concatenate(blocks)


def fixed(gate: int, bias: float) -> Callable[[Tensors], Tensors]:
    """A gate that is shut or open whatever comes: its sigmoid is 0 or 1 to the last bit."""

    def change(own: Tensors) -> Tensors:
        rows = own["weight_hh"].shape[0]
        own = {name: np.zeros(rows) for name in BIASES} | own
        for name in own:
            set_gate(own, name, gate, 0.0)
        set_gate(own, "bias_ih", gate, bias)
        return own

    return change


def biased(change: Callable[[Tensors], None]) -> Callable[[Tensors], Tensors]:
    """A change of biases, where there are any."""

    def both(own: Tensors) -> Tensors:
        if "bias_ih" in own:
            change(own)
        return own

    return both


def inner_out(own: Tensors) -> None:
    """The inner bias moves to where the input's stands, outside the reset."""
    set_gate(own, "bias_ih", 2, gate_of(own, "bias_ih", 2) + gate_of(own, "bias_hh", 2))
    set_gate(own, "bias_hh", 2, 0.0)


def outer_in(own: Tensors) -> None:
    """The input's bias of the candidate moves inside the reset."""
    set_gate(own, "bias_hh", 2, gate_of(own, "bias_ih", 2) + gate_of(own, "bias_hh", 2))
    set_gate(own, "bias_ih", 2, 0.0)


def only_inner(own: Tensors) -> None:
    """Of the recurrent biases the candidate's alone is read."""
    for gate in (0, 1):
        set_gate(own, "bias_hh", gate, 0.0)


def per_gate(change: Callable[[Array], Array], name: str) -> Callable[[Tensors], Tensors]:
    """A change of each gate's block of one tensor."""
    return lambda own: own | {name: np.concatenate([change(b) for b in np.split(own[name], 3)])}


def reshaped(own: Tensors, name: str) -> Tensors:
    """A matrix stored the other way round, reshaped where it should be transposed."""
    return own | {name: own[name].reshape(own[name].shape[::-1]).T}


def interleaved(own: Tensors) -> Tensors:
    """Row 3 i + g instead of g H + i."""
    return {n: np.concatenate([w[g::3] for g in range(3)]) for n, w in own.items()}


# Equations.


def replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with one part exchanged wherever it stands."""
    if expr == old:
        return new
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(replaced(part, old, new) for part in expr.args))
    return expr


def other(names: Mapping[str, str]) -> Callable[[Cell], Cell]:
    """Another cell of the house for each of these and back."""
    both = {**names, **{b: a for a, b in names.items()}}

    def change(cell: Cell) -> Cell:
        if cell.name not in both or cell != CELLS[cell.name]:
            raise CellError(f"cell {cell.name}: only {', '.join(both)} have such another cell")
        return CELLS[both[cell.name]]

    return change


PLACE = other({"gru": "gru_reset_before", "gru_admit": "gru_reset_before_admit"})
SENSE = other({"gru": "gru_admit", "gru_reset_before": "gru_reset_before_admit"})


def late(cell: Cell) -> Cell:
    """The reset gate of the step before."""
    lines = [(n, replaced(e, Name("r"), State("q"))) for n, e in cell.equations]
    return Cell(cell.name, (*lines, ("q_next", Name("r"))))


def whole(cell: Cell) -> Cell:
    """The reset gate multiplies the input's part of the candidate too."""
    return Cell(cell.name, tuple((name, _whole(expr)) for name, expr in cell.equations))


def _whole(expr: Expr) -> Expr:
    """The first sum that holds a product with the reset gate, multiplied by it as a whole."""
    if not isinstance(expr, Apply):
        return expr
    for gate in (Name("r"), State("q")) if expr.op == "add" else ():
        bare = _without(expr, gate)
        if bare != expr:
            return gate * bare
    return Apply(expr.op, tuple(map(_whole, expr.args)))


def _without(expr: Expr, gate: Expr) -> Expr:
    """The expression without a factor."""
    if not isinstance(expr, Apply):
        return expr
    if expr.op == "mul" and gate in expr.args:
        return expr.args[1] if expr.args[0] == gate else expr.args[0]
    return Apply(expr.op, tuple(_without(part, gate) for part in expr.args))


def reset_reaches(products: bool) -> Callable[[Cell], Cell]:
    """Where a new episode's zero state arrives: in the products alone, or in z * h alone."""

    def change(cell: Cell) -> Cell:
        masked: Expr = Name("fresh")
        lines: list[tuple[str, Expr]] = [("fresh", FRESH * State("h"))]
        for name, expr in cell.equations:
            there = (name != "h_next") == products
            lines.append((name, replaced(expr, State("h"), masked) if there else expr))
        return Cell(cell.name, tuple(lines))

    return change


# Cases.


def given(field: str, change: Callable[[Any, Case], Any]) -> Callable[[Case], Case]:
    """The case with one field changed, where the case has it."""

    def changed(case: Case) -> Case:
        value = getattr(case, field)
        new = None if value is None else change(value, case)
        return again(case, case.name, case.why, **{field: new})

    return changed


def alone(case: Case) -> Case:
    """Every step begins with zeros."""
    resets = np.ones(case.x.shape[:2])
    resets[0] = 0 if case.resets is None else case.resets[0]
    return again(case, case.name, case.why, resets=resets)


def shifted(array: Array, by: int) -> Array:
    """An array moved along time, zeros (False) where nothing comes from."""
    found = np.zeros_like(array)
    if by > 0:
        found[by:] = array[:-by]
    else:
        found[:by] = array[-by:]
    return found


def packed_left(case: Case) -> Case:
    """A mask taken for the number of its steps."""
    if case.mask is None:
        return case
    count = case.mask.sum(axis=0)
    return again(case, case.name, case.why, mask=None, lengths=count)


# What is handed back.


def counted(case: Case) -> Array:
    """Which steps count, [time, batch]."""
    steps = case.x.shape[0]
    found = np.ones(case.x.shape[:2], bool) if case.mask is None else case.mask.copy()
    return found if case.lengths is None else found & (np.arange(steps)[:, None] < case.lengths)


def first_layer(rows: Array, case: Case) -> Array:
    """Initial states of the first layer alone; zeros for the others."""
    return np.concatenate([rows[: case.directions], 0 * rows[case.directions :]])


def before_step(cell: Cell, case: Case, given: Answer) -> Answer:
    """The output is the state that a step found, not the one it left."""
    if case.bidirectional:
        return given
    first = np.zeros_like(given.h_n[:1]) if case.h0 is None else case.h0[-1:]
    return Answer(np.concatenate([first, given.output[:-1]]), given.h_n)


def held(cell: Cell, case: Case, given: Answer) -> Answer:
    """Padding repeats the output before it."""
    output, valid = given.output.copy(), counted(case)
    for t in range(1, len(output)):
        output[t] = np.where(valid[t][:, None], output[t], output[t - 1])
    return Answer(output, given.h_n)


def unmasked(cell: Cell, case: Case) -> Answer:
    """The answer of somebody who knows no padding; NaN in it read as 0."""
    clean = np.where(np.isfinite(case.x), case.x, 0.0)
    return answer(cell, again(case, case.name, case.why, x=clean, lengths=None, mask=None))


def empty_last(cell: Cell, case: Case, given: Answer) -> Answer:
    """A row without a step ends with what the last step of its padding gave."""
    h_n, empty = given.h_n.copy(), ~np.any(counted(case), axis=0)
    for d in range(case.directions):
        last = given.output[0 if d else -1, :, d * case.hidden : (d + 1) * case.hidden]
        h_n[d - case.directions, empty] = last[empty]
    return Answer(given.output, h_n)


def last_step(cell: Cell, case: Case, given: Answer) -> Answer:
    """The final state is read after the padding."""
    return Answer(given.output, unmasked(cell, case).h_n)


def empty_zero(cell: Cell, case: Case, given: Answer) -> Answer:
    """A row without a step ends with zeros."""
    ran: Array = np.any(counted(case), axis=0)
    return Answer(given.output, np.where(ran[None, :, None], given.h_n, 0.0))


def by_length(states_only: bool) -> Callable[[Cell, Case, Answer], Answer]:
    """Rows, or final states alone, in the order of falling lengths."""

    def change(cell: Cell, case: Case, given: Answer) -> Answer:
        if case.lengths is None:
            return given
        order = np.argsort(-case.lengths, kind="stable")
        output = given.output if states_only else given.output[:, order]
        return Answer(output, given.h_n[:, order])

    return change


def states_at_the_end(cell: Cell, case: Case, given: Answer) -> Answer:
    """The backward direction's final state read at the last step."""
    if not case.bidirectional:
        return given
    h_n = given.h_n.copy()
    h_n[-1] = given.output[-1, :, case.hidden :]
    return Answer(given.output, h_n)


def halves(cell: Cell, case: Case, given: Answer) -> Answer:
    """The halves of the output exchanged."""
    if not case.bidirectional:
        return given
    return Answer(np.roll(given.output, case.hidden, axis=2), given.h_n)


def swapped_rows(rows: Array, case: Case) -> Array:
    """The directions of each layer exchanged."""
    if not case.bidirectional:
        return rows
    return rows.reshape(case.num_layers, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


def by_direction(rows: Array, case: Case) -> Array:
    """All layers of one direction, then of the other."""
    apart = rows.reshape(case.num_layers, case.directions, *rows.shape[1:])
    return apart.swapaxes(0, 1).reshape(rows.shape)


def rows_by_direction(cell: Cell, case: Case, given: Answer) -> Answer:
    """Final states by direction, then layer."""
    return Answer(given.output, by_direction(given.h_n, case))


def rows_exchanged(cell: Cell, case: Case, given: Answer) -> Answer:
    """Final states of the directions exchanged."""
    return Answer(given.output, swapped_rows(given.h_n, case))


def ignored_padding(cell: Cell, case: Case, given: Answer) -> Answer:
    """Every step counts."""
    return unmasked(cell, case)


def shared(names: tuple[str, ...]) -> Callable[[Case], Case]:
    """The second layer reads these tensors of the first, where they fit."""

    def change(case: Case) -> Case:
        weights = dict(case.weights)
        for name in names:
            for end in ("", "_reverse"):
                one, two = weights.get(f"{name}_l0{end}"), f"{name}_l1{end}"
                if one is not None and two in weights and weights[two].shape == one.shape:
                    weights[two] = one
        return again(case, case.name, case.why, weights=weights)

    return change


def second_direction(case: Case) -> Case:
    """Both directions read the forward weights."""
    weights = {n: case.weights[n.removesuffix("_reverse")] for n in case.weights}
    return again(case, case.name, case.why, weights=weights)
