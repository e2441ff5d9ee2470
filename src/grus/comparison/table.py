"""A comparison as lines of text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from statistics import median
from typing import Any

from grus import __version__
from grus.comparison.contestants import Contestant, Work, work
from grus.comparison.run import Outcome, Trial
from grus.comparison.tasks import Course
from grus.comparison.verdict import failing, solved, verdict

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
HEADS = (
    ("cell", "hidden", "parameters", "FLOPs", "saved", "time", "best validation loss", "", "", ""),
    ("", "", "", "a step", "a step", "a step", "median", "lowest", "highest", "solved"),
)


def trial_line(trial: Trial) -> str:
    """One run in one line."""
    end = f", diverged: {trial.diverged}" if trial.diverged else ""
    return (
        f"seed {trial.seed}  {trial.name}: best {_loss(trial.best)} in {trial.seconds:.1f} s{end}"
    )


def table(course: Course, outcome: Outcome) -> list[str]:
    """The table and the verdict. Times are medians over the seeds' medians."""
    losses = outcome.best()
    if not losses:
        return ["no run was finished"]
    named = {one.name: one for one in outcome.contestants}
    rows = [*HEADS, *(_row(course, named[name], outcome.of(name)) for name in losses)]
    kept = [k for k in range(len(HEADS[0])) if course.solved is not None or k != len(HEADS[0]) - 1]
    rows = [tuple(row[k] for k in kept) for row in rows]
    widths = [max(len(row[k]) for row in rows if row[k] != HEADS[0][6]) for k in range(len(kept))]
    lines = [_aligned(row, widths) for row in rows]
    return [*lines, "", *sentences(course, outcome)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    if row[0] == HEADS[0][0]:  # the title that stands over several columns
        left = "  ".join(_cell(k, row[k], widths[k]) for k in range(6))
        return f"{left}  {row[6]}".rstrip()
    return "  ".join(_cell(k, text, widths[k]) for k, text in enumerate(row)).rstrip()


def _cell(column: int, text: str, width: int) -> str:
    return text.rjust(width) if column else text.ljust(width)


def _row(course: Course, one: Contestant, trials: Sequence[Trial]) -> tuple[str, ...]:
    found, losses = _work(course, one), [trial.best for trial in trials]
    count = solved(losses, course.solved)
    return (
        one.name,
        str(one.hidden),
        f"{one.parameters:,}",
        short(found.operations),
        short(found.saved) + "B",
        f"{median(t.step_seconds for t in trials) * 1e3:.2f} ms",
        *(_loss(of(losses)) for of in (median, min, max)),
        "" if count is None else f"{count}/{len(losses)}",
    )


def _work(course: Course, one: Contestant) -> Work:
    batch = course.settings.batch
    return work(one, course.inputs, course.length, batch, course.input_gradient)


def sentences(course: Course, outcome: Outcome) -> list[str]:
    """What the table says, as far as it says it."""
    losses = outcome.best()
    said = [verdict(losses).sentence]
    for name in failing(losses, course.baseline):
        best, share = min(losses[name]), min(losses[name]) / course.baseline
        said.append(
            f"{name} fails: its best seed reaches {_loss(best)}, {share:.2f} of what knowing"
            f" nothing gives ({course.baseline:.4g})."
        )
    if not outcome.finished:
        runs = len(outcome.contestants) * len(outcome.seeds)
        said.append(f"Stopped after {len(outcome.trials)} of {runs} runs.")
    return said


def short(number: float) -> str:
    """``12.3 M``: three figures and a prefix."""
    for size, prefix in PREFIXES:
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "


def _loss(loss: float) -> str:
    return f"{loss:.3g}" if isfinite(loss) else "diverged"


def as_json(course: Course, outcome: Outcome, match: str) -> str:
    """Everything, run by run. A loss that is not finite is null."""
    losses = outcome.best()
    found = verdict(losses) if losses else None
    entries = []
    for one in outcome.contestants:
        entry: dict[str, Any] = {
            "name": one.name,
            "equations": str(one.cell),
            "hidden": one.hidden,
            "gate_bias": dict(one.gate_bias),
            "parameters": one.parameters,
            **asdict(_work(course, one)),
            "solved": solved(losses.get(one.name, []), course.solved),
            "trials": [_plain(trial) for trial in outcome.of(one.name)],
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
        "verdict": asdict(found) if found else None,
        "failing": failing(losses, course.baseline),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _plain(trial: Trial) -> dict[str, Any]:
    plain = asdict(trial)
    plain["best"] = trial.best if isfinite(trial.best) else None
    plain["losses"] = [loss if isfinite(loss) else None for loss in trial.losses]
    del plain["name"]
    return plain
