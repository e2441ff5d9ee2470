"""`grus explain` of pasted weights, which are never read in an order that was not told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from grus.cli.explain_file import Asked, start
from grus.dialects import SECOND, Dialect, Layout, dialects, find, unpack
from grus.dialects.dialect import Side
from grus.dialects.records import called
from grus.equations import Cell, cell as find_cell, explain_name
from grus.errors import InputError
from grus.worksheet.explained import Explained
from grus.worksheet.misreadings import readings
from grus.worksheet.pasted_numbers import read_numbers, read_steps
from grus.worksheet.preamble import Given


class GatesIn(StrEnum):
    """Which side of a packed matrix the gates stand on."""

    rows = "rows"
    columns = "columns"


@dataclass(frozen=True)
class Pasted:
    """The weights as they were pasted, and how they are packed."""

    W: str
    U: str
    b: str
    b_inner: str
    weight: tuple[str, ...]
    order: str
    gates_in: GatesIn | None

    @property
    def given(self) -> bool:
        """True where there is anything."""
        return any([self.W, self.U, self.b, self.b_inner, self.weight, self.order, self.gates_in])


def from_pasted(name: str, asked: Asked, pasted: Pasted) -> Explained:
    """The cell called ``name`` with pasted weights, over pasted steps, in float64."""
    if asked.x is None:
        raise InputError("--x is missing: the input, as in --x '1 2 9 8'")
    if asked.text is not None or asked.layer:
        raise InputError("--text and --layer are for a weight file or a run, not for a cell")
    found = find_cell(name)
    families = {"W": pasted.W, "U": pasted.U, "b": pasted.b, SECOND: pasted.b_inner}
    texts = _texts(families, pasted.weight)
    record = find(asked.dialect, found) if asked.dialect else _said(name, found, pasted.order)
    layout = _layout(
        found, record, pasted.order, pasted.gates_in.value if pasted.gates_in else None, texts
    )
    options = {SECOND: "--b-inner"} | {key: f"--{key}" for key in ("W", "U", "b")}
    tensors = {
        key: read_numbers(text, options.get(key, f"--weight {key}")) for key, text in texts.items()
    }
    unpacked = unpack(found, layout, tensors)
    steps = read_steps(asked.x, unpacked.sizes.get("input", 1))
    h0 = start(found, unpacked, asked.h0)
    given = Given(explain_name(name), record, layout, h0)
    others = readings(found, layout, tensors, unpacked, steps, h0)
    return Explained(found, unpacked, steps, given, readings=others)


def _said(name: str, cell: Cell, order: str) -> Dialect | None:
    """The dialect that the cell's own name is, where that stores weights and no order is given."""
    if order or not any(called(name) in (one.framework, one.named) for one in dialects(cell)):
        return None
    record = find(name, cell)
    return record if record.tensors else None


def _texts(options: dict[str, str], weights: tuple[str, ...]) -> dict[str, str]:
    """The weights given, by family or single weight; ``--weight NAME=TEXT`` any number of times."""
    found = {key: text for key, text in options.items() if text}
    for given in weights:
        name, equals, text = given.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"\w+(\.\w+)?", name):
            raise InputError(f"--weight takes FAMILY=TEXT or FAMILY.GATE=TEXT, got {given[:60]!r}")
        if name in found:
            raise InputError(f"{name} is given twice")
        found[name] = text
    return found


def _layout(
    cell: Cell, record: Dialect | None, order: str, gates_in: Side | None, texts: dict[str, str]
) -> Layout:
    """How the weights are packed, as told; never by default."""
    asked = tuple(order.replace(",", " ").split()) if set(order) & set(", ") else tuple(order)
    if record is None:
        if not asked and any(not _single(key) for key in texts):
            raise InputError(_choices(cell))
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
    if not asked and not known.order and any(not _single(key) for key in texts):
        raise InputError(
            f"{record.title} keeps a tensor for each gate: give them one by one"
            " (--weight W.z=...), or packed with --order naming the order of your blocks"
        )
    return Layout(asked or known.order, known.gates_in, known.biases)


def _single(key: str) -> bool:
    return "." in key


def _choices(cell: Cell) -> str:
    gates = list(dict.fromkeys(w.gate for w in cell.weights))
    others = [one for one in dialects(cell) if one.proven and one.plain]
    known = [
        f"--dialect {s.framework} ({' '.join(s.order) or 'a tensor a gate'}, in {s.gates_in})"
        for s in others
    ]
    order = next((s.order for s in others if s.order), gates)
    example = "".join(order) if all(len(gate) == 1 for gate in order) else ",".join(order)
    known.append(f"or --order with the gates as your blocks have them, such as --order {example}")
    return (
        f"weights are never read in a default order, and cell {cell.name} has the gates"
        f" {', '.join(gates)}; say whose the weights are: {', '.join(known)}"
    )
