"""`grus dialects`: how frameworks store a network; `grus identify`: whose weights these are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from grus.dialects import DIALECTS, SECOND, Dialect, sense
from grus.dialects.activation import USUAL
from grus.dialects.records import of_name
from grus.errors import InputError
from grus.files.layers import ending, find_layers
from grus.files.reading import load
from grus.identification import identify as find
from grus.weight_file import Contents
from grus.worksheet import read_numbers, written_decimals

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
