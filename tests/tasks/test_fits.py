"""Fits of any task: stopped and resumed to the bit, killed, judged once; hostile files."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("polars")
pytest.importorskip("sklearn")

import polars as pl
import torch
from labelled_table import QUICK, columns, write_csv

import forked
import grus
from grus.errors import InputError
from grus.models import kept_run
from grus.models.train import DivergedError, Unwatched, train
from grus.tasks import TASKS, Fitted, begin, fit, go_on, plan, read, read_results
from grus.tasks.fit_checkpoint import load
from grus.tasks.fit_run import mixed, noisy
from grus.tasks.fitting import finish, resume

pytestmark = pytest.mark.torch
RESUMED: dict[str, dict[str, Any]] = {
    "dropout between layers": {"layers": 2, "dropout": 0.3, "pool": "attention", "both": True},
    "noise on the weights": {"weight_noise": 0.1, "optimizer": "rmsprop", "pool": "mean"},
    "schedules": {"schedule": "cosine", "optimizer": "adagrad", "lr": 0.1, "cell": "lstm"},
    "a plateau": {"schedule": "plateau", "report_every": 1, "lr": 0.3, "epochs": 6},
    "patience": {"patience": 2, "report_every": 2, "lr": 0.3, "epochs": 9, "dropout": 0.5},
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "slopes.csv")


def begun(folder: Path, csv: Path, task: str = "classify", **options: Any) -> Path:
    chosen = plan(task, {**QUICK, **options})
    begin(folder, chosen, read(chosen.task, csv))
    return folder


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(load(folder / name).tensors)


@pytest.mark.parametrize("options", RESUMED.values(), ids=RESUMED)
def test_resuming_gives_the_bits_of_the_run_that_was_not_stopped(
    csv: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Stopped after every second step: weights, moments, and all reports but their times."""
    for _ in go_on(begun(tmp_path / "whole", csv, **options)):
        pass
    cut = begun(tmp_path / "cut", csv, **options)
    for _ in range(100):
        run = resume(cut, {})
        if run.done >= 1:
            break
        last = run.progress.step + 2
        torch.rand(3)  # someone else's use of the global generator changes nothing
        train(run, Unwatched(), lambda run=run, last=last: run.progress.step >= last)
    else:
        pytest.fail("it does not end")
    finish(run)
    for name in (kept_run.LAST, kept_run.BEST):
        whole, parts = tensors(tmp_path / "whole", name), tensors(cut, name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    assert untimed(tmp_path / "whole") == untimed(cut)
    first, second = (read_results(each)[0] for each in (tmp_path / "whole", cut))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def untimed(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / kept_run.METRICS).read_text().splitlines()]
    times = ("seconds", "examples_per_second")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def test_the_global_generator_is_left_as_it_was(csv: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in go_on(begun(tmp_path / "run", csv, dropout=0.5, weight_noise=0.1)):
        pass
    assert torch.equal(before, torch.get_rng_state())


def test_noise_is_taken_away_to_the_bit() -> None:
    weights = [torch.nn.Parameter(torch.randn(100) * 10.0**k) for k in range(-6, 6)]
    before = [w.detach().clone() for w in weights]
    with noisy(weights, 0.5):
        moved = torch.stack([(w - b).std() for w, b in zip(weights, before, strict=True)])
        assert (abs(moved - 0.5) < 0.2).all()
    assert all(torch.equal(w, b) for w, b in zip(weights, before, strict=True))


def test_seeds_of_steps_differ() -> None:
    drawn = {mixed(seed, number) for seed in range(50) for number in range(-50, 50)}
    assert len(drawn) == 5000
    assert all(0 <= one < 2**63 for one in drawn)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
@pytest.mark.parametrize("task", ["classify"])
def test_a_kill_at_any_moment_loses_nothing(task: str, csv: Path, tmp_path: Path) -> None:
    """Kill -9 at random moments from the first sign of training; in the end the same bits."""
    words = ["fit", task, str(csv), "--hidden", "6", "--epochs", "60", "--batch", "8"]
    words += [
        "--channels",
        "a,b",
        "--threads",
        "1",
        "--report-every",
        "1",
        "--validation",
        "0.2",
        "--seeds",
        "2",
    ]
    forked.run(*words, "--out", str(tmp_path / "whole"), timeout=120).check_returncode()
    cut, kills = tmp_path / "cut", 0
    moments, arguments = random.Random(7), [*words, "--out", str(cut)]
    for _ in range(4):
        process = forked.start(*arguments)
        deadline = moments.uniform(0.0, 0.7)
        while process.is_alive() and not list(cut.glob("seed-1/last.safetensors")):
            process.join(0.005)
        process.join(deadline)
        kills += process.is_alive()
        process.kill()
        process.join()
        for each in cut.glob("*/*.safetensors"):
            load(each)
        arguments = ["fit", task, "--resume", str(cut)]
    assert kills >= 2
    forked.run(*arguments, timeout=120).check_returncode()
    for seed in ("seed-0", "seed-1"):
        for name in (kept_run.LAST, kept_run.BEST):
            whole, parts = (tensors(tmp_path / f / seed, name) for f in ("whole", "cut"))
            assert all(torch.equal(whole[key], parts[key]) for key in whole)
        assert untimed(tmp_path / "whole" / seed) == untimed(cut / seed)
    assert len(read_results(cut)) == 2


def test_what_is_tested_is_looked_at_once_at_the_end(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and validation touch no example of the test part; its numbers do not matter."""
    chosen = plan("classify", QUICK)
    data = read(chosen.task, csv)
    begin(tmp_path / "run", chosen, data)
    measured: list[int] = []
    honest = type(chosen.task).measure

    def spying(self: Any, network: Any, encoding: Any, examples: Any) -> Any:
        measured.append(id(examples))
        return honest(self, network, encoding, examples)

    monkeypatch.setattr(type(chosen.task), "measure", spying)
    run = resume(tmp_path / "run", {}, known=data)
    train(run, Unwatched(), lambda: False)
    assert measured
    assert id(data.parts.test) not in measured
    finish(run)
    assert measured.count(id(data.parts.test)) == 1


def test_the_encoding_is_of_the_part_to_train_on(csv: Path) -> None:
    """Numbers of the other parts a thousand times as large change nothing of it."""
    chosen = plan("classify", QUICK)
    data = read(chosen.task, csv)
    for part in (data.parts.validation, data.parts.test):
        for values in part.values:
            np.multiply(values, 1000, out=values)
    assert chosen.task.learn(data.parts.train) == data.encoding
    whole = chosen.task.read(csv)
    assert chosen.task.learn(whole).mean != data.encoding.mean


def test_the_best_model_is_the_one_that_predicts(csv: Path, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", csv, label="chance", hidden=16, epochs=30, dropout=0.0)
    for _ in go_on(folder):
        pass
    reports = untimed(folder)
    losses = [report["validation_loss"] for report in reports]
    at = losses.index(min(losses))
    assert at < len(losses) - 1, "the test wants a best that is not the last"
    assert load(folder / kept_run.BEST).progress.step == reports[at]["step"]
    fitted = Fitted.load(folder)
    assert fitted.measure(csv)["loss"] != pytest.approx(
        Fitted.load(folder / kept_run.LAST).measure(csv)["loss"]
    )
    results = read_results(folder)[0]
    assert results.validation["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_several_seeds_are_several_runs_of_one_data(csv: Path, tmp_path: Path) -> None:
    fitted = fit("classify", csv, out=tmp_path / "run", seeds=3, **QUICK)
    assert [r.seed for r in fitted.results] == [0, 1, 2]
    assert len({r.test["loss"] for r in fitted.results}) == 3
    assert len({json.dumps(r.baselines) for r in fitted.results}) == 1
    best = min((0, 1, 2), key=lambda k: fitted.results[k].validation["loss"])
    weights = tensors(tmp_path / "run" / f"seed-{best}", kept_run.BEST)
    assert all(torch.equal(p, weights[n]) for n, p in fitted.network.named_parameters())
    single = fit("classify", csv, seed=1, **QUICK)
    assert single.results[0].test == fitted.results[1].test


def test_the_same_from_a_frame_of_any_library(csv: Path) -> None:
    """A path, polars, a mapping of columns, an object with columns like pandas'."""
    from_path = fit("classify", csv, **QUICK)
    frame = pl.read_csv(csv)

    class Columns(dict[str, Any]):
        columns = frame.columns

    held = {name: frame[name].to_numpy() for name in frame.columns}
    for source in (frame, held, Columns(held)):
        again = fit("classify", source, **QUICK)
        assert again.results[0].test == from_path.results[0].test
        assert again.predict(source).equals(from_path.predict(csv))


def test_a_frame_in_memory_is_asked_for_again(csv: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(csv)
    fit("classify", frame, out=tmp_path / "run", **QUICK)
    with pytest.raises(InputError, match="fitted to a frame in memory"):
        resume(tmp_path / "run", {"epochs": 4})
    assert resume(tmp_path / "run", {"epochs": 4}, data=frame).done < 1


def test_results_of_an_earlier_end_are_made_anew(csv: Path, tmp_path: Path) -> None:
    """Stopped while it goes on beyond its end, and resumed: the numbers are the last step's."""
    fit("classify", csv, out=tmp_path / "run", **QUICK)
    first = read_results(tmp_path / "run")[0]
    asked = [False, True]
    (stopped,) = go_on(tmp_path / "run", changes={"epochs": 5}, stop=lambda: asked.pop(0))
    assert stopped[1] is None
    (ended,) = go_on(tmp_path / "run")
    assert ended[1] == read_results(tmp_path / "run")[0]
    assert ended[1].steps > first.steps
    assert list(go_on(tmp_path / "run")) == []


def test_other_data_are_refused(csv: Path, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", csv)
    other = write_csv(tmp_path / "other.csv", columns(seed=1))
    with pytest.raises(InputError, match=r"is not what the run in .* was trained on"):
        resume(folder, {}, data=other)
    (moved := tmp_path / "moved.csv").write_bytes(csv.read_bytes())
    assert resume(folder, {}, data=moved).progress.step == 0


def test_a_folder_that_holds_a_run_is_left_alone(csv: Path, tmp_path: Path) -> None:
    begun(tmp_path / "run", csv)
    with pytest.raises(InputError, match="already holds a run"):
        fit("classify", csv, out=tmp_path / "run", seeds=2, **QUICK)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", kept_run.LAST]


def test_a_run_that_explodes_says_so_and_keeps_what_was_saved(csv: Path, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", csv, optimizer="sgd", lr=1e8, clip=0.0)
    with pytest.raises(DivergedError, match=r"lower --lr|no longer finite"):
        for _ in go_on(folder):
            pass
    assert load(folder / kept_run.LAST).progress.step == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hiden": 3}, "the task classify has no option hiden"),
        ({"hidden": 0}, "--hidden must lie in 1..1000000, got 0"),
        ({"schedule": "warm"}, "--schedule must be one of constant, cosine, decay, plateau"),
        ({"epochs": 3, "steps": 4}, "give one of --steps, --epochs, --seconds, not 2"),
        ({"patience": 0}, "--patience must be at least 1, got 0"),
        ({"weight_noise": -1.0}, "--weight-noise must be 0 or more, got -1.0"),
        ({"validation": 0.6, "test": 0.5}, "--validation and --test leave nothing to train on"),
        ({"pool": "max"}, "--pool must be one of last, mean, attention, got 'max'"),
        ({"gate_bias": {"q": 1.0}}, "no gate 'q' with a bias"),
        ({"connect": "ladder"}, "--connect must be one of"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
    ],
)
def test_options_that_cannot_be_are_named(
    csv: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as raised:
        fit("classify", csv, **options)
    assert sentence in str(raised.value)


def test_there_is_no_such_task(csv: Path) -> None:
    with pytest.raises(InputError, match=r"the task must be one of classify, .*, got 'sort'"):
        fit("sort", csv)


def test_it_is_the_public_door() -> None:
    assert grus.fit is fit


def field(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        *outer, last = path
        for name in outer:
            header = header[name]
        header[last] = value

    return change


HOSTILE = {
    "no such task": field("task", value="sort"),
    "a task of another type": field("task", value=["classify"]),
    "an option too many": field("options", "colour", value=1),
    "another width": field("sizes", "hidden", value=7),
    "a width beyond memory": field("sizes", "hidden", value=10**6),
    "layers without end": field("sizes", "layers", value=10**9),
    "fewer channels": field("encoding", "channels", value=["a"]),
    "a class more": field("encoding", "classes", value=["a", "b", "c"]),
    "a deviation of 0": field("encoding", "deviation", value=[0.0, 1.0]),
    "classes of another type": field("encoding", "classes", value="up"),
    "equations that run": field("cell", "equations", value="h_next = __import__('os')"),
    "another optimiser": field("settings", "optimizer", value="sgd"),
    "a step below 0": field("progress", "step", value=-1),
    "no progress": field("progress", value=None),
    "a chunk without a state": field("progress", "chunk", value=10**6),
    "another version": field("version", value=99),
    "another format": field("format", value="grus language model"),
    "a decoder that is no cell": field("decoder", value=3),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_checkpoint_is_a_sentence(
    csv: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = begun(tmp_path / "run", csv) / kept_run.LAST
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    inner = json.loads(header["__metadata__"]["grus"])
    change(inner)
    header["__metadata__"]["grus"] = json.dumps(inner)
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + size :])
    with pytest.raises(InputError) as raised:
        resume(tmp_path / "run", {})
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 1500


def test_a_text_s_checkpoint_is_not_a_fit_s(csv: Path, tmp_path: Path) -> None:
    from grus.models import checkpoint
    from small_run import start

    start(tmp_path)
    with pytest.raises(InputError, match="not a grus fit"):
        Fitted.load(tmp_path / "run")
    folder = begun(tmp_path / "fit", csv)
    with pytest.raises(InputError, match="not a grus language model"):
        checkpoint.load(folder / kept_run.LAST)


def test_every_task_says_what_the_command_needs() -> None:
    for name, task in TASKS.items():
        assert task.name == name
        assert task.__doc__
        chosen = plan(name, {})
        assert any(getattr(chosen.settings, b) for b in ("epochs", "steps", "seconds"))


def test_a_file_of_results_is_read_back(csv: Path, tmp_path: Path) -> None:
    fit("regress", csv, out=tmp_path / "run", label="slope", **QUICK)
    results = read_results(tmp_path / "run")[0]
    assert results.judged == results.test
    assert set(results.baselines) == {"mean", "nearest neighbour"}
    (tmp_path / "run" / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results\.json is not what a fit wrote"):
        read_results(tmp_path / "run")
