"""`grus sample`: let a trained model write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def sample(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint file.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    length: Annotated[int, typer.Option(help="Characters to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest; below 1 is safer.")] = (
        1.0
    ),
    seed: Annotated[int, typer.Option(help="Seed of the random choices.")] = 0,
) -> None:
    """Write text with the best model of a run, character by character."""
    from grus.models import checkpoint, run as runs
    from grus.models.sample import sample as symbols_of

    model = checkpoint.load(runs.find(run)).model()
    vocabulary = model.architecture.vocabulary
    symbols = symbols_of(model, prompt, length, temperature, seed)
    try:
        _write(vocabulary.split(prompt), vocabulary.unit)
        for symbol in symbols:
            _write(symbol, vocabulary.unit)
        _write("\n", vocabulary.unit)
    except KeyboardInterrupt:
        print()
        raise typer.Exit(130) from None


def _write(symbols: str, unit: str) -> None:
    """Write at once. A terminal gets no control characters that a model may have learnt."""
    if sys.stdout.isatty():
        symbols = "".join("?" if _controls(c, unit) else c for c in symbols)
    encoding = "latin-1" if unit == "byte" else "utf-8"
    sys.stdout.buffer.write(symbols.encode(encoding))
    sys.stdout.buffer.flush()


def _controls(symbol: str, unit: str) -> bool:
    second_set = unit == "character" and "\x80" <= symbol <= "\x9f"  # in a byte, part of a letter
    return (symbol < " " and symbol not in "\n\t") or symbol == "\x7f" or second_set
