"""Tensors by name, without a word of their order, as a chain: recurrent layers as the dialects know
them, linear layers by their names, in the one order in which their sizes fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from grus.builds.chain import Chain
from grus.builds.file_layers import add_stored
from grus.builds.model import Model
from grus.errors import InputError
from grus.files import OPTIMIZER, Layer, only_reading
from grus.weight_file import Array, Contents, one_line

NAMES = {
    "weight": ("bias", False),
    "kernel": ("bias", True),
    "w": ("b", True),
    "vars/0": ("vars/1", True),
}
"""How a linear layer's weight is called -> its bias, and whether the weight is [inputs, outputs]:
torch, Flax and Keras before 3, Haiku, Keras 3."""
KEEP_ORDER = ("pt", "npz", "json")
"""Formats whose files have the tensors in the order in which the model was written."""
MOST = 2
DEEPEST, STEPS = 100, 20_000
"""How many layers are put in order, and in how many steps."""
SHOWN = 6


@dataclass(frozen=True, eq=False)
class Piece:
    """A layer of the file: what it reads and gives, and how it joins a chain."""

    path: str
    inputs: int
    outputs: int
    add: Callable[[Chain], Chain]

    def __str__(self) -> str:
        return f"{self.path} ({self.inputs} -> {self.outputs})"

    @property
    def numbered(self) -> tuple[str, int]:
        """What stands before the number at the end of its path, and the number, 0 without one."""
        number = re.search(r"[._/]?(\d{0,9})$", self.path)
        return (self.path[: number.start()], int(number[1] or 0)) if number else (self.path, 0)


def read_tensors(contents: Contents, recurrent: Sequence[Layer], option: str) -> Model:
    """The chain of the tensors' layers. Raises InputError for a file without a recurrent layer, for
    a tensor that belongs to none, and where sizes fit in no order or in several."""
    if not recurrent:
        names = ", ".join(map(one_line, list(contents.tensors)[:SHOWN])) or "none"
        raise InputError(f"no recurrent layer of a dialect that is known; its tensors are {names}")
    used = {name for layer in recurrent for name in layer.names}
    places = {name: k for k, name in enumerate(contents.tensors)}
    pieces = [(_first(places, layer), _recurrent(layer, option)) for layer in recurrent]
    rest = {n: t for n, t in contents.tensors.items() if n not in used and not OPTIMIZER.search(n)}
    pieces += [(places[name], piece) for name, piece in _linear(rest)]
    ordered = [piece for _, piece in sorted(pieces, key=lambda pair: pair[0])]
    chain = Chain()
    for piece in _chained(ordered, contents.format in KEEP_ORDER):
        chain = piece.add(chain)
    if len(pieces) > len(recurrent):
        chain = chain.noted("the file names no activations: none stands behind a linear layer")
    return chain.noted(*contents.notes).model()


def _first(places: Mapping[str, int], layer: Layer) -> int:
    return min((places[name] for name in layer.names), default=0)


def _recurrent(layer: Layer, option: str) -> Piece:
    network = only_reading("the file", layer, option).network
    outputs = network.layers[-1][0]["U"].shape[1]
    return Piece(
        layer.path or "recurrent",
        int(network.layers[0][0]["W"].shape[1]),
        int(outputs) * network.directions,
        lambda chain: add_stored(chain, layer.path or "recurrent", layer, option).noted(
            *(f"{layer.path}: {note}".lstrip(": ") for note in layer.notes)
        ),
    )


def _linear(tensors: Mapping[str, Array]) -> Iterator[tuple[str, Piece]]:
    """The linear layers and embeddings. Raises InputError for a tensor that is of neither."""
    left = dict(tensors)
    for name, tensor in tensors.items():
        for tail, (bias_tail, turned) in NAMES.items():
            if tensor.ndim != 2 or name not in left or not _ends(name, tail):
                continue
            path = name.removesuffix(tail).rstrip("./")
            bias = left.pop(name.removesuffix(tail) + bias_tail, None)
            yield name, _piece(path, left.pop(name).T if turned else left.pop(name), bias)
    if left:
        shapes = ", ".join(f"{one_line(n)[:80]} {list(t.shape)}" for n, t in left.items())
        raise InputError(
            f"of no recurrent or linear layer, so the model is another: {shapes[:400]}"
        )


def _ends(name: str, tail: str) -> bool:
    return name == tail or name.endswith((f".{tail}", f"/{tail}"))


def _piece(path: str, weight: Array, bias: Array | None) -> Piece:
    shown = one_line(path)[:80] or "linear"
    if bias is None and "emb" in path.lower().rpartition(".")[2]:
        return Piece(shown, 0, weight.shape[1], lambda chain: chain.looked_up(shown, weight))
    outputs, inputs = weight.shape
    return Piece(shown, inputs, outputs, lambda chain: chain.linear(shown, weight, bias))


def _chained(pieces: list[Piece], ordered: bool) -> list[Piece]:
    """The pieces in an order in which each reads what the one before gives: the file's own, where
    it has one, else the only one that there is. Raises InputError."""
    if ordered and all(a.outputs == b.inputs for a, b in pairwise(pieces)):
        return pieces
    orders = _orders(pieces)
    if len(orders) == 1:
        return orders[0]
    sizes = ", ".join(map(str, pieces[:SHOWN])) + (", ..." if len(pieces) > SHOWN else "")
    how = "in several orders" if orders else "in no order"
    raise InputError(
        f"the sizes of its layers fit {how}: {sizes}; build the module itself, or its ONNX export"
    )


def _orders(pieces: list[Piece]) -> list[list[Piece]]:
    """The orders in which the sizes fit, two where there are more or where it takes too long to
    know; layers that a number tells apart stay in its order."""
    orders: list[list[Piece]] = []
    steps = 0

    def go_on(order: list[Piece], left: list[Piece]) -> None:
        nonlocal steps
        steps += 1
        if not left:
            orders.append(order)
        for piece in left if len(orders) < MOST and steps < STEPS else ():
            fits = not order or (piece.inputs and order[-1].outputs == piece.inputs)
            if fits and not any(_before(other, piece) for other in left):
                go_on([*order, piece], [p for p in left if p is not piece])

    if len(pieces) <= DEEPEST:
        go_on([], pieces)
    return orders if steps < STEPS else [pieces] * MOST


def _before(piece: Piece, other: Piece) -> bool:
    """Whether the numbers of two layers of one name say that the first comes before."""
    (stem, number), (stem_other, number_other) = piece.numbered, other.numbered
    return stem == stem_other and number < number_other
