"""Dataclasses of plain values to JSON and back, with every name and type checked on the way in."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from grus.errors import InputError

T = TypeVar("T")


def read(cls: type[T], value: object, where: str) -> T:
    """An instance of the dataclass ``cls`` from a JSON object.

    Raises InputError when a field is missing, unknown or of another type. What a value may be is
    for ``cls`` to check when it is built.
    """
    types_by_name = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise InputError(f"{where} must be an object with the fields {', '.join(names)}")
    return cls(**{n: _typed(value[n], types_by_name[n], f"{where}.{n}") for n in names})


def _typed(value: object, expected: Any, where: str) -> object:
    """``value`` if it is what the annotation ``expected`` says; whole numbers do for float."""
    if get_origin(expected) in (types.UnionType, Union):
        if value is None:
            return None
        expected = next(t for t in get_args(expected) if t is not type(None))
    if get_origin(expected) is dict and isinstance(value, dict):
        inner = get_args(expected)[1]
        return {str(k): _typed(v, inner, f"{where}.{k}") for k, v in value.items()}
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # An int beyond float's range fails the comparison below instead of overflowing.
    if expected is float and is_number and abs(value) <= 1e300:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    if expected is not float and type(value) is expected:
        return value
    raise InputError(
        f"{where} must be {getattr(expected, '__name__', expected)}, got {value!r:.80}"
    )


def check(condition: bool, message: str) -> None:
    """Raise InputError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)
