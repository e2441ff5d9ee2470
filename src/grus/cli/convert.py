"""`grus convert`: the recurrent layers of a weight file in another dialect or format, proven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from grus.cli.output import JUDGED
from grus.dialects import convert as convert_weights
from grus.dialects.activation import USUAL
from grus.dialects.conversion import Converted, candidates
from grus.equations.text import counted
from grus.errors import InputError
from grus.files import (
    OPTIMIZER,
    Layer,
    Reading,
    ending,
    find_layers,
    load,
    only_reading,
    save,
    stacked,
    writer,
)
from grus.weight_file import Contents

SHOWN = 12


def convert(
    file: Annotated[
        Path,
        typer.Argument(metavar="IN", help=".safetensors, .pt, .npz, .h5, .keras, .onnx or .json"),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help=".safetensors, .npz, .pt, .onnx, .weights.h5, .keras, .json",
            callback=JUDGED.check,
        ),
    ],
    source: Annotated[
        str, typer.Option("--from", help="Whose the tensors are, where the file does not tell")
    ] = "",
    target: Annotated[
        str, typer.Option("--to", help="The dialect to write, where OUT does not tell")
    ] = "",
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", help="Which layer; given again, the next on top of it"),
    ] = None,
) -> None:
    """Convert the weights of a recurrent layer, prove the result, and write it."""
    to = target or writer(out).usual
    if not to:
        raise InputError(f"{out} can hold any dialect; say which with --to, such as --to torch")
    if out.exists() and out.samefile(file):
        raise InputError(f"{out} is the file that is read; inputs are never written to")
    contents, layers = stored_layers(file, source)
    chosen = _chosen(file, contents, layers, layer or [], source)
    readings = [only_reading(file, stored, "--from") for stored in chosen]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by its sum
        if len(readings) == 1:
            tensors, reverse = readings[0].tensors, readings[0].network.reverse
            done = convert_weights(tensors, readings[0].dialect, to, reverse=reverse)
        else:
            done = convert_weights(stacked(readings), readings[0].dialect, to)
    saved = save(out, done)
    typer.echo("\n".join(_report(file, contents, chosen, readings, done)))
    typer.echo(f"both sides run on random input: largest difference {saved.difference:.2g}")
    typer.echo(f"{out}: written, {counted(saved.size, 'byte')}, and read back bit for bit")


def stored_layers(file: Path, dialect: str) -> tuple[Contents, Sequence[Layer]]:
    """A weight file's contents, and its recurrent layers, those of ``dialect`` if it is named."""
    contents = load(file)
    return contents, find_layers(contents, candidates(dialect) if dialect else None)


def _chosen(
    file: Path, contents: Contents, layers: Sequence[Layer], asked: Sequence[str], source: str
) -> list[Layer]:
    """The layers asked for, by their paths or how these end; the only one where none is."""
    if not layers:
        names = ", ".join(list(contents.tensors)[:SHOWN]) or "none"
        unread = "".join(f"; {name[:80]}: {why}" for name, why in list(contents.unread.items())[:3])
        whose = f"that the dialect {source} reads" if source else "of a dialect that is known"
        raise InputError(f"{file}: no recurrent layer {whose}; its tensors are {names}{unread}")
    by_path = {layer.shown: layer for layer in layers}
    known = ", ".join(list(by_path)[:SHOWN])
    if not asked:
        refused = [layer for layer in layers if layer.fault]
        if refused and len(layers) > 1:
            sound = ", ".join([layer.shown for layer in layers if not layer.fault][:SHOWN])
            others = f"; another can be converted without it: --layer {sound}" if sound else ""
            raise InputError(f"{file}: the layer at {refused[0].shown}: {refused[0].fault}{others}")
        if len(layers) > 1:
            raise InputError(
                f"{file} has {len(layers)} recurrent layers: {known}; say which with --layer, or"
                " several, each on top of the one before"
            )
        return list(layers)
    chosen = []
    for path in asked:
        fits = ending(path, by_path)
        if len(fits) != 1:
            what = f"{len(fits)} recurrent layers end with" if fits else "no recurrent layer at"
            raise InputError(f"{file}: {what} {path[:80]!r}; there are {known}")
        chosen.append(by_path[fits[0]])
    return chosen


def _report(
    file: Path,
    contents: Contents,
    layers: Sequence[Layer],
    readings: Sequence[Reading],
    done: Converted,
) -> list[str]:
    """The report: what was read and written, what was left out, what weights cannot express."""
    network = done.network
    sizes = (
        f"cell {readings[0].dialect.cell_name}, input {network.input_size},"
        f" hidden {network.hidden_size}, layers {len(network.layers)},"
        f" directions {network.directions}"
    )
    paths = ", ".join(layer.shown for layer in layers)
    dialect = readings[0].dialect
    lines = [f"{file}, {paths}: {dialect.title}", f"  {sizes}"]
    if dialect.activations != USUAL:
        lines.append(f"  {dialect.activations}")
    model, optimizer = _others(contents, {name for layer in layers for name in layer.names})
    lines += [f"left out: {text}; the file has the recurrent layer alone" for text in model]
    lines.append(f"becomes {done.target.title}")
    lines += [f"  {name} {_shape(array.shape)}" for name, array in done.tensors.items()]
    notes = (*contents.notes, *done.notes, *(n for layer in layers for n in layer.notes))
    lines += [f"note: {note}" for note in notes]
    lines += [f"left out, of an optimizer: {text}" for text in optimizer]
    aside = [*contents.aside, *(f"{n} ({why})" for n, why in contents.unread.items())]
    lines += [f"left out, no tensors: {text}" for text in _shortened(aside)]
    return lines


def _others(contents: Contents, used: set[str]) -> tuple[list[str], list[str]]:
    """The tensors that are not used, in one line: the model's, and an optimizer's."""
    rest = {n: f"{n} {_shape(a.shape)}" for n, a in contents.tensors.items() if n not in used}
    optimizer = [name for name in rest if OPTIMIZER.search(name)]
    return (
        _shortened([text for name, text in rest.items() if name not in optimizer]),
        _shortened([rest[name] for name in optimizer]),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _shortened(names: list[str]) -> list[str]:
    """One line of the first names, and how many more there are."""
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [", ".join(names[:SHOWN]) + more]
