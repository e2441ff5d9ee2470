"""Files that nobody meant, read under a limit of memory: only InputError may come out.

    python tests/files/fuzz.py FILES [SEED [ENDING ...]]

Real files with bytes changed, cut, doubled and put in; archives of which one member is so changed;
pickles of random instructions, and random JSON in the words of a configuration. Prints one line of
JSON; a file that ends otherwise stays in the temporary folder that the error names.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sample_files import sample, unzipped, zipped

from grus.errors import InputError
from grus.files.formats import load
from grus.files.layers import find_layers
from grus.files.opcodes import _STEPS
from grus.files.torch_pickle import KNOWN

ALLOWED = 768 * 2**20
"""Bytes beyond the libraries': what a small file may take is 64 MiB, here with all copies."""
SLOWEST = 12.0
"""Seconds of computing for one file; HDF5 is read in a process that may take 10."""
SUFFIXES = (".pt", ".pt", ".pt", ".npz", ".safetensors", ".onnx", ".json", ".keras", ".h5")
INSIDE = {".pt": "weights/data.pkl", ".keras": "model.weights.h5"}
"""The member of an archive in which everything is said."""
NAMES = sorted(KNOWN)
CODES = [getattr(pickle, name) for name in _STEPS]
WORDS = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x00" * 8, b"h\x00", b"q\x00")
BINARY = (*WORDS, *CODES)
TEXTS = (b"[", b"{", b"]", b"}", b",", b":", b'"', b"1e999", b"NaN", b"null", b"-1", b'"\\ud800"',
         b"9" * 5000, b"[" * 2000)  # fmt: skip
KEYS = ("config", "layers", "class_name", "name", "type", "weights", "activation", "cell", "shape",
        "layer", "backward_layer", "cells", "module", "state_dict", "rec.weight_hh_l0", "bias",
        "kernel", "units", "recurrent_activation", "reset_after", "k" * 5000, "", "..",
        "\ud800")  # fmt: skip
VALUES = ("GRU", "LSTM", "RNN", "Bidirectional", "GRUCell", "StackedRNNCells", "Sequential", "gru",
          "tanh", "keras", "keras.layers", "TimeDistributed", "", None, True, 0, -1, 0.5,
          1e300)  # fmt: skip


def changed(content: bytes, rng: random.Random, words: Sequence[bytes] = BINARY) -> bytes:
    """The bytes with a few of them changed, cut out, doubled, or put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(found) + 1), rng.choice((1, 1, 4, 8, 64, 1000))
        what = rng.randrange(5)
        if what == 0 and at < len(found):
            found[at] = rng.randrange(256)
        elif what == 1:
            del found[at : at + length]
        elif what == 2:
            found[at:at] = found[at : at + length] * rng.choice((1, 1, 3, 100))
        else:
            found[at : at + (length if what == 3 else 0)] = rng.choice(words)
    return bytes(found)


def program(rng: random.Random) -> bytes:
    """A pickle of random instructions, each with an argument of its kind, some of them long."""
    parts = [b"\x80\x04"]
    memo = rng.randrange(1, 12)
    for _ in range(rng.choice((10, 100, 1000, 5000))):
        one = _instruction(rng, memo)
        parts.append(one * rng.choice((1, 1, 1, 1, 50 if len(one) < 10_000 else 1)))
    return b"".join(parts) + b"."


def _instruction(rng: random.Random, memo: int) -> bytes:
    length = rng.choice((0, 1, 3, 20, 5000)) if rng.random() < 0.99 else 300_000
    what = rng.random()
    if what < 0.15:
        return b"X" + struct.pack("<I", length) + bytes([rng.randrange(97, 123)]) * length
    if what < 0.2:
        return b"\x8a" + bytes([length % 64]) + bytes([rng.randrange(256)]) * (length % 64)
    if what < 0.25:
        return b"c" + "\n".join(rng.choice(NAMES).split(" ")).encode() + b"\n"
    if what < 0.35:
        return b"q" + bytes([rng.randrange(memo)])
    if what < 0.6:
        return b"h" + bytes([rng.randrange(memo)])
    return rng.choice((b"K\x01", b"N", b"(", b"]", b"}", b")", b"t", b"e", b"u", b"s", b"a",
                       b"\x85", b"\x86", b"R", b"b", b"Q", b"\x94", b"0"))  # fmt: skip


def values(rng: random.Random, left: int) -> Any:
    """Random JSON of at most so many values, in the words of configurations and of RTNeural."""
    if left < 2 or rng.random() < 0.2:
        return rng.choice((*VALUES, [0.5] * 9, [[0.5] * 9] * 3, [], {}))
    number = rng.choice((1, 1, 2, 4, 8))
    inside = [values(rng, left // number - 1) for _ in range(number)]
    if rng.random() < 0.7:
        return {rng.choice(KEYS): value for value in inside}
    return inside * rng.choice((1, 1, 1, 2))


def a_file(rng: random.Random, samples: dict[str, bytes], suffix: str) -> bytes:
    """The bytes of a file of that ending."""
    whole = samples[suffix]
    if suffix == ".json":
        if rng.random() < 0.5:
            return json.dumps(values(rng, rng.choice((10, 100, 1000)))).encode()
        return changed(whole, rng, TEXTS)
    if suffix not in INSIDE or rng.random() < 0.2:
        return changed(whole, rng)
    members = unzipped(whole)
    name = INSIDE[suffix]
    if suffix == ".keras" and rng.random() < 0.5:
        config = changed(members["config.json"], rng, TEXTS)
        members["config.json"] = (
            json.dumps(values(rng, rng.choice((10, 100, 1000)))).encode()
            if rng.random() < 0.5
            else config
        )
    elif suffix == ".pt" and rng.random() < 0.5:
        members[name] = program(rng)
    else:
        members[name] = changed(members[name], rng)
    return zipped(members, rng.choice((0, 8)))


def seconds() -> float:
    """What this process and those that it has started have computed."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run(files: int, seed: int, suffixes: Sequence[str] = SUFFIXES) -> dict[str, float]:
    """Read so many files; how many were refused, the slowest in seconds."""
    rng = random.Random(seed)
    samples = {suffix: sample(suffix) for suffix in set(suffixes)}
    folder = Path(tempfile.mkdtemp())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWED, used + ALLOWED))
    refused, slowest = 0, 0.0
    for _ in range(files):
        suffix = rng.choice(suffixes)
        path = folder / f"model{suffix}"
        path.write_bytes(a_file(rng, samples, suffix))
        begun, said = seconds(), ""
        try:
            found = load(path)
            with np.errstate(all="ignore"):
                for layer in find_layers(found):
                    _ = layer.readings
        except InputError as error:
            refused, said = refused + 1, str(error)
        except BaseException:
            print(f"kept: {path}", file=sys.stderr)
            raise
        slowest = max(slowest, seconds() - begun)
        assert slowest < SLOWEST, path
        assert len(said) < 2000, path
        assert not said or said.isprintable(), path
        path.unlink()
    folder.rmdir()
    return {"files": files, "refused": refused, "slowest": slowest}


if __name__ == "__main__":
    _, files, *seed = sys.argv[:3]
    print(json.dumps(run(int(files), int((*seed, "0")[0]), sys.argv[3:] or SUFFIXES)))
