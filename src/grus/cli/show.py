"""`grus show`: a cell at any stage between its equations and the machine's instructions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grus.atomic_file import replace
from grus.cli.output import JUDGED, STAGES, document
from grus.equations import Cell, cell as find_cell, explain_name
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.dialects import Dialect
    from grus.kernels.machine import DType

OF_KERNELS = ("plan", "loops", "llvm", "asm")
DTYPES: dict[str, DType] = {"float32": "float32", "float64": "float64"}


def show(
    cell: Annotated[str, typer.Argument(help="A cell's name, or FILE.py:Name.")],
    stage: Annotated[str, typer.Option(help=f"One of {', '.join(STAGES)}.")] = "equations",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file instead of the terminal: .txt, or the stage's own .tex, .svg, .ll or .s.",
            callback=JUDGED.check,
        ),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="plan, loops, llvm, asm: of the backward step.")
    ] = False,
    input: Annotated[
        int | None, typer.Option(help="cost: inputs; as many as hidden by default.")
    ] = None,
    hidden: Annotated[int, typer.Option(help="cost: hidden units.")] = 128,
    projection: Annotated[int, typer.Option(help="cost: units of a projection.")] = 32,
    batch: Annotated[int, typer.Option(help="cost: rows of a batch.")] = 1,
    steps: Annotated[int, typer.Option(help="cost: time steps.")] = 100,
    dtype: Annotated[
        str, typer.Option(help="cost, loops, llvm, asm: float32 or float64.")
    ] = "float32",
) -> None:
    """Print a cell's equations, LaTeX, diagram, structure, gradient, cost, plan, loops, LLVM or
    assembly."""
    found = find_cell(cell)
    _check(stage, dtype, backward)
    if out is not None:
        STAGES[stage].free(out, f"--stage {stage} --out")

    def cost() -> str:
        from grus.gradients import check_counts, sizes_for
        from grus.worksheet import cost_text

        check_counts(batch=batch, steps=steps)
        sizes = sizes_for(found, input, hidden, projection)
        return cost_text(found, sizes, batch, steps, dtype, _dialect(cell, found))

    texts: dict[str, Callable[[], str]] = {
        "equations": lambda: _equations(found, cell),
        "latex": lambda: found.latex() + "\n",
        "diagram": lambda: _diagram(found),
        "gradient": lambda: _gradient(found),
        "structure": lambda: _structure(found),
        "cost": cost,
    }
    text = texts[stage]() if stage in texts else _kernel(found, stage, dtype, backward)
    if stage != "equations" and explain_name(cell):
        print(f"grus: {explain_name(cell)}", file=sys.stderr)
    _put(text, stage, out)


def _dialect(name: str, cell: Cell) -> Dialect | None:
    """The dialect whose name was given for its cell; None for another name."""
    from grus.dialects import DIALECTS

    same = (one for one in DIALECTS if one.name == name and one.cell == cell)
    return next(same, None)


def _check(stage: str, dtype: str, backward: bool) -> None:
    if stage not in STAGES:
        raise InputError(f"--stage must be one of {', '.join(STAGES)}, got {stage!r}")
    if dtype not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if backward and stage not in OF_KERNELS:
        raise InputError(f"--backward is for {', '.join(OF_KERNELS)}, not for {stage}")


def _equations(cell: Cell, asked: str) -> str:
    from grus.worksheet import equations_text

    return equations_text(cell, asked)


def _structure(cell: Cell) -> str:
    from grus.equations import structure

    return f"{structure(cell)}\n"


def _gradient(cell: Cell) -> str:
    from grus.worksheet import gradient_text

    return gradient_text(cell)


def _diagram(cell: Cell) -> str:
    from grus.diagram import svg

    return svg(cell)


def _kernel(cell: Cell, stage: str, dtype: str, backward: bool) -> str:
    from grus.kernels import show as kernels

    if stage == "plan":
        return kernels.plan_text(cell, backward=backward) + "\n"
    if stage == "loops":
        return str(kernels.loops(cell, DTYPES[dtype], backward=backward))
    text = kernels.llvm_text if stage == "llvm" else kernels.asm_text
    return text(cell, DTYPES[dtype], backward=backward)


def _put(text: str, stage: str, out: Path | None) -> None:
    if out is not None:
        replace(out, text.encode())
    elif stage == "diagram":
        document(text)
    else:
        sys.stdout.write(text)
