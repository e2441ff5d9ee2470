"""What a layer refuses: `InputError`, and beside it the type that torch raises in that place."""

from __future__ import annotations

from grus.errors import InputError


class ShapeError(InputError, RuntimeError):
    """A tensor of a shape that cannot be. A RuntimeError too, as torch raises."""


class MemoryKindError(InputError):
    """A tensor whose numbers do not lie densely in the CPU's memory: no kernel may read it."""


class KindError(InputError, TypeError):
    """An argument of another type. A TypeError too, as torch raises."""
