"""A package that an extra installs and that is absent: one sentence, which names the extra."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import grus
from grus.errors import EXTRAS, MissingPackageError, missing_package, needed_for
from grus.page.server import plotly_script
from house import ROOT

OF_DEVELOPERS = {"dev", "peers"}
"""The extras of tests."""


def called(place: str, *arguments: Any) -> Callable[[], Any]:
    """A call of ``module:function``, which is imported before a package is taken away."""
    module, name = place.split(":")
    return lambda: getattr(import_module(module), name)(*arguments)


USES = {
    "torch": (called("grus.traces.runs:open_run", "run", "a"), "a run", "torch"),
    "h5py": (called("grus.files.hdf5:library"), "reading or writing HDF5", "convert"),
    "onnx": (
        called("grus.onnx.model_proto:library"),
        "reading or writing ONNX",
        "convert",
    ),
    "matplotlib.figure": (called("grus.pictures.style:new_figure", 1, 1), "a figure", "pictures"),
    "plotly.offline": (called("grus.pictures.report:_plotly"), "an HTML report", "pictures"),
    "starlette": (called("grus.page.server:check_installed"), "the page", "page"),
    "uvicorn": (called("grus.page.server:check_installed"), "the page", "page"),
    "ziglang": (
        called("grus.builds.wasm_files:ziglang"),
        "WebAssembly, where LLVM's wasm-ld is not installed,",
        "wasm",
    ),
    "polars": (called("grus.tasks:plan", "classify", {}), "a fit", "tasks"),
    "sklearn": (called("grus.tasks:plan", "classify", {}), "a fit", "tasks"),
    "plotly": (plotly_script.__wrapped__, "the page", "page"),
}


@pytest.mark.parametrize("package", USES)
def test_what_is_absent_is_named_with_its_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, what, extra = USES[package]
    top = package.split(".", maxsplit=1)[0]
    name = "PyTorch" if top == "torch" else top
    for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(grus.InputError) as raised:
        use()
    assert str(raised.value) == f"{what} needs {name}: pip install 'grus[{extra}]'"
    assert isinstance(raised.value, ImportError)
    assert raised.value.name == top


def test_the_table_has_every_extra_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    installs = {
        extra: {re.match(r"[\w-]+", line)[0].removesuffix("-cpu") for line in lines}  # type: ignore[index]
        for extra, lines in project["optional-dependencies"].items()
        if extra not in OF_DEVELOPERS
    }
    installs["tasks"] ^= {"scikit-learn", "sklearn"}  # what is installed, what is imported
    assert set(EXTRAS) == set().union(*installs.values())
    for package, extra in EXTRAS.items():
        assert package in installs[extra]


def test_nobody_else_tells_how_to_install() -> None:
    telling = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "src").rglob("*.py"))
        if "pip install" in path.read_text("utf-8")
    ]
    assert telling == [str(Path("src", "grus", "errors.py"))]


def test_other_modules_are_not_ours_to_explain() -> None:
    assert missing_package(ModuleNotFoundError("no", name="mine"), "it") is None
    assert isinstance(
        missing_package(ModuleNotFoundError("no", name="jax.numpy"), "it"), MissingPackageError
    )
    with pytest.raises(ModuleNotFoundError, match="mine"), needed_for("it"):
        import_module("mine_alone_and_nowhere")
