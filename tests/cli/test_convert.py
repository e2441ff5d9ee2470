"""`grus convert` as a person meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grus.cli.main import run
from grus.dialects import find
from grus.files import npz, safetensors_file, torch_file
from grus.files.formats import load

RNG = np.random.default_rng(3)


def layer(
    path: str = "", hidden: int = 4, gates: int = 3, inner: float = 1.0
) -> dict[str, np.ndarray]:
    """One layer as PyTorch names it; ``inner`` scales the inner bias."""
    rows = gates * hidden
    found = {
        "weight_ih_l0": RNG.normal(size=(rows, 3)), "weight_hh_l0": RNG.normal(size=(rows, hidden)),
        "bias_ih_l0": RNG.normal(size=rows), "bias_hh_l0": RNG.normal(size=rows),
    }  # fmt: skip
    found["bias_hh_l0"][-hidden:] *= inner
    return {f"{path}{name}": array.astype("f4") for name, array in found.items()}


def grus(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "convert", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def refused(capsys: pytest.CaptureFixture[str], out: Path, *words: object) -> str:
    """What it says, in one line, when it writes nothing."""
    code, printed, err = grus(capsys, *words)
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert not out.exists()
    return err


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A .pt file with an encoder, a decoder, a head and a number that is no tensor."""
    path = tmp_path / "model.pt"
    tensors = layer("encoder.gru.") | layer("decoder.gru.")
    path.write_bytes(torch_file.content(tensors | {"head.weight": np.ones((2, 4), "f4")}))
    return path


def test_a_layer_becomes_another_dialect_and_everything_is_said(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    code, said, err = grus(capsys, checkpoint, out, "--to", "equinox", "--layer", "encoder.gru")
    assert (code, err) == (0, "")
    assert "encoder.gru: PyTorch nn.GRU" in said
    assert "cell gru, input 3, hidden 4, layers 1, directions 1" in said
    assert "becomes Equinox GRUCell" in said
    assert "  weight_hh [12, 4]" in said
    assert "note: two biases of r, z added into one" in said
    before = said[: said.index("becomes Equinox")]
    assert "left out: decoder.gru.weight_ih_l0 [12, 3]" in before
    assert "head.weight [2, 4]; the file has the recurrent layer alone" in before
    assert "both sides run on random input: largest difference " in said
    assert f"{out}: written, {out.stat().st_size:,} bytes" in said
    given = load(checkpoint).tensors
    found = load(out).tensors
    assert np.array_equal(found["bias_n"], given["encoder.gru.bias_hh_l0"][8:])
    bias = given["encoder.gru.bias_ih_l0"] + given["encoder.gru.bias_hh_l0"]
    assert np.array_equal(found["bias"][:8], bias[:8])


def test_a_head_is_said_before_what_an_optimizer_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    kept = {f"optimizer/vars/{k}": np.ones(3, "f4") for k in range(12)}
    kept |= {"optimizer_state.exp_avg.3": np.ones(3, "f4")}
    given.write_bytes(npz.content(kept | layer("gru.") | {"dense/kernel": np.ones((4, 1), "f4")}))
    code, said, _ = grus(capsys, given, out, "--to", "torch")
    lines = said.splitlines()
    assert code == 0
    assert lines[2] == "left out: dense/kernel [4, 1]; the file has the recurrent layer alone"
    (last,) = (line for line in lines if line.startswith("left out, of an optimizer"))
    assert last.endswith("and 1 more")


def test_a_layer_that_is_not_whole_is_refused_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    tensors = layer("gru.")
    given.write_bytes(npz.content(tensors | {"gru.weight_ch_l0": np.ones((12, 4), "f4")}))
    said = refused(capsys, out, given, out, "--to", "torch")
    assert (
        "the layer at gru: gru.weight_ch_l0 stands at the layer's path: no such tensor is known"
        in said
    )
    del tensors["gru.bias_hh_l0"]
    given.write_bytes(npz.content(tensors))
    said = refused(capsys, out, given, out, "--to", "torch")
    assert "the layer at gru: PyTorch nn.GRU: the tensor bias_hh_l0 is missing" in said


def test_several_layers_are_named_and_one_must_be_said(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.npz"
    said = refused(capsys, out, checkpoint, out, "--to", "torch")
    assert "has 2 recurrent layers: decoder.gru, encoder.gru; say which with --layer" in said
    said = refused(capsys, out, checkpoint, out, "--to", "torch", "--layer", "head")
    assert "no recurrent layer at 'head'; there are decoder.gru, encoder.gru" in said


def test_another_layer_can_be_asked_for_where_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    broken = {name: array for name, array in layer("a.").items() if "bias_hh" not in name}
    given.write_bytes(npz.content(broken | layer("b.")))
    words = (given, out, "--to", "torch")
    said = refused(capsys, out, *words)
    assert "the layer at a: PyTorch nn.GRU: the tensor bias_hh_l0 is missing" in said
    assert said.endswith("another can be converted without it: --layer b\n")
    assert "the layer at a: " in refused(capsys, out, *words, "--layer", "a")
    code, printed, _ = grus(capsys, *words, "--layer", "b")
    assert code == 0
    assert "left out: a.weight_ih_l0 [12, 3], a.weight_hh_l0 [12, 4], a.bias_ih_l0 [12];" in printed


def test_layers_given_one_after_the_other_are_stacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below, above = layer("below."), layer("above.")
    above["above.weight_ih_l0"] = RNG.normal(size=(12, 4)).astype("f4")
    given, out = tmp_path / "in.npz", tmp_path / "out.pt"
    given.write_bytes(npz.content(below | above))
    code, said, _ = grus(capsys, given, out, "--layer", "below", "--layer", "above")
    assert (code, "layers 2" in said) == (0, True)
    found = load(out).tensors
    for number, tensors in enumerate((below, above)):
        for name, array in tensors.items():
            own = name.split(".")[1].replace("l0", f"l{number}")
            assert np.array_equal(found[own], array)
    out.unlink()
    said = refused(capsys, out, given, out, "--layer", "above", "--layer", "below")
    assert "layer 1" in said


def test_what_shapes_do_not_tell_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    given.write_bytes(npz.content(layer(gates=1)))
    said = refused(capsys, out, given, out, "--to", "torch")
    assert "torch_rnn (PyTorch nn.RNN), torch_rnn_relu (PyTorch nn.RNN(relu))" in said
    code, said, _ = grus(capsys, given, out, "--to", "keras", "--from", "torch_rnn_relu")
    assert (code, "becomes Keras SimpleRNN(relu)" in said) == (0, True)


def test_what_the_target_cannot_hold_is_named_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    given.write_bytes(npz.content(layer()))
    said = refused(capsys, out, given, out, "--to", "flax_nnx")
    assert "no place for the inner bias d.n" in said
    assert "the nearest" in said
    assert "would be off by" in said
    said = refused(capsys, out, given, out, "--to", "haiku")
    assert "resets before the product, this network after it" in said
    given.write_bytes(npz.content(layer(inner=0.0)))
    code, said, _ = grus(capsys, given, out, "--to", "flax_nnx")
    assert (code, "becomes Flax nnx GRUCell" in said) == (0, True)


def test_the_target_must_be_said_where_the_ending_does_not(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in (".npz", ".safetensors"):
        out = tmp_path / f"out{ending}"
        said = refused(capsys, out, checkpoint, out, "--layer", "encoder.gru")
        assert "can hold any dialect; say which with --to" in said
    out = tmp_path / "out.h5"
    assert ".weights.h5" in refused(capsys, out, checkpoint, out)
    out = tmp_path / "out.npz"
    said = refused(capsys, out, checkpoint, out, "--to", "pytorch2000", "--layer", "encoder.gru")
    assert "no dialect is called 'pytorch2000'" in said
    said = refused(capsys, out, checkpoint, out, "--to", "torch", "--from", "haiku")
    assert "no recurrent layer that the dialect haiku reads; its tensors are encoder" in said


def test_the_input_is_never_written_to(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoint.read_bytes()
    code, _, err = grus(capsys, checkpoint, checkpoint, "--layer", "encoder.gru")
    assert (code, "inputs are never written to" in err) == (2, True)
    assert checkpoint.read_bytes() == before


def test_an_old_output_stays_where_the_new_one_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    given.write_bytes(npz.content(layer()))
    out.write_bytes(b"old")
    code, _, _ = grus(capsys, given, out, "--to", "haiku")
    assert (code, out.read_bytes()) == (2, b"old")
    code, _, _ = grus(capsys, given, out, "--to", "keras")
    assert code == 0
    assert set(load(out).tensors) == {"kernel", "recurrent_kernel", "bias"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npz"]


def test_metadata_of_our_own_make_from_needless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Haiku's and Sonnet's tensors have the same names and shapes; the metadata say whose."""
    given, out = tmp_path / "in.npz", tmp_path / "out.safetensors"
    given.write_bytes(npz.content(layer(gates=1)))
    assert grus(capsys, given, out, "--from", "torch_rnn_relu", "--to", "torch_rnn_relu")[0] == 0
    code, said, _ = grus(capsys, out, tmp_path / "last.npz", "--to", "onnx")
    assert (code, "ONNX RNN (relu)" in said) == (0, True)


def test_biases_that_add_up_to_infinity_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    tensors = layer() | {name: np.full(12, 3e38, "f4") for name in ("bias_ih_l0", "bias_hh_l0")}
    given.write_bytes(npz.content(tensors))
    said = refused(capsys, out, given, out, "--to", "equinox")
    assert "bias would hold infinity" in said


def test_hostile_words_are_one_printable_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.safetensors", tmp_path / "out.npz"
    names = {"\x1b[31m/kernel": np.ones((3, 12), "f4")}
    given.write_bytes(safetensors_file.content(names, {}))
    assert refused(capsys, out, given, out, "--to", "torch").strip().isprintable()
    given.write_bytes(b"\x1b[31m" * 100)
    assert refused(capsys, out, given, out, "--to", "torch").strip().isprintable()
    assert find("torch")
