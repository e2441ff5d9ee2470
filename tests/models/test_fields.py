"""Plain values from JSON: each type as it is, and nothing that merely looks like it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import pytest

from grus.errors import InputError
from grus.models.settings import from_json


@dataclass(frozen=True)
class Plain:
    """One field of each kind."""

    count: int = 3
    rate: float = 0.5
    name: str = "a"
    on: bool = True
    limit: int | None = None
    pairs: dict[str, float] = field(default_factory=lambda: {"z": 1.0})


def test_a_dataclass_survives_json() -> None:
    for value in (Plain(), Plain(limit=7, pairs={})):
        assert from_json(Plain, json.loads(json.dumps(asdict(value))), "it") == value


def test_a_whole_number_does_for_a_float() -> None:
    found = from_json(Plain, {**asdict(Plain()), "rate": 2}, "it")
    assert (found.rate, type(found.rate)) == (2.0, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": True},
        {"count": 3.0},
        {"count": "3"},
        {"count": None},
        {"rate": True},
        {"rate": "0.5"},
        {"rate": 10**400},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"name": 1},
        {"on": 1},
        {"limit": 1.5},
        {"limit": False},
        {"pairs": []},
        {"pairs": {"z": "1"}},
        {"more": 1},
    ],
)
def test_what_is_of_another_type_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)) if "more" not in wrong else "fields"):
        from_json(Plain, {**asdict(Plain()), **wrong}, "it")


@pytest.mark.parametrize("value", [None, [], 3, {}, {"count": 3}])
def test_an_object_with_exactly_the_fields_is_wanted(value: object) -> None:
    with pytest.raises(InputError, match="it must be an object with the fields count, rate"):
        from_json(Plain, value, "it")
