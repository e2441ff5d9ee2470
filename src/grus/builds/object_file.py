"""A model as an object file for another machine, by LLVM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from grus.builds.step_program import StepProgram
from grus.errors import InputError
from grus.kernels import jit, to_llvm


@dataclass(frozen=True)
class Processor:
    """What an object is for, in LLVM's words."""

    triple: str
    name: str = ""
    features: str = ""
    abi: str = ""

    @property
    def narrow(self) -> bool:
        """Whether addresses have 32 bits."""
        return self.triple.startswith(
            ("thumb", "arm", "riscv32", "wasm32", "i386", "i686", "xtensa")
        )


PROCESSORS = {
    "cortex-m4": Processor("thumbv7em-none-eabihf", "cortex-m4"),
    "cortex-m7": Processor("thumbv7em-none-eabihf", "cortex-m7"),
    "cortex-m55": Processor("thumbv8.1m.main-none-eabihf", "cortex-m55"),
    "riscv32": Processor("riscv32-unknown-elf", "generic-rv32", "+m,+f,+c", "ilp32f"),
    "aarch64": Processor("aarch64-none-elf", "generic"),
    "wasm32": Processor("wasm32-unknown-unknown", "generic", "+simd128,+bulk-memory"),
}
"""By the name that ``--cpu`` takes."""


def object_file(built: StepProgram, name: str, processor: Processor) -> bytes:
    """The object: the public functions and ``NAME_weights``.

    Raises InputError where the machine cannot round a * b + c once and the bits ask for it.
    """
    program, exported = built.public(name)
    text = to_llvm(program, built.machine, threads=False, exported=exported)
    if processor.narrow:  # an index is as wide as an address; a step has no other wide integer
        text = re.sub(r"\bi64\b", "i32", text)
    stored = b"".join(
        array.astype(array.dtype.newbyteorder("<")).tobytes() for array in built.packed
    )
    listed = "".join(f"\\{byte:02x}" for byte in stored)
    text += f'\n@{name}_weights = constant [{len(stored)} x i8] c"{listed}", align 16\n'
    code = jit.object_code(
        text,
        processor.triple,
        processor.name,
        processor.features,
        processor.abi,
        hosted=not processor.narrow,
    )
    if b"fmaf\0" in code:
        raise InputError(
            f"{processor.name or processor.triple} has no fused multiply-add, which the bits of"
            f" {built.machine.name} need; build with --bits sse2, or as C"
        )
    return _either_float_abi(code) if processor.triple.startswith(("thumb", "arm")) else code


def _either_float_abi(code: bytes) -> bytes:
    """An ARM object that says that callers of either float ABI may link with it: pointers alone are
    passed. LLVM as it is called here leaves that attribute out; it takes the place of one that has
    its default."""
    before, after = (bytes(pair) for pair in ((14, 0, 17, 1), (28, 3, 17, 1)))
    section = code.find(b"aeabi\0")
    place = code.find(before, section)
    if section < 0 or place < 0:
        raise InputError("LLVM wrote an object whose build attributes are not known")
    return code[:place] + after + code[place + len(after) :]
