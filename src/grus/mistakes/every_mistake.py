"""The table: what goes wrong in a whole GRU, forward and in gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from grus.dialects.tensor_layout import SECOND
from grus.equations import Apply, Cell, Weight
from grus.mistakes import cell_changes as cells
from grus.mistakes.mistake import (
    BIAS_LEFT_OUT,
    NO_H0,
    REVERSED,
    TRANSPOSED,
    Blocks,
    Gradients,
    Mistake,
    read_in_order,
    relabelled,
    restacked,
    zeroed,
)  # fmt: skip
from grus.mistakes.right_answer import Answer, Array, Back, Case, How, answer, gradients, step_masks

CaseChange = Callable[[Case], Case]
AnswerChange = Callable[[Cell, Case, Answer], Answer]
Rows = Iterator[Mistake]


@lru_cache(maxsize=64)
def forward_mistakes(cell: Cell) -> tuple[Mistake, ...]:
    """Every mistake of a forward run that is tried with this cell, the commonest first."""
    tables = (_gates(), _biases(), _equations(cell), _states(), _padding(), _directions(),
              _resets(), _zoneout())  # fmt: skip
    return tuple(one for table in tables for one in table if one.applies(cell))


def _rows(kind: str, changes: Mapping[str, Any]) -> Rows:
    """Mistakes that change this one thing, by name."""
    yield from (Mistake(name, **{kind: change}) for name, change in changes.items())


# Weights.


def _gates() -> Rows:
    yield from (mistake for _, mistake in read_in_order(("r", "z", "n")))
    swapped = partial(relabelled, to={"r": "z", "z": "r"})
    reshaped = partial(restacked, change=lambda w: w.reshape(w.shape[::-1]).T)
    unit_by_unit = partial(restacked, change=lambda w: np.concatenate([w[g::3] for g in range(3)]))
    changes = {
        "r and z swapped in the input weights alone": partial(swapped, families=("W",)),
        "r and z swapped in the recurrent weights alone": partial(swapped, families=("U",)),
        "r and z swapped in the biases alone": partial(swapped, families=("b", SECOND)),
        "gates interleaved unit by unit": unit_by_unit,
    }
    yield from _rows("weights", changes)
    yield TRANSPOSED["U"]
    for family, what in (("W", "input"), ("U", "recurrent")):
        name = f"{what} weights reshaped where they should be transposed"
        yield Mistake(name, weights=partial(reshaped, families=(family,)))


OTHER_BIAS = {"b": SECOND, SECOND: "b"}


def _biases() -> Rows:
    outer, inner = Weight("b", "n"), Weight(SECOND, "n")

    def exchanged(w: Blocks, *families: str) -> Blocks:
        """Each bias of these families is the other one."""
        other = {f: OTHER_BIAS[f] for f in families}
        return w | {Weight(f, g): w[Weight(other[f], g)] for f in families for g in "rzn"}

    def doubled(w: Blocks) -> Blocks:
        return {n: 2 * a if n.family in OTHER_BIAS else a for n, a in w.items()}

    def outside_n(w: Blocks) -> Blocks:
        return w | {Weight(SECOND, g): 0 * w[inner] for g in "rz"}

    def put(w: Blocks, to: Weight, of: Weight) -> Blocks:
        return w | {to: w[outer] + w[inner], of: 0 * w[of]}

    changes: dict[str, Callable[[Blocks], Blocks]] = {
        "inner bias ignored": lambda w: w | {inner: 0 * w[inner]},
        "inner bias added outside the reset": lambda w: put(w, outer, inner),
        "the candidate's input bias put inside the reset": lambda w: put(w, inner, outer),
        "all biases ignored": lambda w: zeroed(w, "b", SECOND),
        "recurrent biases of r and z ignored": outside_n,
        "biases counted twice": doubled,
        "input and recurrent biases exchanged": lambda w: exchanged(w, "b", SECOND),
        "input biases used for both": lambda w: exchanged(w, SECOND),
        "recurrent biases used for both": lambda w: exchanged(w, "b"),
    }

    def where_any(blocks: Blocks, change: Callable[[Blocks], Blocks]) -> Blocks:
        return change(blocks) if outer in blocks else blocks

    yield from _rows("weights", {n: partial(where_any, change=c) for n, c in changes.items()})
    yield from BIAS_LEFT_OUT.values()


# Equations.


def fixed(gate: str, bias: float) -> Callable[[Blocks], Blocks]:
    """A gate that is shut or open whatever comes: its sigmoid is 0 or 1 to the last bit."""

    def change(blocks: Blocks) -> Blocks:
        silent = {w: 0 * a for w, a in blocks.items() if w.gate == gate}
        return blocks | silent | {Weight("b", gate): bias + 0 * blocks[Weight("U", gate)][:, 0]}

    return change


def _equations(cell: Cell) -> Rows:
    for names in sorted(names for names, _ in cells.relatives(cell) if len(names) == 1):
        yield Mistake(names[0], cell=cells.relative(names[0]))
    yield Mistake("reset applied one step late", cell=cells.late_reset)
    yield Mistake("reset applied one step late, open at first", cells.late_reset,
                  how=How(first_start=1.0))  # fmt: skip
    yield Mistake("reset applied to the input's part too", cell=cells.reset_of_all)
    gates = {
        "reset gate ignored (r = 1)": fixed("r", 40.0),
        "state dropped from the candidate (r = 0)": fixed("r", -800.0),
        "update gate stuck at 0": fixed("z", -800.0),
    }
    yield from _rows("weights", gates)
    changes = [cells.every_gate(one) for one in cells.HARD]
    for where, expr in cell.equations:
        if isinstance(expr, Apply) and expr.op == "tanh":
            others = ("relu", None, "sigmoid", "softsign")
            changes += [cells.one_equation(where, "tanh", other) for other in others]
    yield from _rows("cell", dict([*changes, cells.every_gate("tanh")]))


# Cases.


def with_field(field: str, change: Callable[[Any, Case], Any]) -> CaseChange:
    """The case with one field changed, where the case has it."""

    def changed(case: Case) -> Case:
        value = getattr(case, field)
        return case if value is None else replace(case, **{field: change(value, case)})

    return changed


def shifted(array: Array, by: int) -> Array:
    """An array moved along time, zeros (False) where nothing comes from."""
    moved = np.roll(array, by, axis=0)
    moved[slice(None, by) if by > 0 else slice(by, None)] = 0
    return moved


def _states() -> Rows:
    def every_step_anew(case: Case) -> Case:
        resets = np.ones(case.x.shape[:2])
        resets[0] = 0 if case.resets is None else case.resets[0]
        return replace(case, resets=resets)

    def first_layer(rows: Array, case: Case) -> Array:
        return np.concatenate([rows[: case.directions], 0 * rows[case.directions :]])

    def shared(case: Case, of: str) -> Case:
        """The second layer reads the first's tensors of these sorts, where they fit."""
        weights = dict(case.weights)
        for name, array in case.weights.items():
            second = name.replace("_l0", "_l1")
            fits = second in weights and weights[second].shape == array.shape
            if name.split("_")[0] in of.split() and fits:
                weights[second] = weights[name]
        return replace(case, weights=weights)

    def by_direction(cell: Cell, case: Case, right: Answer) -> Answer:
        each = right.h_n.reshape(case.num_layers, case.directions, *right.h_n.shape[1:])
        return Answer(right.output, each.swapaxes(0, 1).reshape(right.h_n.shape))

    def before_step(cell: Cell, case: Case, right: Answer) -> Answer:
        if case.bidirectional:
            return right
        first = np.zeros_like(right.h_n[:1]) if case.h0 is None else case.h0[-1:]
        return Answer(np.concatenate([first, right.output[:-1]]), right.h_n)

    changes = {
        "state not carried from step to step": every_step_anew,
        "h0 of the layers in reverse order": with_field("h0", lambda v, c: v[::-1]),
        "h0 given to the first layer alone": with_field("h0", first_layer),
        "the second layer uses the first's weights": partial(shared, of="weight bias"),
        "the second layer uses the first's biases": partial(shared, of="bias"),
    }
    yield NO_H0
    yield from _rows("case", changes)
    yield Mistake("final states by direction, then layer", answer=by_direction)
    yield Mistake("the output is the state before the step", answer=before_step)
    yield REVERSED


# What is handed back where rows end.


def steps_that_count(case: Case) -> Array:
    """Which steps count, [time, batch]."""
    steps = case.x.shape[0]
    counts = np.ones(case.x.shape[:2], bool) if case.mask is None else case.mask.copy()
    return counts if case.lengths is None else counts & (np.arange(steps)[:, None] < case.lengths)


def unmasked(cell: Cell, case: Case, right: Answer) -> Answer:
    """The answer of somebody who knows no padding; NaN in it read as 0."""
    clean = np.where(np.isfinite(case.x), case.x, 0.0)
    return answer(cell, replace(case, x=clean, lengths=None, mask=None))


def repeated(cell: Cell, case: Case, right: Answer) -> Answer:
    """Padding repeats the output before it."""
    output, valid = right.output.copy(), steps_that_count(case)
    for t in range(1, len(output)):
        output[t] = np.where(valid[t][:, None], output[t], output[t - 1])
    return Answer(output, right.h_n)


def after_padding(cell: Cell, case: Case, right: Answer) -> Answer:
    """A row without a step ends with what the last step of its padding gave."""
    h_n, empty = right.h_n.copy(), ~np.any(steps_that_count(case), axis=0)
    for d in range(case.directions):
        last = right.output[0 if d else -1, :, d * case.hidden : (d + 1) * case.hidden]
        h_n[d - case.directions, empty] = last[empty]
    return Answer(right.output, h_n)


def zeros_where_empty(cell: Cell, case: Case, right: Answer) -> Answer:
    """A row without a step ends with zeros."""
    ran: Array = np.any(steps_that_count(case), axis=0)
    return Answer(right.output, np.where(ran[None, :, None], right.h_n, 0.0))


def by_length(cell: Cell, case: Case, right: Answer, output_too: bool) -> Answer:
    """Final states, and rows too, in the order of falling lengths."""
    if case.lengths is None:
        return right
    order = np.argsort(-case.lengths, kind="stable")
    return Answer(right.output[:, order] if output_too else right.output, right.h_n[:, order])


def _padding() -> Rows:
    def lengths(by: int) -> CaseChange:
        return with_field("lengths", lambda v, c: np.clip(v + by, 0, len(c.x)))

    def packed_left(case: Case) -> Case:
        count = None if case.mask is None else case.mask.sum(axis=0)
        return case if count is None else replace(case, mask=None, lengths=count)

    answers: dict[str, AnswerChange] = {
        "lengths and masks ignored": unmasked,
        "padding repeats the last output": repeated,
        "the final state is read after the padding": lambda cell, case, right: Answer(
            right.output, unmasked(cell, case, right).h_n
        ),
        "a row of length 0 ends with zeros": zeros_where_empty,
        "rows handed back in the order of their lengths": partial(by_length, output_too=True),
        "final states in the order of the lengths": partial(by_length, output_too=False),
    }
    changes = {
        "lengths one too short": lengths(-1),
        "lengths one too long": lengths(1),
        "a mask taken for a number of steps": packed_left,
        "the mask turned round": with_field("mask", lambda v, c: ~v),
    }
    on = "the cell runs on through padding"
    yield from _rows("answer", answers)
    yield Mistake(on, how=How(run_on=True))
    yield Mistake(f"{on}, and a row of length 0 ends after it", how=How(run_on=True),
                  answer=after_padding)  # fmt: skip
    yield from _rows("case", changes)


def _directions() -> Rows:
    def of_both(change: Callable[[Case, Answer], Answer]) -> AnswerChange:
        return lambda cell, case, right: change(case, right) if case.bidirectional else right

    def swapped(rows: Array, case: Case) -> Array:
        each = rows.reshape(case.num_layers, case.directions, *rows.shape[1:])
        return each[:, ::-1].reshape(rows.shape)

    def last_step(case: Case, a: Answer) -> Answer:
        return Answer(a.output, np.concatenate([a.h_n[:-1], a.output[-1:, :, case.hidden :]]))

    def forward_weights(case: Case) -> Case:
        own = {name: case.weights[name.removesuffix("_reverse")] for name in case.weights}
        return replace(case, weights=own)

    def halves(case: Case, a: Answer) -> Answer:
        return Answer(np.roll(a.output, case.hidden, axis=2), a.h_n)

    hows = {
        "reverse aligned to padding": How(align=False),
        "backward results left in the order of their steps": How(turn_back=False),
        "the second direction runs forward too": How(backward=False),
    }
    changes = {
        "both directions use the forward weights": forward_weights,
        "initial states of the directions exchanged": with_field("h0", swapped),
    }
    answers: dict[str, Callable[[Case, Answer], Answer]] = {
        "the backward final state read at the last step": last_step,
        "halves of the output exchanged": halves,
        "final states of the directions exchanged": lambda case, a: Answer(
            a.output, swapped(a.h_n, case)
        ),
    }
    yield from _rows("how", hows)
    yield from _rows("case", changes)
    yield from _rows("answer", {name: of_both(change) for name, change in answers.items()})


def _resets() -> Rows:
    def of_floats(change: Callable[[Array], Array | None]) -> CaseChange:
        return with_field("resets", lambda v, c: change(v.astype(np.float64)))

    changes: dict[str, Callable[[Array], Array | None]] = {
        "resets ignored": lambda r: None,
        "resets one step late": lambda r: shifted(r, 1),
        "resets one step early": lambda r: shifted(r, -1),
        "resets turned round (1 where the state is kept)": lambda r: 1 - r,
        "one row's reset resets every row": lambda r: 0 * r + r.max(axis=1, keepdims=True),
    }
    yield from _rows("case", {name: of_floats(change) for name, change in changes.items()})
    yield Mistake("the reset misses z * h", cell=cells.episode_reset(products=True))
    yield Mistake("the reset misses the products", cell=cells.episode_reset(products=False))


def _zoneout() -> Rows:
    changes: dict[str, Callable[[Array, Case], Array | None]] = {
        "zoneout ignored": lambda k, c: None,
        "zoneout turned round": lambda k, c: 1 - k,
        "zoneout mask of the step before": lambda k, c: shifted(k, 1),
        "zoneout mask of the step after": lambda k, c: shifted(k, -1),
        "the first step's zoneout mask at every step": lambda k, c: 0 * k + k[:1],
    }
    yield from _rows("case", {n: with_field("zoneout", change) for n, change in changes.items()})


# Gradients alone, after a right forward run.


def gradient_mistakes() -> Rows:
    """Every mistake of gradients alone that is tried."""
    ways = {
        "no gradient goes back from step to step": Back(carried=False),
        "the final state's gradient ignored": Back(dh_n=0.0),
        "the output's gradient ignored": Back(dy=0.0),
    }
    afterwards: dict[str, Callable[[Gradients, int], Gradients]] = {
        "no gradient reaches h0": lambda g, _: _zeros(g, "h0"),
        "no gradient reaches x": lambda g, _: _zeros(g, "x"),
        "the inner bias' gradient lacks the reset gate": lambda g, _: {
            n: g[n.replace("_hh", "_ih")] for n in g if n.startswith("bias_hh")
        },
        "no gradient reaches the biases": lambda g, _: _zeros(g, "bias"),
        "weight gradients averaged over the batch": lambda g, batch: {
            n: a / batch for n, a in g.items() if n not in ("x", "h0")
        },
        "every gradient averaged over the batch": lambda g, batch: {
            n: a / batch for n, a in g.items()
        },
        "every gradient has the wrong sign": lambda g, _: {n: -a for n, a in g.items()},
    }
    masks: dict[str, tuple[str, Callable[[Array], Array]]] = {
        "gradients go through resets": ("alive", np.ones_like),
        "padding sends gradients": ("valid", np.ones_like),
        "zoneout forgotten on the way back": ("kept", np.zeros_like),
        "zoneout mask of the step before on the way back": ("kept", lambda k: np.roll(k, 1, 0)),
        "zoneout mask of the step after on the way back": ("kept", lambda k: np.roll(k, -1, 0)),
        "the first step's zoneout mask on the way back": ("kept", lambda k: 0 * k + k[:1]),
    }
    yield from _rows("gradients", {n: partial(gradients, back=back) for n, back in ways.items()})
    yield from _rows("gradients", {n: partial(_after, change=c) for n, c in afterwards.items()})
    yield from _rows("gradients", {n: partial(_masked, change=c) for n, c in masks.items()})


def _after(cell: Cell, case: Case, change: Callable[[Gradients, int], Gradients]) -> Gradients:
    right = gradients(cell, case)
    return right | change(right, case.x.shape[1])


def _masked(cell: Cell, case: Case, change: tuple[str, Callable[[Array], Array]]) -> Gradients:
    of, changed = change
    return gradients(cell, case, Back(masks={of: changed(step_masks(case)[of])}))


def _zeros(right: Gradients, of: str) -> Gradients:
    return {n: np.zeros_like(a) for n, a in right.items() if n.startswith(of)}
