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
from grus.equations.text import columns
from grus.errors import InputError
from grus.files import ending, find_layers, load
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
        typer.echo(json.dumps([record(dialect) for dialect in chosen], indent=2))
    elif name:
        typer.echo("\n\n".join(map(page, chosen)))
    else:
        typer.echo(table([row(dialect) for dialect in chosen]))


def row(dialect: Dialect) -> tuple[str, ...]:
    """One line of the table."""
    order = " ".join(dialect.order) if dialect.order else "one by one" if dialect.tensors else "-"
    side, biases = (dialect.gates_in, stored_biases(dialect)) if dialect.tensors else ("-", "-")
    proof = dialect.evidence if dialect.proven else "equations only"
    return (dialect.name, cell(dialect), order, side, biases, proof)


def cell(dialect: Dialect) -> str:
    """The cell's name, with a mark where its activations are not the usual ones."""
    return dialect.cell_name + ("" if dialect.activations == USUAL else " *")


def stored_biases(dialect: Dialect) -> str:
    """The biases that are stored: ``b``, ``b, d``, ``b twice, d``."""
    families = [w.family for w in dialect.blocks]
    stored = ["b twice" if "a" in families else "b"] if "b" in families else []
    return ", ".join(stored + ["d"] * ("d" in families)) or "none"


def table(rows: list[tuple[str, ...]]) -> str:
    """The dialects as a table."""
    marks = "* with other activations than sigmoid and tanh; `grus dialects NAME` says which"
    return "\n".join([*columns([HEAD, *rows]), "", marks])


def page(dialect: Dialect) -> str:
    """Everything that a record holds."""
    update = sense(dialect.cell)
    lines = [
        f"{dialect.name}: {dialect.title}",
        f"  cell         {dialect.cell_name}" + (f", z {update[1]}s" if update else ""),
        f"  activations  {dialect.activations}",
    ]
    if dialect.words:
        numbers = any(known.alpha is not None for known in dialect.words.values())
        free = "; alpha, beta and clip may be given" if numbers else "; clip may be given"
        free = free if dialect.free else ""
        lines.append(f"    or         {', '.join(dialect.words)}{free}")
    if dialect.tensors:
        stand = "x @ W, gates in the columns" if dialect.columns else "W @ x, gates in the rows"
        if dialect.turned:
            stand += ", each block the memory of its matrix [H, I]"
        lines.append(f"  tensors      {stand}")
        width = max(map(len, dialect.holds))
        lines += [f"    {tensor:<{width}}  {held}" for tensor, held in dialect.holds.items()]
        both = [dialect.scheme.name(next(iter(dialect.holds)), (1, d), 2, 2) for d in range(2)]
        axis = " (both directions on the first axis)" if dialect.scheme.axis else f", {both[1]}"
        lines.append(f"  second layer {both[0]}{axis}")
    lines += [f"  added to b.{gate} {more:g} at each step" for gate, more in dialect.shift.items()]
    if dialect.letters:
        letters = ", ".join(f"{letter} for {ours}" for ours, letter in dialect.letters.items())
        lines.append(f"  letters      {letters}")
    lines += [f"  sequences    {dialect.runtime}", f"  evidence     {dialect.evidence}"]
    return "\n".join(lines)


def record(dialect: Dialect) -> dict[str, Any]:
    """A record as JSON."""
    chosen = dialect.activations
    return {
        "name": dialect.name,
        "framework": dialect.framework,
        "title": dialect.title,
        "cell": dialect.cell_name,
        "equations": str(dialect.cell).splitlines(),
        "activations": {
            "gates": str(chosen.gates),
            "candidate": str(chosen.candidate),
            "output": str(chosen.output),
            "clip": chosen.clip,
        },
        "words": {word: str(known) for word, known in dialect.words.items()},
        "order": list(dialect.order),
        "gates_in": dialect.gates_in,
        "biases": stored_biases(dialect),
        "tensors": dict(dialect.holds),
        "letters": dict(dialect.letters),
        "layers": dialect.scheme.layer,
        "directions": "first axis" if dialect.scheme.axis else list(dialect.scheme.directions),
        "sequences": {
            "padded": dialect.runtime.padded,
            "reverse": dialect.runtime.reverse,
            "order": dialect.runtime.order,
            "empty": dialect.runtime.empty,
        },
        "proven": dialect.proven,
        "evidence": dialect.evidence,
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
    states = tuple(numbers(text, name) for name, text in (("--h0", h0), ("--c0", c0)) if text)
    if c0 and not h0:
        raise InputError("--c0 goes with --h0")
    answer = find(
        _tensors(file, layer, {"W": W, "U": U, "b": b, SECOND: b_inner}),
        numbers(x, "--x"),
        numbers(y, "--y"),
        states or None,
        digits=_digits(y),
        mine=read_numbers(mine, "--mine") if mine else None,
        mine_digits=_digits(mine) if mine else None,
    )
    typer.echo(str(answer))
    raise typer.Exit(0 if answer or answer.likely else 1)


def numbers(text: str, name: str) -> Array:
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
    texts = {name: text for name, text in pasted.items() if text}
    if file is None:
        options = {SECOND: "--b-inner"}
        if not texts:
            raise InputError("identify needs weights: a FILE, or --W and --U")
        return {
            name: read_numbers(text, options.get(name, f"--{name}")) for name, text in texts.items()
        }
    if texts:
        raise InputError(f"the weights come from {file} or from --W and --U, not from both")
    return _layer(file, load(file), layer)


def _layer(file: Path, contents: Contents, wanted: str) -> dict[str, Array]:
    """The tensors of one recurrent layer, by its own names where some dialect has such names."""
    layers = find_layers(contents)
    paths = [layer.path.rstrip("./") for layer in layers]
    fits = ending(wanted.rstrip("./"), paths)
    named = [layer for layer, path in zip(layers, paths, strict=True) if not wanted or path in fits]
    if len(named) > 1:
        first = ", ".join(layer.shown for layer in named[:9])
        raise InputError(f"{file} has {len(named)} recurrent layers; say --layer: {first}")
    if named:
        return dict(named[0].readings[0].tensors)
    if not wanted:
        return dict(contents.tensors)
    below = re.compile(rf"{re.escape(wanted.rstrip('./'))}[./](.+)")
    matched = {m[1]: t for name, t in contents.tensors.items() if (m := below.match(name))}
    if not matched:
        names = [layer.shown for layer in layers] or list(contents.tensors)[:9]
        raise InputError(f"{file} has no layer {wanted}; it has {', '.join(names)}")
    return matched
