"""A trained model read by a trace: its characters, its layers, the model's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from grus import InputError  # noqa: E402
from grus.models import checkpoint, kept_run  # noqa: E402
from grus.traces.runs import trace_text  # noqa: E402
from small_run import finish, start  # noqa: E402

pytestmark = pytest.mark.torch
TEXT = "the lazy dog"


@pytest.mark.parametrize(
    "model",
    [{"layers": 2}, {"cell": "lstm", "input": "onehot"}, {"layers": 3, "dtype": "float64"}],
    ids=str,
)
def test_a_trace_has_the_models_own_states(tmp_path: Path, model: dict) -> None:
    finish(start(tmp_path, **model), after=3)
    trace = trace_text(tmp_path / "run", TEXT)
    found = checkpoint.load(kept_run.find(tmp_path / "run")).model()
    ids = torch.from_numpy(found.architecture.vocabulary.encode(TEXT))
    with torch.no_grad():
        x, after = found.features(ids[:, None]), []
        for k, layer in enumerate(found.layers):
            x, state = layer(x)
            assert trace["h"][k, 0].tobytes() == x.numpy().tobytes()
            after.append(state)
    assert trace.tokens == tuple(TEXT)
    assert trace.layers.tolist() == list(range(model.get("layers", 1)))
    assert trace["h"].dtype == np.dtype(model.get("dtype", "float32"))
    if model.get("cell") == "lstm":
        assert trace.names == ("i", "f", "g", "o", "c", "h")
        assert trace["c"][0, 0, -1].tobytes() == after[0][1].numpy().tobytes()


def test_what_is_recorded_is_asked_for(tmp_path: Path) -> None:
    finish(start(tmp_path, layers=2), after=2)
    whole = trace_text(tmp_path / "run", TEXT)
    part = trace_text(tmp_path / "run", TEXT, values=["z"], layers="1", steps="4:8", units=[2, 5])
    assert part.tokens == tuple("lazy")
    assert part["z"].tobytes() == whole["z"][1:, :, 4:8][..., [2, 5]].tobytes()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    finish(start(tmp_path), after=1)
    with pytest.raises(InputError, match="':£' is not in the model's vocabulary"):
        trace_text(tmp_path / "run", "cost: £")
    with pytest.raises(InputError, match="no text"):
        trace_text(tmp_path / "run", "")
    with pytest.raises(InputError, match="there is no such run"):
        trace_text(tmp_path / "nowhere", TEXT)
