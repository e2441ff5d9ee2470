"""Built models in a stream: an audio callback, a sample a step; frames of 10 ms through three GRUs.

    python benchmarks/built_streams.py [--steps 100000]

Each is C by ``cc -O3 -march=native``, one thread. Sound comes first, then silence, through which
states fall until they are denormal. Prints the real-time factor (the time of a step over the time
that it stands for), the worst step of all, the mean of the last tenth of the silence over that of
the sound, and what the object asks of others: nothing but memcpy and memset.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from grus.builds import build

SOURCE = """#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int main(int count, char **words)
{
    static model_state state;
    static float x[MODEL_INPUTS], y[MODEL_OUTPUTS];
    const int steps = count > 1 ? atoi(words[1]) : 1, sound = steps / 2, last = steps - steps / 10;
    double total = 0.0, worst = 0.0, loud = 0.0, quiet = 0.0;
    unsigned noise = 1;
    model_reset(&state);
    for (int t = 0; t < steps; ++t) {
        for (int k = 0; k < MODEL_INPUTS; ++k) {
            noise = noise * 1664525u + 1013904223u;
            x[k] = t < sound ? (float)(int)noise * 4e-10f : x[k] * 0.5f;
        }
        const double begin = now();
        model_step(&model_weights, &state, x, y);
        const double took = now() - begin;
        total += took;
        worst = took > worst ? took : worst;
        if (t < sound) {
            loud += took / sound;
        } else if (t >= last) {
            quiet += took / (steps - last);
        }
    }
    printf("%f %f %f\\n", total / steps, worst, quiet / loud);
    return y[0] > 1e9f;
}
"""


class Frames(nn.Module):
    """Three GRUs, one behind the other, and a gain for each band."""

    def __init__(self, bands: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(bands, hidden, num_layers=3, batch_first=True)
        self.gains = nn.Linear(hidden, bands)

    def forward(self, x: Tensor) -> Tensor:
        """Gains [batch, time, bands]."""
        return torch.sigmoid(self.gains(self.gru(x)[0]))


class Sample(nn.Module):
    """A GRU that reads a sample and gives one."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True, bias=False)
        self.out = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Samples [batch, time, 1]."""
        return self.out(self.gru(x)[0])


@dataclass(frozen=True)
class Stream:
    """A model, and the microseconds that a step stands for."""

    name: str
    module: nn.Module
    stands_for: float
    weights: str = "float32"


def measured(stream: Stream, steps: int, folder: Path) -> str:
    """One line about a stream."""
    settings = {"weights": "int8", "largest": 1.0} if stream.weights == "int8" else {}
    built = build(stream.module, folder, **settings)  # type: ignore[arg-type]
    (folder / "stream.c").write_text(SOURCE)
    flags = ("-std=gnu99", "-O3", "-march=native")
    command = ["cc", *flags, "model.c", "stream.c", "-o", "stream"]
    subprocess.run(command, cwd=folder, check=True)
    subprocess.run(["cc", *flags, "-c", "model.c"], cwd=folder, check=True)
    done = subprocess.run(
        ["./stream", str(steps)], cwd=folder, capture_output=True, text=True, check=True
    )
    mean, worst, quiet = map(float, done.stdout.split())
    asked = subprocess.run(
        ["nm", "-u", "model.o"], cwd=folder, capture_output=True, text=True, check=True
    )
    needs = " ".join(asked.stdout.replace("U ", "").split()) or "nothing"
    return (
        f"{stream.name}, {stream.weights}: {mean:.2f} us a step, real-time factor"
        f" {mean / stream.stands_for:.4f}, worst {worst:.0f} us; silence {quiet:.2f} times as long;"
        f" weights {built.weights:,} bytes; asks for {needs}"
    )


def main() -> None:
    """Run every stream."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=100_000)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    sample, frame = 1e6 / 48_000, 1e4
    streams = [
        *(Stream(f"samples at 48 kHz, H {h}", Sample(h), sample) for h in (16, 40)),
        Stream("frames of 10 ms, 3 x 256", Frames(40, 256), frame),
        Stream("frames of 10 ms, 3 x 384", Frames(65, 384), frame),
        Stream("frames of 10 ms, 3 x 384", Frames(65, 384), frame, "int8"),
    ]
    for stream in streams:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(stream, steps if stream.stands_for < 100 else steps // 5, Path(folder)))


if __name__ == "__main__":
    main()
