"""Layers inside ``torch.compile`` and ``torch.export``: one graph, one node for a whole sequence.

The operator in the graph runs the same kernels, so everything is compared bit for bit with the
layer called by itself.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, func  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import grus  # noqa: E402
from torch_version import composite_in_one_graph  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    # What torch itself does while it compiles.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]
T, B, I, H = 5, 2, 3, 4  # noqa: E741


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Any, **options: Any) -> Any:
    """One graph or an error; made of torch's own operations, for speed of these tests."""
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def data(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(shape or (T, B, I))


def trained(module: Any, call: Callable[..., Any], *given: Any, **options: Any) -> list[Tensor]:
    """Results and gradients."""
    results = tree_leaves(call(*given, **options))
    loss = sum((r * (k + 1)).sin().sum() for k, r in enumerate(results))
    return [*results, *torch.autograd.grad(loss, list(module.parameters()))]


def same(found: list[Tensor], want: list[Tensor]) -> None:
    assert len(found) == len(want)
    assert all(map(torch.equal, found, want))


LENGTHS, RESETS = torch.tensor([5, 2]), torch.tensor([[0, 1], [1, 0], [0, 0], [0, 1], [0, 0]])
MODULES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "gru": (lambda: grus.GRU(I, H), {}),
    "lstm": (lambda: grus.LSTM(I, H), {}),
    "double": (lambda: grus.GRU(I, H).double(), {}),
    "bfloat16": (lambda: grus.GRU(I, H).bfloat16(), {}),
    "both directions of two layers": (lambda: grus.GRU(I, H, 2, bidirectional=True), {}),
    "batch first": (lambda: grus.GRU(I, H, batch_first=True), {}),
    "lengths": (lambda: grus.LSTM(I, H, bidirectional=True), {"lengths": LENGTHS}),
    "resets": (lambda: grus.LSTM(I, H), {"resets": RESETS, "reset_to": "h0"}),
    "resets, batch first": (lambda: grus.GRU(I, H, batch_first=True), {"resets": RESETS.T.bool()}),
    "both": (lambda: grus.GRU(I, H), {"lengths": LENGTHS, "resets": RESETS}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_compiled_layer_trains_with_the_same_bits(name: str) -> None:
    make, options = MODULES[name]
    module = make()
    x = data(B, T, I) if getattr(module, "batch_first", False) else data()
    x = x.to(next(module.parameters()).dtype)
    assert module.path(x) == "kernels"
    same(trained(module, compiled(module), x, **options), trained(module, module, x, **options))
    with torch.no_grad():
        same(
            tree_leaves(compiled(module)(x, **options)),
            tree_leaves(module(x, **options)),
        )


def test_a_compiled_cell_and_step_have_the_same_bits() -> None:
    cell, layer = grus.GRUCell(I, H), grus.GRU(I, H, 2)
    same(trained(cell, compiled(cell), data(B, I)), trained(cell, cell, data(B, I)))
    same(trained(layer, compiled(layer.step), data(B, I)), trained(layer, layer.step, data(B, I)))


def test_inductors_code_has_the_same_bits() -> None:
    module = grus.GRU(I, H)
    whole = torch.compile(module, fullgraph=True)
    same(trained(module, whole, data()), trained(module, module, data()))


def test_one_graph_serves_all_sizes() -> None:
    module, graphs = grus.GRU(I, H), []

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    call = torch.compile(module, fullgraph=True, dynamic=True, backend=count)
    for steps, batch in ((5, 2), (7, 3), (300, 4)):
        x = data(steps, batch, I)
        assert torch.equal(call(x)[0], module(x)[0])
    assert len(graphs) == 1


def nodes(module: Any, steps: int) -> int:
    return len(torch.export.export(module, (data(steps, B, I),)).graph.nodes)


@composite_in_one_graph
def test_a_graph_does_not_grow_with_the_sequence() -> None:
    module = grus.GRU(I, H)
    assert nodes(module, 3) == nodes(module, 300)
    slow = grus.GRU(I, H, backend="composite")
    assert nodes(slow, 6) > nodes(slow, 3)  # what growing looks like


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_layer_takes_any_number_of_steps_and_rows(strict: bool) -> None:
    module, dim = grus.LSTM(I, H, 2), torch.export.Dim
    shapes = {"input": {0: dim("time"), 1: dim("batch")}}
    program = torch.export.export(module, (data(),), dynamic_shapes=shapes, strict=strict)
    for x in (data(), data(9, 7, I)):
        same(tree_leaves(program.module()(x)), tree_leaves(module(x)))


def test_an_exported_program_runs_in_another_process(tmp_path: Any) -> None:
    module = grus.GRU(I, H)
    torch.export.save(torch.export.export(module, (data(),)), tmp_path / "layer.pt2")
    torch.save({"x": data(), "y": module(data())[0].detach()}, tmp_path / "case.pt")
    code = (
        "import sys, torch, grus.layers\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "case = torch.load(sys.argv[2])\n"
        "assert torch.equal(program(case['x'])[0], case['y'])\n"
    )
    arguments = [str(tmp_path / "layer.pt2"), str(tmp_path / "case.pt")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=300)


@pytest.mark.parametrize("keep", [True, False])
def test_torchs_own_checks_of_an_operator_pass(keep: bool) -> None:
    module = grus.GRU(I, H)
    named = module.layer_tensors(0)
    tensors = [data().requires_grad_(keep), data(B, H).requires_grad_(keep), *named.values()]
    given = tensors if keep else [t.detach() for t in tensors]
    cell, names = module.record.text, " ".join(named)
    torch.library.opcheck(
        torch.ops.grus.sequence.default,
        (cell, names, keep, given, 1, None, None, "zero", False, None, False),
    )


def jvp(module: Any) -> Callable[[Tensor], Any]:
    return lambda x: func.jvp(lambda v: module(v)[0], (x,), (x.cos(),))


def per_sample(module: Any) -> Callable[[Tensor], Any]:
    return func.vmap(func.grad(lambda v: module(v)[0].square().sum()))


@composite_in_one_graph
@pytest.mark.parametrize("transform", [jvp, per_sample])
def test_a_transform_inside_a_compiled_function_takes_the_composite(transform: Any) -> None:
    module = grus.LSTM(I, H).double()
    x = data().double() if transform is jvp else torch.stack([data(), data().sin()]).double()
    found, want = compiled(transform(module))(x), transform(module)(x)
    for one, other in zip(tree_leaves(found), tree_leaves(want), strict=True):
        assert (one - other).abs().max() <= 1e-12  # float64, numbers of about 1
        assert other.abs().max() > 1e-3


def dual(call: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    with torch.no_grad(), forward_ad.dual_level():
        return forward_ad.unpack_dual(call(forward_ad.make_dual(x, x))[0]).tangent


def test_an_exported_layer_raises_in_forward_mode_where_torch_would_give_zero() -> None:
    exported = torch.export.export(grus.GRU(I, H), (data(),)).module()
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        dual(exported, data())
    with pytest.raises(RuntimeError):
        func.jvp(lambda v: exported(v)[0], (data(),), (data(),))


@composite_in_one_graph
def test_a_compiled_layer_called_in_forward_mode_is_compiled_anew_and_right() -> None:
    module = grus.GRU(I, H).double()
    call = compiled(module)
    with torch.no_grad():
        call(data().double())
    found, want = dual(call, data().double()), dual(module, data().double())
    assert (found - want).abs().max() <= 1e-12  # float64, numbers of about 1
    assert want.abs().max() > 1e-3


def test_a_compiled_layer_has_no_second_derivative_and_says_so() -> None:
    call, x = compiled(grus.GRU(I, H)), data().requires_grad_()
    (gradient,) = torch.autograd.grad(call(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.square().sum().backward()


def test_values_that_cannot_be_are_refused_when_the_graph_runs() -> None:
    call = compiled(grus.GRU(I, H))
    with pytest.raises(grus.InputError, match=r"lengths must lie in 0\.\.5"):
        call(data(), lengths=torch.tensor([6, 1]))


def test_autocast_inside_a_compiled_function_is_as_outside() -> None:
    module = grus.GRU(I, H)
    call = compiled(module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, want = call(data().bfloat16())[0], module(data().bfloat16())[0]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, want)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.9 reading
def test_a_program_keeps_its_state_dict_and_its_cell() -> None:
    module, file = grus.GRU(I, H, cell="gru_reset_before"), io.BytesIO()
    torch.export.save(torch.export.export(module, (data(),)), file)
    file.seek(0)
    program = torch.export.load(file)
    assert program.state_dict.keys() == module.state_dict().keys()
    same(tree_leaves(program.module()(data())), tree_leaves(module(data())))


# Tracing without a compiler.


def gradient(module: Any) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(module(x, lengths=LENGTHS)[0].square().sum(), x)[0]

    return run


TRACED: dict[str, Callable[[Any], Callable[[Tensor], Any]]] = {
    "values": lambda m: lambda x: m(x, resets=RESETS)[0].detach(),
    "gradient": gradient,
    "func.grad": lambda m: func.grad(lambda v: m(v)[0].square().sum()),
    "jvp": jvp,
}


@pytest.mark.parametrize("name", TRACED)
def test_a_trace_computes_and_holds_no_numbers_of_the_input_it_was_made_with(name: str) -> None:
    module = grus.LSTM(I, H).double().requires_grad_(False)
    run = TRACED[name](module)
    graph = make_fx(run)(data().double())
    other = data().double().cos()
    for one, want in zip(tree_leaves(graph(other)), tree_leaves(run(other)), strict=True):
        assert (one - want).abs().max() <= 1e-12  # float64, numbers of about 1


def test_a_gradient_alone_can_be_traced() -> None:
    module = grus.GRU(I, H).double()
    x = data().double().requires_grad_()
    y, _ = module(x)

    def pull(dy: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, dy, retain_graph=True)[0]

    graph = make_fx(pull)(torch.ones_like(y))
    other = y.detach().sin()
    assert (graph(other) - pull(other)).abs().max() <= 1e-12


# What torch's own constant folding says of its own graph.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_a_linearised_layer_is_its_tangent() -> None:
    module, x = grus.GRU(I, H).double().requires_grad_(False), data().double()
    value, push = func.linearize(lambda v: module(v)[0], x)
    assert (value - module(x)[0]).abs().max() <= 1e-12
    want = func.jvp(lambda v: module(v)[0], (x,), (x.cos(),))[1]
    assert (push(x.cos()) - want).abs().max() <= 1e-12


def test_fake_tensors_have_shapes_only() -> None:
    with FakeTensorMode():
        module = grus.LSTM(I, H, 2, bidirectional=True)
        y, (h, c) = module(torch.empty(T, B, I))
        y.sum().backward()
        assert (y.shape, h.shape, c.shape) == ((T, B, 2 * H), (4, B, H), (4, B, H))
        assert all(p.grad is not None and p.grad.shape == p.shape for p in module.parameters())


class Count(TorchDispatchMode):
    """What runs while it is on."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen = [*getattr(self, "seen", []), str(operation)]
        return operation(*args, **(kwargs or {}))


def test_a_dispatch_mode_sees_the_sequence_as_one_operator() -> None:
    module = grus.GRU(I, H)
    want = trained(module, module, data())
    with Count() as mode:
        found = trained(module, module, data())
    same(found, want)
    assert mode.seen.count("grus.sequence.default") == 1
    assert mode.seen.count("grus.sequence_backward.default") == 1
