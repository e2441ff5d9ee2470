"""Weights that PyTorch keeps as parts: weight norm, spectral norm, pruning, dropped connections.

The names are those of ``torch.nn.utils`` 2.13 (and of fastai 2 for ``_raw``). Each weight is put
together as the module computes it in evaluation, in float64, rounded once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from grus.weight_file import Array, Contents

OWN = r"(?P<at>(?:.*[./])?){}(?P<own>(?:weight|bias)\w*?)"
NAMES = (
    re.compile(OWN.format(r"parametrizations[./]") + r"(?P<part>[./](?:original[01]?|\d+[./].+))"),
    re.compile(OWN.format("") + r"(?P<part>_g|_v|_u|_orig|_mask|_raw)"),
)


@dataclass(frozen=True)
class Form:
    """How a weight is kept as parts, and how these are put together."""

    parts: tuple[str, ...]
    said: str
    joined: Callable[..., Array]


def weight_norm(length: Array, direction: Array) -> Array:
    """length * direction / |direction|; the norm is over the axes along which length is 1."""
    axes = tuple(
        k for k, n in enumerate(direction.shape) if length.ndim == 0 or length.shape[k] < n
    )
    found: Array = direction * (length / np.sqrt((direction**2).sum(axes, keepdims=True)))
    return found


def spectral_norm(weight: Array, u: Array, v: Array) -> Array:
    """weight / (u^T weight v); u is as long as the axis that counts as rows."""
    rows = weight if len(u) == weight.shape[0] else weight.T
    found: Array = weight / (u @ (rows @ v))
    return found


FORMS = (
    Form(("_g", "_v"), "weight_norm", weight_norm),
    Form((".original0", ".original1"), "weight_norm", weight_norm),
    Form(("_orig", "_u", "_v"), "spectral_norm", spectral_norm),
    Form((".original", ".0._u", ".0._v"), "spectral_norm", spectral_norm),
    Form(("_orig", "_mask"), "pruned", np.multiply),
    Form(("_raw",), "raw, as it is without dropped connections", lambda raw: raw),
)


def folded(contents: Contents) -> Contents:
    """The contents with every weight whole that a known form keeps as parts.

    What is kept as parts otherwise is named in ``unread``, so that its layer is refused.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name in contents.tensors:
        found = NAMES[0].fullmatch(name) or NAMES[1].fullmatch(name)
        if found:
            part = found["part"].replace("/", ".")
            groups.setdefault((found["at"], found["own"]), {})[part] = name
    tensors, unread, notes = dict(contents.tensors), dict(contents.unread), list(contents.notes)
    for (at, own), parts in groups.items():
        form = next((one for one in FORMS if set(one.parts) == set(parts)), None)
        whole = None if form is None else _joined(form, [tensors[parts[p]] for p in form.parts])
        if form is not None and whole is not None:
            path = at + ("module." if form.parts == ("_raw",) else "")
            for name in parts.values():
                del tensors[name]
            tensors[path + own] = whole
            notes.append(
                f"{path}{own} is put together from {', '.join(parts.values())}: {form.said}"
            )
        elif ".original" in parts or ".original0" in parts:
            for name in parts.values():
                del tensors[name]
            unread[at + own] = (
                "it is kept as parts of an unknown parametrization; call torch.nn.utils"
                f".parametrize.remove_parametrizations(module, {own!r}) and save again"
            )
    return replace(contents, tensors=tensors, unread=unread, notes=tuple(notes))


def _joined(form: Form, parts: list[Array]) -> Array | None:
    """The whole weight; None where the shapes are not those of the form."""
    if any(part.dtype.kind != "f" for part in parts):
        return None
    kind = np.result_type(*parts)
    try:
        with np.errstate(all="ignore"):  # what is no number is refused with its layer
            whole = form.joined(*(part.astype(np.float64) for part in parts)).astype(kind)
    except (ValueError, IndexError):
        return None
    return whole if whole.shape in [part.shape for part in parts] else None
