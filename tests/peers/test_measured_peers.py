"""The benchmark's peers, each in its own process, give the reference's numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from grus_benchmarks.peers import PEERS
from grus_benchmarks.problem import FORWARD, Problem
from grus_benchmarks.process import PeerError, Process
from grus_benchmarks.right import truth

PROBLEMS = [
    Problem.parse(text)
    for text in (
        "17,3,5,7",
        "lstm:9,2,4,6",
        "bidirectional:6,2,5,8",
        "layers3:6,2,5,8",
        "step:1,2,8,8",
    )
]
PROBLEMS += [Problem(PROBLEMS[0].shape, "lstm", 2, 2)]
FORWARD_ONLY = ("onnxruntime", "openvino")


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Iterator[Process]:
    try:
        process = Process(request.param, PEERS[request.param].command(1), None, 300.0)
    except PeerError as error:
        pytest.skip(f"{error}: make test-peers installs what can be installed")
    yield process
    process.close()


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_a_peer_computes_what_the_reference_does(peer: Process, problem: Problem) -> None:
    given = problem.draw()
    right = truth(problem, given)
    kinds = peer.ask("load", given, problem=problem.as_json())[0]["kinds"]
    assert kinds == ([FORWARD] if peer.name in FORWARD_ONLY else list(problem.kinds))
    peer.ask("dy_is", {"dy": right.dy})
    for kind in kinds:
        found = peer.ask("answer", kind=kind)[1]
        assert right.wrong(problem, kind, found) == ""
        reply = peer.ask("time", kind=kind, count=2, before=1)[0]
        assert reply["seconds"] > 0


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_one_wrong_number_would_be_seen(peer: Process, problem: Problem) -> None:
    given = problem.draw()
    right = truth(problem, given)
    kinds = peer.ask("load", given, problem=problem.as_json())[0]["kinds"]
    peer.ask("dy_is", {"dy": right.dy})
    for kind in kinds:
        found = peer.ask("answer", kind=kind)[1]
        for name, value in found.items():
            changed = value.copy()
            changed.flat[abs(changed).argmax()] *= 1.001
            assert name in right.wrong(problem, kind, {**found, name: changed})
