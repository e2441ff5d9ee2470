"""`grus identify`: which dialects explain that these weights turn x into y."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from grus.dialects import SECOND
from grus.dialects.files.contents import Contents
from grus.dialects.files.layers import ending, find_layers
from grus.dialects.files.reading import load
from grus.dialects.identify import identify as find
from grus.errors import InputError
from grus.worksheet.pasted_numbers import read_numbers, written_decimals

Array = Any
NPY = ".npy"


def identify(
    file: Annotated[
        Path | None, typer.Argument(help="A weight file: .npz, .safetensors, .h5, .keras, ...")
    ] = None,
    x: Annotated[
        str, typer.Option("--x", help="The input: a .npy file, or '1 2 9 8', or a row a step")
    ] = "",
    y: Annotated[
        str, typer.Option("--y", help="Every output, or the last one: a .npy file, or numbers")
    ] = "",
    h0: Annotated[
        str, typer.Option("--h0", help="Initial state: a .npy file, or numbers. Default zeros")
    ] = "",
    c0: Annotated[str, typer.Option("--c0", help="An LSTM's initial cell state, beside --h0")] = "",
    W: Annotated[str, typer.Option("--W", help="Without a file: the input weights")] = "",
    U: Annotated[str, typer.Option("--U", help="The recurrent weights")] = "",
    b: Annotated[str, typer.Option("--b", help="The bias; both where they are in one")] = "",
    b_inner: Annotated[
        str, typer.Option("--b-inner", help="The second bias: recurrent, or inner alone")
    ] = "",
    layer: Annotated[
        str, typer.Option("--layer", help="What stands before the layer's names in the file")
    ] = "",
    mine: Annotated[
        str, typer.Option("--mine", help="A last state got by hand: which slips give it?")
    ] = "",
) -> None:
    """Which framework's equations and layout explain an example? Exit code 1: none does, or too few
    digits tell."""
    if not x or not y:
        raise InputError("identify needs an example: --x and --y, files or numbers")
    states = tuple(_array(text, name) for name, text in (("--h0", h0), ("--c0", c0)) if text)
    if c0 and not h0:
        raise InputError("--c0 goes with --h0")
    answer = find(
        _tensors(file, layer, {"W": W, "U": U, "b": b, SECOND: b_inner}),
        _array(x, "--x"),
        _array(y, "--y"),
        states or None,
        digits=_digits(y),
        mine=read_numbers(mine, "--mine") if mine else None,
        mine_digits=_digits(mine) if mine else None,
    )
    typer.echo(str(answer))
    raise typer.Exit(0 if answer or answer.likely else 1)


def _array(text: str, name: str) -> Array:
    """A .npy file, or pasted numbers."""
    if not text.endswith(NPY):
        return read_numbers(text, name)
    try:
        # Mapped, so that a header cannot ask for more memory than the file has.
        return np.array(np.lib.format.open_memmap(text, mode="r"))
    except FileNotFoundError:
        raise InputError(f"{name}: {text} not found") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{name}: {text} is no .npy file of numbers: {error}") from None


def _digits(text: str) -> int | None:
    return None if text.endswith(NPY) else written_decimals(text)


def _tensors(file: Path | None, layer: str, pasted: dict[str, str]) -> dict[str, Array]:
    """The weights, from the file or from the options."""
    given = {name: text for name, text in pasted.items() if text}
    if file is None:
        options = {SECOND: "--b-inner"}
        if not given:
            raise InputError("identify needs weights: a FILE, or --W and --U")
        return {
            name: read_numbers(text, options.get(name, f"--{name}")) for name, text in given.items()
        }
    if given:
        raise InputError(f"the weights come from {file} or from --W and --U, not from both")
    return _layer(file, load(file), layer)


def _layer(file: Path, contents: Contents, wanted: str) -> dict[str, Array]:
    """The tensors of one recurrent layer, by its own names where some dialect has such names."""
    found = find_layers(contents)
    at = ending(wanted.rstrip("./"), [one.path.rstrip("./") for one in found])
    named = [one for one in found if not wanted or one.path.rstrip("./") in at]
    if len(named) > 1:
        paths = ", ".join(one.shown for one in named[:9])
        raise InputError(f"{file} has {len(named)} recurrent layers; say --layer: {paths}")
    if named:
        return dict(named[0].readings[0].tensors)
    if not wanted:
        return dict(contents.tensors)
    below = re.compile(rf"{re.escape(wanted.rstrip('./'))}[./](.+)")
    matched = {m[1]: t for name, t in contents.tensors.items() if (m := below.match(name))}
    if not matched:
        listed = ", ".join(one.shown for one in found) or ", ".join(list(contents.tensors)[:9])
        raise InputError(f"{file} has no layer {wanted}; it has {listed}")
    return matched
