"""`grus fit` and `grus predict`: a task's network, from a file to an answer."""

from __future__ import annotations

import inspect
import signal
import statistics
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from grus.cli.output import FOLDER, OutputFile
from grus.cli.training import fresh_folder, gate_biases, stopping
from grus.equations.text import counted
from grus.errors import InputError
from grus.models import LEARNING_RATES

if TYPE_CHECKING:
    from grus.tasks import FitRun, Results, Task

SETTINGS = {
    "cell": (str, "A cell's name, or FILE.py:Name."),
    "decoder_cell": (str, "The cell that writes; the same by default."),
    "hidden": (int, "Hidden units of each layer."),
    "layers": (int, "Recurrent layers."),
    "connect": (str, "How layers are joined: plain by default."),
    "batch": (int, "Examples of a step."),
    "epochs": (int, "Train that many times through the data."),
    "steps": (int, "Train that many steps."),
    "seconds": (float, "Train that long."),
    "optimizer": (str, f"One of {', '.join(LEARNING_RATES)}."),
    "lr": (float, "Learning rate."),
    "schedule": (str, "Of the learning rate: constant, cosine, decay or plateau."),
    "patience": (int, "Stop after so many reports that were not better."),
    "clip": (float, "Largest norm of the gradients; 0: any."),
    "dropout": (float, "Share of what is dropped."),
    "weight_noise": (float, "Deviation of the noise on the weights in training."),
    "gate_bias": (list[str], "Initial bias of a gate, as z=1.0; repeatable."),
    "seed": (int, "Seed of weights, order and dropout; the first of several."),
    "threads": (int, "CPU threads; torch's by default."),
    "report_every": (int, "Steps between reports; an epoch by default."),
}
CHANGEABLE = ("steps", "epochs", "seconds", "lr", "clip", "threads", "report_every", "patience")
TABLE = OutputFile(".csv", ".parquet", ".jsonl")


class Tasks(TyperGroup):
    """A command for each task, made of the task's own fields when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The tasks' names."""
        from grus.tasks import TASKS

        return list(TASKS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """The command of a task, None where there is no such task."""
        from grus.tasks import TASKS

        if name not in TASKS:
            return None
        app = typer.Typer(add_completion=False)
        app.command(name)(_command(TASKS[name]))
        return typer.main.get_command(app)


fit = typer.Typer(cls=Tasks, no_args_is_help=True, help="Fit a network to data: one task each.")


def _command(task: type[Task[Any, Any]]) -> Callable[..., None]:
    """``grus fit NAME``: its parameters are the loop's, the network's and the task's."""

    def command(**options: Any) -> None:
        _fit(task.name, options)

    hints = get_type_hints(task)
    chosen = {f.name: (hints[f.name], f.metadata["help"], f.default) for f in fields(task)}
    listed: dict[str, Any] = {
        "data": Annotated[Path | None, typer.Argument(help="A file, or a folder of files.")],
        "test_data": Annotated[Path | None, typer.Option(help="A file to test on.")],
        "out": Annotated[Path | None, FOLDER.option("The run's folder; runs/NAME by default.")],
        "resume": Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")],
        "seeds": Annotated[int, typer.Option(help="Runs, each with a seed of its own.")],
    }
    for name, (kind, text, default) in chosen.items():
        listed[name] = _option(kind, text, default, name, "Task")
    for name, (kind, text) in SETTINGS.items():
        if name != "decoder_cell" or task.decodes:
            listed[name] = _option(kind, text, task.defaults.get(name), name, "Network and loop")
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=1 if name == "seeds" else None,
            annotation=annotation,
        )
        for name, annotation in listed.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = listed
    command.__doc__ = f"{(task.__doc__ or '').strip()} Ctrl-C saves, --resume goes on."
    return command


def _option(kind: Any, text: str, default: Any, name: str, panel: str) -> Any:
    """An option whose absence is None; its help names the task's default."""
    if get_origin(kind) is tuple:
        kind = GenericAlias(list, get_args(kind)[:1])  # an option that is given again
    usual = "" if default in (None, "", False, ()) else f" {default} by default."
    flag = "--" + name.replace("_", "-")
    settings: dict[str, Any] = {"help": text + usual, "rich_help_panel": panel}
    return Annotated[kind | None, typer.Option(flag, **settings)]


def _fit(name: str, options: dict[str, Any]) -> None:
    from grus import tasks

    apart = ("data", "test_data", "out", "resume", "seeds")
    data, test_data, out, resume, seeds = (options.pop(each) for each in apart)
    named = {each: value for each, value in options.items() if value is not None}
    if resume is not None:
        named |= {k: v for k, v in (("out", out), ("test_data", test_data)) if v is not None}
        named |= {"seeds": seeds} if seeds != 1 else {}
        _resume(name, resume, data, named)
        return
    if data is None:
        raise InputError(f"grus fit {name} needs DATA: a file, or a folder of files")
    named["gate_bias"] = gate_biases(named.get("gate_bias") or [])
    chosen = tasks.plan(name, named)
    folder = out or fresh_folder(f"{name}-{data.stem}")
    known = tasks.read(chosen.task, data, test_data)
    for line in chosen.task.describe(known.encoding, known.parts):
        print(line)
    tasks.begin(folder, chosen, known, seeds)
    _train(name, folder, {"known": known})


def _resume(name: str, folder: Path, data: Path | None, named: dict[str, Any]) -> None:
    fixed = sorted("--" + n.replace("_", "-") for n in named if n not in CHANGEABLE)
    if fixed:
        raise InputError(f"{', '.join(fixed)} cannot be given with --resume: the run has its own")
    _train(name, folder, {"changes": named, "data": data})


def _train(name: str, folder: Path, options: dict[str, Any]) -> None:
    from grus import tasks
    from grus.cli.progress import watching

    with stopping() as stopped:

        def watch(run: FitRun) -> Any:
            if run.task.name != name:
                raise InputError(f"the run in {run.folder} is of the task {run.task.name}")
            _introduce(run)
            return watching(run)

        going = tasks.go_on(folder, watching=watch, stop=lambda: bool(stopped), **options)
        for run, results in going:
            if results is None:
                print(f"stopped at step {run.progress.step}, saved in {run.folder}")
                print(f"go on:   grus fit {run.task.name} --resume {folder}")
                raise typer.Exit(128 + (stopped[0] if stopped else signal.SIGINT))
    ended = tasks.read_results(folder)
    print()
    for line in table(ended):
        print(line)
    print()
    print(f"predict: grus predict {folder} DATA --out FILE.csv")


def _introduce(run: FitRun) -> None:
    sizes, settings = run.architecture.sizes, run.settings
    joined = f" {sizes.connect}" if sizes.connect else ""
    size = counted(sum(p.numel() for p in run.parameters), "parameter")
    print(f"network {sizes.cell.name}, {sizes.layers} x {sizes.hidden} hidden{joined}:", end=" ")
    print(f"{size}; seed {settings.seed}, {counted(settings.threads, 'thread')}")
    at = f" from step {run.progress.step}" if run.progress.step else ""
    print(f"run {run.folder}{at}", flush=True)


def table(ended: list[Results]) -> list[str]:
    """The numbers beside the baselines: mean and deviation where there are several seeds."""
    from grus import tasks

    first = ended[0]
    part = "tested" if first.test else "validated"
    rows = [[f"{part} on {first.examples['test' if first.test else 'validation']:,}"]]
    rows[0] += [first.cell, *first.baselines]
    for name in first.judged:
        network = _spread([r.judged[name] for r in ended])
        others = [f"{b[name]:.4g}" if name in b else "" for b in first.baselines.values()]
        rows.append([tasks.spelled(name), network, *others])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    seconds = sum(r.seconds for r in ended) / len(ended)
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    runs = f"{counted(len(ended), 'seed')}, mean and deviation; " if len(ended) > 1 else ""
    return [line.rstrip() for line in lines] + [f"{runs}{seconds:.0f} s a run"]


def _spread(values: list[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.4g} +- {statistics.stdev(values):.2g}" if len(values) > 1 else f"{mean:.4g}"


def predict(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint file.")],
    data: Annotated[Path, typer.Argument(help="Data of the kind that was fitted.")],
    out: Annotated[Path | None, TABLE.option("The answers; printed where no file is named")] = None,
) -> None:
    """Answer for new data with the best model of a fit."""
    from grus.tasks import Fitted, write_table

    answers = Fitted.load(run).predict(data)
    if out is None:
        import polars as pl

        with pl.Config(tbl_rows=20, tbl_cols=12, tbl_hide_dataframe_shape=True):
            print(answers)
    else:
        write_table(answers, out)
        print(f"{counted(answers.height, 'row')} in {out}")
