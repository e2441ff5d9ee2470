"""What torch's tools tell of our layers: operations counted, the profiler's names, quantization."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import grus  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]
I, H, T, B = 3, 4, 6, 3  # noqa: E741
MODULES: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(I, H, 2, bidirectional=True),
    "rnn": lambda: nn.RNN(I, H),
    "gru cell": lambda: nn.GRUCell(I, H),
    "lstm cell": lambda: nn.LSTMCell(I, H),
}


def data(kind: str) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, I) if "cell" in kind else torch.randn(T, B, I)


# torch counts no operation of nn.LSTM on this device: it runs as one of oneDNN's.
@pytest.mark.parametrize("kind", MODULES)
def test_operations_are_counted_as_torch_counts_its_own(kind: str) -> None:
    theirs, counts = MODULES[kind](), []
    for module in (theirs, grus.accelerate(copy.deepcopy(theirs), say=None)):
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            module(data(kind))
        with FlopCounterMode(display=False) as both:
            tree_leaves(module(data(kind)))[0].sum().backward()
        counts.append((forward.get_total_flops(), both.get_total_flops()))
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0


def test_operations_of_an_lstm_are_those_of_its_matrices() -> None:
    x = data("").requires_grad_()
    with FlopCounterMode(display=False) as counter:
        grus.LSTM(I, H, proj_size=2)(x)[0].sum().backward()
    products = 4 * H * (I + 2) + 2 * H
    # The first step's state is nobody's: one product by U less.
    assert counter.get_total_flops() == 2 * B * (3 * T * products - 4 * H * 2)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (grus.GRU(I, H), ["gru forward, time 6, batch 3, input 3, hidden 4"]),
        (
            grus.LSTM(I, H, bidirectional=True),
            ["lstm forward, 2 directions, time 6, batch 3, input 3, hidden 4"],
        ),
    ],
)
def test_the_profiler_shows_a_sequence_by_its_cell_and_its_shape(
    layer: nn.Module, names: list[str]
) -> None:
    layer(data(""))  # nothing is kept of calls before
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        with torch.no_grad():
            layer(data(""))
        layer(data(""))[0].sum().backward()
    counts = {e.key: e.count for e in seen.key_averages() if e.key.startswith("grus::")}
    want = {f"grus::{name}": 2 for name in names}
    assert counts == want | {name.replace("forward", "backward"): 1 for name in want}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(I, H, 2), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.rnn(x)[0])
        return found


def test_quantization_says_what_it_leaves_and_takes_what_is_restored() -> None:
    quantize = torch.ao.quantization.quantize_dynamic
    model, kinds = Model(), {nn.GRU, nn.Linear}
    ours = grus.accelerate(copy.deepcopy(model), say=None)
    with pytest.warns(UserWarning, match=r"this GRU stays as it is; call grus\.restore\(model\)"):
        left = quantize(ours, kinds)
    assert type(left.rnn) is grus.GRU
    found = quantize(grus.restore(ours, say=None), kinds)
    assert torch.equal(found(data("")), quantize(model, kinds)(data("")))
