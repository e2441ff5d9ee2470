"""`grus show` as a person meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diagrams import read
from grus.cli.main import run
from grus.cli.show_cell import STAGES
from grus.equations import CELLS, KNOWN_AS, Cell
from grus.gradients import backward


def grus(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.parametrize("stage", STAGES)
def test_every_cell_shows_every_stage(
    name: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = grus(capsys, "show", name, "--stage", stage)
    assert (code, err) == (0, "")
    assert out.endswith("\n")
    assert len(out.splitlines()) > 1


@pytest.mark.parametrize("name", sorted(CELLS))
def test_the_equations_shown_can_be_read_back(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = grus(capsys, "show", name)
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert Cell.parse("\n".join(lines)) == CELLS[name]


@pytest.mark.parametrize("known", sorted(KNOWN_AS))
def test_a_known_name_says_which_cell_it_is_and_why(
    known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = grus(capsys, "show", known)
    first, _, third = out.splitlines()[:3]
    assert first.startswith(f"{known} is the cell {KNOWN_AS[known].cell}: {KNOWN_AS[known].why}")
    assert third.startswith(f"{KNOWN_AS[known].cell}: ")
    _, out, err = grus(capsys, "show", known, "--stage", "latex")
    assert out.startswith("\\begin{aligned}")
    assert KNOWN_AS[known].why in err


def test_the_weights_table_names_gates_in_order_and_axes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = grus(capsys, "show", "gru")
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line}
    assert rows["W"].split("  ")[0] == "r, z, n"
    assert "[3 hidden, input]" in rows["W"]
    assert rows["d"].split() == ["n", "[hidden]", "[hidden]"]


def test_the_gradient_is_the_derived_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = grus(capsys, "show", "gru", "--stage", "gradient")
    back = backward(CELLS["gru"])
    for line in str(back.cell).splitlines():
        assert f"  {line}\n" in out
    assert "  dU.n = sum d_m ⊗ h\n" in out
    assert "  db.n = sum a_n\n" in out
    assert "kept from the forward step: " + ", ".join(back.saved) in out
    assert out.count(" = sum ") == len({t.weight for t in back.weights})


def test_the_gradient_shows_what_was_named_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = grus(capsys, "show", "gru_reset_before", "--stage", "gradient")
    assert "  r_h = r * h\n" in out
    assert "  dU.n = sum a_n ⊗ r_h\n" in out


def test_costs_follow_the_sizes_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--input", "3", "--hidden", "5", "--batch", "2", "--steps", "7", "--dtype", "float64"]
    _, out, _ = grus(capsys, "show", "rnn", "--stage", "cost", *words)
    assert "input 3, hidden 5, batch 2, 7 steps, float64" in out
    parameters = 5 * 3 + 5 * 5 + 5
    assert f"{parameters} " in out
    assert f"{8 * parameters} bytes" in out


def test_a_file_of_ones_own_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from grus.equations import *\n"
        "class Mgu(Cell):\n"
        "    f = sigmoid(W.f @ x + U.f @ h + b.f)\n"
        "    n = tanh(W.n @ x + U.n @ (f * h) + b.n)\n"
        "    h_next = (1 - f) * h + f * n\n"
    )
    code, out, _ = grus(capsys, "show", f"{file}:Mgu", "--stage", "diagram")
    assert code == 0
    assert len(read(out).shapes) > 10


def test_out_writes_the_file_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gru.svg"
    code, out, _ = grus(capsys, "show", "gru", "--stage", "diagram", "--out", str(file))
    assert (code, out) == (0, "")
    assert read(file.read_text("utf-8")).shapes
    assert [p.name for p in tmp_path.iterdir()] == ["gru.svg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "no cell is called 'nope'"),
        (["gru", "--stage", "picture"], "--stage must be one of equations, latex"),
        (["gru", "--stage", "cost", "--hidden", "-1"], "hidden must be at least 1, got -1"),
        (["gru", "--stage", "cost", "--batch", "0"], "batch must be at least 1, got 0"),
        (["gru", "--stage", "cost", "--dtype", "int8"], "--dtype must be one of"),
        (["gru", "--backward"], "--backward is for plan, loops, llvm, asm, not for equations"),
        (["gru", "--out", "missing/gru.txt"], "--out must be a file in a folder that exists"),
        (["missing.py:Mgu"], "there is no file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = grus(capsys, "show", *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_forward_and_backward_kernels_differ(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("plan", "llvm", "asm"):
        _, forward, _ = grus(capsys, "show", "gru", "--stage", stage)
        _, backwards, _ = grus(capsys, "show", "gru", "--stage", stage, "--backward")
        assert forward != backwards
