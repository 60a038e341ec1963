"""Acting: what an environment gave, step for step, is what learning gets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from environments import (
    ContinuousTargetEnv,
    CountingEnv,
    DictEnv,
    ImageEnv,
    NaNEnv,
    RaisingEnv,
    WrongShapeEnv,
)
from gymnasium import spaces

from asyncrl.actors.choosing import chooser
from asyncrl.actors.exploration import EntropyWeight, Epsilon, OrnsteinUhlenbeck
from asyncrl.actors.rewards import RewardRule
from asyncrl.actors.rollout import Actor
from asyncrl.envs import EnvironmentFault, GymnasiumStepping, make_env, spec_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

SMALL = NetworkOptions(hidden=(8,))
RECURRENT = NetworkOptions(hidden=(8,), recurrent=5)


class Taped(CountingEnv):
    """Writes down all that it gave and was given."""

    def __init__(self, length=10, truncate=False, seed=0):
        super().__init__(length, truncate)
        self.tape = []
        self.generator = np.random.default_rng(seed)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        self.tape.append(("reset", observation.copy()))
        return observation, info

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        reward = float(self.generator.standard_normal())
        self.tape.append(("step", action, observation.copy(), reward, terminated, truncated))
        return observation, reward, terminated, truncated, info


def actor_of(environments, steps, options=SMALL, exploration=(), seed=0, on_episode=lambda *episode: None, **rewards):
    environments = [make_env(lambda environment=environment: environment) for environment in environments]
    policy = Policy(spec_of(environments[0]), "auto", options)
    stepping, generator = GymnasiumStepping(environments, policy.spec, on_episode), np.random.default_rng(seed)
    actor = Actor(stepping, policy, policy.initial(0), steps, list(exploration), generator, RewardRule(**rewards))
    actor.reset(list(range(len(environments))))
    return actor


def copied(trajectory):
    return {name: np.array(getattr(trajectory, name)) for name in trajectory.__dataclass_fields__}


def replay(tape, steps):
    """What the tape says a trace of `steps` steps must hold: lists over time, cut where the tape was."""
    trace = {"observation": [tape[0][1]], "action": [], "reward": [], "ended": [], "final": []}
    for event, after in zip(tape[1:], [*tape[2:], None]):
        if event[0] == "reset":
            continue
        _, action, observation, reward, terminated, truncated = event
        over = terminated or truncated
        trace["action"].append(action)
        trace["reward"].append(reward)
        trace["ended"].append(TERMINATED if terminated else TRUNCATED if truncated else GOES_ON)
        trace["final"].append(observation if truncated else None)
        trace["observation"].append(after[1] if over else observation)
    return {name: rows[: steps + (name == "observation")] for name, rows in trace.items()}


# The tape.


@pytest.mark.parametrize("options", [SMALL, RECURRENT], ids=["light", "recurrent"])
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(("steps", "lengths"), [(5, (3, 7)), (1, (1, 2, 3)), (20, (5, 4)), (4, (4,))])
def test_a_trajectory_is_the_environments_tape(options, truncate, steps, lengths):
    environments, rounds = [Taped(length, truncate, seed) for seed, length in enumerate(lengths)], 6
    episodes = []
    actor = actor_of(environments, steps, options, on_episode=lambda total, length: episodes.append((total, length)))
    taken = [copied(actor.collect(version, 0.0)) for version in range(rounds)]
    assert [int(one["version"]) for one in taken] == list(range(rounds))
    for e, environment in enumerate(environments):
        expected = replay(environment.tape, rounds * steps)
        observations = np.concatenate([*[one["observation"][:-1, e] for one in taken], taken[-1]["observation"][-1:, e]])
        np.testing.assert_array_equal(observations, expected["observation"])
        for one, after in itertools.pairwise(taken):  # the last observation of a round is the first of the next
            np.testing.assert_array_equal(one["observation"][-1], after["observation"][0])
        for name in ("reward", "ended"):
            np.testing.assert_array_equal(np.concatenate([one[name][:, e] for one in taken]), np.float32(expected[name]))
        np.testing.assert_array_equal(np.concatenate([one["action"][:, e, 0] for one in taken]), expected["action"])
        final = np.concatenate([one["final_observation"][:, e] for one in taken])
        for t, observation in enumerate(expected["final"]):
            if observation is not None:
                np.testing.assert_array_equal(final[t], observation)
    assert sorted(episodes) == sorted(episodes_of(environments))
    assert len(set(np.concatenate([one["action"].ravel() for one in taken]).tolist())) == 2 or rounds * steps < 10


def episodes_of(environments):
    """(return, length) of every episode that ended, from the tapes."""
    for environment in environments:
        total, length = 0.0, 0
        for event in environment.tape:
            if event[0] == "reset":
                continue
            total, length = total + event[3], length + 1
            if event[4] or event[5]:
                yield total, length
                total, length = 0.0, 0


def test_terminated_and_truncated_at_once_is_terminated():
    class Both(CountingEnv):
        def step(self, action):
            observation, reward, terminated, _, info = super().step(action)
            return observation, reward, terminated, terminated, info

    assert actor_of([Both(2)], 4).collect(0, 0.0).ended[:, 0].tolist() == [GOES_ON, TERMINATED] * 2


def test_rewards_are_scaled_then_clipped_and_reported_as_they_were():
    class Rising(CountingEnv):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, float(self.count - 3), *rest

    episodes = []
    actor = actor_of([Rising(5)], 5, scale=0.5, clip=0.75, on_episode=lambda *episode: episodes.append(episode))
    np.testing.assert_array_equal(actor.collect(0, 0.0).reward[:, 0], np.float32([-0.75, -0.5, 0, 0.5, 0.75]))
    assert episodes == [(0.0, 5)]
    np.testing.assert_array_equal(actor_of([Rising(5)], 5, scale=-2.0).collect(0, 0.0).reward[:, 0], [4, 2, 0, -2, -4])


def test_the_normaliser_shapes_what_is_learned_from_and_the_final_observation_too():
    environment = Taped(3, truncate=True)
    actor = actor_of([environment], 7)
    normaliser = actor.rounds.normaliser
    normaliser[0], normaliser[1], normaliser[2, 0] = [0.0, 1.0, 2.0], [1.0, 2.0, 30.0], 1.0
    taken = actor.collect(0, 0.0)
    expected = replay(environment.tape, 7)

    def shaped(rows):
        return np.clip((np.float32(rows) - normaliser[0]) * normaliser[1], -10, 10)

    np.testing.assert_allclose(taken.observation[:, 0], shaped(expected["observation"]))
    np.testing.assert_array_equal(actor.rounds.raw[:, 0], expected["observation"])
    for t in (2, 5):
        assert taken.ended[t, 0] == TRUNCATED
        np.testing.assert_allclose(taken.final_observation[t, 0], shaped(expected["final"][t]))


# Faults.


class BadReward(CountingEnv):
    def __init__(self, reward):
        super().__init__()
        self.reward = reward

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, self.reward if self.total == 3 else 1.0, *rest


class BadStep(CountingEnv):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def step(self, action):
        return self.result


class BadEnd(CountingEnv):
    """The last observation of an episode is not finite."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            observation[2] = np.inf
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (lambda: NaNEnv(3), "wrong observation: observation is not finite: nan at index 1 of 3"),
        (lambda: NaNEnv(5), "wrong observation: observation is not finite: nan at index 1 of 3"),  # the last of a round
        (lambda: WrongShapeEnv(3), r"wrong observation: observation has shape \(4,\), declared is \(3,\)"),
        (lambda: RaisingEnv(4), "step raised RuntimeError: raised at step 4, as asked"),
        (lambda: RaisingEnv(2, in_reset=True, length=2), "reset raised RuntimeError: raised in reset after 2 steps"),
        (lambda: BadEnd(3), "observation is not finite: inf at index 2"),
        (lambda: BadEnd(3, truncate=True), "observation is not finite: inf at index 2"),
        (lambda: BadReward(np.nan), "wrong reward: reward is not finite: nan"),
        (lambda: BadReward(np.inf), "wrong reward: reward is not finite: inf"),
        (lambda: BadReward(1e300), r"wrong reward: reward is not finite: 1e\+300"),
        (lambda: BadReward(None), "wrong reward: reward of type NoneType is not a number"),
        (lambda: BadReward("much"), "wrong reward: reward of type str is not a number"),
        (lambda: BadStep((np.zeros(3), 0.0, False, {})), "step raised ValueError: not enough values to unpack"),
        (lambda: BadStep(("text", 0.0, False, False, {})), "wrong observation: observation has dtype <U4"),
        (lambda: BadStep((None, 0.0, False, False, {})), "wrong observation"),
        (lambda: BadStep((np.full(3, 1e300), 0.0, False, False, {})), "observation is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_fault_is_named(environment, text, others):
    actor = actor_of([CountingEnv()] * others + [environment()], 5)
    with pytest.raises(EnvironmentFault, match=text) as caught:
        for _ in range(3):
            actor.collect(0, 0.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("environment", [NaNEnv(0), WrongShapeEnv(0), RaisingEnv(0, in_reset=True)], ids=["nan", "shape", "raises"])
def test_a_fault_in_the_first_reset_is_named(environment):
    with pytest.raises(EnvironmentFault, match="reset"):
        actor_of([environment], 5)


def test_a_reward_that_overflows_only_when_scaled_is_named():
    with pytest.raises(EnvironmentFault, match="reward_scale 1e"):
        actor_of([BadReward(1e30)], 5, scale=1e30).collect(0, 0.0)


def test_the_cause_is_kept():
    with pytest.raises(EnvironmentFault) as caught:
        actor_of([RaisingEnv(1)], 5).collect(0, 0.0)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_observation_as_a_list_of_the_right_length_is_taken():
    class Listed(CountingEnv):
        def observe(self):
            return super().observe().tolist()

    np.testing.assert_array_equal(actor_of([Listed()], 3).collect(0, 0.0).observation[:, 0, 1], [0, 1, 2, 3])


# What environments may do.


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([3, 5])], ids=["box", "multidiscrete"])
def test_an_environment_may_keep_and_change_its_actions(space):
    class Keeping(CountingEnv):
        def __init__(self):
            super().__init__()
            self.action_space, self.kept, self.copies = space, [], []

        def step(self, action):
            assert self.action_space.contains(action)
            self.kept.append(action)
            self.copies.append(action.copy())
            return super().step(action)

    environment = Keeping()
    actor = actor_of([environment], 4)
    for _ in range(3):
        actor.collect(0, 0.0)
    np.testing.assert_array_equal(environment.kept, environment.copies)
    before = actor.trajectory.action.copy()
    for action in environment.kept:
        action[:] = 0
    np.testing.assert_array_equal(actor.trajectory.action, before)


def test_an_environment_may_use_one_array_for_all_observations():
    class Reusing(Taped):
        def observe(self):
            self.store = getattr(self, "store", np.zeros(3, np.float32))
            self.store[:] = self.episode, self.count, self.total
            return self.store

    environment = Reusing(3, truncate=True)
    taken = actor_of([environment], 7).collect(0, 0.0)
    expected = replay(environment.tape, 7)
    np.testing.assert_array_equal(taken.observation[:, 0], expected["observation"])
    np.testing.assert_array_equal(taken.final_observation[2, 0], expected["final"][2])


def test_dictionaries_arrive_flat():
    taken = actor_of([DictEnv(4)], 6).collect(0, 0.0)
    assert taken.observation.shape == (7, 1, 11)
    np.testing.assert_array_equal(taken.observation[:, 0, 1], [0, 1, 2, 3, 0, 1, 2])
    np.testing.assert_array_equal(taken.observation[:, 0, 3:7].argmax(1), [0, 1, 2, 3, 0, 1, 2])


@pytest.mark.parametrize("first", [False, True])
def test_images_arrive_as_bytes_channels_first(first):
    actor = actor_of([ImageEnv(first, 3), ImageEnv(first, 4)], 5)
    taken = actor.collect(0, 0.0)
    assert taken.observation.dtype == np.uint8 and taken.observation.shape == (6, 2, 4 if first else 3, 84, 84)
    np.testing.assert_array_equal(taken.observation[:, 0, 0, 0, 0], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(taken.observation[:, 1, 0, 0, 0], [0, 1, 2, 3, 0, 1])
    assert 100 < taken.observation[:, :, 1].mean() < 155


def test_an_image_of_floats_is_refused():
    class Floats(ImageEnv):
        def observe(self):
            image = super().observe()
            return image if self.total < 2 else image / 255.0

    with pytest.raises(EnvironmentFault, match="dtype float64, declared is uint8"):
        actor_of([Floats(True)], 5).collect(0, 0.0)


# A recurrent policy's memory.


def test_memory_starts_empty_runs_through_rounds_and_ends_with_the_episode():
    steps, rounds = 4, 5
    environments = [CountingEnv(6), CountingEnv(3, truncate=True)]
    actor = actor_of(environments, steps, RECURRENT)
    taken = [copied(actor.collect(0, 0.0)) for _ in range(rounds)]
    import torch

    module, _ = actor.policy.module(actor._vector, None)
    memory = torch.zeros((2, 2, 5))
    empty = 0
    with torch.no_grad():
        for one in taken:
            np.testing.assert_allclose(one["memory"], memory.numpy(), atol=1e-6)
            empty += int((one["memory"] == 0).all(axis=(0, 2)).sum())
            for t in range(steps):
                _, _, memory = module.recur(torch.from_numpy(one["observation"][t]), memory)
                memory[:, one["ended"][t] != GOES_ON] = 0.0
    assert 2 < empty < 2 * rounds  # both at the start, later some


# What a checkpoint keeps.


@pytest.mark.parametrize("options", [SMALL, RECURRENT], ids=["light", "recurrent"])
@pytest.mark.parametrize("environment", [lambda: CountingEnv(6), lambda: ContinuousTargetEnv(size=2)], ids=["discrete", "box"])
def test_a_restored_actor_goes_on_bit_for_bit(options, environment):
    noise = [OrnsteinUhlenbeck(0.3)] if isinstance(environment(), ContinuousTargetEnv) else [Epsilon(0.2, 100), EntropyWeight(0.1)]
    environments = [environment(), environment()]
    actor = actor_of(environments, 4, options, noise)
    for round_number in range(3):
        actor.collect(0, 8.0 * round_number)
    kept, state = {name: array.copy() for name, array in actor.arrays().items()}, actor.generator.bit_generator.state
    before = [(one.episode, one.count, one.total) for one in environments]
    sums = list(actor.stepping.episode_returns), list(actor.stepping.episode_lengths)
    straight = [copied(actor.collect(3, 24.0)), copied(actor.collect(4, 32.0))]

    others = [environment(), environment()]
    again = actor_of(others, 4, options, noise, seed=99)
    again.collect(0, 0.0)
    again.restore(kept)
    again.generator.bit_generator.state = state
    for other, (episode, count, total) in zip(others, before):
        other.episode, other.count, other.total = episode, count, total
    again.stepping.episode_returns[:], again.stepping.episode_lengths[:] = sums
    for version, one in enumerate(straight, start=3):
        for name, array in copied(again.collect(version, 8.0 * version)).items():
            if name == "final_observation":  # of steps that were not truncated it holds whatever was there
                cut = one["ended"] == TRUNCATED
                np.testing.assert_array_equal(array[cut], one[name][cut])
            else:
                np.testing.assert_array_equal(array, one[name], err_msg=name)
    kept["raw"][:] = 0  # copies: nobody else's memory
    np.testing.assert_array_equal(again.arrays()["raw"], actor.arrays()["raw"])


class Ending(ContinuousTargetEnv):
    """Ends after the steps (counted over all episodes, from 1) that it is told."""

    def __init__(self, ends):
        super().__init__(size=2)
        self.ends, self.done = ends, 0

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        self.done += 1
        return observation, reward, self.done in self.ends, False, info


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_ornstein_uhlenbeck_noise_begins_anew_in_every_episode_and_goes_on_in_a_restored_actor(steps):
    """Against the recursion over the same normal numbers, restarted by hand: episodes that end within a round and at its end."""
    ends = [{3, 4, 10}, {5}]
    setting, rounds = OrnsteinUhlenbeck(0.3), 60 // steps
    actor = actor_of([Ending(one) for one in ends], steps, exploration=[setting])
    twin = np.random.default_rng(0)
    x = np.zeros((2, 2))
    for number in range(rounds):
        if number == rounds // 3:
            kept, state, stepping = actor.arrays(), actor.generator.bit_generator.state, actor.stepping
            actor = actor_of([ContinuousTargetEnv(size=2)] * 2, steps, exploration=[setting], seed=9)
            actor.stepping = stepping
            stepping.bind(actor.arrays_stepped, chooser(actor.policy, actor.act, actor.rounds))
            actor.restore(kept)
            actor.generator.bit_generator.state = state
        normal = twin.standard_normal((steps, 2, 2))
        actor.collect(number, 0.0)
        twin.bit_generator.state = actor.generator.bit_generator.state
        for t in range(steps):
            for e in range(2):
                if number * steps + t in ends[e]:
                    x[e] = 0.0
            x += -setting.theta * x + setting.value * normal[t]
            np.testing.assert_allclose(actor.rounds.extra_noise[t], x, atol=1e-14)


def test_begin_afresh_forgets_one_environment_only():
    actor = actor_of([Ending(set()), Ending(set())], 4, RECURRENT, [OrnsteinUhlenbeck(0.3)])
    actor.collect(0, 0.0)
    actor.stepping.episode_returns[:], actor.stepping.episode_lengths[:] = [3.0, 4.0], [5, 6]
    actor.memory.restore(actor.memory.array() + 1.0)
    actor.begin_afresh(1, np.float32([0.5, -0.5]))
    arrays = actor.arrays()
    assert (arrays["memory"][:, 0] != 0).all() and (arrays["memory"][:, 1] == 0).all()
    assert (arrays["exploration_memory"][0] != 0).all() and (arrays["exploration_memory"][1] == 0).all()
    np.testing.assert_array_equal(arrays["raw"], [[0, 0], [0.5, -0.5]])
    assert actor.stepping.episode_returns == [3.0, 0.0] and actor.stepping.episode_lengths == [5, 0]
