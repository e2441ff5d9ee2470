"""What a layer returned, taken apart: the last layer's state, the two directions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grus.errors import InputError, expect
from grus.layers.states import State, layer_of, tensors


def last_state(layer: nn.Module, state: State) -> State:
    """The last layer's final state, [batch, size]; with two directions side by side, forward first.

    ``state`` is what ``layer`` (torch's or grus') returned, [layers * directions, batch, size];
    a tuple gives a tuple. This is each row's summary: forward at its last valid step, backward at
    its first one, which ``output[-1]`` is not.
    """
    layer_of("last_state", layer)
    tensors("the state", state)
    if not isinstance(state, Tensor):
        return tuple(_last(layer, each) for each in state)
    return _last(layer, state)


def _last(layer: nn.Module, state: Tensor) -> Tensor:
    if not layer.bidirectional:
        return state[-1]
    return state[-2:].movedim(0, -2).flatten(-2)


Result = tuple[Any, State]


def split_directions(layer: nn.Module, result: Result) -> tuple[Result, Result]:
    """``(output, state)`` of a bidirectional ``layer``, torch's or grus', for each direction.

    ``(y, h), (y_back, h_back) = split_directions(gru, gru(x))``: outputs [time, batch, size]
    (packed stays packed), states [layers, batch, size], all in time order. The backward state
    is ``y_back``'s first step, not its last. Raises InputError for a layer of one direction.
    """
    layer_of("split_directions", layer)
    if not layer.bidirectional:
        raise InputError("split_directions needs a bidirectional layer, this one has one direction")
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError("split_directions takes the (output, state) that the layer returned")
    output, state = result
    expect("the output must be a tensor or packed", output, (Tensor, PackedSequence))
    tensors("the state", state)
    sides = [(_output(output, k), _state(state, k)) for k in range(2)]
    return sides[0], sides[1]


def _output(output: Any, side: int) -> Any:
    if isinstance(output, PackedSequence):
        return output._replace(data=_output(output.data, side))
    return output.unflatten(-1, (2, -1)).select(-2, side)


def _state(state: State, side: int) -> State:
    if isinstance(state, Tensor):
        return state[side::2]
    return tuple(each[side::2] for each in state)
