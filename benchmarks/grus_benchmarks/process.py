"""A process of its own for each peer, asked through pipes, with a limit on every answer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from grus import errors
from grus_benchmarks.wire import Array, Arrays, Message, receive, send

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment variables that say how many threads a process may use."""


MACHINE = "machine"
"""The name of the process that measures the machine."""
START = """
import importlib.util, os, sys
for name, path in (("grus", sys.argv[1]), ("grus_benchmarks", sys.argv[2])):
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[os.path.dirname(path)])
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
from grus_benchmarks.peers import main
main(sys.argv[3], int(sys.argv[4]))
"""
"""Loads these very packages in another interpreter, and nothing else of this one's."""


class PeerError(Exception):
    """A peer that refused, failed, died or hung: which peer, and which of these."""

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer, self.reason = peer, reason


def command(name: str, threads: int, python: str = "") -> list[str]:
    """The command line that runs `peers.main` with this interpreter or another one."""
    beside = (errors.__file__, __file__)
    packages = [str(Path(place).with_name("__init__.py")) for place in beside]
    return [python or sys.executable, "-c", START, *packages, name, str(threads)]


class Process:
    """A live peer. It starts at once; `about` is what it says of itself, or PeerError is raised."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None, limit: float
    ) -> None:
        self.name, self.limit, self.idle = name, limit, 0.0
        self.hung = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        pipe, environ = subprocess.PIPE, {**os.environ, **(env or {})}
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._log, env=environ
            )
        except OSError as error:
            self._log.close()
            reason = f"{command[0]} cannot be started: {error.strerror}"
            raise PeerError(name, reason) from None
        try:
            self.about: dict[str, str] = self.hear()[0]["about"]
        except PeerError:
            self.close()
            raise

    def ask(
        self, do: str, arrays: Mapping[str, Array] | None = None, **message: Any
    ) -> tuple[Message, Arrays]:
        """Send one message and wait for its answer."""
        self.tell(do, arrays, **message)
        return self.hear()

    def tell(self, do: str, arrays: Mapping[str, Array] | None = None, **message: Any) -> None:
        """Send one message; `hear` gets the answer."""
        with self._limited():
            send(cast(BinaryIO, self._process.stdin), {"do": do, **message}, arrays)

    def hear(self) -> tuple[Message, Arrays]:
        """Wait for an answer. Raises PeerError for an error, a death, or too long a silence."""
        with self._limited():
            reply, arrays = receive(cast(BinaryIO, self._process.stdout))
        if "error" in reply:
            raise PeerError(self.name, reply["error"])
        self.idle += reply.get("idle", 0.0)
        return reply, arrays

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file is not None:
                try:
                    file.close()
                except BrokenPipeError:  # what was never written is not missed
                    continue

    def _limited(self) -> _Limit:
        return _Limit(self)

    def end(self) -> str:
        """How it ended: hung, or its last line."""
        if self.hung:
            return f"no answer within {self.limit:g} s"
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"died with code {code}" + (f": {lines[-1][:300]}" if lines else "")

    def kill_as_hung(self) -> None:
        """Kill the process because its limit has passed."""
        self.hung = True
        self._process.kill()


class _Limit:
    """Kills the process when its answer takes too long; then, as at any death, PeerError."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.timer = threading.Timer(process.limit, process.kill_as_hung)
        self.timer.daemon = True

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.timer.cancel()
        if isinstance(error, (EOFError, OSError)):
            reason = self.process.end()
            self.process.close()
            raise PeerError(self.process.name, reason) from None
