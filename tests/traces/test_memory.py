"""A trace takes the memory of what was asked for: measured in a process of its own."""

from __future__ import annotations

import json
import sys

import pytest

import forked

pytest.importorskip("torch")
pytest.importorskip("resource")

pytestmark = [pytest.mark.torch, pytest.mark.slow]

# What the process holds, before and at most, is read from /proc: the account that getrusage
# gives of a child begins with what its parent held.
GROWTH = """
import json, resource, sys
import torch, grus
torch.set_num_threads(1)
steps, layers, both = (int(n) for n in sys.argv[1:4])
asked = json.loads(sys.argv[4])
layer = grus.GRU(256, 256, layers, bidirectional=bool(both))
x = torch.randn(steps, 1, 256)
# The compiler's own memory is not a trace's.
grus.trace(layer, x[:70], **{**asked, "steps": None})
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
trace = grus.trace(layer, x, **asked)
with open("/proc/self/status") as file:
    most = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
print((most * 1024 - before) / 2**20)
"""
STEP = 256 * 4 / 2**20
"""MiB of one value of a step."""
SLACK = 40
"""MiB: windows of 8 MiB, the pages of what the allocator keeps, and rounding."""


def growth(steps: int, layers: int, both: bool, asked: dict[str, object]) -> float:
    """MiB by which the process grows at most."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    arguments = [str(steps), str(layers), str(int(both)), json.dumps(asked)]
    done = forked.run(*arguments, code=GROWTH, timeout=120)
    done.check_returncode()
    return float(done.stdout)


@pytest.mark.parametrize(
    ("steps", "layers", "both", "asked", "values"),
    [
        # Two gates of every step and unit: the values, and no output beside them.
        (100_000, 1, False, {"values": ["r", "z"]}, 2.0),
        # A few steps, or a few units, of three layers: next to nothing.
        (60_000, 3, False, {"values": ["z"], "steps": [0, 59_999]}, 0.0),
        (60_000, 3, False, {"values": ["z", "h"], "units": [3]}, 0.0),
        # Two directions: one layer's output, both ways, for the next one.
        (60_000, 2, True, {"values": ["z"], "units": [3]}, 2.0),
    ],
)
def test_memory_is_that_of_what_is_asked_for(
    steps: int, layers: int, both: bool, asked: dict[str, object], values: float
) -> None:
    assert growth(steps, layers, both, asked) < values * steps * STEP + SLACK


def test_a_whole_value_kept_aside_would_be_seen() -> None:
    """The measure itself: asking for one more value is what it shows."""
    assert growth(60_000, 1, False, {"values": ["z", "n"]}) > 2 * 60_000 * STEP
