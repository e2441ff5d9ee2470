"""The peers: what each is called, how its process is started, what makes it.

In: a name. Out: a command line. Every framework is imported in its own process only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from grus import errors
from grus_benchmarks import problem
from grus_benchmarks.worker import Contestant

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
TENSORFLOW_PYTHON = "GRUS_TENSORFLOW_PYTHON"
OURS, MACHINE = "grus", "machine"


def _grus(threads: int) -> Contestant:
    from grus_benchmarks.peers.torch_layers import Ours

    return Ours(threads)


def _torch(threads: int) -> Contestant:
    from grus_benchmarks.peers.torch_layers import TorchLayers

    return TorchLayers(threads)


def _jax(threads: int) -> Contestant:
    from grus_benchmarks.peers.jax_scan import JaxScan

    return JaxScan(threads)


def _onnxruntime(threads: int) -> Contestant:
    from grus_benchmarks.peers.onnx_runtime import OnnxRuntime

    return OnnxRuntime(threads)


def _openvino(threads: int) -> Contestant:
    from grus_benchmarks.peers.openvino_sequence import OpenVino

    return OpenVino(threads)


def _keras(threads: int) -> Contestant:
    from grus_benchmarks.peers.keras_layers import KerasLayers

    return KerasLayers(threads)


@dataclass(frozen=True)
class Peer:
    """One row of the table of peers."""

    name: str
    make: Callable[[int], Contestant]
    python: str = ""
    """An environment variable that may name its interpreter."""

    def command(self, threads: int) -> list[str]:
        """What starts its process."""
        return command(self.name, threads, os.environ.get(self.python, "") if self.python else "")


def command(name: str, threads: int, python: str = "") -> list[str]:
    """This package's `main` in a process, of this interpreter or another one."""
    beside = (errors.__file__, problem.__file__)
    packages = [str(Path(place).with_name("__init__.py")) for place in beside]
    return [python or sys.executable, "-c", START, *packages, name, str(threads)]


PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, _grus),
        Peer("torch", _torch),
        Peer("jax", _jax),
        Peer("onnxruntime", _onnxruntime),
        Peer("openvino", _openvino),
        Peer("keras", _keras, TENSORFLOW_PYTHON),
    )
}


def main(name: str, threads: int) -> None:
    """A process of the benchmark: its CPUs, then a peer's messages, or the machine's limits."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if name == MACHINE:
        from grus_benchmarks.machine_limits import measure_limits

        print(json.dumps(asdict(measure_limits(threads))))
        return
    from grus_benchmarks.worker import serve

    serve(PEERS[name].make, threads)
