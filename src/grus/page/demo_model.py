"""A small model trained in memory, for who has none: on the text that every Python carries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from grus.equations import CELLS

if TYPE_CHECKING:
    from grus.models.language import LanguageModel

SECONDS = 10.0
CHARACTERS = 400_000
RATE = 0.006


def small_model(watch: Callable[[float, float], None], seconds: float = SECONDS) -> LanguageModel:
    """A GRU of 64 units, trained for about ``seconds`` without a file being read or written.

    ``watch`` is told the share of the time that is spent and the loss of the last step, in nats
    per character. How far it gets depends on the machine; the learning rate falls to 0.
    """
    import torch

    from grus.models.architecture import Architecture
    from grus.models.batches import Streams
    from grus.models.language import LanguageModel
    from grus.models.run import make_optimizer
    from grus.models.settings import Settings
    from grus.models.text import Source, read
    from grus.models.train import learn

    settings = Settings(seconds=seconds, seq_len=32, lr=RATE, dropout=0.0)
    text = read(Source(first=CHARACTERS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LanguageModel(Architecture(CELLS["gru"], text.vocabulary, hidden=64, embedding=32))
    optimizer = make_optimizer(list(model.parameters()), settings)
    streams = Streams(torch.from_numpy(text.ids), settings.batch, settings.seq_len)
    began, spent, state = 0.0, 0.0, None
    while spent < 1:
        for x, y in zip(*streams.epoch(0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - spent)
            loss, state = learn(model, optimizer, x, y, state, settings.clip, None)
            began = began or time.monotonic()  # compiling, in the first step, does not count
            spent = (time.monotonic() - began) / seconds
            watch(min(spent, 1.0), float(loss))
            if spent >= 1:
                break
        state = None
    return model.eval()
