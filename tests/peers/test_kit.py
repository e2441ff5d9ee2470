"""The check kit on the frameworks: what it finds is what the documentation's table says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from grus_of_others import PEERS, Peer

from grus.check import Backend, Judge, cases, check
from grus.check.causes import CaseFindings
from grus.equations import CELLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "check.md"
GROUPS = {
    "one layer": ("one step", "biases", "h0 given", "h0 absent", "h0 zeros", "no bias",
                  "other sizes", "step by step"),
    "layers, directions": ("two layers", "two directions", "two of both"),
    "lengths": ("lengths", "lengths, NaN padding", "lengths, two directions"),
    "mask": ("left padding",),
    "resets, zoneout": ("resets", "resets as 0 and 1", "resets as floats", "zoneout"),
}  # fmt: skip
NAMED = {
    "Keras `GRU`": {"padding repeats the last output"},
    "Keras `GRU(reset_after=False)`": {"padding repeats the last output"},
    "ONNX Runtime `GRU`": {"a row of length 0 ends with zeros"},
    "OpenVINO `GRUSequence`": {"a row of length 0 ends with zeros"},
    "Flax linen `GRUCell`": {
        "the cell runs on through padding, and a row of length 0 ends after it"
    },
    "Flax nnx `GRUCell`": {"inner bias ignored"},
}
"""What the kit calls the ways in which each framework differs; the others do not."""


@cache
def judged(peer: Peer) -> Judge:
    forward, gradients = peer.make()
    return check(CELLS[peer.cell], Backend(forward, gradients))


def word(rows: list[CaseFindings]) -> str:
    """A group of cases in one cell of the table."""
    status = {row.forward.status for row in rows}
    if status == {"not offered"}:
        return "-"
    if "fails" not in status:
        return "ok"
    if all(row.forward.reason for row in rows if row.forward.status == "fails"):
        return "refuses length 0"
    return "; ".join(dict.fromkeys(row.forward.cause for row in rows if row.forward.cause))


def gradients(rows: tuple[CaseFindings, ...]) -> str:
    """Gradients count where the forward run is right."""
    status = {r.gradients.status for r in rows if r.forward.status == "ok"} - {"not offered"}
    return {frozenset(): "-", frozenset({"ok"}): "ok"}.get(frozenset(status), "wrong")


def line(peer: Peer) -> str:
    """The framework's row of the table in the documentation."""
    rows = judged(peer).rows()
    cells = [peer.title, f"`{peer.cell}`"]
    cells += [word([r for r in rows if r.case.name in names]) for names in GROUPS.values()]
    return f"| {' | '.join([*cells, gradients(rows)])} |"


def test_every_case_is_in_the_table() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert named == [case.name for case in cases(CELLS["gru"])]


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.name)
def test_a_framework_is_what_it_is_said_to_be(peer: Peer) -> None:
    judge = judged(peer)
    rows = {row.case.name: row for row in judge.rows()}
    assert {cause.name for cause in judge.causes.values()} == NAMED.get(peer.name, set())
    for row in rows.values():
        if row.forward.status == "fails" and row.forward.reason:
            assert "Length of all samples has to be greater than 0" in row.forward.reason
        if row.forward.status == "ok":
            assert row.gradients.status in ("ok", "not offered")
    assert rows["one step"].forward.status in ("ok", "fails")


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.name)
def test_the_documentation_s_row_is_what_is_found(peer: Peer) -> None:
    found = line(peer)
    documented = [row for row in PAGE.read_text("utf-8").splitlines() if peer.name in row]
    assert documented, found
    said = re.match(r"\| (.*?) \|", documented[0])
    assert said
    if said[1] != peer.title:
        pytest.skip(f"the table is of {said[1]}; installed is {peer.title}: {found}")
    assert documented == [found]


@pytest.mark.parametrize("peer", PEERS[:1], ids=lambda p: p.name)
def test_a_framework_fed_wrongly_is_seen(peer: Peer) -> None:
    """A break: the same layer given its gates in another order."""
    forward, _ = peer.make()

    def swapped(x: np.ndarray, weights: dict, h0: np.ndarray | None = None) -> object:
        zrn = {n: np.concatenate([*np.split(w, 3)[1::-1], np.split(w, 3)[2]])
               for n, w in weights.items()}  # fmt: skip
        return forward(x, zrn, h0)

    judge = check(CELLS[peer.cell], Backend(swapped))
    assert {cause.name for cause in judge.causes.values()} == {"gates read in the order z, r, n"}
