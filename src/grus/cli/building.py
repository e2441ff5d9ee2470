"""`grus build`: a model as C, an object file, WebAssembly or a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from grus.builds import TARGETS, build as build_files, quantized, read_model
from grus.cli.dialects import numbers
from grus.cli.output import FOLDER, check_choice
from grus.equations.text import counted
from grus.errors import InputError


def build(
    source: Annotated[
        Path, typer.Argument(help="A run of grus train, a weight file, or an ONNX model.")
    ],
    out: Annotated[Path, FOLDER.option("The folder to write into", "--out")],
    dialect: Annotated[
        str, typer.Option("--from", help="Whose the tensors are, where the file does not tell.")
    ] = "",
    target: Annotated[Any, typer.Option(help=f"One of {', '.join(TARGETS)}.")] = "c",
    name: Annotated[
        str, typer.Option(help="What files and functions are called; by default as the source.")
    ] = "",
    cpu: Annotated[
        str,
        typer.Option(
            help="With --target object: cortex-m4, cortex-m7, cortex-m55, riscv32, aarch64, wasm32,"
            " or TRIPLE[:CPU[:FEATURES[:ABI]]] as LLVM names them."
        ),
    ] = "",
    bits: Annotated[
        str,
        typer.Option(help="Whose bits: avx512, avx2, neon, or sse2, which fuses no multiply-add."),
    ] = "",
    weights: Annotated[
        Any, typer.Option(help="float32, or int8: a quarter of the bytes, sums of whole numbers.")
    ] = "float32",
    largest: Annotated[
        float | None,
        typer.Option("--range", help="With int8: the largest number that the model reads."),
    ] = None,
    data: Annotated[
        str, typer.Option(help="With int8: what the model reads, a .npy file of [time, inputs].")
    ] = "",
    logits: Annotated[bool, typer.Option(help="Leave out a softmax at the end.")] = False,
) -> None:
    """Build a model for another machine: one step a call, no allocation, the bits of grus."""
    check_choice("--weights", weights, ("float32", "int8"))
    check_choice("--target", target, TARGETS)
    called = name or re.sub(r"\W+", "_", source.stem.lower()).strip("_")
    done = build_files(
        source,
        out,
        target,
        name=called,
        bits=bits,
        cpu=cpu,
        dialect=dialect,
        logits=logits,
        weights=weights,
        largest=largest,
        data=numbers(data, "--data").astype("f4") if data else None,
    )
    for note in done.notes:
        typer.echo(note)
    for file, content in done.files.items():
        typer.echo(f"{out / file}: {counted(len(content), 'byte')}")
    typer.echo(
        f"bytes: weights {done.weights:,}, a state {done.state:,}, stack {done.stack:,} and what"
        f" calls take; multiply-adds a step: {done.multiply_adds:,}; bits of {done.bits}"
    )
    if done.errors:
        typer.echo(f"int8: a sum of products is at most {done.errors[0]:.2g} from float32's")
    if len(done.errors) > 1:
        typer.echo(f"      outputs on the data are at most {done.errors[1]:.2g} from float32's")


def quantize(
    run: Annotated[Path, typer.Argument(help="A run of grus train.")],
    data: Annotated[Path, typer.Option(help="A text to read, UTF-8, that it was not trained on.")],
) -> None:
    """Measure what int8 matrices cost a character model: bits per character before and after."""
    try:
        text = data.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--data {data} cannot be read: {error}") from None
    done = quantized(read_model(run), text)
    before, after = done.bits
    typer.echo(f"read {counted(done.characters, 'character')} from the state 0")
    typer.echo(f"float32  {before:.4f} bits per character, weights in bytes {done.bytes[0]:,}")
    typer.echo(f"int8     {after:.4f} bits per character, weights in bytes {done.bytes[1]:,}")
    typer.echo(
        f"{100 * (after / before - 1):+.2f} % bits; a sum differs by at most {done.worst:.2g}"
    )
