"""`grus search` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

from grus.cli.main import run
from grus.equations import cell as find_cell

SMALL = (
    *("--task", "adding", "--lag", "4", "--hidden", "4", "--batch", "8", "--threads", "1"),
    *("--steps", "40", "--cells", "5", "--finalists", "1", "--seeds", "2"),
)


def grus(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "search", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_a_search_ends_with_a_leaderboard_a_verdict_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"
    code, out, err = grus(capsys, *SMALL, "--out", str(folder))
    assert (code, err) == (0, "")
    assert "5 cells tried in" in out
    assert "no cell that was found beats the GRU beyond the spread of the seeds" in out
    board = json.loads((folder / "leaderboard.json").read_text("utf-8"))
    assert {record["name"] for record in board} == {"gru", "gru_reset_before", "lstm", "rnn", "c4"}
    best = find_cell(f"{folder / 'best.py'}:Best")
    assert str(best).splitlines() in [record["cell"] for record in board]
    again = grus(capsys, *SMALL, "--cells", "3", "--finalists", "0", "--out", str(folder))[1]
    assert "5 cells tried in" in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a text FILE or --task, one of the two"),
        (("--task", "adding", "--budget", "soon"), "--budget must look like 90s, 30m or 2h"),
        (("--task", "adding", "--budget", "0m"), "--budget must look like 90s, 30m or 2h"),
        (("--task", "adding", "--cells", "0"), "--cells must be at least 1, got 0"),
        (("--task", "chess"), "--task must be one of adding, copy"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_nothing_is_written(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"
    code, out, err = grus(capsys, *words, "--out", str(folder))
    assert (code, out) == (2, "")
    assert message in err
    assert not folder.exists()
