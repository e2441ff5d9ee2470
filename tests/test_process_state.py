"""What belongs to the caller's process stays as it was: compared before and after."""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
matplotlib = pytest.importorskip("matplotlib")
# What these do when they are imported: a filter of warnings, a random number.
pytest.importorskip("plotly.offline")
import rich.style  # noqa: E402, F401
from torch import nn  # noqa: E402

import grus  # noqa: E402
from grus import pictures  # noqa: E402
from grus.cli.main import run as run_command  # noqa: E402
from grus.comparison.contestants import Contestant  # noqa: E402
from grus.comparison.courses import TaskCourse  # noqa: E402
from grus.comparison.trials import step_seconds  # noqa: E402
from grus.equations import CELLS  # noqa: E402
from grus.layers.held import hold_layer  # noqa: E402
from grus.models import run as runs  # noqa: E402
from grus.models.evaluation import sample  # noqa: E402
from grus.models.language import hold_model  # noqa: E402
from grus.models.memory_tasks import Adding  # noqa: E402
from grus.models.settings import Settings  # noqa: E402
from grus.page.character_network import from_model, small_model  # noqa: E402
from grus.page.server import application  # noqa: E402
from grus.page.session import Session, parse  # noqa: E402
from grus.traces.flow import gradient_flow  # noqa: E402
from grus.traces.measures import measures  # noqa: E402
from grus_benchmarks.problem import Problem  # noqa: E402
from grus_benchmarks.right import truth  # noqa: E402
from small_run import finish, go_on, start  # noqa: E402

pytestmark = pytest.mark.torch


def state() -> dict[str, Any]:
    """The process' settings that a library has no business with."""
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": [str(part) for part in np.random.get_state()],
        "random": random.getstate(),
        "numpy errors": np.geterr(),
        "numpy print": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": str(decimal.getcontext()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "matmul": torch.get_float32_matmul_precision(),
        "default device": torch.get_default_device(),
        "matplotlib": dict(matplotlib.rcParams),
        "umask": umask(),
        "recursion": sys.getrecursionlimit(),
        "collector": (gc.isenabled(), gc.get_threshold()),
    }


def umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def layers(_: Path) -> None:
    random_state = torch.get_rng_state()
    model, layer = nn.Sequential(nn.GRU(2, 3)), grus.GRU(2, 3)
    torch.set_rng_state(random_state)  # new weights are drawn as torch's layers draw them
    grus.restore(grus.accelerate(model, say=None), say=None)
    layer(torch.zeros(4, 1, 2))[0].sum().backward()
    grus.trace(layer, torch.zeros(4, 1, 2))
    gradient_flow(layer, lags=3)
    gradient_flow("lstm", lags=3)


def training(folder: Path) -> None:
    threads = torch.get_num_threads() + 1
    finish(start(folder, Settings(seq_len=5, batch=4, steps=9, threads=threads)), after=4)
    run = go_on(folder)
    finish(run)
    model = runs.load_last(folder / "run").model()
    list(sample(model, "a", 3))
    hold_model(model, {"z": 0.5})


def comparing(_: Path) -> None:
    course = TaskCourse(Adding(4), Settings(steps=2, batch=2, threads=2))
    step_seconds(course, Contestant("gru", CELLS["gru"], 3, {}, 0))
    problem = Problem.parse("7,3,5,6")
    truth(problem, problem.draw())


def numbers(_: Path) -> None:
    w, u = np.zeros((9, 2)), np.zeros((9, 3))
    grus.identify([w, u, np.zeros(9), np.zeros(9)], np.zeros((2, 2)), np.zeros((2, 3)))
    grus.equivalent("torch", "keras")


def drawing(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        layer, x = grus.GRU(2, 3), torch.randn(6, 1, 2)
    trace = grus.trace(layer, x)
    pictures.gates(trace, layer=0, batch=0)
    pictures.saturation(measures(trace))
    pictures.state_norms(measures(trace))
    pictures.half_lives(measures(trace))
    ax = pictures.gradient_flow({"gru": gradient_flow(layer, lags=3)})
    for name in ("a.svg", "a.png"):
        pictures.save(ax, folder / name)
    pictures.save(pictures.learning_curves({"a": [([1, 2], [2.0, 1.0])]}), folder / "b.png")


def page(_: Path) -> None:
    pytest.importorskip("starlette")
    asked = Session(from_model(small_model(lambda *_: None, 0.001)), "a small model")
    application(asked, 8123)
    asked.model()
    asked.look(parse({"text": "crane", "hold": {"z": 0}}))
    asked.worksheet(parse({"text": "crane", "step": 0}))


def saving(folder: Path) -> None:
    pytest.importorskip("onnx")
    with torch.random.fork_rng(devices=[]):
        layer = grus.LSTM(2, 3, 2, dropout=0.5)
    grus.onnx.save(layer, folder / "a.onnx")
    grus.onnx.load(folder / "a.onnx")
    grus.convert(layer.state_dict(), "torch", "onnx")


COMMANDS = {
    "show": "show gru --stage diagram --out a.svg",
    "explain": "explain run/last.safetensors --x 1,2,3,4,5,6",
    "trace": "trace run --text lazy --out a.png",
    "trace to a page": "trace run --text lazy --out a.html",
    "measure": "measure run --out a.svg",
    "flow": "flow run --lags 3 --rows 2 --out a.png",
    "serve": "serve run --no-open",
    "identify": "identify w.npz --x 1 --y 0.25,0.125",
    "convert": "convert w.npz out.onnx --from torch",
    "convert to Keras": "convert w.npz out.weights.h5 --from torch",
    "dialects": "dialects",
    "train": "train prose.txt --steps 3 --hidden 4 --batch 2 --seq-len 3 --threads 1 --out new",
    "sample": "sample run --length 3",
    "curves": "curves run --out c.svg",
    "compare": "compare prose.txt --cells gru,rnn --seeds 1 --hidden 4 --batch 2 --seq-len 3"
    " --threads 1 --steps 2 --out c.png --out c.json",
    "compare a task": "compare --task adding --lag 4 --cells gru --seeds 1 --hidden 4 --batch 2"
    " --threads 1 --steps 2",
    "check": "check --out vectors.json",
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_leaves_the_process_as_it_was(
    words: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs call commands in their own process too, tests among them."""
    monkeypatch.chdir(run_folder)
    monkeypatch.setattr("grus.page.server.serve", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["grus", *words.split()])

    def use(_: Path) -> None:
        with pytest.raises(SystemExit) as ended:
            run_command()
        assert ended.value.code in (0, None) or "identify" in words

    check_state(use, run_folder)


@pytest.fixture
def run_folder(tmp_path: Path) -> Iterator[Path]:
    finish(start(tmp_path, Settings(seq_len=5, batch=4, steps=9, report_every=4)))
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (6, 1), "weight_hh_l0": (6, 2), "bias_ih_l0": 6, "bias_hh_l0": 6}
    np.savez(tmp_path / "w.npz", **{n: rng.normal(size=s).astype("f") for n, s in shapes.items()})
    return tmp_path


def flags(model: nn.Module) -> list[Any]:
    """What a look at a model has to leave alone."""
    return [
        *((name, module.training, len(module._forward_hooks)) for name, module in
          model.named_modules()),
        *((name, p.requires_grad, p.grad is None, p._version, p.data_ptr()) for name, p in
          model.named_parameters()),
    ]  # fmt: skip


LOOKS: dict[str, Callable[[Any, Path], Any]] = {
    "trace": lambda layer, _: grus.trace(layer, torch.randn(5, 1, 2)),
    "gradient flow": lambda layer, _: gradient_flow(layer, lags=3),
    "onnx": lambda layer, folder: grus.onnx.save(layer, folder / "a.onnx"),
    "convert": lambda layer, _: grus.convert(layer.state_dict(), "torch", "keras"),
    "weights": lambda layer, _: layer.layer_weights(0),
    "stepper": lambda layer, _: layer.stepper(),
    "hold": lambda layer, _: hold_layer(layer, {"i": 1.0}),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_model_leaves_its_flags(look: str, training: bool, tmp_path: Path) -> None:
    if look == "onnx":
        pytest.importorskip("onnx")
    layer = grus.LSTM(2, 3).train(training)
    layer.bias_hh_l0.requires_grad_(False)
    before = flags(layer)
    LOOKS[look](layer, tmp_path)
    assert flags(layer) == before


@pytest.mark.parametrize("use", [layers, training, comparing, numbers, drawing, page, saving])
def test_the_state_of_the_process_is_the_callers(
    use: Callable[[Path], None], tmp_path: Path
) -> None:
    check_state(use, tmp_path)


def check_state(use: Callable[[Path], None], folder: Path) -> None:
    torch.manual_seed(5)
    before = state()
    use(folder)
    after = state()
    assert {k: after[k] for k in before if before[k] != after[k]} == {}
