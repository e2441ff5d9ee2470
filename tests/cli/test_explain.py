"""`grus explain` as a person meets it: the posted case, every dialect, and every way to err."""

from __future__ import annotations

import re
import subprocess
import sys
from math import tanh
from pathlib import Path

import pytest

from grus.cli.main import run
from grus.dialects import DIALECTS
from grus.equations import CELLS

KERNEL = "-0.90954137, 1.0425225, -0.04404902"
RECURRENT = "0.24168766, 0.8981342, 0.36734456"
POSTED = ["keras", "--dialect", "keras", "--W", KERNEL, "--U", RECURRENT, "--x", "1,2,9,8"]
# One gru of one unit and one feature whose layout is told.
TOLD = ["gru", "--dialect", "torch", "--W", "1 2 3", "--U", "4 5 6"]


def explain(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "explain", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def last_state(page: str) -> str:
    return next(line for line in page.splitlines() if "last state: " in line.lower())


def test_the_posted_case_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = explain(capsys, *POSTED)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "x: 4 steps of 1 feature"
    assert lines[1].startswith("keras is the cell gru: ")
    assert "  column 1   z     update gate  z         -0.90954137  0.24168766" in out
    assert "  column 2   r     reset gate   r         1.0425225    0.8981342" in out
    assert "  column 3   n     candidate    h         -0.04404902  0.36734456" in out
    assert "step 4 of 4: x = 8, h = -0.40444" in lines
    assert "    = sigmoid(-0.90954 * 8 + 0.24169 * (-0.40444) + 0)" in lines
    assert "last state: h = -0.46280" in lines


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("text", "last state: h = -0.46280"),
        ("markdown", "**last state: h = -0.46280**"),
        ("latex", "Last state: $h_{t} = -0.46280$."),
    ],
)
def test_the_posted_case_comes_out_in_every_form(
    form: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = explain(capsys, *POSTED, "--format", form)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].rstrip(".") == "x: 4 steps of 1 feature"
    assert last in out.splitlines()


PASTED = {
    "as get_weights prints them": (
        "array([[-0.90954137,  1.0425225 , -0.04404902]], dtype=float32)",
        "array([[0.24168766, 0.8981342 , 0.36734456]], dtype=float32)",
        ["--b", "array([[0., 0., 0.],\n       [0., 0., 0.]], dtype=float32)"],
    ),
    "as print shows them": (
        "[[-0.90954137  1.0425225  -0.04404902]]",
        "[[0.24168766 0.8981342  0.36734456]]",
        [],
    ),
    "by order instead of dialect": (KERNEL, RECURRENT, ["--order", "zrn"]),
    "by order with commas": (KERNEL, RECURRENT, ["--order", "z, r, n"]),
}


@pytest.mark.parametrize(("kernel", "recurrent", "more"), PASTED.values(), ids=PASTED)
def test_the_posted_case_may_be_pasted_in_other_ways(
    kernel: str, recurrent: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    layout = [] if "--order" in more else ["--dialect", "keras"]
    words = ["gru", *layout, "--W", kernel, "--U", recurrent, "--x", "[1, 2, 9, 8]", *more]
    code, out, err = explain(capsys, *words)
    assert (code, err) == (0, "")
    assert last_state(out) == "last state: h = -0.46280"


def test_the_worksheet_ends_with_what_other_readings_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = explain(capsys, *POSTED)
    tail = out.partition("read otherwise")[2]
    assert "-0.02017    gates read in the order r, z, n (torch, flax_nnx, equinox)" in tail
    assert "-0.02400    z the other way round: (1 - z) * h + z * n" in tail
    assert "-0.46280    the reset before the product (the same here)" in tail
    assert "(the same here)" in tail


@pytest.mark.parametrize("known", ["cho2014", "chung2014", "wikipedia", "d2l", "torch"])
def test_a_name_people_know_says_which_cell_it_is(
    known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (known, "--order", "zrn", "--W", KERNEL, "--U", RECURRENT, "--x", "1")
    code, out, _ = explain(capsys, *words)
    assert code == 0
    assert out.splitlines()[1].startswith(f"{known} is the cell gru")


USUAL = [one for one in DIALECTS if one.cell == CELLS[one.cell_name] and one.plain]


@pytest.mark.parametrize("record", USUAL, ids=lambda s: f"{s.name}-{s.cell_name}")
def test_every_dialect_can_be_explained(record: object, capsys: pytest.CaptureFixture[str]) -> None:
    cell, dialect = getattr(record, "cell_name", ""), getattr(record, "name", "")
    gates = {"lstm": 4, "rnn": 1, "rnn_relu": 1}.get(cell, 3)
    numbers = " ".join(str(0.1 * k) for k in range(1, gates + 1))
    words = [cell, "--dialect", dialect, "--W", numbers, "--U", numbers, "--x", "1 2"]
    if not getattr(record, "order", ()):
        words += ["--order", "ifgo" if cell == "lstm" else "zrn"]
    code, out, err = explain(capsys, *words)
    assert (code, err) == (0, "")
    assert getattr(record, "title", "?") in out.replace("\n  ", " ")


X = {
    ("1 2 9 8", "1 2 3", "4 5 6"): "x: 4 steps of 1 feature",
    ("7", "1 2 3", "4 5 6"): "x: 1 step of 1 feature",
    ("1 2; 9 8", "1 2 3 4 5 6", "4 5 6"): "x: 2 steps of 2 features",
    ("1 2 9 8", "1 2 3 4 5 6", "4 5 6"): "x: 2 steps of 2 features",
    ("[[1, 2, 9, 8]]", "1 2 3 4 5 6 7 8 9 10 11 12", "4 5 6"): "x: 1 step of 4 features",
}


@pytest.mark.parametrize(("given", "first"), X.items(), ids=X.values())
def test_the_first_line_says_how_x_was_read(
    given: tuple[str, str, str], first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    x, w, u = given
    code, out, _ = explain(capsys, "gru", "--dialect", "keras", "--W", w, "--U", u, "--x", x)
    assert code == 0
    assert out.splitlines()[0] == first


def test_both_biases_of_keras_may_come_in_one_or_in_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["gru", "--dialect", "keras", "--W", KERNEL, "--U", RECURRENT, "--x", "1 2"]
    together = explain(capsys, *words, "--b", "0.1 0.2 0.3; 0.4 0.5 0.6")[1]
    apart = explain(capsys, *words, "--b", "0.1 0.2 0.3", "--b-inner", "0.4 0.5 0.6")[1]
    inner = explain(
        capsys, *POSTED[:1], *words[3:], "--order", "zrn", "--b", "0.5 0.7 0.3", "--b-inner", "0.6"
    )[1]
    assert together == apart
    assert last_state(together) == last_state(inner)
    assert last_state(together) != last_state(explain(capsys, *words)[1])


def test_an_lstm_takes_a_row_for_each_state(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lstm", "--dialect", "torch", "--W", "1 2 3 4", "--U", "1 2 3 4", "--x", "1"]
    code, out, _ = explain(capsys, *words, "--h0", "0.5; 0.25")
    assert code == 0
    assert "step 1 of 1: x = 1, h = 0.5, c = 0.25" in out.splitlines()


MGU = """
from grus.equations import *

class Mgu(Cell):
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n

class Projected(Cell):
    c_next = tanh(W.c @ x + U.c @ h)
    h_next = V.h @ c_next
"""


def test_a_cell_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MGU)
    words = [f"{file}:Mgu", "--order", "fn", "--W", "0.5 0.25", "--U", "1 2", "--x", "1 2"]
    code, out, err = explain(capsys, *words)
    assert (code, err) == (0, "")
    assert "f: near 1 it takes the new state" in out
    assert "    = sigmoid(0.5 * 1 + 1 * 0 + 0)" in out.splitlines()


def test_other_families_come_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MGU)
    words = [f"{file}:Projected", "--order", "c", "--gates-in", "rows", "--x", "1"]
    words += ["--W", "1; 2", "--U", "3; 4", "--weight", "V=5 6"]
    code, out, err = explain(capsys, *words)
    assert (code, err) == (0, "")
    assert last_state(out).startswith(f"last state: h = {5 * tanh(1) + 6 * tanh(2):.5f}, c = ")


def test_single_gates_need_neither_dialect_nor_order(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [*KERNEL.split(", "), *RECURRENT.split(", ")]
    names = ["W.z", "W.r", "W.n", "U.z", "U.r", "U.n"]
    words = [w for name, n in zip(names, numbers, strict=True) for w in ("--weight", f"{name}={n}")]
    code, out, err = explain(capsys, "gru", *words, "--x", "1 2 9 8")
    assert (code, err) == (0, "")
    assert last_state(out) == "last state: h = -0.46280"


def test_a_dialect_s_name_says_whose_the_weights_are(capsys: pytest.CaptureFixture[str]) -> None:
    pasted = ["--W", KERNEL, "--U", RECURRENT, "--x", "1,2,9,8"]
    assert explain(capsys, "keras", *pasted) == explain(capsys, *POSTED)
    code, out, _ = explain(capsys, "Keras", "--order", "rzn", "--gates-in", "columns", *pasted)
    assert code == 0
    assert "Keras 3" not in out


def test_digits_are_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    assert last_state(explain(capsys, *POSTED, "--digits", "8")[1]).endswith("-0.46279538")


WRONG = {
    "no layout": (
        ["gru", "--W", "1 2 3", "--U", "1 2 3", "--x", "1"],
        r"never read in a default order, and cell gru has the gates r, z, n; .*"
        r"--dialect keras \(z r n, in columns\), --dialect torch \(r z n, in rows\).*--order zrn",
    ),
    "no layout, though the cell has a name that people know": (
        ["cho2014", "--W", "1 2 3", "--U", "1 2 3", "--x", "1"],
        "never read in a default order",
    ),
    "no layout, for one gate": (
        ["rnn", "--W", "1", "--U", "1", "--x", "1"],
        "never read in a default order",
    ),
    "no such cell": (
        ["gruu", "--x", "1"],
        r"no cell is called .gruu. \(did you mean gru\?\); cells: gru, ",
    ),
    "no such file": (["mine.py:Mgu", "--x", "1"], "there is no file 'mine.py'"),
    "no such dialect": (
        ["gru", "--dialect", "nosuch", "--x", "1"],
        "no dialect is called 'nosuch'; there are keras, torch",
    ),
    "dialect of other cells": (
        ["gru", "--dialect", "haiku", "--x", "1"],
        "dialect haiku does not spell the cell gru; it spells gru_reset_before_admit",
    ),
    "dialect of single tensors": (
        ["d2l", "--dialect", "d2l", "--W", "1 2 3", "--U", "1 2 3", "--x", "1"],
        r"keeps a tensor for each gate: give them one by one \(--weight W.z=...\)",
    ),
    "order against dialect": (
        [*TOLD, "--order", "zrn", "--x", "1"],
        "--order zrn contradicts --dialect torch, which packs the gates in the order r z n",
    ),
    "side against dialect": (
        [*TOLD, "--gates-in", "columns", "--x", "1"],
        "--gates-in columns contradicts --dialect torch, which has the gates in the rows",
    ),
    "order incomplete": (
        ["gru", "--order", "zr", "--W", "1 2 3", "--U", "1 2 3", "--x", "1"],
        "the order z r has no n",
    ),
    "order of other gates": (
        ["gru", "--order", "ifgo", "--W", "1 2 3", "--U", "1 2 3", "--x", "1"],
        "order: cell gru has no gate i; its gates are r, z, n",
    ),
    "side not told": (
        ["gru", "--order", "zrn", "--W", "1 2 3 4 5 6", "--U", "1 2 3", "--x", "1 2"],
        "say --gates-in rows or --gates-in columns",
    ),
    "W missing": (["gru", "--order", "zrn", "--x", "1"], "needs the weights W, U too"),
    "W is no numbers": (
        ["gru", "--dialect", "keras", "--W", "kernel", "--U", "1 2 3", "--x", "1"],
        "--W: 'kernel' is not a number",
    ),
    "W is code": (
        ["gru", "--dialect", "keras", "--W", "__import__('os')", "--U", "1 2 3", "--x", "1"],
        "--W: '__import__' is not a number",
    ),
    "W of the other side": (
        ["gru", "--dialect", "keras", "--W", "1; 2; 3", "--U", "1 2 3", "--x", "1"],
        r"W of shape \(3, 1\) does not hold 3 gates of one size in its columns",
    ),
    "U not square": (
        ["gru", "--dialect", "keras", "--W", "1 2 3", "--U", "1 2 3 4", "--x", "1"],
        "U has 4 numbers, which are not 3 square blocks",
    ),
    "b too short": ([*TOLD, "--b", "1 2", "--x", "1"], "the bias b has 2 numbers, wanted 3 x 1"),
    "b-inner for one bias": (
        [
            *("gru_reset_before", "--dialect", "keras", "--W", "1 2 3", "--U", "1 2 3"),
            *("--b-inner", "1 2 3", "--x", "1"),
        ],
        "this layout has one bias",
    ),
    "h0 too long": ([*TOLD, "--h0", "1 2", "--x", "1"], "--h0: 2 numbers .*, wanted 1 for h$"),
    "h0 of one state": (
        ["lstm", "--dialect", "torch", "--W", "1 2 3 4", "--U", "1 2 3 4", "--h0", "1", "--x", "1"],
        "--h0: 1 numbers? .*, wanted 1 for h and 1 for c$",
    ),
    "h0 is no numbers": ([*TOLD, "--h0", "nan", "--x", "1"], "--h0: nan is not a finite number"),
    "x is no numbers": ([*TOLD, "--x", "one"], "--x: 'one' is not a number"),
    "x is empty": ([*TOLD, "--x", ""], "--x: there are no numbers in it"),
    "x does not divide": (
        ["gru", "--dialect", "keras", "--W", "1 2 3 4 5 6", "--U", "1 2 3", "--x", "1 2 9"],
        "--x: 3 numbers do not make whole steps: the weights are for 2 features a step",
    ),
    "x of wide rows": ([*TOLD, "--x", "1 2; 9 8"], "--x: 2 rows of 2, but a row is one step"),
    "x with a batch": ([*TOLD, "--x", "[[[1], [2]]]"], r"--x: an array of shape \(1, 2, 1\)"),
    "weight without name": ([*TOLD, "--weight", "1 2", "--x", "1"], "--weight takes FAMILY=TEXT"),
    "weight of odd name": ([*TOLD, "--weight", "a b=1", "--x", "1"], "--weight takes FAMILY=TEXT"),
    "weight twice": ([*TOLD, "--weight", "W=1 2 3", "--x", "1"], "W is given twice"),
    "weight unknown": ([*TOLD, "--weight", "Q=1", "--x", "1"], "cell gru has no weight Q"),
    "too large": (
        ["rnn_relu", "--order", "h", "--W", "1e300", "--U", "1e300", "--x", "1 2 3"],
        "step 2: h_next is not finite",
    ),
    "too long": (
        [*TOLD, "--x", "1 " * 9999, "--steps", ":"],
        "more than 20000; choose fewer steps",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = explain(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("grus: ")
    assert err.count("\n") == 1
    assert re.search(message, err.removesuffix("\n"))


@pytest.mark.parametrize(
    "words",
    [["gru"], [], [*TOLD, "--x", "1", "--format", "pdf"], [*TOLD, "--x", "1", "--digits", "0"]],
)
def test_a_wrong_command_line_is_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = explain(capsys, *words)
    assert (code, out) == (2, "")
    assert err


def test_it_imports_no_torch() -> None:
    code = (
        f"import sys; sys.argv = ['grus', 'explain', *{POSTED!r}]\n"
        "from grus.cli.main import run\n"
        "try:\n    run()\n"
        "finally:\n    print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
