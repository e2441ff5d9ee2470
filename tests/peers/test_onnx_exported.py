"""``torch.onnx.export`` of models with our layers: one node for each layer, time and batch free;
ONNX Runtime computes with the file what torch's layers compute."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import grus
from cells import FURTHER_CELLS, Mgu
from grus.equations import columns

onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

pytestmark = [
    # What the exporters say of themselves, of torch and of nn.GRU, too.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
I, H = 3, 4  # noqa: E741
SIZES = [(9, 2), (20, 3), (1, 1)]
TIME_BATCH = {0: "time", 1: "batch"}

THEIRS: dict[str, Callable[[], Any]] = {
    "GRU": lambda: nn.GRU(I, H, 2, bidirectional=True),
    "LSTM": lambda: nn.LSTM(I, H, 2, bias=False),
    "RNN": lambda: nn.RNN(I, H, nonlinearity="relu", bidirectional=True),
}
every = pytest.mark.parametrize("kind", THEIRS)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # torchvision is not installed, it says
    yield
    log.setLevel(before)
    torch._dynamo.reset()


@pytest.mark.parametrize("connect", ["residual", "highway", "dense"])
@pytest.mark.parametrize("both", [False, True])
def test_joined_layers_are_nodes_and_what_joins_them(
    tmp_path: Path, connect: str, both: bool
) -> None:
    torch.manual_seed(0)
    layer = grus.GRU(H * (1 + both), H, 2, bidirectional=both, connect=connect).eval()
    x = torch.randn(6, 3, layer.input_size)
    torch.onnx.export(layer, (x,), tmp_path / "joined.onnx", dynamo=True, verbose=False)
    assert operators(tmp_path / "joined.onnx")["GRU"] == 2
    session = runtime.InferenceSession(tmp_path / "joined.onnx")
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    for one, want in zip(found, layer(x), strict=True):
        assert (torch.from_numpy(one) - want).abs().max() < 1e-6


def pair(kind: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs = THEIRS[kind]().eval()
    torch.manual_seed(0)
    return theirs, grus.accelerate(THEIRS[kind](), say=None).eval()


def states(kind: str, batch: int) -> Any:
    rows = 2 if kind == "LSTM" else 4 if kind == "GRU" else 2
    drawn = torch.randn(rows, batch, H)
    return (drawn, drawn.sin()) if kind == "LSTM" else drawn


def operators(path: Path) -> Counter[str]:
    """The operators of the whole file, of those in functions and in the bodies of loops, too."""
    model = onnx.load(path)
    onnx.checker.check_model(model)
    found: Counter[str] = Counter()
    waiting = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while waiting:
        node = waiting.pop()
        found[node.op_type] += 1
        waiting += [n for a in node.attribute for n in a.g.node]
    return found


def session(path: Path) -> Callable[..., list[Any]]:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    one = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in one.get_inputs()]

    def run(*given: Any) -> list[Any]:
        arrays = [t.numpy() for t in tree_leaves(given) if t is not None]
        return [torch.from_numpy(a) for a in one.run(None, dict(zip(names, arrays, strict=True)))]

    return run


def close(found: list[Any], want: Any, steps: int) -> None:
    """float32 twice, weights within 1 / sqrt(H): each of a step's sums of 2 H + I products and a
    dozen operations rounds on both sides, in up to two layers, and few steps are remembered."""
    bound = 4 * min(steps, 10) * (2 * H + I + 12) * 2.0**-24
    for one, other in zip(found, tree_leaves(want), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=bound)


@every
def test_a_layer_is_one_node_and_time_batch_and_states_are_free(kind: str, tmp_path: Path) -> None:
    theirs, ours = pair(kind)
    file = tmp_path / "model.onnx"
    free = ({1: "batch"}, {1: "batch"}) if kind == "LSTM" else {1: "batch"}
    given = (torch.randn(*SIZES[0], I), states(kind, SIZES[0][1]))
    shapes = {"input": TIME_BATCH, "hx": free}
    torch.onnx.export(ours, given, file, dynamic_shapes=shapes, verbose=False)
    found = operators(file)
    assert found[kind] == theirs.num_layers
    assert found["Scan"] == found["Loop"] == 0
    run = session(file)
    for steps, batch in SIZES:
        given = (torch.randn(steps, batch, I), states(kind, batch))
        close(run(*given), theirs(*given), steps)


class Model(nn.Module):
    """An embedding, a layer, a head: batch first, no states."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.names, self.layer = nn.Embedding(11, I), layer
        self.head = nn.Linear(H, 2)

    def forward(self, words: Tensor) -> Tensor:
        y, _ = self.layer(self.names(words))
        head: Tensor = self.head(y[:, -1])
        return head


def test_the_usual_call_writes_what_the_model_computes(tmp_path: Path) -> None:
    model = Model(nn.GRU(I, H, batch_first=True)).eval()
    words = torch.randint(11, (2, 9))
    want = model(words)
    file = tmp_path / "model.onnx"
    torch.onnx.export(grus.accelerate(model, say=None), (words,), file, verbose=False)
    assert operators(file)["GRU"] == 1
    close(session(file)(words), want, 9)


class Whole(nn.Module):
    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__()
        self.layer, self.options = layer, options

    def forward(self, x: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Any:
        return self.layer(x, lengths=lengths, resets=resets, **self.options)


def ragged(steps: int, batch: int, *, resets: bool) -> tuple[Any, ...]:
    lengths = torch.tensor([steps, 2, 1][:batch])
    begins = torch.rand(steps, batch) < 0.3 if resets else None
    return torch.randn(steps, batch, I), lengths, begins


CELLS: dict[str, tuple[Callable[[], Any], bool, Counter[str]]] = {
    "gru with lengths": (lambda: grus.GRU(I, H, bidirectional=True), False, Counter(GRU=1)),
    "another gru": (lambda: grus.GRU(I, H, cell="gru_reset_before_admit"), False, Counter(GRU=1)),
    "resets": (lambda: grus.LSTM(I, H), True, Counter(Scan=1)),
    "own": (lambda: grus.Recurrent(Mgu, I, H), False, Counter(Scan=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_lengths_resets_and_own_cells_are_written_too(name: str, tmp_path: Path) -> None:
    make, resets, expected = CELLS[name]
    torch.manual_seed(0)
    whole = Whole(make(), **({"reset_to": "h0"} if resets else {})).eval()
    file = tmp_path / "model.onnx"
    shapes = (TIME_BATCH, {0: "batch"}, TIME_BATCH if resets else None)
    example = ragged(9, 2, resets=resets)
    torch.onnx.export(whole, example, file, dynamic_shapes=shapes, verbose=False)
    found = operators(file)
    assert Counter({k: found[k] for k in ("GRU", "LSTM", "Scan") if found[k]}) == expected
    assert found["Tanh"] <= 2 * found["Scan"]  # never step by step
    run = session(file)
    for size in SIZES:
        given = ragged(*size, resets=resets)
        close(run(*given), whole(*given), size[0])


class Beside(nn.Module):
    """A layer whose further inputs come by their places."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        sizes = {n.name: 2 for n, a in cell.shapes.inputs.items() if a.startswith("step.")}
        self.layer = grus.Recurrent(cell, I, H, further_sizes=sizes)

    def forward(self, x: Any, *further: Any) -> Any:
        names = [node.name for node in self.layer.cell.further]
        return self.layer(x, **dict(zip(names, further, strict=True)))[0]


@pytest.mark.parametrize("name", FURTHER_CELLS)
def test_further_inputs_are_a_scans_too(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Beside(FURTHER_CELLS[name]).eval()
    size = columns(model.layer.cell, model.layer._axes(0))
    given = [
        torch.rand(5, 2, size[n][1]) for n in ("x", *[i.name for i in model.layer.cell.further])
    ]
    torch.onnx.export(model, tuple(given), tmp_path / "m.onnx", dynamo=True, verbose=False)
    assert operators(tmp_path / "m.onnx")["Scan"] == 1
    close(session(tmp_path / "m.onnx")(*given), [model(*given)], 5)


def test_a_layer_that_draws_masks_is_exported_in_evaluation_only(tmp_path: Path) -> None:
    layer = grus.GRU(I, H, zoneout=0.5)
    with pytest.raises(Exception, match="eval") as caught:
        torch.onnx.export(layer, (torch.randn(9, 2, I),), tmp_path / "m.onnx", verbose=False)
    assert "call eval() before" in str(caught.getrepr(style="value"))


def test_a_step_of_a_cell_is_written_too(tmp_path: Path) -> None:
    cell, file = grus.LSTMCell(I, H).eval(), tmp_path / "cell.onnx"
    theirs = nn.LSTMCell(I, H)
    theirs.load_state_dict(cell.state_dict())
    torch.onnx.export(cell, (torch.randn(2, I),), file, dynamic_shapes=({0: "b"},), verbose=False)
    older = exported_before(cell, (torch.randn(2, I),), tmp_path / "before.onnx", {0: "b"})
    for run in (session(file), older):
        x = torch.randn(5, I)
        close(run(x), theirs(x), 1)


# The exporter before, which stands on torch.jit.trace.


def exported_before(
    model: Any, given: tuple[Any, ...], file: Path, free: dict[int, str] = TIME_BATCH
) -> Callable[..., list[Any]]:
    axes = {name: free if t.dim() > 1 else {0: "batch"} for name, t in zip("xn", given)}  # noqa: B905
    names = list(axes)
    torch.onnx.export(model, given, file, dynamo=False, input_names=names, dynamic_axes=axes)
    return session(file)


@every
def test_the_older_exporter_writes_torchs_nodes(kind: str, tmp_path: Path) -> None:
    theirs, ours = pair(kind)
    example = (torch.randn(*SIZES[0], I),)
    exported_before(theirs, example, tmp_path / "theirs.onnx")
    run = exported_before(ours, example, tmp_path / "ours.onnx")
    assert operators(tmp_path / "ours.onnx") == operators(tmp_path / "theirs.onnx")
    for steps, batch in SIZES:
        x = torch.randn(steps, batch, I)
        close(run(x), theirs(x), steps)


class Packed(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        y, state = self.layer(pack_padded_sequence(x, lengths))
        return pad_packed_sequence(y)[0], state


@every
def test_the_older_exporter_has_the_lengths_of_packed_sequences(kind: str, tmp_path: Path) -> None:
    theirs, ours = map(Packed, pair(kind))
    run = exported_before(ours, (torch.randn(9, 3, I), torch.tensor([9, 5, 2])), tmp_path / "o")
    assert operators(tmp_path / "o")[kind] == theirs.layer.num_layers
    for lengths in ([9, 5, 2], [7, 7, 1], [4, 3]):
        given = (torch.randn(lengths[0], len(lengths), I), torch.tensor(lengths))
        close(run(*given), theirs(*given), lengths[0])


def test_the_older_exporter_says_what_it_has_no_operator_for(tmp_path: Path) -> None:
    for model, given in (
        (grus.Recurrent(Mgu, I, H), (torch.randn(9, 2, I),)),
        (Whole(grus.GRU(I, H)), (*ragged(9, 2, resets=False)[:2], None)),
    ):
        with pytest.raises(grus.InputError, match="export with dynamo=True"):
            torch.onnx.export(model, given, tmp_path / "m.onnx", dynamo=False)
