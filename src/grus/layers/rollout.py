"""Episodes inside a sequence: other libraries' names for resets, and the proof that they match."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from grus.errors import InputError, expect
from grus.layers.states import State

Step = Callable[[Tensor, Any, Tensor], tuple[Tensor, Any]]
Whole = Callable[[Tensor, Any, Tensor], tuple[Tensor, Any]]


def resets_from_episode_starts(episode_starts: Tensor) -> Tensor:
    """[time, batch], 1 or True where x[t] is the first of an episode: exactly ``resets``.

    stable-baselines3's ``episode_starts``, TorchRL's ``is_init``, dm_env's ``first()``, cleanrl's
    ``dones`` (which it stores one step late, so that dones[t] speaks of x[t]).
    """
    expect("episode_starts must be a tensor [time, batch]", episode_starts, Tensor)
    return episode_starts != 0


def resets_from_dones(dones: Tensor, before: Tensor) -> Tensor:
    """From what ``env.step`` returned: resets[t] = dones[t - 1], resets[0] = ``before``.

    dones [time, batch]: the action taken at step t ended the episode, so x[t + 1] begins one.
    ``before`` [batch] says whether x[0] begins one: all True at the very start, later the last
    row of the chunk before. (gymnasium's ``terminated | truncated``, rsl_rl's ``dones``.)
    """
    expect("dones must be a tensor [time, batch]", dones, Tensor)
    expect("before must be a tensor [batch]", before, Tensor)
    if dones.dim() < 1 or before.shape != dones.shape[1:]:
        raise InputError(
            f"dones must be [time, batch] and before [batch], got {tuple(dones.shape)} and"
            f" {tuple(before.shape)}"
        )
    return torch.cat([(before != 0).unsqueeze(0), dones[:-1] != 0])


def resets_from_masks(masks: Tensor) -> Tensor:
    """[time, batch], 0 where x[t] is the first of an episode and 1 elsewhere: ``masks == 0``.

    The masks that a state is multiplied with before x[t] is read (ikostrikov's ``masks``).
    """
    expect("masks must be a tensor [time, batch]", masks, Tensor)
    return masks == 0


def check_rollout(
    step: Step,
    sequence: Whole,
    x: Tensor,
    state: State | None = None,
    *,
    resets: Tensor | None = None,
    tolerance: float | None = None,
) -> None:
    """Prove that acting equals training: ``step`` one at a time gives what ``sequence`` gives.

    ``step(x[t], state, resets[t])`` -> (output [batch, ...], state) is how the agent acts,
    ``sequence(x, state, resets)`` -> (output [time, batch, ...], state) how it trains; both begin
    with ``state``. ``x`` is [time, batch, ...] with at least 3 steps. Without ``resets`` (bool
    [time, batch]) they are tried at no step, the first, a middle one, the last, two in a row and
    at another step in each row. ``tolerance`` bounds the difference relative to the largest
    output, by default half of the dtype's digits: far above rounding, far below a wrong reset.

    Raises InputError naming the resets, the step and the row that differ first, and whether
    training resets a step early or late.
    """
    for name, run in (("step", step), ("sequence", sequence)):
        expect(f"{name} must be a function", run, Callable)
    expect("x must be a tensor [time, batch, ...]", x, Tensor)
    if x.dim() < 2 or x.shape[0] < 3:
        raise InputError(f"x must be [time, batch, ...] of 3 steps or more, got {tuple(x.shape)}")
    limit = torch.finfo(x.dtype).eps ** 0.5 if tolerance is None else tolerance
    tried = [("given", resets)] if resets is not None else _patterns(x)
    for name, each in tried:
        with torch.no_grad():
            acted, last = _act(step, x, state, each)
            trained, final = sequence(x, state, each)
        place = _differ(acted, trained, limit)
        if place is not None:
            raise InputError(
                f"resets at {name}: step and sequence differ first at step {place[0]}, row"
                f" {place[1]}{_diagnosis(step, sequence, x, state, limit)}"
            )
        for acted_state, trained_state in zip(_flat(last), _flat(final), strict=True):
            if _differ(acted_state.unsqueeze(0), trained_state.unsqueeze(0), limit) is not None:
                raise InputError(f"resets at {name}: outputs agree, the final states differ")


def _patterns(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    time, batch = x.shape[:2]
    places: dict[str, list[int]] = {
        "no step": [],
        "the first step": [0],
        "a middle step": [time // 2],
        "the last step": [time - 1],
        "two steps in a row": [time // 2, time // 2 + 1],
    }
    for name, steps in places.items():
        resets = torch.zeros(time, batch, dtype=torch.bool, device=x.device)
        resets[steps] = True
        yield name, resets
    resets = torch.zeros(time, batch, dtype=torch.bool, device=x.device)
    rows = torch.arange(batch, device=x.device)
    resets[rows % time, rows] = True
    yield "another step in each row", resets


def _act(step: Step, x: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
    outputs = []
    for now, fresh in zip(x, resets, strict=True):
        y, state = step(now, state, fresh)
        outputs.append(y)
    return torch.stack(outputs), state


def _flat(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [] if state is None else [t for each in state for t in _flat(each)]


def _differ(left: Tensor, right: Tensor, limit: float) -> tuple[int, int] | None:
    """(step, row) of the first difference; NaN differs from everything but NaN."""
    if left.shape != right.shape:
        raise InputError(f"step gives {tuple(left.shape)}, sequence {tuple(right.shape)}")
    size = max(1.0, float(right.abs().nan_to_num().max())) if right.numel() else 1.0
    near = ((left - right).abs() <= limit * size) | (left.isnan() & right.isnan())
    wrong = (~near).flatten(2).any(-1).nonzero() if near.dim() > 2 else (~near).nonzero()
    return (int(wrong[0, 0]), int(wrong[0, 1])) if len(wrong) else None


@torch.no_grad()
def _diagnosis(step: Step, sequence: Whole, x: Tensor, state: Any, limit: float) -> str:
    """What one reset in the middle does to either of the two."""

    def at(*steps: int) -> Tensor:
        resets = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        resets[list(steps)] = True
        return resets

    def same(left: Tensor, right: Tensor) -> bool:
        return _differ(left, right, limit) is None

    middle = x.shape[0] // 2
    acted = _act(step, x, state, at(middle))[0]
    if same(acted, _act(step, x, state, at())[0]):
        return "; step does not reset"
    if same(sequence(x, state, at(middle))[0], sequence(x, state, at())[0]):
        return "; sequence does not reset"
    for at_step, word in ((middle - 1, "late"), (middle + 1, "early")):
        if same(acted, sequence(x, state, at(at_step))[0]):
            return f"; sequence resets one step {word}"
    return ""
