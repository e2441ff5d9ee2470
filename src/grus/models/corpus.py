"""Text as numbers, and what a model of it is apart from its weights. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grus.equations import CONNECTIONS, Cell, Connection
from grus.errors import InputError
from grus.models.settings import check

BUILT_IN = "the Python language reference (pydoc_data.topics)"
RECORDS = {".csv": "a table", ".tsv": "a table", ".json": "JSON", ".jsonl": "JSON records"}
RECORDS[".ndjson"] = RECORDS[".jsonl"]
# sktime's .ts and Weka's .arff; a Python file's @dataclass is neither.
SERIES = re.compile(rb"^[ \t]*@(?:data[ \t]*\r?$|problemname\b)", re.I | re.M)
FORECASTS = " Forecasts are made in Python with grus.GRU: docs/recipes.md"
INPUTS = ("embedding", "onehot")
DTYPES = ("float32", "float64")
MAX_SIZE = 1_000_000  # keeps products of sizes far inside 64 bits, whatever a file says
NORMALIZERS = ("none", "letters")
UNITS = ("character", "byte")


@dataclass(frozen=True)
class Vocabulary:
    """The symbols a model knows, sorted; a symbol's number is its place.

    With unit "byte" the symbol U+00E9 stands for the byte 0xE9.
    """

    symbols: str
    unit: str = "character"

    def __post_init__(self) -> None:
        check(self.unit in UNITS, f"the unit must be one of {UNITS}, got {self.unit!r}")
        ordered = all(a < b for a, b in zip(self.symbols, self.symbols[1:], strict=False))
        check(ordered and self.symbols != "", "the vocabulary must be sorted symbols, each once")
        check(not re.search("[\ud800-\udfff]", self.symbols), "the vocabulary holds half a symbol")
        if self.unit == "byte":
            check(self.symbols[-1] <= "\xff", "the vocabulary of a byte model holds a non-byte")

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of ``text``'s symbols, int64 [len(text)].

        Raises InputError naming the symbols that are not in the vocabulary.
        """
        table, codes = _codes(self.symbols), _codes(text)
        places = np.searchsorted(table, codes).clip(max=len(table) - 1)
        unknown = "".join(sorted({chr(c) for c in codes[table[places] != codes]}))
        if unknown:
            raise InputError(
                f"{unknown[:20]!r} is not in the model's vocabulary {self.symbols[:200]!r}"
            )
        return places.astype(np.int64)

    def split(self, text: str) -> str:
        """Ordinary text as symbols: itself, or with unit "byte" its UTF-8 bytes."""
        return text.encode().decode("latin-1") if self.unit == "byte" else text


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@dataclass(frozen=True)
class Architecture:
    """A model apart from its weights.

    ``input`` "embedding" looks up a learned vector of ``embedding`` numbers; "onehot" gives the
    layers the one-hot vector itself, and ``embedding`` is not used. ``connect`` joins the layers
    (`equations.connections`); dropout is of a layer's own output, before it is joined.
    """

    cell: Cell
    vocabulary: Vocabulary
    hidden: int = 256
    layers: int = 1
    input: str = "embedding"
    embedding: int = 64
    dtype: str = "float32"
    connect: str = ""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "embedding"):
            size = getattr(self, name)
            check(1 <= size <= MAX_SIZE, f"--{name} must lie in 1..{MAX_SIZE}, got {size}")
        check(self.input in INPUTS, f"--input must be one of {INPUTS}, got {self.input!r}")
        check(self.dtype in DTYPES, f"--dtype must be one of {DTYPES}, got {self.dtype!r}")
        check(
            self.connect in CONNECTIONS,
            f"--connect must be one of {CONNECTIONS[1:]}, got {self.connect!r:.80}",
        )
        self._check_cell()

    def _check_cell(self) -> None:
        cell = self.cell
        masks = [i.name for i in cell.inputs if i.name != "x"]
        check(not masks, f"cell {cell.name} needs the masks {masks}, which text does not have")
        axes = {axis for f in cell.families for axis in cell.family_axes(f)}
        axes |= set(cell.shapes.states.values())
        odd = sorted(axes - {"input", "hidden"})
        check(not odd, f"cell {cell.name} has an axis {odd}; layers have input and hidden only")
        if ("input", "hidden") in cell.shapes.equal and set(self.reads) != {self.hidden}:
            check(
                self.connect != "dense" or self.layers == 1,
                f"cell {cell.name} uses x itself beside the state, so what a layer reads must be as"
                " large as the hidden state: --connect dense has it read more",
            )
            raise InputError(
                f"cell {cell.name} uses x itself beside the state, so the embedding must be as"
                f" large as the hidden state: {self.features} is not {self.hidden}"
            )

    @property
    def reads(self) -> tuple[int, ...]:
        """The input size of each layer."""
        return Connection(self.connect, self.features, self.hidden, self.layers).reads

    @property
    def features(self) -> int:
        """The input size of the first layer."""
        return self.embedding if self.input == "embedding" else len(self.vocabulary)


@dataclass(frozen=True)
class Source:
    """The text to train on, and how it is read.

    ``file`` None is the language reference that every Python carries. ``normalize`` "letters" is
    Dive into Deep Learning's: lower case, every run of non-letters becomes one space. ``first``
    keeps that many characters after normalising. ``as_text`` insists on reading a table, records
    or a binary file as if it were prose.
    """

    file: str | None = None
    unit: str = "character"
    normalize: str = "none"
    first: int | None = None
    as_text: bool = False

    def __post_init__(self) -> None:
        named = self.file is None or (self.file.isprintable() and self.file != "")
        check(named, f"the text's file name must be printable, got {self.file!r:.80}")
        check(self.unit in UNITS, f"--unit must be one of {UNITS}, got {self.unit!r}")
        known = self.normalize in NORMALIZERS
        check(known, f"--normalize must be one of {NORMALIZERS}, got {self.normalize!r}")
        positive = self.first is None or self.first >= 1
        check(positive, f"--first must be at least 1, got {self.first}")
        bytes_are_raw = self.unit != "byte" or self.normalize == "none"
        check(bytes_are_raw, "--normalize letters needs --unit character: bytes have no letters")

    @property
    def name(self) -> str:
        """The name of the text in messages."""
        return BUILT_IN if self.file is None else self.file


@dataclass(frozen=True)
class Text:
    """A text read: its symbols as numbers, int64 [characters], and what they stand for."""

    ids: NDArray[np.int64]
    vocabulary: Vocabulary
    sha256: str


def read(source: Source) -> Text:
    """Read, normalise, cut, and number the text.

    Raises InputError when there is no such file, it is empty, neither UTF-8 nor UTF-16, or looks
    like data rather than prose.
    """
    text = _built_in() if source.file is None else _from_file(Path(source.file), source)
    if source.normalize == "letters":
        text = re.sub(r"[\W\d_]+", " ", text.lower())
    text = text[: source.first]
    check(text != "", f"{source.name} is empty")
    vocabulary = Vocabulary("".join(sorted(set(text))), source.unit)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Text(vocabulary.encode(text), vocabulary, digest)


def _built_in() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError("this Python carries no pydoc_data.topics: name a text file") from None
    return "\n\n".join(topics.values())


def encoding(raw: bytes) -> str:
    """The encoding of a text: by its byte order mark; UTF-16 where every other byte is often zero
    and what it says can be printed; else UTF-8. A byte order mark is no character of the text.
    """
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    first = raw[:4000]
    zeros = [first[side::2].count(0) for side in (0, 1)]
    if len(first) >= 32 and max(zeros) > max(len(first) / 8, 8 * min(zeros)):
        name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        shown = first.decode(name, "replace")
        if all(letter.isprintable() or letter.isspace() for letter in shown):
            return name
    return "utf-8-sig"


def decoded(raw: bytes, where: str) -> str:
    """The text of a file. Raises InputError, beginning with ``where``, for what is none."""
    name = encoding(raw)
    try:
        return raw.decode(name)
    except UnicodeDecodeError as error:
        wanted = name.removesuffix("-sig").upper()
        raise InputError(
            f"{where} is not {wanted}: byte {raw[error.start]:#04x} at offset {error.start};"
            " --unit byte reads any bytes"
        ) from None


def _from_file(path: Path, source: Source) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "not found"
        raise InputError(f"{path}: {what}; expected a text file")
    kind = RECORDS.get(path.suffix.lower())
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if kind is None and SERIES.search(raw):
        kind = "a set of time series"
    if kind is None and b"\0" in raw and encoding(raw) == "utf-8-sig":
        kind = "a binary file"
    if kind and not source.as_text:
        raise InputError(
            f"{path} looks like {kind}, not prose; --as-text trains on it all the same."
            + (FORECASTS if kind in ("a table", "a set of time series") else "")
        )
    return raw.decode("latin-1") if source.unit == "byte" else decoded(raw, str(path))
