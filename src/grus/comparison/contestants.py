"""The cells that are compared, their sizes, and the cost of a training step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite, lcm

from grus.dialects.transform import sense
from grus.equations import Apply, Cell, Connection, Expr, Name, State, cell as find_cell, joined
from grus.equations.flat import is_gate
from grus.errors import InputError
from grus.gradients import ITEM_BYTES, cost, sizes_for

MATCHES = ("params", "hidden", "time")
MAX_HIDDEN = 65536
BETWEEN_CELLS = re.compile(r",(?![^\[]*\])")  # a comma in brackets belongs to the cell's name


@dataclass(frozen=True)
class Contestant:
    """A cell as it takes part, under the name it was given; ``parameters`` of the whole model."""

    name: str
    cell: Cell
    hidden: int
    gate_bias: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0


@dataclass(frozen=True)
class Stack:
    """The recurrent layers of every contestant: their number, and what joins them."""

    layers: int = 1
    connect: str = ""


ALONE = Stack()
"""One plain layer."""


@dataclass(frozen=True)
class StepCost:
    """The cost of the recurrent layers in one training step, counted in the equations.

    ``operations`` of the forward and the backward pass (FLOPs), ``saved`` bytes that the forward
    pass keeps for the backward pass.
    """

    operations: int
    saved: int


def step_cost(
    contestant: Contestant,
    inputs: int,
    length: int,
    batch: int,
    input_gradient: bool,
    stack: Stack = ALONE,
) -> StepCost:
    """The cost of a step on ``batch`` sequences of ``length`` steps in float32."""
    hidden, steps = contestant.hidden, length * batch
    connection = Connection(stack.connect, inputs, hidden, stack.layers)
    operations = saved = 0
    for k, read in enumerate(connection.reads):
        cell = contestant.cell
        cell = joined(cell, stack.connect) if connection.joins[k] else cell
        counts, sizes = cost(cell), sizes_for(cell, read, hidden, hidden)
        operations += counts.forward.at(sizes) + counts.backward.at(sizes)
        operations += counts.dx.at(sizes) if input_gradient or k else 0
        saved += counts.saved.at(sizes)
    return StepCost(steps * operations, steps * ITEM_BYTES["float32"] * saved)


def contestants(
    cells: str, gate_biases: Sequence[str], memory: float, hidden: int
) -> list[Contestant]:
    """The cells of ``"rnn,gru,FILE.py:Name"``, all of ``hidden`` units.

    A gate bias is ``"z=1"``, for every cell that has such a gate, or ``"gru:z=1"`` for one cell;
    ``"none"`` leaves all biases as they are drawn. Where none is given they are `remembering`'s.

    Raises InputError for an unknown cell, one named twice, a bias that no cell can have.
    """
    names = [name.strip() for name in BETWEEN_CELLS.split(cells) if name.strip()]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice or not names:
        raise InputError(f"--cells must name cells, each once, got {cells[:200]!r}")
    named = {name: find_cell(name) for name in names}
    if gate_biases:
        biases = _asked_biases(named, gate_biases)
    else:
        biases = {name: remembering(cell, memory) for name, cell in named.items()}
    return [Contestant(name, cell, hidden, biases[name]) for name, cell in named.items()]


def remembering(cell: Cell, memory: float) -> dict[str, float]:
    """The gate biases that make the cell keep its state, as far as ``memory``; 0 sets none.

    Where a state is mixed (z * h + (1 - z) * n) it is the mixing gate's; where a gate keeps and
    another admits (f * c + i * g), the one's and minus the other's. gru: {"z": memory}; gru_admit:
    {"z": -memory}; lstm: {"f": memory, "i": -memory}; rnn: none. A gate without a bias has none.
    """
    biased = cell.families.get("b", ()) if memory else ()
    mixing = sense(cell)
    if mixing is not None:
        signed = memory if mixing[1] == "keep" else -memory
        return {mixing[0]: signed} if mixing[0] in biased else {}
    biases: dict[str, float] = {}
    for state in cell.states:
        terms = _products(cell[f"{state}_next"])
        kept = [g for g in biased for term in terms if {Name(g), State(state)} == set(term)]
        for gate in kept[:1]:
            others = [
                g for g in biased for term in terms if State(state) not in term and Name(g) in term
            ]
            gates = [g for g in others if is_gate(cell[g])]
            biases |= {gate: memory, **dict.fromkeys(gates, -memory)}
    return biases


def _products(expr: Expr) -> list[tuple[Expr, ...]]:
    """The factors of each product of two in a sum."""
    if not isinstance(expr, Apply):
        return []
    if expr.op == "add":
        return [term for part in expr.args for term in _products(part)]
    return [expr.args] if expr.op == "mul" else []


def _asked_biases(cells: Mapping[str, Cell], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    biases: dict[str, dict[str, float]] = {name: {} for name in cells}
    for text in texts:
        if text == "none" and len(texts) == 1:
            break
        left, _, number = text.partition("=")
        owner, _, gate = left.rpartition(":")
        value = _number(number)
        if value is None or not gate:
            raise InputError(f"--gate-bias must look like z=1 or gru:z=1, got {text[:80]!r}")
        having = [n for n, c in cells.items() if gate in c.families.get("b", ())]
        having = [name for name in having if owner in ("", name)]
        if not having:
            raise InputError(f"--gate-bias {text[:80]}: no such gate with a bias in any cell named")
        for name in having:
            biases[name][gate] = value
    return biases


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def match_params(
    contestants: Sequence[Contestant], parameters: Callable[[Cell, int], int]
) -> list[Contestant]:
    """The contestants with hidden sizes that give them about as many parameters as each other.

    The one with the most keeps its size; the others are made larger, to the size whose number of
    parameters is nearest. ``parameters`` of (cell, hidden) counts those of the whole model and
    grows with hidden.
    """

    most = max(parameters(contestant.cell, contestant.hidden) for contestant in contestants)
    return [
        replace(each, hidden=nearest_size(partial(parameters, each.cell), most, each.hidden, unit))
        for each in contestants
        for unit in [whole_blocks(each.cell)]
    ]


def whole_blocks(cell: Cell) -> int:
    """What hidden sizes are multiples of: the blocks of a cell's matrices."""
    return lcm(*cell.shapes.blocks.values())


def nearest_size(count: Callable[[int], int], wanted: int, low: int = 1, unit: int = 1) -> int:
    """The hidden size, from about ``low`` on, whose number of parameters is nearest to a number;
    a multiple of ``unit``."""
    low, limit = -(-low // unit), MAX_HIDDEN // unit
    above = first_size(lambda units: count(units * unit) >= wanted, low, limit)
    sizes = (max(1, above - 1) * unit, above * unit)
    return min(sizes, key=lambda hidden: abs(count(hidden) - wanted))


def match_time(
    contestants: Sequence[Contestant], seconds: Callable[[Contestant], float], multiple: int = 4
) -> list[Contestant]:
    """The contestants with hidden sizes that make their training steps about as long.

    The slowest keeps its size; the others are made larger, by a ``multiple`` of units and of whole
    blocks, until their steps take as long. ``seconds`` measures a contestant's training step, so
    the sizes differ from machine to machine and from run to run.
    """

    def as_slow(contestant: Contestant) -> Contestant:
        unit = lcm(multiple, whole_blocks(contestant.cell))

        def larger(units: int) -> Contestant:
            return replace(contestant, hidden=contestant.hidden + unit * units)

        if times[contestant.name] == longest:
            return contestant
        most = MAX_HIDDEN // unit
        return larger(first_size(lambda units: seconds(larger(units)) >= longest, 1, most) - 1)

    times = {contestant.name: seconds(contestant) for contestant in contestants}
    longest = max(times.values())
    return [as_slow(contestant) for contestant in contestants]


def first_size(enough: Callable[[int], bool], low: int, limit: int = MAX_HIDDEN) -> int:
    """The smallest size from ``low`` on that is ``enough``, which a larger size then is, too.

    Raises InputError when none up to ``limit`` is.
    """
    high, step = low, 1
    while not enough(high):
        low, high, step = high + 1, high + step, 2 * step
        if high > limit:
            raise InputError(f"no hidden size up to {limit} makes the cells match")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
