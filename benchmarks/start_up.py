"""What must be waited for once: `import grus`, and each kernel when it is first used.

    python benchmarks/start_up.py [--runs 5 --cells gru lstm]

Every figure is the processor time of a fresh process, user and system, since waiting for the
other work of the machine says nothing; the smallest of some runs is printed. Sizes do not matter:
they are arguments of the compiled code.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

IMPORT = """
from time import process_time
start = process_time()
import grus
print(1e3 * (process_time() - start))
"""
COMPILE = """
import warnings
from time import process_time
warnings.simplefilter("ignore")  # without torch there is no OpenMP runtime, and it is said
from grus.equations import CELLS
from grus.kernels import jit, layout
from grus.kernels.call import kernel
jit.host()
cell = CELLS[{cell!r}]
start = process_time()
kept = layout(cell)
if {call!r} == "inference":
    kernel(cell, {dtype!r}, (cell.output,))
elif {call!r} == "training":
    kernel(cell, {dtype!r}, (cell.output, *kept.saved))
else:
    kernel(kept.derived.cell, {dtype!r}, kept.adjoints, kept.sums, cell)
print(1e3 * (process_time() - start))
"""


def least(code: str, runs: int) -> float:
    """The smallest number that some fresh processes print."""
    command = [sys.executable, "-c", code]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(runs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument(
        "--cells", nargs="+", default=["gru", "lstm", "rnn", "gru_reset_before", "lstm_projected"]
    )
    options = parser.parse_args()
    print(f"import grus: {least(IMPORT, options.runs):.0f} ms")
    print("| cell | inference | training | backward |\n| --- | --- | --- | --- |")
    for cell in options.cells:
        found = [
            least(COMPILE.format(cell=cell, call=call, dtype=options.dtype), options.runs)
            for call in ("inference", "training", "backward")
        ]
        print(f"| {cell} | {' | '.join(f'{ms:.0f} ms' for ms in found)} |")


if __name__ == "__main__":
    main()
