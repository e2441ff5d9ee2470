"""`grus cells`: the published cells, by name, by what their papers say, by their structure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.cli.output import check_choice
from grus.equations import Cell, Input, linear, nearest, plain, structure, without_blocks
from grus.equations.text import columns, counted
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.zoo import Published

PROPERTIES = ("affine", "diagonal", "dense", "scan", "normalised", "several-states")
HEAD = ("cell", "year", "states", "products", "structure", "what sets it apart")


def cells(
    name: Annotated[str, typer.Argument(help="All about one cell.")] = "",
    search: Annotated[
        str, typer.Option(help="Only cells whose name, paper or description has this.")
    ] = "",
    property: Annotated[
        list[str] | None,
        typer.Option(help=f"Only cells that are {', '.join(PROPERTIES)}; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """List the published cells: year, states, products inside the loop, structure."""
    for word in property or ():
        check_choice("--property", word, PROPERTIES)
    chosen = [_find(name)] if name else _search(search, set(property or ()))
    if as_json:
        typer.echo(json.dumps([_record(known) for known in chosen], indent=2))
    elif name:
        typer.echo(_page(chosen[0]))
    else:
        typer.echo(_table(chosen) if chosen else "no cell is like that")


def _find(name: str) -> Published:
    from grus.zoo import PUBLISHED

    known = PUBLISHED.get(plain(name))
    if known is None:
        close = nearest(name, list(PUBLISHED))
        raise InputError(f"no published cell is called {name!r}{close}; `grus cells` lists them")
    return known


def _search(text: str, wanted: set[str]) -> list[Published]:
    from grus.zoo import PUBLISHED

    return [
        known
        for known in sorted(PUBLISHED.values(), key=lambda known: known.year)
        if text.lower() in f"{known.name} {known.paper} {known.special}".lower()
        and wanted <= _properties(known.cell)
    ]


def _properties(cell: Cell) -> set[str]:
    of = structure(cell)
    holds = {
        "affine": of.affine,
        of.jacobian: True,
        "scan": of.scan,
        "normalised": "mean(" in str(cell),
        "several-states": len(cell.states) > 1,
    }
    return {word for word, true in holds.items() if true}


def _table(chosen: list[Published]) -> str:
    rows = [
        (
            known.name,
            str(known.year),
            " ".join(known.cell.states),
            str(_products(known.cell)),
            "scan" if structure(known.cell).scan else structure(known.cell).jacobian,
            known.special,
        )
        for known in chosen
    ]
    count = counted(len(rows), "cell")
    return "\n".join(
        [*columns([HEAD, *rows]), "", f"{count}; `grus cells NAME` tells all about one"]
    )


def _products(cell: Cell) -> int:
    """Products with a matrix that stay inside the loop over time: not those of x alone."""
    inside = [node for node in cell.nodes if linear(node)]
    return sum(without_blocks(node.args[1])[0] != Input("x") for node in inside)  # type: ignore[attr-defined]


def _page(known: Published) -> str:
    cell = known.cell
    lines = [
        f"{known.name}: {known.special}",
        "",
        *(f"  {line}" for line in str(cell).splitlines()),
        "",
        f"  paper      {known.paper}, {known.year}",
        f"  read in    {known.read_in}",
        f"  states     {', '.join(cell.states)}; output {cell.output}",
        *([f"  starts at  {known.start}"] if known.initial else []),
        *(f"  needs      {what}" for what in known.needs),
        *(
            f"  {'structure' if k == 0 else '':9}  {line}"
            for k, line in enumerate(str(structure(cell)).splitlines())
        ),
    ]
    return "\n".join(lines)


def _record(known: Published) -> dict[str, Any]:
    from grus.zoo import Draw

    cell = known.cell
    of = structure(cell)
    return {
        "name": known.name,
        "year": known.year,
        "paper": known.paper,
        "read_in": known.read_in,
        "special": known.special,
        "equations": str(cell).splitlines(),
        "states": list(cell.states),
        "output": cell.output,
        "weights": {family: list(gates) for family, gates in cell.families.items()},
        "initial": {
            name: {"distribution": start.kind, "numbers": start.numbers}
            if isinstance(start, Draw)
            else start
            for name, start in known.initial.items()
        },
        "initial_read_in": known.initial_read_in if known.initial else "",
        "products_inside_the_loop": _products(cell),
        "jacobian": of.jacobian,
        "affine": of.affine,
        "scan": of.scan,
        "properties": sorted(_properties(cell)),
    }
