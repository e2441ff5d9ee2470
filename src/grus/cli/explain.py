"""`grus explain`: a worksheet of the steps of a cell, from pasted numbers, a file or a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer

from grus.cli.convert import SHOWN, stored_layers
from grus.cli.output import document
from grus.dialects import Network
from grus.equations import named
from grus.errors import InputError
from grus.files import READERS, ending, only_reading
from grus.worksheet import (
    Explanation,
    NetworkLayer,
    PastedWeights,
    explain_pasted,
    read_steps,
    stack,
)

if TYPE_CHECKING:
    from grus.layers import Recurrent

Array = Any


class SheetForm(StrEnum):
    """The forms of a printed worksheet."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    html = "html"


class GatesIn(StrEnum):
    """The side of a packed matrix that holds the gates."""

    rows = "rows"
    columns = "columns"


class Direction(StrEnum):
    """The direction of a bidirectional layer."""

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
    further: Annotated[
        list[str] | None,
        typer.Option("--further", help="A further input of the cell: NAME=NUMBERS, as for --x"),
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
    form: Annotated[SheetForm, typer.Option("--format", help="How to print it")] = SheetForm.text,
    digits: Annotated[int, typer.Option("--digits", min=1, max=17, help="Decimals printed")] = 5,
) -> None:
    """Work a cell out by hand: every step, every equation, with the numbers put in."""
    pasted = PastedWeights(
        W, U, b, b_inner, tuple(weight or ()), order, gates_in.value if gates_in else None
    )
    if is_file(cell):
        if pasted:
            raise InputError(f"{cell} holds weights; none are given beside it")
        if further:
            raise InputError("--further is for a cell, not for a weight file or a run")
        explained = _of_file(Path(cell), x, text, h0, dialect, layer, direction.value)
    else:
        if x is None:
            raise InputError("--x is missing: the input, as in --x '1 2 9 8'")
        if text is not None or layer:
            raise InputError("--text and --layer are for a weight file or a run, not for a cell")
        explained = explain_pasted(cell, pasted, x, h0, dialect, further or ())
    page = explained.page(form.value, digits, steps, units, speak)
    document(page) if form is SheetForm.html else typer.echo(page, nl=False)


def is_file(name: str) -> bool:
    """True for a weight file or a folder; the name of a cell is never one."""
    path = Path(name)
    if named(name):
        return False
    return path.suffix.lower() in READERS or path.is_dir()


def _of_file(
    path: Path, x: str | None, text: str | None, h0: str, dialect: str, layer: str, direction: str
) -> Explanation:
    """A layer of a weight file with ``--x``, or of a run's model with ``--text`` or ``--x``."""
    tokens: Sequence[str] | None = None
    steps: Array | None = None
    if path.is_dir() or text is not None:
        layers, steps, tokens = _of_model(path, text)
    else:
        layers = list(_stored(path, dialect, layer))
    chosen = _chosen(path, layers, layer)
    if direction == "backward" and chosen.network.directions == 1:
        raise InputError(f"{path}: the layer {chosen} has one direction; leave --direction out")
    if steps is None:
        if x is None:
            raise InputError(f"{path}: give the input with --x, or a text with --text for a run")
        steps = read_steps(x, chosen.network.input_size)
    return chosen.explained(steps, str(path), h0, direction, tokens)


def _stored(path: Path, dialect: str, layer: str) -> Iterator[NetworkLayer]:
    """Every layer that the file has, or that the dialect finds in it; ``layer`` alone if it is
    one."""
    contents, layers = stored_layers(path, dialect)
    if not layers:
        names = ", ".join(list(contents.tensors)[:SHOWN]) or "none"
        raise InputError(f"{path}: no recurrent layer of a known dialect; its tensors are {names}")
    wanted = ending(layer, [stored.shown for stored in layers])
    for stored in layers:
        if len(wanted) != 1 or stored.shown in wanted:
            reading = only_reading(path, stored, "--dialect")
            yield from stack(stored.shown, reading.network, reading.dialect)


def _of_model(path: Path, text: str | None) -> tuple[list[NetworkLayer], Array | None, str | None]:
    """The layers of a run's model, the first one's input for ``text``, and the characters."""
    from grus.models import checkpoint, kept_run

    file = checkpoint.load(kept_run.find(path))
    model, architecture = file.model(), file.architecture
    weights = tuple(
        ({f: w.detach().numpy() for f, w in cast("Recurrent", layer).layer_weights(0).items()},)
        for layer in model.layers
    )
    layers = stack("recurrent", Network(architecture.cell, weights))
    if text is None:
        return layers, None, None
    symbols = architecture.vocabulary.split(text)
    ids = architecture.vocabulary.encode(symbols)
    if not len(ids):
        raise InputError("--text is empty")
    if architecture.input == "embedding":
        return layers, file.tensors["embedding.weight"].numpy()[ids], symbols
    return layers, np.eye(len(architecture.vocabulary), dtype=architecture.dtype)[ids], symbols


def _chosen(path: Path, layers: Sequence[NetworkLayer], asked: str) -> NetworkLayer:
    """The layer asked for; the only one where none is."""
    known = "; ".join(map(str, layers[:SHOWN]))
    fits = [layer for layer in layers if asked in ("", layer.name, layer.name.rpartition(":")[2])]
    if not fits:
        names = ending(asked, [layer.name for layer in layers])
        fits = [layer for layer in layers if layer.name in names]
    if not fits:
        raise InputError(f"{path}: no layer {asked[:80]!r}; there are {known}")
    if len(fits) > 1:
        raise InputError(f"{path} has {len(layers)} layers: {known}; say which with --layer")
    return fits[0]
