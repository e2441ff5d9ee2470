"""A peer's process for tests: `fake_peer.py MODE THREADS` is right, or fails as it is told."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import Any

from grus_benchmarks.peers.torch_layers import TorchLayers
from grus_benchmarks.problem import BOTH, FORWARD, Problem
from grus_benchmarks.wire import Arrays
from grus_benchmarks.worker import Framework, Loaded, RefusedError, serve


class Light:
    """No framework: `load` does what the mode says, calls give x back."""

    def __init__(self, mode: str) -> None:
        self.mode, self.about = mode, {"version": "light 1", "threads": "none"}

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        print("a framework prints what it likes")
        if self.mode == "dies":
            sys.stderr.write("one line\nthe last line\n")
            os._exit(7)
        if self.mode == "hangs":
            time.sleep(600)
        if self.mode == "raises":
            raise ValueError("no such\n   thing")
        if self.mode == "refuses":
            raise RefusedError("has no GRU")
        return Loaded(
            {FORWARD: lambda dy: given["x"]}, lambda dy: dy, lambda kind, y: {"output": y}
        )


class Torch(TorchLayers):
    """nn.GRU, broken by the mode; it takes ten milliseconds longer if it is slow."""

    def __init__(self, mode: str, threads: int) -> None:
        super().__init__(threads)
        self.mode = mode

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        loaded = super().load(problem, given)
        calls = dict(loaded.calls)
        if self.mode == "dies-timed":
            calls[FORWARD] = self.dying(calls[FORWARD])
        if self.mode == "forward-only":
            calls = {FORWARD: calls[FORWARD]}

        def read(kind: str, raw: Any) -> Arrays:
            found = dict(loaded.read(kind, raw))
            if self.mode == "wrong":
                found["output"] = found["output"] * 1.001
            if self.mode == "wrong-gradient" and kind == BOTH:
                found["weight_hh_l0"] = -found["weight_hh_l0"]
            if self.mode == "missing-gradient" and kind == BOTH:
                del found["bias_hh_l0"]
            return found

        return replace(loaded, calls=calls, read=read)

    def dying(self, call: Any) -> Any:
        """Right for its answer, dead at the call after it."""
        left = [1]

        def last(dy: Any) -> Any:
            if not left:
                os._exit(9)
            left.pop()
            return call(dy)

        return last


LIGHT = ("echo", "dies", "hangs", "raises", "refuses")


def make(threads: int) -> Framework:
    mode = sys.argv[1]
    if mode == "no-jax":
        raise ModuleNotFoundError("No module named 'jax.numpy'", name="jax.numpy")
    if mode == "absent":
        raise ModuleNotFoundError("No module named 'absent'")
    return Light(mode) if mode in LIGHT else Torch(mode, threads)


if __name__ == "__main__":
    serve(make, int(sys.argv[2]))
