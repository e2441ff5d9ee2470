"""Packages around torch, with a model of ours as with torch's: Captum, torchinfo, Lightning."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import grus

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402

I, H, T, B = 3, 4, 6, 5  # noqa: E741


class Model(nn.Module):
    """The first of two classes, from the last step of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(I, H, 2, batch_first=True), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.rnn(x)[0][:, -1])
        return found


def models() -> tuple[Model, Model]:
    torch.manual_seed(0)
    theirs = Model()
    return theirs, grus.accelerate(copy.deepcopy(theirs), say=None)


def near(one: Tensor, other: Tensor) -> None:
    """float32 twice, numbers of about 1: a gradient of T steps in two layers, each with sums of
    H + I products and a dozen operations, and at most 50 of them added up."""
    torch.testing.assert_close(one, other, rtol=0, atol=50 * 2 * T * (H + I + 12) * 2.0**-24)


@pytest.mark.parametrize("name", ["LayerGradientXActivation", "LayerActivation", "Saliency"])
def test_captums_attributions_are_those_of_torchs_layer(name: str) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    x = torch.randn(B, T, I)
    found = []
    for model in models():
        method = getattr(attr, name)(model, *([model.rnn] if name.startswith("Layer") else []))
        given = {} if name == "LayerActivation" else {"target": 0}
        if name == "LayerGradientXActivation":
            given["attribute_to_layer_input"] = True
        result = method.attribute(x, **given)
        found.append(result[0] if isinstance(result, tuple) else result)
    assert found[0].abs().max() > 1e-3
    near(found[1], found[0])


def test_captums_conductance_of_what_a_layer_reads_is_that_of_torchs() -> None:
    """Conductance sums gradients at points between a baseline and the input, all in one batch."""
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    x, found = torch.randn(B, T, I), []
    for model in models():
        method = attr.LayerConductance(model, model.rnn)
        found.append(method.attribute(x, target=0, n_steps=8, attribute_to_layer_input=True))
    assert found[0].abs().max() > 1e-3
    near(found[1], found[0])


def test_higher_differentiates_through_steps_of_training() -> None:
    """Two inner steps of `higher.innerloop_ctx` and a call of what `higher.monkeypatch` made, on
    an accelerated model of two GRU layers, and on torch's; run with higher 0.2.1, torch 2.13."""
    higher = pytest.importorskip("higher", reason="higher is not installed")
    x, found = torch.randn(B, T, I), []
    for model in models():
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (inner, steps):
            for _ in range(2):
                steps.step(inner(x).square().mean())
            loss = inner(x).square().sum()
            outer = torch.autograd.grad(loss, list(model.parameters()))
        patched = higher.monkeypatch(model)
        half = patched(x, params=[p * 0.5 for p in model.parameters()])
        found.append([loss, half, *outer])
    for one, other in zip(*found, strict=True):
        near(one, other)


def test_torchinfo_shows_the_same_table() -> None:
    torchinfo = pytest.importorskip("torchinfo", reason="torchinfo is not installed")
    tables = [torchinfo.summary(model, (B, T, I), verbose=0) for model in models()]
    assert tables[0].total_params == tables[1].total_params > 0
    for one, other in zip(tables[0].summary_list, tables[1].summary_list, strict=True):
        assert one.class_name == other.class_name
        assert one.output_size == other.output_size
        assert one.num_params == other.num_params


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lightning_trains_the_same_model(precision: str) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")

    class Whole(lightning.LightningModule):
        def __init__(self, model: Model) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _: int) -> Tensor:
            (x,) = batch
            return self.model(x).float().square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    torch.manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(4 * B, T, I))
    start, trained = [p.detach().clone() for p in models()[0].parameters()], []
    for model in models():
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Whole(model), torch.utils.data.DataLoader(data, batch_size=B))
        trained.append(list(model.parameters()))
    moved = max((a - b).abs().max() for a, b in zip(trained[0], start, strict=True))
    for one, other in zip(*trained, strict=True):
        if precision == "32-true":
            near(one, other)
        else:  # 8 steps with gradients of 8 bits, each of which moved the weights by a part of it
            assert (one - other).abs().max() <= 8 * 2.0**-8 * max(moved, 0.1)
