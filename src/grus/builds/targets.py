"""`grus.build`: a model as files for another machine."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from grus import atomic_file
from grus.builds import c_files, page_file, wasm_files
from grus.builds.model import Array, Model
from grus.builds.object_file import PROCESSORS, Processor, object_file
from grus.builds.ranges import operand_ranges, worst_errors
from grus.builds.source import read_model
from grus.builds.step_program import StepProgram
from grus.equations import Expr
from grus.errors import InputError, expect
from grus.kernels import MACHINES, Machine, jit, to_llvm
from grus.kernels.backend import backend

if TYPE_CHECKING:
    from torch import nn

Target = Literal["c", "object", "wasm", "page"]
TARGETS: tuple[Target, ...] = ("c", "object", "wasm", "page")
RECORDED = 8
"""Steps of the test of a build."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Built:
    """What was written: files by name; what the model takes, in bytes, and multiply-adds a step;
    the machine whose bits it has."""

    files: Mapping[str, bytes]
    weights: int
    state: int
    stack: int
    multiply_adds: int
    bits: str
    program: StepProgram = field(repr=False)
    errors: tuple[float, ...] = ()
    """Of int8: how far a sum of products can be from float32's at most, and how far outputs were
    on the data."""
    notes: tuple[str, ...] = ()

    def run(self, x: Array) -> Array:
        """The outputs [time, outputs] that the files give, bit for bit, for ``x`` [time, inputs] in
        float32, or whole numbers [time] below the count of symbols: the program itself on this
        processor, from the state 0. Raises InputError for another x."""
        return simulated(self.program, x)


def build(
    source: Path | str | nn.Module | Model,
    out: Path | str,
    target: Target = "c",
    *,
    name: str = "model",
    bits: str = "",
    cpu: str = "",
    dialect: str = "",
    logits: bool = False,
    weights: Literal["float32", "int8"] = "float32",
    largest: float | None = None,
    data: Array | None = None,
) -> Built:
    """Write a streaming model for another machine as files into the folder ``out``.

    ``source`` is a run of `grus train`, a weight file, an ONNX model or a torch module: recurrent
    layers of any cell, linear layers and activations, one behind the other, one step at a time, in
    float32. ``dialect`` says whose a weight file is that does not tell; ``logits`` leaves out a
    softmax at the end.

    ``target`` "c" gives ``NAME.h``, ``NAME.c`` (C99, no libm, no allocation) and ``NAME_test.c``,
    which compares recorded steps bit by bit; "object" ``NAME.o`` in the place of the source, for
    ``cpu`` (cortex-m4, cortex-m7, cortex-m55, riscv32, aarch64, wasm32, or
    TRIPLE[:CPU[:FEATURES[:ABI]]] as LLVM names them); "wasm" ``NAME.wasm``, ``NAME.mjs`` and
    ``NAME_test.mjs``, for which a linker must be installed (LLVM's lld, or `grus[wasm]`); "page",
    with the same linker, one file ``NAME.html`` in which a character model runs in a browser.

    Its numbers are, bit for bit, those of `grus.run` on the machine ``bits``: avx512, avx2, neon
    (those of all three are alike but in cells with means), or sse2, which has no fused
    multiply-add. By default that is this machine, and sse2 for WebAssembly.

    ``weights`` "int8" keeps matrices as int8 with a scale for each row, and rounds what they are
    multiplied with to 127ths of its range: sums are whole numbers, all else stays float32, and the
    bits are sse2's everywhere. States that the equations keep between -1 and 1 need no calibration;
    numbers that the model reads are at most ``largest`` (beyond it they are clipped), by default
    the largest of ``data`` [time, inputs], float32, on which outputs are compared, too.

    Raises InputError for what cannot be built, naming it, and writes nothing then.
    """
    expect("a build's folder must be a path", out, (str, Path))
    model = source
    if not isinstance(model, Model):
        model = read_model(model, dialect=dialect, logits=logits)
    _check_asked(name, target, cpu)
    model = page_file.watched(model) if target == "page" else model
    if weights == "int8":
        built, errors = int8_program(model, _machine(bits or "sse2", target), largest, data)
    elif weights != "float32" or largest is not None or data is not None:
        raise InputError("weights must be float32 or int8; a range or data go with int8")
    else:
        built, errors = StepProgram(model, _machine(bits, target)), ()
    x = _read(built)
    y = simulated(built, x)
    files: dict[str, bytes]
    if target == "c":
        files = _c_files(built, name, x, y)
    elif target == "object":
        files = _object_files(built, name, x, y, _processor(cpu))
    elif target == "page":
        files = {f"{name}.html": page_file.page(built, name, x, y).encode()}
    else:
        files = _wasm_files(built, name, x, y)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    for file, content in files.items():
        atomic_file.replace(folder / file, content)
    takes = built.size, 4 * built.state, 4 * built.work, built.multiply_adds
    return Built(files, *takes, built.machine.name, built, errors, model.notes)


def _check_asked(name: str, target: str, cpu: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(
            f"a build's name must be a letter, then letters, digits and _, all small, got {name!r}"
        )
    if target not in TARGETS:
        raise InputError(f"a build's target must be one of {', '.join(TARGETS)}, got {target!r}")
    if bool(cpu) != (target == "object"):
        raise InputError("an object is for one processor, name it (cpu); no other target takes one")


def int8_program(
    model: Model, machine: Machine, largest: float | None, data: Array | None
) -> tuple[StepProgram, tuple[float, ...]]:
    """The program with int8 matrices, the bound of its error, and that of its outputs on data."""
    built = StepProgram(model, machine, _ranges(model, largest, data))
    errors: tuple[float, ...] = (max(worst_errors(built)),)
    if data is not None:
        errors += (float(np.abs(simulated(built, data) - model.run(data)).max()),)
    return built, errors


def _ranges(
    model: Model, largest: float | None, data: Array | None
) -> tuple[Mapping[Expr, float], ...]:
    """The ranges of operands, from that of what the model reads."""
    if model.embedding is not None:
        largest = float(np.abs(model.embedding).max())
    elif largest is None and data is not None:
        largest = float(np.abs(data).max())
    elif largest is None and model.symbols:
        largest = 1.0
    if largest is None or not 0 < largest < np.inf:
        raise InputError(
            "int8 needs the size of the largest number that the model reads: give it, or data"
        )
    return operand_ranges(model.layers, largest)


def _machine(bits: str, target: str) -> Machine:
    """Whose bits are wanted: this processor's, and SSE2's for WebAssembly, which cannot fuse."""
    if not bits:
        return MACHINES["sse2"] if target in ("wasm", "page") else jit.host()
    if bits not in MACHINES:
        raise InputError(f"bits must be those of {', '.join(MACHINES)}, got {bits!r}")
    return MACHINES[bits]


def _processor(cpu: str) -> Processor:
    """A processor of the table, or triple:processor:features:abi."""
    if cpu in PROCESSORS:
        return PROCESSORS[cpu]
    triple, *rest = cpu.split(":")
    if "-" not in triple or len(rest) > 3:
        raise InputError(
            f"cpu must be one of {', '.join(PROCESSORS)} or TRIPLE[:CPU[:FEATURES[:ABI]]], got"
            f" {cpu!r}"
        )
    return Processor(triple, *rest)


def _read(built: StepProgram) -> Array:
    """What the recorded steps read: the same numbers in every build."""
    draw = np.random.default_rng(0)
    if built.symbols:
        return draw.integers(0, built.symbols, RECORDED)
    return draw.normal(size=(RECORDED, built.inputs)).astype(np.float32)


def simulated(built: StepProgram, x: Array) -> Array:
    """The outputs of a build, [time, outputs], for x [time, inputs] or symbols [time]: by the
    program itself on this processor. They are the numbers that sequences have, where those run on
    the same machine."""
    x = np.ascontiguousarray(x)
    if built.symbols and not (x.ndim == 1 and x.dtype.kind in "iu" and _below(x, built.symbols)):
        raise InputError(f"x must be whole numbers [time] below {built.symbols}")
    if not built.symbols and (x.ndim != 2 or x.shape[1] != built.inputs or x.dtype != np.float32):
        raise InputError(f"x must be float32 [time, {built.inputs}], got {x.dtype} {list(x.shape)}")
    y = np.empty((len(x), built.outputs), np.float32)
    state = np.zeros(max(built.state, 1), np.float32)
    program, names = built.public("model", nearest=True)
    text = to_llvm(program, jit.host(), threads=False, exported=names)
    with jit.compiling:
        code = jit.Compiled(text, {}, names[1], scalar=True)
    step = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(code.address)
    model = b"".join(array.tobytes() for array in built.packed)
    for read, written in zip(x, y, strict=True):
        place = int(read) if built.symbols else read.ctypes.data
        step(model, state.ctypes.data, place, written.ctypes.data)
    if built.machine is jit.host() and not built.ranges and backend() == "kernels":
        embedding = built.model.embedding
        whole = built.model.run(x if embedding is None else embedding[x])
        if y.tobytes() != whole.tobytes():
            raise RuntimeError("a step of the build and a sequence differ: a fault of grus")
    return y


def _below(x: Array, count: int) -> bool:
    return not len(x) or bool(x.min() >= 0 and x.max() < count)


def _c_files(built: StepProgram, name: str, x: Array, y: Array) -> dict[str, bytes]:
    return {
        f"{name}.h": c_files.header(built, name).encode(),
        f"{name}.c": c_files.source(built, name).encode(),
        f"{name}_test.c": c_files.self_test(built, name, x, y).encode(),
    }


def _object_files(
    built: StepProgram, name: str, x: Array, y: Array, processor: Processor
) -> dict[str, bytes]:
    files = _c_files(built, name, x, y)
    del files[f"{name}.c"]
    return files | {f"{name}.o": object_file(built, name, processor)}


def _wasm_files(built: StepProgram, name: str, x: Array, y: Array) -> dict[str, bytes]:
    return {
        f"{name}.wasm": wasm_files.wasm_file(built, name),
        f"{name}.mjs": wasm_files.module(built, name).encode(),
        f"{name}_test.mjs": wasm_files.self_test(built, name, x, y).encode(),
    }
