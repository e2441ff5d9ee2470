"""The training loop of `grus train` with grus' GRU and with torch.nn.GRU, in turns, in one process.

    python benchmarks/train_speed.py FILE [--hidden 256 --embedding 64 --batch 32 --seq-len 35]

Both models start from the same weights and read the same text. Blocks of steps alternate, so that
whatever else the machine does meets both; the figures are medians over the blocks.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import nn

from grus.equations import cell
from grus.models.architecture import Architecture
from grus.models.language import LanguageModel
from grus.models.settings import Settings
from grus.models.text import Source, read
from grus.models.train import characters_per_second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    for name, default in (("hidden", 256), ("embedding", 64), ("batch", 32), ("seq-len", 35)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--blocks", type=int, default=7, help="blocks of each layer")
    parser.add_argument("--steps", type=int, default=40, help="steps in a block")
    options = parser.parse_args()
    text = read(Source(str(options.file)))
    shape = Architecture(
        cell("gru"), text.vocabulary, hidden=options.hidden, embedding=options.embedding
    )
    settings = Settings(seq_len=options.seq_len, batch=options.batch, steps=options.steps)
    speeds: dict[str, list[float]] = {"grus": [], "torch.nn.GRU": []}
    models = {}
    for name, make in (("grus", None), ("torch.nn.GRU", nn.GRU)):
        torch.manual_seed(0)
        models[name] = LanguageModel(shape, make_layer=make)
        characters_per_second(models[name], torch.from_numpy(text.ids), settings, 5)  # warm up
    for _ in range(options.blocks):
        for name, model in models.items():
            ids = torch.from_numpy(text.ids)
            speeds[name].append(characters_per_second(model, ids, settings, options.steps))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name, found in speeds.items():
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        print(f"{name:14} {medians[name]:10,.0f} characters/s  ({spread})")
    ratio = medians["grus"] / medians["torch.nn.GRU"]
    print(f"grus / torch.nn.GRU {ratio:.2f}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
