"""Damaged and forged files of the plain formats: .npz, .safetensors, and zip archives as such."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import read_in_child, refused
from sample_files import SUFFIXES, need, safetensors_of, sample, unzipped, write, zipped

from grus.errors import InputError
from grus.files import npz, safetensors_file, torch_file
from grus.files.archive import Archive
from grus.files.formats import load
from grus.weight_file import FREE_BYTES, MAX_RATIO, Budget

MIB = 2**20


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    """At many places from nothing to one byte less than all. ONNX alone has no end of its own: a
    message cut between two fields is a smaller message, which must then hold fewer tensors."""
    whole = sample(suffix)
    count = len(load(write(tmp_path, suffix, whole)).tensors)
    places = 8 if suffix == ".h5" else 60  # each starts a process
    for end in sorted({*np.linspace(0, len(whole) - 1, places).astype(int)}):
        path = write(tmp_path, suffix, whole[:end])
        if suffix != ".onnx":
            refused(path)
            continue
        try:
            assert len(load(path).tensors) < count
        except InputError:
            refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"hello, this is text\n", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(4096),
     b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(100), b"\xff" * 1000],
    ids=["nothing", "a byte", "text", "a picture", "zeros", "a zip's head", "an HDF5's head", "ff"],
)  # fmt: skip
def test_what_is_no_file_of_the_format_is_refused(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    if suffix in (".h5", ".keras", ".onnx"):
        need({".onnx": "onnx"}.get(suffix, "h5py"))
    refused(write(tmp_path, suffix, content))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("other", SUFFIXES)
def test_a_file_under_the_name_of_another_format_is_refused(
    suffix: str, other: str, tmp_path: Path
) -> None:
    if suffix != other:
        refused(write(tmp_path, suffix, sample(other)))


def npy(descr: str, shape: str, data: bytes, order: str = "False", version: int = 1) -> bytes:
    """An array's bytes with this header, true or not."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin1")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


ARRAYS = {
    "objects": npy("'|O'", "(1,)", b"cos\nsystem\n(S'true'\ntR."),
    "a structure with an object": npy("[('a', '|O')]", "(1,)", bytes(8)),
    "text": npy("'<U4'", "(1,)", bytes(16)),
    "complex numbers": npy("'<c8'", "(1,)", bytes(8)),
    "a type that does not exist": npy("'<f7'", "(1,)", bytes(7)),
    "a type of two gigabytes": npy("'|V2147483647'", "(1,)", b""),
    "a shape that overflows": npy("'<f4'", "(4294967296, 4294967296)", b""),
    "a shape that overflows to fit": npy("'<f4'", "(4611686018427387905, 4)", bytes(16)),
    "a negative shape": npy("'<f4'", "(-1,)", b""),
    "two negatives that multiply to fit": npy("'<f4'", "(-2, -2)", bytes(16)),
    "a shape of truth": npy("'<f4'", "(True,)", bytes(4)),
    "a shape of fractions": npy("'<f4'", "(1.0,)", bytes(4)),
    "a shape of thousands of axes": npy("'<f4'", "(" + "1," * 2000 + ")", bytes(4)),
    "more numbers than bytes": npy("'<f4'", "(5,)", bytes(16)),
    "fewer numbers than bytes": npy("'<f4'", "(3,)", bytes(16)),
    "a call in the header": npy("__import__('os').system('true')", "(1,)", bytes(4)),
    "a nest in the header": npy("(" * 4000, "(1,)", bytes(4)),
    "minus signs in the header": npy("'<f4'", "(" + "-" * 9000 + "1,)", bytes(4)),
    "a header longer than allowed": npy("'<f4'", "(" + "1," * 40_000 + ")", b"", version=2),
    "a header that is not there": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1),
    "another version": npy("'<f4'", "(1,)", bytes(4)).replace(b"NUMPY\x01", b"NUMPY\x09"),
    "no array": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_forged_array_is_refused(name: str, tmp_path: Path) -> None:
    refused(write(tmp_path, ".npz", zipped({"a.npy": ARRAYS[name]})))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_may_ask_for_gigabytes_is_refused(method: int, tmp_path: Path) -> None:
    content = zipped({"a.npy": npy("'<f4'", "(1,)", bytes(4))}, method)
    assert "packed in a way that is not read" in refused(write(tmp_path, ".npz", content))


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a/../../b", "..\\a", "\\a", "a\nb", "\x1b[31ma", "", "a" * 2000]
)
def test_a_name_that_climbs_out_or_cannot_be_printed_is_refused(name: str, tmp_path: Path) -> None:
    array = npy("'<f4'", "(1,)", bytes(4))
    assert "cannot be called" in refused(write(tmp_path, ".npz", zipped({f"{name}.npy": array})))
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    refused(write(tmp_path, ".safetensors", safetensors_of(header, bytes(4))))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.npy", npy("'<f4'", "(1,)", bytes(4)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", npy("'<f4'", "(1,)", bytes(4)))
    assert "two of one name" in refused(write(tmp_path, ".npz", stream.getvalue()))


def test_an_npz_holds_what_it_was_given_and_no_objects() -> None:
    arrays = {"a": np.ones(2), "b": np.zeros((0, 3))}
    assert sorted(np.load(io.BytesIO(npz.content(arrays)))) == ["a", "b"]
    with pytest.raises(InputError, match="c holds objects"):
        npz.content({**arrays, "c": np.array([None])})


def test_a_changed_byte_of_the_data_is_seen(tmp_path: Path) -> None:
    content = bytearray(sample(".npz"))
    content[zipfile.ZipFile(io.BytesIO(content)).infolist()[0].header_offset + 200] ^= 1
    assert "damaged" in refused(write(tmp_path, ".npz", bytes(content)))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".h5"])
def test_memory_that_is_taken_is_seen(suffix: str, tmp_path: Path) -> None:
    """The measure of the tests below: 48 MiB of numbers take at least that, a small file none."""
    numbers = {"a": np.random.default_rng(0).normal(size=(6, MIB))}
    made = {
        ".npz": lambda: npz.content(numbers),
        ".safetensors": lambda: safetensors_file.content(numbers, {}),
        ".pt": lambda: torch_file.content(numbers),
        ".h5": lambda: hdf5_of(numbers["a"]),
    }
    large = read_in_child(write(tmp_path, suffix, made[suffix]()))
    assert large.said == ""
    assert large.grown > 48 * MIB
    small = read_in_child(write(tmp_path, suffix, sample(suffix)))
    assert small.grown < 16 * MIB


def hdf5_of(array: Any) -> bytes:
    """An HDF5 file of one dataset."""
    stream = io.BytesIO()
    with need("h5py").File(stream, "w") as file:
        file["a"] = array
    return stream.getvalue()


def bomb(size: int) -> bytes:
    """An .npz of one array of zeros, deflated: about a thousandth of ``size``."""
    head = npy("'<f4'", f"({size // 4},)", b"")
    return zipped({"a.npy": head + bytes(size)}, zipfile.ZIP_DEFLATED)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path, ".npz", bomb(192 * MIB))
    assert path.stat().st_size < MIB
    found = read_in_child(path)
    assert "more than a file of" in found.said
    assert found.grown < 32 * MIB


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    """The archive declares 1000 bytes where 192 MiB come out."""
    content = bytearray(bomb(192 * MIB))
    for magic, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = content.index(magic) + at
        content[place : place + 4] = struct.pack("<I", 1000)
    found = read_in_child(write(tmp_path, ".npz", bytes(content)))
    assert found.said
    assert found.grown < 32 * MIB


def test_many_members_over_the_same_bytes_are_one_budget(tmp_path: Path) -> None:
    """A bomb of overlapping members: each is allowed by itself, together they are not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for k in range(12):
            file.writestr(f"{k}.npy", npy("'<f4'", f"({2 * MIB},)", bytes(8 * MIB)))
    found = read_in_child(write(tmp_path, ".npz", stream.getvalue()))
    assert "more than a file of" in found.said
    assert found.grown < 2 * FREE_BYTES


def test_weights_that_compress_well_are_no_bomb(tmp_path: Path) -> None:
    given = {"a": np.zeros((1000, 1000), "f4"), "b": np.arange(1000.0)}
    stream = io.BytesIO()
    np.savez_compressed(stream, **given)
    found = load(write(tmp_path, ".npz", stream.getvalue())).tensors
    assert all(np.array_equal(found[name], array) for name, array in given.items())


def test_the_budget_grows_with_the_file_up_to_a_limit() -> None:
    assert Budget(0).limit == FREE_BYTES
    assert Budget(1000).limit == FREE_BYTES + 1000 * MAX_RATIO
    assert Budget(2**50).limit == 4 * 2**30


def test_a_member_that_is_not_there_and_an_encrypted_one_are_named(tmp_path: Path) -> None:
    members = unzipped(sample(".npz"))
    content = bytearray(zipped(members))
    path = write(tmp_path, ".npz", bytes(content))
    with (
        Archive(path, Budget(0), "zip") as archive,
        pytest.raises(InputError, match="has no 'nothing'"),
    ):
        archive.read("nothing")
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(write(tmp_path, ".npz", bytes(content)))


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS: dict[str, tuple[Any, bytes, int | None]] = {
    "a header of eight exabytes": ({"a": ONE}, bytes(4), 2**63),
    "a header of all bits": ({"a": ONE}, bytes(4), 2**64 - 1),
    "a header longer than the file": ({"a": ONE}, bytes(4), 1000),
    "an empty header": (b"", b"", None),
    "no object": ([1, 2], b"", None),
    "no JSON": (b"{'a': 1}", b"", None),
    "no text": (b"\xff\xfe{}", b"", None),
    "a nest": (b"[" * 100_000, b"", None),
    "numbers out of range": ({"a": {**ONE, "shape": [2**64]}}, bytes(4), None),
    "a negative shape": ({"a": {**ONE, "shape": [-1]}}, bytes(4), None),
    "a shape that overflows": ({"a": {**ONE, "shape": [2**32, 2**32]}}, bytes(4), None),
    "a negative offset": ({"a": {**ONE, "data_offsets": [-4, 0]}}, bytes(4), None),
    "offsets turned round": ({"a": {**ONE, "data_offsets": [4, 0]}}, bytes(4), None),
    "offsets past the end": ({"a": {**ONE, "data_offsets": [0, 8]}}, bytes(4), None),
    "offsets that overflow": ({"a": {**ONE, "data_offsets": [2**64 - 4, 2**64]}}, bytes(4), None),
    "overlapping tensors": ({"a": ONE, "b": {**ONE, "data_offsets": [2, 6]}}, bytes(6), None),
    "the same bytes twice": ({"a": ONE, "b": ONE}, bytes(4), None),
    "a hole": ({"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, bytes(12), None),
    "bytes left over": ({"a": ONE}, bytes(8), None),
    "too few bytes": ({"a": ONE}, bytes(3), None),
    "an unknown type": ({"a": {**ONE, "dtype": "F7"}}, bytes(4), None),
    "no type": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4), None),
    "metadata that is no text": ({"a": ONE, "__metadata__": {"x": {"y": 1}}}, bytes(4), None),
    "a shape of truth": ({"a": {**ONE, "shape": [True]}}, bytes(4), None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_forged_safetensors_header_is_refused(name: str, tmp_path: Path) -> None:
    header, data, length = HEADERS[name]
    refused(write(tmp_path, ".safetensors", safetensors_of(header, data, length)))


def test_forged_safetensors_headers_take_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.safetensors" for k in range(len(HEADERS))]
    for path, (header, data, length) in zip(paths, HEADERS.values(), strict=True):
        path.write_bytes(safetensors_of(header, data, length))
    assert read_in_child(*paths).grown < 32 * MIB


def test_a_true_safetensors_header_is_read(tmp_path: Path) -> None:
    """The forged ones differ from this one in what their name says."""
    path = write(tmp_path, ".safetensors", safetensors_of({"a": ONE}, struct.pack("<f", 2.5)))
    assert load(path).tensors["a"].tolist() == [2.5]


def test_metadata_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    header = {"a": ONE, "__metadata__": {"\x1b[31mred": "x"}}
    found = load(write(tmp_path, ".safetensors", safetensors_of(header, bytes(4))))
    assert all(key.isprintable() for key in found.metadata)


def test_arrays_of_another_byte_order_and_of_columns_are_read_as_numbers(tmp_path: Path) -> None:
    big = npy("'>f8'", "(2,)", struct.pack(">dd", 1.5, -2.0))
    turned = npy("'<f4'", "(2, 2)", struct.pack("<4f", 1, 2, 3, 4), order="True")
    found = load(write(tmp_path, ".npz", zipped({"a.npy": big, "b.npy": turned, "note": b"x"})))
    assert found.tensors["a"].tolist() == [1.5, -2.0]
    assert found.tensors["b"].tolist() == [[1, 3], [2, 4]]
    assert found.aside == ("note",)


def test_a_damaged_configuration_of_keras_is_refused(tmp_path: Path) -> None:
    members = unzipped(sample(".keras"))
    for text in (b"{", b"[" * 100_000, b"\xff", json.dumps({}).encode()[:-1]):
        path = write(tmp_path, ".keras", zipped(members | {"config.json": text}))
        assert "not JSON" in refused(path)
    del members["config.json"]
    assert "has no 'config.json'" in refused(write(tmp_path, ".keras", zipped(members)))


def test_a_bomb_inside_a_keras_file_is_refused(tmp_path: Path) -> None:
    members = unzipped(sample(".keras"))
    for name in ("config.json", "model.weights.h5"):
        forged = zipped(members | {name: bytes(192 * MIB)}, zipfile.ZIP_DEFLATED)
        found = read_in_child(write(tmp_path, ".keras", forged))
        assert found.said
        assert found.grown < 32 * MIB


def test_a_crc_alone_does_not_make_an_array(tmp_path: Path) -> None:
    """What `npz` writes is what NumPy reads, and the other way round."""
    given = {"a": np.arange(6.0).reshape(2, 3)}
    found = np.load(io.BytesIO(npz.content(given)))
    assert np.array_equal(found["a"], given["a"])
    assert zlib.crc32(npz.content(given)) == zlib.crc32(npz.content(given))
