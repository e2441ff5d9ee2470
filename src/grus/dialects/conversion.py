"""`grus.convert`: weights from one dialect into another, proven by running both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects.dialect import SAID, Dialect
from grus.dialects.network import Network, Unrepresentable
from grus.dialects.records import called, of_name
from grus.dialects.stored_network import pack
from grus.dialects.tensor_layout import ADDED
from grus.dialects.transform import fit, without_inner
from grus.equations import Weight
from grus.errors import InputError, expect

Array = Any
STEPS, BATCH = 7, 3


@dataclass(frozen=True, eq=False)
class Converted:
    """Weights in another dialect, and the proof."""

    tensors: dict[str, Array]
    """The target's tensors by name."""
    target: Dialect
    """The target, with the activations that must be set there."""
    network: Network
    """What was read, in house form."""
    notes: tuple[str, ...]
    """What was merged, negated or scaled, and what weights cannot carry."""
    difference: float
    """The largest difference between the outputs and final states of both sides, run in float64
    over random x and initial states."""
    turned: bool = False
    """One side gives the outputs of a layer that runs backward in the order of time, the other in
    the order of processing."""

    def __str__(self) -> str:
        lines = [f"{name} {array.shape}" for name, array in self.tensors.items()]
        notes = [f"note: {note}" for note in self.notes]
        proof = f"both sides run on random input: largest difference {self.difference:.2g}"
        return "\n".join([f"{self.target.title}:", *lines, *notes, proof])


def convert(
    weights: Mapping[str, Array] | Network,
    source: str | Dialect | None,
    target: str | Dialect,
    *,
    where: str = "",
    reverse: bool = False,
) -> Converted:
    """Weights of one dialect as those of another.

    ``weights`` maps the source's tensor names to arrays, or is a `Network` (``source`` may then be
    None, or say whose run time it had). ``source`` and ``target`` are names of ``grus dialects``
    or records. Of a framework with several cells the one that fits is taken; where two fit the
    same tensors (ONNX with either place of the reset), the name must say which. ``where`` is what
    stands before the names; ``reverse`` tells of one direction that runs backward.

    Exact transformations are found and used; what is not exact but for the rounding of one sum is
    refused. Raises InputError where the tensors cannot be read, `Unrepresentable` naming the term
    that the target cannot hold and how far off the nearest network that it can hold would be.
    """
    if isinstance(weights, Network):
        network, origin = weights, None if source is None else candidates(source)[0]
    else:
        origin = _source(weights, source, where)
        network = origin.read(weights, where, reverse=reverse)
    fitted, tensors = _best(network, target)
    back = fitted.dialect.read(tensors, reverse=network.reverse)
    difference = distance(network, back)
    bound = rounding(network)
    if not difference <= bound:
        raise Unrepresentable(
            f"{fitted.dialect.title}: both sides differ by {difference:.2g} on random input, more"
            f" than rounding each weight once explains ({bound:.2g}); nothing was converted"
        )
    notes = (*fitted.notes, *_notes(network, origin, fitted.dialect))
    turned = network.reverse and _turned(origin, fitted.dialect)
    return Converted(tensors, fitted.dialect, network, notes, difference, turned)


def _turned(source: Dialect | None, target: Dialect) -> bool:
    orders = {source.runtime.order, target.runtime.order} if source else set()
    return orders == {"time", "processing"}


def candidates(name: str | Dialect) -> tuple[Dialect, ...]:
    """The records that a name may mean: one, or all of a framework.

    What stands after a colon are activations: keras_lstm:activation=relu.
    """
    if isinstance(name, Dialect):
        return (name,)
    expect("a dialect is named by a text, as torch or keras", name, str)
    name, _, settings = name.partition(":")
    if settings:
        return tuple(_set(one, settings) for one in candidates(name))
    found = of_name(name)
    return tuple([one for one in found if one.named == called(name)] or found)


ROLES = {"gates": "gates", "recurrent_activation": "gates", "candidate": "candidate",
         "activation": "candidate", "output": "output"}  # fmt: skip


def _set(dialect: Dialect, settings: str) -> Dialect:
    """``dialect`` with activations as text, in its own words: activation=relu,gates=sigmoid."""
    chosen: dict[str, str] = {}
    for one in settings.split(","):
        what, _, word = one.partition("=")
        if what.strip() not in ROLES or not word:
            raise InputError(f"a setting is one of {', '.join(ROLES)} and a word, got {one[:60]!r}")
        chosen[ROLES[what.strip()]] = word.strip()
    if dialect.cell_name == "lstm":
        chosen.setdefault("output", chosen.get("candidate", ""))
    return dialect.activated(*(chosen.get(role, "") for role in ("gates", "candidate", "output")))


def _source(weights: Mapping[str, Array], source: str | Dialect | None, where: str) -> Dialect:
    """The record of ``source`` whose tensors these are."""
    if source is None:
        raise InputError("say whose the weights are: the dialect they come from")
    records, fits, wrong = candidates(source), [], []
    for one in records:
        try:
            one.read(weights, where)
            fits.append(one)
        except InputError as error:
            wrong.append(error)
    if not fits:
        raise wrong[0]
    if len({one.cell_name.removesuffix("_relu") for one in fits}) > 1:
        names = ", ".join(f"{one.name} ({one.title})" for one in fits)
        raise InputError(f"these tensors do not tell which cell they are of; say which: {names}")
    return fits[0]


def _best(network: Network, target: str | Dialect) -> tuple[Any, dict[str, Array]]:
    """The target's record that holds the network, as it stands before by a transformation."""
    refused: list[tuple[Dialect, Unrepresentable]] = []
    records = sorted(candidates(target), key=lambda one: one.cell != network.cell)
    for one in records:
        try:
            fitted = fit(network, one)
            return fitted, pack(fitted.dialect, fitted.network)
        except Unrepresentable as error:
            refused.append((one, error))
    near = [(off, why) for one, why in refused if (off := nearest(network, one))]
    if not near:
        raise refused[0][1]
    off, why = min(near, key=lambda each: each[0].difference)
    raise Unrepresentable(
        f"{why}; the nearest ({off.how}) would be off by {off.difference:.2g} on random input"
    )


@dataclass(frozen=True)
class Nearest:
    """What a target could hold instead, and how far off that is."""

    how: str
    difference: float


def nearest(network: Network, target: Dialect) -> Nearest | None:
    """The nearest network that the target can hold; None where it has another kind of cell."""
    tried = {"": network}
    if "d" in network.cell.families:
        tried["the inner bias left out"] = without_inner(network, merged=False)
        tried["the inner bias added to the outer one"] = without_inner(network, merged=True)
    found = []
    for how, one in tried.items():
        try:
            fitted = fit(one, target, forced=True)
            tensors = pack(fitted.dialect, fitted.network)
        except Unrepresentable:
            continue
        off = distance(network, fitted.dialect.read(tensors, reverse=network.reverse))
        found.append(Nearest("; ".join(filter(None, (*fitted.notes, how))), off))
    return min(found, key=lambda one: one.difference, default=None)


def example(network: Network, seed: int = 0) -> tuple[Array, tuple[Array, ...]]:
    """Random x [7, 3, input] and initial states, in float64."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS, BATCH, network.input_size))
    shape = (len(network.layers) * network.directions, BATCH, network.hidden_size)
    return x, tuple(rng.normal(0, 0.5, size=shape) for _ in network.cell.states)


def distance(one: Network, other: Network, seed: int = 0) -> float:
    """The largest difference of outputs and final states on a random example, in float64."""
    x, start = example(one, seed)
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = one.run(x, start), other.run(x, start)
    pairs = zip((first.output, *first.state), (second.output, *second.state), strict=True)
    return max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)


def rounding(network: Network) -> float:
    """How far rounding each weight once may carry the outputs of this network.

    Measured, since it depends on the weights: every weight moved by one unit in its last place, up
    or down by chance. Eight times that covers the chance and float64's own rounding beside.
    """
    unit = float(np.finfo(network.dtype).eps)
    rng = np.random.default_rng(1)
    layers = tuple(
        tuple(
            {
                f: np.asarray(w, np.float64) * (1 + unit * rng.choice((-1.0, 1.0), w.shape))
                for f, w in weights.items()
            }
            for weights in one
        )
        for one in network.layers
    )
    moved = distance(network, replace(network, layers=layers, pairs=()))
    return 8 * moved + 64 * float(np.finfo(np.float64).eps)


def _turned_outputs(source: Dialect | None, target: Dialect) -> list[str]:
    """What the caller must do where a backward layer's outputs come in another order."""
    mine, theirs = (one.runtime.order if one else "" for one in (source, target))
    if _turned(source, target):
        first = {"processing": "the last step first", "time": "the first step first"}
        itself = " (a written .onnx file does so itself)" if target.framework == "onnx" else ""
        return [
            f"its outputs come {first[mine]} there and {first[theirs]} here: reverse them along"
            f" time for those of before{itself}; the final state is the same"
        ]
    if source is not None and mine != "caller" and theirs == "caller":
        turn = "" if mine == "processing" else ", and what comes out"
        return [f"here the caller runs it backward: reverse x along time{turn}"]
    return []


PADDED = {
    "padded": ("outputs past the end of a shorter row are not the same", "mask them"),
    "empty": ("a row of length 0 does not end in the same state", "leave such rows out"),
}
"""Switch of a `Runtime` -> what differs, and what the user does about it."""


def _notes(network: Network, source: Dialect | None, target: Dialect) -> list[str]:
    """What was merged, and what weights do not carry."""
    found = []
    merged = [
        g for g in network.cell.families.get("b", ()) if Weight(ADDED, g) not in target.blocks
    ]
    gates = network.cell.families.get("b", ())
    seconds = [np.split(p[1], len(gates)) for one in network.pairs for p in one if p is not None]
    kept = [g for k, g in enumerate(gates) if g in merged and any(np.any(s[k]) for s in seconds)]
    if kept:
        found.append(
            f"two biases of {', '.join(kept)} added into one: the sum counts, the two cannot be"
            " restored"
        )
    if network.reverse:
        found.append(f"one direction that runs backward: set it in {target.title}")
        found += _turned_outputs(source, target)
    if source is not None and source.runtime != target.runtime:
        for what, (where, remedy) in PADDED.items():
            mine, theirs = getattr(source.runtime, what), getattr(target.runtime, what)
            if mine != theirs and "no lengths" not in (mine, theirs):
                ends = f"{source.framework}: {SAID[mine]}; {target.framework}: {SAID[theirs]}"
                found.append(f"{where} ({ends}): {remedy}")
    return found
