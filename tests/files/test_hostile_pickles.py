"""Pickles that are more than weights are refused, and nothing in them is ever executed."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import read_in_child, refused
from sample_files import need, sample, tensors, unzipped, write, zipped

from grus.errors import InputError
from grus.files import torch_file
from grus.files.opcodes import PickleMachine
from grus.files.torch_pickle import KNOWN
from grus.weight_file import Budget

PROTOCOLS = (0, 1, 2, 3, 4, 5)


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made = (function, arguments)

    def __reduce__(self) -> Any:
        return self.made


def live(marker: Path) -> dict[str, bytes]:
    """Pickles that create ``marker`` when Python's own machine loads them."""
    touch = f"open({str(marker)!r}, 'w').close()"
    system = Calls(os.system, f'touch "{marker}"')
    objects = {
        "os.system": system,
        "builtins.eval": Calls(builtins.eval, touch),
        "builtins.exec": Calls(builtins.exec, touch),
        "subprocess.call": Calls(subprocess.call, [sys.executable, "-c", touch]),
        "a method": Calls(Path.touch, marker),
        "deep inside": [1, [2, {"a": (3, system)}]],
        "a pickle in a pickle": Calls(pickle.loads, pickle.dumps(system)),
        "an array of objects": np.array([system], object),
    }
    found = {
        f"{n}, protocol {p}": pickle.dumps(o, p) for n, o in objects.items() for p in PROTOCOLS
    }
    text = f"S'touch {marker}'\n".encode()
    return found | {
        "INST": b"(" + text + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text + b"o.",
        "getattr chain": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR("
        + text
        + b"tR.",
        "a name put together": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + text + b"tR.",
        "NEWOBJ": b"\x80\x02cbuiltins\nlist\ncbuiltins\nmap\n(cos\nsystem\n("
        + text
        + b"lt\x81\x85R.",
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R}"
        + b"X\x01\x00\x00\x00acos\nsystem\n("
        + text
        + b"tRsb.",
    }


def pt(program: bytes) -> bytes:
    """A .pt archive with this pickle, and otherwise as it should be."""
    members = unzipped(sample(".pt"))
    return zipped(members | {"weights/data.pkl": program})


@pytest.mark.skipif(os.name != "posix", reason="the payloads call touch")
@pytest.mark.parametrize("name", live(Path("x")))
def test_a_pickle_that_calls_anything_is_refused_and_not_executed(
    name: str, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    program = live(marker)[name]
    folder = tmp_path / "files"
    folder.mkdir()
    said = refused(write(folder, ".pt", pt(program)))
    assert "pickle" in said
    assert not marker.exists()
    pickle.loads(program)
    assert marker.exists(), "the payload is live: Python's own machine executes it"


T = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"X\x07\x00\x00\x00storage"
FLOATS = b"ctorch\nFloatStorage\n"
KEY, CPU = b"X\x01\x00\x00\x000", b"X\x03\x00\x00\x00cpu"
REST = b"K\x00K\x02\x85K\x01\x85\x89)tR."  # offset 0, shape (2,), stride (1,), as torch writes
SYSTEM = b"cos\nsystem\n(S'true'\ntR"

FORGED = {
    "torch's own loader": b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
    "a module of torch": b"ctorch.nn.modules.rnn\nGRU\n)\x81.",
    "torch.load": b"ctorch.serialization\nload\n(S'x'\ntR.",
    "a global of builtins": b"cbuiltins\neval\n.",
    "a dotted name": b"\x80\x04\x8c\x05torch\x8c\x0enn.modules.rnn\x93.",
    "a name with a space": b"\x80\x04\x8c\x00\x8c\x17 collections OrderedDict\x93.",
    "names that are no text": b"\x80\x04)]\x93.",
    "the extension registry": b"\x80\x02\x82\x01.",
    "persistent id as text": b"Pstorage\n.",
    "persistent id that calls": T + b"((" + STORAGE + SYSTEM + KEY + CPU + b"K\x02tQ" + REST,
    "persistent id of another kind": T + b"((X\x04\x00\x00\x00evil" + FLOATS + KEY + CPU
    + b"K\x02tQ" + REST,
    "persistent id of another class": T + b"((" + STORAGE + b"ctorch\nSize\n" + KEY + CPU
    + b"K\x02tQ" + REST,
    "persistent id that climbs out": T + b"((" + STORAGE + FLOATS
    + b"X\x0a\x00\x00\x00../version" + CPU + b"K\x02tQ" + REST,
    "a storage that is none": T + b"(K\x01" + REST,
    "a storage that is a call": T + b"(" + FLOATS + b")R" + REST,
    "a storage of the wrong size": T + b"((" + STORAGE + FLOATS + KEY + CPU + b"K\x02tQ" + REST,
    "a parameter of a call": b"ctorch._utils\n_rebuild_parameter\n(ctorch\nSize\n)Rt R.",
    "a parameter of itself": b"ctorch._utils\n_rebuild_parameter\n()tR.",
    "calling a number": b"K\x01)R.",
    "calling a storage with a state": FLOATS + b")R}b.",
    "setting the state of a function": FLOATS + b"}b.",
    "a key that is a tuple": b"})K\x01s.",
    "a key that is a list": b"}]K\x01s.",
    "an object of torch's own": b"\x80\x02ctorch\nSize\n)\x81.",
    "an object that is beside weights, called": b"cargparse\nNamespace\n)\x81)R.",
    "a set": b"\x80\x04\x8f.",
    "out-of-band buffers": b"\x80\x05\x97.",
    "an empty stack": b".",
    "no end": b"K\x01",
    "no mark": b"K\x01t.",
    "a memo that is empty": b"h\x05.",
    "an unknown instruction": b"\xff.",
    "nothing": b"",
    "text": b"these are no instructions",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_pickle_is_refused(name: str, tmp_path: Path) -> None:
    refused(write(tmp_path, ".pt", pt(FORGED[name])))


def text(letters: bytes) -> bytes:
    """The instruction for a text."""
    return b"X" + struct.pack("<I", len(letters)) + letters


def long_number(count: int) -> bytes:
    """The instruction for a number of that many bytes."""
    return b"\x8b" + struct.pack("<i", count) + b"\x7f" * count


def chain(letters: int, leaves: int) -> bytes:
    """Thirty dictionaries, one in the other, by one long key; a list of numbers in the last."""
    key = text(b"k" * letters) + b"q\x000"
    return b"\x80\x02" + key + b"}h\x00" * 30 + b"](" + b"K\x01" * leaves + b"e" + b"s" * 30 + b"."


BOMBS = {
    # Each list holds the one before it ten times: 10 ** 40 leaves.
    "lists of lists": b"\x80\x02]K\x01a" + b"".join(
        b"q" + bytes([k]) + b"](" + (b"h" + bytes([k])) * 10 + b"e" for k in range(40)
    ) + b".",
    "tuples of tuples": b"\x80\x02)" + b"".join(
        b"q" + bytes([k]) + b"(" + (b"h" + bytes([k])) * 10 + b"t" for k in range(40)
    ) + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dictionary in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "a nest a million deep": b"(" * 1_000_000 + b"t" * 1_000_000 + b".",
    "a memo of four billion": b"K\x01r" + struct.pack("<I", 2**32 - 1) + b".",
    "a text of eight exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b"a.",
    "a frame of eight exabytes": b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + b"K\x01.",
    "a number of two gigabytes": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "three million instructions": b"N0" * 1_500_000 + b"N.",
    "names that grow": chain(700, 20_000),
    "names of a million letters": chain(1_000_000, 15_000),
    "a list met everywhere": b"\x80\x02](" + b"N" * 50_000 + b"eq\x00](" + b"h\x00" * 50_000
    + b"e.",
    "a key of 32,000 bits": b"\x80\x02}" + long_number(4000) + b"K\x01s.",
    "a key of eight million bits, used": b"\x80\x02" + long_number(1_000_000) + b"q\x000}("
    + b"h\x00N" * 200_000 + b"u.",
    "two long keys that are equal": b"\x80\x02" + text(b"a" * 2_000_000) + b"q\x000"
    + text(b"a" * 2_000_000) + b"q\x010}(" + b"h\x00Nh\x01N" * 100_000 + b"u.",
    "one wide letter in a long text": b"\x80\x02" + text(b"a" * 30_000_000 + "\U0001f600".encode())
    + b".",
    "a shape of a million axes, many times": T + b"0(" + b"K\x01" * 400_000 + b"tq\x01("
    + (T + b"((" + STORAGE + FLOATS + KEY + CPU + b"K\x12tQK\x00h\x01h\x01\x89)tR") * 2000
    + b"t.",
    "dictionaries of nothing": b"}" * 2_000_000 + b".",
}  # fmt: skip


PLAIN = ("a memo of four billion", "a frame of eight exabytes", "one wide letter in a long text")
"""What comes to a plain value, once it is read with care."""


def test_pickles_that_explode_take_little_memory(tmp_path: Path) -> None:
    """All of them in one process; each is refused there."""
    paths = []
    for name, program in BOMBS.items():
        if name not in PLAIN:
            folder = tmp_path / name
            folder.mkdir()
            paths.append(write(folder, ".pt", pt(program)))
    assert read_in_child(*paths).grown < 300 * 2**20


@pytest.mark.parametrize("name", PLAIN)
def test_a_pickle_that_claims_much_is_read(name: str, tmp_path: Path) -> None:
    found = read_in_child(write(tmp_path, ".pt", pt(BOMBS[name])))
    assert found.grown < 300 * 2**20
    assert not found.said


def test_random_files_end_in_a_value_or_a_sentence() -> None:
    """Four hundred files of `fuzz`, under a limit of memory; more by hand."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is measured through /proc, which this system does not have")
    need("onnx")
    # HDF5 takes a process a file.
    quick = [".pt", ".pt", ".pt", ".npz", ".safetensors", ".onnx", ".json"]
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "400", "0", *quick]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["refused"] > 200


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (7, 2), (2, 1)), (1, (6,), (1,)), (-1, (2,), (1,)), (0, (-1,), (1,)),
        (0, (2,), (-1,)), (0, (2, 2), (1,)), (0, (2**40, 2**40), (0, 0)), (0, (2**63,), (0,)),
        (0, (2**2000,), (1,)), (2**64, (1,), (1,)), (0, (2,), (2**64,)), (True, (1,), (1,)),
        (0, (1.0,), (1,)), (0, (10**9,), (0,)), (0, (1,) * 40, (1,) * 40), (0, "a", (1,)),
    ],
)  # fmt: skip
def test_a_tensor_that_reaches_outside_its_storage_is_refused(
    offset: Any, shape: Any, stride: Any, tmp_path: Path
) -> None:
    """The storage holds six numbers."""
    head = T + b"((" + STORAGE + FLOATS + KEY + CPU + b"K\x06tQ"
    parts = [pickle.dumps(part, 2)[2:-1] for part in (offset, shape, stride)]
    program = b"\x80\x02" + head + b"".join(parts) + b"\x89)tR."
    members = {"a/data.pkl": program, "a/data/0": bytes(24)}
    refused(write(tmp_path, ".pt", zipped(members)))
    fits = pickle.dumps(0, 2)[2:-1] + b"K\x06\x85K\x01\x85"
    members["a/data.pkl"] = b"\x80\x02" + head + fits + b"\x89)tR."
    whole = torch_file.read(write(tmp_path, ".pt", zipped(members)))
    assert [array.shape for array in whole.tensors.values()] == [(6,)]


def test_what_is_known_is_weights_only() -> None:
    """Every name that a pickle may use is a type of numbers, or a call that is never made."""
    assert {name.split()[0] for name in KNOWN} <= {
        "torch",
        "torch._utils",
        "torch.storage",
        "collections",
    }
    with pytest.raises(InputError, match="names 'torch eval'"):
        PickleMachine(KNOWN, Budget(0)).run(b"ctorch\neval\n.")
    assert set(tensors()) == set(
        PickleMachine(KNOWN, Budget(0)).run(unzipped(sample(".pt"))["weights/data.pkl"])
    )


@pytest.mark.torch
def test_an_old_file_is_read_and_its_damage_refused(tmp_path: Path) -> None:
    """The format before 1.6, cut anywhere and with any byte changed."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    given = torch.nn.GRU(2, 3).state_dict() | {"half": torch.ones(2).half(), "whole": torch.ones(2)}
    given["part"] = given["whole"][1:]
    torch.save(given, path, _use_new_zipfile_serialization=False)
    found = torch_file.read(path).tensors
    assert set(found) == set(given)
    for name, tensor in given.items():
        assert np.array_equal(found[name], tensor.numpy())
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for cut in rng.integers(14, len(content), 40):
        path.write_bytes(content[:cut])
        refused(path)
    for at in rng.integers(0, len(content), 200):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << int(at) % 8]) + content[at + 1 :])
        with contextlib.suppress(InputError):
            torch_file.read(path)


def test_a_whole_model_and_a_script_say_what_to_do(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.save(torch.nn.GRU(2, 3), path)
    said = refused(path)
    assert "names 'torch.nn.modules.rnn GRU'" in said
    assert said.endswith("Save the state_dict alone: torch.save(model.state_dict(), FILE)")
    members = unzipped(sample(".pt")) | {"weights/code/__torch__.py": b"pass"}
    path.write_bytes(zipped(members))
    assert "TorchScript program" in refused(path)
