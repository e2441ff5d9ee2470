"""Programs to callables: the only file that imports llvmlite, when it is first needed. Code lives
in memory only. A process compiles one program at a time, and each program once."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from grus.errors import InputError
from grus.kernels import threads
from grus.kernels.loops import Program
from grus.kernels.machine import VARIABLE, DType, Machine, Target, choose, restrict
from grus.kernels.to_llvm import to_llvm

compiling = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation under way: the child would inherit a lock that nobody opens.
    os.register_at_fork(
        before=compiling.acquire,
        after_in_parent=compiling.release,
        after_in_child=compiling.release,
    )


@lru_cache(maxsize=1)
def _llvm() -> Any:
    """LLVM, ready to print code for this processor."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@lru_cache(maxsize=1)
def host() -> Machine:
    """The entry of the machine table that code is for: this processor's, or a narrower one of its
    kind if GRUS_MACHINE names it, which is read once. Raises InputError as `restrict` does."""
    widest = choose(_llvm().get_process_triple(), dict(_llvm().get_host_cpu_features()))
    wanted = os.environ.get(VARIABLE)
    return restrict(widest, wanted) if wanted else widest


def host_features() -> dict[str, bool]:
    """What this processor has, by LLVM's names; nothing beyond its entry if GRUS_MACHINE is set."""
    return {} if os.environ.get(VARIABLE) else dict(_llvm().get_host_cpu_features())


def target_machine(*, assembly: bool = False) -> Any:
    """LLVM's code generator for this processor, or for no more of it than GRUS_MACHINE says."""
    llvm, machine, whole = _llvm(), host(), not os.environ.get(VARIABLE)
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name() if whole else machine.processor,
        features=llvm.get_host_cpu_features().flatten() if whole else "",
        opt=2,
        reloc="default",
        codemodel="default" if assembly else "jitdefault",
        jit=not assembly,
    )


class Compiled:
    """Machine code in memory, kept alive by this object: a function of it, by its ``address``.
    ``scalar`` code is optimised as a whole: programs for vectors are as fast as they get."""

    def __init__(
        self, text: str, symbols: dict[str, int], function: str = "run", *, scalar: bool = False
    ) -> None:
        llvm = _llvm()
        for name, address in symbols.items():
            llvm.add_symbol(name, address)
        # Not verified: a program's types and names were checked when it was built.
        module = llvm.parse_assembly(text)
        self._machine = target_machine()
        if scalar:
            _optimise(module, self._machine)
        self._engine = llvm.create_mcjit_compiler(module, self._machine)
        self._engine.finalize_object()
        self.address: int = self._engine.get_function_address(function)
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)


def executable(program: Program, target: Target) -> Any:
    """The program, to ``call`` with the address of its block, or by its ``address``; with threads
    where there are any to share its work. To be called while ``compiling`` is held."""
    symbols = threads.openmp()
    return Compiled(to_llvm(program, target.machine, threads=bool(symbols)), symbols)


def compiled(build: Callable[[Target], Program], dtype: DType) -> Any:
    """What ``build`` gives for this processor and a dtype, as `executable` does."""
    with compiling:
        return _compiled(build, Target(host(), dtype), bool(threads.openmp()))


@lru_cache(maxsize=16)
def _compiled(build: Callable[[Target], Program], target: Target, openmp: bool) -> Any:
    del openmp  # part of the key: torch may be imported after a first call without it
    return executable(build(target), target)


def object_code(
    text: str, triple: str, processor: str, features: str, abi: str, *, hosted: bool
) -> bytes:
    """The object file that the text compiles to for another machine, optimised as a whole; one for
    a ``hosted`` program may lie anywhere in memory. Raises
    InputError for a machine that this LLVM has no code generator for."""
    with compiling:
        return _object_code(text, triple, (processor, features, abi), hosted)


def _object_code(text: str, triple: str, processor: tuple[str, str, str], hosted: bool) -> bytes:
    llvm = _llvm()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        raise InputError(f"there is no code generator for {triple}: {error}") from None
    machine = target.create_target_machine(
        cpu=processor[0],
        features=processor[1],
        opt=3,
        reloc="pic" if hosted else "static",
        abiname=processor[2],
    )
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = triple, str(machine.target_data)
    module.verify()
    _optimise(module, machine)
    return bytes(machine.emit_object(module))


def _optimise(module: Any, machine: Any) -> None:
    """Run LLVM's passes, vectors of loops among them. None of them changes a bit of a float."""
    llvm = _llvm()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)


def assembly(text: str) -> str:
    """The assembly that the text compiles to on this processor."""
    module = _llvm().parse_assembly(text)
    module.verify()
    return str(target_machine(assembly=True).emit_assembly(module))
