"""`grus explain` of a weight file and of a run: the numbers are the network's own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import cells
from grus.cli.main import run
from grus.dialects import Network, convert
from grus.equations import CELLS, Cell
from grus.files.formats import save
from grus.files.layers import ending
from grus.models import checkpoint, kept_run
from grus.worksheet.wording import vector
from small_run import PROSE, finish, start

X = "0.5 -1 0.25; 1 2 -0.5; 0 0.5 1"
STEPS = np.array([[0.5, -1, 0.25], [1, 2, -0.5], [0, 0.5, 1]])
ENDINGS = {".safetensors": "torch", ".npz": "torch", ".pt": "torch", ".weights.h5": "keras",
           ".keras": "keras", ".onnx": "onnx"}  # fmt: skip
NEEDS = {".weights.h5": "h5py", ".keras": "h5py", ".onnx": "onnx"}


def explain(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "explain", *words])
        with pytest.raises(SystemExit) as end:
            run()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def last(page: str) -> str:
    return next(line for line in page.splitlines() if line.startswith("last state: "))


def network(cell: Cell, hidden: int = 4) -> Network:
    rng = np.random.default_rng(5)
    sizes = {"input": 3, "hidden": hidden}
    weights = {
        f: rng.normal(0, 0.5, cell.family_shape(f, sizes)).astype("float32") for f in cell.families
    }
    return Network(cell, ((weights,),))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_read_and_ends_where_the_network_ends(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(ending, "numpy"))
    one, path = network(CELLS["gru"]), tmp_path / f"weights{ending}"
    save(path, convert(one, None, ENDINGS[ending]))
    words = [] if ending != ".npz" else ["--dialect", "torch"]
    code, out, err = explain(capsys, str(path), "--x", X, *words)
    assert (code, err) == (0, "")
    want = one.run(STEPS.astype("float32")[:, None], kernels=True).state[0][0, 0]
    assert last(out) == f"last state: h = {vector(want.tolist(), 5)}"
    assert "Values are those of the compiled kernels in float32" in out


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, torch.nn.LSTM]:
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 20, num_layers=2, bidirectional=True)
    path = tmp_path / "stack.safetensors"
    save_file({f"enc.{name}": w for name, w in layer.state_dict().items()}, path)
    return path, layer


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("layer", [1, 2])
def test_each_layer_and_direction_of_a_stack_ends_where_torchs_ends(
    stack: tuple[Path, torch.nn.LSTM],
    layer: int,
    direction: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, module = stack
    words = ["--layer", f"enc:{layer}", "--direction", direction, "--units", "2,20"]
    code, out, err = explain(capsys, str(path), "--x", X, *words, "--digits", "4")
    assert (code, err) == (0, "")
    with torch.no_grad():
        _, (h, _) = module(torch.tensor(STEPS, dtype=torch.float32)[:, None])
    row = h[2 * (layer - 1) + (direction == "backward"), 0].tolist()
    shown = out.split("\nlast state")[0].strip().splitlines()[-1].strip()
    # Two programs in float32 differ by a few parts in 2^24; four decimals may still round apart.
    assert float(shown.removeprefix("= ")) == pytest.approx(row[19], abs=0.6e-4)
    assert "h_next[2] =" in out
    assert "h_next[1] =" not in out


def test_a_stack_says_what_it_holds(
    stack: tuple[Path, torch.nn.LSTM], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = stack
    both = r"enc:1 \(lstm, 20 units, forward and backward\); enc:2 \(lstm, 20 units"
    for words, message in [
        ([], f"has 2 layers: {both}.*say which with --layer"),
        (["--layer", "enc:3"], f"no layer 'enc:3'; there are {both}"),
        (["--layer", "2", "--units", "21"], "--units: there is no 21; counted from 1, they go to"),
        (["--layer", "2", "--W", "1"], "holds weights; none are given beside it"),
        (["--layer", "2", "--speak", "torch"], ""),
        (["--layer", "2", "--speak", "haiku"], "is another kind"),
    ]:
        code, _, err = explain(capsys, str(path), "--x", X, *words)
        assert code == (2 if message else 0)
        assert re.search(message, err)


def test_one_direction_has_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.safetensors"
    save(path, convert(network(CELLS["gru"]), None, "torch"))
    code, _, err = explain(capsys, str(path), "--x", X, "--direction", "backward")
    assert code == 2
    assert "has one direction; leave --direction out" in err
    code, _, err = explain(capsys, str(path))
    assert code == 2
    assert "give the input with --x, or a text with --text for a run" in err


def test_many_units_are_shortened_and_said(
    stack: tuple[Path, torch.nn.LSTM], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = stack
    _, out, _ = explain(capsys, str(path), "--x", X, "--layer", "1")
    assert "units 1 to 4 of 20 are shown; --units chooses others" in out
    assert "i[4] = " in out
    assert "i[5] = " not in out
    assert re.search(r"\(U\.i @ h\)\[1\] = [^=]* \+ \.\.\.\s+\+ [^=]* = ", out)


MODELS: dict[str, dict[str, object]] = {
    "usual": {},
    "two layers": {"layers": 2},
    "one-hot": {"input": "onehot"},
    "float64": {"dtype": "float64"},
    "a cell of one's own": {"cell": cells.ALL_CELLS["layer_norm_gru"]},
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_run_reads_text_and_ends_where_its_model_ends(
    model: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(start(tmp_path, **model), after=1)
    runs_folder, text = tmp_path / "run", PROSE[:9]
    words = ["--layer", "2"] if "layers" in model else []
    code, out, err = explain(capsys, str(runs_folder), "--text", text, *words, "--steps", "2")
    assert (code, err) == (0, "")
    found = checkpoint.load(kept_run.find(runs_folder)).model()
    ids = torch.tensor(found.architecture.vocabulary.encode(text))[:, None]
    with torch.no_grad():
        _, state = found(ids)
    h = state[-1]
    assert isinstance(h, torch.Tensor)
    assert last(out) == f"last state: h = {vector(h[-1].reshape(-1).tolist(), 5)}"
    assert f"step 2 of 9 ({text[1]!r}): x = " in out
    assert "step 3 of 9" not in out
    assert f"compiled kernels in {model.get('dtype', 'float32')}" in out


def test_a_run_may_be_spoken_and_printed_for_paper(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(start(tmp_path), after=1)
    words = [str(tmp_path / "run"), "--text", "the fox", "--units", "1", "--format", "html"]
    code, out, err = explain(capsys, *words, "--speak", "lasagne")
    assert (code, err) == (0, "")
    assert out.startswith("<!DOCTYPE html>")
    assert "z admits instead of keeps: the weights of z negated" in out
    assert "<td>hidden_update[1]</td>" in out
    house = explain(capsys, *words)[1]
    ends = [re.findall(r'class="last">([^<]*)<', page) for page in (out, house)]
    assert ends[0] == ends[1] != []


def test_a_run_without_its_symbols_or_its_text_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(start(tmp_path), after=1)
    for words, message in [
        (["--text", "A"], "'A' is not in the model's vocabulary"),
        (["--text", ""], "--text is empty"),
        ([], "give the input with --x, or a text with --text"),
    ]:
        code, out, err = explain(capsys, str(tmp_path / "run"), *words)
        assert (code, out) == (2, "")
        assert message in err


def test_a_sheet_without_kernels_says_so_in_its_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.safetensors"
    save(path, convert(network(CELLS["gru"]), None, "torch"))
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    _, out, _ = explain(capsys, str(path), "--x", X)
    top = " ".join(out.split("step 1 of 3")[0].split())
    assert "the slow reference in float64, not the kernels (GRUS_BACKEND=reference" in top


def test_pasted_weights_may_be_spoken_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gru", "--dialect", "torch", "--W", "1 2 3", "--U", "0.4 0.5 0.6", "--x", "1 2"]
    code, out, err = explain(capsys, *words, "--speak", "lasagne")
    assert (code, err) == (0, "")
    assert last(out) == last(explain(capsys, *words)[1])
    z = next(line for line in out.splitlines() if line.startswith("    = sigmoid(-2 * 1"))
    assert z == "    = sigmoid(-2 * 1 + (-0.5) * 0 + 0)"
    code, _, err = explain(capsys, *words, "--speak", "nosuch")
    assert (code, err.startswith("grus: no dialect is called 'nosuch'")) == (2, True)


def test_a_changed_weight_prints_another_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = network(CELLS["gru"])
    turned = {f: np.roll(w, 4, axis=0) if f == "U" else w for f, w in one.layers[0][0].items()}
    pages = []
    for k, each in enumerate((one, replace(one, layers=((turned,),)))):
        path = tmp_path / f"{k}.safetensors"
        save(path, convert(each, None, "torch"))
        pages.append(last(explain(capsys, str(path), "--x", X)[1]))
    assert pages[0] != pages[1]


def test_a_layer_may_be_said_by_the_end_of_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each command that takes --layer; two that end so are told."""
    torch.manual_seed(0)
    names = ("enc.rnn", "dec.rnn", "dec.gru")
    tensors = {
        f"{path}.{name}": w.detach()
        for path in names
        for name, w in torch.nn.GRU(3, 2).state_dict().items()
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    _, whole, _ = explain(capsys, str(path), "--x", "1 2 3", "--layer", "dec.gru")
    assert explain(capsys, str(path), "--x", "1 2 3", "--layer", "gru") == (0, whole, "")
    code, _, err = explain(capsys, str(path), "--x", "1 2 3", "--layer", "rnn")
    assert (code, "say which with --layer" in err) == (2, True)
    assert ending("gru", names) == ["dec.gru"]
    assert ending("/enc.rnn", names) == ["enc.rnn"]
    assert ending("rnn", names) == ["enc.rnn", "dec.rnn"]
    assert ending("nn", names) == ending("", names) == []
