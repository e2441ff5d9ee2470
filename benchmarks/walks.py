"""How far a call walks: Python calls, functions and files of the package, cold and warm.

    python benchmarks/walks.py

Counts are exact and the same on every machine. A function of the package counts, what it calls in
torch or NumPy does not; the lines are those of the files that were entered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import grus

PACKAGE = str(Path(grus.__file__).parent)
FEATURES = 8


@dataclass
class Walk:
    """What was entered, in order."""

    entered: list[tuple[str, str, int]] = field(default_factory=list)
    """File, name and first line of each function, once for each call."""

    def __enter__(self) -> Walk:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name != "<module>":
            self.entered.append((code.co_filename, code.co_name, code.co_firstlineno))

    def __str__(self) -> str:
        files = {file for file, _, _ in self.entered}
        lines = sum(len(Path(file).read_text("utf-8").splitlines()) for file in files)
        return (
            f"{len(self.entered):6,} calls {len(set(self.entered)):4} functions"
            f" {len(files):3} files {lines:6,} lines"
        )


def walk(call: Callable[[], Any], warm: int) -> Walk:
    """The walk of a call after ``warm`` others."""
    for _ in range(warm):
        call()
    with Walk() as walked:
        call()
    return walked


def main() -> None:
    """Print a line for each way of calling."""
    layer, stack = grus.GRU(FEATURES, FEATURES), grus.GRU(FEATURES, FEATURES, num_layers=2)
    x, lengths = torch.randn(10, 2, FEATURES), torch.tensor([10, 6])
    resets = torch.zeros(10, 2, dtype=torch.bool)
    cell, row = grus.GRUCell(FEATURES, FEATURES), torch.randn(2, FEATURES)

    def backward() -> Walk:
        for _ in range(5):
            layer(x)[0].sum().backward()
        loss = layer(x)[0].sum()
        with Walk() as walked:
            loss.backward()
        return walked

    print(f"{'first call, with gradients':32}", walk(lambda: layer(x), 0))
    with torch.no_grad():
        print(f"{'without gradients':32}", walk(lambda: layer(x), 5))
    print(f"{'with gradients':32}", walk(lambda: layer(x), 5))
    # The engine runs backward in this thread where no device but the CPU takes part.
    print(f"{'backward of a sum':32}", backward())
    print(f"{'lengths=, with gradients':32}", walk(lambda: layer(x, lengths=lengths), 5))
    print(f"{'resets=, with gradients':32}", walk(lambda: layer(x, resets=resets), 5))
    print(f"{'two layers, with gradients':32}", walk(lambda: stack(x), 5))
    print(f"{'a cell, with gradients':32}", walk(lambda: cell(row), 5))


if __name__ == "__main__":
    main()
