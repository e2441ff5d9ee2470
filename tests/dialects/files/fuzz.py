"""Files that nobody meant, read under a limit of memory: only InputError may come out.

    python tests/dialects/files/fuzz.py FILES [SEED]

Real files with bytes changed, cut, doubled and put in; archives whose pickle is so changed, or is
made of random instructions. Prints one line of JSON; a file that ends otherwise stays in the
temporary folder that the error names.
"""

from __future__ import annotations

import json
import pickle
import random
import resource
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sample_files import sample, unzipped, zipped

from grus.dialects.files.layers import find_layers
from grus.dialects.files.opcodes import _STEPS
from grus.dialects.files.reading import load
from grus.dialects.files.torch_pickle import KNOWN
from grus.errors import InputError

ALLOWED = 768 * 2**20
"""Bytes beyond the libraries': what a small file may take is 64 MiB, here with all copies."""
SLOWEST = 10.0
SUFFIXES = (".pt", ".pt", ".pt", ".npz", ".safetensors", ".onnx")
NAMES = sorted(KNOWN)
CODES = [getattr(pickle, name) for name in _STEPS]
WORDS = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x00" * 8, b"h\x00", b"q\x00")


def changed(content: bytes, rng: random.Random) -> bytes:
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
            found[at : at + (length if what == 3 else 0)] = rng.choice((*WORDS, *CODES))
    return bytes(found)


def program(rng: random.Random) -> bytes:
    """A pickle of random instructions, each with an argument of its kind, some of them long."""
    parts = [b"\x80\x04"]
    memo = rng.randrange(1, 12)
    for _ in range(rng.choice((10, 100, 1000, 5000))):
        parts.append(_instruction(rng, memo) * rng.choice((1, 1, 1, 1, 50)))
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


def made(rng: random.Random, samples: dict[str, bytes]) -> tuple[str, bytes]:
    """The ending and the bytes of a file."""
    suffix = rng.choice(SUFFIXES)
    if suffix != ".pt" or rng.random() < 0.2:
        return suffix, changed(samples[suffix], rng)
    members = unzipped(samples[suffix])
    whole = members["weights/data.pkl"]
    members["weights/data.pkl"] = program(rng) if rng.random() < 0.5 else changed(whole, rng)
    return suffix, zipped(members, rng.choice((0, 8)))


def run(files: int, seed: int) -> dict[str, float]:
    """Read so many files; how many were refused, the slowest in seconds."""
    rng = random.Random(seed)
    samples = {suffix: sample(suffix) for suffix in set(SUFFIXES)}
    folder = Path(tempfile.mkdtemp())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWED, used + ALLOWED))
    refused, slowest = 0, 0.0
    for _ in range(files):
        suffix, content = made(rng, samples)
        path = folder / f"model{suffix}"
        path.write_bytes(content)
        begun, said = time.process_time(), ""
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
        slowest = max(slowest, time.process_time() - begun)
        assert slowest < SLOWEST, path
        assert len(said) < 2000, path
        assert not said or said.isprintable(), path
        path.unlink()
    folder.rmdir()
    return {"files": files, "refused": refused, "slowest": slowest}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int((*sys.argv, "0")[2]))))
