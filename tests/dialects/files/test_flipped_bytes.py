"""Random damage to small valid files: a clear refusal or a valid result, never anything else."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from sample_files import SUFFIXES, sample, write

from grus.dialects.files.budget import Budget
from grus.dialects.files.contents import Contents
from grus.dialects.files.reading import load
from grus.errors import InputError

TRIALS = 400
SECONDS = 5.0  # a hang; a whole file takes a hundredth of a second


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, cut out, repeated or put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(found))
        kind = rng.choice(("flip", "flip", "byte", "number", "cut", "repeat", "insert"))
        if kind == "flip":
            found[at] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            found[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == "number":
            value = rng.choice((0, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            found[at : at + 8] = value.to_bytes(8, "little")[: len(found) - at]
        elif kind == "cut":
            del found[at : at + rng.randrange(1, 9)]
        elif kind == "repeat":
            found[at:at] = found[at : at + rng.randrange(1, 65)]
        else:
            found[at:at] = rng.randbytes(rng.randrange(1, 5))
        if not found:
            break
    return bytes(found)


def valid(found: Contents, size: int) -> bool:
    """True for arrays of numbers that are no larger than such a file may ask for."""
    arrays = found.tensors.values()
    return all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" for a in arrays) and (
        sum(a.nbytes for a in arrays) <= 2 * Budget(size).limit
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_refused_or_harmless(suffix: str, tmp_path: Path) -> None:
    rng = random.Random(suffix)
    whole = sample(suffix)
    refusals = 0
    for trial in range(TRIALS):
        content = damaged(whole, rng)
        path = write(tmp_path, suffix, content)
        began = time.monotonic()
        try:
            assert valid(load(path), len(content)), trial
        except InputError as error:
            assert str(error).isprintable(), trial
            refusals += 1
        assert time.monotonic() - began < SECONDS, trial
    assert [p.name for p in tmp_path.iterdir()] == [f"model{suffix}"]
    assert refusals > TRIALS / 20, "the damage is real"
    assert refusals < TRIALS, "some of it is harmless"
