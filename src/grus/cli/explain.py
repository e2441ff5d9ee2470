"""`grus explain`: a worksheet of every step of a cell, from pasted weights and inputs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer

from grus.dialects import SECOND, Dialect, Layout, Unpacked, dialects, find, unpack
from grus.dialects.dialect import Side
from grus.equations import Cell, cell as find_cell, explain_name
from grus.errors import InputError
from grus.inspect.format import render
from grus.inspect.head import Given, head
from grus.inspect.numbers import read_numbers, read_steps
from grus.inspect.readings import readings
from grus.inspect.worksheet import worksheet

Array = Any


class Form(StrEnum):
    """How the worksheet is printed."""

    text = "text"
    markdown = "markdown"
    latex = "latex"


class GatesIn(StrEnum):
    """Which side of a packed matrix the gates stand on."""

    rows = "rows"
    columns = "columns"


def explain(
    cell: Annotated[str, typer.Argument(help="A cell: gru, lstm, keras, chung2014, FILE.py:Name")],
    x: Annotated[
        str, typer.Option("--x", help="The input: '1 2 9 8', or a row a step: '1 2; 9 8'")
    ],
    W: Annotated[str, typer.Option("--W", help="Input weights, all gates in one tensor")] = "",
    U: Annotated[str, typer.Option("--U", help="Recurrent weights, all gates in one")] = "",
    b: Annotated[
        str, typer.Option("--b", help="Bias; both of them where the dialect packs two")
    ] = "",
    b_inner: Annotated[
        str, typer.Option("--b-inner", help="The second bias: recurrent, or inner alone")
    ] = "",
    h0: Annotated[
        str, typer.Option("--h0", help="Initial state, a row for each state: 'h; c'. Default zeros")
    ] = "",
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="Any other weight: FAMILY=TEXT, or one gate's, W.z=TEXT"),
    ] = None,
    dialect: Annotated[
        str,
        typer.Option("--dialect", help="Whose layout the weights have: keras, torch, onnx, ..."),
    ] = "",
    order: Annotated[
        str, typer.Option("--order", help="Or the order of the gates in the weights: zrn")
    ] = "",
    gates_in: Annotated[
        GatesIn | None, typer.Option("--gates-in", help="With --order, if the shapes do not tell")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How to print it")] = Form.text,
    digits: Annotated[int, typer.Option("--digits", min=1, max=17, help="Decimals printed")] = 5,
) -> None:
    """Work a cell out by hand: every step, every equation, with the numbers put in."""
    found = find_cell(cell)
    texts = _texts({"W": W, "U": U, "b": b, SECOND: b_inner}, weight or [])
    record = find(dialect, found) if dialect else None
    layout = _layout(found, record, order, gates_in.value if gates_in else None, texts)
    options = {SECOND: "--b-inner"} | {key: f"--{key}" for key in ("W", "U", "b")}
    tensors = {
        key: read_numbers(text, options.get(key, f"--weight {key}")) for key, text in texts.items()
    }
    unpacked = unpack(found, layout, tensors)
    steps = read_steps(x, unpacked.sizes.get("input", 1))
    start = _start(found, unpacked, h0)
    given = Given(explain_name(cell), record, layout, start)
    page = render(
        head(found, given, unpacked, steps),
        worksheet(found, unpacked.weights, steps, start),
        readings(found, layout, tensors, unpacked, steps, start),
        form.value,
        digits,
    )
    typer.echo(page, nl=False)


def _texts(options: dict[str, str], weights: list[str]) -> dict[str, str]:
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
    others = [one for one in dialects(cell) if one.proven]
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


def _start(cell: Cell, unpacked: Unpacked, text: str) -> tuple[Array, ...] | None:
    """The initial states: a row for each, or all numbers in a row."""
    if not text:
        return None
    found = read_numbers(text, "--h0")
    alone = found.size // len(cell.states)  # where no weight tells the size
    sizes = [unpacked.sizes.get(cell.shapes.states[s], alone) for s in cell.states]
    if found.size != sum(sizes) or (found.ndim > 1 and len(found) not in (1, len(sizes))):
        wanted = " and ".join(f"{n} for {s}" for s, n in zip(cell.states, sizes, strict=True))
        count = f"{found.size} number{'' if found.size == 1 else 's'}"
        raise InputError(f"--h0: {count} of shape {found.shape}, wanted {wanted}")
    cuts = np.cumsum(sizes)[:-1]
    return tuple(np.split(np.ravel(found), cuts))
