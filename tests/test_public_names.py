"""The public door: `grus.__all__` is this list, every name is documented, opening it is cheap."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import grus

PUBLIC = [
    "CELLS",
    "Cell",
    "CellError",
    "GRU",
    "GRUCell",
    "InitialState",
    "InputError",
    "LSTM",
    "LSTMCell",
    "RNN",
    "RNNCell",
    "Recurrent",
    "__version__",
    "accelerate",
    "build",
    "carry",
    "cell",
    "check_rollout",
    "convert",
    "equivalent",
    "fit",
    "hold",
    "identify",
    "last_state",
    "onnx",
    "resets_from_dones",
    "resets_from_episode_starts",
    "resets_from_masks",
    "restore",
    "run",
    "split_directions",
    "trace",
]
NO_FUNCTIONS = ("CELLS", "__version__", "onnx", "CellError", "InputError")
NEED_TORCH = ("layers", "models", "tasks")
ROOMS = sorted(m.name for m in pkgutil.iter_modules(grus.__path__) if m.ispkg)


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(grus.__all__) == sorted(PUBLIC)


def test_every_public_name_can_be_had() -> None:
    pytest.importorskip("torch")
    for name in PUBLIC:
        assert getattr(grus, name) is not None


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LSTMM'"):
        _ = grus.LSTMM  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_every_room_and_every_name_it_offers_is_documented(room: str) -> None:
    if room in NEED_TORCH:
        pytest.importorskip("torch")
    module = importlib.import_module(f"grus.{room}".rstrip("."))
    assert module.__doc__
    for name in getattr(module, "__all__", ()):
        offered = getattr(module, name)
        if inspect.isclass(offered) or inspect.isroutine(offered):
            assert inspect.getdoc(offered), f"{module.__name__}.{name} has no docstring"


def test_the_version_is_one_that_packaging_tools_read() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", grus.__version__)


@pytest.mark.parametrize("statement", ["import grus", "from grus.cli import main"])
def test_opening_the_door_loads_no_framework(statement: str) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "llvmlite", "matplotlib"}


def test_equations_alone_load_nothing_beyond_the_standard_library() -> None:
    code = "import sys; import grus.equations; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in done.stdout.split()


def test_completion_offers_the_public_names_and_nothing_else() -> None:
    assert dir(grus) == sorted(PUBLIC)
    IPython = pytest.importorskip("IPython")
    from IPython.core.completer import provisionalcompleter

    shell = IPython.core.interactiveshell.InteractiveShell()
    shell.user_ns["grus"] = grus
    for jedi in (False, True):
        shell.Completer.use_jedi = jedi
        with provisionalcompleter():
            found = {one.text.lstrip(".") for one in shell.Completer.completions("grus.", 5)}
        found = {name.removeprefix("grus.") for name in found}
        assert set(PUBLIC) - {"__version__"} <= found
        assert not found & {"Any", "TYPE_CHECKING", "import_module"}


def silly() -> list[object]:
    import torch

    return [None, 3, 2.5, "x", b"x", [], {}, object(), torch.zeros(2), torch.nn.Linear(2, 2),
            grus.GRU(2, 3)]  # fmt: skip


def refusal(function: Callable[..., object], arguments: Iterable[object]) -> str:
    """The sentence of an InputError, or Python's own of a wrong number of arguments."""
    try:
        function(*arguments)
    except grus.InputError as error:
        return str(error)
    except TypeError as error:
        if not re.search(r"required|positional arguments? but|takes no arguments", str(error)):
            raise
    return ""


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in NO_FUNCTIONS])
def test_what_a_function_does_not_take_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)  # "x" is a folder to write into, too
    function, values = getattr(grus, name), silly()
    calls = [[], *([one] * count for one in values for count in (1, 3))]
    for arguments in [*calls, *itertools.product(values, values)]:
        said = refusal(function, arguments)
        assert len(said) < 1000
