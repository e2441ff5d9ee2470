"""What must be waited for once stays short: importing, and compiling a kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agreement import draw
from bits import forward
from cells import ALL_CELLS
from grus.equations import Cell
from grus.kernels import jit, show, tile

# Compiling takes 25 to 30 us a line, far more regularly than clocks on a busy machine tell: as many
# lines as there were when that was less than 150 ms, and a few more.
LINES = {"gru": 3700, "lstm": 4400, "rnn": 3600, "gru_reset_before": 5400}


def lines(cell: Cell, *, backward: bool) -> int:
    return show.llvm_text(cell, backward=backward, machine="avx512").count("\n")


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", LINES)
def test_a_kernel_is_short_enough_to_be_compiled_quickly(name: str, backward: bool) -> None:
    assert lines(ALL_CELLS[name], backward=backward) < LINES[name]


def test_equations_printed_into_every_tile_would_be_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tile, "shared", lambda *_: False)
    assert lines(ALL_CELLS["gru"], backward=False) > LINES["gru"]


def test_other_sizes_threads_and_directions_compile_nothing_again(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    right = jit.Compiled.__init__

    def counted(self: jit.Compiled, text: str, symbols: dict[str, int]) -> None:
        compiled.append(text)
        right(self, text, symbols)

    monkeypatch.setattr(jit.Compiled, "__init__", counted)
    cell = ALL_CELLS["rnn"]
    for sizes in ((1, 1, 1, 1), (3, 9, 5, 67), (50, 2, 7, 16), (2, 33, 1, 130)):
        for threads in (1, 2, None):
            forward(draw(cell, sizes), threads=threads)
            forward(draw(cell, sizes), threads=threads, reverse=True)
    assert len(compiled) == 1
    forward(draw(cell, (1, 1, 1, 1), "float64"))
    assert len(compiled) == 2


IMPORT = """
import resource, sys
import grus
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, *({"numpy", "llvmlite", "torch"} & set(sys.modules)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system does not count processor time")
def test_importing_takes_less_than_150_ms_and_brings_no_numpy_compiler_or_torch() -> None:
    # Processor time of the whole process, the interpreter's own start included; the best of some.
    command = [sys.executable, "-c", IMPORT]
    runs = [subprocess.check_output(command, text=True).split() for _ in range(3)]
    assert [found[1:] for found in runs] == [[], [], []]
    assert min(float(found[0]) for found in runs) < 0.15
