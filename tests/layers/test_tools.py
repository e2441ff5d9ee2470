"""What torch's tools do with ``nn.GRU`` and its kind they do with our layers: one table.

Each tool runs with torch's module and with ours and returns numbers, which agree to rounding. What
records a layer (trace, script, fx) is in `test_recorders`, ``torch.onnx`` in the tests of peers.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import shared_training  # noqa: E402
from torch import Tensor, distributed, multiprocessing, nn  # noqa: E402
from torch.autograd import graph  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402
from torch.package import PackageExporter, PackageImporter  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import grus  # noqa: E402
from torch_version import since  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    # What the tools say of themselves, whatever module they are given.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module"),  # returned a view, as torch's LSTM
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.filterwarnings("ignore:Anomaly Detection"),
    pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm"),
    pytest.mark.filterwarnings("ignore:.torch.nn.utils.spectral_norm"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]
I, H, T, B = 3, 4, 6, 3  # noqa: E741
MODULES: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(I, H, 2, bidirectional=True),
    "lstm": lambda: nn.LSTM(I, H, batch_first=True),
    "rnn": lambda: nn.RNN(I, H),
    "gru cell": lambda: nn.GRUCell(I, H),
    "lstm cell": lambda: nn.LSTMCell(I, H),
}
HH = {"gru cell": "weight_hh", "lstm cell": "weight_hh"}


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = MODULES[kind]()
    return theirs, grus.accelerate(copy.deepcopy(theirs), say=None)


def data(kind: str, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(B, I) if "cell" in kind else torch.randn(T, B, I)


def trained(call: Callable[[Tensor], Any], module: nn.Module, x: Tensor) -> list[Tensor]:
    """Results, then the gradients of the module's parameters."""
    results = tree_leaves(call(x))
    loss = sum((r * (k + 1)).sin().sum() for k, r in enumerate(results))
    weights = [p for p in module.parameters() if p.requires_grad]
    return [*results, *torch.autograd.grad(loss, weights)]


def near(found: list[Any], want: list[Any]) -> None:
    """Two ways in float32: the sums of T * B rows of a gradient, each a dozen operations and sums
    of H + I products behind it, numbers of about 1; two layers and directions double that."""
    assert len(found) == len(want)
    for one, other in zip(found, want, strict=True):
        bound = 4 * T * B * (H + I + 12) * 2.0**-24
        torch.testing.assert_close(one, other, rtol=0, atol=bound)


Tool = Callable[[str, nn.Module], list[Any]]
TOOLS: dict[str, Tool] = {}


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def tool(function: Tool) -> Tool:
    TOOLS[function.__name__] = function
    return function


@tool
def plain(kind: str, module: nn.Module) -> list[Any]:
    return trained(module, module, data(kind))


@tool
def pruned(kind: str, module: nn.Module) -> list[Any]:
    prune.random_unstructured(module, HH.get(kind, "weight_hh_l0"), 0.5)
    return trained(module, module, data(kind))


@tool
def pruned_for_good(kind: str, module: nn.Module) -> list[Any]:
    name = HH.get(kind, "weight_hh_l0")
    prune.remove(prune.l1_unstructured(module, name, 0.5), name)
    return trained(module, module, data(kind))


@tool
def weight_norm(kind: str, module: nn.Module) -> list[Any]:
    parametrizations.weight_norm(module, HH.get(kind, "weight_hh_l0"))
    return trained(module, module, data(kind))


@tool
def older_weight_norm(kind: str, module: nn.Module) -> list[Any]:
    nn.utils.weight_norm(module, HH.get(kind, "weight_hh_l0"))
    return trained(module, module, data(kind))


@tool
def spectral_norm(kind: str, module: nn.Module) -> list[Any]:
    torch.manual_seed(3)
    parametrizations.spectral_norm(module, HH.get(kind, "weight_hh_l0"))
    module.eval()  # each look at the weight moves it in training, and torch's modules look twice
    return trained(module, module, data(kind))


@tool
def older_spectral_norm(kind: str, module: nn.Module) -> list[Any]:
    torch.manual_seed(3)
    nn.utils.spectral_norm(module, HH.get(kind, "weight_hh_l0"))
    return trained(module, module, data(kind))


@tool
def checkpointed(kind: str, module: nn.Module) -> list[Any]:
    found = trained(lambda x: checkpoint(module, x, use_reentrant=False), module, data(kind))
    x = data(kind).requires_grad_()
    y = tree_leaves(checkpoint(module, x, use_reentrant=True))[0]
    y.sum().backward()
    return [*found, x.grad, *(p.grad for p in module.parameters())]


@tool
def saved_tensors_packed(kind: str, module: nn.Module) -> list[Any]:
    def call(x: Tensor) -> Any:
        with graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
            return module(x)

    def plain_copies(x: Tensor) -> Any:
        with graph.save_on_cpu():
            return module(x)

    x = data(kind)
    return [*trained(plain_copies, module, x), *trained(_hooked(module), module, x)]


def _hooked(module: nn.Module) -> Callable[[Tensor], Any]:
    def call(x: Tensor) -> Any:
        with graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
            return module(x)

    return call


@tool
def functional(kind: str, module: nn.Module) -> list[Any]:
    torch.manual_seed(4)
    weights = {n: torch.randn_like(p, requires_grad=True) for n, p in module.named_parameters()}
    results = tree_leaves(functional_call(module, weights, (data(kind),)))
    return [*results, *torch.autograd.grad(sum(r.sum() for r in results), list(weights.values()))]


@tool
def averaged(kind: str, module: nn.Module) -> list[Any]:
    model = torch.optim.swa_utils.AveragedModel(module)
    for _ in range(2):
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(0.5)
        model.update_parameters(module)
    return tree_leaves(model(data(kind)))


@tool
def copied(kind: str, module: nn.Module) -> list[Any]:
    file, again = io.BytesIO(), copy.deepcopy(module)
    torch.save(module, file)
    file.seek(0)
    every = [again, pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)]
    return [t for one in every for t in trained(one, one, data(kind))]


@tool
def packaged(kind: str, module: nn.Module) -> list[Any]:
    file = io.BytesIO()
    with PackageExporter(file) as package:
        package.save_pickle("model", "model.pkl", {"layer": module, "kind": type(module)})
    file.seek(0)
    again = PackageImporter(file).load_pickle("model", "model.pkl")["layer"]
    return trained(again, again, data(kind))


@tool
def data_parallel(kind: str, module: nn.Module) -> list[Any]:
    return trained(nn.DataParallel(module), module, data(kind))


@tool
def anomaly_mode(kind: str, module: nn.Module) -> list[Any]:
    with torch.autograd.detect_anomaly():
        return trained(module, module, data(kind))


@tool
def inference(kind: str, module: nn.Module) -> list[Any]:
    with torch.inference_mode():
        return [t.clone() for t in tree_leaves(module(data(kind)))]


@tool
def assigned_from_meta(kind: str, module: nn.Module) -> list[Any]:
    with torch.device("meta"):
        empty = copy.deepcopy(module).to("meta")
    empty.load_state_dict(module.state_dict(), assign=True)
    return trained(empty, empty, data(kind))


@tool
def shared_memory(kind: str, module: nn.Module) -> list[Any]:
    module.share_memory()
    assert all(p.is_shared() for p in module.parameters())
    return trained(module, module, data(kind))


@tool
def hooks(kind: str, module: nn.Module) -> list[Any]:
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda m, given: (given[0] * 2,))
    module.register_full_backward_hook(lambda m, dx, dy: seen.extend(filter(is_tensor, dx)))
    x = data(kind).requires_grad_()
    return [*trained(module, module, x), *seen]


@tool
def optimised(kind: str, module: nn.Module) -> list[Any]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for step in range(2):
        optimizer.zero_grad()
        tree_leaves(module(data(kind, step)))[0].square().sum().backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return list(module.parameters())


@tool
def scaled_gradients(kind: str, module: nn.Module) -> list[Any]:
    scaler, optimizer = torch.amp.GradScaler("cpu"), torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(3):
        x = data(kind, step) if step != 1 else data(kind, step) * float("nan")  # a step left out
        optimizer.zero_grad()
        scaler.scale(tree_leaves(module(x))[0].square().mean()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    return [*module.parameters(), torch.tensor(scaler.get_scale() / 2.0**15 - 1)]


@tool
def distributed_data_parallel(kind: str, module: nn.Module) -> list[Any]:
    model = nn.parallel.DistributedDataParallel(module)
    tree_leaves(model(data(kind)))[0].sum().backward()
    return [p.grad for p in module.parameters()]


@tool
def fully_sharded(kind: str, module: nn.Module) -> list[Any]:
    fully_shard(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        results = tree_leaves(module(data(kind, step)))
        results[0].sum().backward()
        optimizer.step()
    return [*results, *(p.full_tensor() for p in module.parameters())]


@pytest.fixture
def one_process(request: pytest.FixtureRequest) -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


NEWER = {"fully_sharded": since("2.7", "before it fully_shard needs a GPU")}


# torch's own results are the reference, so what torch cannot do is not listed here; of these it
# can do, with every module of the table, all.
@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=NEWER[t]) if t in NEWER else t for t in TOOLS]
)
@pytest.mark.parametrize("kind", MODULES)
def test_a_tool_does_with_our_module_what_it_does_with_torchs(
    name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    if name in ("distributed_data_parallel", "fully_sharded"):
        request.getfixturevalue("one_process")
    theirs, ours = pair(kind)
    torch.manual_seed(2)
    want = TOOLS[name](kind, theirs)
    torch.manual_seed(2)
    near(TOOLS[name](kind, ours), want)


@pytest.mark.parametrize("kind", ["lstm"])
def test_a_model_trains_in_a_compiled_step_and_exports_with_free_axes(kind: str) -> None:
    theirs, ours = pair(kind)
    results = []
    for module in (theirs, ours):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        run: Any = module
        if module is ours:
            run = torch.compile(module, backend="aot_eager", dynamic=True)
        for step in range(2):
            optimizer.zero_grad()
            run(data(kind, step))[0].square().sum().backward()
            optimizer.step()
        results.append(list(module.parameters()))
    near(results[1], results[0])
    dim = torch.export.Dim
    shapes = {"input": {0: dim("first"), 1: dim("second")}}
    program = torch.export.export(ours, (data(kind),), dynamic_shapes=shapes).module()
    for x in (torch.randn(2, 5, I), torch.randn(11, 2, I)):
        near(tree_leaves(program(x)), tree_leaves(theirs(x)))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_trains_a_model_in_shared_memory(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    modules = pair("gru")
    before = [p.detach().clone() for p in modules[0].parameters()]
    for module in modules:
        module.share_memory()
    worker = multiprocessing.get_context(method).Process(
        target=shared_training.train, args=(modules,)
    )
    worker.start()
    worker.join(120)
    worker.kill()
    assert worker.exitcode == 0
    theirs, ours = ([*module.parameters()] for module in modules)
    assert not any(torch.equal(one, other) for one, other in zip(theirs, before, strict=True))
    near(ours, theirs)
    near(list(modules[1](data("", 3))), list(modules[0](data("", 3))))
