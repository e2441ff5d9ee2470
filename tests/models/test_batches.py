"""Streams and the held-out tail: which character stands where."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from grus.errors import InputError
from grus.models.batches import IGNORED, WARM_UP, Streams, split, validation


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 100), st.data())
def test_streams_run_on_from_chunk_to_chunk(
    batch: int, seq_len: int, more: int, data: st.DataObject
) -> None:
    """Row b of an epoch is one contiguous piece of text; targets are the inputs' successors."""
    ids = torch.arange(batch * seq_len + 1 + more)
    streams = Streams(ids, batch, seq_len)
    offset = data.draw(st.integers(0, streams.offsets - 1))
    inputs, targets = streams.epoch(offset)
    assert inputs.shape == targets.shape == (streams.chunks(offset), seq_len, batch)
    rows = inputs.flatten(0, 1).T
    assert bool((rows[:, 1:] == rows[:, :-1] + 1).all())
    assert bool((targets == inputs + 1).all())
    assert int(rows[0, 0]) == offset
    left_over = len(ids) - 1 - offset - rows.numel()
    assert 0 <= left_over < batch * seq_len + batch
    assert len(torch.unique(rows)) == rows.numel()


def test_chunks_are_views_that_need_no_copy() -> None:
    inputs, _ = Streams(torch.arange(100), 3, 4).epoch(1)
    assert inputs[2].is_contiguous()
    assert inputs[2].data_ptr() == inputs.data_ptr() + 2 * 4 * 3 * inputs.element_size()


def test_a_text_shorter_than_one_chunk_is_refused() -> None:
    Streams(torch.arange(13), 3, 4)
    with pytest.raises(InputError, match="needs 13 characters to train on, the text has 12"):
        Streams(torch.arange(12), 3, 4)


def test_the_tail_is_the_end_of_the_text() -> None:
    training, tail = split(torch.arange(105), 0.1)
    assert training.tolist() == list(range(95))
    assert tail.tolist() == list(range(95, 105))
    assert len(split(torch.arange(5), 0.0)[1]) == 0
    with pytest.raises(InputError, match="--holdout 0"):
        split(torch.arange(5), 0.1)


@given(st.integers(1, 300), st.integers(1, 4000))
def test_every_held_out_character_is_predicted_once_in_its_context(head: int, held: int) -> None:
    """And warm: after the 100 characters before it, as far as the text has them."""
    ids = torch.arange(head + held)
    inputs, targets = validation(ids[:head], ids[head:])
    counted = targets != IGNORED
    assert sorted(targets[counted].tolist()) == list(range(head, head + held))
    assert bool((inputs[counted] == targets[counted] - 1).all())
    assert not counted[:WARM_UP].any()
    for row in inputs.T:
        steps = row[1:] - row[:-1]
        inside = (row[1:] > 0) & (row[1:] < len(ids) - 1)
        assert bool((steps[inside] == 1).all())
