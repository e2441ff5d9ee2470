"""The switch that turns kernels off, and machines that do not allow them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import child
import grus
from agreement import draw
from cells import ALL_CELLS, draw_states, draw_weights, sizes
from child import needs_torch
from grus import InputError, reference
from grus.equations import Cell
from grus.kernels import UnsupportedCellError, backend, call

GRU = ALL_CELLS["gru"]


def test_kernels_run_unless_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    assert backend.backend() == "kernels"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_variable_makes_the_reference_run(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backend.VARIABLE, "reference")
    monkeypatch.setattr(call, "_kernel", None)
    p = draw(ALL_CELLS[name], (4, 3, 5, 7), dtype)
    found = grus.run(p.cell, p.weights, p.x, p.start, reverse=True)
    want = reference.run(p.cell, p.weights, p.x, p.start, reverse=True)
    assert found.output.dtype == dtype
    assert found.output.tobytes() == want.output.astype(dtype).tobytes()
    for one, other in zip(found.state, want.state, strict=True):
        assert one.tobytes() == other.astype(dtype).tobytes()


def test_the_reference_runs_cells_that_the_kernels_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell, rng = Cell.parse("h_next = tanh(W.a.T @ x + U.a @ h)"), np.random.default_rng(0)
    weights, x = draw_weights(cell, sizes(cell), rng), rng.normal(size=(4, 2, 3))
    start = draw_states(cell, sizes(cell), 2, rng)
    with pytest.raises(UnsupportedCellError):
        grus.run(cell, weights, x, start)
    monkeypatch.setenv(backend.VARIABLE, "reference")
    found = grus.run(cell, weights, x, start).output
    assert found.tobytes() == reference.run(cell, weights, x, start).output.tobytes()


@needs_torch
def test_the_variable_makes_layers_run_the_composite(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    layer, x = grus.GRU(3, 5), torch.randn(4, 2, 3)
    assert layer.path(x) == "kernels"
    want, _ = layer(x)
    monkeypatch.setenv(backend.VARIABLE, "reference")
    monkeypatch.setattr(call, "_kernel", None)
    assert layer.path(x) == "composite"
    found, _ = layer(x)
    assert np.allclose(found.detach(), want.detach(), atol=1e-6)


@pytest.mark.parametrize("value", ["Reference", "numpy", "", "kernels "])
def test_an_unknown_value_is_one_clear_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, value)
    p = draw(GRU, (4, 3, 5, 7))
    with pytest.raises(InputError) as raised:
        grus.run(p.cell, p.weights, p.x, p.start)
    assert str(raised.value) == f"GRUS_BACKEND must be kernels or reference, got {value!r}"


def test_run_brings_no_torch() -> None:
    code = """
import sys
import numpy as np, grus
from grus.kernels import threads
threads.limit = lambda: 1
rng = np.random.default_rng(0)
weights = {"W": rng.normal(size=(15, 3)), "U": rng.normal(size=(15, 5)),
           "b": rng.normal(size=15), "d": rng.normal(size=5)}
grus.run("gru", weights, rng.normal(size=(40, 16, 3)))
print([name for name in sys.modules if name.split(".")[0] == "torch"])
"""
    assert child.run(code) == "[]\n"


# Memory-Deny-Write-Execute: from here on the kernel (Linux 6.3 and later) refuses to make memory
# executable that was not, which is what hardened systems do for every process.
DENIED = """
import ctypes, sys, warnings
import numpy as np
import grus
from agreement import draw
from cells import ALL_CELLS
from grus import reference
IMPORTS
PR_SET_MDWE = 65
if ctypes.CDLL(None).prctl(PR_SET_MDWE, ctypes.c_ulong(1), *map(ctypes.c_ulong, (0, 0, 0))):
    print("not supported")
    raise SystemExit
p = draw(ALL_CELLS["gru"], (4, 3, 5, 7), "float64")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(3):
        CALL
messages = [str(w.message) for w in said]
assert len(messages) == 1 and "executable" in messages[0], messages
print("done")
"""
RUN = """found = grus.run(p.cell, p.weights, p.x, p.start).output
        assert np.array_equal(found, reference.run(p.cell, p.weights, p.x, p.start).output)"""
LAYER = """layer, x = grus.GRU(3, 5), torch.randn(4, 2, 3)
        assert layer.path(x) == "composite"
        layer(x)[0].sum().backward()"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can deny it so")
@pytest.mark.parametrize(
    ("imports", "call"),
    [
        pytest.param("", RUN, id="run"),
        pytest.param("import torch", LAYER, id="layers", marks=needs_torch),
    ],
)
def test_where_executable_memory_is_denied_the_reference_runs_and_it_is_said_once(
    imports: str, call: str
) -> None:
    printed = child.run(DENIED.replace("IMPORTS", imports).replace("CALL", call))
    if printed == "not supported\n":
        pytest.skip("this system cannot deny executable memory to one process")
    assert printed == "done\n"


def test_without_the_check_a_denied_process_would_fail() -> None:
    """The denial is real: kernels asked for all the same do not run."""
    forced = "from grus.kernels import backend; backend.executable_memory = lambda: True"
    code = DENIED.replace("IMPORTS", forced).replace("CALL", RUN)
    if sys.platform.startswith("linux") and child.run(DENIED_AT_ALL) == "denied\n":
        with pytest.raises(AssertionError, match="exit code"):
            child.run(code)
    else:
        pytest.skip("this system cannot deny executable memory to one process")


DENIED_AT_ALL = """
import ctypes
refused = ctypes.CDLL(None).prctl(65, ctypes.c_ulong(1), *map(ctypes.c_ulong, (0, 0, 0)))
print("not supported" if refused else "denied")
"""
