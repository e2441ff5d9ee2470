"""`grus train`, `grus sample` and `grus curves`: a character model, its text, its losses."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.cli.output import FOLDER, PICTURE, check_choice
from grus.equations import CONNECTIONS, cell as find_cell, explain_name
from grus.equations.text import counted
from grus.errors import InputError
from grus.models import LEARNING_RATES, Architecture, Settings, Source, Text, read

if TYPE_CHECKING:
    from grus.models import Run
    from grus.pictures import Seed


DEFAULT_STEPS = 3000
BUDGETS = ("steps", "epochs", "seconds")
CHANGEABLE = {*BUDGETS, "file", "lr", "clip", "threads", "report_every", "resume"}
Threads = Annotated[int | None, typer.Option(help="CPU threads; torch's by default.")]
JOINED = f"How layers are joined: {', '.join(CONNECTIONS[1:])}; plain by default."
Connect = Annotated[str, typer.Option(help=JOINED)]
Clip = Annotated[float, typer.Option(help="Largest norm of the gradients; 0: any.")]
RATES = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())


def train(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="UTF-8 text; without it, Python's language reference.")
    ] = None,
    cell: Annotated[str, typer.Option(help="A cell's name, or FILE.py:Name.")] = "gru",
    hidden: Annotated[int, typer.Option(help="Hidden units of each layer.")] = Architecture.hidden,
    layers: Annotated[int, typer.Option(help="Recurrent layers.")] = Architecture.layers,
    connect: Connect = Architecture.connect,
    input: Annotated[str, typer.Option(help="embedding or onehot.")] = Architecture.input,
    embedding: Annotated[int, typer.Option(help="Size of embedding.")] = Architecture.embedding,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = Architecture.dtype,
    gate_bias: Annotated[
        list[str] | None, typer.Option(help="Initial bias of a gate, as z=1.0; repeatable.")
    ] = None,
    seq_len: Annotated[int, typer.Option(help="Steps back-propagated through.")] = Settings.seq_len,
    batch: Annotated[int, typer.Option(help="Streams read side by side.")] = Settings.batch,
    steps: Annotated[
        int | None, typer.Option(help=f"Train that many steps; {DEFAULT_STEPS} by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Train that many epochs.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Train that long.")] = None,
    optimizer: Annotated[
        str, typer.Option(help=f"One of {', '.join(LEARNING_RATES)}.")
    ] = Settings.optimizer,
    lr: Annotated[float | None, typer.Option(help=f"Learning rate; {RATES} by default.")] = None,
    clip: Clip = Settings.clip,
    dropout: Annotated[
        float, typer.Option(help="Share of the embedding and of layers' outputs dropped.")
    ] = Settings.dropout,
    normalize: Annotated[
        str, typer.Option(help="none, or letters: lower case, all else one space.")
    ] = Source.normalize,
    first: Annotated[
        int | None, typer.Option(help="Keep that many characters after normalising.")
    ] = None,
    unit: Annotated[str, typer.Option(help="character or byte.")] = Source.unit,
    as_text: Annotated[
        bool, typer.Option("--as-text", help="Read a table or a binary file all the same.")
    ] = False,
    holdout: Annotated[
        float, typer.Option(help="Share of the text, at its end, only validated on.")
    ] = Settings.holdout,
    seed: Annotated[
        int, typer.Option(help="Seed of the weights, the dropout and the offsets.")
    ] = Settings.seed,
    threads: Threads = None,
    report_every: Annotated[
        int | None, typer.Option(help="Steps between reports; an epoch, at least 100, by default.")
    ] = None,
    out: Annotated[Path | None, FOLDER.option("The run's folder; runs/NAME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
) -> None:
    """Train a character model on a text; Ctrl-C saves, --resume goes on."""
    options = dict(locals())
    named = {
        name
        for name in options
        if name != "context"
        and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    run = _resumed(options, named) if resume else _started(options)
    _train(run)


def _started(options: dict[str, Any]) -> Run:
    """A new run from the options; nothing is written before all of them are checked."""
    import torch

    from grus.models import kept_run, run

    file: Path | None = options["file"]
    source = Source(
        None if file is None else str(file.absolute()),
        *(options[name] for name in ("unit", "normalize", "first", "as_text")),
    )
    if options["lr"] is None:
        options["lr"] = LEARNING_RATES.get(options["optimizer"], 1.0)
    if options["threads"] is None:
        options["threads"] = torch.get_num_threads()
    if all(options[name] is None for name in BUDGETS):
        options["steps"] = DEFAULT_STEPS
    options["gate_bias"] = gate_biases(options["gate_bias"] or [])
    settings = Settings(**{f.name: options[f.name] for f in dataclasses.fields(Settings)})
    folder = options["out"] or fresh_folder("python" if file is None else file.stem)
    kept_run.check_free(folder)
    text = read(source)
    sizes = ("hidden", "layers", "input", "embedding", "dtype", "connect")
    cell = find_cell(options["cell"])
    architecture = Architecture(cell, text.vocabulary, *(options[name] for name in sizes))
    began = run.start(folder, source, text, architecture, settings)
    why = explain_name(options["cell"])
    print(why or f"cell {cell.name}: {cell.doc}")
    _introduce(began, text)
    return began


def _resumed(options: dict[str, Any], named: set[str]) -> Run:
    """The run in the folder --resume, with the options ``named`` on the command line changed."""
    from grus.models import run

    fixed = sorted("--" + name.replace("_", "-") for name in named - CHANGEABLE)
    if fixed:
        raise InputError(f"{', '.join(fixed)} cannot be given with --resume: the run has its own")
    last = run.load_last(options["resume"])
    changes = {name: options[name] for name in named - {"file", "resume"}}
    if named & set(BUDGETS):
        changes = {**dict.fromkeys(BUDGETS), **changes}
    source = last.source
    if options["file"] is not None:
        source = dataclasses.replace(source, file=str(options["file"].absolute()))
    settings = dataclasses.replace(last.settings, **changes)
    again = run.resume(last, options["resume"], source, settings)
    print(f"going on at step {again.progress.step}")
    _introduce(again, again.text)
    return again


def gate_biases(texts: list[str]) -> dict[str, float]:
    """``["z=1.0"]`` as ``{"z": 1.0}``."""
    biases = {}
    for text in texts:
        gate, _, number = text.partition("=")
        try:
            biases[gate] = float(number)
        except ValueError:
            raise InputError(f"--gate-bias must look like z=1.0, got {text!r}") from None
    return biases


def fresh_folder(name: str) -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that is not there yet."""
    folders = (Path("runs") / (name if k == 1 else f"{name}-{k}") for k in count(1))
    return next(folder for folder in folders if not folder.exists())


def _introduce(run: Run, text: Text) -> None:
    model, settings = run.model.architecture, run.settings
    size = sum(p.numel() for p in run.parameters)
    held = f", the last {settings.holdout:.0%} held out" if run.held_out else ""
    features = f"embedding {model.embedding}" if model.input == "embedding" else "one-hot"
    print(f"text {run.source.name}: {counted(len(text.ids), model.vocabulary.unit)},", end=" ")
    print(f"{len(model.vocabulary)} different{held}")
    joined = f" {model.connect}" if model.connect else ""
    shape = f"{model.layers} x {model.hidden} hidden{joined}"
    print(f"model {model.cell.name}, {shape}, {features}:", end=" ")
    print(f"{counted(size, 'parameter')}, {model.dtype}, {counted(settings.threads, 'thread')}")
    print(f"run {run.folder}: Ctrl-C saves; grus train --resume {run.folder} goes on", flush=True)


def _train(run: Run) -> None:
    from grus.cli.progress import watching
    from grus.models import train as loop

    with stopping() as stopped, watching(run) as watch:
        loop.train(run, watch, lambda: bool(stopped))
    at = f"step {run.progress.step}, {run.progress.seconds:.0f} s"
    if run.done < 1:
        print(f"stopped at {at}, saved in {run.folder}")
        print(f"go on:   grus train --resume {run.folder}")
        raise typer.Exit(128 + (stopped[0] if stopped else signal.SIGINT))
    print(f"done at {at}{_in_training(run)}")
    print(_quality(run))
    print(f"sample:  grus sample {run.folder}")


def _in_training(run: Run) -> str:
    from grus.models import readable

    last = run.latest
    return "" if last is None else f": training perplexity {readable(last.train_perplexity)}"


def _quality(run: Run) -> str:
    from grus.models import BEST, LAST

    now = run.progress
    if now.best_bits is None:
        return f"nothing was held out; the model is {run.folder / LAST}"
    best = f"validation {now.best_bits:.3f} bits per character"
    return f"{best}, best at step {now.best_step}: {run.folder / BEST}"


@contextmanager
def stopping() -> Iterator[list[int]]:
    """A list that gets the signal's number when Ctrl-C or SIGTERM asks to stop.

    The loop stops between two steps, so that the checkpoint is whole. A second signal
    is not caught.
    """
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for each in signals:
            signal.signal(each, before[each])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number in signals:
            signal.signal(number, before[number])


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
    from grus.models import checkpoint, kept_run, sample as symbols_of

    model = checkpoint.load(kept_run.find(run)).model()
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


UNITS = {
    "bits": "bits per character",
    "loss": "loss, nats per character",
    "perplexity": "perplexity",
}
# Training losses are taken while dropout is drawn, those held out without it.
ENDS = {"train": ", training\nwith the run's dropout", "validation": ""}


def curves(
    runs: Annotated[
        list[str], typer.Argument(help="Runs' folders, or LABEL=DIR; one label: its seeds.")
    ],
    out: Annotated[Path, PICTURE.option("The picture")],
    value: Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}.")] = "bits",
    training: Annotated[
        bool, typer.Option("--training", help="Draw the training figures, too.")
    ] = False,
) -> None:
    """Draw the losses that runs reported; runs of one label as their median and spread."""
    from grus.pictures import learning_curves, save

    check_choice("--value", value, UNITS)
    by_label: dict[str, list[Seed]] = {}
    for run in runs:
        label, folder = _labelled(run)
        reports = _reports(folder)
        held_out = reports[0]["validation_loss"] is not None
        kinds = ["validation"] * held_out + ["train"] * (training or not held_out)
        for kind in kinds:
            losses = [float(report[f"{kind}_{value}"]) for report in reports]
            steps = [float(report["step"]) for report in reports]
            by_label.setdefault(label + ENDS[kind], []).append((steps, losses))
    save(learning_curves(by_label, y=UNITS[value]), out)
    print(f"{counted(sum(map(len, by_label.values())), 'curve')} in {out}")


def _labelled(run: str) -> tuple[str, Path]:
    """``("gru", DIR)`` of ``gru=DIR``; an existing folder is its own label."""
    label, mark, folder = run.partition("=")
    if mark and not Path(run).exists():
        return label, Path(folder)
    return Path(run).name or run, Path(run)


def _reports(folder: Path) -> list[dict[str, float]]:
    from grus.models import read_metrics

    reports = read_metrics(folder)
    if not reports:
        raise InputError(f"{folder} has reported nothing yet")
    return reports
