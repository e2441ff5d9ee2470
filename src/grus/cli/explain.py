"""`grus explain`: a worksheet of the steps of a cell, from pasted numbers, a file or a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from grus.cli.explain_weights import GatesIn, Pasted, Question, from_file, from_pasted, is_file
from grus.cli.output import document
from grus.errors import InputError


class Form(StrEnum):
    """How the worksheet is printed."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    html = "html"


class Direction(StrEnum):
    """Which direction of a layer that has two."""

    forward = "forward"
    backward = "backward"


def explain(
    cell: Annotated[
        str,
        typer.Argument(
            help="A cell: gru, lstm, keras, chung2014, FILE.py:Name; or a weight file"
            " (.safetensors, .pt, .npz, .h5, .keras, .onnx), or the folder of a run"
        ),
    ],
    x: Annotated[
        str | None, typer.Option("--x", help="The input: '1 2 9 8', or a row a step: '1 2; 9 8'")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Instead of --x: a text that a run's model reads")
    ] = None,
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
    layer: Annotated[
        str,
        typer.Option("--layer", help="Which layer of a file: its path, PATH:2 in a stack, or 2"),
    ] = "",
    direction: Annotated[
        Direction, typer.Option("--direction", help="Of a layer that has two")
    ] = Direction.forward,
    steps: Annotated[
        str, typer.Option("--steps", help="Steps to show, counted from 1: 3, or 2:4 for 2, 3, 4")
    ] = "",
    units: Annotated[
        str, typer.Option("--units", help="Units to show, counted from 1: 1,3 or 2:4")
    ] = "",
    speak: Annotated[
        str,
        typer.Option("--speak", help="Whose letters, order and sense of z the sheet has: keras"),
    ] = "",
    form: Annotated[Form, typer.Option("--format", help="How to print it")] = Form.text,
    digits: Annotated[int, typer.Option("--digits", min=1, max=17, help="Decimals printed")] = 5,
) -> None:
    """Work a cell out by hand: every step, every equation, with the numbers put in."""
    pasted = Pasted(W, U, b, b_inner, tuple(weight or ()), order, gates_in)
    asked = Question(x, text, h0, dialect, layer, direction.value)
    if not is_file(cell):
        task = from_pasted(cell, asked, pasted)
    elif pasted.given:
        raise InputError(f"{cell} holds weights; none are given beside it")
    else:
        task = from_file(Path(cell), asked)
    page = task.page(form.value, digits, steps, units, speak)
    document(page) if form is Form.html else typer.echo(page, nl=False)
