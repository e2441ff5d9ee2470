"""The search: candidates trained one after the other, kept in a journal that a kill does not lose.

Optuna keeps the journal and decides which runs are not worth going on with (successive halving);
what is searched through, and how, is `mutations`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from grus.comparison import Contestant, Course, nearest_size, remembering
from grus.equations import Cell
from grus.equations.text import counted
from grus.errors import InputError, needed_for
from grus.search.mutations import SEEDS, mutated

if TYPE_CHECKING:
    from optuna import Study, Trial

    from grus.models import Trainable

JOURNAL = "journal.log"
FROM_SEEDS = 0.25
"""The share of candidates that are made from the cells that the search begins with."""
BEST = 10
"""The others are made from so many of the best."""
REDUCTION = 3
"""Of every so many runs at a rung one goes on."""


@dataclass(frozen=True)
class Candidate:
    """A cell and what became of it: ``loss`` is the lowest validation loss, infinity if none."""

    cell: Cell
    name: str
    """``gru`` and the like for the cells that the search begins with, else ``c12``."""
    hidden: int
    parameters: int
    loss: float
    finished: bool
    """False where the run was stopped early."""
    seconds: float


@dataclass
class Search:
    """A search in a folder; made again in the same folder it goes on.

    ``hidden`` is the size of the GRU whose number of parameters every candidate is given. The
    same seed gives the same candidates as long as losses are the same.

    Raises InputError for a folder that holds a search with other settings.
    """

    course: Course
    folder: Path
    hidden: int
    seed: int
    memory: float = 0.0
    """How far gates are begun so that they keep their states (`comparison.remembering`)."""
    study: Study = field(init=False)

    def __post_init__(self) -> None:
        with needed_for("a search"):
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            study_name="cells",
            storage=JournalStorage(JournalFileBackend(str(self.folder / JOURNAL))),
            pruner=optuna.pruners.SuccessiveHalvingPruner(reduction_factor=REDUCTION),
            load_if_exists=True,
        )
        settings = {
            "course": self.course.title,
            "settings": repr(self.course.settings),
            "hidden": self.hidden,
            "seed": self.seed,
            "memory": self.memory,
        }
        before = self.study.user_attrs or settings
        if before != settings:
            differ = ", ".join(name for name in settings if settings[name] != before.get(name))
            raise InputError(f"{self.folder} holds a search with other {differ}")
        for name, value in settings.items():
            self.study.set_user_attr(name, value)
        for trial in self.study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed in its midst

    @property
    def candidates(self) -> list[Candidate]:
        """All so far, in the order in which they were tried."""
        from optuna.trial import TrialState

        ended = self.study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])
        return [_candidate(trial) for trial in ended]

    @property
    def best(self) -> list[Candidate]:
        """Those that were trained to the end, the best first."""
        done = [each for each in self.candidates if each.finished and math.isfinite(each.loss)]
        return sorted(done, key=lambda each: each.loss)

    def next(self) -> tuple[str, Cell]:
        """The next candidate: the cells to begin with, then changes of these and of the best."""
        tried = self.candidates
        if len(tried) < len(SEEDS):
            return list(SEEDS.items())[len(tried)]
        draw = Random(f"{self.seed} {len(tried)}")
        known = {each.cell for each in tried}
        while True:
            parents = [each.cell for each in self.best[:BEST]]
            if not parents or draw.random() < FROM_SEEDS:
                parents = list(SEEDS.values())
            cell = mutated(draw.choice(parents), draw)
            if cell not in known:
                return f"c{len(tried)}", cell

    def sized(self, name: str, cell: Cell) -> Contestant:
        """A cell with about as many parameters as the GRU has, as `grus compare` matches them."""
        count = self.course.parameters
        asked = count(SEEDS["gru"], self.hidden)
        hidden = nearest_size(partial(count, cell), asked)
        bias = remembering(cell, self.memory)
        return Contestant(name, cell, hidden, bias, count(cell, hidden))

    def step(self, shown: Callable[[float], None], stop: Callable[[], bool]) -> Candidate | None:
        """Train the next candidate; None where ``stop()`` broke it off, which leaves no trace."""
        import optuna

        from grus.models import DivergedError, train

        name, cell = self.next()
        contestant = self.sized(name, cell)
        trial = self.study.ask()
        about = {"cell": str(cell), "name": name, "hidden": contestant.hidden}
        for key, value in (about | {"parameters": contestant.parameters}).items():
            trial.set_user_attr(key, value)
        watch = _Watch(self.course, trial, shown)
        began = time.perf_counter()
        with TemporaryDirectory() as folder:
            run = self.course.start(contestant, self.seed, Path(folder))
            try:
                train.train(run, watch, lambda: watch.pruned or stop())
            except DivergedError:
                watch.pruned = True
        if run.done < 1 and not watch.pruned:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        trial.set_user_attr("loss", watch.best)
        trial.set_user_attr("seconds", time.perf_counter() - began)
        pruned = watch.pruned or not math.isfinite(watch.best)
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        self.study.tell(trial, None if pruned else watch.best, state=state)
        return self.candidates[-1]


class _Watch:
    """A watch that hands a run's losses to the study, and learns whether it is to go on."""

    def __init__(self, course: Course, trial: Trial, shown: Callable[[float], None]) -> None:
        self.course, self.trial, self.shown = course, trial, shown
        self.best, self.pruned = math.inf, False

    def step(self, run: Trainable) -> None:
        """Show how far it is."""
        self.shown(min(1.0, run.done))

    def report(self, run: Trainable, metrics: Any) -> None:
        """Report the best loss so far at this step."""
        self.best = min(self.best, self.course.loss(metrics))
        self.trial.report(self.best, run.progress.step)
        begins = self.trial.user_attrs["name"] in SEEDS  # these are what others are held against
        self.pruned = run.done < 1 and not begins and self.trial.should_prune()


def _candidate(trial: Any) -> Candidate:
    from optuna.trial import TrialState

    kept = trial.user_attrs
    return Candidate(
        cell=Cell.parse(kept["cell"], kept["name"]),
        name=kept["name"],
        hidden=kept["hidden"],
        parameters=kept["parameters"],
        loss=kept["loss"],
        finished=trial.state == TrialState.COMPLETE,
        seconds=kept["seconds"],
    )


def as_class(cell: Cell, name: str, doc: str) -> str:
    """A Python file with the cell as a class, which every command takes as ``FILE.py:NAME``."""
    families = sorted({*cell.families} - set("WUVbdp"))
    states = sorted({*cell.states} - {"h", "c"})
    lines = [f'"""{doc}"""', "", "from grus.equations import *", ""]
    lines += [f'{family} = Family("{family}")' for family in families]
    lines += [f'{state} = State("{state}")' for state in states]
    body = [f"    {line}" for line in str(cell).splitlines()]
    count = counted(len(cell), "equation")
    return "\n".join([*lines, "", f"class {name}(Cell):", f'    """{count}."""', "", *body, ""])
