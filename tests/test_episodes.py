"""Whole episodes of a deterministic policy: what an evaluation is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from environments import CountingEnv
from running import train

import asyncrl
from asyncrl.actors.episodes import BEAT, EpisodeRunner, Observed
from asyncrl.envs import CheckedEnvironment, EnvironmentFault, make_env, spec_of
from asyncrl.errors import Hopeless


class Still:
    """Acts 0 on what is finite."""

    def __init__(self) -> None:
        self.seen = np.zeros((256, 3), np.float32)

    def act(self, observation: Any, at: int) -> int | None:
        if observation.size != 3 or not np.isfinite(observation).all():
            return None
        self.seen[at] = observation
        return 0


class Strange(CountingEnv):
    """At step 3 it gives what it is told to."""

    def __init__(self, observation: Any = None, reward: Any = 1.0, error: str = "") -> None:
        super().__init__(length=5)
        self.strange = observation, reward, error

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        if self.count == 3:
            other, reward, error = self.strange
            if error:
                raise ValueError(error)
            observation = observation if other is None else other
        return observation, reward, *rest


def runner(make: Any, beats: list[int] | None = None, evaluates: bool = False) -> EpisodeRunner:
    environment = make_env(make)
    checked = CheckedEnvironment(environment, spec_of(environment))
    return EpisodeRunner(checked, Still(), lambda: beats.append(1) if beats is not None else None, evaluates)


def test_an_episode_has_return_length_and_what_was_seen():
    observed = Observed(3)
    episode = runner(lambda: CountingEnv(length=600)).run(0, observed=observed)
    assert episode == (600.0, 600, False)
    assert observed.count == 600
    assert observed.mean[1] == pytest.approx(np.arange(600).mean())
    assert observed.square[1] == pytest.approx(np.var(np.arange(600)) * 600)


def test_an_observation_may_be_a_list():
    observed = Observed(3)
    assert runner(lambda: Strange(observation=[7.0, 7.0, 7.0])).run(0, observed=observed) == (5.0, 5, False)
    assert observed.mean[1] == pytest.approx((0 + 1 + 2 + 7 + 4) / 5)
    assert np.isnan(runner(lambda: Strange(observation=[7.0, np.nan, 7.0])).run(0).episode_return)


def test_an_episode_is_cut_at_the_limit_and_no_earlier():
    one = runner(lambda: CountingEnv(length=40))
    assert one.run(0, limit=39) == (39.0, 39, True)
    assert one.run(0, limit=40) == (40.0, 40, False)
    assert one.run(0) == (40.0, 40, False)


def test_a_long_episode_gives_signs_of_life():
    beats: list[int] = []
    runner(lambda: CountingEnv(length=1000), beats).run(0)
    assert len(beats) >= 1000 // BEAT - 4


def test_an_endless_episode_is_named(monkeypatch):
    monkeypatch.setattr("asyncrl.actors.episodes.LONGEST_EPISODE", 100)
    with pytest.raises(Hopeless, match=r"did not end within 100 steps; limit it with --episode-limit"):
        runner(lambda: CountingEnv(length=200)).run(0)
    with pytest.raises(Hopeless, match=r"^an evaluation episode did not end within 100 steps; give the environment a time limit$"):
        runner(lambda: CountingEnv(length=200), evaluates=True).run(0)
    assert runner(lambda: CountingEnv(length=200)).run(0, limit=150).cut


@pytest.mark.parametrize(
    ("strange", "steps"),
    [({"reward": np.nan}, 5), ({"reward": np.inf}, 5), ({"observation": np.full(3, np.nan, np.float32)}, 3)],
)
def test_an_episode_without_a_finite_return_has_none(strange, steps):
    observed = Observed(3)
    value, length, cut = runner(lambda: Strange(**strange)).run(0, observed=observed)
    assert np.isnan(value)
    assert (length, cut) == (steps, False)
    assert np.isfinite(observed.mean).all()


@pytest.mark.parametrize(
    ("strange", "what"),
    [
        ({"error": "it broke"}, "step raised ValueError: it broke"),
        ({"observation": np.zeros(4, np.float32)}, "step returned a wrong observation: .* shape"),
        ({"observation": np.zeros((3, 1), np.float32)}, "step returned a wrong observation: .* shape"),
        ({"observation": ["a", "b", "c"]}, "step returned a wrong observation: .* not a number"),
        ({"reward": "much"}, "step returned a wrong reward: reward of type str is not a number"),
        ({"reward": None}, "step returned a wrong reward: reward of type NoneType is not a number"),
    ],
)
def test_what_an_environment_does_wrong_is_its_fault(strange, what):
    with pytest.raises(EnvironmentFault, match=what):
        runner(lambda: Strange(**strange)).run(0)


class Typed(CountingEnv):
    """Rewards are numbers of a type of their own."""

    def __init__(self, kind: Any, reward: float, length: int) -> None:
        super().__init__(length)
        self.reward = kind(reward)

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, self.reward, *rest


@pytest.mark.parametrize(("kind", "reward"), [(np.float16, 1.0), (np.float32, 0.1), (np.uint8, 200), (np.bool_, True), (np.array, 0.1)])
def test_returns_are_summed_in_float64_whatever_the_type_of_a_reward(kind, reward):
    expected = sum([float(kind(reward))] * 3000)
    assert runner(lambda: Typed(kind, reward, 3000)).run(0).episode_return == expected


@pytest.mark.parametrize(("algo", "options"), [("es", {"population": 2}), ("a2c", {})])
def test_every_book_of_returns_is_kept_in_float64(tmp_path, algo, options):
    def make() -> Typed:
        return Typed(np.float16, 1.0, 3000)

    run = train(tmp_path, make, algo=algo, steps=6000, workers=1, evaluation_episodes=1, **options)
    assert run.summary["return_mean_last_100"] == run.summary["return_best_mean_100"] == run.summary["evaluation_return"] == 3000
    assert asyncrl.evaluate(run.folder, 1, env=make)["returns"] == [3000.0]
