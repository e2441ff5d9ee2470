"""The peers: what each is called, how its process is started, what makes it.

In: a name. Out: a command line. Every framework is imported in its own process only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

from grus_benchmarks.process import MACHINE, command
from grus_benchmarks.worker import Framework

TENSORFLOW_PYTHON = "GRUS_TENSORFLOW_PYTHON"
OURS = "grus"


def _grus(threads: int) -> Framework:
    from grus_benchmarks.peers.torch_layers import Ours

    return Ours(threads)


def _torch(threads: int) -> Framework:
    from grus_benchmarks.peers.torch_layers import TorchLayers

    return TorchLayers(threads)


def _jax(threads: int) -> Framework:
    from grus_benchmarks.peers.jax_scan import JaxScan

    return JaxScan(threads)


def _onnxruntime(threads: int) -> Framework:
    from grus_benchmarks.peers.onnx_runtime import OnnxRuntime

    return OnnxRuntime(threads)


def _openvino(threads: int) -> Framework:
    from grus_benchmarks.peers.openvino_sequence import OpenVino

    return OpenVino(threads)


def _keras(threads: int) -> Framework:
    from grus_benchmarks.peers.keras_layers import KerasLayers

    return KerasLayers(threads)


@dataclass(frozen=True)
class Peer:
    """One row of the table of peers."""

    name: str
    make: Callable[[int], Framework]
    python: str = ""
    """An environment variable that may name its interpreter."""

    def command(self, threads: int) -> list[str]:
        """The command line of its process."""
        return command(self.name, threads, os.environ.get(self.python, "") if self.python else "")


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
