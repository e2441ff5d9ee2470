"""`grus show`: a cell at any stage between its equations and the machine's instructions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grus.atomic_file import replace
from grus.cli.output import JUDGED, STAGES, check_choice, document
from grus.equations import Cell, cell as find_cell, explain_name, structure
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
    equations = find_cell(cell)
    _check(stage, dtype, backward)
    if out is not None:
        STAGES[stage].free(out, f"--stage {stage} --out")

    if stage == "cost":
        from grus.gradients import check_counts, sizes_for
        from grus.worksheet import cost_text

        check_counts(batch=batch, steps=steps)
        sizes = sizes_for(equations, input, hidden, projection)
        text = cost_text(equations, sizes, batch, steps, dtype, _dialect(cell, equations))
    elif stage in OF_KERNELS:
        text = _kernel(equations, stage, dtype, backward)
    else:
        text = _text(equations, stage, cell)
    if stage != "equations" and explain_name(cell):
        print(f"grus: {explain_name(cell)}", file=sys.stderr)
    _put(text, stage, out)


def _dialect(name: str, cell: Cell) -> Dialect | None:
    """The dialect of this name, if it has this cell."""
    from grus.dialects import DIALECTS

    return next((d for d in DIALECTS if d.name == name and d.cell == cell), None)


def _check(stage: str, dtype: str, backward: bool) -> None:
    check_choice("--stage", stage, STAGES)
    check_choice("--dtype", dtype, DTYPES)
    if backward and stage not in OF_KERNELS:
        raise InputError(f"--backward is for {', '.join(OF_KERNELS)}, not for {stage}")


def _text(cell: Cell, stage: str, name: str) -> str:
    if stage == "latex":
        return cell.latex() + "\n"
    if stage == "structure":
        return f"{structure(cell)}\n"
    if stage == "diagram":
        from grus.diagram import svg

        return svg(cell)
    from grus.worksheet import equations_text, gradient_text

    return equations_text(cell, name) if stage == "equations" else gradient_text(cell)


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
