"""The model that is trained in memory, and a trained model as arrays."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from grus.equations import CELLS  # noqa: E402
from grus.models.corpus import Architecture, Vocabulary  # noqa: E402
from grus.models.language import LanguageModel  # noqa: E402
from grus.page.character_network import TextReading, from_model, small_model  # noqa: E402

pytestmark = pytest.mark.torch


def test_a_small_model_learns_in_the_time_it_has() -> None:
    told: list[tuple[float, float]] = []
    model = small_model(lambda spent, loss: told.append((spent, loss)), seconds=3)
    shares, losses = zip(*told, strict=True)
    assert list(shares) == sorted(shares)
    assert shares[-1] == 1
    # Uniform guessing costs ln(symbols), about 4.6 nats; a few steps of Adam already gain.
    assert min(losses) < losses[0]
    assert not model.training


def test_drawing_its_weights_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(5)
    small_model(lambda spent, loss: None, seconds=0.01)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize("input", ["embedding", "onehot"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_arrays_predict_what_the_model_predicts(cell: str, input: str) -> None:
    torch.manual_seed(0)
    vocabulary = Vocabulary(" abcdef")
    sizes = {"hidden": 6, "layers": 2, "embedding": 4, "input": input}
    model = LanguageModel(Architecture(CELLS[cell], vocabulary, **sizes)).eval()
    ids = vocabulary.encode("fade bead")
    with torch.no_grad():
        scores, _ = model(torch.from_numpy(ids)[:, None])
    reading = TextReading(from_model(model))
    reading.read(ids)
    chances = reading.network.probabilities(reading.output())
    want = torch.softmax(scores[:, 0].double(), 1).numpy()
    np.testing.assert_allclose(chances, want, rtol=0, atol=1e-6)  # float32 sums of six terms
