"""What the plan and the printer need to know of an instruction set: a small table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from grus.errors import InputError
from grus.kernels.loops import INDEX, INT32, Type, type_of
from grus.kernels.steps import Narrow

VARIABLE = "GRUS_MACHINE"
"""Names an entry of the table that kernels are compiled for, instead of the widest one."""
DType = Literal["float32", "float64"]
ROW_TILES = (8, 4, 2, 1)
MOST_VECTORS = 4
# Independent accumulators that hide the latency of a fused multiply-add (4 cycles, 1 to 2 a cycle);
# 8 rows x 3 chains, 24 of them, ran near the peak of 117 GFLOP/s of a Zen 4 core.
ENOUGH_ACCUMULATORS = 12
LEAST = 4
"""With so many a multiply-add can begin at every cycle, if only one at a time: tiles between were
4 ms of compiling and no gain."""


@dataclass(frozen=True)
class Machine:
    """An instruction set: vector bytes, vector registers, fused multiply-add."""

    name: str
    vector_bytes: int
    registers: int
    fma: bool
    processor: str
    """A processor, as LLVM names them, that has this instruction set and nothing above it."""
    x86: bool = True

    def lanes(self, dtype: DType) -> int:
        """Elements per vector."""
        return self.vector_bytes // item_bytes(dtype)

    def tiles(self, chains: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Row tiles, each with its widths in vectors (widest first), for so many chains.

        All accumulators of a tile fit in the registers; a quarter of the registers stays free for
        operands.
        """
        room = self.registers * 3 // 4
        shapes = []
        for rows in ROW_TILES:
            if rows > 1 and rows * max(chains, 1) > room:
                continue
            width = 1
            while (
                rows * chains * width < ENOUGH_ACCUMULATORS
                and rows * chains * width * 2 <= room
                and width < MOST_VECTORS
            ):
                width *= 2
            widths = []
            while width:
                widths.append(width)
                # Two narrow tiles do for a middle one where each has sums enough by itself.
                width = 1 if rows > 1 and width > 2 and rows * chains >= LEAST else width // 2
            shapes.append((rows, tuple(widths)))
        return tuple(shapes)


def item_bytes(dtype: DType) -> int:
    """Bytes per number."""
    return 4 if dtype == "float32" else 8


@dataclass(frozen=True)
class Target:
    """What a program is built for: an instruction set and a number type."""

    machine: Machine
    dtype: DType
    narrow: Narrow = ""
    """What is bfloat16 in products, of float32."""

    @cached_property
    def lanes(self) -> int:
        """Numbers per vector."""
        return self.machine.lanes(self.dtype)

    @cached_property
    def item(self) -> int:
        """Bytes per number."""
        return item_bytes(self.dtype)

    @cached_property
    def number(self) -> Type:
        """The type of one number."""
        return type_of(self.dtype)

    @cached_property
    def integer(self) -> Type:
        """The integer as wide as a number."""
        return INT32 if self.item == 4 else INDEX

    @cached_property
    def vector(self) -> Type:
        """The vector of the machine's width."""
        return type_of(self.dtype, self.lanes)

    @cached_property
    def integers(self) -> Type:
        """The vector of integers as wide as numbers."""
        return type_of(self.integer.kind, self.lanes)


AVX512 = Machine("avx512", 64, 32, fma=True, processor="x86-64-v4")
AVX2 = Machine("avx2", 32, 16, fma=True, processor="x86-64-v3")
SSE2 = Machine("sse2", 16, 16, fma=False, processor="x86-64")
NEON = Machine("neon", 16, 32, fma=True, processor="generic", x86=False)
MACHINES = {m.name: m for m in (AVX512, AVX2, SSE2, NEON)}


def known(architecture: str) -> bool:
    """Whether the table has entries for processors of this name."""
    return architecture.lower().startswith(("aarch64", "arm64", "x86_64", "amd64"))


def choose(architecture: str, features: dict[str, bool]) -> Machine:
    """The widest entry of the table that this processor has, ``architecture`` being its triple.

    Raises InputError for a processor that the table does not know.
    """
    if not known(architecture):
        name = architecture.partition("-")[0]
        raise InputError(f"there are no kernels for the processor {name}")
    if architecture.startswith(("aarch64", "arm64")):
        return NEON
    if all(features.get(f) for f in ("avx512f", "avx512vl", "avx512dq", "avx512bw")):
        return AVX512
    if features.get("avx2") and features.get("fma"):
        return AVX2
    return SSE2


def restrict(widest: Machine, wanted: str) -> Machine:
    """The entry called ``wanted``, for a processor whose own entry is ``own``.

    Raises InputError for a name that is not in the table or that the processor does not have.
    """
    if wanted not in MACHINES:
        known = ", ".join(MACHINES)
        raise InputError(f"{VARIABLE} must be one of {known}, got {wanted!r}")
    machine = MACHINES[wanted]
    if machine.x86 != widest.x86 or machine.vector_bytes > widest.vector_bytes:
        raise InputError(
            f"{VARIABLE} is {wanted}, which this processor ({widest.name}) does not have"
        )
    return machine
