"""Contiguous streams for truncated back-propagation, and the held-out tail.

The training text is cut into `batch` streams that lie side by side, [time, batch]; a chunk is
`seq_len` rows of that, so a row's state at the end of one chunk is right for the next. Each epoch
starts at another offset, so that chunks do not begin at the same characters every time (Dive into
Deep Learning's sequential partition does the same).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grus.errors import InputError

VALIDATION_ROWS = 32
WARM_UP = 100
IGNORED = -100  # cross_entropy's ignore_index


def split(ids: Tensor, holdout: float) -> tuple[Tensor, Tensor]:
    """The training part and the held-out tail, which is the share ``holdout`` of the text."""
    tail = int(len(ids) * holdout)
    if holdout > 0 and tail == 0:
        raise InputError(
            f"a text of {len(ids)} characters has no tail of {holdout:g} to hold out;"
            " use a longer text or --holdout 0"
        )
    return ids[: len(ids) - tail], ids[len(ids) - tail :]


@dataclass(frozen=True)
class Streams:
    """The training text as streams; ``batch`` of them, read ``seq_len`` characters at a time.

    Raises InputError when the text is too short for one chunk.
    """

    ids: Tensor
    batch: int
    seq_len: int

    def __post_init__(self) -> None:
        needed = self.batch * self.seq_len + 1
        if len(self.ids) < needed:
            raise InputError(
                f"a batch of {self.batch} sequences of {self.seq_len} needs {needed} characters to"
                f" train on, the text has {len(self.ids)}; lower --batch or --seq-len"
            )

    @property
    def offsets(self) -> int:
        """The number of offsets at which an epoch may begin; one chunk fits after each."""
        return min(self.seq_len, len(self.ids) - self.batch * self.seq_len)

    def chunks(self, offset: int) -> int:
        """Full chunks in an epoch; what is left over is met at another offset."""
        return (len(self.ids) - 1 - offset) // self.batch // self.seq_len

    def epoch(self, offset: int) -> tuple[Tensor, Tensor]:
        """Inputs and the characters that follow them, each [chunks, time, batch]."""
        chunks = self.chunks(offset)
        length = chunks * self.seq_len
        size = (self.batch, (len(self.ids) - 1 - offset) // self.batch)
        both = []
        for start in (offset, offset + 1):
            rows = self.ids[start : start + size[0] * size[1]].view(size)[:, :length]
            both.append(rows.T.contiguous().view(chunks, self.seq_len, self.batch))
        return both[0], both[1]


def validation(training: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """The held-out tail as inputs and targets, each [time, rows].

    The tail is read in up to 32 rows at once. Each row first reads the 100 characters before it
    (the first row: the end of the training part) with targets IGNORED, so that no row starts
    cold. Every character of the tail is predicted exactly once, whatever the training batch.
    """
    rows = max(1, min(VALIDATION_ROWS, len(tail) // WARM_UP))
    length = -(-len(tail) // rows)
    ids = torch.cat([training, tail])
    begin = len(training) + length * torch.arange(rows)  # each row's first target
    places = begin + torch.arange(-WARM_UP, length)[:, None]  # [time, rows]
    counted = (places >= begin) & (places < len(ids))
    targets = torch.where(counted, ids[places.clamp(0, len(ids) - 1)], IGNORED)
    return ids[(places - 1).clamp(0, len(ids) - 1)], targets
