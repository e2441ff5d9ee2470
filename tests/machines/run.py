"""The kernel tests on instruction sets that this processor does not choose by itself.

    python tests/machines/run.py [avx2 sse2 neon] [--jobs 2]

AVX2 and SSE2: the whole of tests/kernels in a process whose code generator is restricted
(GRUS_MACHINE). NEON: what checks numbers and bits, in a Python for AArch64 that qemu runs; see
`arm`. What this machine cannot run is said, and passed over.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import arm

from grus.errors import InputError
from grus.kernels import jit
from grus.kernels.machine import MACHINES, restrict

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "tests" / "kernels"
# What starts other processes, compares with torch or takes the machine's own entry apart means
# nothing in emulation.
EMULATED = (
    "test_agreement.py",
    "test_lengths_resets.py",
    "test_random_cells.py",
    "test_bits.py",
    "test_masks.py",
    "test_sequences.py",
    "test_functions.py",
    "test_special_values.py",
    "test_arguments.py",
    "test_add.py",
)


def files(name: str) -> list[Path]:
    """The test files that run for a machine of the table, those that take longest first."""
    if name == "neon" and not here(name):
        return [KERNELS / file for file in EMULATED]
    found = {KERNELS / file for file in EMULATED}
    return sorted(KERNELS.glob("test_*.py"), key=lambda path: (path not in found, path))


def here(name: str) -> bool:
    """Whether this processor runs the machine's code by itself."""
    try:
        restrict(jit.host(), name)
    except InputError:
        return False
    return True


def command(name: str) -> list[str]:
    """The Python that runs the tests of a machine; raises `arm.MissingError` without one."""
    if here(name):
        return [sys.executable]
    if name != "neon":
        raise arm.MissingError(f"this processor has no {name}")
    return arm.python(arm.root())


def test(name: str, python: list[str], file: Path) -> bool:
    """Run one file, print how it went."""
    before = time.monotonic()
    # Files run side by side; what is about threads asks for its own number of them.
    own = {"GRUS_MACHINE": name, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = os.environ | own
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", str(file)]
    done = subprocess.run(
        [*python, "-m", "pytest", *options],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2].strip("= ")
    print(f"{name} {file.name}: {last} ({time.monotonic() - before:.0f} s)", flush=True)
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


def main() -> None:
    """Run what was asked for; exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [name for name in MACHINES if name != "avx512"]
    parser.add_argument("machines", nargs="*", choices=[*names, []], default=names)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    passed = True
    for name in options.machines:
        try:
            python = command(name)
        except arm.MissingError as missing:
            print(f"{name}: skipped, {missing}", flush=True)
            continue
        with ThreadPoolExecutor(options.jobs) as pool:
            found = pool.map(lambda file, n=name, p=python: test(n, p, file), files(name))  # type: ignore[misc]
            passed = all([*found]) and passed
    sys.exit(not passed)


if __name__ == "__main__":
    main()
