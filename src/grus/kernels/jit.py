"""LLVM text to a callable: the only file that imports llvmlite. Code lives in memory only."""

from __future__ import annotations

import ctypes
import os
import threading
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from grus.kernels.machine import VARIABLE, Machine, choose, restrict

_lock = threading.Lock()


@lru_cache(maxsize=1)
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@lru_cache(maxsize=1)
def host() -> Machine:
    """The entry of the machine table that code is for: this processor's, or a narrower one of its
    kind if GRUS_MACHINE names it, which is read once. Raises InputError as `restrict` does."""
    _initialize()
    own = choose(llvm.get_process_triple(), dict(llvm.get_host_cpu_features()))
    wanted = os.environ.get(VARIABLE)
    return restrict(own, wanted) if wanted else own


def host_features() -> dict[str, bool]:
    """What this processor has, by LLVM's names; nothing beyond its entry if GRUS_MACHINE is set."""
    return {} if os.environ.get(VARIABLE) else dict(llvm.get_host_cpu_features())


def target_machine(*, assembly: bool = False) -> Any:
    """LLVM's code generator for this processor, or for no more of it than GRUS_MACHINE says."""
    machine, own = host(), not os.environ.get(VARIABLE)
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name() if own else machine.processor,
        features=llvm.get_host_cpu_features().flatten() if own else "",
        opt=2,
        reloc="default",
        codemodel="default" if assembly else "jitdefault",
        jit=not assembly,
    )


class Compiled:
    """Machine code in memory, kept alive by this object."""

    target: Any = None
    """What the text was printed for, where somebody asks."""

    def __init__(self, text: str, symbols: dict[str, int]) -> None:
        with _lock:
            for name, address in symbols.items():
                llvm.add_symbol(name, address)
            # Not verified: a program's types and names were checked when it was built.
            module = llvm.parse_assembly(text)
            self._machine = target_machine()
            self._engine = llvm.create_mcjit_compiler(module, self._machine)
            self._engine.finalize_object()
            self.address: int = self._engine.get_function_address("run")
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)


def assembly(text: str) -> str:
    """The assembly that the text compiles to on this processor."""
    module = llvm.parse_assembly(text)
    module.verify()
    return str(target_machine(assembly=True).emit_assembly(module))
