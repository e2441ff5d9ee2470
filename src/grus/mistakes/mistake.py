"""The record of one mistake: its name, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import permutations
from typing import Any

import numpy as np

from grus.dialects.tensor_layout import SECOND, stacked, weights
from grus.equations import Cell, CellError, Weight
from grus.mistakes.cell_changes import activation_slips, relative, relatives
from grus.mistakes.right_answer import Answer, Array, Case, How, Weights, answer
from grus.reference import run, split

TENSORS = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": SECOND}
Blocks = dict[Weight, Any]
"""The weights of one layer and direction as they are stored: one array a family and gate."""
Gradients = dict[str, Array]


@dataclass(frozen=True)
class Mistake:
    """One mistake. What is None is as it should be."""

    name: str
    cell: Callable[[Cell], Cell] | None = None
    weights: Callable[[Blocks], Blocks] | None = None
    case: Callable[[Any], Any] | None = None
    """Changes x, h0 or another field, of a `Case` or of a `Calculation`."""
    how: How | None = None
    answer: Callable[[Cell, Case, Answer], Answer] | None = None
    gradients: Callable[[Cell, Case], Gradients] | None = None
    """The gradients of somebody who is right until then."""

    def run(self, cell: Cell, case: Case) -> Answer:
        """What somebody who makes this mistake answers."""
        if case.stepwise:
            return self._steps(cell, case)
        wrong = self.case(case) if self.case else case
        if self.weights:
            wrong = replace(wrong, weights=_each_layer(wrong.weights, self.weights))
        used = self.changed(cell)
        answered = answer(used, wrong, self.how)
        return self.answer(used, wrong, answered) if self.answer else answered

    def _steps(self, cell: Cell, case: Case) -> Answer:
        """One call a step, each with the state that the one before handed back."""
        outputs, state = [], case.h0
        for t in range(len(case.x)):
            now = replace(case, x=case.x[t : t + 1], h0=state, stepwise=False)
            answered = self.run(cell, now)
            outputs.append(answered.output)
            state = answered.h_n
        return Answer(np.concatenate(outputs), answered.h_n)

    def changed(self, cell: Cell) -> Cell:
        """The cell with this mistake in it. Raises CellError where it changes nothing there."""
        return _shown(self.cell)(cell) if self.cell else cell

    def applies(self, cell: Cell) -> bool:
        """Whether it is a mistake that can be made with this cell."""
        try:
            self.changed(cell)
        except CellError:
            return False
        return True

    def __and__(self, other: Mistake) -> Mistake:
        """Both mistakes at once, this one first."""
        return Mistake(
            f"{self.name}, and {other.name}",
            _then(self.cell and _shown(self.cell), other.cell and _shown(other.cell)),
            _then(self.weights, other.weights),
            _then(self.case, other.case),
            self.how | other.how if self.how and other.how else self.how or other.how,
            self.answer or other.answer,
        )

    def fits_with(self, other: Mistake) -> bool:
        """Whether both can be made at once: at most one changes what is handed back."""
        return not (self.answer and other.answer) and self is not other


Change = Callable[[Any], Any] | None


def _then(one: Change, other: Change) -> Change:
    if one is None or other is None:
        return one or other
    return lambda value: other(one(value))


def _shown(change: Callable[[Cell], Cell]) -> Callable[[Cell], Cell]:
    """The change of a cell, which raises CellError where it changes nothing."""

    def checked(cell: Cell) -> Cell:
        changed = change(cell)
        if changed == cell:
            raise CellError(f"cell {cell.name}: the mistake changes no equation")
        return changed

    return checked


def _each_layer(weights: Weights, change: Callable[[Blocks], Blocks]) -> dict[str, Array]:
    """PyTorch's tensors, gates r, z, n, changed in each layer and direction alone."""
    changed: dict[str, Array] = {}
    for end in dict.fromkeys(name[name.index("_l") :] for name in weights):
        blocks: Blocks = {}
        for name, family in TENSORS.items():
            if f"{name}{end}" in weights:
                parts = np.split(weights[f"{name}{end}"], 3)
                blocks |= {Weight(family, g): p for g, p in zip("rzn", parts, strict=True)}
        blocks = change(blocks)
        nought = np.zeros(len(blocks[Weight("U", "r")]))
        biased = any(w.family in ("b", SECOND) for w in blocks)
        for name, family in TENSORS.items():
            if family in "WU" or biased:
                parts = [blocks.get(Weight(family, g), nought) for g in "rzn"]
                changed[f"{name}{end}"] = np.concatenate(parts)
    return changed


# Weights read otherwise.


def read_in_order(stored: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mistake]]:
    """Every other order of the gates than the one they are ``stored`` in, and its mistake."""
    gates = sorted(stored)
    for chosen in permutations(gates):
        to = dict(zip(gates, chosen, strict=True))
        order = tuple(to[gate] for gate in stored)
        if order != stored:
            yield order, Mistake(order_name(order), weights=partial(relabelled, to=to))


def order_name(order: tuple[str, ...]) -> str:
    """What the mistake of reading the gates in this order is called."""
    return f"gates read in the order {', '.join(order)}"


def relabelled(blocks: Blocks, to: Mapping[str, str], families: tuple[str, ...] = ()) -> Blocks:
    """Blocks taken for those of other gates; of some families alone where they are named."""
    return {
        Weight(w.family, to.get(w.gate, w.gate)) if not families or w.family in families else w: a
        for w, a in blocks.items()
    }


def zeroed(blocks: Blocks, *families: str) -> Blocks:
    """Blocks with zeros in the place of these families."""
    return {w: 0 * array if w.family in families else array for w, array in blocks.items()}


def transposed(blocks: Blocks, family: str) -> Blocks:
    """Each block of a family the other way round."""
    return {w: array.T if w.family == family else array for w, array in blocks.items()}


def restacked(
    blocks: Blocks, change: Callable[[Array], Array], families: tuple[str, ...] = ()
) -> Blocks:
    """The stacked tensors of these families (all where none are named) changed as a whole."""
    changed = dict(blocks)
    for family in dict.fromkeys(w.family for w in blocks):
        own = [w for w in blocks if w.family == family]
        if not families or family in families:
            whole = change(np.concatenate([blocks[w] for w in own]))
            changed |= dict(zip(own, np.split(whole, len(own)), strict=True))
    return changed


# A calculation by hand, and the mistakes that are made in one once the weights are read.

BIAS_LEFT_OUT = {
    "b": Mistake("input biases ignored", weights=lambda blocks: zeroed(blocks, "b")),
    SECOND: Mistake("recurrent biases ignored", weights=lambda blocks: zeroed(blocks, SECOND)),
}
TRANSPOSED = {
    family: Mistake(
        f"each block of {family} transposed ({family}.T @ {v} for {family} @ {v})",
        weights=partial(transposed, family=family),
    )
    for family, v in (("U", "h"), ("W", "x"))
}
NO_H0 = Mistake("h0 ignored", case=lambda case: replace(case, h0=None))
REVERSED = Mistake("the sequence runs backward", case=lambda case: replace(case, x=case.x[::-1]))
LAST_X = Mistake(
    "the last x alone: the state not carried from step to step",
    case=lambda case: replace(case, x=case.x[-1:]),
)
ONE_STEP = Mistake(
    "all of x added up and taken as one step",
    case=lambda case: replace(case, x=case.x.sum(0, keepdims=True)),
)


@dataclass(frozen=True, eq=False)
class Calculation:
    """A cell worked out over one sequence."""

    cell: Cell
    blocks: Blocks
    x: Array
    """[time, input]."""
    h0: tuple[Array, ...] | None = None
    """Each [hidden]; None: zeros."""
    shift: tuple[tuple[str, float], ...] = ()
    """What a dialect adds to b of a gate, which no tensor holds."""

    @classmethod
    def of(
        cls,
        cell: Cell,
        families: Mapping[str, Array],
        x: Array,
        h0: tuple[Array, ...] | None = None,
    ) -> Calculation:
        """From weights by family, stacked in the order of the equations."""
        blocks = {
            Weight(SECOND, w.gate) if w.family == "d" else w: block
            for w, block in split(cell, families).items()
        }
        return cls(cell, blocks, x, h0)

    def wrong(self, mistake: Mistake) -> Calculation:
        """With a mistake made in it. Raises CellError where the cell has no place for it."""
        changed: Calculation = mistake.case(self) if mistake.case else self
        blocks = mistake.weights(self.blocks) if mistake.weights else self.blocks
        return replace(changed, cell=mistake.changed(self.cell), blocks=blocks)

    @property
    def weights(self) -> dict[str, Array]:
        """By family: absent biases are 0, two biases of one gate are added, but for inner ones."""
        hidden = len(next(a for w, a in self.blocks.items() if w.family == "W"))
        found = weights(self.cell, self.blocks, hidden)
        for gate, more in self.shift:
            found[Weight("b", gate)] = found[Weight("b", gate)] + more
        return stacked(self.cell, found)

    def final(self) -> Array:
        """The first state after the last step, [hidden], in float64."""
        start = None if self.h0 is None else tuple(h[None] for h in self.h0)
        with np.errstate(over="ignore", invalid="ignore"):  # what is wrong may overflow
            final: Array = run(self.cell, self.weights, self.x[:, None], start).state[0][0]
        return final


def misreadings(right: Calculation) -> Iterator[tuple[str, Calculation]]:
    """Where it lands with another cell over the same weights, or one other misreading."""
    for names, other in relatives(right.cell):
        yield ", and ".join(names), replace(right, cell=other)
    for mistake in (*_sides(right), *_steps(right)):
        yield mistake.name, right.wrong(mistake)


def slips(right: Calculation, first: int = 0) -> Iterator[tuple[int, Mistake]]:
    """The mistakes that can be made in this calculation, those of each sort together, from the
    sort ``first`` on; each with the number of its sort."""
    sorts = (_of_cell(right.cell), _activations(right.cell), _sides(right), _steps(right),
             _ends(right))  # fmt: skip
    for k, mistakes in enumerate(sorts):
        if k >= first:
            yield from ((k, mistake) for mistake in mistakes)


@lru_cache(maxsize=1024)
def _of_cell(cell: Cell) -> tuple[Mistake, ...]:
    single = (names for names, _ in relatives(cell) if len(names) == 1)
    return tuple(Mistake(name, cell=relative(name)) for (name,) in single)


@lru_cache(maxsize=1024)
def _activations(cell: Cell) -> tuple[Mistake, ...]:
    return tuple(Mistake(name, cell=change) for name, change in activation_slips(cell))


def _sides(right: Calculation) -> Iterator[Mistake]:
    """Square blocks the other way round."""
    for family, mistake in TRANSPOSED.items():
        blocks = [array for w, array in right.blocks.items() if w.family == family]
        if blocks and 1 < len(blocks[0]) == blocks[0].shape[1]:
            yield mistake


def _steps(right: Calculation) -> Iterator[Mistake]:
    """The sequence not taken as a sequence."""
    if len(right.x) > 1:
        yield LAST_X
        if right.x.shape[1] == 1:
            yield ONE_STEP


def _ends(right: Calculation) -> Iterator[Mistake]:
    """The wrong end of the sequence, or of the state."""
    if len(right.x) > 1:
        yield REVERSED
    if right.h0 is not None and any(np.any(h) for h in right.h0):
        yield NO_H0
