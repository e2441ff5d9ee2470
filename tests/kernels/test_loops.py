"""The loop language: programs print themselves and are read back; what the language does not allow
is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from cells import ALL_CELLS
from grus.kernels import several_calls, show, terms
from grus.kernels.arithmetic import fma
from grus.kernels.builder import Builder
from grus.kernels.loops import LoopError
from grus.kernels.loops_text import parse
from grus.kernels.machine import AVX2, MACHINES, SSE2, Target
from grus.kernels.to_llvm import to_llvm

Array = np.ndarray


CELLS = [name for name in ALL_CELLS if name != "zoneout"]  # a mask per sequence: no kernels


@pytest.mark.parametrize("name", CELLS)
def test_a_program_is_read_back_as_it_was_printed(name: str) -> None:
    """Its text and its LLVM text are the same: nothing is lost on the way."""
    for k, backward in enumerate((False, True)):
        machine = list(MACHINES.values())[(CELLS.index(name) + k) % len(MACHINES)]
        program = show.loops(ALL_CELLS[name], backward=backward, machine=machine.name)
        again = parse(str(program))
        assert again == program
        assert to_llvm(again, machine, threads=True) == to_llvm(program, machine, threads=True)


@pytest.mark.parametrize("build", [terms.loops, several_calls.loops, terms.sum_loops])
def test_so_are_the_programs_beside_the_cells(build: Any) -> None:
    program = build(Target(SSE2, "float64"))
    printed = to_llvm(program, SSE2, threads=True)
    assert to_llvm(parse(str(program)), SSE2, threads=True) == printed


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


Wrong = Callable[[Builder], Any]


def _wrong_of_names(f: Builder) -> None:
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
        wrong(Builder(Target(AVX2, "float32"), "f", "p: pointer, n"))


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
