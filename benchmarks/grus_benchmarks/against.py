"""The benchmark with peers: start them, load each problem, compare, time in turns.

Loading (where frameworks compile) and the reference run first, all at once; nothing is timed
then. Afterwards one process works at a time, and the others are blocked on their pipes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from grus_benchmarks.peers import OURS
from grus_benchmarks.problem import Problem
from grus_benchmarks.process import THREADS, PeerError, Process
from grus_benchmarks.right import Truth, truth
from grus_benchmarks.turns import Run, Turns, take_turns
from grus_benchmarks.wire import Arrays, Message

LIMIT = 120.0  # seconds for one answer; the longest block of the table takes about five
WRONG = "wrong numbers: "
Command = Callable[[int], list[str]]
Messages = dict[str, tuple[Message, Arrays]]
"""By peer."""


@dataclass
class Result:
    """One problem: times by kind and peer, and why others have none."""

    problem: Problem
    times: dict[str, dict[str, Turns]] = field(default_factory=dict)
    """By kind, then by peer."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By "peer" or "peer, kind": why it has no time (missing, refused, wrong, died, hung)."""
    rows: int = 0
    """How many rows of the batch were compared."""
    seconds: float = 0.0
    """How long all of it took."""
    errors: dict[str, float] = field(default_factory=dict)
    """By peer: the largest error, as a part of what rounding explains."""


@dataclass(frozen=True)
class Pace:
    """How long a peer is timed in one kind: about ``budget`` seconds, or so many blocks."""

    budget: float
    blocks: int | None = None


class Field:
    """All peers, live."""

    def __init__(self, commands: Mapping[str, Command], threads: int, limit: float = LIMIT) -> None:
        self.commands, self.threads, self.limit = commands, threads, limit
        self.processes: dict[str, Process] = {}
        self.about: dict[str, dict[str, str]] = {}
        self.missing: dict[str, str] = {}
        """Peers that cannot be started, and why."""
        self.idle: dict[str, float] = {}
        """Processor seconds that a peer used while it was not asked anything."""
        for name in commands:
            self.start(name)

    def start(self, name: str) -> None:
        """Start a peer, or note why it cannot be."""
        env = {key: str(self.threads) for key in THREADS}
        try:
            process = Process(name, self.commands[name](self.threads), env, self.limit)
        except PeerError as error:
            self.missing[name] = error.reason
            return
        self.processes[name], self.about[name] = process, process.about

    def restart(self) -> None:
        """Start again those that died or hung; each has its chance at the next problem."""
        for name, process in list(self.processes.items()):
            if not process.alive:
                self.drop(name)
                self.start(name)

    def drop(self, name: str) -> None:
        """End a peer's process and keep what it used."""
        process = self.processes.pop(name)
        self.idle[name] = self.idle.get(name, 0.0) + process.idle
        process.close()

    def close(self) -> None:
        """End all."""
        for name in list(self.processes):
            self.drop(name)

    def idles(self) -> dict[str, float]:
        """Processor seconds used while idle, up to now."""
        now = {name: process.idle for name, process in self.processes.items()}
        return {n: self.idle.get(n, 0.0) + now.get(n, 0.0) for n in {**self.idle, **now}}


def run(
    peers: Field,
    problems: Sequence[Problem],
    budget: float,
    ours: str = OURS,
    blocks: int | None = None,
) -> Iterator[Result]:
    """Measure every problem; ``budget`` seconds for each peer and kind, more for long calls, or
    ``blocks`` of each."""
    for problem in problems:
        peers.restart()
        begin = time.perf_counter()
        result = Result(problem, reasons=dict(peers.missing))
        _measure(peers, result, Pace(budget, blocks), ours)
        result.seconds = time.perf_counter() - begin
        yield result


def _measure(peers: Field, result: Result, pace: Pace, ours: str) -> None:
    """Load, compare, time."""
    problem, given = result.problem, result.problem.draw()
    loading: Messages = {name: ({"problem": problem.as_json()}, given) for name in peers.processes}
    truths: list[Truth] = []
    loaded = _ask_all(
        peers, result, "load", loading, meanwhile=lambda: truths.append(truth(problem, given))
    )
    kinds = {name: reply["kinds"] for name, (reply, _) in loaded.items()}
    result.rows = len(truths[0].rows)
    right = _compare(peers, result, truths[0], kinds)
    back: Messages = {name: ({}, {"dy": given["dy"]}) for name in right}
    right = {name: right[name] for name in _ask_all(peers, result, "dy_is", back)}
    for kind in problem.kinds:
        for name in [n for n in right if n != ours and kind in right[n]]:
            if kind in right.get(ours, ()):
                _time(peers, result, kind, (ours, name), pace)
            else:
                result.reasons.setdefault(f"{name}, {kind}", f"{ours} has no time to compare with")


def _ask_all(
    peers: Field,
    result: Result,
    do: str,
    messages: Messages,
    key: str = "",
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[str, tuple[Message, Arrays]]:
    """Ask all at once; the answers by peer. One that has none is noted with its reason."""
    waiting, found = [], {}
    for name, (message, arrays) in messages.items():
        try:
            peers.processes[name].tell(do, arrays, **message)
            waiting.append(name)
        except PeerError as error:
            result.reasons[name + key] = error.reason
    meanwhile()
    for name in waiting:
        try:
            found[name] = peers.processes[name].hear()
        except PeerError as error:
            result.reasons[name + key] = error.reason
    return found


def _compare(
    peers: Field, result: Result, right: Truth, kinds: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The kinds in which each peer's numbers are right; the others are noted."""
    masked: Messages = {name: ({}, {"dy": right.dy}) for name in kinds}
    ready = _ask_all(peers, result, "dy_is", masked)
    good: dict[str, list[str]] = {name: [] for name in ready}
    for kind in result.problem.kinds:
        for name in ready:
            key = f"{name}, {kind}"
            if not peers.processes[name].alive:
                continue
            if kind not in kinds[name]:
                result.reasons[key] = "has none"
                continue
            asked: Messages = {name: ({"kind": kind}, {})}  # one at a time: answers are large
            for _, found in _ask_all(peers, result, "answer", asked, f", {kind}").values():
                error, wrong = right.worst(result.problem, kind, found)
                result.errors[name] = max(error, result.errors.get(name, 0.0))
                if wrong:
                    result.reasons[key] = f"{WRONG}{wrong}"
                else:
                    good[name].append(kind)
    return {name: found for name, found in good.items() if peers.processes[name].alive}


def _time(peers: Field, result: Result, kind: str, pair: tuple[str, str], pace: Pace) -> None:
    """Time two peers in turns; one that fails is noted, and has no time."""
    if not all(peers.processes[name].alive for name in pair):
        result.reasons.setdefault(f"{pair[1]}, {kind}", "one of the two has died before")
        return
    ours, theirs = (_block(peers.processes[name], kind) for name in pair)
    try:
        turns = take_turns(ours, theirs, pace.budget, blocks=pace.blocks)
        result.times.setdefault(kind, {})[pair[1]] = turns
    except PeerError as error:
        result.reasons[f"{error.peer}, {kind}"] = error.reason


def _block(process: Process, kind: str) -> Run:
    def run(count: int, before: int) -> float:
        reply = process.ask("time", kind=kind, count=count, before=before)[0]
        return float(reply["seconds"])

    return run
