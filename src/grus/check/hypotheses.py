"""What goes wrong in GRUs: each mistake as something that can be run.

A hypothesis changes the cell, the weights, the case, the way layers are run, or what is handed
back. The kit runs each of them and compares the numbers; nothing is guessed from names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from grus.check.cases import Array, Case, again
from grus.check.meaning import Answer, How, answer
from grus.check.mistakes import (
    BIASES,
    PLACE,
    SENSE,
    Tensors,
    alone,
    before_step,
    biased,
    by_length,
    each_layer,
    empty_last,
    empty_zero,
    first_layer,
    fixed,
    gates,
    given,
    halves,
    held,
    ignored_padding,
    inner_out,
    interleaved,
    last_step,
    late,
    only_inner,
    outer_in,
    packed_left,
    per_gate,
    reset_reaches,
    reshaped,
    rows_by_direction,
    rows_exchanged,
    second_direction,
    set_gate,
    shared,
    shifted,
    states_at_the_end,
    swapped_rows,
    whole,
)
from grus.dialects.activation import Activation, activated
from grus.equations import Cell, CellError


@dataclass(frozen=True)
class Hypothesis:
    """One mistake. What is None is as it should be."""

    name: str
    cell: Callable[[Cell], Cell] | None = None
    weights: Callable[[Tensors], Tensors] | None = None
    """From the tensors of one layer and direction, without the layer's ending."""
    case: Callable[[Case], Case] | None = None
    how: How | None = None
    answer: Callable[[Cell, Case, Answer], Answer] | None = None

    def run(self, cell: Cell, case: Case) -> Answer:
        """What somebody who makes this mistake answers."""
        if case.stepwise:
            return self._steps(cell, case)
        wrong = self.case(case) if self.case else case
        if self.weights:
            wrong = again(
                wrong, case.name, case.why, weights=each_layer(wrong.weights, self.weights)
            )
        used = self.changed(cell)
        found = answer(used, wrong, self.how)
        return self.answer(used, wrong, found) if self.answer else found

    def changed(self, cell: Cell) -> Cell:
        """The cell with this mistake in it. Raises CellError where it changes nothing there."""
        return _shows(self.cell)(cell) if self.cell else cell

    def applies(self, cell: Cell) -> bool:
        """Whether it is a mistake that can be made with this cell."""
        try:
            self.changed(cell)
        except CellError:
            return False
        return True

    def _steps(self, cell: Cell, case: Case) -> Answer:
        """One call a step, each with the state that the one before handed back."""
        outputs, state = [], case.h0
        for t in range(len(case.x)):
            x = case.x[t : t + 1]
            now = again(case, case.name, case.why, x=x, h0=state, stepwise=False)
            found = self.run(cell, now)
            outputs.append(found.output)
            state = found.h_n
        return Answer(np.concatenate(outputs), found.h_n)

    def __and__(self, other: Hypothesis) -> Hypothesis:
        """Both mistakes at once, this one first."""
        return Hypothesis(
            f"{self.name}, and {other.name}",
            _then(self.cell and _shows(self.cell), other.cell and _shows(other.cell)),
            _then(self.weights, other.weights),
            _then(self.case, other.case),
            _joined(self.how, other.how),
            self.answer or other.answer,
        )

    def fits_with(self, other: Hypothesis) -> bool:
        """Whether both can be made at once: at most one changes what is handed back."""
        return not (self.answer and other.answer) and self is not other


Change = Callable[[Any], Any] | None


def _then(one: Change, other: Change) -> Change:
    if one is None or other is None:
        return one or other
    return lambda value: other(one(value))


def _shows(change: Callable[[Cell], Cell]) -> Callable[[Cell], Cell]:
    """The change of a cell, which raises CellError where it changes nothing."""

    def checked(cell: Cell) -> Cell:
        found = change(cell)
        if found == cell:
            raise CellError(f"cell {cell.name}: the mistake changes no equation")
        return found

    return checked


def _joined(one: How | None, other: How | None) -> How | None:
    if one is None or other is None:
        return one or other
    changed = {n: getattr(other, n) for n in How.__dataclass_fields__
               if getattr(other, n) != getattr(How(), n)}  # fmt: skip
    return replace(one, **changed)


def hypotheses() -> Iterator[Hypothesis]:
    """Every mistake that is tried, the commonest first."""
    yield from _of_gates()
    yield from _of_biases()
    yield from _of_equations()
    yield from _of_states()
    yield from _of_padding()
    yield from _of_directions()
    yield from _of_resets()


def _of_gates() -> Iterator[Hypothesis]:
    yield Hypothesis("gates r and z swapped", weights=gates((1, 0, 2)))
    yield Hypothesis("gates z and n swapped", weights=gates((0, 2, 1)))
    yield Hypothesis("gates r and n swapped", weights=gates((2, 1, 0)))
    yield Hypothesis("gates read in the order z, n, r", weights=gates((2, 0, 1)))
    yield Hypothesis("gates read in the order n, r, z", weights=gates((1, 2, 0)))
    for name, said in (("weight_ih", "input weights"), ("weight_hh", "recurrent weights")):
        yield Hypothesis(f"r and z swapped in the {said} alone", weights=gates((1, 0, 2), name))
    yield Hypothesis("r and z swapped in the biases alone", weights=gates((1, 0, 2), *BIASES))
    yield Hypothesis("gates interleaved unit by unit", weights=interleaved)
    yield Hypothesis("recurrent weights transposed", weights=per_gate(np.transpose, "weight_hh"))
    for name, said in (("weight_ih", "input"), ("weight_hh", "recurrent")):
        yield Hypothesis(
            f"{said} weights reshaped where they should be transposed",
            weights=partial(reshaped, name=name),
        )


def _of_biases() -> Iterator[Hypothesis]:
    def change(name: str, how: Callable[[Tensors], None]) -> Hypothesis:
        return Hypothesis(name, weights=biased(how))

    def scaled(one: float, two: float) -> Callable[[Tensors], None]:
        return lambda own: own.update(bias_ih=one * own["bias_ih"], bias_hh=two * own["bias_hh"])

    yield change("inner bias ignored", lambda own: set_gate(own, "bias_hh", 2, 0.0))
    yield change("inner bias added outside the reset", inner_out)
    yield change("the candidate's input bias put inside the reset", outer_in)
    yield change("recurrent biases ignored", scaled(1, 0))
    yield change("input biases ignored", scaled(0, 1))
    yield change("all biases ignored", scaled(0, 0))
    yield change("recurrent biases of r and z ignored", only_inner)
    yield change("biases counted twice", scaled(2, 2))
    yield change(
        "input and recurrent biases exchanged",
        lambda own: own.update(bias_ih=own["bias_hh"], bias_hh=own["bias_ih"]),
    )
    yield change("input biases used for both", lambda own: own.update(bias_hh=own["bias_ih"]))
    yield change("recurrent biases used for both", lambda own: own.update(bias_ih=own["bias_hh"]))


def _of_equations() -> Iterator[Hypothesis]:
    yield Hypothesis("the other place of the reset (before or after the product)", cell=PLACE)
    yield Hypothesis("sense flipped (z and 1 - z exchanged)", cell=SENSE)
    yield Hypothesis("reset applied one step late", cell=late)
    yield Hypothesis(
        "reset applied one step late, open at first", cell=late, how=How(first_start=1.0)
    )
    yield Hypothesis("reset applied to the input's part too", cell=whole)
    yield Hypothesis("reset gate ignored (r = 1)", weights=fixed(0, 40.0))
    yield Hypothesis("state dropped from the candidate (r = 0)", weights=fixed(0, -800.0))
    yield Hypothesis("update gate stuck at 0", weights=fixed(1, -800.0))
    for name, alpha in (("Keras 2's 0.2 x + 0.5", 0.2), ("x / 6 + 0.5", 1 / 6)):
        hard = Activation("hard_sigmoid", alpha, 0.5)
        yield Hypothesis(f"hard sigmoid for sigmoid ({name})", cell=partial(activated, gates=hard))
    for name in ("relu", "linear", "sigmoid", "softsign"):
        said = "tanh forgotten" if name == "linear" else f"{name} for tanh"
        yield Hypothesis(said, cell=partial(activated, candidate=name))
    yield Hypothesis("tanh for sigmoid", cell=partial(activated, gates="tanh"))


def _of_states() -> Iterator[Hypothesis]:
    yield Hypothesis("h0 ignored", case=given("h0", lambda v, c: None))
    yield Hypothesis("state not carried from step to step", case=alone)
    yield Hypothesis("h0 of the layers in reverse order", case=given("h0", lambda v, c: v[::-1]))
    yield Hypothesis(
        "h0 given to the first layer alone",
        case=given("h0", first_layer),
    )  # fmt: skip
    yield Hypothesis(
        "the second layer uses the first's weights",
        case=shared(("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    )
    yield Hypothesis("the second layer uses the first's biases", case=shared(BIASES))
    yield Hypothesis(
        "final states by direction, then layer",
        answer=rows_by_direction,
    )
    yield Hypothesis("the output is the state before the step", answer=before_step)
    yield Hypothesis("the sequence runs backward", case=given("x", lambda v, c: v[::-1]))


def _of_padding() -> Iterator[Hypothesis]:
    def lengths(by: int) -> Callable[[Case], Case]:
        return given("lengths", lambda v, c: np.clip(v + by, 0, len(c.x)))

    yield Hypothesis("lengths and masks ignored", answer=ignored_padding)
    yield Hypothesis("padding repeats the last output", answer=held)
    yield Hypothesis("the cell runs on through padding", how=How(run_on=True))
    yield Hypothesis(
        "the cell runs on through padding, and a row of length 0 ends after it",
        how=How(run_on=True),
        answer=empty_last,
    )
    yield Hypothesis("the final state is read after the padding", answer=last_step)
    yield Hypothesis("a row of length 0 ends with zeros", answer=empty_zero)
    yield Hypothesis("lengths one too short", case=lengths(-1))
    yield Hypothesis("lengths one too long", case=lengths(1))
    yield Hypothesis("rows handed back in the order of their lengths", answer=by_length(False))
    yield Hypothesis("final states in the order of the lengths", answer=by_length(True))
    yield Hypothesis("a mask taken for a number of steps", case=packed_left)
    yield Hypothesis("the mask turned round", case=given("mask", lambda v, c: ~v))


def _of_directions() -> Iterator[Hypothesis]:
    yield Hypothesis("reverse aligned to padding", how=How(align=False))
    yield Hypothesis("backward results left in the order of their steps", how=How(turn_back=False))
    yield Hypothesis("the second direction runs forward too", how=How(backward=False))
    yield Hypothesis("the backward final state read at the last step", answer=states_at_the_end)
    yield Hypothesis("halves of the output exchanged", answer=halves)
    yield Hypothesis("both directions use the forward weights", case=second_direction)
    yield Hypothesis(
        "initial states of the directions exchanged",
        case=given("h0", swapped_rows),
    )
    yield Hypothesis(
        "final states of the directions exchanged",
        answer=rows_exchanged,
    )


def _of_resets() -> Iterator[Hypothesis]:
    def resets(change: Callable[[Array], Array]) -> Callable[[Case], Case]:
        return given("resets", lambda v, c: change(np.asarray(v, np.float64)))

    def kept(change: Callable[[Array], Array]) -> Callable[[Case], Case]:
        return given("zoneout", lambda v, c: change(v))

    yield Hypothesis("resets ignored", case=given("resets", lambda v, c: None))
    yield Hypothesis("resets one step late", case=resets(lambda r: shifted(r, 1)))
    yield Hypothesis("resets one step early", case=resets(lambda r: shifted(r, -1)))
    yield Hypothesis(
        "resets turned round (1 where the state is kept)", case=resets(lambda r: 1 - r)
    )
    yield Hypothesis(
        "one row's reset resets every row",
        case=resets(lambda r: np.broadcast_to(r.max(axis=1, keepdims=True), r.shape)),
    )
    yield Hypothesis("the reset misses z * h", cell=reset_reaches(True))
    yield Hypothesis("the reset misses the products", cell=reset_reaches(False))
    yield Hypothesis("zoneout ignored", case=given("zoneout", lambda v, c: None))
    yield Hypothesis("zoneout turned round", case=kept(lambda k: 1 - k))
    yield Hypothesis("zoneout mask of the step before", case=kept(lambda k: shifted(k, 1)))
    yield Hypothesis("zoneout mask of the step after", case=kept(lambda k: shifted(k, -1)))
    yield Hypothesis(
        "the first step's zoneout mask at every step",
        case=kept(lambda k: np.broadcast_to(k[:1], k.shape)),
    )
