"""The same plan for every instruction set of the table: those this processor has are run."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

import child
from agreement import check_backward, check_forward, draw, train
from cells import ALL_CELLS
from grus.errors import InputError
from grus.kernels import jit, make_plan
from grus.kernels.machine import (
    AVX2,
    AVX512,
    MACHINES,
    NEON,
    SSE2,
    Machine,
    Target,
    choose,
    restrict,
)
from grus.kernels.program import cell_program
from grus.kernels.to_llvm import to_llvm

X86 = [m for m in MACHINES.values() if m.x86]
SIZES = [(2, 11, 3, 17), (3, 1, 5, 9), (2, 5, 1, 67)]


def has(machine: Machine) -> bool:
    """Whether the host runs this entry's code: its own entry, or a narrower one of its kind."""
    host = jit.host()
    return host.x86 and machine.x86 and machine.vector_bytes <= host.vector_bytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("machine", X86, ids=lambda m: m.name)
def test_narrower_vectors_and_no_fused_multiply_add_agree_with_the_reference(
    machine: Machine, dtype: str, recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has(machine):
        pytest.skip(f"this processor has no {machine.name}")
    monkeypatch.setattr(jit, "host", lambda: machine)
    for sizes in SIZES:
        run = train(draw(ALL_CELLS["gru_reset_before"], sizes, dtype))
        check_forward(run)
        check_backward(run)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
@pytest.mark.parametrize("openmp", [False, True])
def test_code_generation_takes_the_text_for_every_machine(
    machine: Machine, dtype: str, openmp: bool
) -> None:
    program = cell_program(make_plan(ALL_CELLS["lstm"]), Target(machine, dtype), ("h_next",))
    triple = "x86_64-unknown-linux-gnu" if machine.x86 else "aarch64-unknown-linux-gnu"
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this LLVM has no code generator for {triple}")
    features = {AVX512: "+avx512f,+avx512vl,+avx512dq,+avx512bw,+fma", AVX2: "+avx2,+fma"}
    module = llvm.parse_assembly(to_llvm(program, machine, threads=openmp))
    module.verify()
    code = target.create_target_machine(features=features.get(machine, "")).emit_assembly(module)
    register = {AVX512: "%zmm", AVX2: "%ymm", SSE2: "%xmm", NEON: "fmla"}[machine]
    assert register in code
    assert "fmaf" not in code, "a fused multiply-add became a library call"
    assert "call\tfma" not in code


def test_a_processor_gets_the_widest_entry_that_it_has_all_features_of() -> None:
    wide = ["avx512f", "avx512vl", "avx512dq", "avx512bw"]
    every = dict.fromkeys([*wide, "avx2", "fma"], True)
    assert choose("x86_64-pc-linux-gnu", every) is AVX512
    for missing in wide:
        assert choose("x86_64-pc-linux-gnu", every | {missing: False}) is AVX2
    assert choose("x86_64-pc-linux-gnu", every | {"avx512f": False, "fma": False}) is SSE2
    assert choose("x86_64-pc-linux-gnu", {}) is SSE2
    assert choose("arm64-apple-darwin", {}) is NEON
    assert choose("aarch64-unknown-linux-gnu", {}) is NEON


RESTRICTED = """
import re, warnings
warnings.simplefilter("ignore")
from agreement import check_backward, check_forward, draw, train
from cells import ALL_CELLS
from grus.kernels import jit
from grus.kernels.show import asm_text
for dtype in ("float32", "float64"):
    run = train(draw(ALL_CELLS["gru"], (3, 11, 3, 17), dtype))
    check_forward(run)
    check_backward(run)
found = sorted(set(re.findall("%([xyz]mm|k[0-7])", asm_text(ALL_CELLS["gru"]))))
print(jit.host().name, *sorted({name[0] for name in found}))
"""


@pytest.mark.parametrize(
    ("machine", "registers"), [(SSE2, "x"), (AVX2, "x y")], ids=lambda v: getattr(v, "name", "")
)
def test_a_process_restricted_to_narrower_instructions_uses_no_wider_ones(
    machine: Machine, registers: str
) -> None:
    if not has(machine):
        pytest.skip(f"this processor has no {machine.name}")
    printed = child.run(RESTRICTED, GRUS_MACHINE=machine.name)
    assert printed.split(maxsplit=1) == [machine.name, f"{registers}\n"]


def test_an_unknown_or_wider_restriction_is_refused() -> None:
    assert restrict(AVX512, "avx2") is AVX2
    assert restrict(SSE2, "sse2") is SSE2
    with pytest.raises(InputError, match="must be one of avx512, avx2, sse2, neon, got 'avx'"):
        restrict(AVX512, "avx")
    for own, wanted in ((AVX2, "avx512"), (SSE2, "avx2"), (AVX512, "neon"), (NEON, "sse2")):
        with pytest.raises(InputError, match=r"which this processor .* does not have"):
            restrict(own, wanted)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
@pytest.mark.parametrize("chains", [1, 2, 3, 4, 5, 8, 24, 40])
def test_every_tile_fits_in_the_registers_and_every_size_has_a_tile(
    machine: Machine, chains: int
) -> None:
    tiles = machine.tiles(chains)
    assert [rows for rows, _ in tiles] == sorted({rows for rows, _ in tiles}, reverse=True)
    assert tiles[-1][0] == 1, "one row alone must have a tile"
    for rows, widths in tiles:
        assert widths == tuple(sorted(widths, reverse=True))
        assert widths[-1] == 1, "one vector alone must have a tile"
        assert rows * widths[0] * chains < machine.registers or (rows, widths) == (1, (1,))


@pytest.mark.parametrize("triple", ["riscv64-unknown-linux-gnu", "i686-linux", "ppc64le-linux", ""])
def test_a_processor_that_the_table_does_not_know_is_refused(triple: str) -> None:
    with pytest.raises(
        InputError, match=f"no kernels for the processor {triple.split('-', maxsplit=1)[0]}"
    ):
        choose(triple, {})


def test_known_processors_are_taken_for_what_they_are() -> None:
    assert choose("x86_64-unknown-linux-gnu", {}) is SSE2
    assert choose("aarch64-apple-darwin", {}) is NEON


UNKNOWN = """
import platform, warnings
platform.machine = lambda: "riscv64"
import numpy as np
import grus
weights = {f: np.ones(grus.CELLS["gru"].family_shape(f, {"input": 2, "hidden": 3})) for f in "WUbd"}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(3):
        grus.run("gru", weights, np.ones((4, 1, 2)))
print([str(w.message) for w in said])
"""


def test_on_an_unknown_processor_the_reference_runs_and_it_is_said_once() -> None:
    printed = child.run(UNKNOWN)
    assert printed == "['grus: no kernels for the processor riscv64; the slow reference runs']\n"
