"""Labelled sequences of any length from ``.ts`` files, long tables and wide tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.models.settings import check
from grus.tasks import tables

if TYPE_CHECKING:
    import polars as pl

WIDE = ("",)
"""The one channel of a wide table."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sequences:
    """Sequences [time, channels] in float32, NaN where a value is missing, their ``names``, the
    ``channels``' names, and a label for each; "" where there is none."""

    values: list[Array]
    names: list[str]
    channels: tuple[str, ...]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, places: Sequence[int] | NDArray[Any]) -> Sequences:
        """Some of them, in that order."""
        values = [self.values[k] for k in places]
        names, labels = ([each[k] for k in places] for each in (self.names, self.labels))
        return Sequences(values, names, self.channels, labels)


@dataclass(frozen=True)
class Columns:
    """Names of columns: a row's ``label``, its ``sequence``, the ``time`` that rows are ordered by
    ("": as they lie), and the ``channels`` of a long table (none: all others)."""

    label: str
    sequence: str
    time: str
    channels: tuple[str, ...]


def read_sequences(source: Any, names: Columns, labelled: bool) -> Sequences:
    """The sequences of a path or a data frame.

    A ``.ts`` file (of sktime, aeon) as it is. A table is *long* where it has the column
    ``sequence``: a row is a time step of the sequence named there, in the order of the column
    ``time`` or of the rows. Else it is *wide*: a row is a sequence of one channel, its columns the
    steps; missing values at its end are past it.

    Raises InputError where a label is missing (if ``labelled``), differs within a sequence, or a
    value is no number.
    """
    if isinstance(source, (str, Path)) and str(source).lower().endswith(".ts"):
        return _read_ts(Path(source), labelled)
    frame = tables.read_table(source)
    where = f"{source}: " if isinstance(source, (str, Path)) else ""
    try:
        if labelled:
            tables.column(frame, names.label, "--label")
        sequences = (_long if names.sequence in frame.columns else _wide)(frame, names)
    except InputError as error:
        raise InputError(f"{where}{error}") from None
    if labelled and "" in sequences.labels:
        place = sequences.names[sequences.labels.index("")]
        raise InputError(f"{where}the sequence {place} has no {names.label!r}")
    return sequences


def _texts(series: pl.Series) -> list[str]:
    import polars as pl

    return [str(v) for v in series.cast(pl.String).fill_null("").str.strip_chars()]


def _wide(frame: pl.DataFrame, columns: Columns) -> Sequences:
    label = columns.label
    steps = _channels(frame, columns)
    table = tables.numbers(frame, steps).astype(np.float32)
    present = ~np.isnan(table)
    ends = table.shape[1] - np.argmax(present[:, ::-1], axis=1)
    ends[~present.any(axis=1)] = 0
    empty = np.flatnonzero(ends == 0)
    if len(empty):
        raise InputError(f"row {empty[0] + 1} holds no value at all")
    values = [row[:end, None] for row, end in zip(table, ends, strict=True)]
    names = [str(k + 1) for k in range(frame.height)]
    labels = _texts(frame[label]) if label in frame.columns else [""] * frame.height
    return Sequences(values, names, WIDE, labels)


def _channels(frame: pl.DataFrame, columns: Columns) -> tuple[str, ...]:
    if columns.channels:
        for name in columns.channels:
            tables.column(frame, name, "--channels")
        return columns.channels
    others = (columns.sequence, columns.label, columns.time)
    chosen = tuple(name for name in frame.columns if name not in others)
    check(bool(chosen), f"the table has no column but {', '.join(filter(None, others))}")
    return chosen


def _long(frame: pl.DataFrame, columns: Columns) -> Sequences:
    import polars as pl

    label, sequence, time = columns.label, columns.sequence, columns.time
    missing = frame[sequence].is_null().arg_true()
    if len(missing):
        raise InputError(f"row {missing[0] + 1} has no {sequence!r}")
    channels = _channels(frame, columns)
    named = frame[sequence].cast(pl.String)
    keys, place = np.unique(named.to_numpy().astype(str), return_inverse=True)
    first = np.full(len(keys), len(place), np.int64)
    np.minimum.at(first, place, np.arange(len(place)))
    rank = np.argsort(np.argsort(first))  # sequences in the order of their first rows
    order = np.argsort(rank[place], kind="stable")
    if time:
        tables.column(frame, time, "--time")
        by_time = frame.with_row_index("").sort(time, maintain_order=True)[""].to_numpy()
        order = by_time[np.argsort(rank[place][by_time], kind="stable")]
    counts = np.bincount(rank[place], minlength=len(keys))
    table = tables.numbers(frame, channels).astype(np.float32)[order]
    values = np.split(table, np.cumsum(counts)[:-1])
    names = [str(keys[k]) for k in np.argsort(first)]
    labels = [""] * len(keys)
    if label in frame.columns:
        labels = _one_each(np.array(_texts(frame[label]))[order], counts, names, label)
    return Sequences(list(values), names, channels, labels)


def _one_each(
    labels: NDArray[np.str_], counts: NDArray[np.int64], names: list[str], label: str
) -> list[str]:
    """The label of each sequence, which all its rows that have one agree on."""
    ends = np.cumsum(counts)
    agreed = []
    for name, begin, end in zip(names, ends - counts, ends, strict=True):
        held = sorted(set(labels[begin:end].tolist()) - {""})
        if len(held) > 1:
            raise InputError(f"the sequence {name} has two of {label}: {held[0]!r}, {held[1]!r}")
        agreed.append(held[0] if held else "")
    return agreed


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def _read_ts(path: Path, labelled: bool) -> Sequences:
    """The format of sktime and aeon: channels split by ``:``, steps by ``,``, ``?`` is missing."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    data, has_label = [], False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.lower().startswith(("@classlabel", "@targetlabel")):
            has_label = "true" in text.lower()
        if text.lower() == "@timestamps true":
            raise InputError(f"{path}, line {number}: time stamps in .ts files are not read")
        if text and text[0] not in "#@":
            data.append((number, text))
    check(bool(data), f"{path} holds no sequences")
    check(has_label or not labelled, f"{path} has no class labels: @classLabel is false")
    values, labels = [], []
    for number, text in data:
        channels = text.split(":")
        labels.append(channels.pop().strip() if has_label else "")
        values.append(_ts_case(channels, f"{path}, line {number}"))
    widths = {v.shape[1] for v in values}
    check(len(widths) == 1, f"{path}: sequences have {min(widths)} and {max(widths)} channels")
    names = tuple(f"channel {k + 1}" for k in range(widths.pop()))
    return Sequences(values, [str(k + 1) for k in range(len(values))], names, labels)


def _ts_case(channels: list[str], where: str) -> Array:
    rows = []
    for k, channel in enumerate(channels, 1):
        cells = [cell.strip() for cell in channel.split(",")]
        bad = [c for c in cells if c not in ("?", "NaN", "nan") and not NUMBER.match(c)]
        if bad:
            raise InputError(f"{where}, channel {k}: {bad[0][:40]!r} is not a number")
        rows.append([float("nan") if c == "?" else float(c) for c in cells])
    lengths = {len(row) for row in rows}
    check(len(lengths) == 1, f"{where}: channels have {min(lengths)} and {max(lengths)} steps")
    return np.array(rows, np.float32).T.copy()
