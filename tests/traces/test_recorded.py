"""`Trace`: names, axes, picking, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus import InputError
from grus.equations import CELLS
from grus.traces import Trace


def made(**changes: Any) -> Trace:
    """Two layers, one direction, steps 5 and 7, three rows, units 1, 4 and 9."""
    shape = (2, 1, 2, 3, 3)
    arguments: dict[str, Any] = {
        "cell": CELLS["gru"],
        "values": {"z": np.arange(36.0).reshape(shape), "h": -np.arange(36.0).reshape(shape)},
        "start": {"h": np.zeros((2, 1, 3, 3))},
        "layers": [0, 2],
        "directions": [0],
        "steps": [5, 7],
        "units": [1, 4, 9],
        "lengths": [8, 8, 6],
        "tokens": "ab",
    }
    return Trace(**(arguments | changes))


def test_names_axes_and_tokens() -> None:
    trace = made()
    assert trace.axes == ("layer", "direction", "time", "batch", "unit")
    assert trace.names == ("z", "h")
    assert trace.tokens == ("a", "b")
    assert trace.steps.tolist() == [5, 7]
    assert repr(trace) == "<Trace of gru: z, h [layer 2, direction 1, time 2, batch 3, unit 3]>"


def test_a_state_is_found_by_both_of_its_names() -> None:
    trace = made()
    assert trace["h_next"] is trace["h"]
    np.testing.assert_array_equal(trace.units_of("h_next"), trace.units)


def test_select_goes_by_the_numbers_of_the_sequence() -> None:
    trace = made()
    z = trace["z"]
    np.testing.assert_array_equal(trace.select("z"), z)
    np.testing.assert_array_equal(trace.select("z", layer=2, unit=9), z[1, ..., 2])
    np.testing.assert_array_equal(trace.select("z", time=7, batch=1), z[:, :, 1, 1])
    found = trace.select("h", layer=2, direction=0, time=7, batch=1, unit=4)
    assert found == trace["h"][1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"layer": 1}, "layer 1 of z was not recorded; there are 0, 2"),
        ({"unit": 0}, "unit 0 of z was not recorded; there are 1, 4, 9"),
        ({"batch": 3}, "batch 3 of z was not recorded; there are 0 to 2"),
        ({"time": 0}, "time 0 of z"),
        ({"direction": 1}, "direction 1 of z was not recorded; there are 0"),
    ],
)
def test_what_was_not_recorded_is_said(asked: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made().select("z", **asked)
    with pytest.raises(InputError, match="'r' was not recorded; there are z, h"):
        made()["r"]


def test_nothing_in_a_trace_can_be_changed() -> None:
    given = np.zeros((2, 1, 2, 3, 3))
    trace = made(values={"z": given})
    for array in (trace["z"], trace.start["h"], trace.layers, trace.steps, trace.lengths):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    with pytest.raises(TypeError):
        trace.values["r"] = given  # type: ignore[index]
    given[...] = 1  # the caller's own array stays writable


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": [0]}, "z must be"),
        ({"steps": [5]}, "z must be"),
        ({"units": [1, 4]}, "z must have 2 units, got 3"),
        ({"units": [0.5, 1, 2]}, "units must be a list of whole numbers"),
        ({"tokens": "abc"}, "2 steps need as many tokens, got 3"),
        ({"values": {"q": np.zeros((2, 1, 2, 3, 3))}}, "gru has no value 'q'"),
        ({"start": {"h": np.zeros((2, 1, 2, 3))}}, "h must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"directions": [7]}, "directions must lie in 0..1"),
        ({"layers": [-1, 0]}, "layers must lie in 0.."),
        ({"steps": [7, 5]}, "steps must go up, each once"),
        ({"units": [1, 1, 9]}, "units must go up, each once"),
        ({"lengths": [8, -3, 6]}, "lengths must lie in 0.."),
        ({"lengths": [8, 2**62, 6]}, "lengths must lie in 0.."),
        ({"steps": np.array([5, 2**63 + 7], np.uint64)}, "steps must lie in 0.."),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"a trace's {said}"):
        made(**changes)
