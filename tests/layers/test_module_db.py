"""torch's own inputs for its recurrent modules, run through our classes beside torch's.

Same outputs, gradients, errors and printed forms, packed sequences included. No entry is excepted.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's module_db needs expecttest")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import PackedSequence  # noqa: E402

import grus  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    common = pytest.importorskip("torch.testing._internal.common_modules")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections")]
NAMES = ("GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell")
ENTRIES = {
    info.module_cls.__name__: info
    for info in common.module_db
    if info.module_cls.__module__ == "torch.nn.modules.rnn"
}

every = pytest.mark.parametrize("name", NAMES)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def inputs(name: str, dtype: Any, training: bool) -> Iterator[Any]:
    info = ENTRIES[name]
    torch.manual_seed(0)
    options = {} if name.endswith("Cell") or name == "LSTM" else {"with_packed_sequence": True}
    yield from info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training, **options
    )


def modules(name: str, given: Any, dtype: Any) -> list[nn.Module]:
    """torch's and ours, from one seed."""
    found = []
    for place in (nn, grus):
        torch.manual_seed(3)
        arguments = given.constructor_input
        found.append(getattr(place, name)(*arguments.args, **arguments.kwargs).to(dtype))
    return found


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, in order; a packed sequence's data."""
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, Tensor):
        return [value]
    return [t for each in value for t in tensors(each)] if isinstance(value, tuple) else []


def outcome(module: nn.Module, given: Any) -> list[Tensor]:
    """Results and the gradients of a random linear loss by the inputs and the parameters."""
    torch.manual_seed(5)
    results = tensors(module(*given.args, **given.kwargs))
    loss = torch.stack([(r * torch.randn_like(r)).sum() for r in results]).sum()
    leaves = [t for t in tensors(given.args) if t.requires_grad]
    assert leaves
    return [r.detach() for r in results] + list(
        torch.autograd.grad(loss, [*leaves, *module.parameters()])
    )


@both
@every
def test_outputs_and_gradients_are_torchs_on_torchs_own_inputs(name: str, dtype: Any) -> None:
    count = 0
    for training in (True, False):
        for given in inputs(name, dtype, training):
            theirs, ours = (m.train(training) for m in modules(name, given, dtype))
            assert list(theirs.state_dict()) == list(ours.state_dict())
            assert repr(theirs).replace("bias=True, ", "") == repr(ours)
            want = outcome(theirs, given.forward_input)
            found = outcome(ours, given.forward_input)
            # At most 5 steps, 2 layers and chains of 15 terms, forward and back: 5 * 2 * 2 * 15
            # roundings of numbers of about 1 (make_tensor draws in -9..9: ten times as much).
            unit = torch.finfo(dtype).eps / 2
            for one, other in zip(found, want, strict=True):
                assert one.shape == other.shape
                assert one.dtype == other.dtype
                assert (one - other).abs().max() <= 3000 * unit * max(1.0, float(other.abs().max()))
            count += 1
    assert count >= 4


def run(name: str, made: Any, given: Any, dtype: Any) -> None:
    """Construct, and call unless torch's error comes before that."""
    module = getattr(grus, name)(*made.args, **made.kwargs)
    assert given is not None, "constructed what torch refuses to construct"
    module.to(dtype)(*given.args, **given.kwargs)


@both
@every
def test_errors_are_torchs_on_torchs_own_mistakes(name: str, dtype: Any) -> None:
    info = ENTRIES[name]
    mistakes = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=False
    )
    assert len(mistakes) >= 4
    for mistake in mistakes:
        given = mistake.module_error_input
        made = given.constructor_input
        in_forward = mistake.error_on == common.ModuleErrorEnum.FORWARD_ERROR
        with pytest.raises(mistake.error_type) as raised:
            run(name, made, given.forward_input if in_forward else None, dtype)
        assert re.search(mistake.error_regex, str(raised.value)), mistake.error_regex
        assert isinstance(raised.value, grus.InputError)


def test_every_entry_of_torchs_table_is_run() -> None:
    assert set(ENTRIES) == set(NAMES)


def test_another_function_is_seen() -> None:
    """A break: the other place of the reset gives other numbers on the same inputs."""
    given = next(iter(inputs("GRU", torch.float64, training=False)))
    theirs, _ = modules("GRU", given, torch.float64)
    options = given.constructor_input.kwargs
    ours = grus.GRU(**options, cell="gru_reset_before", dtype=torch.float64)
    with torch.no_grad():
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.copy_(other)
        want, found = theirs(given.forward_input.args[0])[0], ours(given.forward_input.args[0])[0]
    assert (want - found).abs().max() > 1e-6
