"""Steps and units as a person writes them, and what is shown when nothing is chosen."""

from __future__ import annotations

import re

import pytest

from grus.equations import CELLS
from grus.errors import InputError
from grus.worksheet.explained import choose, numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3", [2]),
        ("1,3", [0, 2]),
        ("2:4", [1, 2, 3]),
        (":2", [0, 1]),
        ("4:", [3, 4]),
        (":", [0, 1, 2, 3, 4]),
    ],
)
def test_numbers_count_from_one_and_a_range_has_both_ends(text: str, found: list[int]) -> None:
    assert numbers(text, 5, "--units") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "--units: there is no 0; counted from 1, they go to 5"),
        ("6", "there is no 6"),
        ("4:9", "there is no 9"),
        ("3:2", "3:2 is empty"),
        ("-1", "takes numbers such as 1,3 or a range such as 2:4, got '-1'"),
        ("1:2:3", "takes numbers"),
        ("a", "takes numbers"),
        ("1,,2", "takes numbers"),
        ("1:99999999999999", "takes numbers"),
    ],
)
def test_what_is_no_number_of_theirs_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        numbers(text, 5, "--units")


def test_small_sheets_are_whole_and_large_ones_say_what_they_show() -> None:
    gru = CELLS["gru"]
    assert choose(gru, "", "", (4, 16)) == ([0, 1, 2, 3], list(range(16)), ())
    steps, units, notes = choose(gru, "", "", (3, 17))
    assert (steps, units) == ([0, 1, 2], [0, 1, 2, 3])
    assert notes == ("units 1 to 4 of 17 are shown; --units chooses others",)
    steps, units, notes = choose(gru, "", "2", (9999, 17))
    assert (steps, units) == (list(range(8)), [1])
    assert notes == ("steps 1 to 8 of 9999 are shown; --steps chooses others",)
    assert choose(gru, "9999", "17", (9999, 17)) == ([9998], [16], ())
