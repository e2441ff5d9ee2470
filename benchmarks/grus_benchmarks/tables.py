"""The measurements with peers, as JSON and as Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from grus.equations.text import counted
from grus_benchmarks.against import Result
from grus_benchmarks.peers import OURS
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD
from grus_benchmarks.roofline import Limits, bounds
from grus_benchmarks.turns import Turns, geometric_mean, spread

KINDS = (FORWARD, BOTH, BOTH_DX)


@dataclass
class Measured:
    """Everything that one run found."""

    machine: dict[str, Any]
    limits: Limits
    about: dict[str, dict[str, str]]
    """By peer: version, threads."""
    missing: dict[str, str]
    results: list[Result] = field(default_factory=list)
    idle: dict[str, float] = field(default_factory=dict)
    """By peer: processor seconds used while another worked."""

    def peers(self, kind: str) -> list[str]:
        """Those that have a time of this kind anywhere, in the order of the table."""
        timed = {name for result in self.results for name in result.times.get(kind, ())}
        return [name for name in self.about if name in timed]

    def ratios(self, kind: str, peer: str) -> list[float]:
        """Of every problem where it has one."""
        timed = [result.times.get(kind, {}) for result in self.results]
        return [one[peer].ratio for one in timed if peer in one]

    def best(self, kind: str) -> list[float]:
        """For each problem how many times as fast as the fastest peer."""
        timed = [result.times.get(kind, {}) for result in self.results]
        return [min(turns.ratio for turns in one.values()) for one in timed if one]


def ours_of(times: dict[str, Turns]) -> tuple[float, ...]:
    """Every block of this project's, beside whichever peer."""
    return tuple(second for turns in times.values() for second in turns.ours)


def as_json(found: Measured) -> str:
    """All blocks, in seconds, with the limits and the three bounds of each row."""
    rows = []
    for result in found.results:
        row: dict[str, Any] = {"problem": result.problem.as_json(), "name": str(result.problem)}
        row |= {"rows compared": result.rows, "reasons": result.reasons, "kinds": {}}
        for kind, times in result.times.items():
            row["kinds"][kind] = {
                "bounds": bounds(result.problem, kind, found.limits),
                "peers": {name: {**asdict(t), "ratio": t.ratio} for name, t in times.items()},
            }
        rows.append(row)
    whole = {
        "machine": found.machine,
        "limits": {**asdict(found.limits), "peak": found.limits.peak},
        "peers": found.about,
        "missing": found.missing,
        "processor seconds while idle": found.idle,
        "rows": rows,
    }
    return json.dumps(whole, indent=1) + "\n"


def as_markdown(found: Measured) -> str:
    """The machine, a table for each kind, the means, and what has no time and why."""
    lines = [*head(found), ""]
    for kind in KINDS:
        if found.peers(kind):
            lines += [f"## {kind[0].upper()}{kind[1:]}", "", *_table(found, kind), ""]
    lines += ["## Peers", "", *_about(found), "", *reasons(found)]
    return "\n".join(lines).rstrip() + "\n"


def head(found: Measured) -> list[str]:
    """The machine that the figures were measured on."""
    limits, machine = found.limits, found.machine
    reads = ", ".join(f"{_bytes(n)} {rate / 1e9:.0f}" for n, rate in limits.read.items())
    best = max(limits.sgemm, key=lambda name: limits.sgemm[name])
    return [
        f"# grus {machine['grus']} and its peers",
        "",
        f"{machine['processor']}, {counted(machine['threads'], 'thread')}, float32,"
        f" Python {machine['python']}, {machine['system']}.",
        f"SGEMM peak {limits.peak / 1e9:.0f} GFLOP/s ({best}); triad {limits.triad / 1e9:.0f} GB/s;"
        f" reading, GB/s by size: {reads}.",
        "",
        "A cell is the median of a call and half the distance between its quartiles, then what"
        " fraction of the roofline that is, then, in bold, how many times as long as this project"
        " took in turns with it. Every answer was compared with the reference before.",
    ]


def _table(found: Measured, kind: str) -> Iterator[str]:
    peers = found.peers(kind)
    titles = ["T,B,I,H", OURS, *peers, "fastest peer"]
    yield _row(titles)
    yield _row(["---"] * len(titles))
    for result in found.results:
        times = result.times.get(kind)
        if times:
            bound = max(bounds(result.problem, kind, found.limits).values())
            cells = [_peer(times[name], bound) if name in times else "-" for name in peers]
            least = min(turns.ratio for turns in times.values())
            ours = statistics.median(ours_of(times))
            mine = _time(ours, spread(ours_of(times)))
            mine += f", {bound / ours:.0%}"
            yield _row([str(result.problem), mine, *cells, f"{least:.2f}"])
    columns = [found.ratios(kind, name) for name in peers]
    every = [*columns, found.best(kind)]
    yield _row(["geometric mean", "", *(f"{geometric_mean(one):.2f}" for one in every)])
    yield _row(["least", "", *(f"{min(one):.2f}" for one in every)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _peer(turns: Turns, bound: float) -> str:
    middle = statistics.median(turns.theirs)
    return f"{_time(middle, spread(turns.theirs))}, {bound / middle:.0%}, **{turns.ratio:.2f}**"


def _time(seconds: float, wide: float) -> str:
    number = f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
    return f"{number} ± {wide / 2:.0%}"


def _bytes(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def _about(found: Measured) -> Iterator[str]:
    yield _row(["peer", "version", "threads", "idle, processor s"])
    yield _row(["---"] * 4)
    for name, about in found.about.items():
        idle = f"{found.idle.get(name, 0.0):.2f}"
        yield _row([name, about["version"], about["threads"], idle])
    for name, reason in found.missing.items():
        if name not in found.about:
            yield _row([name, "not measured", reason, ""])


def reasons(found: Measured) -> list[str]:
    """Why a time is missing: one line for each reason, with the rows it holds for.

    What is missing in every row stands in the table of peers.
    """
    where: dict[tuple[str, str], list[str]] = {}
    for result in found.results:
        for peer, reason in result.reasons.items():
            if found.missing.get(peer) != reason:
                where.setdefault((peer, reason), []).append(str(result.problem))
    return [
        f"- {peer}: {reason}"
        + ("" if len(rows) == len(found.results) else f" (at {'; '.join(rows)})")
        for (peer, reason), rows in where.items()
    ]


def line(result: Result, told: Mapping[str, str]) -> list[str]:
    """A problem's lines on the screen: a kind each, ours and each peer's ratio.

    Why a peer is missing is left out where it was ``told`` before.
    """
    lines = []
    for kind, times in result.times.items():
        mine = _time(statistics.median(ours_of(times)), spread(ours_of(times)))
        ratios = "  ".join(f"{name} {turns.ratio:.2f}" for name, turns in times.items())
        lines.append(f"  {kind:22} {mine:>18}   {ratios}")
    known = {*told.items()}
    lines += [
        f"  {peer}: {why}"
        for peer, why in result.reasons.items()
        if why != "has none" and (peer, why) not in known
    ]
    return lines
