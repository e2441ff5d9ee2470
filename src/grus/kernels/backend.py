"""Whether the kernels run at all: the switch, and what the machine allows."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import warnings
from collections.abc import Callable, Container
from functools import lru_cache, partial
from operator import contains
from typing import Literal

from grus.errors import InputError
from grus.kernels.machine import known

Backend = Literal["kernels", "reference"]
VARIABLE = "GRUS_BACKEND"
# Asking os.environ encodes the name each time, which takes as long as a small kernel.
_variables: Container[object] = getattr(os.environ, "_data", os.environ)
_KEY: object = VARIABLE if _variables is os.environ else os.environ.encodekey(VARIABLE)

switched: Callable[[], bool] = partial(contains, _variables, _KEY)
"""Whether the variable is set at all."""


def backend() -> Backend:
    """The reference if GRUS_BACKEND=reference, or if this process may not run code it makes or has
    a processor without kernels (said once); else the kernels. Raises InputError for any other value
    of the variable."""
    setting = os.environ[VARIABLE] if _KEY in _variables else "kernels"
    if setting not in ("kernels", "reference"):
        raise InputError(f"{VARIABLE} must be kernels or reference, got {setting!r}")
    if setting == "reference":
        return "reference"
    if not executable_memory():
        say_once("this process may not make memory executable; the slow reference runs instead")
        return "reference"
    if not known_processor():
        say_once(f"no kernels for the processor {platform.machine()}; the slow reference runs")
        return "reference"
    return "kernels"


@lru_cache(maxsize=1)
def known_processor() -> bool:
    """True if code can be made for this processor."""
    return known(platform.machine())


@lru_cache(maxsize=1)
def executable_memory() -> bool:
    """True if a page may be written and then executed, which is what a compiler in memory does."""
    if os.name != "posix":
        return True
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    first = ctypes.c_char.from_buffer(page)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    wanted = mmap.PROT_READ | mmap.PROT_EXEC
    allowed = libc.mprotect(ctypes.addressof(first), mmap.PAGESIZE, wanted) == 0
    if allowed:
        libc.mprotect(ctypes.addressof(first), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)
    del first
    page.close()
    return bool(allowed)


@lru_cache(maxsize=8)
def say_once(message: str) -> None:
    """Warn of something that this machine lacks, once per process."""
    warnings.warn(f"grus: {message}", RuntimeWarning, stacklevel=3)
