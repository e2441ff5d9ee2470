"""Random layers under torch's transformations, beside torch's own. No part of the tests.

    python tests/layers/fuzz.py --minutes 60 [--seed 0]

Each case is a model with a layer of torch's, changed before; its copy is given to
`grus.accelerate`, both are changed after in the same way, and called in the same surroundings.
What torch's gives ours must: dtypes, and numbers and gradients as near to float64 as
`close` allows. Cases run in processes of many, so that a signal is a finding and not the end.
Prints each finding with its seed, and the counts; exits 1 where there was one.
"""

from __future__ import annotations

import argparse
import copy
import io
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, rnn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import grus

CHUNK = 100
LIMIT = 1200
"""Seconds for a chunk, which takes half a minute on a quiet core."""
SKIPPED = "not compared"
Module = nn.Module


class Model(nn.Module):
    """A recurrent layer between two others."""

    def __init__(self, layer: nn.Module, size: int, width: int) -> None:
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(size, size), layer, nn.Linear(width, 2)
        self.after = ""
        self.lengths: list[int] | None = None

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        hx = None if not states else states[0] if len(states) == 1 else states
        inner: Any = self.first(x)
        if self.lengths is not None:
            first = self.layer.batch_first
            inner = rnn.pack_padded_sequence(inner, self.lengths, first, enforce_sorted=False)
        y, final = self.layer(inner, hx)
        if self.lengths is not None:
            y, _ = rnn.pad_packed_sequence(y, self.layer.batch_first)
        y = INPLACE[self.after](y) if self.after else y
        return self.head(y), *((final,) if isinstance(final, Tensor) else final)


def drawn(rng: random.Random) -> tuple[Model, Tensor, tuple[Tensor, ...]]:
    """A model of torch's, an input and initial states (or none)."""
    kind = rng.choice([nn.GRU, nn.LSTM, nn.RNN])
    size, hidden, layers = rng.randint(1, 9), rng.choice([1, 3, 8, 17, 33]), rng.randint(1, 3)
    both, first = rng.random() < 0.4, rng.random() < 0.5
    more: dict[str, Any] = (
        {"proj_size": 2} if kind is nn.LSTM and hidden > 2 and rng.random() < 0.3 else {}
    )
    if kind is nn.RNN:
        more["nonlinearity"] = rng.choice(["tanh", "relu"])
    more |= {"bias": rng.random() < 0.8, "batch_first": first, "bidirectional": both}
    layer = kind(size, hidden, layers, **more)
    out = more.get("proj_size", hidden)
    time_, batch = rng.randint(1, 12), rng.randint(1, 9)
    x = torch.randn((batch, time_, size) if first else (time_, batch, size))
    if rng.random() < 0.2:
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    if rng.random() < 0.1:
        x = x[:1].expand(*x.shape)
    rows = layers * (2 if both else 1)
    sizes = (out, hidden) if kind is nn.LSTM else (out,)
    states = tuple(torch.randn(rows, batch, n) for n in sizes) if rng.random() < 0.5 else ()
    model = Model(layer, size, out * (2 if both else 1))
    if rng.random() < 0.2:
        model.lengths = [rng.randint(1, time_) for _ in range(batch)]
        model.lengths[0] = time_
    return model, x, states


def weight_norm(model: Model) -> None:
    parametrizations.weight_norm(model.layer, "weight_hh_l0")


def old_weight_norm(model: Model) -> None:
    nn.utils.weight_norm(model.layer, "weight_ih_l0")


def pruned(model: Model) -> None:
    prune.l1_unstructured(model.layer, "weight_hh_l0", 0.3)


def frozen(model: Model) -> None:
    next(iter(model.layer.parameters())).requires_grad_(False)


def hooked(model: Model) -> None:
    model.layer.register_forward_hook(lambda _m, _i, out: (out[0] * 2, out[1]))


def doubled(model: Model) -> None:
    model.double()


BEFORE: list[Callable[[Model], None]] = [
    weight_norm,
    old_weight_norm,
    pruned,
    frozen,
    hooked,
    doubled,
]


def copied(model: Model) -> Any:
    return copy.deepcopy(model)


def pickled(model: Model) -> Any:
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def loaded(model: Model) -> Any:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return model


def averaged(model: Model) -> Any:
    return AveragedModel(model)


def shared(model: Model) -> Any:
    return model.share_memory()


def stepped(model: Model) -> Any:
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.full_like(p, 0.5)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    model.zero_grad()
    return model


def freed(model: Model) -> Any:
    """A parameter's storage is given back and filled again, as sharding does."""
    p = next(iter(model.layer.parameters()))
    if p.is_shared():
        return model  # memory of several processes has one size
    kept, size = p.detach().clone(), p.untyped_storage().nbytes()
    p.untyped_storage().resize_(0)
    p.untyped_storage().resize_(size)
    with torch.no_grad():
        p.copy_(kept)
    return model


AFTER: list[Callable[[Model], Any]] = [copied, pickled, loaded, averaged, shared, stepped, freed]
INPLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": torch.relu_,
    "mul_": lambda y: y.mul_(2),
    "dropout": nn.Dropout(0.5, inplace=True).eval(),
}


def surrounded(rng: random.Random) -> Callable[[Any, Tensor, tuple[Tensor, ...]], Any]:
    """A way to call a model."""
    plain = rng.choice(
        [nullcontext, torch.no_grad, torch.inference_mode, torch.autograd.detect_anomaly,
         torch.autograd.graph.save_on_cpu, lambda: torch.autocast("cpu", torch.bfloat16)]
    )  # fmt: skip
    way = rng.choice(["call", "checkpoint", "functional", "trace"])

    def run(model: Any, x: Tensor, states: tuple[Tensor, ...]) -> Any:
        with plain():
            if way == "checkpoint" and torch.is_grad_enabled():
                return checkpoint(model, x, *states, use_reentrant=False)
            if way == "functional":
                held = {name: p.detach() * 1 for name, p in model.named_parameters()}
                return torch.func.functional_call(model, held, (x, *states))
            if way == "trace" and plain is torch.no_grad:
                return torch.jit.trace(model, (x, *states), check_trace=False)(x, *states)
            return model(x, *states)

    return run


def called(model: Any, x: Tensor, states: tuple[Tensor, ...], run: Any) -> list[Tensor] | str:
    """Outputs, states and gradients, or the name of the exception's family."""
    x, states = x.detach().clone().requires_grad_(), tuple(s.detach().clone() for s in states)
    torch.manual_seed(7)
    try:
        found = run(model, x, states)
        results = [y.detach().clone() for y in found]
        if found[0].requires_grad:
            sum((y.float() ** 2).sum() for y in found).backward()
            leaves = [p for p in model.parameters() if p.requires_grad]
            results += [t.grad if t.grad is not None else torch.zeros_like(t) for t in [x, *leaves]]
            model.zero_grad()
    except Exception as error:  # noqa: BLE001  that torch raises too is what is asked
        return f"raises: {error!r}"[:300]
    return results


def close(ours: Tensor, theirs: Tensor, truth: Tensor, rounding: float) -> bool:
    """Whether ours is as near to float64 as rounding allows.

    ``rounding`` is the epsilon of the narrowest dtype on the way, times the products that a number
    is a sum of, over the steps: each rounds a partial sum, for which the largest number stands.
    torch's own error stands for what was summed before.
    """
    scale = max(1.0, truth.abs().max().item()) if truth.numel() else 1.0
    allowed = 8 * (theirs.double() - truth).abs().max().item() if truth.numel() else 0.0
    worst = (ours.double() - truth).abs().max().item() if truth.numel() else 0.0
    return worst <= allowed + rounding * scale


def prepared(seed: int) -> tuple[random.Random, Model, Tensor, tuple[Tensor, ...], list[str]]:
    """The case's model of torch's, changed before, what it is given, and what was done; the same
    each time, since a layer with old weight_norm has no copy."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model, x, states = drawn(rng)
    done = []
    for change in rng.sample(BEFORE, rng.randint(0, 2)):
        if not isinstance(attempt(change, model), str):  # torch refuses some two together
            done.append(change.__name__)
    if "doubled" in done:
        x, states = x.double(), tuple(s.double() for s in states)
    if rng.random() < 0.3 and "hooked" not in done and model.lengths is None:
        model.after = rng.choice(list(INPLACE))
    return rng, model, x, states, done


def case(seed: int) -> str:
    """One case: what is wrong, else nothing."""
    rng, theirs, x, states, done = prepared(seed)
    ours, wide = prepared(seed)[1], prepared(seed)[1]
    every: list[Any] = [theirs, grus.accelerate(ours, say=None), wide.double()]
    for change in rng.sample(AFTER, rng.randint(0, 2)):
        done.append(change.__name__)
        ends = [attempt(change, one) for one in every]
        if any(isinstance(end, str) for end in ends):
            ours_alone = isinstance(ends[1], str) and not isinstance(ends[0], str)
            return f"{done}: torch does it, grus {ends[1]}" if ours_alone else f"{SKIPPED}: {ends}"
        every = ends
    return compared(every, x, states, surrounded(rng), f"{done} {theirs.layer}")


def compared(every: list[Any], x: Tensor, states: tuple[Tensor, ...], run: Any, done: str) -> str:
    """What torch's model and ours, the first two, give differently, else nothing; the third is
    torch's in float64."""
    results = [called(one, x, states, run) for one in every[:2]]
    if isinstance(results[0], str) or isinstance(results[1], str):
        refused = isinstance(results[0], str)  # ours may run what torch's own refuses
        return (
            f"{SKIPPED}: {results[0]}"
            if refused
            else f"{done}: torch runs it, grus {str(results[1])[:300]}"
        )
    truth = in_double(every[2], x, states, run)
    if isinstance(truth, str):
        return SKIPPED + truth
    width = max(p.shape[-1] for p in every[0].parameters() if p.dim() == 2) + 2
    terms = 8 * (x.shape[0] + x.shape[1]) * width
    eps = max(torch.finfo(one.dtype).eps for one in results[0])
    for k, (a, b, c) in enumerate(zip(results[1], results[0], truth, strict=True)):
        if a.dtype != b.dtype:
            return f"{done}: number {k} is {a.dtype}, torch's {b.dtype}"
        if not close(a, b, c.double(), terms * eps):
            return f"{done}: number {k} is {(a - b).abs().max().item():.3g} off"
    return ""


def attempt(change: Callable[[Any], Any], model: Any) -> Any:
    try:
        return change(model)
    except Exception as error:  # noqa: BLE001  that torch raises too is what is asked
        return f"raises: {error!r}"


def in_double(wide: Any, x: Tensor, states: tuple[Tensor, ...], run: Any) -> Any:
    """The same in float64, which autocast leaves alone."""
    return called(wide, x.double(), tuple(s.double() for s in states), run)


def chunk(first: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for seed in range(first, first + CHUNK):
        print(f"at {seed}", flush=True)
        wrong = case(seed)
        if wrong.startswith(SKIPPED):
            print(f"skipped {seed} {wrong}", flush=True)
        elif wrong:
            print(f"WRONG {seed}: {wrong}", flush=True)
    print("done", flush=True)


def run(words: list[str]) -> tuple[list[str], str]:
    """The lines that a chunk printed, and how it failed: a signal, an exception, no end."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        return text.splitlines(), f"no end after {LIMIT} s"
    failed = f"{done.returncode} {done.stderr[-300:]}" if done.returncode else ""
    return done.stdout.splitlines(), failed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chunk", type=int)
    asked = parser.parse_args()
    if asked.chunk is not None:
        chunk(asked.chunk)
        return 0
    end, first = time.monotonic() + 60 * asked.minutes, asked.seed
    cases = skipped = wrong = crashes = 0
    while time.monotonic() < end:
        words = [sys.executable, __file__, "--chunk", str(first)]
        lines, failed = run(words)
        cases += sum(line.startswith("at ") for line in lines)
        skipped += sum(line.startswith("skipped") for line in lines)
        wrong += sum(line.startswith("WRONG") for line in lines)
        print("\n".join(line for line in lines if line.startswith("WRONG")), end="", flush=True)
        if failed or lines[-1:] != ["done"]:
            crashes += 1
            print(f"CRASH {lines[-1:]} {failed}", flush=True)
        first += CHUNK
    print(f"{cases} cases, {skipped} not compared, {wrong} wrong, {crashes} crashes")
    return int(bool(wrong or crashes))


if __name__ == "__main__":
    sys.exit(main())
