"""A benchmark that checks before it times, and refuses to time a wrong answer."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grus.cli.main import run
from grus.errors import InputError
from grus_benchmarks import Pair, Shape, WrongAnswerError, as_json, bench, check, lines, measure
from grus_benchmarks.answers import allowed, relative, rows_compared
from grus_benchmarks.pair import LARGEST

SMALL = Shape(7, 3, 5, 6)


class Broken(nn.Module):
    """A layer whose output, or one of its gradients, is changed by a little."""

    def __init__(
        self,
        layer: nn.Module,
        output: Callable[[Tensor], Tensor] | None = None,
        gradient: Callable[[Tensor], Tensor] | None = None,
        of: str = "weight_hh_l0",
    ) -> None:
        super().__init__()
        self.layer, self.output, self.gradient, self.of = layer, output, gradient, of

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.named_parameters(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.gradient and self.of == "x":
            x = _changed(x, self.gradient)
        given = dict(self.layer.named_parameters())
        if self.gradient and self.of in given:
            given[self.of] = _changed(given[self.of], self.gradient)
        output, state = torch.func.functional_call(self.layer, given, (x,))
        return self.output(output) if self.output else output, state


def _changed(value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The same value, whose gradient goes through ``change`` on its way back."""

    class Change(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return change(gradient)

    return Change.apply(value)


def with_broken(pair: Pair, **how: Any) -> Pair:
    layers = dict(pair.layers)
    layers["grus"] = Broken(layers["grus"], **how)
    return dataclasses.replace(pair, layers=layers)


def one_element(value: Tensor) -> Tensor:
    """Its largest element off by a thousandth."""
    changed = value.clone()
    changed.flatten()[changed.abs().argmax()] *= 1.001
    return changed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [SMALL, Shape(1, 1, 1, 1), Shape(40, 9, 17, 33), Shape(100, 1, 32, 32)], ids=str
)
def test_both_layers_are_right_and_well_within_what_is_allowed(shape: Shape, dtype: str) -> None:
    worst = check(Pair.draw(shape, dtype))
    assert set(worst) == {"grus", "torch.nn.GRU"}
    assert all(0 <= error <= 1 for error in worst.values())


def test_a_layer_with_the_same_weights_and_no_break_passes() -> None:
    check(with_broken(Pair.draw(SMALL, "float64")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_wrong_number_of_the_output_is_seen(dtype: str) -> None:
    with pytest.raises(WrongAnswerError, match="grus at T7 B3 I5 H6: output is off"):
        check(with_broken(Pair.draw(SMALL, dtype), output=one_element))


@pytest.mark.parametrize("of", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "x"])
def test_one_wrong_number_of_any_gradient_is_seen(of: str) -> None:
    pair = with_broken(Pair.draw(SMALL, "float32"), gradient=one_element, of=of)
    with pytest.raises(WrongAnswerError, match=f"the gradient of {of} is off"):
        check(pair)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: v * float("nan"),
        lambda v: v.flip(0),
        lambda v: v * 0,
        lambda v: torch.cat([v[:1], v[:-1]]),
        lambda v: v + 1e-3,
    ],
)
def test_a_wrong_output_is_seen(wrong: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(WrongAnswerError):
        check(with_broken(Pair.draw(SMALL, "float32"), output=wrong))


def test_float32_where_float64_is_asked_for_is_seen() -> None:
    pair = with_broken(Pair.draw(SMALL, "float64"), output=lambda v: v.float().double())
    with pytest.raises(WrongAnswerError):
        check(pair)


def test_large_batches_are_compared_in_some_rows_the_last_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grus_benchmarks.answers.BUDGET", 1.0)
    shape = Shape(7, 9, 5, 6)
    assert rows_compared(shape) == [0, 8]
    check(Pair.draw(shape, "float32"))

    def last_row(value: Tensor) -> Tensor:
        return torch.cat([value[:, :-1], value[:, -1:] * 1.001], dim=1)

    with pytest.raises(WrongAnswerError):
        check(with_broken(Pair.draw(shape, "float32"), output=last_row))


def test_what_is_allowed_is_far_below_one_wrong_number() -> None:
    for shape in (SMALL, Shape(100, 32, 512, 512)):
        limits = allowed(shape, "float32")
        assert limits["output"] < 1 / (shape.steps * shape.batch * shape.hidden) ** 0.5
        assert limits["gradient"] < 1 / (3 * shape.hidden * shape.hidden) ** 0.5


def test_relative_errors() -> None:
    want = torch.ones(4, dtype=torch.float64)
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


def test_a_wrong_answer_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Pair.draw
    monkeypatch.setattr(
        Pair, "draw", lambda shape, dtype: with_broken(draw(shape, dtype), output=one_element)
    )
    (row,) = bench([SMALL], "float32", 1)
    assert row.timings == {}
    (line,) = lines(row)
    assert "wrong answer, not timed" in line
    assert " us" not in line
    assert " ms" not in line
    assert json.loads(as_json([row], "float32"))["shapes"][0].keys() == {"shape", "wrong"}


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
