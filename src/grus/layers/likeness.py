"""Calls found again: by where the parameters lie, and by one question about all tensors.

What a prepared call depends on (types, dtypes, shapes, strides, what torch does with a tensor when
it is read) is a long key to make in Python and one look for torch's own guards, which compiled
graphs ask in the same way. Where this torch has none, keys are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from torch import Tensor

Guards: Any = None
"""torch's question; None in a torch that keeps it elsewhere, where every call makes its key."""
with suppress(ImportError):
    from torch._C._dynamo.guards import TensorGuards

    Guards = TensorGuards

MOST = 256
"""Calls kept; beyond it all are forgotten."""

Call = TypeVar("Call")
Pattern = tuple[int, ...]
"""Where each tensor stands first, where one is given twice: guards want to see it once. Else
nothing."""


class Found(Generic[Call]):
    """Calls by a few numbers, each for tensors like those it was last made for."""

    def __init__(self) -> None:
        self.calls: dict[tuple[Any, ...], tuple[Any, Pattern, Call]] = {}

    def get(self, key: tuple[Any, ...], tensors: Sequence[Tensor]) -> Call | None:
        """The call, if it was kept for as many tensors like these: of the same types, dtypes,
        shapes, strides and devices."""
        entry = self.calls.get(key)
        if entry is None:
            return None
        guards, pattern, call = entry
        if pattern:
            if any(tensors[k] is not tensors[first] for k, first in enumerate(pattern)):
                return None
            tensors = [tensors[k] for k, first in enumerate(pattern) if k == first]
        return call if guards.check(*tensors) else None

    def keep(self, key: tuple[Any, ...], tensors: Sequence[Tensor], call: Call) -> None:
        """Keep a call for tensors like these; ``key`` also says how many there are."""
        if Guards is None:
            return
        if len(self.calls) >= MOST:
            self.calls.clear()
        static = {"dynamic_dims_sizes": None, "dynamic_dims_strides": None}
        places = {id(tensor): k for k, tensor in reversed([*enumerate(tensors)])}
        pattern: Pattern = ()
        if len(places) < len(tensors):
            pattern = tuple(places[id(tensor)] for tensor in tensors)
            tensors = [tensors[k] for k in dict.fromkeys(pattern)]
        self.calls[key] = Guards(*tensors, **static), pattern, call
