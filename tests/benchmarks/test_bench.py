"""A benchmark that checks before it times, and refuses to time a wrong answer."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from grus import layers
from grus.cli.main import run
from grus.errors import InputError
from grus_benchmarks.against_torch import as_json, bench, failure, lines
from grus_benchmarks.peers.torch_layers import Ours, TorchLayers
from grus_benchmarks.problem import BOTH_DX, FORWARD, LARGEST, Problem, Shape
from grus_benchmarks.right import Truth, allowed, relative, rows_compared, truth
from grus_benchmarks.turns import measure

FAKE = Path(__file__).with_name("fake_peer.py")
Change = Callable[[np.ndarray], np.ndarray]


def answers(problem: Problem, kind: type[TorchLayers], right: Truth) -> dict[str, np.ndarray]:
    """What a layer gives in this process, whose threads stay as they are."""
    peer = object.__new__(kind)
    peer.library = layers if kind is Ours else torch.nn
    loaded = peer.load(problem, problem.draw())
    return dict(loaded.read(BOTH_DX, loaded.calls[BOTH_DX](loaded.put(right.dy))))


def given(text: str, dtype: str = "float32") -> tuple[Problem, Truth, dict[str, np.ndarray]]:
    problem = Problem.parse(text, dtype)
    right = truth(problem, problem.draw())
    return problem, right, answers(problem, Ours, right)


SMALL = given("7,3,5,6")


def one_element(value: np.ndarray) -> np.ndarray:
    """Its largest element off by a thousandth."""
    changed = value.copy()
    changed.flat[np.abs(changed).argmax()] *= 1.001
    return changed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", ["7,3,5,6", "1,1,1,1", "40,9,17,33", "100,1,32,32"])
def test_both_layers_are_right_and_well_within_what_is_allowed(text: str, dtype: str) -> None:
    problem, right, ours = given(text, dtype)
    for numbers in (ours, answers(problem, TorchLayers, right)):
        assert numbers["output"].dtype == dtype
        error, wrong = right.worst(problem, BOTH_DX, numbers)
        assert (0 <= error <= 1, wrong) == (True, "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_wrong_number_of_the_output_is_seen(dtype: str) -> None:
    problem, right, numbers = given("7,3,5,6", dtype)
    numbers["output"] = one_element(numbers["output"])
    assert right.wrong(problem, FORWARD, numbers).startswith("output is off by")


@pytest.mark.parametrize("of", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "x"])
def test_one_wrong_number_of_any_gradient_is_seen(of: str) -> None:
    problem, right, numbers = SMALL
    wrong = right.wrong(problem, BOTH_DX, {**numbers, of: one_element(numbers[of])})
    assert wrong.startswith(f"the gradient of {of} is off by")


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v * np.float32("nan"),
        lambda v: v[::-1],
        lambda v: v * 0,
        lambda v: np.concatenate([v[:1], v[:-1]]),
        lambda v: v + 1e-3,
        lambda v: v[:-1],
    ],
)
def test_a_wrong_output_is_seen(change: Change) -> None:
    problem, right, numbers = SMALL
    assert right.wrong(problem, FORWARD, {**numbers, "output": change(numbers["output"])})


def test_float32_where_float64_is_asked_for_is_seen() -> None:
    problem, right, numbers = given("7,3,5,6", "float64")
    numbers["output"] = numbers["output"].astype(np.float32)
    assert right.wrong(problem, FORWARD, numbers)


def test_large_batches_are_compared_in_some_rows_the_last_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grus_benchmarks.right.BUDGET", 1.0)
    problem, right, numbers = given("7,9,5,6")
    assert rows_compared(problem.shape) == right.rows == [0, 8]
    assert right.wrong(problem, BOTH_DX, numbers) == ""
    numbers["output"][:, -1] *= 1.001
    assert right.wrong(problem, FORWARD, numbers)


def test_what_is_allowed_is_far_below_one_wrong_number() -> None:
    for text in ("7,3,5,6", "100,32,512,512"):
        problem = Problem.parse(text)
        shape, limits = problem.shape, allowed(problem)
        assert limits["output"] < 1 / (shape.steps * shape.batch * shape.hidden) ** 0.5
        assert limits["gradient"] < 1 / (3 * shape.hidden * shape.hidden) ** 0.5


def test_relative_errors() -> None:
    want = np.ones(4)
    assert relative(want, want) == 0
    assert relative(want * 1.5, want) == pytest.approx(0.5)
    assert relative(want * 0, want * 0) == 0
    assert relative(want * 0 + 2, want * 0) == 2


def test_the_layers_take_turns() -> None:
    order: list[str] = []
    functions = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    timing = measure(functions, 5)
    turns = [name for name, _ in itertools.groupby(order)]
    assert turns[-10:] == ["a", "b"] * 5
    assert {name: len(blocks) for name, blocks in timing.blocks.items()} == {"a": 5, "b": 5}


def test_the_ratio_says_how_many_times_as_fast_the_first_is() -> None:
    timing = measure({"a": lambda: None, "b": lambda: sum(range(3000))}, 3)
    assert timing.ratio > 2
    assert timing.ratio == timing.median("b") / timing.median("a")


def command(mode: str) -> Callable[[int], list[str]]:
    return lambda threads: [sys.executable, str(FAKE), mode, str(threads)]


@pytest.mark.parametrize(
    ("torch_is", "reason"),
    [
        ("wrong", "wrong answer, not timed: torch.nn.GRU: output is off by"),
        ("absent", "not timed: torch.nn.GRU: ModuleNotFoundError"),
    ],
)
def test_a_wrong_answer_is_not_timed(torch_is: str, reason: str) -> None:
    commands = {"grus": command("right"), "torch": command(torch_is)}
    (result,) = bench([SMALL[0]], 1, 1, commands)
    assert failure(result).startswith(reason)
    (line,) = lines(result)
    assert line.startswith(f"T7 B3 I5 H6             {reason}")
    assert " us" not in line
    assert " ms" not in line
    assert json.loads(as_json([result], "float32", 1))["shapes"][0].keys() == {"shape", "wrong"}


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "0,1,1,1", "-1,1,1,1"])
def test_a_shape_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a shape is T,B,I,H"):
        Shape.parse(text)


def test_a_shape_beyond_any_memory_is_refused() -> None:
    with pytest.raises(InputError, match="too large"):
        Shape.parse(f"{LARGEST},1,2,2")


def grus(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "bench", *words])
        with pytest.raises(SystemExit) as end:
            run()
    return int(end.value.code or 0), *capsys.readouterr()


def test_the_command_prints_a_row_for_each_shape_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    words = ["--shapes", "3,1,2,2 4,2,3,3", "--shapes", "5,1,1,1", "--blocks", "1"]
    code, out, err = grus(capsys, *words, "--out", str(file))
    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith("T")]
    assert [row.split("  ")[0] for row in rows] == ["T3 B1 I2 H2", "T4 B2 I3 H3", "T5 B1 I1 H1"]
    assert all(row.count("x") == 3 for row in rows)
    found = json.loads(file.read_text("utf-8"))
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert {"forward", "forward+backward", "forward+backward, dx"} <= set(found["shapes"][0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shapes", "1,2"], "a shape is T,B,I,H"),
        (["--blocks", "0"], "--blocks must be at least 1, got 0"),
        (["--threads", "-1"], "--threads must be at least 1, got -1"),
        (["--dtype", "float16"], "--dtype must be one of"),
        (["--out", "missing/x.json"], "--out must be a file in a folder that exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = grus(capsys, *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
