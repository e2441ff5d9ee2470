"""Weights pasted for a cell, packed as a dialect or an order says, never by a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from grus.dialects import SECOND, Dialect, Layout, Unpacked, dialects, find, unpack
from grus.dialects.dialect import Side
from grus.dialects.records import called
from grus.equations import Cell, cell as find_cell, columns, explain_name, sizes
from grus.errors import InputError
from grus.worksheet.explained import Explanation, initial_states
from grus.worksheet.misreadings import readings
from grus.worksheet.pasted_numbers import read_numbers, read_steps
from grus.worksheet.preamble import Context
from grus.worksheet.worksheet import batched

Array = Any


@dataclass(frozen=True)
class PastedWeights:
    """The texts of the weights by family, and how they are packed; empty where nothing is given."""

    W: str = ""
    U: str = ""
    b: str = ""
    b_inner: str = ""
    """The second bias."""
    weight: tuple[str, ...] = ()
    """Any other: ``FAMILY=TEXT``, or ``FAMILY.GATE=TEXT`` for a single gate."""
    order: str = ""
    gates_in: Side | None = None

    def __bool__(self) -> bool:
        return any(astuple(self))

    def texts(self) -> dict[str, str]:
        """The text of each weight, by family or single weight. Raises InputError."""
        families = {"W": self.W, "U": self.U, "b": self.b, SECOND: self.b_inner}
        texts = {family: text for family, text in families.items() if text}
        for option in self.weight:
            name, equals, text = option.partition("=")
            name = name.strip()
            if not equals or not re.fullmatch(r"\w+(\.\w+)?", name):
                raise InputError(
                    f"--weight takes FAMILY=TEXT or FAMILY.GATE=TEXT, got {option[:60]!r}"
                )
            if name in texts:
                raise InputError(f"{name} is given twice")
            texts[name] = text
        return texts


def explain_pasted(
    name: str,
    pasted: PastedWeights,
    x: str,
    h0: str = "",
    dialect: str = "",
    further: Sequence[str] = (),
) -> Explanation:
    """The cell called ``name`` with pasted weights over the pasted steps ``x``, in float64;
    ``further`` are its further inputs, each NAME=TEXT."""
    cell = find_cell(name)
    if cell.gathers:
        raise InputError(
            f"cell {cell.name} reads other positions ({cell.gathers[0]}); a worksheet has one"
        )
    texts = pasted.texts()
    record = find(dialect, cell) if dialect else _named(name, cell, pasted.order)
    layout = _layout(cell, record, pasted, any("." not in key for key in texts))
    options = {SECOND: "--b-inner"} | {key: f"--{key}" for key in ("W", "U", "b")}
    tensors = {
        key: read_numbers(text, options.get(key, f"--weight {key}")) for key, text in texts.items()
    }
    unpacked = unpack(cell, layout, tensors)
    steps = read_steps(x, unpacked.sizes.get("input", 1))
    start = initial_states(cell, unpacked, h0)
    context = Context(explain_name(name), record, layout, start)
    if cell.further or further:
        beside = _further(cell, unpacked, further, steps, start)
        return Explanation(cell, unpacked, steps, context, further=beside)
    others = readings(cell, layout, tensors, unpacked, steps, start)
    return Explanation(cell, unpacked, steps, context, readings=others)


def _further(
    cell: Cell,
    unpacked: Unpacked,
    texts: Sequence[str],
    x: Array,
    start: tuple[Array, ...] | None,
) -> dict[str, Array]:
    """The further inputs of as many steps as ``x`` has, by name."""
    pasted = dict(text.partition("=")[::2] for text in texts)
    names = [node.name for node in cell.further]
    if sorted(pasted) != sorted(names) or len(pasted) < len(texts):
        raise InputError(
            f"--further: cell {cell.name} reads {', '.join(names) or 'x alone'}, each once as"
            f" NAME=NUMBERS, got {', '.join(texts) or 'none'}"
        )
    places = columns(cell, sizes(cell, unpacked.weights, x.shape[1], batched(start)))
    arrays = {n: read_steps(pasted[n], places[n][1], f"--further {n}") for n in names}
    for name, array in arrays.items():
        if len(array) != len(x):
            raise InputError(f"--further {name}: {len(array)} steps, --x has {len(x)}")
    return arrays


def _named(name: str, cell: Cell, order: str) -> Dialect | None:
    """The dialect that the cell's own name means, if it stores weights and no order is given."""
    if order or not any(called(name) in (d.framework, d.named) for d in dialects(cell)):
        return None
    record = find(name, cell)
    return record if record.tensors else None


def _layout(cell: Cell, record: Dialect | None, pasted: PastedWeights, packed: bool) -> Layout:
    """The layout of the weights; ``packed``: one of them holds several gates."""
    order, gates_in = pasted.order, pasted.gates_in
    asked = tuple(order.replace(",", " ").split()) if set(order) & set(", ") else tuple(order)
    if record is None:
        if packed and not asked:
            raise InputError(_layouts(cell))
        return Layout(asked, gates_in)
    known = Layout.of(record)
    if asked and known.order and asked != known.order:
        raise InputError(
            f"--order {order} contradicts --dialect {record.framework}, which packs the gates in"
            f" the order {' '.join(known.order)}; give one of them"
        )
    if gates_in and gates_in != known.gates_in:
        raise InputError(
            f"--gates-in {gates_in} contradicts --dialect {record.framework}, which has the gates"
            f" in the {known.gates_in}"
        )
    if packed and not asked and not known.order:
        raise InputError(
            f"{record.title} keeps a tensor for each gate: give them one by one"
            " (--weight W.z=...), or packed with --order naming the order of your blocks"
        )
    return Layout(asked or known.order, known.gates_in, known.biases)


def _layouts(cell: Cell) -> str:
    """The refusal of weights whose packing is not said, with the dialects that say it."""
    gates = list(dict.fromkeys(w.gate for w in cell.weights))
    proven = [dialect for dialect in dialects(cell) if dialect.proven and dialect.plain]
    known = [
        f"--dialect {d.framework} ({' '.join(d.order) or 'a tensor a gate'}, in {d.gates_in})"
        for d in proven
    ]
    order = next((d.order for d in proven if d.order), gates)
    example = "".join(order) if all(len(gate) == 1 for gate in order) else ",".join(order)
    known.append(f"or --order with the gates as your blocks have them, such as --order {example}")
    return (
        f"weights are never read in a default order, and cell {cell.name} has the gates"
        f" {', '.join(gates)}; say whose the weights are: {', '.join(known)}"
    )
