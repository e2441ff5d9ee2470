"""`grus build` and `grus quantize` as a person meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from grus.cli.main import run  # noqa: E402
from small_run import finish, start  # noqa: E402

pytestmark = pytest.mark.torch


def grus(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A state dict of a GRU and a linear layer."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"gru": torch.nn.GRU(2, 4), "head": torch.nn.Linear(4, 1)})
    torch.save(model.state_dict(), tmp_path / "My Net-2.pt")
    return tmp_path / "My Net-2.pt"


def test_it_writes_files_and_says_what_they_take(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files are called as the source is, in letters that C has; built again, they are the same."""
    code, out, err = grus(capsys, "build", weights, "--out", tmp_path / "c")
    assert (code, err) == (0, "")
    files = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    assert sorted(files) == ["my_net_2.c", "my_net_2.h", "my_net_2_test.c"]
    assert f"my_net_2.h: {len(files['my_net_2.h']):,} bytes" in out
    assert "multiply-adds a step: 76;" in out  # 3 * 4 * (2 + 4) + 4
    assert grus(capsys, "build", weights, "--out", tmp_path / "c")[0] == 0
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}


def test_int8_takes_its_range_from_data(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bound and what was seen on the data are printed."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 2)))
    words = ("build", weights, "--out", tmp_path / "c", "--weights", "int8")
    code, out, _ = grus(capsys, *words, "--data", tmp_path / "x.npy")
    assert code == 0
    assert "int8: a sum of products is at most" in out
    assert "outputs on the data are at most" in out
    code, _, err = grus(capsys, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert "int8 needs the size of the largest number" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "rust"), "--target"),
        (("--target", "object"), "an object is for one processor"),
        (("--bits", "mmx"), "bits must be those of"),
        (("--weights", "int4"), "--weights"),
        (("--data", "absent.npy", "--weights", "int8"), "absent.npy not found"),
        (("--name", "9"), "must be a letter"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    words: tuple[str, ...],
    message: str,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2."""
    code, out, err = grus(capsys, "build", weights, "--out", tmp_path / "c", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "c").exists()


def test_a_run_is_built_and_what_int8_costs_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bits of each next character, of the float32 and of the int8 model."""
    finish(start(tmp_path))
    folder = tmp_path / "run"
    assert grus(capsys, "build", folder, "--out", tmp_path / "c", "--weights", "int8")[0] == 0
    text = tmp_path / "text.txt"
    text.write_text("the quick dog jumps over the lazy fox. " * 10)
    code, out, err = grus(capsys, "quantize", folder, "--data", text)
    assert (code, err) == (0, "")
    bits = [float(line.split()[1]) for line in out.splitlines()[1:3]]
    assert abs(bits[1] / bits[0] - 1) < 0.005
    sizes = [int(line.split()[-1].replace(",", "")) for line in out.splitlines()[1:3]]
    assert sizes[1] < sizes[0]
    text.write_text("ж")
    code, _, err = grus(capsys, "quantize", folder, "--data", text)
    assert (code, err) == (2, "grus: the model has no 'ж'\n")
