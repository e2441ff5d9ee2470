"""`grus cells` as a person meets it."""

from __future__ import annotations

import json

import pytest

from grus.cli.main import run
from grus.cli.published_cells import PROPERTIES
from grus.equations import Cell
from grus.zoo import PUBLISHED


def grus(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "cells", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def names(out: str) -> list[str]:
    """The first column of the table."""
    lines = out.splitlines()
    return [line.split()[0] for line in lines[1 : lines.index("")]]


def test_all_are_listed_by_year(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = grus(capsys)
    assert code == 0
    assert set(names(out)) == set(PUBLISHED)
    years = [PUBLISHED[name].year for name in names(out)]
    assert years == sorted(years)
    assert f"{len(PUBLISHED)} cells" in out


def test_one_cell_is_told_with_equations_that_read_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = grus(capsys, "Min-GRU")
    block = out.split("\n\n")[1]
    assert Cell.parse(block) == PUBLISHED["min_gru"].cell
    assert "Were RNNs all we needed?" in out
    assert "a sequence is a scan" in out
    assert "as many inputs as units" in grus(capsys, "sru")[1]
    start = (
        "  starts at  W ~ normal(0.1), U ~ normal(0.1), b = 1, p.alpha = -3, p.beta = 3 (EdgeML,"
    )
    assert start in grus(capsys, "fast_rnn")[1]


def test_a_search_and_properties_narrow_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert names(grus(capsys, "--search", "BISTABLE")[1]) == ["brc", "nbrc"]
    scans = names(grus(capsys, "--property", "scan")[1])
    assert "min_gru" in scans
    assert "sru" not in scans
    both = names(grus(capsys, "--property", "diagonal", "--property", "several-states")[1])
    assert set(both) == {"indy_lstm", "unicornn"}
    assert names(grus(capsys, "--property", "normalised")[1]) == [
        "dreamer_gru",
        "dreamer_block_gru",
        "sligru",
    ]
    assert grus(capsys, "--search", "no such thing")[1] == "no cell is like that\n"


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads(grus(capsys, "--json")[1])
    assert [record["name"] for record in records if record["scan"]]
    (gru,) = json.loads(grus(capsys, "gru", "--json")[1])
    assert Cell.parse("\n".join(gru["equations"])) == PUBLISHED["gru"].cell
    assert gru["products_inside_the_loop"] == 3
    assert gru["weights"]["d"] == ["n"]
    assert set(gru["properties"]) <= set(PROPERTIES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("jannet",), "no published cell is called 'jannet' (did you mean janet?)"),
        (("--property", "fast"), "--property must be one of affine, diagonal"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = grus(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
