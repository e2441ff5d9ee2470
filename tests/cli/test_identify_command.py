"""`grus identify` as a person meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grus.cli.main import run
from grus.dialects import Network, find
from grus.worksheet.pasted_numbers import written_decimals

KERNEL = "[[-0.90954137, 1.0425225, -0.04404902]]"
RECURRENT = "[[0.24168766, 0.8981342, 0.36734456]]"
POSTED = ["--W", KERNEL, "--U", RECURRENT, "--x", "1, 2, 9, 8"]


def identify(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "identify", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_the_posted_case(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = identify(capsys, *POSTED, "--y", "0.9680257", "--mine", "-0.70691")
    assert (code, err) == (1, "")
    assert out.startswith("No dialect explains this example.")
    assert "  -0.46280  1.4     keras, keras_reset_before" in out
    assert "can never be positive" in out
    assert "-0.70691: this slip gives just that\n     all of x added up" in out


def test_what_keras_gives_is_keras(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = identify(capsys, *POSTED, "--y", "-0.46280")
    assert code == 0
    assert out.startswith("One function fits.\n\n  keras, keras_reset_before")
    # The zero at the end counts: with four decimals a chance hit has odds that are told.
    code, out, _ = identify(capsys, *POSTED, "--y", "-0.4628")
    assert code == 0
    said = "One function fits to the 4 decimals given.\n\n  keras, keras_reset_before"
    assert out.startswith(said)
    assert "The chance is 1 in 23 that so few digits fit by accident" in out
    code, out, _ = identify(capsys, *POSTED, "--y", "-0.46")
    assert code == 1
    assert out.startswith("Too few digits to tell.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(30)
    cell = find("torch").cell
    size = {"hidden": 3, "input": 2}
    weights = {f: rng.normal(size=cell.family_shape(f, size)) for f in cell.families}
    network = Network(cell, (({f: w.astype(np.float32) for f, w in weights.items()},),))
    x = rng.normal(size=(5, 2, 2)).astype(np.float32)
    tensors = find("torch").write(network)
    np.savez(tmp_path / "gru.npz", **{f"encoder.{name}": t for name, t in tensors.items()})
    np.save(tmp_path / "x.npy", x)
    h0 = rng.uniform(-1, 1, (1, 2, 3)).astype(np.float32)
    np.save(tmp_path / "h0.npy", h0[0])
    np.save(tmp_path / "y.npy", network.run(x, h0).output.astype(np.float32))
    return tmp_path


def files(folder: Path, y: str = "y.npy") -> list[str]:
    x, h0 = str(folder / "x.npy"), str(folder / "h0.npy")
    weights = [str(folder / "gru.npz"), "--layer", "encoder"]
    return [*weights, "--x", x, "--y", str(folder / y), "--h0", h0]


def test_a_file_and_an_example_in_files(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, err = identify(capsys, *files(folder))
    assert (code, err) == (0, "")
    assert "\n  torch, " in out


def test_mine_explains_a_result_of_a_file(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    with np.load(folder / "gru.npz") as held:
        tensors = {name.removeprefix("encoder."): held[name] for name in held.files}
    x, h0 = np.load(folder / "x.npy"), np.load(folder / "h0.npy")
    wrong = find("torch").read(tensors).run(x[-1:], h0[None]).state[0][0, 0]
    mine = " ".join(f"{value:.5f}" for value in wrong)
    code, out, _ = identify(capsys, *files(folder), "--mine", mine)
    assert code == 0
    assert "the last x alone: the state not carried" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "identify needs an example: --x and --y"),
        (["--x", "1", "--y", "2"], "identify needs weights"),
        ([*POSTED, "--y", "1.0", "gone.npz"], "not from both"),
        (["gone.npz", "--x", "1", "--y", "1"], "gone.npz not found"),
        (["gone.csv", "--x", "1", "--y", "1"], "a weight file ends in"),
        ([*POSTED, "--y", "gone.npy"], "--y: gone.npy not found"),
        ([*POSTED, "--y", "nan"], "--y: nan is not a finite number"),
        ([*POSTED, "--y", "0.5", "--mine", "x"], "--mine: 'x' is not a number"),
        ([*POSTED, "--y", "0.5", "--c0", "1"], "--c0 goes with --h0"),
        (["--W", "[[1, 2]", "--U", "[[1]]", "--x", "1", "--y", "1"], "--W: a bracket"),
        (["--W", "[[1, 2]]", "--U", "[[1]]", "--x", "1", "--y", "1"], "are no example of that"),
        (["--W", "[[1, 2]]", "--U", "[[1, 2]]", "--x", "1", "--y", "1"], "no known cell"),
    ],
)
def test_every_way_to_err_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, out, err = identify(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_layer_that_is_not_there_names_what_is(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, _, err = identify(
        capsys, str(folder / "gru.npz"), "--layer", "no", *POSTED[4:], "--y", "1"
    )
    assert code == 2
    assert "gru.npz has no layer no; it has encoder" in err


def test_the_one_recurrent_layer_of_a_file_is_found_among_other_tensors(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    with np.load(folder / "gru.npz") as held:
        tensors = {name: held[name] for name in held.files}
    others = {"embedding.weight": np.ones((4, 2), np.float32)}
    np.savez(folder / "gru.npz", **others, **tensors)
    words = files(folder)
    code, out, err = identify(capsys, words[0], *words[3:])  # no --layer
    assert (code, err) == (0, "")
    assert "\n  torch, " in out
    second = {name.replace("encoder", "decoder"): t for name, t in tensors.items()}
    np.savez(folder / "gru.npz", **others, **tensors, **second)
    code, _, err = identify(capsys, words[0], *words[3:])
    assert code == 2
    assert "has 2 recurrent layers; say --layer: decoder, encoder" in err


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"(lp0\nS'x'\n."])
def test_a_damaged_npy_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, content: bytes
) -> None:
    (folder / "bad.npy").write_bytes(content)
    code, out, err = identify(capsys, *files(folder, "bad.npy"))
    assert (code, out) == (2, "")
    assert "bad.npy is no .npy file" in err


def test_a_header_that_asks_for_more_than_the_file_has_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }"
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 80
    (folder / "bad.npy").write_bytes(content)
    code, _, err = identify(capsys, *files(folder, "bad.npy"))
    assert code == 2
    assert "bad.npy is no .npy file" in err


@pytest.mark.parametrize(
    ("text", "decimals"),
    [("1", 0), ("-0.46280", 5), ("[0.5, 0.25]", 2), ("1.5e-1", 2), ("2e3", 0), ("1 .125", 3)],
)
def test_written_decimals_are_counted(text: str, decimals: int) -> None:
    assert written_decimals(text) == decimals
