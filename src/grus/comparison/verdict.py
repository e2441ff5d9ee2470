"""The results of a comparison: a table, a verdict, a figure, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, isnan
from pathlib import Path
from statistics import median
from typing import Any

from grus import __version__
from grus.comparison.contestants import Contestant, StepCost, step_cost
from grus.comparison.courses import Course
from grus.comparison.trials import Outcome, Trial
from grus.equations.text import columns, counted
from grus.errors import InputError
from grus.pictures import learning_curves, style
from grus.traces import share

FEWEST = 4
FAILING = 0.9


@dataclass(frozen=True)
class Verdict:
    """The cells in front, those behind all of them, and a sentence that says it.

    ``winner`` is None where nothing can be said.
    """

    winner: str | None
    leaders: tuple[str, ...]
    behind: tuple[str, ...]
    sentence: str


def verdict(losses: Mapping[str, Sequence[float]], baseline: float) -> Verdict:
    """Judge cells by their best validation losses, one for each seed; lower is better.

    A cell's spread is the range from its best seed to its worst. One cell is ahead of another when
    the spreads do not overlap: its worst seed is better than the other's best. A winner is named
    when one cell is ahead of every other, and each has four seeds or more. This asks nothing of the
    losses' distribution: were two cells the same, all n seeds of one would come before all n of
    the other in 2 of (2n choose n) cases, 2.9 % for four seeds and 0.8 % for five (the extreme of
    Mann and Whitney's test, 1947). For three it is 10 %, so three are too few. Equal losses
    overlap. A run that diverged counts with the loss it is given, infinity at worst. A cell that is
    `failing` against ``baseline``, what knowing nothing gives, does not win.

    The leaders are the cell of the lowest median and all that it is not ahead of.
    """
    if len(losses) < 2:
        return Verdict(None, tuple(losses), (), "One cell: nothing to compare.")
    few = min(map(len, losses.values()))
    if few < FEWEST:
        seeds = counted(few, "seed")
        sentence = f"No winner: {seeds} each are too few to tell, {FEWEST} are needed."
        return Verdict(None, tuple(losses), (), sentence)
    first = min(losses, key=lambda name: median(losses[name]))
    behind = tuple(name for name in losses if max(losses[first]) < min(losses[name]))
    leaders = tuple(name for name in losses if name not in behind)
    if leaders == (first,) and first in failing(losses, baseline):
        sentence = f"No winner: {first} has the lowest loss, but learned next to nothing as well."
        return Verdict(None, leaders, behind, sentence)
    if leaders == (first,):
        sentence = f"{first} wins: its worst seed is better than the best seed of {_and(behind)}."
        return Verdict(first, leaders, behind, sentence)
    sentence = f"No winner: the spreads of {_and(leaders)} overlap."
    if behind:
        sentence += f" Behind {first} on every seed: {_and(behind)}."
    return Verdict(None, leaders, behind, sentence)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def failing(losses: Mapping[str, Sequence[float]], baseline: float) -> tuple[str, ...]:
    """The cells that learned next to nothing.

    On no seed did their loss fall below nine tenths of ``baseline``, what knowing nothing gives.
    """
    return tuple(name for name in losses if min(losses[name]) >= FAILING * baseline)


def solved(losses: Sequence[float], limit: float | None) -> int | None:
    """On how many seeds the loss is below ``limit``; None where the task has no such limit."""
    return None if limit is None else sum(loss < limit for loss in losses)


PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
TITLES = (
    ("cell", ""),
    ("hidden", ""),
    ("parameters", ""),
    ("FLOPs", "a step"),
    ("saved", "a step"),
    ("time", "a step"),
    ("loss", "median"),
    ("loss", "lowest"),
    ("loss", "highest"),
    ("gradient", "at first"),
    ("gradient", "trained"),
    ("solved", ""),
)


def trial_line(trial: Trial) -> str:
    """One run in one line."""
    best = f" best {_loss(trial.best)}" if isfinite(trial.best) else ""
    end = f", {trial.diverged}" if trial.diverged else ""
    return f"seed {trial.seed}  {trial.name}:{best} in {trial.seconds:.1f} s{end}"


def table(course: Course, outcome: Outcome) -> list[str]:
    """The table and the verdict.

    A step is a training step; its time is the median over the seeds of their medians, - where no
    seed completed one. The loss is the best validation loss of a run: median, lowest and highest
    over the seeds. "gradient" is the share of the gradient in the last state that reaches the state
    of the longest lag, before training and after, the median over the seeds (`traces.flow`).
    """
    losses = outcome.best()
    if not losses:
        return ["no run was finished"]
    named = {contestant.name: contestant for contestant in outcome.contestants}
    rows = [*zip(*TITLES, strict=True)]
    rows += [_row(course, named[name], outcome.of(name)) for name in losses]
    if course.solved is None:
        rows = [row[:-1] for row in rows]
    lines = columns(rows, right=range(1, len(rows[0])))
    lag = counted(_lag(outcome), "step")
    caption = f"gradient: what share of it reaches the state of {lag} before"
    return [*lines, caption, "", *sentences(course, outcome)]


def _lag(outcome: Outcome) -> int:
    return max(len(trial.flow_before) for trial in outcome.trials) - 1


def _row(course: Course, contestant: Contestant, trials: Sequence[Trial]) -> tuple[str, ...]:
    cost, losses = _cost(course, contestant), [trial.best for trial in trials]
    count = solved(losses, course.solved)
    return (
        contestant.name,
        str(contestant.hidden),
        f"{contestant.parameters:,}",
        short(cost.operations),
        short(cost.saved) + "B",
        _time(trials),
        *(_loss(of(losses)) for of in (median, min, max)),
        _left([trial.flow_before for trial in trials]),
        _left([trial.flow for trial in trials]),
        "" if count is None else f"{count}/{len(losses)}",
    )


def _time(trials: Sequence[Trial]) -> str:
    times = [trial.step_seconds for trial in trials if trial.step_seconds is not None]
    return f"{median(times) * 1e3:.2f} ms" if times else "-"


def _left(flows: Sequence[Sequence[float]]) -> str:
    """The median share of the gradient that reaches the state of the longest lag."""
    shares = [share(flow) for flow in flows if flow]
    known = [each for each in shares if not isnan(each)]
    return f"{median(known):.1e}" if known else "none"


def _cost(course: Course, contestant: Contestant) -> StepCost:
    size = (course.inputs, course.length, course.settings.batch)
    return step_cost(contestant, *size, course.input_gradient, course.stack)


def sentences(course: Course, outcome: Outcome) -> list[str]:
    """The conclusions that the table supports, as sentences."""
    losses = outcome.best()
    lines = [verdict(losses, course.baseline).sentence]
    for name in failing(losses, course.baseline):
        best, part = min(losses[name]), min(losses[name]) / course.baseline
        if not isfinite(best):
            lines.append(f"{name} fails: every seed diverged.")
            continue
        lines.append(
            f"{name} fails: its best seed reaches {_loss(best)}, {part:.2f} of what knowing"
            f" nothing gives ({course.baseline:.4g})."
        )
    if not outcome.finished:
        runs = len(outcome.contestants) * len(outcome.seeds)
        lines.append(f"Stopped after {len(outcome.trials)} of {counted(runs, 'run')}.")
    return lines


def short(number: float) -> str:
    """``12.3 M``: three figures and a prefix."""
    for size, prefix in PREFIXES:
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "


def _loss(loss: float) -> str:
    return f"{loss:.3g}" if isfinite(loss) else "diverged"


def as_json(course: Course, outcome: Outcome, match: str) -> str:
    """Everything, run by run. A loss that is not finite, and a time not taken, is null."""
    losses = outcome.best()
    judged = verdict(losses, course.baseline) if losses else None
    entries = []
    for contestant in outcome.contestants:
        entry: dict[str, Any] = {
            "name": contestant.name,
            "equations": str(contestant.cell),
            "hidden": contestant.hidden,
            "gate_bias": dict(contestant.gate_bias),
            "parameters": contestant.parameters,
            **asdict(_cost(course, contestant)),
            "solved": solved(losses.get(contestant.name, []), course.solved),
            "trials": [_plain(trial) for trial in outcome.of(contestant.name)],
        }
        entries.append(entry)
    content = {
        "grus": __version__,
        "course": course.title,
        "unit": course.unit,
        "baseline": course.baseline,
        "match": match,
        "settings": asdict(course.settings),
        "seeds": outcome.seeds,
        "finished": outcome.finished,
        "contestants": entries,
        "verdict": asdict(judged) if judged else None,
        "failing": failing(losses, course.baseline),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _plain(trial: Trial) -> dict[str, Any]:
    plain = asdict(trial)
    plain["best"] = trial.best if isfinite(trial.best) else None
    for name in ("losses", "flow_before", "flow"):
        plain[name] = [number if isfinite(number) else None for number in plain[name]]
    del plain["name"]
    return plain


def check_figure(path: Path) -> None:
    """Raise InputError for a file that no figure can be written to, and without matplotlib."""
    style.check_path(path, style.FORMATS)
    style.new_figure(1, 1)


def draw_curves(course: Course, outcome: Outcome, path: Path) -> None:
    """Write the learning curves of all cells to ``path``, an .svg or .png file.

    A run that diverged before its first validation has no curve. Raises InputError where no run
    has one.
    """
    curves = {
        contestant.name: [(t.steps, t.losses) for t in outcome.of(contestant.name) if t.steps]
        for contestant in outcome.contestants
    }
    curves = {name: seeds for name, seeds in curves.items() if seeds}
    if not curves:
        raise InputError("every run diverged before its first validation: there is nothing to draw")
    ax = learning_curves(
        curves,
        x="training step",
        y=f"validation loss, {course.unit}",
        log=course.solved is not None,
        title=course.title,
    )
    ax.axhline(course.baseline, color=style.GREY, linestyle=":", label="knowing nothing")
    style.legend(ax, "median, lowest to highest")
    style.save(ax, path)
