"""Tables from files, by polars: CSV, TSV, Parquet, JSON lines; errors name row and column."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grus.atomic_file import replace_by
from grus.errors import InputError, needed_for
from grus.models.settings import check

if TYPE_CHECKING:
    import polars as pl

READ = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".ndjson")
WRITTEN = (".csv", ".parquet", ".jsonl")
SEPARATORS = ",;\t|"
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"]
SNIFFED = 64 * 2**10


def read_table(source: Any) -> pl.DataFrame:
    """The table in a file, or in all files in a folder, by name; a data frame as it is.

    A data frame is one of polars, of pandas, or a mapping of columns. A CSV file's separator is
    the one of `SEPARATORS` that its first line has most of. ``NA``, ``nan``, ``?`` and the like are
    missing values.

    Raises InputError where the file is none, empty, torn, or its rows do not fit its header.
    """
    with needed_for("reading tables"):
        import polars as pl
    if isinstance(source, (str, Path)):
        frame = _read_files(Path(source))
    elif isinstance(source, pl.DataFrame):
        frame = source
    else:
        frame = _framed(source if isinstance(source, dict) else _columns(source))
    where = source if isinstance(source, (str, Path)) else "the table"
    check(frame.height > 0, f"{where} holds no rows")
    return frame


def _read_files(path: Path) -> pl.DataFrame:
    import polars as pl

    frames = [_read_file(each) for each in files_of(path)]
    for frame in frames[1:]:
        if frame.columns != frames[0].columns:
            raise InputError(f"the files in {path} have different columns")
    return pl.concat(frames, how="vertical_relaxed") if len(frames) > 1 else frames[0]


def _columns(source: Any) -> dict[str, Any]:
    if not hasattr(source, "columns") or not hasattr(source, "__getitem__"):
        raise InputError(f"a path or a data frame was expected, got {type(source).__name__}")
    return {str(name): np.asarray(source[name]) for name in source.columns}


def _framed(columns: dict[str, Any]) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.DataFrame(columns, nan_to_null=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InputError(f"the columns make no table: {_line(error)}") from None


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder, by name. Raises InputError where there is none."""
    if path.is_dir():
        inside = sorted(each for each in path.iterdir() if each.suffix.lower() in READ)
        check(bool(inside), f"{path} holds no file {', '.join(READ)}")
        return inside
    check(path.is_file(), f"{path} not found")
    return [path]


def sha256(paths: Sequence[Path]) -> str:
    """Of the bytes of all files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _read_file(path: Path) -> pl.DataFrame:
    import polars as pl

    kind = path.suffix.lower()
    check(kind in READ, f"{path} is not a table: its name ends with none of {', '.join(READ)}")
    try:
        if kind == ".parquet":
            return pl.read_parquet(path)
        if kind in (".jsonl", ".ndjson"):
            return pl.read_ndjson(path, infer_schema_length=None)
        options: dict[str, Any] = {"null_values": MISSING, "infer_schema_length": None}
        return pl.read_csv(_text(path), separator=_separator(path), **options)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} cannot be read as a table: {_line(error)}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _text(path: Path) -> bytes | Path:
    """The file, or its bytes where they must be turned into UTF-8 first."""
    with path.open("rb") as file:
        head = file.read(SNIFFED)
    check(bool(head.strip()), f"{path} is empty")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    check(wide or b"\0" not in head, f"{path} is no text: it holds bytes 0")
    try:
        if wide:
            return path.read_bytes().decode("utf-16").encode()
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        which = "UTF-16" if wide else "UTF-8"
        raise InputError(f"{path} is not {which}: {error.reason} at byte {error.start}") from None
    return path


def _separator(path: Path) -> str:
    with path.open("rb") as file:
        first = next((line for line in io.BytesIO(file.read(SNIFFED)) if line.strip()), b"")
    return max(SEPARATORS, key=lambda each: first.count(each.encode()))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def column(frame: pl.DataFrame, name: str, what: str) -> pl.Series:
    """A column, or InputError that lists those that there are; ``what`` says what it is for."""
    if name not in frame.columns:
        known = ", ".join(frame.columns[:20])
        raise InputError(f"there is no column {name!r} for {what}; the table has {known}")
    return frame[name]


def numbers(frame: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns as numbers, [rows, columns], NaN where a value is missing.

    Raises InputError with the row (1 is the first below the header) and column of what is no number
    or infinite.
    """
    table = np.empty((frame.height, len(names)))
    for k, name in enumerate(names):
        table[:, k] = _numbers(frame[name])
    return table


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    import polars as pl

    if series.dtype == pl.String:
        stripped = series.str.strip_chars()
        cast = stripped.cast(pl.Float64, strict=False)
        bad = (cast.is_null() & stripped.is_not_null() & (stripped != "")).arg_true()
        if len(bad):
            place = f"row {bad[0] + 1}, column {series.name!r}"
            raise InputError(f"{place}: {str(series[bad[0]])[:40]!r} is not a number")
    elif series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        cast = series.cast(pl.Float64)
    else:
        raise InputError(f"column {series.name!r} holds {series.dtype}, numbers were expected")
    values: NDArray[np.float64] = cast.fill_null(float("nan")).to_numpy()
    odd = np.flatnonzero(np.isinf(values))
    if len(odd):
        raise InputError(f"row {odd[0] + 1}, column {series.name!r}: a number is infinite")
    return values


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all: ``.csv``, ``.parquet`` or ``.jsonl``."""
    kind = path.suffix.lower()
    check(kind in WRITTEN, f"a table is written as {', '.join(WRITTEN)}, got {path}")
    write: Any = {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".jsonl": frame.write_ndjson,
    }[kind]
    replace_by(path, write)
