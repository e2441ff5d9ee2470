"""A fit from its options to its results; a fitted network at work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from grus.atomic_file import replace
from grus.equations import cell as find_cell
from grus.errors import InputError, needed_for
from grus.models.evaluation import evaluating
from grus.models.kept_run import LAST, METRICS, check_free, find
from grus.models.run_files import cut_back
from grus.models.settings import check, from_json
from grus.models.train import RunWatch, Unwatched, train
from grus.tasks import fit_checkpoint
from grus.tasks.fit_checkpoint import Architecture, FitCheckpoint, FitSource
from grus.tasks.fit_run import Data, FitRun
from grus.tasks.registry import TASKS
from grus.tasks.tables import files_of, sha256
from grus.tasks.task import FitSettings, Metrics, Sizes, Task

if TYPE_CHECKING:
    import polars as pl

RESULTS = "results.json"
BUDGETS = ("steps", "epochs", "seconds")
SIZES = ("hidden", "layers", "connect")
SEED_FOLDER = "seed-"


@dataclass(frozen=True)
class Plan:
    """A task, the sizes of its network and the settings of its loop."""

    task: Task[Any, Any]
    sizes: Sizes
    settings: FitSettings


def plan(kind: str, options: Mapping[str, Any]) -> Plan:
    """The options of a fit, each where it belongs; what is not given, or None, is the task's.

    Raises InputError for a task or an option that there is not.
    """
    with needed_for("a fit"):  # before hours of training, not after
        import polars  # noqa: F401
        import sklearn  # noqa: F401
    check(kind in list(TASKS), f"the task must be one of {', '.join(TASKS)}, got {kind!r:.40}")
    task = TASKS[kind]
    named = {name: value for name, value in options.items() if value is not None}
    known = {"cell", "decoder_cell", *SIZES, *_fields(task), *_fields(FitSettings)}
    unknown = sorted(set(named) - known)
    check(not unknown, f"the task {kind} has no option {', '.join(unknown)}")
    if any(budget in named for budget in BUDGETS):
        defaults = {k: v for k, v in task.defaults.items() if k not in BUDGETS}
    else:
        defaults = dict(task.defaults)
    chosen = {"cell": "gru", "threads": torch.get_num_threads(), **defaults, **named}
    decoder = chosen.get("decoder_cell")
    sizes = Sizes(
        cell=_cell(chosen["cell"]),
        decoder=_cell(decoder) if decoder else None,
        **{n: chosen[n] for n in SIZES if n in chosen},
    )
    settings = FitSettings(**{n: chosen[n] for n in _fields(FitSettings) if n in chosen})
    options = {n: chosen[n] for n in _fields(task) if n in chosen}
    options = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    return Plan(task(**options), sizes, settings)


def _fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _cell(name: Any) -> Any:
    return find_cell(name) if isinstance(name, str) else name


def read(task: Task[Any, Any], data: Any, test_data: Any = None) -> Data:
    """Read examples, part them, and learn the encoding from those to train on."""
    source = FitSource(_absolute(data), _absolute(test_data))
    return _parted(task, source, data, test_data, None)


def _parted(
    task: Task[Any, Any], source: FitSource, data: Any, test_data: Any, encoding: Any
) -> Data:
    paths = [Path(p) for p in (source.data, source.test_data) if p is not None]
    digest = sha256([file for path in paths for file in files_of(path)])
    test = None if test_data is None else task.read(test_data)
    parts = task.split(task.read(data), test)
    check(len(parts.train) > 0, f"there are no {task.examples} to train on")
    return Data(source, digest, parts, task.learn(parts.train) if encoding is None else encoding)


def _absolute(data: Any) -> str | None:
    return str(Path(data).absolute()) if isinstance(data, (str, Path)) else None


def begin(folder: Path, plan: Plan, data: Data, seeds: int = 1) -> None:
    """Make a run for each seed from the plan's on: one in ``folder`` itself, several in folders in
    it. Each is saved once, so that `go_on` can take it from there.

    Raises InputError when the folder holds a run already.
    """
    check(seeds >= 1, f"--seeds must be at least 1, got {seeds}")
    for each in (folder, *(_seed_folder(folder, plan.settings.seed + k) for k in range(seeds))):
        check_free(each)
    settings = plan.settings
    sizes = dataclasses.replace(plan.sizes, gate_bias=settings.gate_bias)
    architecture = Architecture(plan.task, data.encoding, sizes)
    for seed in range(settings.seed, settings.seed + seeds):
        where = folder if seeds == 1 else _seed_folder(folder, seed)
        network = architecture.network(settings.dropout, seed)
        seeded = dataclasses.replace(settings, seed=seed)
        FitRun(where, data, architecture, seeded, network).begin()


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"{SEED_FOLDER}{seed}"


def resume(
    folder: Path, changes: Mapping[str, Any], data: Any = None, known: Data | None = None
) -> FitRun:
    """Go on with the run in ``folder``; ``changes`` are settings that may change: budget, lr, clip,
    threads, patience. ``data`` takes the place of a path that is not there any more; ``known`` were
    read before.

    Raises InputError when the data are not those that the run was trained on.
    """
    check(folder.is_dir(), f"{folder}: there is no such run to resume")
    saved = fit_checkpoint.load(folder / LAST)
    if any(name in changes for name in BUDGETS):
        changes = {**dict.fromkeys(BUDGETS), **changes}
    settings = dataclasses.replace(saved.settings, **changes)
    data_again = known or _again(saved, folder, data)
    same = data_again.sha256 == saved.sha256
    check(same, f"{data_again.source.data} is not what the run in {folder} was trained on")
    network = saved.network().train()
    run = FitRun(folder, data_again, saved.architecture, settings, network)
    run.restore(saved)
    with run.writing():
        cut_back(folder / METRICS, run.progress.step)
    return run


def _again(saved: FitCheckpoint, folder: Path, data: Any) -> Data:
    """The data of a run, from where it says that they are, or from ``data``."""
    source = saved.source if data is None else FitSource(_absolute(data), saved.source.test_data)
    data = source.data if data is None else data
    check(data is not None, f"the run in {folder} was fitted to a frame in memory: give it again")
    model = saved.architecture
    return _parted(model.task, source, data, source.test_data, model.encoding)


@dataclass(frozen=True)
class Results:
    """The numbers of one fit; ``results.json``. ``test`` and ``validation`` are those of the best
    model, ``baselines`` on what was tested (or, without that, validated)."""

    task: str
    cell: str
    seed: int
    parameters: int
    steps: int
    best_step: int | None
    seconds: float
    examples: dict[str, int]
    validation: Metrics
    test: Metrics
    baselines: dict[str, Metrics]

    @property
    def judged(self) -> Metrics:
        """On what was tested, else validated."""
        return self.test or self.validation


def finish(run: FitRun, baselines: dict[str, Metrics] | None = None) -> Results:
    """Measure the best model once on what is tested, the baselines beside it, and write it down.

    ``baselines`` are those of another seed: they are the same.
    """
    fitted = Fitted.load(run.folder)
    parts, task, encoding = run.data.parts, run.task, run.architecture.encoding
    judged = parts.test if len(parts.test) else parts.validation
    if baselines is None:
        baselines = task.baselines(encoding, parts.train, judged) if len(judged) else {}
    results = Results(
        task=task.name,
        cell=run.architecture.sizes.cell.name,
        seed=run.settings.seed,
        parameters=sum(p.numel() for p in run.parameters),
        steps=run.progress.step,
        best_step=run.progress.best_step,
        seconds=run.progress.seconds,
        examples={part: len(getattr(parts, part)) for part in ("train", "validation", "test")},
        validation=fitted.measured(parts.validation) if len(parts.validation) else {},
        test=fitted.measured(parts.test) if len(parts.test) else {},
        baselines=baselines,
    )
    content = json.dumps(dataclasses.asdict(results), indent=1, allow_nan=False)
    replace(run.folder / RESULTS, content.encode())
    return results


def seed_folders(folder: Path) -> list[Path]:
    """The runs in a folder: itself, or one for each seed."""
    inside = sorted(folder.glob(f"{SEED_FOLDER}*"), key=lambda each: (len(each.name), each.name))
    return [each for each in inside if each.is_dir()] or [folder]


def read_results(folder: Path) -> list[Results]:
    """What `finish` wrote, of every seed that has ended."""
    ended = []
    for each in seed_folders(folder):
        path = each / RESULTS
        if path.is_file():
            try:
                held = json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                raise InputError(f"{path} is not what a fit wrote") from None
            ended.append(from_json(Results, held, str(path)))
    return ended


class Fitted:
    """A fitted network: what `grus.fit` gives back, and what a run's folder holds.

    ``architecture`` has the task, the encoding and the sizes, ``network`` is the module in
    evaluation mode, ``results`` the numbers of every seed (none before a run's end).
    """

    def __init__(self, architecture: Architecture, network: Any, results: list[Results]) -> None:
        self.architecture, self.network, self.results = architecture, network, results
        self.task, self.encoding = architecture.task, architecture.encoding

    @classmethod
    def load(cls, folder: str | Path) -> Fitted:
        """The best model of a run; of several seeds the one that validated best."""
        folder = Path(folder)
        ended = read_results(folder) if folder.is_dir() else []
        runs = seed_folders(folder) if folder.is_dir() else [folder]
        best = min(runs, key=_validated) if len(runs) > 1 else runs[0]
        saved = fit_checkpoint.load(find(best))
        return cls(saved.architecture, saved.network(), ended)

    def predict(self, source: Any) -> pl.DataFrame:
        """The answers for new data, a path or a data frame of the kind that was fitted.

        Raises InputError where the data do not fit.
        """
        examples = self.task.read(source, self.encoding)
        with torch.no_grad(), evaluating(self.network):
            return self.task.predict(self.network, self.encoding, examples)

    def measure(self, source: Any) -> Metrics:
        """The task's numbers on labelled data of the kind that was fitted."""
        return self.measured(self.task.read(source))

    def measured(self, examples: Any) -> Metrics:
        """The same on examples that were read."""
        with torch.no_grad(), evaluating(self.network):
            return self.task.measure(self.network, self.encoding, examples)


def _validated(folder: Path) -> float:
    if not (folder / LAST).is_file():
        return float("inf")
    loss = fit_checkpoint.load(folder / LAST).progress.best_loss
    return float("inf") if loss is None else loss


Watching = Callable[[FitRun], AbstractContextManager[RunWatch[FitRun]]]


def _unwatched(run: FitRun) -> AbstractContextManager[RunWatch[FitRun]]:
    return nullcontext(Unwatched())


def go_on(
    folder: Path,
    known: Data | None = None,
    changes: Mapping[str, Any] | None = None,
    data: Any = None,
    watching: Watching = _unwatched,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[FitRun, Results | None]]:
    """Train each seed of a folder to its end: the run, and its results; None where it was stopped.

    A seed that has ended, and whose results are those of its last step, is left as it is.
    ``known``, ``changes`` and ``data`` are `resume`'s.
    """
    baselines = None
    for where in seed_folders(folder):
        run = resume(where, changes or {}, data, known)
        known = run.data
        if run.done >= 1 and [r.steps for r in read_results(where)] == [run.progress.step]:
            continue
        with watching(run) as watch:
            train(run, watch, stop)
        results = finish(run, baselines) if run.done >= 1 else None
        yield run, results
        if results is None:
            return
        baselines = results.baselines


def fit(
    task: str,
    data: Any,
    *,
    test_data: Any = None,
    out: str | Path | None = None,
    seeds: int = 1,
    **options: Any,
) -> Fitted:
    """Fit a network to data: what `grus fit` does, in Python.

    ``task`` is one of `grus.tasks.TASKS`; ``data`` (and ``test_data``) a path, or a data frame of
    polars or pandas; ``out`` a folder to keep the run in (none: a temporary one). The other options
    are the command's: ``cell``, ``hidden``, ``epochs``, ``seed``, the task's own, ...

    Raises InputError where an option or the data cannot be.
    """
    chosen = plan(task, options)
    known = read(chosen.task, data, test_data)
    with TemporaryDirectory() as spare:
        folder = Path(spare) if out is None else Path(out)
        begin(folder, chosen, known, seeds)
        for _ in go_on(folder, known):
            pass
        return Fitted.load(folder)
