"""A small long table: sequences of two channels and different lengths, rising or falling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

QUICK: dict[str, Any] = {
    "hidden": 6, "epochs": 3, "batch": 8, "threads": 1, "lr": 0.02, "validation": 0.2, "test": 0.2,
    "channels": "a,b",
}  # fmt: skip


def columns(count: int = 60, seed: int = 0, missing: bool = False) -> dict[str, list[Any]]:
    """A data frame's columns: sequence, a, b, label, slope, and chance, a label at random."""
    draw = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"sequence": [], "a": [], "b": [], "label": [], "slope": []}
    rows |= {"chance": []}
    for k in range(count):
        length = int(draw.integers(3, 9))
        slope = float(draw.choice([-1.0, 1.0]) * draw.uniform(0.5, 1.5))
        a = slope * np.arange(length) + draw.normal(size=length) * 0.3
        b = draw.normal(size=length)
        if missing and k % 3 == 0:
            b[1] = np.nan
        rows["sequence"] += [f"s{k}"] * length
        rows["a"] += a.tolist()
        rows["b"] += [None if np.isnan(v) else v for v in b.tolist()]
        rows["label"] += ["up" if slope > 0 else "down"] * length
        rows["chance"] += [str(draw.integers(2))] * length
        rows["slope"] += [slope] * length
    return rows


def write_csv(path: Path, held: dict[str, list[Any]] | None = None, separator: str = ",") -> Path:
    """The columns as a file."""
    held = columns() if held is None else held
    lines = [separator.join(held)]
    for row in zip(*held.values(), strict=True):
        lines.append(separator.join("" if v is None else str(v) for v in row))
    path.write_text("\n".join(lines) + "\n")
    return path
