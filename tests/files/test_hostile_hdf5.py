"""HDF5 files that lead out of themselves, claim too much, or nest into themselves."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import read_in_child, refused
from sample_files import need, sample, unzipped, write, zipped

from grus.files.formats import load

h5py = need("h5py")
MIB = 2**20
SECRET = "secret.h5"


def made(fill: Callable[[Any], Any]) -> bytes:
    """The bytes of a file that ``fill`` has written to."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/gru/cell/vars/0"] = np.ones((2, 9), "f4")
        fill(file)
    return stream.getvalue()


def external_link(file: Any) -> None:
    file["layers/out"] = h5py.ExternalLink(SECRET, "/numbers")


def external_data(file: Any) -> None:
    file.create_dataset("a", (4,), "f4", external=[("secret.bin", 0, 16)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(SECRET, "numbers", shape=(4,))
    file.create_virtual_dataset("a", layout)


def huge_and_empty(file: Any) -> None:
    file.create_dataset("a", (2**30,), "f4", chunks=(1024,))


def huge_and_contiguous(file: Any) -> None:
    file.create_dataset("a", (2**30, 2**20), "f4")


def bomb(file: Any) -> None:
    file.create_dataset("a", data=np.zeros(32 * MIB, "f4"), chunks=(MIB,), compression="gzip")


def one_chunk(file: Any) -> None:
    file.create_dataset("a", (100 * MIB,), "f4", chunks=(100 * MIB,), compression="gzip")[0] = 1


def many_axes(file: Any) -> None:
    file.create_dataset("a", (1,) * 20, "f4")


def group_in_itself(file: Any) -> None:
    file["layers/again"] = file["layers"]


def deep(file: Any) -> None:
    file["/".join("a" * 60)] = np.ones(1)


def climbing(file: Any) -> None:
    group = file.create_group("x")
    h5py.h5d.create(group.id, b"..", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1,)))


def plug_in(file: Any) -> None:
    file.create_dataset("a", data=np.ones(100), chunks=(10,), compression="lzf")


FORGED = {
    "an external link": (external_link, "link out of the file"),
    "data in another file": (external_data, "numbers in another file"),
    "a virtual dataset": (virtual, "numbers in another file"),
    "four gigabytes of nothing": (huge_and_empty, "more than a file of"),
    "four petabytes of nothing": (huge_and_contiguous, "more than a file of"),
    "a bomb": (bomb, "more than a file of"),
    "one chunk of 400 megabytes": (one_chunk, "chunks of more than"),
    "twenty axes": (many_axes, "a shape that no tensor can have"),
    "a group in itself": (group_in_itself, "twice, or in itself"),
    "sixty groups deep": (deep, "nests too deep"),
    "a name that climbs": (climbing, "cannot be called"),
    "a filter that is a plug-in": (plug_in, "a filter that is not read"),
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_and_little_memory_taken(
    name: str, suffix: str, tmp_path: Path
) -> None:
    fill, told = FORGED[name]
    content = made(fill)
    with h5py.File(tmp_path / SECRET, "w") as file:
        file["numbers"] = np.full(4, 42, "f4")
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    if suffix == ".keras":
        members = unzipped(sample(".keras"))
        content = zipped(members | {"model.weights.h5": content})
    path = write(tmp_path, suffix, content)
    assert told in refused(path)
    found = read_in_child(path)
    assert told in found.said
    assert found.grown < 64 * MIB


def test_links_inside_and_texts_are_set_aside_and_said(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["soft"] = h5py.SoftLink("/layers")
        file["text"] = "hello"
        file["kind"] = np.dtype("f4")
        file["none"] = h5py.Empty("f4")

    found = load(write(tmp_path, ".h5", made(fill)))
    assert list(found.tensors) == ["layers/gru/cell/vars/0"]
    assert sorted(found.aside) == ["kind (no numbers)", "none (no numbers)", "text (no numbers)"]
    assert found.unread == {"soft": "it is a link"}


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"shuffle": True, "chunks": (3,)}]
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i4"])
def test_numbers_of_every_kind_are_read(
    dtype: str, options: dict[str, Any], tmp_path: Path
) -> None:
    numbers = np.arange(6).astype(dtype)
    content = made(lambda file: file.create_dataset("a", data=numbers, **options))
    found = load(write(tmp_path, ".h5", content)).tensors["a"]
    assert found.dtype == numbers.dtype.newbyteorder("=")
    assert np.array_equal(found, numbers)
