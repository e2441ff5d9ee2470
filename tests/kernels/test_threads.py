"""Threads: none of the ways in which a team of threads can hang or give other bits. Each in a
process of its own, with a limit of time."""

from __future__ import annotations

from pathlib import Path

import pytest

import child
from child import SETUP, needs_torch, needs_two
from grus.kernels import split, threads

CHECK = """
want = parts(forward(one_row, threads=1)) + parts(forward(many_rows, threads=1))
found = parts(forward(one_row, threads=None)) + parts(forward(many_rows, threads=None))
same("threads", found, want)
print(seen[-2:])
"""


def test_a_cell_without_products_shares_its_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "limit", lambda: 2)
    long, short = (1000, 32, 256), (10, 2, 16)
    for (steps, batch, hidden), wanted in ((long, 2), (short, 1)):
        work = split.Work(steps, batch, 0, 0, hidden, 0, 0, 0, hidden // 16)
        found = split.choose(work, None)
        assert found == split.Split(wanted, False)


@needs_torch
@needs_two
def test_two_threads_are_used_where_there_are_two() -> None:
    assert "[(2, True), (2, False)]" in child.run(SETUP + "torch.set_num_threads(2)" + CHECK)


@needs_torch
@needs_two
def test_a_smaller_team_than_was_asked_for_does_all_the_work() -> None:
    """OMP_THREAD_LIMIT=1 gives a team of one: a barrier for two would never open."""
    printed = child.run(SETUP + CHECK, OMP_THREAD_LIMIT="1", OMP_NUM_THREADS="2")
    assert "[(2, True), (2, False)]" in printed, (
        "two threads must be asked for, or nothing is shown"
    )


@needs_torch
@needs_two
def test_omp_num_threads_is_followed() -> None:
    assert "[(1, False), (1, False)]" in child.run(SETUP + CHECK, OMP_NUM_THREADS="1")


PINNED = """
import os
cpu = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpu})
"""
TIMED = """
forward(one_row, threads=None)
begin = time.perf_counter()
forward(one_row, threads=None)
print(seen[-1], time.perf_counter() - begin < 1.0)
"""


@needs_torch
@needs_two
def test_pinned_to_one_processor_there_is_one_thread() -> None:
    assert child.run(PINNED + SETUP + TIMED) == "(1, False) True\n"


@needs_torch
@needs_two
def test_pinned_after_two_threads_were_used_there_is_one_thread() -> None:
    code = SETUP + "torch.set_num_threads(2)\nforward(one_row, threads=None)\n" + PINNED + TIMED
    assert child.run(code) == "(1, False) True\n"


@needs_torch
@needs_two
def test_more_threads_than_processors_yield_at_barriers() -> None:
    """200 barriers of two threads on one processor: spinning out a time slice (some ms) at each
    would take a second; a bounded spin and a yield take a few ms."""
    code = "from grus.kernels import threads\nthreads.limit = lambda: 2\n"
    assert child.run(PINNED + SETUP + code + TIMED) == "(2, True) True\n"


CONCURRENT = """
from concurrent.futures import ThreadPoolExecutor
torch.set_num_threads(2)
import grus
layer = grus.GRU(64, 256)
xs = [torch.randn(30, 1 + k % 3, 64) for k in range(12)]

def train(x):
    y, h = layer(x)
    grads = torch.autograd.grad(y.square().sum() + h.sum(), list(layer.parameters()))
    return [t.detach().numpy() for t in (y, h, *grads)]

def infer(x):
    with torch.no_grad():
        return [t.numpy() for t in layer(x)]

alone = [infer(x) for x in xs], [train(x) for x in xs]
for _ in range(5):
    with ThreadPoolExecutor(6) as pool:
        inferred = list(pool.map(infer, xs))
        trained = list(pool.map(train, xs))
    for found, want in zip(inferred, alone[0]):
        same("inference", found, want)
    for found, want in zip(trained, alone[1]):
        # Gradients of weights are sums that another number of threads forms in another order.
        same("training", found[:2], want[:2])
        for f, w in zip(found[2:], want[2:]):
            assert np.allclose(f, w, rtol=1e-4, atol=1e-4 * np.abs(w).max())
assert (2, True) in seen and (1, False) in seen, set(seen)
print("done")
"""


@needs_torch
@needs_two
def test_several_python_threads_may_call_one_layer_at_once() -> None:
    assert child.run(SETUP + CONCURRENT) == "done\n"


FIRST_AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor
from grus.kernels import jit
count, compiled = [], jit.Compiled.__init__
jit.Compiled.__init__ = lambda *a: (count.append(1), compiled(*a))[1]
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda _: parts(forward(many_rows, threads=None)), range(16)))
for one in found:
    same("at once", one, found[0])
print(len(count))
"""


@needs_torch
def test_first_calls_at_once_compile_once() -> None:
    assert child.run(SETUP + FIRST_AT_ONCE) == "1\n"


CHANGED = """
want = parts(forward(one_row, threads=1)), parts(forward(many_rows, threads=1))
for count in (2, 1, 2, 1, 2):
    torch.set_num_threads(count)
    for problem, bits in zip((one_row, many_rows), want):
        same("changed", parts(forward(problem, threads=None)), bits)
        assert seen[-1][0] == count, seen[-1]
print("done")
"""


@needs_torch
@needs_two
def test_the_number_of_threads_may_change_between_calls() -> None:
    assert child.run(SETUP + CHANGED) == "done\n"


DENORMAL = """
import numpy as np
from dataclasses import replace
torch.set_num_threads(2)

def denormal(problem):
    tiny = np.finfo(problem.dtype).smallest_subnormal * np.arange(1, 65)
    start = problem.start[0] * 0 + np.resize(tiny, problem.start[0].shape)
    return replace(problem, x=problem.x * 0, start=(start.astype(problem.dtype),))

for dtype in ("float32", "float64"):
    for sizes in ((1, 32, 16, 512), (2, 1, 16, 512)):
        p = draw(ALL_CELLS["gru"], sizes, dtype)
        weights = {f: w * 0 for f, w in p.weights.items()}  # h_next = h / 2, a denormal
        p = denormal(replace(p, weights=weights))
        want = parts(forward(p, threads=None))
        assert want[0].any(), "nothing denormal is in the result"
        assert torch.set_flush_denormal(True)
        found = parts(forward(p, threads=None)) + parts(forward(p, threads=1))
        flushed = not (torch.full((4,), 1e-40) * 0.5).any()
        torch.set_flush_denormal(False)
        same("flushing", found, want + want)
        assert flushed, "the mode was not put back"
print("done")
"""


@needs_torch
def test_flushing_denormals_in_torch_changes_no_bit_and_stays_on() -> None:
    import torch

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    assert child.run(SETUP + DENORMAL) == "done\n"


MAPS = "7f00-7f01 r-xp 00000000 08:01 42   /usr/lib/{name}\n"


@pytest.mark.parametrize(
    "name", ["libgomp.so.1 (deleted)", "a folder/libgomp-1.so", "libgomp.so.1"]
)
def test_a_runtime_whose_file_was_replaced_has_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "maps"
    file.write_text("7f00-7f01 rw-p 00000000 00:00 0\n" + MAPS.format(name=name))
    monkeypatch.setattr(threads, "MAPS", str(file))
    assert threads._loaded_runtime() == f"/usr/lib/{name.removesuffix(' (deleted)')}"


def test_a_runtime_that_cannot_be_reached_is_none() -> None:
    assert threads._library("/usr/lib/libgomp-that-is-not-there.so.1") is None
