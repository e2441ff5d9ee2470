"""`grus search`: cells drawn and mutated, trained, and the best of them held against the GRU."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.atomic_file import replace
from grus.cli.compare import (
    Batch,
    Lag,
    Learned,
    Rate,
    SeqLen,
    TaskName,
    check_course,
    course_of,
    settings_of,
)  # fmt: skip
from grus.cli.output import FOLDER
from grus.cli.training import Clip, Threads, stopping
from grus.equations.text import counted
from grus.errors import InputError
from grus.models import Settings

if TYPE_CHECKING:
    from grus.comparison import Course
    from grus.search import Candidate, Search

SHOWN = 10
WINNER, LEADERBOARD = "best.py", "leaderboard.json"
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def search(
    file: Learned = None,
    task: TaskName = None,
    lag: Lag = None,
    cells: Annotated[int, typer.Option(help="Try that many cells.")] = 200,
    budget: Annotated[
        str, typer.Option(help="Train for that long in all: 90s, 30m, 2h; all cells by default.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Another seed finds other cells.")] = 0,
    hidden: Annotated[
        int | None,
        typer.Option(help="Units of the GRU; all cells get as many parameters as it has."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of a run that is not stopped early.")] = 1000,
    finalists: Annotated[
        int, typer.Option(help="So many of the best are trained again beside the GRU.")
    ] = 3,
    seeds: Annotated[int, typer.Option(help="Runs of each of these, each with a seed.")] = 5,
    batch: Batch = Settings.batch,
    seq_len: SeqLen = Settings.seq_len,
    lr: Rate = None,
    clip: Clip = Settings.clip,
    threads: Threads = None,
    out: Annotated[Path, FOLDER.option("A folder; a search that is there goes on.")] = Path(
        "searches/new"
    ),
) -> None:
    """Search for a better cell: mutate the gated ones, stop bad runs early, judge the best anew.

    Ctrl-C ends the search and shows what it found; the same command goes on.
    """
    options = dict(locals()) | {"seconds": None}
    from grus.comparison import spoken
    from grus.search import SEEDS, Search

    check_course(options)
    total = _seconds(budget)
    _check(options)
    course = course_of(options, settings_of(options))
    memory = math.log(course.length) - 1 if task else 0.0
    study = Search(course, out, options["hidden"], seed, memory)
    asked = study.sized("gru", SEEDS["gru"]).parameters
    print(
        f"{course.title}; loss: {course.unit}; {counted(asked, 'parameter')} a cell; {out}",
        flush=True,
    )
    with stopping() as stopped:
        _try(study, cells, total, lambda: bool(stopped))
        print("\n".join(["", *leaderboard(study)]), flush=True)
        replace(out / LEADERBOARD, (json.dumps(_records(study), indent=2) + "\n").encode())
        best = [each for each in study.best if each.name != "gru"][:finalists]
        if not best:
            print("no cell but the GRU is to be judged")
        elif not stopped:
            _judge(course, study, best, range(seed, seed + seeds), lambda: bool(stopped))
    if stopped:
        spent = spoken(sum(each.seconds for each in study.candidates))
        print(f"stopped after {spent}; the same command goes on", flush=True)
        raise typer.Exit(128 + stopped[0])


def _check(options: dict[str, Any]) -> None:
    for name, least in (("cells", 1), ("finalists", 0), ("steps", 1)):
        if options[name] < least:
            raise InputError(f"--{name} must be at least {least}, got {options[name]}")


def _seconds(text: str) -> float:
    """``30m`` in seconds; infinity for no budget."""
    if not text:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or not float(match[1]):
        raise InputError(f"--budget must look like 90s, 30m or 2h, got {text[:40]!r}")
    return float(match[1]) * SECONDS[match[2]]


def _try(study: Search, cells: int, total: float, stop: Any) -> None:
    """Candidates until there are enough, the time is spent, or ``stop()``."""
    from grus.cli.progress import audience

    with audience() as shown:
        while len(done := study.candidates) < cells and not stop():
            spent = sum(each.seconds for each in done)
            if spent >= total:
                return

            def progress(share: float, count: int = len(done), spent: float = spent) -> None:
                shown.progress(f"cell {count + 1}", 0, max((count + share) / cells, spent / total))

            candidate = study.step(progress, stop)
            if candidate is not None:
                shown.note(_line(candidate))


def _line(candidate: Candidate) -> str:
    end = f"{candidate.loss:.4g}" if candidate.finished else f"{candidate.loss:.4g}, stopped early"
    return f"{candidate.name}: {end}"


def leaderboard(study: Search) -> list[str]:
    """The best so far, with their equations."""
    from grus.comparison import spoken
    from grus.gradients import cost

    tried, best = study.candidates, study.best
    early = sum(not each.finished for each in tried)
    spent = spoken(sum(each.seconds for each in tried))
    lines = [f"{counted(len(tried), 'cell')} tried in {spent}, {early} stopped early; the best:"]
    for rank, each in enumerate(best[:SHOWN], 1):
        size = {"hidden": each.hidden, "input": study.course.inputs, "projection": each.hidden}
        operations = cost(each.cell).forward.at(size)
        lines += [
            f"{rank:3}. {each.name}: {each.loss:.4g}; {each.hidden} hidden,"
            f" {counted(each.parameters, 'parameter')}, {operations:,} operations a step",
            *(f"       {line}" for line in str(each.cell).splitlines()),
        ]
    return lines


def _records(study: Search) -> list[dict[str, Any]]:
    ranked = [*study.best, *(each for each in study.candidates if not each.finished)]
    return [vars(each) | {"cell": str(each.cell).splitlines()} for each in ranked]


def _judge(course: Course, study: Search, best: list[Candidate], seeds: range, stop: Any) -> None:
    """Train the finalists and the GRU anew with several seeds; write the best of them."""
    from grus.cli.progress import audience
    from grus.comparison import FEWEST, compare, table
    from grus.search import SEEDS, as_class

    names = [("gru", SEEDS["gru"]), *((each.name, each.cell) for each in best)]
    contest = [study.sized(name, cell) for name, cell in names]
    print(f"\nthe best and the GRU, trained anew with {counted(len(seeds), 'seed')}:", flush=True)
    with audience() as shown:
        outcome = compare(course, contest, seeds, shown, stop)
    if not outcome.finished:
        return
    print("\n".join(["", *table(course, outcome)]))
    losses = outcome.best()
    name = min((name for name, _ in names[1:]), key=lambda name: median(losses[name]))
    if len(seeds) < FEWEST or max(losses[name]) >= min(losses["gru"]):
        print("no cell that was found beats the GRU beyond the spread of the seeds")
    cell = dict(names)[name]
    mean = sum(losses[name]) / len(seeds)
    against = sum(losses["gru"]) / len(seeds)
    runs = counted(len(seeds), "seed")
    doc = f"Found on {course.title}: {mean:.4g} {course.unit} over {runs}, the GRU {against:.4g}."
    path = study.folder / WINNER
    replace(path, as_class(cell, "Best", doc).encode())
    print(f"{name} is in {path}: every command takes it as {path}:Best")
