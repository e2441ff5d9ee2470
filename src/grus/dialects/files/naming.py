"""Names of tensors in a file, in the words of the dialects: which layer, which of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from grus.dialects.dialect import Dialect

KERAS_VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""What Keras 3 numbers 0, 1, 2."""
KERAS_CELL = r"(?:gru|lstm|simple_rnn)_cell(?:_\d+)?"
NUMBERED = re.compile(rf"(?P<path>.+?)(?:/cell|(?P<cell>/{KERAS_CELL}))/vars/(?P<number>[012])")
LEGACY = re.compile(rf"(?P<path>.+)/{KERAS_CELL}/(?P<name>kernel|recurrent_kernel|bias)(?::0)?")
SIDE = re.compile(r"/(forward|backward)_(?!layer$)[^/]+$")


def spelled(name: str) -> str:
    """The name with Keras' ways of storing variables put back into Keras' own words.

    ``layers/gru/cell/vars/0`` is ``layers/gru/kernel``; in a Bidirectional the layers of both
    directions are ``forward_layer`` and ``backward_layer``, whatever they are called.
    """
    found = NUMBERED.fullmatch(name)
    if found:
        path = found["path"] + (found["cell"] or "")
        return f"{path}/{KERAS_VARIABLES[int(found['number'])]}"
    found = LEGACY.fullmatch(name)
    if found:
        path = SIDE.sub(r"/\1_layer", found["path"])
        return f"{path}/{found['name']}"
    return name.removesuffix(":0")


def places(dialect: Dialect, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Path of a layer -> the dialect's name of a tensor -> the one among ``names``.

    A path is what stands before a name that the dialect knows. Names are compared with / and .
    alike, since both are used to join nested names.
    """
    dotted = {_dotted(tensor.name): tensor.name for tensor in dialect.tensors}
    scheme, (forward, backward) = dialect.scheme, map(_dotted, dialect.scheme.directions)
    scheme = replace(scheme, layer=_dotted(scheme.layer), directions=(forward, backward))
    pattern = re.compile(rf"(?:.*?\.)??(?P<own>{scheme.pattern(tuple(dotted)).pattern})")
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = pattern.fullmatch(_dotted(name))
        if match:
            own, base = match["own"], match["base"]
            around = (
                own.replace(base, "{}", 1) if scheme.at == "suffix" else own[: -len(base)] + "{}"
            )
            if "/" in dialect.scheme.layer:
                around = around.replace(".", "/")
            path = name[: len(name) - len(own)].rstrip("./")
            found.setdefault(path, {})[around.replace("{}", dotted[base])] = name
    return found


def _dotted(name: str) -> str:
    return name.replace("/", ".")
