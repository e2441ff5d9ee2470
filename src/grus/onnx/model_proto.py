"""ONNX models from strangers: the graph, and the numbers of its tensors, checked before use."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError, needed_for
from grus.weight_file import MAX_BYTES, Array, Budget, one_line, widen_bfloat16

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto


def read_external(folder: Path, where: Mapping[str, str], size: int, name: str) -> bytes:
    """The ``size`` bytes of the tensor ``name`` in the file that ``where`` says.

    ``where`` holds ONNX's location, offset and length. Raises InputError for a location that is
    absolute, climbs out of ``folder``, is or passes through a link, or is no plain file; and for
    bytes that the file does not have.
    """
    path = _inside(folder, where.get("location", ""), name)
    offset = _number(where.get("offset", "0"), name)
    length = _number(where.get("length", str(size)), name)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            there = os.fstat(file.fileno()).st_size
            if length != size or offset + size > there:
                raise InputError(
                    f"{name} needs {size} bytes; it says {length} from byte {offset} on of a file"
                    f" of {there}"
                )
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise InputError(f"{name}: its data file cannot be read: {error.strerror}") from None


def _inside(folder: Path, location: str, name: str) -> Path:
    parts = PureWindowsPath(location).parts  # takes both kinds of slashes and drive letters
    climbs = ".." in parts or PureWindowsPath(location).anchor or not location.isprintable()
    if climbs or not parts:
        raise InputError(
            f"{name} keeps its data at {one_line(location)[:80]!r}, which is not inside the"
            " model's folder"
        )
    path = folder
    for part in parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except (OSError, ValueError):
            raise InputError(f"{name}: there is no data file {one_line(location)[:80]!r}") from None
        if stat.S_ISLNK(mode):
            raise InputError(f"{name}: its data file {one_line(location)[:80]!r} is a link")
    if not stat.S_ISREG(mode):
        raise InputError(f"{name}: its data file {one_line(location)[:80]!r} is no plain file")
    return path


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{name}: {one_line(text)[:40]!r} is no offset or length of its data")
    return int(text)


# ONNX's number of a type -> NumPy's type, and the field for it where the bytes are not raw.
TYPES = {
    1: ("<f4", "float_data"), 11: ("<f8", "double_data"), 10: ("<f2", "int32_data"),
    16: ("<u2", "int32_data"), 7: ("<i8", "int64_data"), 6: ("<i4", "int32_data"),
    5: ("<i2", "int32_data"), 3: ("i1", "int32_data"), 2: ("u1", "int32_data"),
    9: ("?", "int32_data"), 4: ("<u2", "int32_data"), 12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
}  # fmt: skip
BFLOAT16 = 16
BITS = (10, BFLOAT16)
"""Types whose bits stand in int32_data as whole numbers."""
EXTERNAL = 1
DOMAINS = ("", "ai.onnx")
"""Both mean the operators of ONNX itself."""
MAX_NODES = 1_000_000
"""What a graph may have when the functions that it calls are written out."""


def library() -> Any:
    """The module onnx. Raises InputError that says how to install it."""
    with needed_for("reading or writing ONNX"):
        import onnx
    return onnx


def load(path: Path) -> Any:
    """The ModelProto in ``path``, without the data that it keeps in other files.

    Functions are written out where they are called, and ONNX's own domain is spelt "" throughout.
    Raises InputError for what is no ONNX model.
    """
    onnx = library()
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # noqa: BLE001  protobuf's error, whose package may differ
        raise InputError(f"not a whole ONNX file: {one_line(error)}") from None
    if not model.HasField("graph") or not model.ir_version:
        raise InputError("not an ONNX model: it has no graph")
    _spell(model)
    return _inlined(model) if model.functions else model


def graphs(graph: Any) -> Iterator[Any]:
    """A graph and the graphs inside its nodes: branches, loop bodies."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs that a node holds."""
    for attribute in node.attribute:
        yield from (inner for inner in (attribute.g, *attribute.graphs) if inner.node)


def _spell(model: Any) -> None:
    """Write "" for ai.onnx, in nodes and in imports."""
    for one in (model, *model.functions):
        known: dict[str, int] = {}
        for opset in one.opset_import:
            known.setdefault("" if opset.domain in DOMAINS else opset.domain, opset.version)
        del one.opset_import[:]
        for domain, version in known.items():
            one.opset_import.add(domain=domain, version=version)
        for graph in graphs(model.graph) if one is model else _of_function(one):
            for node in graph.node:
                node.domain = "" if node.domain in DOMAINS else node.domain


def _of_function(function: Any) -> Iterator[Any]:
    """A function's own nodes, which stand in it as in a graph, and the graphs inside them."""
    yield function
    for node in function.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def _inlined(model: Any) -> Any:
    """The model with its functions written out. Raises InputError where that cannot be done."""
    library()
    from onnx.inliner import inline_local_functions

    _check_size(model)
    try:
        return inline_local_functions(model, convert_version=True)
    except Exception as error:  # noqa: BLE001  onnx' errors of its own, RuntimeError, ValueError
        raise InputError(f"its functions cannot be written out: {one_line(error)}") from None


def _check_size(model: Any) -> None:
    """Raise InputError for functions that call themselves, or whose calls multiply past reason."""
    by_name = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_: set[tuple[str, str]] = set()

    def size(graph_like: Any) -> int:
        every = [node for graph in _of_function(graph_like) for node in graph.node]
        return sum(one(node) for node in every)

    def one(node: Any) -> int:
        key = (node.domain, node.op_type)
        if key not in by_name:
            return 1
        if key in open_:
            raise InputError(f"its function {one_line(node.op_type)[:80]} calls itself")
        if key not in sizes:
            open_.add(key)
            sizes[key] = size(by_name[key])
            open_.remove(key)
        return sizes[key]

    try:
        total = size(model.graph)
    except RecursionError:
        raise InputError("its functions call one another too deep") from None
    if total > MAX_NODES:
        raise InputError(f"its functions written out have {total} nodes, more than {MAX_NODES}")


def array(tensor: Any, folder: Path, budget: Budget) -> Array:
    """The numbers of a TensorProto; ``folder`` is the model's, for data kept in another file.

    Raises InputError when they are not of the size and type that the tensor says, or out of reach.
    """
    name = one_line(tensor.name)[:80] or "a tensor"
    if tensor.data_type not in TYPES or tensor.HasField("segment"):
        raise InputError(f"{name} has the ONNX type {tensor.data_type}, which is not read")
    kind, field = TYPES[tensor.data_type]
    shape = tuple(tensor.dims)
    dtype = np.dtype(kind)
    budget.take_array(name, shape, dtype.itemsize)
    count = int(np.prod(shape, dtype=np.int64))
    if tensor.data_location == EXTERNAL:
        where = {entry.key: entry.value for entry in tensor.external_data}
        content = read_external(folder, where, count * dtype.itemsize, name)
    elif tensor.HasField("raw_data"):
        content = tensor.raw_data
    else:
        content = _listed(getattr(tensor, field), dtype, tensor.data_type in BITS, name)
    if len(content) != count * dtype.itemsize:
        raise InputError(
            f"{name} of shape {shape} needs {count * dtype.itemsize} bytes, the file has"
            f" {len(content)}"
        )
    found = np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    return widen_bfloat16(found) if tensor.data_type == BFLOAT16 else found


def _listed(numbers: Any, dtype: np.dtype[Any], bits: bool, name: str) -> bytes:
    """The bytes of numbers that stand one by one; half floats stand there as their bits."""
    wide = np.array(numbers)
    found = wide.astype(np.uint16 if bits else dtype)
    if wide.dtype.kind in "iu" and not np.array_equal(found, wide):
        raise InputError(f"{name} holds numbers that its type does not have")
    return found.tobytes()


def read_model(path: str | Path) -> ModelProto:
    """The model in an ONNX file, its external tensors loaded from the model's own folder.

    Raises InputError for what is no ONNX model, or whose data lie elsewhere or do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        model: ModelProto = load(path)
        budget = Budget.of(path)
        for graph in graphs(model.graph):
            for tensor in tensors(graph):
                _complete(tensor, path.parent, budget)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return model


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in one graph: initializers, and the values of attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def stored(graph: GraphProto) -> dict[str, TensorProto]:
    """What one graph holds by name: initializers, and the tensors of Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    found[attribute.t.name] = attribute.t
    return found


def to_array(tensor: TensorProto) -> Array:
    """The numbers of a tensor. Raises InputError where they are not of its shape and type."""
    try:
        array: Array = library().numpy_helper.to_array(tensor)
        return array
    except (ValueError, TypeError, KeyError) as error:
        name = one_line(tensor.name)[:80]
        raise InputError(f"the tensor {name!r} cannot be read: {one_line(error)}") from None


def _complete(tensor: TensorProto, folder: Path, budget: Budget) -> None:
    """Check a tensor's size; read into it what it keeps in another file."""
    name = one_line(tensor.name)[:80] or "a tensor"
    onnx = library()
    try:
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{name} has the ONNX type {tensor.data_type}, which is none") from None
    budget.take_array(name, tuple(tensor.dims), size)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        where = {entry.key: entry.value for entry in tensor.external_data}
        tensor.raw_data = read_external(folder, where, math.prod(tensor.dims) * size, name)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
