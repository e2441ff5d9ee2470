"""Labelled sequences: what strangers' files become, the numbers by hand, the network row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("polars")
pytest.importorskip("sklearn")

import polars as pl
import torch
from labelled_table import QUICK, columns
from numpy.testing import assert_allclose

from grus.equations import cell
from grus.errors import InputError
from grus.tasks import Fitted, Sizes, fit, plan, read
from grus.tasks.classify import Classify, _judged as judged_classes
from grus.tasks.labelled import Pooled, portions, scales_of, summary
from grus.tasks.regress import Regress
from grus.tasks.sequences import Sequences
from grus.tasks.tables import read_table, write_table

pytestmark = pytest.mark.torch
DATA = Path(__file__).parents[3] / "shared" / "data" / "japanese_vowels"


def from_csv(tmp_path: Path, text: str, name: str = "t.csv", **options: Any) -> Sequences:
    (tmp_path / name).write_text(text, "utf-8")
    return Classify(**options).read(tmp_path / name)


LONG = "sequence,step,a,b,label\nu,2,2,9,x\nv,1,5,,y\nu,1,1,8,x\nv,2,NA,7,y\n"


def test_a_long_table_is_ordered_by_its_time(tmp_path: Path) -> None:
    held = from_csv(tmp_path, LONG, time="step")
    assert (held.names, held.labels, held.channels) == (["u", "v"], ["x", "y"], ("a", "b"))
    nan = np.nan
    for values, wanted in zip(held.values, ([[1, 8], [2, 9]], [[5, nan], [nan, 7]]), strict=True):
        np.testing.assert_array_equal(values, np.array(wanted, np.float32))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_and_marks_of_text(tmp_path: Path, separator: str) -> None:
    text = "\ufeff" + LONG.replace(",", separator).replace("\n", "\r\n").replace(
        "u" + separator, f'"u"{separator}'
    )
    held = from_csv(tmp_path, text, time="step")
    assert held.names == ["u", "v"]
    assert held.channels == ("a", "b")


def test_utf_16_and_emoji(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("sequence,a,label\n🎵,1,🙂\nß,2,été\n".encode("utf-16"))
    held = Classify().read(tmp_path / "t.csv")
    assert (held.names, held.labels) == (["🎵", "ß"], ["🙂", "été"])


def test_a_wide_table_ends_where_its_values_do(tmp_path: Path) -> None:
    held = from_csv(tmp_path, "t0,t1,t2,label\n1,2,3,x\n4,,\u0020,y\n,5,,x\n")
    assert [v[:, 0].tolist() for v in held.values][:2] == [[1.0, 2.0, 3.0], [4.0]]
    np.testing.assert_array_equal(held.values[2][:, 0], np.array([np.nan, 5], np.float32))


def test_parquet_json_lines_and_folders_say_the_same(tmp_path: Path) -> None:
    frame = pl.DataFrame(columns(20))
    for kind in ("csv", "parquet", "jsonl"):
        write_table(frame, tmp_path / f"t.{kind}")
    (tmp_path / "folder").mkdir()
    for k in range(2):
        write_table(frame[k * 50 : (k + 1) * 50 if k == 0 else None], tmp_path / f"folder/{k}.csv")
    read_back = [read_table(tmp_path / p) for p in ("t.csv", "t.parquet", "t.jsonl", "folder")]
    for other in read_back:
        assert other.select("sequence", "a", "label").equals(frame.select("sequence", "a", "label"))


REFUSED: dict[str, tuple[str, str]] = {
    "no number": ("sequence,a,label\nu,1,x\nu,1o,x\n", "row 2, column 'a': '1o' is not a number"),
    "a decimal comma": ("sequence;a;label\nu;1,5;x\nu;2,5;x\n", "row 1, column 'a': '1,5' is not"),
    "infinite": ("sequence,a,label\nu,1,x\nu,inf,x\n", "row 2, column 'a': a number is infinite"),
    "a name missing": ("sequence,a,label\nu,1,x\n,1,x\n", "row 2 has no 'sequence'"),
    "a label missing": ("sequence,a,label\nu,1,x\nv,1,\n", "the sequence v has no 'label'"),
    "two labels": ("sequence,a,label\nu,1,x\nu,2,y\n", "the sequence u has two of label: 'x', 'y'"),
    "no label": ("sequence,a\nu,1\n", "there is no column 'label' for --label; the table has"),
    "no channel": ("sequence,label\nu,x\n", "the table has no column but sequence, label"),
    "an empty row": ("a,b,label\n1,2,x\n,,y\n", "row 2 holds no value at all"),
    "empty": ("", "is empty"),
    "a header alone": ("sequence,a,label\n", "holds no rows"),
    "a row too long": ("sequence,a,label\nu,1,x,5,6\n", "cannot be read as a table"),
    "bytes": ("sequence,a\0b,label\nu,1,x\n", "is no text: it holds bytes 0"),
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        from_csv(tmp_path, text)
    assert sentence in str(raised.value)
    assert str(tmp_path / "t.csv") in str(raised.value)


FILES: dict[str, tuple[str, bytes, str]] = {
    "another ending": ("t.xlsx", b"PK", "is not a table: its name ends with none of"),
    "a torn Parquet file": ("t.parquet", b"PAR1abc", "cannot be read as a table"),
    "torn JSON": ("t.jsonl", b'{"a": 1}\n{"a"', "cannot be read as a table"),
    "no text": ("t.csv", "a,é\n1,2\n".encode("latin-1"), "is not UTF-8"),
    "half a letter": ("t.csv", "\ufeffa,b".encode("utf-16-le") + b"\0", "is not UTF-16"),
    "a .ts file without data": ("t.ts", b"@data\n", "holds no sequences"),
    "a .ts file without labels": ("t.ts", b"@classLabel false\n@data\n1,2\n", "no class labels"),
    "a .ts value": ("t.ts", b"@classLabel true\n@data\n1,x:a\n", "line 3, channel 1: 'x' is not a"),
    "a .ts row": ("t.ts", b"@classLabel true\n@data\n1,2:3:a\n", "channels have 1 and 2 steps"),
    "a .ts width": ("t.ts", b"@classLabel true\n@data\n1:a\n1:2:a\n", "have 1 and 2 channels"),
    "time stamps": ("t.ts", b"@timeStamps true\n@data\n(0,1):a\n", "time stamps"),
}


@pytest.mark.parametrize(("name", "content", "sentence"), FILES.values(), ids=FILES)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        Classify().read(tmp_path / name)
    assert sentence in str(raised.value)


def test_there_is_no_file_or_none_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        Classify().read(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="holds no file"):
        Classify().read(tmp_path)


def test_a_frame_without_rows_is_a_sentence() -> None:
    fitted = fit("classify", columns(), **QUICK)
    for empty in (pl.DataFrame({"sequence": [], "a": [], "b": []}), {"sequence": [], "a": []}):
        with pytest.raises(InputError, match="the table holds no rows"):
            fitted.predict(empty)


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    rows = columns(20)
    rows["label"] = ["up"] * len(rows["a"])
    with pytest.raises(InputError, match="two classes or more are needed, all labels are 'up'"):
        fit("classify", rows, **QUICK)
    rows["slope"] = [2.5] * len(rows["a"])
    with pytest.raises(InputError, match=r"all targets are 2\.5: there is nothing to learn"):
        fit("regress", rows, **{**QUICK, "label": "slope"})
    with pytest.raises(InputError, match="the label of sequence s0, 'up', is not a number"):
        fit("regress", rows, **QUICK)


def test_a_class_of_the_test_data_alone_is_named(tmp_path: Path) -> None:
    other = columns(10, seed=2)
    other["label"] = ["sideways"] * len(other["a"])
    with pytest.raises(InputError, match="the class 'sideways' does not occur among the sequences"):
        fit("classify", columns(), test_data=other, **QUICK)


@pytest.mark.parametrize("column", ["empty", "constant"])
def test_a_column_without_news_does_no_harm(column: str) -> None:
    """A channel that is always missing, or always the same."""
    rows = columns()
    rows[column] = [None if column == "empty" else 7.5] * len(rows["a"])
    fitted = fit(
        "classify", pl.DataFrame(rows, strict=False), **{**QUICK, "channels": f"a,{column}"}
    )
    assert fitted.encoding.deviation[1] == 1.0
    assert math.isfinite(fitted.results[0].test["loss"])


def test_new_data_need_no_label_and_may_have_more(tmp_path: Path) -> None:
    fitted = fit("classify", columns(missing=True), **QUICK)
    new = columns(15, seed=3, missing=True)
    whole = fitted.predict(new)
    plain = {name: new[name] for name in ("b", "sequence", "a")}
    assert fitted.predict({"note": ["?"] * len(new["a"]), **plain}).equals(whole)
    assert whole.columns == ["sequence", "label", "probability", "p(down)", "p(up)"]
    assert whole["sequence"].to_list() == list(dict.fromkeys(new["sequence"]))
    assert_allclose(whole["p(down)"] + whole["p(up)"], 1.0, atol=1e-12)
    del plain["b"]
    with pytest.raises(InputError, match="there is no column 'b'"):
        fitted.predict(plain)


def test_a_row_s_answer_does_not_depend_on_the_others() -> None:
    """Alone, in any company, padded or not, but for the rounding of a mean over at most 8 steps and
    of a product of 6 numbers: 14 operations on outputs and weights below 1, a target's scale
    below 2."""
    fitted = fit("regress", columns(), **{**QUICK, "label": "slope", "pool": "mean"})
    new = fitted.task.read(columns(12, seed=5), fitted.encoding)
    with torch.no_grad():
        whole = fitted.task.answers(fitted.network, fitted.encoding, new)
        for k in range(len(new)):
            alone = fitted.task.answers(fitted.network, fitted.encoding, new.part([k]))
            assert_allclose(alone[0], whole[k], atol=14 * 2**-24 * 6 * 2)


@pytest.mark.parametrize("pool", ["last", "mean", "attention"])
@pytest.mark.parametrize("both", [False, True])
def test_pools_are_what_they_say(pool: str, both: bool) -> None:
    """Each row computed by itself, by the definition, from its own outputs."""
    torch.manual_seed(1)
    sizes = Sizes(cell("lstm"), hidden=5, layers=2)
    net = Pooled(sizes, 3, 2, pool, both, 0.0, torch.nn.functional.mse_loss).eval().double()
    lengths = torch.tensor([4, 1, 6])
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        answers = net(x, lengths)
        for k, length in enumerate(lengths.tolist()):
            y = net.recurrent(x[:length, k : k + 1])[0][:, 0]
            if pool == "last":
                row = torch.cat([y[-1, :5], y[0, 5:]]) if both else y[-1]
            elif pool == "mean":
                row = y.mean(0)
            else:
                score = (torch.tanh(y @ net.attention.weight.T + net.attention.bias)) @ (
                    net.focus.weight[0]
                )
                row = (torch.exp(score) / torch.exp(score).sum()) @ y
            assert_allclose(answers[k], net.linear.weight @ row + net.linear.bias, atol=1e-12)


def test_padding_reaches_no_gradient() -> None:
    net = Pooled(Sizes(cell("gru"), 4), 2, 1, "attention", False, 0.0, torch.nn.functional.mse_loss)
    x = torch.randn(5, 2, 2)
    x[3:, 0] = torch.nan
    net.loss((x, torch.tensor([3, 5])), torch.zeros(2, 1), None, None)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_numbers_of_classes_by_hand() -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6], [0.95, 0.05], [0.2, 0.8]])
    numbers = judged_classes(p, np.array([0, 0, 0, 1]))
    assert numbers["loss"] == pytest.approx(-np.log([0.7, 0.4, 0.95, 0.8]).mean())
    assert numbers["accuracy"] == 0.75
    assert numbers["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert numbers["f1"] == pytest.approx((2 * 2 / 5 + 2 / 3) / 2)  # 2 tp / (2 tp + fp + fn)
    assert numbers["calibration_error"] == pytest.approx((0.3 + 0.6 + 0.05 + 0.2) / 4)


def test_numbers_of_regression_by_hand() -> None:
    fitted = fit("regress", columns(), **{**QUICK, "label": "slope"})
    new = columns(9, seed=8)
    slopes = dict(zip(new["sequence"], new["slope"], strict=True))
    answers = dict(fitted.predict(new).rows())
    error = np.array([answers[name] - slopes[name] for name in slopes])
    truth = np.array(list(slopes.values()))
    numbers = fitted.measure(new)
    assert numbers["mae"] == pytest.approx(np.abs(error).mean())
    assert numbers["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert numbers["r2"] == pytest.approx(
        1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()
    )


def test_scales_and_summaries_leave_out_what_is_missing() -> None:
    values = [np.array([[1, np.nan], [3, 4]], np.float32), np.array([[5, 8]], np.float32)]
    scales = scales_of(values, ("a", "b"))
    assert scales["mean"] == (3.0, 6.0)
    assert scales["deviation"] == pytest.approx((math.sqrt(8 / 3), 2.0))
    assert scales["missing"] is True
    first = summary(values)[0]
    assert_allclose(first, [2, 4, 1, 0, 1, 4, 3, 4, 1, 4, 3, 4, 2])


def test_weights_of_classes_make_them_equal() -> None:
    """A class with a third of the examples weighs three times as much."""
    draw = np.random.default_rng(0)
    values = [draw.normal(size=(4, 1)).astype(np.float32) for _ in range(40)]
    labels = ["rare"] * 10 + ["often"] * 30
    data = Sequences(values, [str(k) for k in range(40)], ("a",), labels)
    task = Classify(balanced=True)
    encoding = task.learn(data)
    net = task.network(encoding, Sizes(cell("gru"), 4), 0.0)
    (x, y), *_ = task.batches(encoding, data, 40, None)
    scores = net(*x).detach()
    each = torch.nn.functional.cross_entropy(scores, y, reduction="none")
    means = [each[y == k].mean() for k in range(2)]
    assert net.loss(x, y, None, None)[0].item() == pytest.approx(float(sum(means)) / 2, rel=1e-5)


def test_parts_are_the_same_for_all_seeds_and_even_over_classes() -> None:
    chosen = plan("classify", {**QUICK, "seed": 5})
    parts = read(chosen.task, columns(100)).parts
    again = read(plan("classify", {**QUICK, "seed": 6}).task, columns(100)).parts
    assert parts.test.names == again.test.names
    named = [set(getattr(parts, p).names) for p in ("train", "validation", "test")]
    assert len(set.union(*named)) == sum(map(len, named)) == 100
    shares = [np.mean([x == "up" for x in getattr(parts, p).labels]) for p in vars(parts)]
    assert max(shares) - min(shares) <= 1 / 20 + 1e-9  # a part of 20 holds a class to half a row


def test_portions_hold_all_and_are_bounded() -> None:
    lengths = np.array([5, 1, 9, 2, 2, 7])
    parts = portions(lengths, 10)
    assert sorted(np.concatenate(parts).tolist()) == list(range(6))
    assert all(lengths[p].max() * len(p) <= 10 for p in parts)
    assert [len(p) for p in portions(np.array([30, 40]), 10)] == [1, 1]


def test_a_file_of_another_kind_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a table is written as"):
        write_table(pl.DataFrame({"a": [1]}), tmp_path / "t.xml")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_japanese_vowels() -> None:
    """Nine speakers, 270 sequences of 7 to 26 steps in 12 channels; most of a minute's accuracy."""
    options = {"both": True, "pool": "mean", "epochs": 25, "threads": 1}
    train = DATA / "JapaneseVowels_TRAIN.ts"
    fitted = fit("classify", train, test_data=DATA / "JapaneseVowels_TEST.ts", **options)
    assert fitted.results[0].examples == {"train": 243, "validation": 27, "test": 370}
    assert fitted.results[0].test["accuracy"] > 0.95
    assert fitted.results[0].baselines["nearest neighbour"]["accuracy"] == pytest.approx(355 / 370)


def test_there_is_no_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        Fitted.load(tmp_path)
    with pytest.raises(InputError, match="there is no such run"):
        Fitted.load(str(tmp_path / "absent"))


def test_regress_guesses_the_mean() -> None:
    task = Regress(label="slope", channels="a,b")
    data = task.read(columns())
    encoding = task.learn(data)
    y = task.targets(encoding, data)
    assert float((y**2).mean()) == pytest.approx(task.guess(encoding), rel=1e-5)
