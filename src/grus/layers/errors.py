"""What a layer refuses: `InputError`, and beside it the type that torch raises in that place."""

from __future__ import annotations

from grus.errors import InputError


class ShapeError(InputError, RuntimeError):
    """A tensor of a shape that cannot be. A RuntimeError too, as torch raises."""


class KindError(InputError, TypeError):
    """An argument of another type. A TypeError too, as torch raises."""
