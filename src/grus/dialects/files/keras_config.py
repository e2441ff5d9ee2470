"""What a Keras configuration (JSON) says of its recurrent layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from grus.errors import InputError

CLASSES = ("GRU", "LSTM", "SimpleRNN", "Bidirectional")
SAID = (
    "activation", "recurrent_activation", "reset_after", "use_bias", "go_backwards", "merge_mode",
)  # fmt: skip
"""The settings that change what a layer computes from its weights."""


def recurrent(text: str | bytes) -> dict[str, dict[str, Any]]:
    """Name of a layer -> its ``class_name`` and its settings `SAID`.

    A name that two different layers share is left out. Raises InputError for what is no JSON.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("its configuration is not JSON") from None
    found: dict[str, dict[str, Any]] = {}
    twice = set()
    for name, layer in _layers(config):
        if found.setdefault(name, layer) != layer:
            twice.add(name)
    return {name: layer for name, layer in found.items() if name not in twice}


def _layers(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
            inner = value.get("config")
            if value.get("class_name") in CLASSES and isinstance(inner, Mapping):
                yield str(inner.get("name")), _settings(str(value["class_name"]), inner)


def _settings(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": kind} | {name: config[name] for name in SAID if name in config}
