"""`grus measure` and `grus flow` as a person meets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from grus.cli.main import run
from small_run import PROSE, SETTINGS, finish, start

TEXT = "the quick brown fox jumps over the lazy dog"


def grus(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_cells_side_by_side(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cells = "rnn,gru[r=1,z=0],lstm"
    code, out, err = grus(capsys, "flow", cells, "--lags", 20, "--hidden", 8)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["rnn", "gru[r=1,z=0]", "lstm"]
    code, out, _ = grus(capsys, "flow", cells, "--lags", 20, "--hidden", 8, "--json")
    flows = json.loads(out)["flows"]
    assert [len(flow["norms"]) for flow in flows] == [21, 21, 21]
    assert set(flows[2]["by_state"]) == {"h", "c"}
    pytest.importorskip("matplotlib")
    code, _, _ = grus(capsys, "flow", "gru", "--lags", 5, "--out", tmp_path / "flow.svg")
    assert code == 0
    assert "<svg" in (tmp_path / "flow.svg").read_text()


@pytest.mark.parametrize("name", ["gru", "keras", "gru[r=1]", "rnn,gru"])
def test_a_cell_is_meant_where_a_folder_has_its_name(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    code, out, err = grus(capsys, "flow", name, "--lags", 5, "--hidden", 4)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith(name.partition(",")[0])
    code, _, err = grus(capsys, "flow", name, "--lags", 5, "--text", "a")
    assert code == 2
    assert f"./{name} is a path" in err


@pytest.mark.torch
def test_a_run_is_measured_with_and_without_a_gate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    finish(start(tmp_path, layers=2))
    folder = tmp_path / "run"
    code, out, err = grus(capsys, "measure", folder, "--text", TEXT)
    assert (code, err) == (0, "")
    assert [line.split()[2] for line in out.splitlines()[1:7]] == ["r", "z", "h", "r", "z", "h"]
    assert "ln 2 / -mean(ln(z))" in out
    _, out, _ = grus(capsys, "measure", folder, "--text", TEXT, "--hold", "r=0,z=1")
    assert "no end" in out
    assert "12 of 12" in out
    (tmp_path / "page.txt").write_text(TEXT)
    _, out, _ = grus(capsys, "measure", folder, "--file", tmp_path / "page.txt", "--json")
    assert len(json.loads(out)["half_life"]["h"][1][0]) == 12
    _, out, _ = grus(capsys, "flow", folder, "--text", TEXT, "--lags", 10, "--hold", "z=0")
    assert out.splitlines()[1].startswith("gru_z0 layer 0")
    # A z of 1 lets nothing through to the layer below.
    shut = ("flow", folder, "--text", TEXT, "--lags", 10, "--hold", "z=1")
    code, out, _ = grus(capsys, *shut)
    assert code == 0
    assert out.splitlines()[1].split()[3:] == ["-", "-", "-", "none"]
    assert "none: nothing reaches the state" in out
    for option in ("--hidden", "--gain", "--seed", "--gate-bias"):
        value = "z=1" if option == "--gate-bias" else "1"
        code, _, err = grus(capsys, "flow", folder, "--text", TEXT, option, value)
        assert code == 2
        assert f"{option} is of cells with fresh weights" in err
    _, out, _ = grus(capsys, "trace", folder, "--text", TEXT, "--hold", "z=1")
    assert "cell gru_z1, 43 steps" in out
    pytest.importorskip("matplotlib")
    assert grus(capsys, *shut, "--out", tmp_path / "flow.svg")[0] == 0
    grus(capsys, "measure", folder, "--text", TEXT, "--out", tmp_path / "half.png")
    assert (tmp_path / "half.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.torch
def test_without_a_text_it_is_the_runs_own_held_out_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    finish(start(tmp_path))
    run, held_out = tmp_path / "run", PROSE[len(PROSE) - len(PROSE) // 10 :]
    for words in (("measure", run), ("flow", run, "--lags", 5)):
        code, out, err = grus(capsys, *words)
        assert (code, err) == (0, "")
        assert grus(capsys, *words, "--text", held_out)[1] == out
    grus(capsys, "trace", run, "--text", held_out, "--out", tmp_path / "t.npz")
    assert grus(capsys, "measure", tmp_path / "t.npz")[1] == grus(capsys, "measure", run)[1]
    code, _, err = grus(capsys, "flow", tmp_path / "t.npz")
    assert code == 2
    assert "has no weights: gradient flow needs the run" in err
    (tmp_path / "prose.txt").write_text(PROSE + "!")
    code, _, err = grus(capsys, "measure", run)
    assert code == 2
    assert "is not the text that" in err
    finish(start(tmp_path / "whole", replace(SETTINGS, holdout=0.0)))
    code, _, err = grus(capsys, "measure", tmp_path / "whole" / "run")
    assert code == 2
    assert "nothing was held out" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("flow", "gruu"), "no cell is called 'gruu'"),
        (("flow", "n" * 300), "no cell is called 'nnn"),
        (("flow", ""), "what to look at is missing"),
        (("flow", "gru", "--seed", "-1"), "seed must be at least 0, got -1"),
        (("flow", "gru", "--gain", "nan"), "gain must be a finite number, got nan"),
        (("flow", "gru", "--text", "a"), "there is no run at gru"),
        (("flow", "gru", "--gate-bias", "q=1"), "no cell of gru has a bias of a gate 'q'"),
        (("flow", "gru", "--gate-bias", "q"), "what is held is written r=1,z=0"),
        (("flow", "gru", "--lags", "0"), "must be at least 1"),
        (("flow", "gru", "--hold", "q=1"), "has no value 'q' to hold"),
        (("measure", "nowhere"), "there is no such run"),
        (("measure", "nowhere", "--text", "a", "--file", "b"), "give one of them"),
        (("measure", "nowhere", "--text", "a"), "nowhere"),
        (("measure", "nowhere", "--file", "missing.txt"), "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = grus(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
