"""The loop: it learns, clips, carries the state, reports, keeps the best, and resumes exactly."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.errors import InputError
from grus.models import evaluation, kept_run, run as runs
from grus.models.batches import IGNORED
from grus.models.run import characters_per_second
from grus.models.settings import Settings
from grus.models.train import DivergedError, learn
from small_run import PROSE, SETTINGS, finish, go_on, start, tensors


def lines(folder: Path) -> list[dict[str, float]]:
    content = (folder / "run" / kept_run.METRICS).read_text()
    return [json.loads(line) for line in content.splitlines()]


def untimed(records: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "characters_per_second")}
        for r in records
    ]


def test_it_learns_a_text_that_repeats(tmp_path: Path) -> None:
    """After some hundred steps the next character of a repeated sentence is hardly a surprise."""
    settings = replace(SETTINGS, steps=400, lr=0.01, dropout=0.0, report_every=100)
    reports = finish(start(tmp_path, settings, hidden=32)).reports
    assert reports[0].train_bits > 2
    assert reports[-1].train_bits < 0.5
    assert reports[-1].validation_bits is not None
    assert reports[-1].validation_bits < 0.5


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    """With plain descent at rate 1 a step moves the weights by the clipped gradient itself."""
    moved = {}
    for clip in (0.0, 0.05):
        run = start(tmp_path / str(clip), replace(SETTINGS, optimizer="sgd", lr=1.0, dropout=0.0))
        before = [w.detach().clone() for w in run.parameters]
        learn(run.model, run.optimizer, *run.chunk(), None, clip, None)
        steps = [w.detach() - b for w, b in zip(run.parameters, before, strict=True)]
        moved[clip] = torch.cat([s.flatten() for s in steps])
    assert moved[0.0].norm().item() > 0.1
    # clip_grad_norm_ divides by norm + 1e-6, and a step is a difference of float32 weights: 1e-4
    assert moved[0.05].norm().item() == pytest.approx(0.05, rel=1e-3)
    direction = functional.cosine_similarity(moved[0.0], moved[0.05], dim=0).item()
    assert direction == pytest.approx(1, abs=1e-4)


def test_the_state_is_carried_within_an_epoch_and_zero_at_its_start(tmp_path: Path) -> None:
    run = start(tmp_path, replace(SETTINGS, epochs=2, steps=None))
    given: list[Tensor | None] = []
    first = run.model.layers[0]
    first.register_forward_pre_hook(lambda _, args: given.append(args[1]))
    results: list[Tensor] = []
    first.register_forward_hook(lambda _, args, out: results.append(out[1]))
    chunks = run.streams.chunks(run.progress.offset)
    for _ in range(chunks + 2):
        loss, state = learn(run.model, run.optimizer, *run.chunk(), run.state, 1.0, run.generator)
        run.advance(loss, state, 0.0)
    starts = [k for k, state in enumerate(given) if state is None]
    assert starts == [0, chunks]
    for before, after in zip(results, given[1:], strict=False):
        assert after is None or (torch.equal(before, after) and not after.requires_grad)


def test_epochs_and_steps_and_seconds_are_three_budgets(tmp_path: Path) -> None:
    by_epoch = start(tmp_path / "e", replace(SETTINGS, steps=None, epochs=2))
    finish(by_epoch)
    assert (by_epoch.progress.epoch, by_epoch.progress.chunk) == (2, 0)
    by_step = start(tmp_path / "s", replace(SETTINGS, steps=9))
    finish(by_step)
    assert by_step.progress.step == 9
    by_time = start(tmp_path / "t", replace(SETTINGS, steps=None, seconds=0.3))
    finish(by_time)
    assert by_time.progress.step > 0
    assert 0.3 <= by_time.progress.seconds < 5


def test_every_report_is_one_line_with_consistent_figures(tmp_path: Path) -> None:
    run = start(tmp_path)
    reports = finish(run).reports
    assert [r["step"] for r in lines(tmp_path)] == [7, 14, 21, 28, 35, 40]
    assert [vars(r) for r in reports] == lines(tmp_path)
    for line in lines(tmp_path):
        assert line["train_perplexity"] == pytest.approx(2 ** line["train_bits"])
        assert line["train_perplexity"] == pytest.approx(math.exp(line["train_loss"]))
        assert line["validation_perplexity"] == pytest.approx(2 ** line["validation_bits"])
        assert line["lr"] == SETTINGS.lr
        assert line["characters_per_second"] > 0
    seconds = [line["seconds"] for line in lines(tmp_path)]
    assert seconds == sorted(seconds)


def test_the_training_loss_is_the_mean_over_the_steps_since_the_last_report(
    tmp_path: Path,
) -> None:
    run = start(tmp_path, replace(SETTINGS, steps=14))
    seen: list[float] = []
    advance = run.advance
    run.advance = lambda loss, *rest: (seen.append(loss.item()), advance(loss, *rest))  # type: ignore[assignment,method-assign]
    reports = finish(run).reports
    for k, report in enumerate(reports):
        # float32 losses summed in float64: only the means' own rounding is left
        assert report.train_loss == pytest.approx(sum(seen[7 * k : 7 * k + 7]) / 7, rel=1e-12)


def test_the_best_model_is_kept_beside_the_last(tmp_path: Path) -> None:
    """Training far too fast makes the validation worse again; best stays where it was best."""
    run = start(tmp_path, replace(SETTINGS, steps=60, lr=1.0, report_every=5))
    reports = finish(run).reports
    bits = [r.validation_bits for r in reports if r.validation_bits is not None]
    at = min(range(len(bits)), key=lambda k: bits[k])
    assert at < len(bits) - 1, "the test wants a best that is not the last"
    best, last = (
        runs.checkpoint.load(tmp_path / "run" / n) for n in (kept_run.BEST, kept_run.LAST)
    )
    assert best.progress.step == last.progress.best_step == reports[at].step
    assert run.held_out is not None
    measured = evaluation.bits(evaluation.mean_loss(best.model(), *run.held_out))
    assert measured == pytest.approx(bits[at], rel=1e-6)


def test_without_a_tail_only_training_is_measured(tmp_path: Path) -> None:
    run = start(tmp_path, replace(SETTINGS, holdout=0.0))
    reports = finish(run).reports
    assert {r.validation_bits for r in reports} == {None}
    assert not (tmp_path / "run" / kept_run.BEST).exists()
    assert kept_run.find(tmp_path / "run").name == kept_run.LAST
    assert len(run.streams.ids) == len(PROSE)


def test_validation_is_the_mean_surprise_however_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path)
    run.model.dropout = 0.9
    assert run.held_out is not None
    inputs, targets = run.held_out
    whole = evaluation.mean_loss(run.model, inputs, targets)
    assert run.model.training
    monkeypatch.setattr(evaluation, "MAX_SCORES", 1)
    one_by_one = evaluation.mean_loss(run.model, inputs, targets)
    # sums of some dozen float32 terms, grouped differently: some 1e-7 each
    assert one_by_one == pytest.approx(whole, rel=1e-5)
    with torch.no_grad():
        scores, _ = run.model.eval()(inputs)
    surprise = -scores.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    assert whole == pytest.approx(surprise[targets != IGNORED].mean().item(), rel=1e-5)


MODELS: list[dict[str, object]] = [
    {},
    {"cell": "lstm", "layers": 2},
    {"cell": "gru_reset_before", "dtype": "float64", "input": "onehot"},
]


@pytest.mark.parametrize("model", MODELS, ids=["gru", "lstm-2", "onehot"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "rmsprop"])
def test_resuming_gives_bit_for_bit_the_uninterrupted_run(
    tmp_path: Path, model: dict[str, object], optimizer: str
) -> None:
    """Stopped after every 9th step and resumed: weights, moments, state, generator, metrics."""
    settings = replace(SETTINGS, optimizer=optimizer)
    finish(start(tmp_path / "whole", settings, **model))
    finish(start(tmp_path / "cut", settings, **model), after=9)
    while (run := go_on(tmp_path / "cut")).done < 1:
        torch.rand(7)  # someone else's use of the global generator changes nothing
        finish(run, after=9)
    for name in (kept_run.LAST, kept_run.BEST):
        whole, cut = tensors(tmp_path / "whole", name), tensors(tmp_path / "cut", name)
        assert set(whole) == set(cut)
        for key, tensor in whole.items():
            assert torch.equal(tensor, cut[key]), (name, key)
    assert untimed(lines(tmp_path / "whole")) == untimed(lines(tmp_path / "cut"))


@pytest.mark.parametrize(
    "lost", ["random", "state.h", "adam.exp_avg_sq.linear.bias", "linear.bias"]
)
def test_a_resume_that_loses_something_is_noticed(tmp_path: Path, lost: str) -> None:
    """The comparison above has teeth: with one tensor zeroed the weights come out otherwise."""
    finish(start(tmp_path / "whole"))
    finish(start(tmp_path / "cut"), after=9)
    found = runs.load_last(tmp_path / "cut" / "run")
    if lost == "random":
        found.tensors[lost].copy_(torch.Generator().manual_seed(99).get_state())
    else:
        found.tensors[lost].zero_()
    run = runs.resume(found, tmp_path / "cut" / "run", found.source, found.settings)
    finish(run)
    whole, cut = tensors(tmp_path / "whole"), tensors(tmp_path / "cut")
    assert not torch.equal(whole["linear.weight"], cut["linear.weight"])


def test_metrics_written_after_the_last_save_are_cut_when_resuming(tmp_path: Path) -> None:
    """A kill between the metrics' line and the checkpoint leaves a line too many."""
    finish(start(tmp_path / "whole"))
    run = start(tmp_path / "cut")
    finish(run, after=14)
    earlier = (tmp_path / "cut" / "run" / kept_run.LAST).read_bytes()
    finish(run, after=16)
    (tmp_path / "cut" / "run" / kept_run.LAST).write_bytes(earlier)
    resumed = go_on(tmp_path / "cut")
    assert [line["step"] for line in lines(tmp_path / "cut")] == [7, 14]
    finish(resumed)
    assert untimed(lines(tmp_path / "whole")) == untimed(lines(tmp_path / "cut"))


def test_of_two_that_resume_one_goes_on(tmp_path: Path) -> None:
    """Refused while the other trains and after it went on; the metrics have each step once."""
    finish(start(tmp_path), after=7)
    one, other = go_on(tmp_path), go_on(tmp_path)
    with one.writing():
        for refused in (lambda: finish(other), lambda: go_on(tmp_path)):
            with pytest.raises(InputError, match="being trained by another process"):
                refused()
    finish(one, after=7)
    with pytest.raises(InputError, match="has gone from step 7 to 14: resume it again"):
        finish(other)
    finish(one)
    assert [line["step"] for line in lines(tmp_path)] == [7, 14, 21, 28, 35, 40]


def test_a_longer_budget_goes_on_and_a_spent_one_changes_nothing(tmp_path: Path) -> None:
    finish(start(tmp_path / "whole"))
    finish(start(tmp_path / "cut", replace(SETTINGS, steps=21)))
    before = (tmp_path / "cut" / "run" / kept_run.METRICS).read_text()
    finish(go_on(tmp_path / "cut"))
    assert (tmp_path / "cut" / "run" / kept_run.METRICS).read_text() == before
    finish(go_on(tmp_path / "cut", steps=40))
    assert torch.equal(
        tensors(tmp_path / "whole")["linear.weight"], tensors(tmp_path / "cut")["linear.weight"]
    )


def test_another_text_is_not_taken_for_the_runs_own(tmp_path: Path) -> None:
    finish(start(tmp_path), after=3)
    (tmp_path / "prose.txt").write_text(PROSE[:-1] + "!")
    with pytest.raises(InputError, match="is not the text"):
        go_on(tmp_path)


def test_a_run_never_overwrites_another(tmp_path: Path) -> None:
    finish(start(tmp_path), after=2)
    before = (tmp_path / "run" / kept_run.LAST).read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        start(tmp_path)
    assert (tmp_path / "run" / kept_run.LAST).read_bytes() == before


@pytest.mark.parametrize("spoiled", ["weights", "gradients"])
def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path, spoiled: str) -> None:
    run = start(tmp_path, replace(SETTINGS, optimizer="sgd", lr=1e38, clip=0.0, steps=14))
    if spoiled == "weights":
        with torch.no_grad():
            run.model.linear.weight[0, 0] = math.nan
    with pytest.raises(InputError, match="no longer finite at step 7"):
        finish(run)
    assert runs.load_last(tmp_path / "run").progress.step == 0


def test_the_seed_decides_everything_and_leaves_torchs_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        finish(start(tmp_path / folder, replace(SETTINGS, seed=seed, steps=5)))
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (tensors(tmp_path / folder)["linear.weight"] for folder in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    "bad",
    [
        {"seq_len": 0},
        {"batch": -1},
        {"steps": 0},
        {"epochs": 3},
        {"steps": None},
        {"steps": None, "seconds": -1.0},
        {"optimizer": "lion"},
        {"lr": 0.0},
        {"lr": math.nan},
        {"clip": -1.0},
        {"dropout": 1.0},
        {"holdout": 1.0},
        {"seed": -1},
        {"threads": 0},
        {"report_every": 0},
        {"gate_bias": {"z": math.inf}},
    ],
)
def test_settings_that_cannot_be_are_refused_by_the_name_of_the_flag(
    bad: dict[str, object],
) -> None:
    with pytest.raises(InputError, match="--"):
        Settings(**{"steps": 1, **bad})  # type: ignore[arg-type]


def test_the_speed_is_of_the_steps_asked_for(tmp_path: Path) -> None:
    """Whichever layer is in the loop; nn.GRU's run is the same but for the last bits."""
    ours = start(tmp_path / "ours")
    source, read, model = ours.source, ours.text, ours.model.architecture
    theirs = runs.start(tmp_path / "theirs", source, read, model, SETTINGS, make_layer=nn.GRU)
    for run in (ours, theirs):
        began = time.perf_counter()
        speed = characters_per_second(run, 9)
        seconds = time.perf_counter() - began
        assert run.progress.step == 9
        # 9 steps of 4 x 5 characters in a little less than the time around the call
        assert 9 * 20 / seconds <= speed < 9 * 20 / (0.5 * seconds)
    assert isinstance(theirs.model.layers[0], nn.GRU)
    assert (tmp_path / "theirs" / kept_run.METRICS).read_text().count("\n") == 1
    assert runs.checkpoint.load(tmp_path / "theirs" / kept_run.LAST).progress.step == 9


def test_a_loss_that_explodes_ends_the_run_by_a_sentence(tmp_path: Path) -> None:
    """Every number stays finite; the last sound checkpoint is kept, with no line of the rest."""
    settings = replace(SETTINGS, optimizer="sgd", lr=1e4, clip=0.0, steps=40, dropout=0.0)
    with pytest.raises(DivergedError, match=r"loss exploded: \S{1,9} nats at step 7") as error:
        finish(start(tmp_path, settings))
    assert "set --clip" in str(error.value)
    assert len(str(error.value)) < 400
    assert runs.load_last(tmp_path / "run").progress.step == 0
    assert not (tmp_path / "run" / kept_run.METRICS).exists()


def test_a_validation_loss_that_explodes_ends_the_run_too(tmp_path: Path) -> None:
    run = start(tmp_path)
    with torch.no_grad():
        run.model.linear.bias[0] = 1e6
    run.loss_sum += 1.0
    run.progress.loss_steps = 1
    with pytest.raises(DivergedError, match="the validation loss exploded: "):
        run.report()
