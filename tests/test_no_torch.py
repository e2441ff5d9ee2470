"""Everything but training works where torch is not installed: an import of it is made to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BLOCKER = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that has no torch."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code], capture_output=True, text=True, check=False
    )


def grus(*words: str) -> subprocess.CompletedProcess[str]:
    return python(f"sys.argv = {['grus', *words]!r}\nfrom grus.cli.main import run\nrun()\n")


def test_the_blocker_blocks() -> None:
    done = python("import torch")
    assert "No module named 'torch'" in done.stderr
    assert done.returncode == 1


def test_the_package_and_its_cells_load() -> None:
    done = python("import grus; print(grus.cell('keras').name, len(grus.CELLS))")
    assert (done.stdout.split()[0], done.stderr) == ("gru", "")


def test_the_reference_runs() -> None:
    code = (
        "import numpy as np\n"
        "from grus.equations import CELLS\n"
        "from grus.reference import run\n"
        "weights = {f: np.ones(CELLS['gru'].family_shape(f, {'input': 2, 'hidden': 3}))\n"
        "           for f in 'WUbd'}\n"
        "print(run(CELLS['gru'], weights, np.ones((4, 1, 2))).output.shape)\n"
    )
    done = python(code)
    assert (done.stdout.strip(), done.stderr) == ("(4, 1, 3)", "")


@pytest.mark.parametrize(
    "stage", ["equations", "latex", "diagram", "gradient", "plan", "llvm", "asm", "cost"]
)
def test_show_prints_every_stage(stage: str) -> None:
    done = grus("show", "gru", "--stage", stage)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_explain_prints_the_posted_worksheet() -> None:
    done = grus(
        *("explain", "keras", "--dialect", "keras", "--x", "1,2,9,8"),
        *("--W", "-0.90954137, 1.0425225, -0.04404902"),
        *("--U", "0.24168766, 0.8981342, 0.36734456"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "-0.46280" in done.stdout


def test_dialects_are_listed_and_compared() -> None:
    done = grus("dialects", "torch")
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch: PyTorch nn.GRU" in done.stdout
    done = python("import grus; print(bool(grus.equivalent('torch', 'keras')))")
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_convert_reads_and_writes_files_of_torch(tmp_path: Path) -> None:
    shapes = {
        "weight_ih_l0": (12, 3),
        "weight_hh_l0": (12, 4),
        "bias_ih_l0": (12,),
        "bias_hh_l0": (12,),
    }
    np.savez(tmp_path / "in.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    done = grus("convert", str(tmp_path / "in.npz"), str(tmp_path / "out.pt"))
    assert (done.returncode, done.stderr) == (0, "")
    done = grus("convert", str(tmp_path / "out.pt"), str(tmp_path / "a.npz"), "--to", "equinox")
    assert (done.returncode, done.stderr) == (0, "")
    assert "weight_hh [12, 4]" in done.stdout


def test_the_check_kit_writes_its_vectors(tmp_path: Path) -> None:
    done = grus("check", "--out", str(tmp_path / "vectors.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "vectors.json").stat().st_size > 10_000


def test_help_names_every_command() -> None:
    done = grus("--help")
    assert done.returncode == 0
    assert all(
        word in done.stdout for word in ("show", "explain", "convert", "train", "sample", "bench")
    )


NEED_TORCH = {
    "a layer": ("grus.GRU", "grus.GRU"),
    "accelerate": ("grus.accelerate", "grus.accelerate"),
    "from": ("from grus import LSTM", "grus.LSTM"),
    "every late name": (
        "[getattr(grus, n) for n in grus._LATE if grus._LATE[n] == 'grus.layers']",
        "grus.GRU",
    ),
    "a trace": ("grus.trace(object(), [[[1.0]]])", "grus.trace"),
    "a build": (
        "from grus.builds import read_model; read_model(object())",
        "building a torch module",
    ),
    "a run": ("from grus.traces.runs import open_run; open_run('run', 'text')", "a run"),
}


@pytest.mark.parametrize(("code", "what"), NEED_TORCH.values(), ids=NEED_TORCH)
def test_what_needs_torch_says_so_in_one_sentence(code: str, what: str) -> None:
    done = python(f"import grus\n{code}")
    last = done.stderr.splitlines()[-1]
    assert (
        last == f"grus.errors.MissingPackageError: {what} needs PyTorch: pip install 'grus[torch]'"
    )
    assert "import torch" not in done.stderr, "the traceback leads into the package"
    assert done.stderr.count("Traceback") == 1


def test_the_missing_package_is_an_import_error_and_an_input_error() -> None:
    code = "import grus\nfor kind in (ImportError, grus.InputError):\n    try:\n        grus.GRU\n"
    done = python(code + "    except kind as error:\n        print(error.name)")
    assert (done.stdout, done.stderr) == ("torch\ntorch\n", "")
