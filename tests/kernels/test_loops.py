"""The loop language: programs evaluated in NumPy give the bits of the compiled kernels; they print
themselves and are read back; what the language does not allow is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from agreement import draw, train
from cells import ALL_CELLS
from grus import runtime
from grus.equations import Cell
from grus.equations.regularised import zoneout
from grus.kernels import call, compiling, jit, program, show, split, terms, threads
from grus.kernels.arithmetic import fma
from grus.kernels.ir import Code, Function
from grus.kernels.loops import LoopError
from grus.kernels.loops_text import parse
from grus.kernels.machine import AVX2, MACHINES, NEON, SSE2, Machine, Target
from grus.kernels.meaning import Meaning
from grus.kernels.to_llvm import to_llvm
from grus.runtime import arrays

Array = np.ndarray
CELLS = [name for name in ALL_CELLS if name != "zoneout"]  # a mask per sequence: no kernels
SMALL, TWO_TILES = (2, 2, 3, 5), (2, 3, 2, 17)


class Evaluated(Meaning):
    """What stands for compiled code."""

    def __init__(self, loops: Any, symbols: dict[str, int]) -> None:
        del symbols
        super().__init__(loops)


@contextmanager
def evaluated(machine: Machine | None = None) -> Iterator[None]:
    """Kernels, and the products of their gradients, are not compiled but evaluated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call, "_kernel", lru_cache(call._kernel.__wrapped__))
        patch.setattr(compiling, "_compile", lru_cache(compiling._compile.__wrapped__))
        for module in (program, terms):
            patch.setattr(module, "to_llvm", lambda loops, *_, **__: loops)
        patch.setattr(jit, "Compiled", Evaluated)
        if machine:
            patch.setattr(jit, "host", lambda: machine)
        for calls in ("forwards", "backwards"):
            made = getattr(arrays, calls)
            patch.setattr(arrays, calls, lru_cache(made.__wrapped__))
        yield


def results(cell: Cell, sizes: tuple[int, int, int, int], most: int = 1) -> list[Array]:
    """All that a forward and a backward call give."""
    run = train(draw(cell, sizes), threads=most)
    p, rng = run.problem, np.random.default_rng(1)
    dy, *dfinal = (
        rng.normal(size=array.shape).astype(p.dtype) for array in (run.output, *run.final)
    )
    found = runtime.backward(
        p.cell, p.weights, p.x, run.output, run.saved, dy, tuple(dfinal), threads=most
    )
    assert found.x is not None
    return [run.output, *run.final, run.saved, found.x, *found.h0, *found.weights.values()]


def same(found: list[Array], want: list[Array]) -> None:
    for k, (one, other) in enumerate(zip(found, want, strict=True)):
        assert one.tobytes() == other.tobytes(), f"result {k}"


@pytest.mark.parametrize("name", CELLS)
def test_a_program_means_in_numpy_what_the_kernel_computes(name: str) -> None:
    want = results(ALL_CELLS[name], SMALL)
    with evaluated():
        same(results(ALL_CELLS[name], SMALL), want)


@pytest.mark.parametrize("way", ["rows", "hidden"])
@pytest.mark.parametrize("name", ["gru_reset_before", "layer_norm_gru"])
def test_two_threads_in_step_compute_what_two_threads_do_and_do_not_race(
    name: str, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not threads.openmp():
        pytest.skip("no OpenMP runtime: there is one thread")
    monkeypatch.setattr(split, "forced", way)
    want = results(ALL_CELLS[name], TWO_TILES, most=2)
    with evaluated():
        same(results(ALL_CELLS[name], TWO_TILES, most=2), want)


def test_a_barrier_left_out_is_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    if not threads.openmp():
        pytest.skip("no OpenMP runtime: there is one thread")
    monkeypatch.setattr(split, "forced", "hidden")
    monkeypatch.setattr(Code, "barrier", lambda *_: None)
    with evaluated(), pytest.raises(LoopError, match=r"thread \d (reads|writes) what thread \d"):
        results(ALL_CELLS["gru"], TWO_TILES, most=2)


def test_a_barrier_that_not_all_come_to_is_waited_at_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not threads.openmp():
        pytest.skip("no OpenMP runtime: there is one thread")
    right = Code.barrier
    monkeypatch.setattr(Code, "barrier", lambda f, parties: right(f, f.add(parties, 1)))
    monkeypatch.setattr(split, "forced", "hidden")
    with evaluated(), pytest.raises(LoopError, match="wait for ever"):
        results(ALL_CELLS["gru"], TWO_TILES, most=2)


@pytest.mark.parametrize("machine", [AVX2, NEON], ids=lambda m: m.name)
def test_another_machine_has_the_bits_of_this_one(machine: Machine) -> None:
    """Sums over time and batch are the same too: each output has one chain."""
    if not jit.host().fma:
        pytest.skip("this processor rounds products")
    want = results(ALL_CELLS["gru"], SMALL)
    with evaluated(machine):
        same(results(ALL_CELLS["gru"], SMALL), want)


@pytest.mark.parametrize(
    "options", [{"lengths": [3, 0, 2]}, {"resets": True}, {"narrow": "weights"}]
)
def test_variants_mean_what_they_compute(options: dict[str, Any]) -> None:
    p = draw(ALL_CELLS["gru"], (3, 3, 2, 5))
    given = {"lengths": None, "resets": None, "narrow": "", **options}
    if options.get("lengths"):
        given["lengths"] = np.array(options["lengths"])
    if options.get("resets"):
        given["resets"] = np.random.default_rng(0).random((3, 3)) < 0.5
    want = runtime.run(p.cell, p.weights, p.x, p.start, **given)
    with evaluated():
        found = runtime.run(p.cell, p.weights, p.x, p.start, **given)
    same([found.output, *found.state], [want.output, *want.state])


def test_masks_are_drawn_alike() -> None:
    p = draw(zoneout(ALL_CELLS["gru"], {"h": 0.3}), (3, 2, 2, 5))
    want = runtime.run(p.cell, p.weights, p.x, p.start, seed=7)
    with evaluated():
        same([runtime.run(p.cell, p.weights, p.x, p.start, seed=7).output], [want.output])


def test_programs_are_read_back_as_they_were_printed() -> None:
    cells = ("gru", "layer_norm_gru", "lstm_projected", "gru_reset_before")
    for name, machine, backward in zip(cells, MACHINES.values(), (True, False) * 2, strict=True):
        found = show.loops(ALL_CELLS[name], backward=backward, machine=machine.name)
        assert parse(str(found)) == found
    target = Target(SSE2, "float64")
    again = parse(str(terms.loops(target)))
    printed = to_llvm(terms.loops(target), SSE2, threads=True)
    assert to_llvm(again, SSE2, threads=True) == printed


def test_fused_multiply_add_is_rounded_once() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (3, 3000), np.uint64).astype("u4")
    bits[:, :2000] = bits[:, :2000] & 0x807FFFFF | 0x3F000000  # about one: sums that cancel
    bits[2, :1000] = (bits[0, :1000] & 0x7FFFFFFF) ^ 0x80000000
    a, b, c = (v[np.isfinite(bits.view("f4")).all(axis=0)] for v in bits.view("f4"))
    with np.errstate(all="ignore"):
        found = fma(a, b, c)
        for x, y, z, got in zip(*(v.tolist() for v in (a, b, c, found)), strict=True):
            exact = Fraction(x) * Fraction(y) + Fraction(z)
            nearest = np.float32(got)
            if np.isfinite(nearest):
                off = abs(Fraction(float(nearest)) - exact)
                ends = (np.nextafter(nearest, np.float32(e)) for e in (-np.inf, np.inf))
                assert all(off <= abs(Fraction(float(e)) - exact) for e in ends if np.isfinite(e))


Wrong = Callable[[Function], Any]


def _wrong_of_names(f: Function) -> None:
    with f.each(0, f.named["n"], 1) as i:
        inside = f.add(i, 1)
    f.add(inside, 1)


WRONG: dict[str, tuple[Wrong, str]] = {
    "types": (lambda f: f.let("add", f.named["n"], f.load(f.named["p"])), "add does not take"),
    "numbers": (lambda f: f.let("fma", f.named["n"], 1, 2), "fma does not take"),
    "constants": (lambda f: f.let("add", f.named["n"], 0.5), "add does not take"),
    "operations": (lambda f: f.let("power", f.named["n"], 2), "no operation power"),
    "addresses": (lambda f: f.let("at", f.named["n"], 8), "at does not take"),
    "spaces": (lambda f: f.do("barrier", f.local(128, 64), 2), "barrier does not take"),
    "names": (_wrong_of_names, "not known outside of the block"),
    "lanes": (
        lambda f: f.let("shuffle", f.load(f.named["p"]), detail=(99,)),
        "shuffle of .* has no lane 99",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_language_does_not_allow_is_refused_where_it_is_built(what: str) -> None:
    wrong, message = WRONG[what]
    with pytest.raises(LoopError, match=message):
        wrong(Function(Target(AVX2, "float32"), "f", "p: pointer, n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v1: index = add n, m", "there is no value m"),
        ("n: index = add n, 1", "n is defined twice"),
        ("v1: float32 = add n, 1", "add gives index, not float32"),
        ("call @g(n)", "there is no function g"),
        ("call @f(n)", "f does not take"),
        ("store float32[8] n, p align 4", "store does not take"),
        ("post n", "post does not take"),
        ("anything n", "there is no effect anything"),
    ],
)
def test_text_that_is_no_program_is_refused(line: str, message: str) -> None:
    with pytest.raises(LoopError, match=message):
        parse(f"function f(p: pointer, n: index)\n  {line}\n")


def test_a_statement_that_the_printer_does_not_know_is_refused() -> None:
    """It would be left out of the machine code without a word."""
    program_ = parse("function f(p: pointer, n: index)\n  a: index = add n, 1\n")
    program_.functions[0].body.append(object())
    with pytest.raises(LoopError, match="no statement: <object"):
        to_llvm(program_, SSE2, threads=False)
