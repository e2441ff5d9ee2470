"""Numbers out of pasted text. The text is taken apart, never evaluated.

It may be ``1, 2, 9, 8``; ``1 2; 9 8``; columns of a spreadsheet; ``[[1, 2], [3, 4]]``;
``array([[-0.9, 1.04]], dtype=float32)``; ``tensor([...], grad_fn=<...>)``; ``np.float32(0.5)``;
``<tf.Variable ... numpy=array(...)>``; an array as ``print`` shows it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from grus.errors import InputError

MAX_TEXT = 1_000_000
MAX_NUMBERS = 100_000
MAX_AXES = 3

Array = Any
Rows = list[Any]

_CALL = re.compile(r"[A-Za-z_][\w.]*\((?P<inside>.*)\)", re.DOTALL)
_CALLABLE = re.compile(
    r"(?:\w+\.)*(?:array|asarray|Array|DeviceArray|tensor|Tensor|Parameter|constant)"
)
_KEYWORD = re.compile(r",\s*[A-Za-z_]\w*=")
_KEYWORDS = re.compile(
    r"(?:,\s*[A-Za-z_]\w*=(?:'[^']*'|\"[^\"]*\"|<[^<>]*>|\([^()]*\)|[\w.]+)\s*)*+,?\s*"
)
_ELEMENT = re.compile(r"\b(?:\w+\.)?b?float\d*\(([^()]*)\)")
_SHOWN = re.compile(r"\b(?:numpy|value)=")
_PARAMETER = "Parameter containing:"
_TOKEN = re.compile(r"[\[\]();,]|\n|[^\[\]();,\s]+")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


def read_numbers(text: str, name: str) -> Array:
    """The numbers in ``text`` as a float64 array of one to three axes.

    Brackets give the axes; without brackets, ``;`` and line ends separate rows. A single row
    without brackets or ``;`` has one axis.

    Raises InputError, which begins with ``name``, for text that is not finite numbers in rows of
    one length, that was shortened with ``...``, or that is too long.
    """
    try:
        return _read(text)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def written_decimals(text: str) -> int:
    """The decimals of the number in ``text`` that has the most: 2 for "0.5, 0.25", "1.5e-1"."""
    exponents = [Decimal(number).as_tuple().exponent for number in _NUMBER.findall(text)]
    return max(0, *(-exponent for exponent in exponents if isinstance(exponent, int)), 0)


def _read(text: str) -> Array:
    if len(text) > MAX_TEXT:
        raise InputError(f"{len(text)} characters of text, at most {MAX_TEXT} are read")
    if "..." in text or "…" in text:
        raise InputError(
            "the text was shortened with '...'; print the whole array"
            " (numpy.set_printoptions(threshold=sys.maxsize))"
        )
    inside = _unwrap(text.replace("\N{MINUS SIGN}", "-").strip())
    inside = _ELEMENT.sub(r"\1", inside)
    tokens = _TOKEN.findall(inside)
    return _as_array(_bracketed(tokens) if set("[]()") & set(tokens) else _plain(tokens))


def _unwrap(text: str) -> str:
    """The text inside ``array(..., dtype=float32)`` and similar calls."""
    text = text.removeprefix(_PARAMETER).strip()
    shown = _SHOWN.search(text) if text.startswith("<") and text.endswith(">") else None
    return _unwrap_once(text[shown.end() : -1].strip() if shown else text)


def _unwrap_once(text: str) -> str:
    call = _CALL.fullmatch(text)
    if call is None or not _CALLABLE.match(text):
        return text
    inside = call["inside"].strip()
    keyword = _KEYWORD.search(inside)
    if keyword and _KEYWORDS.fullmatch(inside, keyword.start()):
        return inside[: keyword.start()]
    return inside


def _plain(tokens: list[str]) -> Rows:
    """Rows between semicolons or line ends; one row alone is flat."""
    rows: list[Rows] = [[]]
    comma = False
    for token in tokens:
        if token in (";", "\n"):
            rows.append([])
        elif token != ",":
            rows[-1].append(_number(token))
        elif comma or not rows[-1]:
            raise InputError("a number is missing before a comma")
        comma = token == ","
    rows = [row for row in rows if row]
    return rows[0] if len(rows) == 1 and ";" not in tokens[:-1] else list(rows)


def _bracketed(tokens: list[str]) -> Rows:
    """Nested brackets; inside them commas, blanks and line ends separate."""
    tokens = [")" if t == "]" else "(" if t == "[" else t for t in tokens if t != "\n"]
    if ";" in tokens:  # [1 2; 9 8]
        if tokens[0] != "(" or tokens[-1] != ")" or {"(", ")"} & set(tokens[1:-1]):
            raise InputError("brackets and ';' cannot be mixed")
        return _plain(tokens[1:-1])
    feed = iter([*tokens, ")"])
    rows = _group(feed, 0)
    if next(feed, None) is not None:
        raise InputError("a bracket is closed that was not opened")
    # [[1, 2]] comes as one group; [1, 2], [3, 4] as two that stand for its inside.
    return rows[0] if len(rows) == 1 and isinstance(rows[0], list) else rows


def _group(feed: Iterator[str], depth: int) -> Rows:
    if depth > MAX_AXES + 1:
        raise InputError(f"brackets are nested more than {MAX_AXES} deep")
    rows: Rows = []
    comma = False
    for token in feed:
        if token == ")":
            return rows
        if token == "," and (comma or not rows):
            raise InputError("a number is missing before a comma")
        if token == "(":
            rows.append(_group(feed, depth + 1))
        elif token != ",":
            rows.append(_number(token))
        comma = token == ","
    raise InputError("a bracket is opened that is not closed")


def _number(token: str) -> float:
    if re.fullmatch(r"[-+]?(?:inf|infinity|nan)", token, re.IGNORECASE):
        raise InputError(f"{token} is not a finite number")
    if not _NUMBER.fullmatch(token):
        listed = " (a list of arrays? paste one of them)" if token.startswith("array") else ""
        raise InputError(f"{_short(token)} is not a number{listed}")
    value = float(token)
    if not math.isfinite(value):
        raise InputError(f"{_short(token)} is too large for a float")
    return value


def _short(token: str) -> str:
    return repr(token if len(token) <= 30 else f"{token[:27]}...")


def _as_array(rows: Rows) -> Array:
    shape = _shape(rows)
    if not math.prod(shape):
        raise InputError("there are no numbers in it")
    if math.prod(shape) > MAX_NUMBERS:
        raise InputError(f"{math.prod(shape)} numbers, at most {MAX_NUMBERS} are read")
    if len(shape) > MAX_AXES:
        raise InputError(f"brackets are nested more than {MAX_AXES} deep")
    return np.array(rows, np.float64).reshape(shape)


def _shape(rows: Rows) -> tuple[int, ...]:
    """The lengths along each axis. Raises InputError where rows differ."""
    inner = {_shape(row) if isinstance(row, list) else () for row in rows}
    if len(inner) > 1:
        lengths = " and ".join(_lengths(shape) for shape in sorted(inner)[:2])
        raise InputError(f"rows of different lengths: {lengths}")
    return (len(rows), *(inner.pop() if inner else ()))


def _lengths(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "a single number"


def read_steps(text: str, features: int, name: str = "--x") -> Array:
    """The input of one sequence as [time, input], given how many features a step has.

    A flat list is cut into steps; a row (``1 2; 9 8``) is a step and must have the right width.
    Raises InputError when the numbers do not make whole steps.
    """
    steps = read_numbers(text, name)
    wanted = f"{features} feature{'s' if features != 1 else ''}"
    if steps.ndim == 1:
        if len(steps) % features:
            raise InputError(
                f"{name}: {len(steps)} numbers do not make whole steps: the weights are for"
                f" {wanted} a step"
            )
        return steps.reshape(-1, features)
    if steps.ndim == 2 and steps.shape[1] == features:
        return steps
    if steps.ndim == 2:
        raise InputError(
            f"{name}: {steps.shape[0]} row{'s' if steps.shape[0] != 1 else ''} of"
            f" {steps.shape[1]}, but a row is one step and the weights are for {wanted} a step"
        )
    raise InputError(
        f"{name}: an array of shape {steps.shape}; give one sequence, one row a step, without a"
        " batch axis"
    )
