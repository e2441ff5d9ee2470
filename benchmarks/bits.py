"""Whether two versions give the same bits: outputs, states and gradients of every cell, hashed.

    python benchmarks/bits.py SOURCE OTHER_SOURCE [--cells gru lstm] [--shapes 40]

SOURCE is a folder that holds the package, such as ``src`` of a worktree. Each version runs in a
process of its own, on the same cells (the table of the tests), shapes, numbers and options. Prints
how many calls were compared and which differ; exits 1 where one does. A cell that one version
refuses and the other runs differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
OPTIONS = (
    {},
    {"batch_first": True, "states": True},
    {"bidirectional": True},
    {"lengths": True, "states": True},
    {"resets": True, "states": True},
    {"num_layers": 2, "bidirectional": True, "lengths": True},
    {"recompute": True, "states": True},
    {"bias": False},
    {"numpy": True, "lengths": True, "resets": True},
    {"steps": True},
    {"layer_norm": "split", "zoneout": 0.1, "weight_dropout": 0.2},
)
"""What a call is given, one after the other over the shapes; ``numpy`` is `grus.run`."""


def shapes(count: int) -> Iterator[tuple[int, int, int, int]]:
    """(time, batch, input, hidden): small odd ones, and some that fill tiles and threads."""
    draw = Random(1)
    for k in range(count):
        top = 70 if k % 4 == 3 else 20
        yield draw.randint(1, 24), draw.randint(1, 19), draw.randint(1, top), draw.randint(4, top)


def hashed(arrays: Any) -> str:
    """One hash of all arrays, their dtypes and shapes."""
    total = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array)
        total.update(f"{plain.dtype} {plain.shape} ".encode() + plain.tobytes())
    return total.hexdigest()[:16]


def call(cell: Any, dtype: str, shape: tuple[int, ...], options: dict[str, Any], seed: int) -> str:
    """The hash of one call forward and backward; of a refusal its sentence."""
    import torch

    import grus
    from grus.errors import InputError

    time, batch, inputs, hidden = shape
    inputs = hidden if cell.shapes.equal else inputs
    draw = np.random.default_rng(seed)
    torch.manual_seed(seed)
    steps = {}
    if options.get("lengths"):
        steps["lengths"] = draw.integers(0, time + 1, batch)
    if options.get("resets"):
        steps["resets"] = draw.random((time, batch)) < 0.2
    kept = {k: v for k, v in options.items() if k in _OF_LAYERS}
    projected = {"proj_size": 3} if "projection" in str(cell.shapes) else {}
    try:
        layer = grus.Recurrent(
            cell,
            inputs,
            hidden,
            dtype=getattr(torch, dtype),
            backend="kernels",
            **kept,
            **projected,
        )
        x = torch.from_numpy(draw.normal(size=(time, batch, inputs)).astype(dtype))
        if options.get("numpy"):
            record = grus.dialects.TorchRecord(cell)
            named = {n: p.detach() for n, p in layer.named_parameters()}
            weights = record.families(
                {n.removesuffix("_l0"): p for n, p in named.items()},
                record.bias_size({n.removesuffix("_l0"): p for n, p in named.items()}),
                x.new_zeros,
                torch.cat,
            )
            result = grus.run(cell, {f: w.numpy() for f, w in weights.items()}, x.numpy(), **steps)
            return hashed([result.output, *result.state])
        x = (x.transpose(0, 1).contiguous() if kept.get("batch_first") else x).requires_grad_()
        start = None
        if options.get("states"):
            _, state = layer(x.detach())
            whole = state if isinstance(state, tuple) else (state,)
            start = tuple(torch.from_numpy(draw.normal(size=s.shape).astype(dtype)) for s in whole)
            start = tuple(s.requires_grad_() for s in start)
        first = start if start is None or len(start) > 1 else start[0]
        if options.get("steps"):
            return hashed([a.detach().numpy() for a in _by_steps(layer, x, torch)])
        output, state = layer(x, first, **{k: torch.from_numpy(v) for k, v in steps.items()})
        after = state if isinstance(state, tuple) else (state,)
        loss = sum(
            (a * torch.from_numpy(draw.normal(size=a.shape).astype(dtype))).sum()
            for a in (output, *after)
        )
        asked = [x, *(start or ()), *layer.parameters()]
        grads = torch.autograd.grad(loss, asked, allow_unused=True)
    except (InputError, TypeError, ValueError) as error:
        return f"refused: {str(error)[:60]}"
    return hashed(
        [
            *(a.detach().numpy() for a in (output, *after)),
            *(g.numpy() for g in grads if g is not None),
        ]
    )


_OF_LAYERS = (
    "batch_first", "bidirectional", "num_layers", "recompute", "bias",
    "layer_norm", "zoneout", "weight_dropout",
)  # fmt: skip


def _by_steps(layer: Any, x: Any, torch: Any) -> list[Any]:
    """The outputs of single steps."""
    state, outputs = None, []
    with torch.no_grad():
        for row in x:
            output, state = layer.step(row, state)
            outputs.append(output)
    return outputs


def every(chosen: list[str], count: int) -> dict[str, str]:
    """The hash of every call, by what it was."""
    import torch

    sys.path.insert(0, str(TESTS))
    from cells import ALL_CELLS

    torch.set_num_threads(2)
    found = {}
    for name, cell in ALL_CELLS.items():
        if chosen and name not in chosen:
            continue
        for dtype in ("float32", "float64"):
            for k, shape in enumerate(shapes(count)):
                options = OPTIONS[k % len(OPTIONS)]
                key = f"{name} {dtype} T{shape[0]} B{shape[1]} I{shape[2]} H{shape[3]} {options}"
                found[key] = call(cell, dtype, shape, options, k)
    return found


def main() -> int:
    """Compare two versions; 0 where all bits are equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="+")
    parser.add_argument("--cells", nargs="*", default=[])
    parser.add_argument("--shapes", type=int, default=40)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(every(asked.cells, asked.shapes)))
        return 0
    results = []
    for source in asked.source:
        words = [sys.executable, __file__, str(source), "--child", "--shapes", str(asked.shapes)]
        words += ["--cells", *asked.cells]
        env = {**os.environ, "PYTHONPATH": str(source.resolve())}
        done = subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    first = results[0]
    refused = sum(v.startswith("refused") for v in first.values())
    unequal = [key for key in first if any(r.get(key) != first[key] for r in results)]
    print(f"{len(first)} calls, {refused} refused, {len(unequal)} differ")
    print(*(f"  {key}: {[r.get(key) for r in results]}" for key in unequal), sep="\n")
    return int(bool(unequal))


if __name__ == "__main__":
    sys.exit(main())
