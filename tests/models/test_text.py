"""Text: what is read, what is refused, how it becomes numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from grus.errors import InputError
from grus.models.corpus import Source, Vocabulary, read


def write(folder: Path, content: bytes, name: str = "some.txt") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def decoded(source: Source) -> str:
    text = read(source)
    return "".join(text.vocabulary.symbols[k] for k in text.ids)


def test_a_text_comes_back_from_its_numbers(tmp_path: Path) -> None:
    prose = "Zwölf Boxkämpfer — 日本\r\nand\ttabs 😀"
    assert decoded(Source(write(tmp_path, prose.encode()))) == prose


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    assert decoded(Source(write(tmp_path, b"\xef\xbb\xbfabc"))) == "abc"


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_text_of_another_encoding_is_the_same_text(name: str, tmp_path: Path) -> None:
    """Windows' editors save UTF-16; with a byte order mark (utf-16, utf-32) or without."""
    prose = "Zwölf Boxkämpfer — 日本\r\nand\ttabs 😀" * 3
    assert decoded(Source(write(tmp_path, prose.encode(name)))) == prose


@pytest.mark.parametrize("raw", [b"\xff\xfea", b"\xfe\xff\xd8\x00\x00a"])
def test_damaged_utf_16_is_called_utf_16(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not UTF-16: byte"):
        read(Source(write(tmp_path, raw)))


def test_small_numbers_in_two_bytes_are_no_text(tmp_path: Path) -> None:
    raw = np.arange(300, dtype="<i2").tobytes()
    with pytest.raises(InputError, match="looks like a binary file"):
        read(Source(write(tmp_path, raw)))


@pytest.mark.parametrize("name", ["load.csv", "vowels.ts"])
def test_a_table_is_told_where_forecasts_are_made(name: str, tmp_path: Path) -> None:
    content = b"# comment\n@problemName X\n@data\n1,2:3" if name[-2:] == "ts" else b"a,b\n1,2\n"
    with pytest.raises(InputError, match=r"not prose.*Forecasts are made .*docs/recipes\.md"):
        read(Source(write(tmp_path, content, name)))
    for head in (b"@data\n1,2:3\n", b"#c\r\n@DATA \r\n1,2:3\r\n", b"@problemName X\n1,2:3\n"):
        with pytest.raises(InputError, match="looks like a set of time series, not prose"):
            read(Source(write(tmp_path, head, "vowels.ts")))
    for prose in (b"import x\n@dataclass\nclass A: ...\n", b"@Component({})\nexport class A {}\n"):
        assert decoded(Source(write(tmp_path, prose, "program.ts"))) == prose.decode()
    prose = b"let x: number = 1; // a program\n"
    assert decoded(Source(write(tmp_path, prose, "some.ts"))) == prose.decode()


@given(st.text(st.characters(codec="ascii"), min_size=1))
def test_letters_is_d2ls_normalisation_on_ascii(tmp_path_factory: object, prose: str) -> None:
    """d2l: re.sub('[^A-Za-z]+', ' ', text).lower()."""
    folder = tmp_path_factory.mktemp("text")  # type: ignore[attr-defined]
    source = Source(write(folder, prose.encode()), normalize="letters", as_text=True)
    assert decoded(source) == re.sub("[^A-Za-z]+", " ", prose).lower()


def test_letters_keeps_the_letters_of_other_languages(tmp_path: Path) -> None:
    file = write(tmp_path, "Ça_va, ÉTÉ 42!".encode())
    assert decoded(Source(file, normalize="letters")) == "ça va été "


def test_first_counts_after_normalising(tmp_path: Path) -> None:
    file = write(tmp_path, b"A...................B C")
    assert decoded(Source(file, normalize="letters", first=4)) == "a b "


def test_the_text_every_python_carries_is_long_prose() -> None:
    text = read(Source())
    assert len(text.ids) > 100_000
    assert "The" in decoded(Source(first=100))


def test_bytes_are_read_as_they_are(tmp_path: Path) -> None:
    raw = bytes(range(256)) * 2
    text = read(Source(write(tmp_path, raw), unit="byte", as_text=True))
    assert len(text.vocabulary) == 256
    assert text.ids.tolist() == list(raw)
    assert text.vocabulary.split("é") == "\xc3\xa9"


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.json", "a.jsonl", "a.ndjson"])
def test_records_are_not_quietly_read_as_prose(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, b"1,2\n3,4\n", name)
    with pytest.raises(InputError, match="--as-text"):
        read(Source(file))
    assert decoded(Source(file, as_text=True)) == "1,2\n3,4\n"


def test_a_binary_file_is_not_quietly_read_as_prose(tmp_path: Path) -> None:
    file = write(tmp_path, b"GIF89a\0\1")
    with pytest.raises(InputError, match="a binary file, not prose; --as-text"):
        read(Source(file))
    assert decoded(Source(file, as_text=True)) == "GIF89a\0\1"


def test_what_is_not_utf8_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8: byte 0xff at offset 3"):
        read(Source(write(tmp_path, b"abc\xff")))


@pytest.mark.parametrize(
    ("name", "message"), [("none.txt", "not found"), (".", "is a folder"), ("empty.txt", "empty")]
)
def test_no_text_no_training(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, b"", "empty.txt")
    with pytest.raises(InputError, match=message):
        read(Source(str(tmp_path / name)))


@pytest.mark.parametrize(
    "bad",
    [
        {"unit": "word"},
        {"normalize": "all"},
        {"first": 0},
        {"first": -5},
        {"unit": "byte", "normalize": "letters"},
    ],
)
def test_a_source_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--"):
        Source(**bad)  # type: ignore[arg-type]


def test_unknown_symbols_are_named() -> None:
    vocabulary = Vocabulary("abc")
    assert np.array_equal(vocabulary.encode("cab"), [2, 0, 1])
    with pytest.raises(InputError, match="'Xz'"):
        vocabulary.encode("azbXz")


@pytest.mark.parametrize("symbols", ["", "ba", "aa", "a\ud800"])
def test_a_vocabulary_is_sorted_whole_symbols_each_once(symbols: str) -> None:
    with pytest.raises(InputError, match="vocabulary"):
        Vocabulary(symbols)
