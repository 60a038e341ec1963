"""Atari's games: the preprocessing is gymnasium's, games are whole in reports, and what is learned from is not."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from asyncrl import algos
from asyncrl.actors.rewards import RewardRule
from asyncrl.actors.rollout import Actor
from asyncrl.api import train
from asyncrl.envs import GymnasiumStepping, load_state, make_env, save_state, spec_of, why_not
from asyncrl.envs.atari import game
from asyncrl.envs.images import Shrinking
from asyncrl.experiment.defaults import settled
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.trajectory import TERMINATED

NEEDED = "ale-py is not installed: pip install 'asyncrl[atari]'"
BREAKOUT, INVADERS = "ALE/Breakout-v5", "ALE/SpaceInvaders-v5"


@pytest.mark.parametrize("before", [(210, 160), (250, 160), (100, 77), (84, 84), (91, 400)])
def test_images_are_shrunk_as_opencv_does(before):
    cv2 = pytest.importorskip("cv2", reason="the comparison needs OpenCV")
    generator = np.random.default_rng(0)
    after = (min(84, before[0]), min(84, before[1]))
    shrunk, out = Shrinking(before, after), np.zeros(after, np.uint8)
    for _ in range(5):
        image = generator.integers(0, 256, before).astype(np.uint8)
        shrunk(image, np.zeros_like(image), out)
        np.testing.assert_array_equal(out, cv2.resize(image, after[::-1], interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("name", ["ALE/Pong-v5", BREAKOUT, INVADERS])
def test_preprocessing_is_gymnasiums_frame_by_frame(name):
    pytest.importorskip("ale_py", reason=NEEDED)
    pytest.importorskip("cv2", reason="gymnasium's preprocessing needs OpenCV")
    ours = make_env(name)
    base = gymnasium.make(name, frameskip=1, obs_type="grayscale", disable_env_checker=True)
    theirs = gymnasium.wrappers.FrameStackObservation(gymnasium.wrappers.AtariPreprocessing(base), 4)
    np.testing.assert_array_equal(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    actions = np.random.default_rng(0).integers(0, ours.action_space.n, 500)
    for action in actions:
        given, wanted = ours.step(action), theirs.step(action)
        assert given[1:4] == wanted[1:4]
        if given[2] or given[3]:  # the last picture of a game is made of other frames there: of those before the step
            given, wanted = ours.reset(), theirs.reset()
        np.testing.assert_array_equal(given[0], wanted[0])


def test_a_game_begins_with_up_to_30_frames_without_action():
    pytest.importorskip("ale_py", reason=NEEDED)
    env: Any = make_env(BREAKOUT)
    env.reset(seed=1)
    frames = []
    for _ in range(60):
        env.reset()
        frames.append(env._ale.getEpisodeFrameNumber())
    assert min(frames) >= 1
    assert 25 < max(frames) <= 30
    assert len(set(frames)) > 15


class Constant(torch.nn.Module):
    """Looks at nothing, so that playing takes no longer than the game."""

    def __init__(self, outputs: int):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """observation[N, ...] -> (policy_output[N, P], value[N])."""
        return self.bias.expand(len(observation), -1), torch.zeros(len(observation))


class Play:
    """An actor on one game, with the books of its games."""

    def __init__(self, name: str, steps: int, clip: float = 0.0):
        env = make_env(name)
        spec = spec_of(env)
        self.games: list[tuple[float, int]] = []
        self.stepping = GymnasiumStepping([env], spec, lambda episode_return, length: self.games.append((episode_return, length)))
        policy = Policy(spec, "auto", NetworkOptions(), lambda spec, outputs: Constant(outputs))
        generator = np.random.default_rng(0)
        self.actor = Actor(self.stepping, policy, policy.initial(0), steps, [], generator, RewardRule(1.0, clip))
        self.actor.uniform = True
        self.actor.reset([0])
        self.trajectory = self.actor.collect(0, 0.0)


def test_a_lost_life_ends_what_is_learned_from_and_not_the_game():
    pytest.importorskip("ale_py", reason=NEEDED)
    play = Play(BREAKOUT, 500)
    ends = np.flatnonzero(play.trajectory.ended[:, 0] == TERMINATED)
    lengths = [length for _, length in play.games]
    assert lengths, "random actions end a game within 500 steps"
    last = np.cumsum(lengths) - 1
    assert set(last) <= set(ends), "the end of a game is one too"
    lives = [int(((ends > begin) & (ends <= end)).sum()) for begin, end in zip([-1, *last[:-1]], last)]
    assert lives == [5] * len(lives), "Breakout has five lives, and each ends what is learned from"
    picture = play.trajectory.observation[:, 0]
    for t in ends:
        if t not in last:
            np.testing.assert_array_equal(picture[t + 1, :-1], picture[t, 1:], "the game's pictures go on")


def test_rewards_are_whole_in_reports_and_signs_in_what_is_learned_from():
    pytest.importorskip("ale_py", reason=NEEDED)
    experiment, _ = settled(Experiment("a3c", INVADERS))
    play = Play(INVADERS, 700, experiment.options.reward_clip)
    given, learned = play.actor.arrays_stepped.reward[:, 0], play.trajectory.reward[:, 0]
    assert given.max() > 1, "SpaceInvaders gives 5 to 30 for a hit"
    np.testing.assert_array_equal(learned, np.sign(given))
    episode_return, length = play.games[0]
    assert episode_return == given[:length].sum()


@pytest.mark.parametrize(("algo", "env", "options", "clip"), [
    ("a3c", BREAKOUT, {}, 1.0),
    ("impala", f"ale_py:{BREAKOUT}", {}, 1.0),
    ("nq", BREAKOUT, {}, 0.1),
    ("a3c", BREAKOUT, {"reward_scale": -2.0}, 2.0),
    ("a3c", BREAKOUT, {"reward_clip": 0.0}, 0.0),
    ("a3c", "CartPole-v1", {}, None),
])  # fmt: skip
def test_rewards_are_clipped_by_default_in_games_alone(algo, env, options, clip):
    kind = algos.ALGORITHMS[algo].options_type
    assert settled(Experiment(algo, env, options=kind(**options)))[0].options.reward_clip == clip


def test_a_game_is_saved_and_goes_on_bit_for_bit():
    pytest.importorskip("ale_py", reason=NEEDED)

    def steps(env: Any, count: int) -> list[Any]:
        seen = []
        for action in actions[:count]:
            seen.append((*env.step(action)[:4], env.unwrapped.life_lost))
            if seen[-1][2]:
                seen.append((env.reset()[0],))  # draws frames without action
        return seen

    env, other = make_env(BREAKOUT), make_env(BREAKOUT)
    actions = np.random.default_rng(3).integers(0, env.action_space.n, 400)
    env.reset(seed=1)
    steps(env, 57)
    assert why_not(env) is None
    saved = save_state(env)
    assert saved is not None
    wanted = steps(env, 400)
    other.reset(seed=2)
    load_state(other, *saved)
    found = steps(other, 400)
    assert any(len(one) == 1 for one in wanted), "a game ends meanwhile"
    for one, two in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:] == two[1:]


def test_a_game_that_is_cut_is_truncated_and_goes_on_to_the_same_step():
    pytest.importorskip("ale_py", reason=NEEDED)
    env, other = (game(BREAKOUT, max_num_frames_per_episode=200) for _ in range(2))
    env.reset(seed=1)
    for _ in range(10):
        env.step(0)
    saved = save_state(env)
    other.reset(seed=2)
    load_state(other, *saved)
    ends = [[one.step(0) for _ in range(41)] for one in (env, other)]
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
    assert not any(step[2] for step in ends[0])
    first = next(t for t, step in enumerate(ends[0]) if step[3])
    assert 10 + first >= (200 - 30) // 4 - 1


def test_sync_gives_the_same_bits(tmp_path):
    pytest.importorskip("ale_py", reason=NEEDED)

    def parameters(name: str) -> np.ndarray:
        settings = {"mode": "sync", "workers": 2, "steps": 120, "quiet": True, "evaluation_episodes": 0}
        result = train("a3c", "ALE/Pong-v5", runs=str(tmp_path), name=name, **settings)
        assert result.status == "completed"
        return read_part(newest(result.folder), "run")[1]["parameters"]

    np.testing.assert_array_equal(parameters("one"), parameters("two"))
