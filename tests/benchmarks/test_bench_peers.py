"""Peers in processes of their own: what is wrong, dies, hangs or is missing has no time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grus.cli.main import run as run_command
from grus_benchmarks import run_peers
from grus_benchmarks.against import Field, Result, run
from grus_benchmarks.figure import draw
from grus_benchmarks.machine_limits import Reader, reading, together
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, TABLE, Problem
from grus_benchmarks.process import PeerError, Process
from grus_benchmarks.roofline import Limits
from grus_benchmarks.tables import Measured, as_json, as_markdown, line
from grus_benchmarks.turns import Turns

FAKE = Path(__file__).with_name("fake_peer.py")
SMALL = Problem.parse("7,3,5,6")
SILENCE = 2.0  # seconds after which a test takes a peer for hung
START = 120.0  # a loaded machine may take long to import torch
MODES = ("right", "wrong", "wrong-gradient", "missing-gradient", "forward-only", "dies-timed")


def command(mode: str) -> Callable[[int], list[str]]:
    return lambda threads: [sys.executable, str(FAKE), mode, str(threads)]


def light(mode: str) -> Process:
    return Process(mode, command(mode)(1), None, START)


class Impatient(Field):
    """Waits for the peer that hangs no longer than a test needs, whenever it is started."""

    def start(self, name: str) -> None:
        super().start(name)
        if name == "hangs":
            self.processes[name].limit = SILENCE


@pytest.fixture(scope="module")
def measured() -> Iterator[tuple[Field, list[Result]]]:
    """Two problems with every fake that needs torch, and some that do not."""
    commands = {"grus": command("right")}
    commands |= {mode: command(mode) for mode in (*MODES[1:], "raises", "hangs", "absent")}
    commands["nowhere"] = lambda threads: ["/no/such/interpreter"]
    peers = Impatient(commands, 1, START)
    results = list(run(peers, [SMALL, Problem.parse("step:1,2,4,4")], 0.0, "grus"))
    yield peers, results
    peers.close()


@pytest.mark.slow
def test_times_are_of_right_numbers_only(measured: tuple[Field, list[Result]]) -> None:
    first = measured[1][0]
    assert set(first.times[FORWARD]) == {"wrong-gradient", "missing-gradient", "forward-only"}
    assert set(first.times.get(BOTH, {})) == set()
    assert set(first.times[BOTH_DX]) == {"wrong-gradient", "missing-gradient"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("wrong, forward", "wrong numbers: output is off by"),
        ("wrong-gradient, forward+backward", "the gradient of weight_hh_l0 is off by"),
        ("missing-gradient, forward+backward", "wrong numbers: bias_hh_l0 is missing"),
        ("forward-only, forward+backward", "has none"),
        ("dies-timed, forward", "died with code 9"),
        ("raises", "ValueError: no such thing"),
        ("hangs", f"no answer within {SILENCE:g} s"),
        ("absent", "ModuleNotFoundError: No module named 'absent'"),
        ("nowhere", "/no/such/interpreter cannot be started: No such file or directory"),
    ],
)
def test_who_has_no_time_is_listed_with_the_reason(
    measured: tuple[Field, list[Result]], key: str, reason: str
) -> None:
    assert reason in measured[1][0].reasons[key]


@pytest.mark.slow
def test_a_peer_that_died_is_started_again_for_the_next_problem(
    measured: tuple[Field, list[Result]],
) -> None:
    second = measured[1][1]
    assert "dies-timed, forward" in second.reasons
    assert "died with code 9" in second.reasons["dies-timed, forward"]
    assert set(second.times[FORWARD]) == {"wrong-gradient", "missing-gradient", "forward-only"}


@pytest.mark.slow
def test_every_peer_has_a_time_or_a_reason_for_every_kind(
    measured: tuple[Field, list[Result]],
) -> None:
    peers, results = measured
    for result in results:
        for kind in result.problem.kinds:
            for name in set(peers.commands) - {"grus"}:
                keys = {name, f"{name}, {kind}", f"{name}, {FORWARD}"}
                assert name in result.times.get(kind, {}) or keys & set(result.reasons)


def test_what_a_framework_prints_does_not_get_between_the_messages() -> None:
    process = light("echo")
    given = SMALL.draw()
    assert process.ask("load", given, problem=SMALL.as_json())[0]["kinds"] == [FORWARD]
    _, found = process.ask("answer", kind=FORWARD)
    assert (found["output"] == given["x"]).all()
    assert process.ask("time", kind=FORWARD, count=5, before=1)[0]["seconds"] > 0
    process.close()


@pytest.mark.parametrize(
    ("mode", "reason", "alive"),
    [
        ("dies", "died with code 7: the last line", False),
        ("hangs", "no answer within 1 s", False),
        ("raises", "ValueError: no such thing", True),
        ("refuses", "has no GRU", True),
    ],
)
def test_a_process_says_how_it_failed(mode: str, reason: str, alive: bool) -> None:
    process = light(mode)
    process.limit = 1.0
    with pytest.raises(PeerError) as error:
        process.ask("load", SMALL.draw(), problem=SMALL.as_json())
    assert (error.value.peer, error.value.reason) == (mode, reason)
    assert process.alive == alive
    process.close()


def test_a_peer_that_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(PeerError, match=r"measuring it needs jax: pip install 'grus\[bench\]'"):
        light("no-jax")


def made_up() -> Measured:
    machine = {"grus": "1", "processor": "p", "threads": 2, "python": "3", "system": "s"}
    limits = Limits({"numpy 512": 2e11}, {1 << 16: 4e11, 1 << 26: 1e11}, 2e10)
    about = {name: {"version": "v", "threads": "t"} for name in ("grus", "slow", "fast")}
    found = Measured(machine, limits, about, {"gone": "ModuleNotFoundError: gone"})
    for problem in TABLE[:2]:
        result = Result(problem, reasons={"gone": "ModuleNotFoundError: gone"})
        times = {"slow": Turns((1e-3, 1e-3), (4e-3, 4e-3)), "fast": Turns((1e-3,), (5e-4,))}
        result.times = {FORWARD: times, BOTH: {"slow": times["slow"]}}
        result.reasons["fast, forward+backward"] = "has none"
        found.results.append(result)
    return found


def test_the_tables_hold_times_ratios_means_and_reasons() -> None:
    text = as_markdown(made_up())
    row = next(one for one in text.splitlines() if one.startswith("| 100,1,32,32"))
    assert "**4.00**" in row
    assert "**0.50** | 0.50 |" in row
    assert "| geometric mean |  | 4.00 | 0.50 | 0.50 |" in text
    assert text.count("gone") == 2  # its row in the table of peers: a name and a reason
    assert "fast, forward+backward: has none" in text
    assert "slow 4.00" in line(made_up().results[0], {})[0]


def test_why_a_peer_is_missing_is_not_said_again_at_each_row() -> None:
    result, gone = made_up().results[0], {"gone": "ModuleNotFoundError: gone"}
    assert "  gone: ModuleNotFoundError: gone" in line(result, {})
    assert not any("gone" in one for one in line(result, gone))
    assert "  gone: ModuleNotFoundError: gone" in line(result, {"gone": "another reason"})


def test_fractions_are_of_the_largest_bound() -> None:
    # 100,1,32,32 forward: 1,228,800 operations at 2e11 a second are 6.1 us, of 1 ms 1 %; its
    # weights, 12 KiB a step from the fastest level, take 3.1 us.
    row = next(one for one in as_markdown(made_up()).splitlines() if "| 100,1,32,32" in one)
    assert row.split("|")[2].strip() == "1 ms ± 0%, 1%"


def test_the_json_holds_every_block() -> None:
    found = json.loads(as_json(made_up()))
    kinds = found["rows"][0]["kinds"]
    assert kinds[FORWARD]["peers"]["slow"] == {"ours": [1e-3] * 2, "theirs": [4e-3] * 2, "ratio": 4}
    assert set(kinds[FORWARD]["bounds"]) == {"operations", "bytes once", "weights again"}
    assert found["missing"] == {"gone": "ModuleNotFoundError: gone"}


def test_the_figure_is_a_png() -> None:
    pytest.importorskip("matplotlib")
    assert draw(made_up()).startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_whole_run_writes_three_files_after_each_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(run_peers, "limits_of_machine", lambda threads: made_up().limits)
    said: list[str] = []
    commands = {"grus": command("right"), "peer": command("forward-only")}
    found = run_peers.bench_peers([SMALL], tmp_path, 1, 0.0, said.append, commands)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "peers.json",
        "peers.md",
        "peers.png",
    ]
    assert found.results[0].times[FORWARD].keys() == {"peer"}
    assert said[0].startswith("1 problem, about")
    assert json.loads((tmp_path / "peers.json").read_text("utf-8"))["machine"]["threads"] == 1


def test_the_reader_reads_all_of_its_bytes() -> None:
    from grus.kernels.jit import Compiled
    from grus_benchmarks.machine_limits import reader

    size, again = 1 << 12, 3
    blocks = [Reader(size) for _ in range(2)]
    code = Compiled(reader(), {})
    for block in blocks:
        block.words[2] = again
    together(code.call, blocks)
    # Every number is 1, so a sum that is whole counts them; small whole numbers are exact.
    assert [block.sum.sum() for block in blocks] == [again * size / 4] * 2


def test_reading_has_a_rate_that_a_machine_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grus_benchmarks.machine_limits.SECONDS", 0.002)
    assert 1e8 < reading(1 << 15, 1) < 1e13


def grus(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "bench", *words])
        with pytest.raises(SystemExit) as end:
            run_command()
    return int(end.value.code or 0), *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peers", "--shapes", "rnn:1,2,3,4"], "'rnn' is none of gru, lstm"),
        (["--peers", "--dtype", "float64"], "do not go with --peers"),
        (["--peers", "--seconds", "0"], "--seconds must be above 0"),
        (["--peers", "--threads", "0"], "--threads must be at least 1, got 0"),
        (["--peers", "--out", __file__], "--out must be a folder"),
        (["--quick"], "--quick goes with --peers"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = grus(capsys, *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
