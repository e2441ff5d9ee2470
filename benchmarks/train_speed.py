"""`grus train` with grus' GRU and with torch.nn.GRU in its place, in turns, in one process.

    python benchmarks/train_speed.py FILE [--hidden 256 --embedding 64 --batch 32 --seq-len 35]

Both runs start from the same weights and read the same text in the same loop, reports, validation
and saving included. Blocks of steps alternate, so that whatever else the machine does meets both;
the figures are medians over the blocks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from torch import nn

from grus.equations import cell
from grus.models import corpus, run as runs
from grus.models.corpus import Architecture
from grus.models.run import Run, characters_per_second
from grus.models.settings import Settings

LAYERS = {"grus": None, "torch.nn.GRU": nn.GRU}
WARM_UP = 5


def start(options: argparse.Namespace, folder: Path) -> dict[str, Run]:
    """One run for each layer, a few steps old."""
    source = corpus.Source(str(options.file))
    read = corpus.read(source)
    shape = Architecture(
        cell("gru"), read.vocabulary, hidden=options.hidden, embedding=options.embedding
    )
    settings = Settings(
        seq_len=options.seq_len,
        batch=options.batch,
        steps=WARM_UP + options.blocks * options.steps,
        report_every=options.steps,
        threads=options.threads,
    )
    found = {}
    for name, make in LAYERS.items():
        found[name] = runs.start(folder / name, source, read, shape, settings, make)
        characters_per_second(found[name], WARM_UP)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    for name, default in (("hidden", 256), ("embedding", 64), ("batch", 32), ("seq-len", 35)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--blocks", type=int, default=7, help="blocks of each layer")
    parser.add_argument("--steps", type=int, default=143, help="steps in a block, then a report")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {name: [] for name in LAYERS}
    with tempfile.TemporaryDirectory() as folder:
        started = start(options, Path(folder))
        for _ in range(options.blocks):
            for name, run in started.items():
                speeds[name].append(characters_per_second(run, options.steps))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name, found in speeds.items():
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        print(f"{name:14} {medians[name]:10,.0f} characters/s  ({spread})")
    ratio = medians["grus"] / medians["torch.nn.GRU"]
    print(f"grus / torch.nn.GRU {ratio:.2f}, {options.threads} threads")


if __name__ == "__main__":
    main()
