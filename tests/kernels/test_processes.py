"""What a process is asked for: no thread that a fork left behind, no second OpenMP runtime, nothing
on disk."""

from __future__ import annotations

import os

import pytest

import child
from child import SETUP, needs_torch, needs_two

FORK = """
torch.set_num_threads(2)
import grus
layer, x = grus.GRU(64, 256), torch.randn(100, 1, 64)

def train():
    y, h = layer(x)
    layer.zero_grad()
    (y.square().mean() + h.sum()).backward()
    return [p.grad.numpy().copy() for p in layer.parameters()]

def infer():
    with torch.no_grad():
        return [t.numpy() for t in layer(x)]

want, backward, inferred = parts(forward(one_row, threads=None)), gradients(one_row, None), infer()
train()
assert (2, True) in seen
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    same("after fork", parts(forward(one_row, threads=None)), want)
    assert seen[-1] == (1, False), seen[-1]
    same("after fork", gradients(one_row, None)[-2:], backward[-2:])
    same("after fork", infer(), inferred)
    # torch's own products hang in such a child unless it is told, as its data loader tells it:
    torch.set_num_threads(1)
    assert all(np.isfinite(g).all() for g in train())
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
same("the parent goes on", parts(forward(one_row, threads=None)), want)
assert seen[-1] == (2, True)
print("done")
"""


@needs_torch
@needs_two
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_after_fork_does_not_wait_for_threads_that_it_does_not_have() -> None:
    assert child.run(SETUP + FORK) == "done\n"


FORK_WHILE_COMPILING = """
import faulthandler, os, threading, time
from agreement import draw
from bits import forward
from cells import ALL_CELLS
from grus.kernels import jit
begun, compiled = threading.Event(), jit.Compiled.__init__

def slowly(*args):
    begun.set()
    time.sleep(1)
    compiled(*args)

jit.Compiled.__init__ = slowly
other = threading.Thread(
    target=forward, args=[draw(ALL_CELLS["rnn"], (1, 1, 1, 1))])
other.start()
begun.wait()
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    forward(draw(ALL_CELLS["rnn_relu"], (1, 1, 1, 1)))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
other.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_compiles_does_not_leave_a_lock_behind() -> None:
    assert child.run(FORK_WHILE_COMPILING) == "done\n"


WITHOUT_TORCH = """
import sys, warnings
sys.modules["torch"] = None
from agreement import draw
from bits import forward, parts, same
from cells import ALL_CELLS
from grus.kernels import threads
looked, look = [], threads._loaded_runtime
threads._loaded_runtime = lambda: (looked.append(1), look())[1]
problem = draw(ALL_CELLS["gru"], (100, 1, 64, 256), "float32")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    first = parts(forward(problem, threads=None))
    for _ in range(3):
        same("again", parts(forward(problem, threads=None)), first)
print([str(w.message) for w in said])
assert len(looked) == 1, "looking takes half a millisecond: once is enough"
"""


@needs_two
def test_without_an_openmp_runtime_one_thread_runs_and_it_is_said_once() -> None:
    printed = child.run(WITHOUT_TORCH)
    assert printed.count("no OpenMP runtime") == 1, printed
    assert printed.count("', '") == 0, printed


TORCH_LATER = """
import numpy as np, sys, warnings
from agreement import draw
from bits import forward, parts, same
from cells import ALL_CELLS
problem = draw(ALL_CELLS["gru"], (100, 1, 64, 256), "float32")
warnings.simplefilter("ignore")
assert "torch" not in sys.modules
first = parts(forward(problem, threads=None))
import torch
torch.set_num_threads(2)
from grus.kernels import threads
assert threads.limit() == 2
same("with torch", parts(forward(problem, threads=None)), first)
print("done")
"""


@needs_torch
@needs_two
def test_torch_imported_later_brings_its_threads() -> None:
    assert child.run(TORCH_LATER) == "done\n"


RUNTIMES = """
import os, sys, warnings
from agreement import draw
from bits import forward
from cells import ALL_CELLS
warnings.simplefilter("ignore")
def runtimes():
    with open("/proc/self/maps") as maps:
        return len({line.split()[-1] for line in maps if "gomp" in line or "libomp" in line})
problem = draw(ALL_CELLS["gru"], (100, 1, 64, 256), "float32")
forward(problem, threads=None)
alone = runtimes()
import torch
forward(problem, threads=None)
print(alone, runtimes())
"""


@needs_torch
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_no_openmp_runtime_is_loaded_beside_torchs() -> None:
    assert child.run(RUNTIMES) in ("0 1\n", "0 0\n")


WRITES = """
import os, sys
written = []
def hook(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        written.append(args[0])
import warnings
from agreement import check_backward, draw, train
from cells import ALL_CELLS
warnings.simplefilter("ignore")
sys.dont_write_bytecode = True
sys.addaudithook(hook)
check_backward(train(draw(ALL_CELLS["gru"], (2, 2, 3, 5))))
print(written)
"""


def test_compiling_writes_no_file() -> None:
    assert child.run(WRITES) == "[]\n"


OWN_THREADS = """
import os, sys, threading
import numpy as np
import grus
from agreement import draw
from bits import same
from cells import ALL_CELLS
from grus.equations.regularised import recurrent_dropout, zoneout
from grus.kernels import split
from grus.runtime import arrays
assert "torch" not in sys.modules
shares, real = [], arrays.at_once
arrays.at_once = lambda jobs: shares.append(len(jobs)) or real(jobs)
split.SHARE = 0.0  # so that small calls are shared, too

CELLS = {name: ALL_CELLS[name] for name in ("gru", "lstm")}
CELLS["masks"] = zoneout(recurrent_dropout(CELLS["gru"], 0.2), {"h": 0.1})

def parts(name, threads, **options):
    p = draw(CELLS[name], (9, 21, 5, 24), "float32")
    found = grus.run(p.cell, p.weights, p.x, p.start, threads=threads, seed=3, **options)
    return (found.output, *found.state)

rng = np.random.default_rng(0)
lengths = rng.integers(0, 10, 21)
resets = rng.random((9, 21)) < 0.2
resets[:, :16] = False
every = [{}, {"reverse": True}, {"lengths": lengths}, {"resets": resets},
         {"lengths": lengths, "resets": resets, "reset_to": "h0", "reverse": True}]
for options in every:
    for name in CELLS:
        for count in (2, None):
            same(options, parts(name, count, **options), parts(name, 1, **options))
assert shares == [2] * 30, shares
shares.clear()
child = os.fork()
if child == 0:
    same("forked", parts("gru", 2), parts("gru", 1))
    os._exit(0 if not shares else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
before = threading.active_count()
for _ in range(20):
    parts("gru", 2)
assert threading.active_count() == before <= os.cpu_count()
import atexit
atexit.register(lambda: (parts("gru", 2), print("done")))
"""


@needs_two
def test_without_openmp_rows_are_shared_by_threads_of_python() -> None:
    assert child.run(OWN_THREADS, OMP_NUM_THREADS="2") == "done\n"
