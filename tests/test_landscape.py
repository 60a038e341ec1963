"""Pictures of what a policy prefers: what is drawn is what the head computes, and of what it chose among nothing is better."""

from __future__ import annotations

import io

import numpy as np
import pytest
from environments import CountingEnv, FollowEnv
from gymnasium import spaces
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import asyncrl
from asyncrl.cli.main import main
from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import value_forward
from asyncrl.landscapes.cuts import Cut
from asyncrl.landscapes.landscape import landscape
from asyncrl.landscapes.looking import Watching, looking
from asyncrl.landscapes.states import State, states_along

RUN = {"workers": 1, "quiet": True, "evaluation_episodes": 0, "steps": 200}
SETS = {"head": "itt", "latent": 4, "set_size": 40}


class PlaneEnv(FollowEnv):
    """Actions of three components, each with bounds of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(np.float32([-1, 0, -2]), np.float32([1, 4, 2]))


class DoorsEnv(FollowEnv):
    """Choices, numbered from 5 on."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(4, start=5)


def run_of(tmp_path, algo, env, **settings):
    return asyncrl.train(algo, env, runs=str(tmp_path), **{**RUN, **settings}).folder


def looked_at(folder, env, count=4, axes=(0,), points=9):
    """The states of an episode, and what played it."""
    with looking(folder, env) as look:
        return states_along(look, count, Cut(look.task.spec, axes, points)), look


CASES = [
    ("es", FollowEnv, {**SETS, "population": 4}),
    ("es", PlaneEnv, {**SETS, "population": 4, "resample": "subset", "subset": 7}),
    ("es", PlaneEnv, {**SETS, "population": 4, "resample": "iteration"}),
    ("es", PlaneEnv, {**SETS, "population": 4, "resample": "transition", "energy": "angular"}),
    ("es", PlaneEnv, {"head": "iot", "set_size": 40, "population": 4}),
    ("es", PlaneEnv, {"head": "iot", "set_size": 40, "population": 4, "selection": "refine"}),
    ("es", DoorsEnv, {"head": "itt", "encoding": "one-hot", "population": 4}),
    ("a3c", PlaneEnv, {**SETS, "energy": "softmax", "set_temperature": 0.5}),
    ("a3c", DoorsEnv, {}),
    ("a3c", PlaneEnv, {"squash": True, "hidden": (8,)}),
    ("q1", DoorsEnv, {}),
    ("q1", PlaneEnv, SETS),
]


@pytest.mark.parametrize(("algo", "env", "settings"), CASES)
def test_what_is_seen_is_what_the_head_computes(tmp_path, algo, env, settings):
    states, look = looked_at(run_of(tmp_path, algo, env, **settings), env)
    assert [state.step for state in states] == [0, 3, 6, 9]
    space = env().action_space
    for state in states:
        if len(state.actions):
            np.testing.assert_allclose(state.actions[state.best], state.chosen, atol=1e-6)
            assert state.chosen_energy == pytest.approx(state.energies.min(), abs=1e-5)
        else:
            assert state.best is None and state.chosen_energy <= state.surface.min() + 1e-6
        assert state.surface.shape == (len(state.lines[0]),)
        assert space.contains(state.chosen.astype(np.float32) if isinstance(space, spaces.Box) else int(state.chosen[0]) + 5)
        assert (state.value is not None) == (algo == "a3c")
    player, last = look.player, states[-1]
    newest = player.newest()  # of the last step, at which the last state was seen
    actions = np.repeat(last.chosen.reshape(1, -1), len(last.surface), axis=0)
    actions[:, 0] = last.lines[0]
    np.testing.assert_allclose(player.head.energies(newest.output, newest.vector, actions), last.surface, atol=1e-6)
    assert len(last.surface) == 1 or np.ptp(last.surface) > 0


def test_two_axes_are_a_plane_through_the_chosen_action(tmp_path):
    folder = run_of(tmp_path, "es", PlaneEnv, **SETS, population=4)
    (state,), _ = looked_at(folder, PlaneEnv, count=1, axes=(2, 0), points=5)
    second, first = state.lines[1], state.lines[0]
    assert (first[0], first[-1], second[0], second[-1]) == (-2.0, 2.0, -1.0, 1.0)
    assert state.surface.shape == (5, 5)
    with looking(folder, PlaneEnv) as again:

        def see(step, action):
            newest = again.player.newest()
            given = np.array([[second[i], state.chosen[1], first[j]] for i, j in ((0, 4), (3, 1))])
            return again.player.head.energies(newest.output, newest.vector, given)

        (energies,) = again.along(1, see)
    assert energies == pytest.approx([state.surface[0, 4], state.surface[3, 1]], abs=1e-6)


def test_who_looks_changes_nothing(tmp_path):
    """Sets that are drawn at every transition are drawn as if nobody had looked."""
    folder = run_of(tmp_path, "es", FollowEnv, **SETS, population=4, resample="transition")
    before = asyncrl.evaluate(folder, episodes=1, env=FollowEnv)["returns"]
    with looking(folder, FollowEnv) as look:
        states_along(look, 10, Cut(look.task.spec, (0,), 50))
        assert look.player.play(look.snapshot, 1).returns == before


def test_a_value_is_that_of_the_network(tmp_path):
    folder = run_of(tmp_path, "a3c", FollowEnv, hidden=(8,))
    states, look = looked_at(folder, FollowEnv, count=2)
    actor, value = look.player._actor, np.zeros((1, 1), np.float32)
    policy, rounds = actor.policy, actor.rounds
    value_forward(policy.plan, actor.dense, rounds.observation[0], rounds.work, value)
    assert states[-1].value == pytest.approx(value[0, 0], abs=1e-5) and states[-1].value != states[0].value
    recurrent = run_of(tmp_path, "a3c", FollowEnv, recurrent=4, name="recurrent")
    assert looked_at(recurrent, FollowEnv, count=2)[0][1].value is None


def test_an_observation_is_seen_as_the_network_is_given_it(tmp_path):
    folder = run_of(tmp_path, "a3c", FollowEnv, normalize_observations=True)
    with looking(folder, FollowEnv) as look:
        rounds = look.player._actor.rounds
        seen = look.along(3, lambda step, action: (look.player.newest().observation.copy(), rounds.raw[0, 0].copy()))
        shift, scale, _ = rounds.normaliser
    assert len(seen) == 3
    for observation, raw in seen:
        np.testing.assert_allclose(observation, (raw - shift) * scale, rtol=1e-5)
        assert np.abs(observation - raw).max() > 1e-3


@pytest.mark.parametrize(("count", "steps"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (50, list(range(10)))])
def test_states_lie_evenly(tmp_path, count, steps):
    folder = run_of(tmp_path, "a3c", FollowEnv)
    assert [state.step for state in looked_at(folder, FollowEnv, count=count)[0]] == steps


# --- the picture ---


def pictured(folder, *words):
    assert main(["landscape", str(folder), *words]) == 0


def images_in(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0})
    found.Reload()
    return found.Images("landscape")


@pytest.mark.parametrize("settings", [{"algo": "a3c", "env": "CartPole-v1"}, {"algo": "es", "env": "Pendulum-v1", **SETS, "population": 4}])
def test_a_run_is_drawn(tmp_path, capsys, settings):
    pytest.importorskip("matplotlib")
    folder = run_of(tmp_path, **{**settings, "steps": 400})
    before = set(folder.iterdir())
    pictured(folder, "--states", "3", "--points", "11")
    assert "landscape.png" in capsys.readouterr().out
    assert set(folder.iterdir()) - before == {folder / "landscape.png", folder / "landscape"}
    png = (folder / "landscape.png").read_bytes()
    picture = Image.open(io.BytesIO(png))
    (image,) = images_in(folder / "landscape")
    assert (image.encoded_image_string, (image.width, image.height)) == (png, picture.size)
    assert image.step >= 400
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_python_and_axes_and_checkpoints(tmp_path):
    pytest.importorskip("matplotlib")
    folder = run_of(tmp_path, "es", PlaneEnv, **SETS, population=4, steps=800, checkpoint_every=200)
    steps = sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())
    out = tmp_path / "two.png"
    result = landscape(folder, out, states=2, axes=(0, 2), points=7, checkpoint=steps[0], env=PlaneEnv)
    assert out.exists() and not (folder / "landscape.png").exists()
    assert (result["steps"], result["axes"], result["head"]) == (steps[0], [0, 2], "itt")
    assert all(isinstance(state, State) and state.surface.shape == (7, 7) for state in result["states"])
    assert asyncrl.landscape is landscape
    with pytest.raises(UserError, match=rf"checkpoint = 7 cannot be used \(allowed: {steps[0]}, .*{steps[-1]}, the steps of this run's\)"):
        landscape(folder, out, checkpoint=7, env=PlaneEnv)
    with pytest.raises(UserError, match=r"folder '.*none' cannot be written to"):
        landscape(folder, tmp_path / "none" / "two.png", env=PlaneEnv)
    for axes in ((0, 3), (1, 1), (0, 1, 2), (-1,)):
        with pytest.raises(UserError, match=r"axes = .* cannot be used \(allowed: one or two different components, 0 to 2\)"):
            landscape(folder, out, axes=axes, env=PlaneEnv)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algo": "es", "head": "explicit", "population": 4}, r"head 'explicit' of es has no energies .*under black-box search itt, iot;"),
        ({"algo": "es", "population": 4}, r"head 'auto' of es has no energies .*\(heads that have: .*gaussian, .*itt, iot; under"),
        ({"algo": "es", "population": 4}, r"of ddpg, td3, sac values of items and of Box actions are drawn\)"),
    ],
)
def test_a_head_without_energies_is_told(tmp_path, monkeypatch, settings, said):
    monkeypatch.setattr("asyncrl.landscapes.landscape.check_plots", lambda: None)
    folder = run_of(tmp_path, env=FollowEnv, **settings)
    with pytest.raises(UserError, match=said):
        landscape(folder, env=FollowEnv)


def test_bad_input_is_told_on_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("asyncrl.landscapes.landscape.check_plots", lambda: None)
    for words, said in (
        (["--states", "0"], "states = 0 cannot be used (allowed: whole numbers from 1)"),
        (["--points", "1"], "points = 1 cannot be used (allowed: whole numbers from 2)"),
        (["--seed", "-1"], "seed = -1 cannot be used"),
        (["--out", str(tmp_path / "x.pdf")], "cannot be used (allowed: a .png file)"),
        (["--axis", "1"], "unknown option '--axis'; did you mean '--axes'"),
        ([], "no experiment.json in it"),
    ):
        assert main(["landscape", str(tmp_path), *words]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and said in told, told


def test_without_matplotlib_one_line_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("asyncrl.bench.more_wild.plot.find_spec", lambda name: None)
    assert main(["landscape", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "asyncrl: plots need matplotlib: pip install 'asyncrl[plots]'\n"


def test_the_environment_is_watched_for_one_episode():
    """What comes after the episode that is watched, and before, is not seen."""
    seen: list[int] = []
    watching = Watching(CountingEnv(length=3))
    watching.reset()
    watching.step(0)
    watching.watch([0, 2], lambda step, action: seen.append(step))
    for _ in range(2):
        watching.reset()
        for _ in range(3):
            watching.step(0)
    assert seen == [0, 2]
