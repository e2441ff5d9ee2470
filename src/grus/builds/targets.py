"""`grus.build`: a model as files for another machine."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from grus import atomic_file
from grus.builds import c_files, wasm_files
from grus.builds.model import Array, Model
from grus.builds.object_file import PROCESSORS, Processor, object_file
from grus.builds.step_program import StepProgram
from grus.errors import InputError
from grus.kernels import jit
from grus.kernels.backend import backend
from grus.kernels.machine import MACHINES, Machine
from grus.kernels.to_llvm import to_llvm

Target = Literal["c", "object", "wasm"]
RECORDED = 8
"""Steps of the test of a build."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline"
    " int long register restrict return short signed sizeof static struct switch typedef union"
    " unsigned void volatile while main step reset run products class new delete this template"
    " namespace operator private protected public try catch throw using virtual bool true false"
    " and or not xor".split()
)


@dataclass(frozen=True)
class Built:
    """What was written: files by name, and what the model takes. Bytes, but multiply-adds a
    step."""

    files: Mapping[str, bytes]
    weights: int
    state: int
    stack: int
    multiply_adds: int
    notes: tuple[str, ...] = ()


def build(
    model: Model,
    out: Path | str,
    target: Target = "c",
    *,
    name: str = "model",
    bits: str = "",
    cpu: str = "",
) -> Built:
    """Write a model as files into the folder ``out``; see `grus.build`."""
    if not NAME.fullmatch(name) or name in KEYWORDS:
        raise InputError(
            f"a build's name must be lower-case letters, digits and _, no word of C, got {name!r}"
        )
    if target not in ("c", "object", "wasm"):
        raise InputError(f"a build's target must be c, object or wasm, got {target!r}")
    if cpu and target != "object":
        raise InputError("only objects are for one processor: cpu goes with target object")
    built = StepProgram(model, _machine(bits, target))
    x = _read(built)
    y = _expected(built, x)
    files = {
        "c": _c_files,
        "object": lambda *given: _object_files(*given, _processor(cpu)),
        "wasm": _wasm_files,
    }[target](built, name, x, y)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    for file, content in files.items():
        atomic_file.replace(folder / file, content)
    takes = built.weights.nbytes, 4 * built.state, 4 * built.work, built.multiply_adds
    return Built(files, *takes, model.notes)


def _machine(bits: str, target: str) -> Machine:
    """Whose bits are wanted: this processor's, and SSE2's for WebAssembly, which cannot fuse."""
    if not bits:
        return MACHINES["sse2"] if target == "wasm" else jit.host()
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
            f"cpu must be one of {', '.join(PROCESSORS)} or TRIPLE[:CPU[:FEATURES[:ABI]]], got {cpu!r}"
        )
    return Processor(triple, *rest)


def _read(built: StepProgram) -> Array:
    """What the recorded steps read: the same numbers in every build."""
    draw = np.random.default_rng(0)
    if built.symbols:
        return draw.integers(0, built.symbols, RECORDED)
    return draw.normal(size=(RECORDED, built.inputs)).astype(np.float32)


def _expected(built: StepProgram, x: Array) -> Array:
    """The outputs of recorded steps, by the program itself on this processor; they are the numbers
    that sequences have, where those run on the same machine."""
    y = np.empty((len(x), built.outputs), np.float32)
    state = np.zeros(max(built.state, 1), np.float32)
    text = to_llvm(built.program(), built.machine, threads=False, exported=("step",))
    code = jit.Compiled(text, {}, "step")
    step = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(code.address)
    for read, written in zip(x, y, strict=True):
        place = int(read) if built.symbols else read.ctypes.data
        step(built.weights.ctypes.data, state.ctypes.data, place, written.ctypes.data)
    if built.machine is jit.host() and backend() == "kernels":
        embedding = built.model.embedding
        whole = built.model.run(x if embedding is None else embedding[x])
        if y.tobytes() != whole.tobytes():
            raise RuntimeError("a step of the build and a sequence differ: a fault of grus")
    return y


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
