"""Pictures of values of items: what is drawn is what the critics say of their features, where the actors' proposals land."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from environments import FollowEnv
from gymnasium import spaces
from PIL import Image
from test_landscape_values import SAVO, trained

from asyncrl.heads import HEADS
from asyncrl.heads.choice import REPLAY_ROLES, with_role
from asyncrl.heads.proposing.head import ProposingHead
from asyncrl.landscapes import items as items_module
from asyncrl.landscapes.gaps import gaps
from asyncrl.landscapes.items import items_along, items_of, looked_at, places_of
from asyncrl.landscapes.landscape import landscape
from asyncrl.landscapes.looking import looking
from asyncrl.landscapes.telling import told
from asyncrl.landscapes.values import means

generator = np.random.default_rng(3)
FEATURES = generator.uniform(-1, 1, (30, 5)).astype(np.float32)
HEADS_OF_ITEMS = [head for head in with_role(*REPLAY_ROLES) if "discrete" in HEADS[head].action_kinds and "td3" in HEADS[head].learners]


class ShelfEnv(FollowEnv):
    """Thirty items, numbered from 5 on."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(30, start=5)


def shelf(tmp_path, **settings):
    given = {"catalogue": tuple(map(tuple, FEATURES.tolist())), "head": "savo", **settings}
    return trained(tmp_path, env=ShelfEnv, **given)


def seen(folder, count=3):
    """The states of an episode; the learner; what it was given at each."""
    with looking(folder, ShelfEnv) as look:
        items = items_of(look)
        states = items_along(look, look.learner, items, count)
        observations = look.along(count, lambda step, action: (int(action), look.player.newest().observation.copy()))
    return states, look.learner, observations, items


@pytest.mark.parametrize("head", HEADS_OF_ITEMS)
def test_what_is_seen_is_what_the_learner_says(tmp_path, head):
    settings = {"summary": 4, "summary_units": 8} if head == "savo" else {}
    states, learner, observations, _ = seen(shelf(tmp_path, head=head, **settings))
    assert [state.step for state in states] == [0, 4, 9]
    for state, (action, observation) in zip(states, observations):
        given = torch.from_numpy(observation[None])
        assert state.chosen.tolist() == [action - 5]
        found = learner.values(given, torch.from_numpy(FEATURES))
        assert list(state.surfaces) == list(found)
        for name, values in found.items():
            np.testing.assert_allclose(state.surfaces[name], values.numpy(), rtol=1e-5, atol=1e-6)
        assert state.chosen_value == pytest.approx(state.surfaces["q"][action - 5], abs=1e-6)
        assert state.best == state.surfaces["q"].argmax() and state.gap >= -1e-6
        raw = learner.proposals(given)[:, 0].detach().numpy()
        landed = [int(((FEATURES - point) ** 2).sum(1).argmin()) for point in raw]
        assert state.proposals[:, 0].tolist() == landed
        np.testing.assert_allclose(state.proposal_values, state.surfaces["q"][landed], atol=1e-6)
        assert state.picked is None or landed[state.picked] == action - 5
        assert landed.count(action - 5) == 0 or state.picked == landed.index(action - 5)
    assert any(state.picked is not None for state in states)


def test_of_many_items_some_are_looked_at_and_what_is_chosen_in_any_case(tmp_path, monkeypatch):
    folder = shelf(tmp_path, **{name: value for name, value in SAVO.items() if name != "head"})
    (whole, *_), *_ = seen(folder)
    monkeypatch.setattr(items_module, "MOST_ITEMS", 7)
    (some, *_), *_ = seen(folder)
    assert len(some.items) == 7 == len(set(some.items.tolist())) and sorted(some.items) == some.items.tolist()
    np.testing.assert_allclose(some.surfaces["q"], whole.surfaces["q"][some.items], atol=1e-6)
    assert (some.chosen_value, some.proposals.tolist()) == (pytest.approx(whole.chosen_value), whole.proposals.tolist())
    assert looked_at(5).tolist() == [0, 1, 2, 3, 4]
    few = gaps(folder, states=2, env=ShelfEnv)
    assert few.largest is None


def test_figures_of_a_study(tmp_path):
    folder = shelf(tmp_path)
    found = gaps(folder, states=4, env=ShelfEnv)
    states, *_ = seen(folder, count=4)
    np.testing.assert_allclose(found.chosen, [state.chosen_value for state in states], atol=1e-6)
    np.testing.assert_allclose(found.largest, [state.surfaces["q"].max() for state in states], atol=1e-6)
    assert found.optima == {} and found.step.tolist() == [0, 3, 6, 9]


def test_items_lie_where_their_features_differ_most():
    class Given:
        features = np.zeros((50, 4), np.float32)

    Given.features[:, 2] = np.linspace(-1, 1, 50)
    Given.features[:, 0] = 0.1 * np.sin(np.arange(50))
    places, share = places_of(Given, np.arange(50))  # type: ignore[arg-type]
    assert abs(np.corrcoef(places[:, 0], Given.features[:, 2])[0, 1]) > 0.99
    assert share == pytest.approx(1.0) and np.ptp(places[:, 0]) > 5 * np.ptp(places[:, 1])
    line, share = places_of(type("One", (), {"features": Given.features[:, 2:3]}), np.arange(50))  # type: ignore[arg-type]
    assert line.shape == (50, 2) and (line[:, 1] == 0).all() and share == 1.0


@pytest.mark.parametrize(("head", "panels"), [("savo", 4), ("wolpertinger", 1)])
def test_a_picture(tmp_path, head, panels):
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.png"
    result = landscape(shelf(tmp_path, head=head), out, states=2, env=ShelfEnv)
    picture = Image.open(out)
    assert min(picture.size) > 300 and len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert result["items"] == 30 and len(result["states"][0].surfaces) == panels and result["means"] == means(result["states"])


def test_what_is_told(tmp_path):
    states, *_ = seen(shelf(tmp_path), count=2)
    result = {"file": "x.png", "algo": "td3", "head": "savo", "items": 30, "states": states, "means": means(states)}
    first, second, *_, last = told(result).splitlines()
    assert first == "x.png: q, psi_0, psi_1, psi_2 of td3, head savo, of 30 items at 2 states"
    assert second.startswith("step 0: chosen") and "gap to the largest q" in second and "optima" not in second + last
    few = told({**result, "items": 1000}).splitlines()[0]
    assert few.endswith("of 30 of 1,000 items at 2 states")


def test_heads_of_items_are_those_that_propose():
    assert HEADS_OF_ITEMS and all(issubclass(HEADS[head], ProposingHead) for head in HEADS_OF_ITEMS)
