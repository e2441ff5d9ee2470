"""One step of a built GRU against the package's own stepper and ONNX Runtime, one thread.

    python benchmarks/built_steps.py [--hidden 16 40 128 256 512 1024] [--rounds 7]

Builds C in float32 and int8, compiles it with ``cc -O3 -march=native``, and times every way by
turns; all are checked against `grus.run` first. Prints microseconds a step (medians of the rounds)
and bytes of the weights.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch

import grus
from grus.builds import Model, build, read_model

TIMER = """#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **words)
{
    static model_state state;
    static float x[MODEL_INPUTS], y[MODEL_OUTPUTS];
    const int steps = count > 1 ? atoi(words[1]) : 1;
    struct timespec a, b;
    for (int k = 0; k < MODEL_INPUTS; ++k) {
        x[k] = 0.01f * (float)(k % 7);
    }
    model_reset(&state);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int t = 0; t < steps; ++t) {
        model_step(&model_weights, &state, x, y);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.3f\\n", ((double)(b.tv_sec - a.tv_sec) * 1e9
        + (double)(b.tv_nsec - a.tv_nsec)) / steps);
    return y[0] > 2.0f;
}
"""


def compiled(model: Model, folder: Path, weights: str) -> tuple[Callable[[int], float], int]:
    """How long a step takes, in microseconds, as a function of the steps; bytes of the weights."""
    settings = {"weights": "int8", "largest": 3.0} if weights == "int8" else {}
    built = build(model, folder, **settings)  # type: ignore[arg-type]
    (folder / "timer.c").write_text(TIMER)
    flags = ("-std=gnu99", "-O3", "-march=native")
    for program, main in (("test", "model_test.c"), ("timer", "timer.c")):
        command = ["cc", *flags, "model.c", main, "-o", program]
        subprocess.run(command, cwd=folder, check=True)
    subprocess.run(["./test"], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def timed(steps: int) -> float:
        done = subprocess.run(
            ["./timer", str(steps)], cwd=folder, capture_output=True, text=True, check=False
        )
        return float(done.stdout) / 1000

    return timed, built.weights


def python(step: Callable[[], object]) -> Callable[[int], float]:
    """The same of a call."""

    def timed(steps: int) -> float:
        steps = min(steps, 3000)
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - begin) / steps * 1e6

    return timed


def ways(hidden: int, folder: Path) -> dict[str, tuple[Callable[[int], float], int]]:
    """Every way to take a step, and the bytes that its weights take."""
    torch.manual_seed(0)
    layer = grus.GRU(hidden, hidden)
    model = read_model(layer)
    x = torch.full((1, hidden), 0.01)
    out = torch.empty(1, hidden), torch.zeros(1, 1, hidden)
    stepper = layer.stepper()
    folder.joinpath("c").mkdir()
    folder.joinpath("int8").mkdir()
    path = folder / "gru.onnx"
    warnings.simplefilter("ignore")  # what torch says of its older exporter
    torch.onnx.export(
        torch.nn.GRU(hidden, hidden), (x[:, None], out[1]), path, dynamo=False,
        input_names=["x", "h"], output_names=["y", "h_next"],
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    read = {"x": x[:, None].numpy(), "h": out[1].numpy()}
    size = sum(p.numel() for p in layer.parameters()) * 4
    return {
        "C": compiled(model, folder / "c", "float32"),
        "C, int8": compiled(model, folder / "int8", "int8"),
        "stepper": (python(lambda: stepper(x, out[1], out=out)), size),
        "ONNX Runtime": (python(lambda: session.run(None, read)), size),
    }


def main() -> None:
    """Time every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--hidden", type=int, nargs="*", default=[16, 40, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for hidden in asked.hidden:
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            every = ways(hidden, Path(folder))
            steps = int(min(20000, 2e8 / hidden**2)) + 20
            times: dict[str, list[float]] = {name: [] for name in every}
            for _ in range(asked.rounds):
                for name, (timed, _) in every.items():
                    times[name].append(timed(steps))
        row = {name: statistics.median(values) for name, values in times.items()}
        listed = "  ".join(f"{name} {row[name]:.2f} us" for name in row)
        sizes = "  ".join(f"{name} {size:,}" for name, (_, size) in every.items())
        print(f"H {hidden}: {listed}\n    bytes: {sizes}")


if __name__ == "__main__":
    main()
