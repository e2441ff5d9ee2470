"""The stages of a cell as text: its equations, its gradient, its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from grus.equations import Cell, Weight, explain_name, text
from grus.gradients import ITEM_BYTES, LETTERS, Cost, Count, WeightGradient, backward, cost, total
from grus.kernels.steps import Steps, windows

if TYPE_CHECKING:
    from grus.dialects import Dialect


def equations_text(cell: Cell, asked: str = "") -> str:
    """The equations, under a head that says which cell it is, above a table of its weights."""
    known = explain_name(asked)
    head = [known, ""] if known else []
    head.append(f"{cell.name}: {cell.doc}" if cell.doc else cell.name)
    states = ", ".join(f"{name} [{cell.shapes.states[name]}]" for name in cell.states)
    rows = [("weights", "gates in order", "one gate", "stacked")]
    for family, gates in cell.families.items():
        first, *rest = cell.shapes.spelled(Weight(family, gates[0]))
        stacked = f"{len(gates)} {first}" if len(gates) > 1 else first
        gate_shape, all_gates = ", ".join([first, *rest]), ", ".join([stacked, *rest])
        rows.append((family, ", ".join(gates), f"[{gate_shape}]", f"[{all_gates}]"))
    ends = [f"state {states}; output {cell.output} [{cell.shapes.values[cell.output]}]"]
    ends += [f"{axis} must equal {other}: x is used as it is" for axis, other in cell.shapes.equal]
    parts = ["\n".join(head), _indented(str(cell)), "\n".join(text.columns(rows)), "\n".join(ends)]
    return "\n\n".join(parts) + "\n"


def gradient_text(cell: Cell) -> str:
    """The derived backward step: its equations, what it needs kept, each weight's gradient."""
    back = backward(cell)
    carried = "; ".join(f"d{s} is the loss's derivative with respect to {s}" for s in cell.states)
    parts = [
        f"{cell.name}, one step backwards, from the last step to the first\n{carried};"
        f" step.dy that of the output {cell.output}; a name that begins with step. is a value of"
        f" the forward step.",
        _indented(str(back.cell)),
    ]
    if back.forward != cell:
        named = set(dict(back.forward.equations)) - set(dict(cell.equations))
        lines = [line for line in str(back.forward).splitlines() if line.split(" =")[0] in named]
        parts.append("named on the way\n" + _indented("\n".join(lines)))
    parts.append("kept from the forward step: " + ", ".join(back.saved))
    sums = [f"d{w} = {' + '.join(terms)}" for w, terms in _weight_terms(back.weights).items()]
    parts.append("gradients, summed over time and batch\n" + _indented("\n".join(sums)))
    if back.dx:
        terms = [name if w is None else f"{w.name}.T @ {name}" for w, name in back.dx]
        parts.append("gradient of x, at each step\n" + _indented("dx = " + " + ".join(terms)))
    return "\n\n".join(parts) + "\n"


def _weight_terms(gradients: Sequence[WeightGradient]) -> dict[str, list[str]]:
    terms_of: dict[str, list[str]] = {}
    for term in gradients:
        operand = term.operand
        seen = f" ⊗ {getattr(operand, 'name', '')}" if operand is not None else ""
        terms_of.setdefault(term.weight.name, []).append(f"sum {term.adjoint}{seen}")
    return terms_of


def cost_text(
    cell: Cell,
    sizes: Mapping[str, int],
    batch: int,
    steps: int,
    dtype: str,
    dialect: Dialect | None = None,
) -> str:
    """The cost of a cell: in symbols, for one step of one row, and for the whole sequence.

    Beside the parameters of the equations stand those that ``dialect`` stores.
    """
    counted, size = cost(cell), ITEM_BYTES[dtype]
    used = {axis for weight in cell.shapes.weights.values() for axis in weight}
    used |= set(cell.shapes.states.values()) | {"input", "hidden"}
    named = ", ".join(f"{axis} {sizes[axis]}" for axis in LETTERS if axis in used)
    head = f"cost of {cell.name} at {named}, batch {batch}, {text.counted(steps, 'step')}, {dtype}"
    rows = [
        ("", "in symbols", "one step, one row", f"{text.counted(steps, 'step')}, batch {batch}")
    ]
    rows += _cost_rows(counted, sizes, batch, steps, size)
    if dialect is not None and dialect.tensors:
        kept = stored(dialect)
        number = kept.at(sizes)
        label = f"parameters, as {dialect.name} stores them"
        rows.insert(2, (label, str(kept), f"{number:,}", f"{number * size:,} bytes"))
    notes = (
        "A product with an m x n matrix counts 2 m n operations, other operators one an element.\n"
        "Counted in the equations as they stand; what the kernels move or repeat, the plan shows."
    )
    return "\n\n".join([head, "\n".join(text.columns(rows, right=(2, 3))), notes]) + "\n"


def stored(dialect: Dialect) -> Count:
    """The numbers that a dialect's tensors hold: a second bias of a gate counts there."""
    axes = {"W": ("hidden", "input"), "U": ("hidden", "hidden")}
    return total(
        Count.of(*axes.get(block.family, ("hidden",)))
        for tensor in dialect.tensors
        for block in tensor.blocks
    )


def _cost_rows(
    counted: Cost, sizes: Mapping[str, int], batch: int, steps: int, size: int
) -> list[tuple[str, str, str, str]]:
    def row(label: str, count: Count, per_row: bool, unit: int) -> tuple[str, str, str, str]:
        each = count.at(sizes) * unit
        word = " bytes" if unit > 1 else ""
        every = each * steps * (batch if per_row else 1)
        return label, str(count), f"{each:,}{word}", f"{every:,}{word}"

    parameters = counted.parameters.at(sizes)
    # What `recompute=True` keeps: the states where a window of steps begins.
    cut = len(windows(Steps(recompute=True), steps)) * counted.states.at(sizes) * size * batch
    return [
        ("parameters", str(counted.parameters), f"{parameters:,}", f"{parameters * size:,} bytes"),
        row("operations, forward", counted.forward, True, 1),
        row("operations, backward", counted.backward, True, 1),
        row("operations, gradient of x", counted.dx, True, 1),
        row("read, weights", counted.parameters, False, size),
        row("read, x and states", counted.read, True, size),
        row("kept for backward", counted.saved, True, size),
        ("kept with recompute", f"{counted.states} a window", "", f"{cut:,} bytes"),
    ]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
