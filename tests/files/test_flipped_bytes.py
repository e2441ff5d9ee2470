"""Random damage to small valid files: a clear refusal or a valid result, never anything else."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sample_files import SUFFIXES, need, sample, unzipped, write, zipped

from grus.errors import InputError
from grus.files import hdf5
from grus.files.formats import load
from grus.files.layers import find_layers
from grus.weight_file import Budget, Contents

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


# HDF5 is read in a process of its own, which takes half a second to start: see the test below.
ALONE = (".h5", ".keras")


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in ALONE])
def test_damage_is_refused_or_harmless(suffix: str, tmp_path: Path) -> None:
    rng = random.Random(suffix)
    whole = sample(suffix)
    refusals = unprintable = 0
    for trial in range(TRIALS):
        content = damaged(whole, rng)
        path = write(tmp_path, suffix, content)
        began = time.monotonic()
        try:
            found = load(path)
            assert valid(found, len(content)), trial
            find_layers(found)
        except InputError as error:
            refusals += str(error).isprintable()
            unprintable += not str(error).isprintable()
        assert time.monotonic() - began < SECONDS, trial
    assert [p.name for p in tmp_path.iterdir()] == [f"model{suffix}"]
    assert unprintable == 0
    assert refusals > TRIALS / 20, "the damage is real"
    assert refusals < TRIALS, "some of it is harmless"


# Reads one damaged file after another in one process, and says how far it came.
CHILD = """
import faulthandler, io, random, sys
sys.path[:0] = sys.argv[1:3]
from sample_files import sample
from test_flipped_bytes import damaged
from grus.files import hdf5
from grus.weight_file import Budget
from grus.files.hdf5 import Hdf5
from grus.errors import InputError
rng, whole = random.Random(7), sample(".h5")
for trial in range(int(sys.argv[4])):
    content = damaged(whole, rng)
    if trial < int(sys.argv[3]):
        continue
    print(trial, flush=True)
    faulthandler.dump_traceback_later(3, exit=True)
    try:
        Hdf5(io.BytesIO(content), Budget(len(content)))
    except InputError as error:
        assert str(error).isprintable()
print("done")
"""


@pytest.mark.slow
def test_damage_to_hdf5_is_refused_or_ends_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libhdf5 may hang or crash on one; the process that reads it ends, and the file is refused."""
    need("h5py")
    monkeypatch.setattr(hdf5, "SECONDS", 2)
    here = Path(__file__).parent
    begin, ended = 0, 0
    while begin < TRIALS:
        words = [str(here), str(here.parents[1]), str(begin), str(TRIALS)]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *words],
            capture_output=True,
            text=True,
            timeout=SECONDS * TRIALS,
            check=False,
        )
        last = done.stdout.split()[-1]
        assert done.returncode <= 0 or "Timeout (0:00:03)" in done.stderr, done.stderr
        if last == "done":
            break
        begin, ended = int(last) + 1, ended + 1
        rng, whole = random.Random(7), sample(".h5")
        (*_, content) = (damaged(whole, rng) for _ in range(begin))
        for suffix, bad in ((".h5", content), (".keras", in_keras(content))):
            with pytest.raises(
                InputError, match=r"crashed, hung, or ran out of memory|not read after"
            ):
                load(write(tmp_path, suffix, bad))
    assert ended <= 3, "the damage that ends a process is rare"


def in_keras(content: bytes) -> bytes:
    """A .keras file with this content as its weights."""
    return zipped(unzipped(sample(".keras")) | {"model.weights.h5": content})


def test_damage_to_keras_archives_is_refused_or_harmless(tmp_path: Path) -> None:
    rng = random.Random(3)
    whole = sample(".keras")
    said = []
    for trial in range(25):
        path = write(tmp_path, ".keras", damaged(whole, rng))
        try:
            assert valid(load(path), len(whole)), trial
        except InputError as error:
            said.append(str(error))
    assert said
    assert all(text.isprintable() for text in said)


def test_a_file_that_makes_the_library_hang_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is seen to work: the process is one that computes for ever."""
    need("h5py")
    monkeypatch.setattr(hdf5, "START", hdf5.START.replace(
        "serve(asked)", "from grus.files.hdf5 import limit; limit(2**33, 1)\n"
        "while True: pass",
    ))  # fmt: skip
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    with pytest.raises(InputError, match=r"hung|not read after"):
        load(write(tmp_path, ".h5", sample(".h5")))
