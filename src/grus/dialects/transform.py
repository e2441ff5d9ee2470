"""What can be said otherwise, exactly: a network in the terms of another dialect.

    z keeps or admits       negate W.z, U.z, the biases of z   if f(-v) = 1 - f(v)
    a hard sigmoid's slope  the gates' weights times a ratio   if nothing is clipped
    tanh(beta v)            the candidate's weights times beta if nothing is clipped
    reset before or after   nothing                            if joined units share r, and no d
    gates of another make   renamed, tied, always open         if `search` finds the map

Everything else is refused by name. Orders, sides and biases are the matter of `storage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from grus.dialects.activation import Activation, Activations, Factored, factor
from grus.dialects.maps import Search, Side, WeightMap
from grus.dialects.network import Network, Unrepresentable
from grus.equations import CELLS, Apply, Cell, Expr, Name, State, Weight
from grus.reference import split

if TYPE_CHECKING:
    from grus.dialects.dialect import Dialect

Array = Any
# (reset, sense) -> the cell; the reset is read off whether there is an inner bias.
TURNED = {
    "gru": "gru_admit",
    "gru_admit": "gru",
    "gru_reset_before": "gru_reset_before_admit",
    "gru_reset_before_admit": "gru_reset_before",
}
MOVED = {
    "gru": "gru_reset_before",
    "gru_admit": "gru_reset_before_admit",
    "gru_reset_before": "gru",
    "gru_reset_before_admit": "gru_admit",
}


class OtherKind(Unrepresentable):
    """A network of another kind of cell than the dialect's, an LSTM for a GRU."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A network in the terms of a dialect, the dialect with its activations, and what was done."""

    network: Network
    dialect: Dialect
    notes: tuple[str, ...]


def fit(network: Network, dialect: Dialect, *, forced: bool = False) -> Fitted:
    """The same network with the dialect's cell.

    ``forced`` does the nearest thing where nothing is exact, for saying how far off that is.
    Raises Unrepresentable naming the term that has no place.
    """
    if network.cell == dialect.cell:
        return Fitted(network, dialect, ())
    have = factor(network.cell)
    target = CELLS[dialect.cell_name]
    if have is None or _kind(have.base) != _kind(target):
        return _mapped(network, dialect)
    notes: list[str] = []
    network, dialect = _activations(network, have, dialect, forced, notes)
    have = factor(network.cell)
    assert have is not None
    if have.base != target:
        network = _same_sense(network, have, dialect, forced, notes)
    if network.cell != dialect.cell:
        if _kind(target) != "gru":  # no reset to move: a cell of its own for each activation
            raise Unrepresentable(f"{dialect.title} has no {have.activations.candidate} here")
        network = _same_reset(network, dialect, forced, notes)
    return Fitted(network, dialect, tuple(notes))


def _mapped(network: Network, dialect: Dialect) -> Fitted:
    """A cell of another make as the dialect's, its gates renamed, tied, scaled or left open."""
    usual = dialect.activations
    chosen = [usual, *(replace(usual, candidate=one) for one in dialect.words.values())]
    for activations in dict.fromkeys(chosen):
        other = replace(dialect, activations=activations)
        found = _map_to(network.cell, other)
        if found is not None:
            layers = tuple(
                tuple(_applied(found, network, k, d) for d in range(network.directions))
                for k in range(len(network.layers))
            )
            made = replace(network, cell=other.cell, layers=layers, pairs=())
            return Fitted(made, other, found.lines)
    raise OtherKind(
        f"{dialect.title} is the cell {dialect.cell_name}; {network.cell.name} is another kind"
    )


@lru_cache(maxsize=1024)
def _map_between(source: Cell, target: Cell, absent: frozenset[Weight]) -> WeightMap | None:
    if len(source.states) != len(target.states) or any(i.name != "x" for i in source.inputs):
        return None
    return Search(Side("", source), Side("", target, absent)).found()


def _map_to(cell: Cell, dialect: Dialect) -> WeightMap | None:
    absent = {w for w in dialect.cell.weights if dialect.tensors and w not in dialect.blocks}
    return _map_between(cell, dialect.cell, frozenset(absent))


def _applied(found: WeightMap, network: Network, layer: int, direction: int) -> dict[str, Array]:
    single = found(split(network.cell, network.float64(layer, direction)))
    return {
        family: np.concatenate([single[Weight(family, g)] for g in gates]).astype(network.dtype)
        for family, gates in found.target.families.items()
    }


def _kind(cell: Cell) -> str:
    if cell.name in TURNED:
        return "gru"
    return "rnn" if cell.name.startswith("rnn") else cell.name


# Activations.


def _activations(
    network: Network, have: Factored, dialect: Dialect, forced: bool, notes: list[str]
) -> tuple[Network, Dialect]:
    """The network with activations that the dialect has, and the dialect with them chosen."""
    chosen, wanted = have.activations, dialect.activations
    if _kind(have.base) == "rnn":  # there is one activation; what stands for gates is idle
        chosen = replace(chosen, gates=wanted.gates, output=wanted.output)
        if have.base.name == "rnn_relu":
            chosen = replace(chosen, candidate=Activation("relu"))
    elif _kind(have.base) == "gru":
        chosen = replace(chosen, output=wanted.output)
    if dialect.allows(chosen):
        if chosen != wanted:
            notes.append(f"set in {dialect.title}: {chosen}")
        return network, replace(dialect, activations=chosen)
    scales: dict[str, float] = {}
    new = dict.fromkeys(("gates", "candidate", "output"))
    for role in new:
        mine = getattr(chosen, role)
        near = _nearest(mine, dialect, role) if chosen.clip is None else mine
        scales[role], new[role] = _scale(mine, near), near
    found = Activations(**new, clip=chosen.clip)  # type: ignore[arg-type]
    if not dialect.allows(found) and not forced:
        raise Unrepresentable(_no_activation(chosen, dialect))
    if not dialect.allows(found):
        found, scales = wanted, {}
        notes.append(f"{chosen} taken for {wanted}")
    changed = _scaled(network, have, scales, notes)
    other = replace(dialect, activations=found)
    cell = Factored(have.base, found).cell
    return replace(changed, cell=cell), other


def _nearest(mine: Activation, dialect: Dialect, role: str) -> Activation:
    """The dialect's activation that is this one with its argument scaled, or this one."""
    usual: Activation = getattr(dialect.activations, role)
    for other in (usual, *dialect.words.values()):
        if _scale(mine, other):
            return other
    return mine


def _scale(mine: Activation, other: Activation) -> float:
    """c such that mine(v) = other(c v), or 0."""
    if mine == other:
        return 1.0
    slopes = {"hard_sigmoid": "alpha", "affine": "alpha", "scaled_tanh": "beta"}
    if mine.name == other.name and mine.name in slopes:
        slope = slopes[mine.name]
        rest = "beta" if slope == "alpha" else "alpha"
        if getattr(mine, rest) == getattr(other, rest) and getattr(other, slope):
            return float(getattr(mine, slope) / getattr(other, slope))
    if mine.name == "scaled_tanh" and mine.alpha == 1 and other.name == "tanh":
        return float(mine.beta or 0.0)
    return 0.0


def _scaled(
    network: Network, have: Factored, scales: Mapping[str, float], notes: list[str]
) -> Network:
    kind = _kind(have.base)
    candidate = {"gru": "n", "lstm": "g", "rnn": "h"}[kind]
    factors: dict[Weight, float] = {}
    for weight in have.base.weights:
        role = "candidate" if weight.gate == candidate else "gates"
        # Inside the candidate everything is added, the product with r included.
        if scales.get(role, 1.0) != 1.0:
            factors[weight] = scales[role]
    for role, scale in scales.items():
        if scale != 1.0 and (role != "output" or kind == "lstm"):
            notes.append(f"the weights of the {role} times {scale:.9g}: another slope")
    return scaled(network, factors)


def _no_activation(chosen: Activations, dialect: Dialect) -> str:
    if chosen.clip is not None and not dialect.free:
        return f"{dialect.title} has no clip, and {chosen.clip:g} bounds what goes into a gate"
    for role in ("gates", "candidate", "output"):
        if not dialect.allows(replace(dialect.activations, **{role: getattr(chosen, role)})):
            return f"{dialect.title} has no {getattr(chosen, role)} for the {role}"
    return f"{dialect.title} cannot have {chosen}"


# Sense and reset.


def _same_sense(
    network: Network, have: Factored, dialect: Dialect, forced: bool, notes: list[str]
) -> Network:
    mine, theirs = sense(have.base), sense(CELLS[dialect.cell_name])
    if mine is None or theirs is None or mine[1] == theirs[1]:
        return network
    gates = have.activations.gates
    if not gates.symmetric and not forced:
        raise Unrepresentable(
            f"{dialect.title}: z {theirs[1]}s there, and 1 - {gates}(v) is not {gates}(-v)"
        )
    notes.append(f"z {theirs[1]}s instead of {mine[1]}s: the weights of z negated")
    cell = Factored(CELLS[TURNED[have.base.name]], have.activations).cell
    turned = scaled(network, {Weight(f, "z"): -1.0 for f in "WUb"})
    return replace(turned, cell=cell)


def _same_reset(network: Network, dialect: Dialect, forced: bool, notes: list[str]) -> Network:
    have = factor(network.cell)
    assert have is not None
    after = "d" in have.base.families
    if forced:
        notes.append(f"the reset moved {'before' if after else 'after'} the product")
    else:
        _check_movable(network, after, dialect)
        notes.append("reset before and after are the same here: units that U.n joins have one r")
    cell = Factored(CELLS[MOVED[have.base.name]], have.activations).cell
    hidden = network.hidden_size

    def change(weights: Mapping[str, Array]) -> dict[str, Array]:
        if not after:
            return {**weights, "d": np.zeros_like(weights["b"][:hidden])}
        bias = np.array(weights["b"])
        at = have.base.families["b"].index("n") * hidden
        bias[at : at + hidden] += weights["d"]
        return {f: w for f, w in weights.items() if f != "d"} | {"b": bias}

    layers = tuple(tuple(change(w) for w in one) for one in network.layers)
    pairs = network.pairs if not (after and forced) else ()
    return replace(network, cell=cell, layers=layers, pairs=pairs)


def _check_movable(network: Network, after: bool, dialect: Dialect) -> None:
    """Raise Unrepresentable unless the reset's place makes no difference to this network."""
    where = ("after", "before") if after else ("before", "after")
    what = f"{dialect.title} resets {where[1]} the product, this network {where[0]} it"
    for k, one in enumerate(network.layers):
        for d in range(len(one)):
            single = split(network.cell, network.float64(k, d))
            if not _commutes(single):
                raise Unrepresentable(f"{what}, and U.n @ (r * h) is not r * (U.n @ h)")
            if after and np.any(one[d]["d"]):
                raise Unrepresentable(f"{what}, and there is no place for the inner bias d.n")


def _commutes(single: Mapping[Weight, Array]) -> bool:
    """True where units that U.n joins have one r: it is diagonal, or their weights are equal."""
    gate = [single[Weight(family, "r")] for family in "WU"]
    rows = np.concatenate([*gate, single[Weight("b", "r")][:, None]], axis=1)
    joined = np.argwhere(single[Weight("U", "n")])
    return bool(np.array_equal(rows[joined[:, 0]], rows[joined[:, 1]]))


# Changing weights.


def scaled(network: Network, factors: Mapping[Weight, float]) -> Network:
    """The network with some of its blocks times a number each, in their dtype."""
    families = network.cell.families

    def times(family: str, array: Array) -> Array:
        gates = families[family]
        parts = np.split(array, len(gates))
        for k, gate in enumerate(gates):
            factor = factors.get(Weight(family, gate), 1.0)
            if factor != 1.0:
                parts[k] = (parts[k].astype(np.float64) * factor).astype(array.dtype)
        return np.concatenate(parts)

    layers = tuple(
        tuple({f: times(f, w) for f, w in weights.items()} for weights in one)
        for one in network.layers
    )
    pairs = tuple(
        tuple(None if p is None else (times("b", p[0]), times("b", p[1])) for p in one)
        for one in network.pairs
    )
    return replace(network, layers=layers, pairs=pairs)


def without_inner(network: Network, merged: bool) -> Network:
    """The network with its inner bias dropped, or added to the outer one: no exact change."""
    hidden = network.hidden_size
    at = network.cell.families["b"].index("n") * hidden

    def change(weights: Mapping[str, Array]) -> dict[str, Array]:
        bias = np.array(weights["b"])
        bias[at : at + hidden] += weights["d"] if merged else 0
        return {**weights, "b": bias, "d": np.zeros_like(weights["d"])}

    layers = tuple(tuple(change(w) for w in one) for one in network.layers)
    return replace(network, layers=layers, pairs=())


def sense(cell: Cell) -> tuple[str, Literal["keep", "admit"]] | None:
    """The gate that mixes old state and candidate, and what it does near 1.

    ``h_next = z * h + (1 - z) * n`` is ("z", "keep"), ``(1 - z) * h + z * n`` is ("z", "admit").
    None for a cell that has no such equation.
    """
    for state in cell.states:
        for kept, rest in _mixed(cell[f"{state}_next"], State(state)):
            for gate in (f for f in (kept, *rest) if isinstance(f, Name)):
                if kept == gate and 1 - gate in rest:
                    return gate.name, "keep"
                if kept == 1 - gate and gate in rest:
                    return gate.name, "admit"
    return None


def _mixed(expr: Expr, state: State) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """For ``a * state + b * c``, in any order: (a, (b, c)). Nothing for another expression."""
    if not isinstance(expr, Apply) or expr.op != "add":
        return
    left, right = expr.args
    for old, new in ((left, right), (right, left)):
        if isinstance(old, Apply) and isinstance(new, Apply) and old.op == new.op == "mul":
            one, other = old.args
            if state in (one, other):
                yield (one if other == state else other), new.args
