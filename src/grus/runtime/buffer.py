"""Memory of any library, as calls see it: an address, a shape, strides, a dtype.

torch's tensors come as they are; a `Buffer` gives an array of NumPy those of their methods that
calls ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.kernels import Array, address, lasting

Tensor = Any
"""A tensor of torch, or a `Buffer`."""
LOW = 1 << 40
"""An address below it may be a distance into a storage that was freed, which begins at 0."""
LARGE = 1 << 20
"""Bytes from which what is kept for backward lies in memory that comes back."""


class Buffer:
    """An array with a tensor's methods."""

    __slots__ = ("_array", "shape")

    def __init__(self, array: Array) -> None:
        self._array, self.shape = array, array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's."""
        return self._array.dtype

    def stride(self, axis: int | None = None) -> Any:
        """Numbers from entry to entry along an axis, or along each."""
        item = self._array.itemsize
        strides = self._array.strides
        return tuple([s // item for s in strides]) if axis is None else strides[axis] // item

    def numel(self) -> int:
        """How many numbers."""
        return self._array.size

    def detach(self) -> Buffer:
        """Itself: no derivative is recorded."""
        return self

    def numpy(self) -> Array:
        """The array."""
        return self._array

    def data_ptr(self) -> int:
        """Where it begins."""
        return address(self._array)

    def new_empty(self, *shape: int) -> Buffer:
        """Another of its dtype."""
        return Buffer(np.empty(shape, self._array.dtype))

    def contiguous(self) -> Buffer:
        """Itself where its numbers follow on each other, else a copy."""
        return Buffer(np.ascontiguousarray(self._array))

    def as_strided(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> Buffer:
        """Another view of its memory."""
        steps = [self._array.itemsize * s for s in strides]
        return Buffer(np.lib.stride_tricks.as_strided(self._array, shape, steps))

    def reshape(self, *shape: int) -> Buffer:
        """The same numbers in another shape."""
        return Buffer(self._array.reshape(shape))

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, at: Any) -> Buffer:
        return Buffer(self._array[at])


@dataclass(frozen=True)
class Library:
    """What calls ask of a library beside its tensors' methods."""

    pointer: Callable[[Tensor], int]
    """Where a tensor begins. Raises RuntimeError for what has no memory."""
    check_memory: Callable[[Sequence[Tensor]], None]
    """Raises for a tensor whose memory was freed: asked where one begins below `LOW`."""
    check: Callable[[Sequence[str], Sequence[Tensor]], None]
    """Raises for one that no kernel may read; the names are for the message."""
    by_rows: Callable[[Tensor], Tensor]
    """The tensor with its last axis contiguous: itself where it is so."""
    unusual: Callable[[Tensor], bool]
    """Whether memory does not hold the numbers as they are read."""
    guards: Callable[[Sequence[Tensor]], Callable[..., bool]] | None
    """Makes of tensors a question, whether others are like them; None where there is none."""
    wrap: Callable[[Array], Tensor]
    """A tensor over an array's memory."""

    def addresses(self, tensors: Sequence[Tensor]) -> list[int]:
        """Where tensors begin. Raises RuntimeError for what has no memory, InputError for one whose
        memory was freed."""
        places = list(map(self.pointer, tensors))
        if places and min(places) < LOW:
            self.check_memory(tensors)
        return places

    def room(self, count: int, like: Tensor, item: int) -> Tensor:
        """``count`` numbers of so many bytes for `backward`: memory of this package's, where fresh
        pages would cost more than what is written to them."""
        if count * item < LARGE:
            return like.new_empty(count)
        return self.wrap(lasting(count, np.dtype(str(like.dtype).removeprefix("torch."))))


def _uneven(buffer: Buffer) -> bool:
    """Whether no whole number of numbers lies from entry to entry: a field of packed records."""
    array = buffer.numpy()
    return array.size > 0 and any(stride % array.itemsize for stride in array.strides)


def _by_rows(buffer: Buffer) -> Buffer:
    array = buffer.numpy()
    near = array.shape[-1] < 2 or array.strides[-1] == array.itemsize
    if not array.size or (near and not _uneven(buffer)):
        return buffer
    return Buffer(np.ascontiguousarray(array))


def _check(*_: Any) -> None:
    """Arrays were checked when they came."""


NUMPY = Library(Buffer.data_ptr, _check, _check, _by_rows, _uneven, None, Buffer)


def array(tensor: Tensor) -> Array:
    """The tensor's memory as an array."""
    memory: Array = tensor.detach().numpy()
    return memory


def arrays(tensors: Sequence[Tensor]) -> tuple[Array, ...]:
    """The same of each."""
    return tuple([tensor.detach().numpy() for tensor in tensors])
