"""A peer's own process: it loads problems, gives answers, and times blocks of calls; else it waits.

It reads messages from its standard input and answers on what was its standard output, which is
then pointed at standard error so that nothing a framework prints gets in between. Between
messages it is blocked on the pipe.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np

from grus.errors import InputError, missing_package
from grus_benchmarks.problem import Problem
from grus_benchmarks.wire import Array, Arrays, Message, receive, send

Call = Callable[[Any], Any]


class RefusedError(Exception):
    """A request for something that this peer does not offer; the message names it."""


@dataclass(frozen=True)
class Loaded:
    """A problem in a peer's own form."""

    calls: Mapping[str, Call]
    """By kind, a function of dy (in the peer's form) that ends when its results are there."""
    put: Callable[[Array], Any]
    """dy [time, batch, output] in the peer's form."""
    read: Callable[[str, Any], Arrays]
    """Results of a call by torch's names: "output" [time, batch, output], "weight_ih_l0", "x"."""


class Framework(Protocol):
    """A framework, with its threads set."""

    about: dict[str, str]
    """"version", and "threads": how their number was set."""

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """The problem with these weights and this x. Raises RefusedError."""


class Server:
    """The messages that a process answers, one method each."""

    def __init__(self, contestant: Framework) -> None:
        self.contestant = contestant
        self.loaded: Loaded | None = None
        self.dy: Any = None
        self.dtype = "float32"

    def load(self, message: Message, arrays: Arrays) -> tuple[Message, Arrays]:
        """Take a problem; say which kinds can be timed."""
        self.loaded = None  # the last problem's memory goes first
        problem = Problem.read(message["problem"])
        loaded = self.contestant.load(problem, arrays)
        self.loaded, self.dy, self.dtype = loaded, loaded.put(arrays["dy"]), problem.dtype
        return {"kinds": list(loaded.calls)}, {}

    def dy_is(self, message: Message, arrays: Arrays) -> tuple[Message, Arrays]:
        """Take another dy."""
        self.dy = self._now.put(arrays["dy"])
        return {}, {}

    def answer(self, message: Message, arrays: Arrays) -> tuple[Message, Arrays]:
        """The numbers that one call gives."""
        kind = message["kind"]
        found = self._now.read(kind, self._now.calls[kind](self.dy))
        return {}, {name: np.asarray(value, self.dtype) for name, value in found.items()}

    def time(self, message: Message, arrays: Arrays) -> tuple[Message, Arrays]:
        """Seconds that ``count`` calls take, after ``before`` calls that do not count."""
        call, dy = self._now.calls[message["kind"]], self.dy
        for _ in range(message["before"]):
            call(dy)
        begin = time.perf_counter()
        for _ in range(message["count"]):
            call(dy)
        return {"seconds": time.perf_counter() - begin}, {}

    @property
    def _now(self) -> Loaded:
        if self.loaded is None:
            raise RefusedError("no problem is loaded")
        return self.loaded


def serve(make: Callable[[int], Framework], threads: int) -> None:
    """Answer messages until the pipe ends."""
    source, target = _pipes()
    try:
        server = Server(make(threads))
    except Exception as error:  # noqa: BLE001 - any reason is reported, and is the end
        send(target, {"error": said(error)})
        return
    send(target, {"about": server.contestant.about})
    while True:
        idle = time.process_time()
        try:
            message, arrays = receive(source)
        except EOFError:
            return
        idle = time.process_time() - idle
        try:
            reply, found = getattr(server, message["do"])(message, arrays)
        except Exception as error:  # noqa: BLE001 - a framework may raise anything; it is reported
            reply, found = {"error": said(error)}, {}
        send(target, {**reply, "idle": idle}, found)


def said(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, ModuleNotFoundError):
        error = missing_package(error, "measuring it") or error
    words = " ".join(str(error).split())[:300]
    plain = isinstance(error, (RefusedError, InputError))
    return words if plain else f"{type(error).__name__}: {words}"


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, target


def fastest(candidates: list[Call], dy: Any, calls: int = 5) -> Call:
    """The candidate whose best of a few calls takes least, each called before to compile."""
    if len(candidates) == 1:
        return candidates[0]
    taken = []
    for call in candidates:
        call(dy)
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            call(dy)
            seconds.append(time.perf_counter() - begin)
        taken.append(min(seconds))
    return candidates[taken.index(min(taken))]
