"""Names of resets elsewhere, acting against training, states carried, results taken apart."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import grus  # noqa: E402
from grus import InputError  # noqa: E402

pytestmark = pytest.mark.torch
T, B, I, H = 7, 3, 4, 5  # noqa: E741
NAN = float("nan")


def episodes() -> dict[str, Tensor]:
    """One history in every library's words: rows of episodes of 3, of 2, and of 7 steps."""
    begins = torch.zeros(T, B)
    for row, length in enumerate((3, 2, 7)):
        begins[::length, row] = 1
    ended = torch.zeros(T, B)  # what env.step returned for the action taken at step t
    ended[:-1] = begins[1:]
    return {"begins": begins, "ended": ended}


def test_every_librarys_name_means_the_same_resets() -> None:
    given = episodes()
    want = given["begins"].bool()
    assert torch.equal(grus.resets_from_episode_starts(given["begins"]), want)
    assert torch.equal(grus.resets_from_dones(given["ended"], torch.ones(B)), want)
    assert torch.equal(grus.resets_from_masks(1 - given["begins"]), want)
    later = grus.resets_from_dones(given["ended"], torch.zeros(B))
    assert not later[0].any()
    assert torch.equal(later[1:], want[1:])


def test_two_chunks_of_dones_are_the_whole() -> None:
    ended = (torch.arange(T * B).view(T, B) % 4 == 3).float()
    whole = grus.resets_from_dones(ended, torch.ones(B))
    first = grus.resets_from_dones(ended[:3], torch.ones(B))
    second = grus.resets_from_dones(ended[3:], ended[2])
    assert torch.equal(torch.cat([first, second]), whole)


class Agent(nn.Module):
    """Acts a step at a time, trains on a sequence; ``late`` moves the resets in training."""

    def __init__(self, late: int = 0, forgets: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.head = grus.GRU(I, H), nn.Linear(H, 2)
        self.late, self.forgets = late, forgets

    def step(self, x: Tensor, state: Any, fresh: Tensor) -> tuple[Tensor, Any]:
        state = grus.carry(state, fresh) if self.forgets else state
        y, state = self.gru.step(x, state)
        return self.head(y), state

    def sequence(self, x: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
        if self.late:
            resets = resets.roll(self.late, 0)
            resets[0 if self.late > 0 else -1] = False
        y, state = self.gru(x, state, resets=resets)
        return self.head(y), state


def rollout(agent: Agent, state: Any = None, **options: Any) -> None:
    torch.manual_seed(1)
    grus.check_rollout(agent.step, agent.sequence, torch.randn(T, B, I), state, **options)


def test_acting_that_equals_training_is_proven() -> None:
    rollout(Agent())
    rollout(Agent(), torch.randn(1, B, H))
    rollout(Agent(), torch.randn(1, B, H), resets=episodes()["begins"].bool())


@pytest.mark.parametrize(("late", "word"), [(1, "late"), (-1, "early")])
def test_resets_that_are_off_by_one_are_named(late: int, word: str) -> None:
    with pytest.raises(InputError, match=f"sequence resets one step {word}"):
        rollout(Agent(late=late), torch.randn(1, B, H))


def test_acting_without_resets_is_seen_at_the_step_and_row() -> None:
    with pytest.raises(InputError, match=r"first step: .* at step 0, row 0; step does not"):
        rollout(Agent(forgets=False), torch.randn(1, B, H))
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4, 1] = True
    with pytest.raises(InputError, match=r"resets at given: .* first at step 4, row 1;"):
        rollout(Agent(forgets=False), resets=resets)


def test_training_without_resets_is_named() -> None:
    agent = Agent()

    def forgetful(x: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
        return agent.sequence(x, state, resets & False)

    with pytest.raises(InputError, match="sequence does not reset"):
        grus.check_rollout(agent.step, forgetful, torch.randn(T, B, I), torch.randn(1, B, H))


def test_another_final_state_and_another_shape_are_seen() -> None:
    agent = Agent()

    def stale(x: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
        return agent.sequence(x, state, resets)[0], torch.zeros(1, B, H)

    def narrow(x: Tensor, state: Any, resets: Tensor) -> tuple[Tensor, Any]:
        y, state = agent.sequence(x, state, resets)
        return y[..., :1], state

    x = torch.randn(T, B, I)
    with pytest.raises(InputError, match="the final states differ"):
        grus.check_rollout(agent.step, stale, x)
    with pytest.raises(InputError, match=r"step gives \(7, 3, 2\), sequence \(7, 3, 1\)"):
        grus.check_rollout(agent.step, narrow, x)
    with pytest.raises(InputError, match="3 steps or more"):
        grus.check_rollout(agent.step, narrow, x[:2])


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_a_carried_state_is_the_value_without_the_graph(name: str) -> None:
    layer = getattr(grus, name)(I, H, 2)
    x = torch.randn(T, B, I)
    whole, _ = layer(x)
    y, state = layer(x[:3])
    kept = grus.carry(state)
    assert all(not s.requires_grad for s in flat(kept))
    found, _ = layer(x[3:], kept)
    assert torch.equal(found, whole[3:])
    found.sum().backward()  # not a second time through the first chunk
    y.sum().backward()


def flat(states: Any) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def test_rows_are_detached_and_begun_anew_one_by_one() -> None:
    state = torch.randn(2, B, H, requires_grad=True)
    start = torch.full((2, B, H), 7.0, requires_grad=True)
    found = grus.carry(state, [0, 1, 0], start=start, detach=torch.tensor([True, False, False]))
    assert torch.equal(found[:, [0, 2]], state[:, [0, 2]])
    assert (found[:, 1] == 7).all()
    by_state, by_start = torch.autograd.grad(found.sum(), [state, start])
    assert not by_state[:, :2].any()
    assert by_state[:, 2].all()
    assert by_start[:, 1].all()
    assert not by_start[:, [0, 2]].any()


def test_a_fresh_row_lets_no_nan_through() -> None:
    state = torch.full((1, B, H), NAN)
    found = grus.carry((state, state), torch.tensor([1.0, 1.0, 1.0]))
    assert all(torch.equal(s, torch.zeros(1, B, H)) for s in found)
    assert grus.carry(None, [1, 1, 1]) is None
    with pytest.raises(InputError, match=r"fresh must be \[batch\] = \(3,\), got \(2,\)"):
        grus.carry(state, [1, 0])
    with pytest.raises(InputError, match="fresh must be bool, or 0 and 1"):
        grus.carry(state, [1, 0, 2])


@pytest.mark.parametrize("place", [nn, grus])
@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_a_learnable_initial_state_begins_at_zero_and_learns(name: str, place: Any) -> None:
    layer = getattr(place, name)(I, H, 2, bidirectional=True)
    h0, x = grus.InitialState(layer), torch.randn(T, B, I)
    assert list(h0.state_dict()) == (["h", "c"] if name == "LSTM" else ["h"])
    y, _ = layer(x, h0(B))
    torch.testing.assert_close(y, layer(x)[0])
    y.sum().backward()
    for parameter in h0.parameters():
        assert parameter.shape == (4, 1, H)
        assert parameter.grad.all()


def test_a_learnable_state_follows_a_cells_own_states() -> None:
    projected = grus.InitialState(grus.LSTM(I, H, proj_size=2))
    assert [tuple(p.shape) for p in projected.parameters()] == [(1, 1, 2), (1, 1, H)]


@pytest.mark.parametrize("place", [nn, grus])
@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_results_are_taken_apart_by_direction(name: str, place: Any) -> None:
    layer, x = getattr(place, name)(I, H, 2, bidirectional=True), torch.randn(T, B, I)
    output, state = layer(x)
    (y, ahead), (y_back, back) = grus.split_directions(layer, (output, state))
    assert y.shape == y_back.shape == (T, B, H)
    assert torch.equal(torch.cat([y, y_back], -1), output)
    assert torch.equal(flat(ahead)[0][-1], y[-1])
    assert torch.equal(flat(back)[0][-1], y_back[0])
    last = grus.last_state(layer, state)
    assert torch.equal(flat(last)[0], torch.cat([y[-1], y_back[0]], -1))
    assert isinstance(last, tuple) == (name == "LSTM")


@pytest.mark.parametrize("place", [nn, grus])
def test_packed_results_are_taken_apart_and_lasts_are_at_the_rows_ends(place: Any) -> None:
    layer = place.GRU(I, H, bidirectional=True)
    lengths = [2, 7, 5]
    x = torch.randn(T, B, I)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    output, state = layer(packed)
    (y, _), (y_back, _) = grus.split_directions(layer, (output, state))
    (ahead, _), (back, _) = pad_packed_sequence(y), pad_packed_sequence(y_back)
    ends = torch.stack([ahead[n - 1, b] for b, n in enumerate(lengths)])
    assert torch.equal(grus.last_state(layer, state), torch.cat([ends, back[0]], -1))


def test_one_direction_is_not_split() -> None:
    layer = grus.GRU(I, H, 2)
    output, state = layer(torch.randn(T, B, I))
    assert torch.equal(grus.last_state(layer, state), output[-1])
    with pytest.raises(InputError, match="this one has one direction"):
        grus.split_directions(layer, (output, state))


def test_states_are_unpacked_as_torchs_whatever_their_names() -> None:
    x = torch.randn(T, B, I)
    for made in (nn.GRU(I, H, 2), grus.GRU(I, H, 2), grus.GRU(I, H, bidirectional=True)):
        out, (first, carry) = made(x)
        out, (h, c) = made(x)
        assert torch.equal(first, h)
        assert torch.equal(carry, c)
        assert made.bidirectional or torch.equal(c, out[-1])


def test_a_cell_state_given_to_a_gru_is_an_error_that_says_so() -> None:
    pair = (torch.zeros(1, B, H), torch.zeros(1, B, H))
    with pytest.raises(InputError, match="hx must be one tensor, the state h; it held 2"):
        grus.GRU(I, H)(torch.randn(T, B, I), pair)
