"""Reading a file in a process of its own: what it says, how much memory it took, what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from grus.errors import InputError
from grus.files.formats import load
from grus.files.layers import Layer, Reading

SECONDS = 60
# The libraries are loaded first, so that what is measured is the file's doing. RLIMIT_AS makes a
# larger request fail at once, whatever the machine would have lent.
CHILD = """
import json, resource, sys
from pathlib import Path
from grus.files.formats import load
from grus.errors import InputError
import numpy, safetensors.numpy
for name in ("h5py", "onnx"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
before = peak()
said = []
for path in sys.argv[1].split("|"):
    try:
        load(path)
        said.append("")
    except InputError as error:
        said.append(str(error))
# A process that reads HDF5 starts with this one's peak and loads the same libraries.
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"said": said, "grown": max(peak(), child) - before}))
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a file. ``grown``: bytes by which the peak of resident memory rose, here or in
    the process that reads HDF5."""

    said: str
    grown: int


def read_in_child(*paths: Path, allowed: int = 512 * 2**20) -> Outcome:
    """Read files where no more than ``allowed`` bytes may be mapped beyond the libraries'.

    ``said`` is what was said of the last; where there are several, each must be refused.
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is measured through /proc, which this system does not have")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "|".join(map(str, paths)), str(allowed)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(paths) == 1 or all(found["said"])
    return Outcome(found["said"][-1], found["grown"])


def refused(path: Path) -> str:
    """The sentence with which a file is refused; it must be one printable line with the path."""
    before = {p.name for p in path.parent.iterdir()}
    with pytest.raises(InputError) as caught:
        load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
    assert len(said) < len(str(path)) + 500
    assert {p.name for p in path.parent.iterdir()} == before, "nothing is written"
    return said


def readings(layers: Iterable[Layer]) -> list[tuple[Reading, ...]]:
    """What each layer is; raises for the first that is refused."""
    return [one.readings for one in layers]
