"""The rooms and the arrows between them: who may import whom, and how long a file may be."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from house import (
    FOLDERS,
    PACKAGE,
    ROOT,
    Import,
    arrows,
    cycles,
    files,
    imports,
    lines,
    long_functions,
    of_package,
    past_faces,
    picture,
    room,
    room_of,
)

# Room -> the rooms below it that it may import, and the installed packages that it may import.
# A package after "late" is imported inside functions only, so that the room loads without it.
BELOW = {
    "errors": "",
    "arguments": "",
    "equations": "",
    "reference": "equations arguments",
    "gradients": "equations",
    "kernels": "equations gradients",
    "runtime": "arguments equations gradients kernels",
    "atomic_file": "",
    "weight_file": "",
    "dialects": "equations reference runtime",
    "onnx": "arguments equations reference kernels runtime dialects weight_file atomic_file",
    "files": "equations dialects onnx weight_file atomic_file",
    "mistakes": "equations reference gradients dialects",
    "identification": "equations reference dialects mistakes",
    "check": "equations reference gradients dialects files mistakes atomic_file",
    "layers": "arguments equations reference gradients kernels runtime dialects onnx zoo",
    "models": "equations reference gradients kernels dialects layers atomic_file",
    "tasks": "equations layers models atomic_file",
    "builds": "equations kernels dialects files onnx layers models sequence weight_file"
    " atomic_file",
    "diagram": "equations",
    "zoo": "equations",
    "worksheet": "equations reference gradients kernels runtime dialects mistakes",
    "traces": "arguments equations reference gradients kernels runtime dialects layers models files"
    " atomic_file",
    "pictures": "equations dialects worksheet traces atomic_file",
    "comparison": "equations reference gradients kernels dialects layers models traces pictures",
    "search": "equations reference kernels comparison models",
    "page": "equations reference runtime dialects layers models builds worksheet traces pictures",
    "cli": "equations reference gradients kernels dialects layers models worksheet diagram sequence"
    " check traces pictures comparison search page zoo builds tasks"
    " grus_benchmarks files identification atomic_file"
    " weight_file",
    "grus_benchmarks": "__init__ equations kernels dialects layers atomic_file",
    "sequence": "equations reference kernels runtime",
    "__init__": "equations sequence layers dialects onnx traces identification zoo builds tasks",
}
PACKAGES = {
    "arguments": "numpy",
    "reference": "numpy",
    "kernels": "numpy llvmlite",
    "runtime": "numpy",
    "weight_file": "numpy",
    "dialects": "numpy",
    "onnx": "numpy",
    "files": "numpy",
    "identification": "numpy",
    "sequence": "numpy",
    "mistakes": "numpy",
    "check": "numpy",
    "layers": "torch numpy",
    "models": "torch numpy safetensors filelock",
    "worksheet": "numpy",
    "grus_benchmarks": "numpy",
    "traces": "numpy",
    "pictures": "numpy",
    "comparison": "numpy",
    "search": "numpy",
    "page": "numpy",
    "builds": "torch numpy",
    "tasks": "torch numpy",
    "cli": "typer rich numpy",
}
LATE = {
    "onnx": "onnx onnxruntime",
    "files": "safetensors h5py",
    "grus_benchmarks": "torch matplotlib jax keras onnx onnxruntime openvino tensorflow",
    "traces": "torch",
    "pictures": "matplotlib plotly",
    "comparison": "torch matplotlib",
    "search": "optuna",
    "builds": "ziglang",
    "tasks": "polars sklearn sacrebleu tokenizers mido",
    "page": "torch starlette uvicorn plotly",
    "cli": "torch polars sklearn",
}
# A room that loads without torch takes these rooms inside functions only.
LATE_ROOMS = {
    "grus_benchmarks": "__init__ layers",
    "traces": "layers models",
    "comparison": "layers models",
    "search": "models",
    "page": "layers models",
    "cli": "layers tasks grus_benchmarks",
    "__init__": "layers sequence dialects identification traces zoo builds tasks",
}
ONE_FILE = {"llvmlite": "kernels/jit.py"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
BUDGET = {"files": 292, "lines": 52_068, "imports past a face": 169}
DATA = {"zoo"}
"""Rooms of records, one after the other: the more the better."""


def file_name(path: Path) -> str:
    """The path inside the package, as the tests show it."""
    return path.relative_to(
        FOLDERS[PACKAGE] if path.is_relative_to(FOLDERS[PACKAGE]) else path.parents[1]
    ).as_posix()


def wrong_arrows(place: str, found: list[Import]) -> list[str]:
    """What a file in the room ``place`` imports and may not; the version anybody may ask for."""
    wrong = []
    for one in found:
        if one.module == f"{PACKAGE}.__version__":
            continue
        if one.top in FOLDERS:
            target = room(one.module)
            allowed = target in {place, "errors", *BELOW[place].split()}
            late = target in LATE_ROOMS.get(place, "").split()
        else:
            late = one.top in LATE.get(place, "").split()
            allowed = late or one.top in {
                *sys.stdlib_module_names,
                *PACKAGES.get(place, "").split(),
            }
        if one.module == PACKAGE or not allowed or (late and not (one.late or one.typing)):
            wrong.append(f"line {one.line}: {place} imports {one.module}")
    return wrong


@pytest.mark.parametrize("path", files(), ids=file_name)
def test_every_file_imports_only_what_its_room_may(path: Path) -> None:
    place = room_of(path)
    assert place in BELOW, f"a room that no table knows: {place}"
    assert wrong_arrows(place, imports(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(("package", "only"), ONE_FILE.items())
def test_one_file_alone_imports_it(package: str, only: str) -> None:
    users = {
        file_name(path)
        for path in files()
        if any(one.top == package for one in imports(path.read_text("utf-8")))
    }
    assert users == {only}


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("equations", "import numpy"),
        ("equations", "def f():\n    from grus.reference import run"),
        ("reference", "from grus import kernels"),
        ("gradients", "import importlib\nimportlib.import_module('grus.layers')"),
        ("kernels", "import torch"),
        ("worksheet", "import torch"),
        ("pictures", "import matplotlib.pyplot"),
        ("cli", "from grus.layers import GRU"),
        ("layers", "import grus"),
        ("cli", "try:\n    import requests\nexcept ImportError:\n    pass"),
    ],
)
def test_a_forbidden_import_is_seen(place: str, source: str) -> None:
    assert len(wrong_arrows(place, imports(source))) == 1


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("traces", "def f():\n    import torch"),
        ("cli", "import typing\nif typing.TYPE_CHECKING:\n    from grus.layers import GRU"),
        ("models", "from grus import __version__"),
        ("layers", "import torch\nfrom grus.errors import InputError"),
    ],
)
def test_an_allowed_import_is_let_through(place: str, source: str) -> None:
    assert wrong_arrows(place, imports(source)) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(ValueError, match="relative"):
        imports("from . import run")


def circles(below: Mapping[str, str]) -> set[str]:
    """The rooms that stand below themselves, by whatever way round."""
    reached = {place: set(others.split()) for place, others in below.items()}
    for _ in below:
        for place, others in reached.items():
            reached[place] = others.union(*(reached[other] for other in others))
    return {place for place, others in reached.items() if place in others}


def test_no_room_stands_below_itself() -> None:
    assert circles(BELOW) == set()


def test_a_circle_of_any_number_of_rooms_is_seen() -> None:
    assert circles({"a": "b", "b": "a", "c": ""}) == {"a", "b"}
    assert circles({"a": "b", "b": "c", "c": "d", "d": "b"}) == {"b", "c", "d"}
    assert circles({"a": "b c", "b": "c", "c": ""}) == set()


def test_no_file_is_too_long() -> None:
    paths = [*files(), *sorted((ROOT / "tests").rglob("*.py"))]
    counts = {str(path.relative_to(ROOT)): lines([path]) for path in paths}
    assert {path: n for path, n in counts.items() if n > LONGEST_FILE} == {}


@pytest.mark.parametrize("path", files(), ids=file_name)
def test_no_function_is_too_long(path: Path) -> None:
    assert long_functions(path.read_text("utf-8"), LONGEST_FUNCTION) == []


def test_a_long_function_is_seen_though_a_short_one_has_its_name() -> None:
    long = "    def f(self):\n" + "        pass\n" * (LONGEST_FUNCTION + 1)
    source = f"class A:\n{long}\nclass B:\n    def f(self):\n        pass\n"
    assert [one.where for one in long_functions(source, LONGEST_FUNCTION)] == ["f, line 2"]


def test_the_house_does_not_grow() -> None:
    """Each number may only be lowered; `python benchmarks/house.py` prints where they come from."""
    package = [path for path in of_package() if room_of(path) not in DATA]
    figures = {
        "files": len(package),
        "lines": lines(package),
        "imports past a face": sum(past_faces().values()),
    }
    assert {name: n for name, n in figures.items() if n > BUDGET[name]} == {}


def test_the_picture_of_the_rooms_is_drawn_from_the_imports() -> None:
    drawn = f"```mermaid\n{picture()}```"
    assert drawn in (ROOT / "docs" / "architecture.md").read_text("utf-8"), f"write there:\n{drawn}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert cycles(arrows()) == []


def test_a_cycle_is_seen_and_what_leads_into_it_is_no_part_of_it() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert cycles(graph) == [("b", "c"), ("e", "f")]


def test_a_room_has_no_name_of_the_standard_library() -> None:
    names = {p.stem for p in files()} | set(BELOW)
    assert names & set(sys.stdlib_module_names) <= {"__init__"}


ADDRESSES = (
    "kernels/memory.py",
    "runtime/buffer.py",
    "runtime/stepper.py",
    "layers/kernel_calls.py",
)
"""Of memory, of NumPy's arrays, of either in a step, of torch's tensors."""


def test_addresses_are_taken_in_one_file_a_room() -> None:
    rooms = [path for path in files() if room_of(path) in ("kernels", "runtime", "layers")]
    takers = re.compile(r"data_ptr|ctypes\.data|__array_interface__")
    found = {file_name(path) for path in rooms if takers.search(path.read_text("utf-8"))}
    assert found == {*ADDRESSES}
