"""Pictures of values of actions: what is drawn is what the learner's networks say where the policy acts, in the environment's units."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from environments import FollowEnv
from PIL import Image
from test_landscape import PlaneEnv, images_in, pictured, run_of

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import Replayed
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.choice import REPLAY_ROLES, with_role
from asyncrl.landscapes.cuts import Cut
from asyncrl.landscapes.gaps import gaps
from asyncrl.landscapes.landscape import landscape
from asyncrl.landscapes.looking import looking
from asyncrl.landscapes.telling import told
from asyncrl.landscapes.value_marks import counts, numbers, style_of, symbol
from asyncrl.landscapes.values import ValueState, means, values_along
from asyncrl.store.checkpoint import newest, read_manifest, seal

SMALL = {"warm_up": 20, "batch": 16, "replay": 500, "replay_ratio": 0.2, "hidden": (8,)}
SAVO = {"head": "savo", "summary": 4, "summary_units": 8}
PAIRS = [(algo, "auto") for algo, entry in ALGORITHMS.items() if isinstance(entry, Replayed)] + [
    (algo, head) for head in with_role(*REPLAY_ROLES) for algo in HEADS[head].learners
]
"""Every algorithm with a replay, and every head that it can be learned with."""


class BoxesEnv(PlaneEnv):
    """Two components."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = type(self.action_space)(np.float32([-1, 0]), np.float32([1, 4]))


def trained(tmp_path, algo="td3", env=PlaneEnv, **settings):
    return run_of(tmp_path, algo, env, **{**SMALL, **settings})


def looked_at(folder, env, count=3, axes=(), points=5):
    """The states of an episode; the learner; the observation at each as the policy had it."""
    with looking(folder, env) as look:
        states = values_along(look, look.learner, count, Cut(look.task.spec, axes, points))
        seen = look.along(count, lambda step, action: look.player.newest().observation.copy())
    return states, look.learner, seen


def within(env, actions):
    """Actions as the learner has them."""
    space = env().action_space
    return torch.tensor((actions - space.low) / (space.high - space.low) * 2.0 - 1.0, dtype=torch.float32)


@pytest.mark.parametrize(("algo", "head"), PAIRS)
def test_what_is_seen_is_what_the_learner_says_where_the_policy_acts(tmp_path, algo, head):
    states, learner, seen = looked_at(trained(tmp_path, algo, head=head), PlaneEnv)
    assert [state.step for state in states] == [0, 4, 9]
    assert np.abs(seen[0]).max() > 0 and not np.array_equal(seen[0], seen[1])
    for state, observation in zip(states, seen):
        here = torch.tensor(observation)[None]
        assert PlaneEnv().action_space.contains(state.chosen.astype(np.float32))
        np.testing.assert_allclose(within(PlaneEnv, state.chosen), learner.greedy(here)[0], atol=1e-5)  # as compiled
        proposals = within(PlaneEnv, state.proposals)
        np.testing.assert_allclose(proposals, learner.proposals(here)[:, 0].detach(), atol=1e-5)
        pairs = torch.cat([here.expand(len(proposals), -1), proposals], 1)
        np.testing.assert_allclose(state.proposal_values, learner.critics.run(pairs)[0].detach()[:, 0], atol=1e-5)
        assert next(iter(state.surfaces)) == "q" and {one.shape for one in state.surfaces.values()} == {(5, 5)}
        for i, j in ((0, 4), (3, 1)):
            action = np.array([state.lines[0][j], state.lines[1][i], state.chosen[2]])
            expected = learner.values(here, within(PlaneEnv, action)[None])
            assert {name: values[i, j] for name, values in state.surfaces.items()} == pytest.approx(
                {name: float(value) for name, value in expected.items()}, abs=1e-5
            )
        assert all(np.ptp(values) > 0 for values in state.surfaces.values())


def test_surrogates_are_told_what_the_actors_before_them_propose(tmp_path):
    (state, *_), learner, (observation, *_) = looked_at(trained(tmp_path, **SAVO), PlaneEnv)
    here = torch.tensor(observation)[None].expand(5, -1)
    assert list(state.surfaces) == ["q", "psi_1", "psi_2"] and state.proposals.shape == (3, 3)
    told_of = within(PlaneEnv, state.proposals)[:, None].expand(-1, 5, -1)
    actions = within(PlaneEnv, np.array([[x, state.lines[1][2], state.chosen[2]] for x in state.lines[0]]))
    with torch.no_grad():
        values = learner.surrogates.run(here, actions.expand(2, 1, -1, -1), told_of[:-1])[:, 0]
        others = learner.surrogates.run(here, actions.expand(2, 1, -1, -1), -told_of[:-1])[:, 0]
    for i in (1, 2):
        np.testing.assert_allclose(state.surfaces[f"psi_{i}"][2], values[i - 1], atol=1e-5)
        assert float((others[i - 1] - values[i - 1]).abs().max()) > 1e-3
    assert state.picked == int(state.proposal_values.argmax()) and state.chosen_value == state.proposal_values.max()


def test_torch_has_as_many_threads_afterwards(tmp_path):
    folder, before = trained(tmp_path), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with looking(folder, PlaneEnv) as look:
            values_along(look, look.learner, 2, Cut(look.task.spec, (0,), 3))
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_actor_has_no_surrogates(tmp_path):
    (state, *_), _, _ = looked_at(trained(tmp_path, **SAVO, n_actors=1), PlaneEnv)
    assert list(state.surfaces) == ["q"] and state.proposals.shape == (1, 3) and state.picked == 0 and not state.better_than_first


def state_of(surfaces, chosen_value, proposal_values, picked, lines=((0.0, 1.0, 2.0),)):
    count = len(proposal_values)
    arrays = {name: np.array(values, np.float64) for name, values in surfaces.items()}
    axes, lines = tuple(range(len(lines))), tuple(map(np.array, lines))
    proposals = np.zeros((count, len(axes))), np.array(proposal_values)
    return ValueState(0, np.zeros(len(axes)), chosen_value, *proposals, picked, arrays, axes, lines)


def test_gaps_optima_and_their_means():
    one = state_of({"q": [1.0, 0.0, 5.0], "psi_1": [1.0, 1.0, 5.0]}, 4.5, [1.0, 4.5], 1)
    assert (one.best, one.best_value, one.gap, one.first_gap, one.better_than_first) == ((2.0,), 5.0, 0.5, 4.0, True)
    assert one.optima == {"q": 2, "psi_1": 1}
    other = state_of({"q": [2.0, 2.0 + 1e-7, 2.0], "psi_1": [2.0, 1.0, 3.0]}, 2.5, [2.5, 2.0], 0)
    assert other.gap == pytest.approx(-0.5, abs=1e-6) and other.optima == {"q": 1, "psi_1": 2} and not other.better_than_first
    found = means([one, other])
    assert found["optima"] == {"q": 1.5, "psi_1": 1.5} and found["better_than_first"] == 0.5
    assert (found["gap"], found["first_gap"]) == pytest.approx((0.0, 1.75), abs=1e-6)
    plane = state_of({"q": [[0, 1, 0], [0, 0, 7]]}, 0.0, [0.0], None, ((0.0, 1.0, 2.0), (5.0, 6.0)))
    assert plane.best == (2.0, 6.0) and plane.optima == {"q": 1}


def test_figures_of_a_study(tmp_path):
    folder = trained(tmp_path, env=BoxesEnv, **SAVO)
    found = gaps(folder, states=4, points=9, env=BoxesEnv)
    states, _, _ = looked_at(folder, BoxesEnv, count=4, points=9)
    assert found.steps >= 200 and found.step.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(found.chosen, [state.chosen_value for state in states])
    np.testing.assert_array_equal(found.first, [state.proposal_values[0] for state in states])
    np.testing.assert_array_equal(found.better, found.chosen > found.first)
    np.testing.assert_array_equal(found.largest, [state.surfaces["q"].max() for state in states])
    assert {name: counts.tolist() for name, counts in found.optima.items()} == {
        name: [state.optima[name] for state in states] for name in ("q", "psi_1", "psi_2")
    }
    more = gaps(trained(tmp_path, name="three"), states=2, env=PlaneEnv)
    assert more.largest is None and more.optima == {} and not more.better.any()
    with pytest.raises(UserError, match=r"a3c of run .* has no values of actions"):
        gaps(run_of(tmp_path, "a3c", FollowEnv), env=FollowEnv)


# --- the picture ---


@pytest.mark.parametrize(
    ("env", "settings", "asked"),
    [
        (FollowEnv, {**SAVO, "n_actors": 12}, {}),
        (FollowEnv, {"algo": "sac"}, {"states": 1}),
        (PlaneEnv, SAVO, {"axes": (2,)}),
        (PlaneEnv, {**SAVO, "n_actors": 6}, {"axes": (0, 2)}),
        (BoxesEnv, {"algo": "ddpg"}, {"states": 4}),
    ],
)
def test_a_picture_of_every_shape(tmp_path, env, settings, asked):
    pytest.importorskip("matplotlib")
    folder, out = trained(tmp_path, env=env, **settings), tmp_path / "x.png"
    result = landscape(folder, out, **{"states": 2, "points": 11, **asked}, env=env)
    picture = Image.open(out)
    assert min(picture.size) > 300 and len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    components = env().action_space.shape[0]
    assert result["whole"] == (components < 3) and result["axes"] == list(asked.get("axes", range(min(components, 2))))
    assert len(result["states"]) == asked.get("states", 2) and result["means"] == means(result["states"])


def test_a_run_is_drawn_and_told(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = trained(tmp_path, env="Pendulum-v1", **SAVO, steps=400)
    pictured(folder, "--states", "3", "--points", "11", "--seed", "4")
    png = (folder / "landscape.png").read_bytes()
    (image,) = images_in(folder / "landscape")
    assert (image.encoded_image_string, (image.width, image.height)) == (png, Image.open(io.BytesIO(png)).size) and image.step >= 400
    result = landscape(folder, tmp_path / "again.png", states=3, points=11, seed=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines == told({**result, "file": f"{folder}/landscape.png"}).splitlines()
    assert len(lines) == 5 and lines[0].endswith("landscape.png: q, psi_1, psi_2 of td3, head savo, at 11 points of 3 states")
    state, found = result["states"][1], result["means"]
    said = f"gap to the largest q {state.gap:.3g}, of proposal 0 {state.first_gap:.3g}"
    counts = ", ".join(f"{name} {count}" for name, count in state.optima.items())
    assert lines[2] == f"step {state.step}: chosen proposal {state.picked}, q {state.chosen_value:.4g}; {said}; local optima {counts}"
    assert f"chosen above proposal 0 in {found['better_than_first']:.0%} of states" in lines[-1]


def test_a_cut_is_told(tmp_path):
    states, _, _ = looked_at(trained(tmp_path), PlaneEnv, axes=(0, 2))
    result = {"file": "x.png", "algo": "td3", "head": "deterministic", "axes": [0, 2], "whole": False}
    result |= {"states": states, "means": means(states)}
    first, second, *_, last = told(result).splitlines()
    gap, count = states[0].gap, states[0].optima["q"]
    assert second == f"step 0: chosen, q {states[0].chosen_value:.4g}; gap to the largest q {gap:.3g}; local optima q {count}"
    assert "proposal" not in last
    assert first == "x.png: q of td3, head deterministic, on a cut through the chosen action, components 0,2, at 25 points of 3 states"


def test_a_checkpoint_without_the_learner_is_told(tmp_path):
    folder = trained(tmp_path, env=FollowEnv)
    checkpoint = newest(folder)
    manifest = read_manifest(checkpoint)
    for path in checkpoint.glob("learner.*"):
        path.unlink()
    seal(checkpoint, {name: value for name, value in manifest.items() if name != "files"})
    with pytest.raises(UserError, match=r"checkpoint '.*' has no learner in it, so no values of actions"):
        gaps(folder, env=FollowEnv)


def test_proposals_that_lie_together_have_one_word():
    places = np.array([[0.0, 0.0], [0.9, 0.0], [0.01, 0.02], [0.02, 0.0], [0.9, 0.05], [0.0, -0.01], [0.0, 0.5]])
    assert numbers(places, np.array([0.05, 0.05])) == [(0, "0,2,3,5"), (1, "1,4"), (6, "6")]
    assert numbers(np.zeros((12, 1)), np.array([0.1])) == [(0, "0-11")]
    line = np.array([[0.0], [0.3], [0.0], [0.0], [0.3]])
    assert numbers(line, np.array([0.1])) == [(0, "0,2-4"), (1, "1")]  # a longer word reaches farther
    assert numbers(np.concatenate([line, line * 0], 1)[:, ::-1], np.array([0.1, 0.1])) == [(0, "0,2,3"), (1, "1,4")]  # not upwards


def test_of_many_functions_few_counts_are_told():
    assert counts({"q": 2, "psi_1": 1}) == "local optima: $Q$ 2, $\\Psi_{1}$ 1"
    assert counts({"q": 2, **{f"psi_{i}": i for i in range(1, 8)}}) == "local optima: $Q$ 2, $\\Psi_{1}$ 1 .. $\\Psi_{7}$ 7"


def test_functions_can_be_told_apart():
    styles = [tuple(style_of(i).values()) for i in range(20)]
    assert len(set(styles)) == 20 and len({colour for colour, _ in styles[:8]}) == 8
    assert [symbol(name) for name in ("q", "psi_2", "other")] == ["$Q$", "$\\Psi_{2}$", "$other$"]
