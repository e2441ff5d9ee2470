"""`grus dialects`: who stores which cell how, and who proves it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from grus.dialects import DIALECTS, Dialect, sense
from grus.dialects.activation import USUAL
from grus.dialects.records import of_name

HEAD = ("dialect", "cell", "gates", "stand in", "biases", "run by the tests")


def dialects(
    name: Annotated[str, typer.Argument(help="All about one framework or dialect.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """List the dialects: whose GRU (LSTM, RNN) is which, how it is stored, who proves it."""
    chosen = of_name(name) if name else DIALECTS
    if as_json:
        typer.echo(json.dumps([record(one) for one in chosen], indent=2))
    elif name:
        typer.echo("\n\n".join(map(page, chosen)))
    else:
        typer.echo(table([row(one) for one in chosen]))


def row(one: Dialect) -> tuple[str, ...]:
    """One line of the table."""
    order = " ".join(one.order) if one.order else "one by one" if one.tensors else "-"
    biases = said_biases(one) if one.tensors else "-"
    proof = one.evidence if one.proven else "equations only"
    return (one.name, cell(one), order, one.gates_in if one.tensors else "-", biases, proof)


def cell(one: Dialect) -> str:
    """The cell's name, with a mark where its activations are not the usual ones."""
    return one.cell_name + ("" if one.activations == USUAL else " *")


def said_biases(one: Dialect) -> str:
    """``b``, ``b, d``, ``b twice, d``: what is stored."""
    families = [w.family for w in one.blocks]
    found = ["b twice" if "a" in families else "b"] if "b" in families else []
    return ", ".join(found + (["d"] if "d" in families else [])) or "none"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as they must be."""
    lines = [HEAD, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEAD))]
    text = [
        "  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    marks = "* with other activations than sigmoid and tanh; `grus dialects NAME` says which"
    return "\n".join([*text, "", marks])


def page(one: Dialect) -> str:
    """All that a record says."""
    found = sense(one.cell)
    lines = [
        f"{one.name}: {one.title}",
        f"  cell         {one.cell_name}" + (f", z {found[1]}s" if found else ""),
        f"  activations  {one.activations}",
    ]
    if one.words:
        numbers = any(known.alpha is not None for known in one.words.values())
        free = "; alpha, beta and clip may be given" if numbers else "; clip may be given"
        free = free if one.free else ""
        lines.append(f"    or         {', '.join(one.words)}{free}")
    if one.tensors:
        stand = "x @ W, gates in the columns" if one.columns else "W @ x, gates in the rows"
        if one.turned:
            stand += ", each block the memory of its matrix [H, I]"
        lines.append(f"  tensors      {stand}")
        width = max(map(len, one.holds))
        lines += [f"    {tensor:<{width}}  {held}" for tensor, held in one.holds.items()]
        both = [one.scheme.name(next(iter(one.holds)), (1, d), 2, 2) for d in range(2)]
        axis = " (both directions on the first axis)" if one.scheme.axis else f", {both[1]}"
        lines.append(f"  second layer {both[0]}{axis}")
    lines += [f"  added to b.{gate} {more:g} at each step" for gate, more in one.shift.items()]
    if one.letters:
        letters = ", ".join(f"{theirs} for {ours}" for ours, theirs in one.letters.items())
        lines.append(f"  letters      {letters}")
    lines += [f"  sequences    {one.runtime}", f"  evidence     {one.evidence}"]
    return "\n".join(lines)


def record(one: Dialect) -> dict[str, Any]:
    """A record as JSON."""
    chosen = one.activations
    return {
        "name": one.name,
        "framework": one.framework,
        "title": one.title,
        "cell": one.cell_name,
        "equations": str(one.cell).splitlines(),
        "activations": {
            "gates": str(chosen.gates),
            "candidate": str(chosen.candidate),
            "output": str(chosen.output),
            "clip": chosen.clip,
        },
        "words": {word: str(known) for word, known in one.words.items()},
        "order": list(one.order),
        "gates_in": one.gates_in,
        "biases": said_biases(one),
        "tensors": dict(one.holds),
        "letters": dict(one.letters),
        "layers": one.scheme.layer,
        "directions": "first axis" if one.scheme.axis else list(one.scheme.directions),
        "sequences": {
            "padded": one.runtime.padded,
            "reverse": one.runtime.reverse,
            "order": one.runtime.order,
            "empty": one.runtime.empty,
        },
        "proven": one.proven,
        "evidence": one.evidence,
    }
