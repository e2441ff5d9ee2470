"""Only plain tensors in the CPU's memory reach a kernel: everything else that torch calls a tensor,
as input, state or parameter, ends as with torch's layers or in a sentence, never in a signal.

Each kind runs in a process of its own, forked from one that has torch, so that a signal fails its
test alone.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

from torch_version import since

pytestmark = pytest.mark.torch

TENSORS = """
import itertools, os, sys, warnings
warnings.simplefilter("ignore")
import torch, grus
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch.testing._internal.two_tensor import TwoTensor

torch.manual_seed(0)
torch.set_num_threads(1)
T, B, I, H = 5, 2, 3, 4

class Quiet(Tensor):
    pass

class Units(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return super().__torch_function__(function, types, args, kwargs)

class Empty(Tensor):
    "A tensor without memory that answers everything by the one that it holds."
    @staticmethod
    def __new__(cls, held):
        return Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, requires_grad=held.requires_grad
        )
    def __init__(self, held):
        self.held = held
    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        out = function(*tree_map(bare, args), **tree_map(bare, kwargs or {}))
        return tree_map(lambda t: cls(t) if isinstance(t, Tensor) else t, out)

def bare(t):
    while isinstance(t, (Empty, TwoTensor)):
        t = t.held if isinstance(t, Empty) else t.a
    if type(t).__name__ == "DTensor":
        t = t.to_local()
    if isinstance(t, FunctionalTensor):
        t = t.elem
    if isinstance(t, Tensor) and torch._is_functional_tensor(t):
        t = torch._from_functional_tensor(t)
    return t

def functional(t):
    with FunctionalTensorMode():
        return FunctionalTensor.to_functional(t)

def mesh():
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
    import torch.distributed as dist
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    from torch.distributed.device_mesh import init_device_mesh
    return init_device_mesh("cpu", (1,))

def distributed(t, seen=[]):
    from torch.distributed.tensor import distribute_tensor
    seen.append(seen[0] if seen else mesh())
    return distribute_tensor(t, seen[0])

def freed(t):
    t = t.clone()
    t.untyped_storage().resize_(0)
    return t

def short(t):
    t = t.clone()
    t.untyped_storage().resize_(4)
    return t

def freed_view(t):
    whole = torch.cat([t, t])
    view = whole[len(t):]
    whole.untyped_storage().resize_(0)
    return view

fakes = FakeTensorMode(allow_non_fake_inputs=True)
KINDS = {
    "a subclass": lambda t: t.clone().as_subclass(Quiet),
    "with a function": lambda t: t.clone().as_subclass(Units),
    "a wrapper": lambda t: Empty(t.clone()),
    "two": lambda t: TwoTensor(t.clone(), t.clone()),
    "distributed": distributed,
    "functional": lambda t: torch._to_functional_tensor(t.clone()),
    "functional class": functional,
    "fake": lambda t: fakes.from_tensor(t),
    "meta": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
    "mkldnn": lambda t: t.detach().to_mkldnn(),
    "quantized": lambda t: torch.quantize_per_tensor(t.detach(), 0.1, 0, torch.qint8),
    "nested": lambda t: torch.nested.nested_tensor([t[0], t[-1]]),
    "jagged": lambda t: torch.nested.nested_tensor([t, t] if t.dim() < 2 else [t[0], t[-1]],
        layout=torch.jagged),
    "negated": lambda t: torch.complex(t.detach(), -t.detach()).conj().imag,
    "conjugated": lambda t: torch.complex(t.detach(), t.detach()).conj(),
    "zeros without memory": lambda t: torch._efficientzerotensor(t.shape),
    "expanded": lambda t: t[:1].expand(t.shape) if t.dim() else t,
    "freed": freed,
    "freed view": freed_view,
    "short": short,
    "empty": lambda t: t.new_empty((0, *t.shape[1:])),
}
"""
EVERY = ["x", "state", "parameters", "all"]

CASES = """
def result(layer, x, hx):
    try:
        out = tree_leaves(layer(x, hx))
        return [(type(t), tuple(t.shape), t.dtype) for t in out], [bare(t) for t in out]
    except Exception as error:
        return error, ()

def filled(layer, make):
    for name, p in list(layer.named_parameters()):
        layer._parameters[name] = make(p.detach())
    if isinstance(layer, nn.RNNBase):
        layer._flat_weights = [layer._parameters[n] for n in layer._flat_weights_names]
    return layer

LAYERS = [
    (nn.GRU, grus.GRU, {}),
    (nn.RNN, grus.RNN, {"num_layers": 2, "bidirectional": True}),
    (nn.GRUCell, grus.GRUCell, {}),
]
# Of those torch's own layers die, or end in an error that says nothing.
NOT_TORCHS = ("freed", "freed view", "short", "functional", "empty", "jagged", "nested")
SAME = ("negated", "zeros without memory", "expanded", "two", "a wrapper", "distributed")
ADDRESSLESS = ("two", "a wrapper", "distributed", "meta", "with a function")

def case(kind, place):
    make = KINDS[kind]
    for (theirs, ours, options), grad in itertools.product(LAYERS, [True, False]):
        name = f"{ours.__name__} {grad=}"
        torch.set_grad_enabled(grad)
        lead, rows = ((), ()) if theirs is nn.GRUCell else ((T,), (4 if options else 1,))
        x, hx = torch.randn(*lead, B, I), torch.randn(*rows, B, H)
        one, plain = theirs(I, H, **options), ours(I, H, **options)
        plain.load_state_dict(one.state_dict())
        two, asked = ours(I, H, **options), ours(I, H, **options, backend="kernels")
        two.load_state_dict(one.state_dict())
        given = [
            make(t) if place in (where, "all") else t for where, t in (("x", x), ("state", hx))
        ]
        if place in ("parameters", "all"):
            one, two, asked = (filled(layer, make) for layer in (one, two, asked))
        found, values = result(two, *given)
        refused = result(asked, *given)[0]
        if kind in ADDRESSLESS:
            assert isinstance(refused, grus.errors.InputError), (name, repr(refused))
        if kind in ("freed", "freed view", "short"):
            assert isinstance(found, (ValueError, RuntimeError)), (name, repr(found))
            assert "storage" in str(found), (name, repr(found))
        if kind in NOT_TORCHS:
            continue
        want = result(one, *given)[0]
        if isinstance(want, Exception):
            continue  # what torch refuses may run here, or end in an error too
        assert not isinstance(found, Exception), (name, repr(found))
        assert [f[1:] for f in found] == [w[1:] for w in want], (name, found, want)
        if kind in SAME:
            # A wrapper's results are wrappers; torch's loses them in some calls.
            plainly = [bare(t) if isinstance(t, Tensor) else t for t in given]
            if place in ("parameters", "all"):
                filled(plain, lambda p: bare(make(p)))
            right = result(plain, *plainly)[1]
            for a, b in zip(values, right, strict=True):
                assert (a - b).abs().max() <= 1e-6, name

for _, ours, options in LAYERS:  # compiled once, before the processes part
    for grad in (True, False):
        torch.set_grad_enabled(grad)
        lead = () if ours is grus.GRUCell else (T,)
        ours(I, H, **options)(torch.randn(*lead, B, I))
for kind in KINDS:
    for place in ("x", "state", "parameters", "all"):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            try:
                case(kind, place)
            except BaseException as error:
                print(kind, place, "failed:", type(error).__name__, str(error)[:400], flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"{kind}|{place}|{status}")
"""
KINDS = [
    line.split('"')[1]
    for line in TENSORS[TENSORS.index("KINDS = {") :].splitlines()
    if line.startswith('    "')
]


@pytest.fixture(scope="module")
def ended() -> tuple[dict[str, str], str]:
    """How the process of each kind and place ended, and what all of them said."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TENSORS + CASES],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout
    lines = [line.rpartition("|") for line in said.splitlines() if line.count("|") == 2]
    return {where: status for where, _, status in lines}, said


UNSPLIT = since("2.13", "torch 2.9 does not unbind a distributed tensor")
KINDS_AND_PLACES = [
    pytest.param(kind, place, marks=UNSPLIT)
    if kind == "distributed" and place in ("state", "all")
    else (kind, place)
    for kind in KINDS
    for place in EVERY
]


@pytest.mark.parametrize(("kind", "place"), KINDS_AND_PLACES)
def test_every_kind_of_tensor(kind: str, place: str, ended: tuple[dict[str, str], str]) -> None:
    status, said = ended
    about = [line for line in said.splitlines() if line.startswith(f"{kind} {place} ")]
    assert status[f"{kind}|{place}"] == "0", about
