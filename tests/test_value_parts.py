"""Action values of two towers: a worker may take the best of a part of the set; what is learned and evaluated is the whole of it."""

from __future__ import annotations

import numpy as np
import pytest
from environments import FollowEnv
from gymnasium import spaces

import asyncrl
from asyncrl.envs.spec import spec_of
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.keyed_numbers import KEYS, half_bits, part_key, place_in
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, PART, TEMPERATURE
from asyncrl.store.checkpoint import newest, read_part

STEPS, ENVS, ACTIONS = 6, 3, 40
RUN = {"quiet": True, "workers": 2, "evaluation_episodes": 2, "head": "itt", "latent": 4}


class ManyEnv(FollowEnv):
    """Forty choices."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(ACTIONS)

    def step(self, action):
        return super().step(np.array([action / ACTIONS * 2.0 - 1.0], np.float32))


def prepared(selection: str = "brute"):
    """(the policy, what its worker acts in, its parameters as the head reads them); with random observations."""
    options = HEADS["itt"].options_type(latent=4, encoding="one-hot", selection=selection)
    policy = Policy(spec_of(ManyEnv()), "itt", NetworkOptions(hidden=(8,), head_options=options), role=Role.ACTION_VALUES)
    policy.fill_tables(0)
    vector = policy.initial(1)
    dense = policy.dense(vector)
    policy.expand(vector, dense)
    rounds = policy.round_arrays(STEPS, ENVS)
    generator = np.random.default_rng(2)
    rounds.raw[:] = generator.standard_normal(rounds.raw.shape)
    policy.head.draw(generator, rounds)
    return policy, rounds, dense


def acted(policy, rounds, dense, part: float, epsilon: float = 0.0):
    """What one compiled step after the other chooses [STEPS, ENVS], and the values of all actions there [STEPS, ENVS, ACTIONS]."""
    rounds.knobs[PART], rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = part, epsilon, 1.0
    step, rest = policy.head.light_kernel(policy.plan, dense, rounds)
    values = np.zeros((STEPS, ENVS, ACTIONS), np.float32)
    for t in range(STEPS):
        assert step(*rest, t)
        policy.head.values(rounds.policy_output, dense, values[t])
    return rounds.action[:, :, 0].copy(), values


def parts(rounds, count: int):
    """The actions [STEPS, ENVS, count] of each step's part, by its random number."""
    keys = (rounds.noise[0, :, :, -1] * KEYS).astype(np.int64)
    found = [[place_in(part_key(key, count), m, ACTIONS, half_bits(ACTIONS)) for m in range(count)] for key in keys.reshape(-1)]
    return np.array(found).reshape(STEPS, ENVS, count)


@pytest.mark.parametrize("selection", ["brute", "principal-tree"])
@pytest.mark.parametrize("count", [1, 3, 17, ACTIONS])
def test_a_worker_takes_the_best_of_its_part(selection, count):
    policy, rounds, dense = prepared(selection)
    chosen, values = acted(policy, rounds, dense, count)
    among = parts(rounds, count)
    best = np.take_along_axis(values, among, -1).max(-1)
    np.testing.assert_array_equal(np.take_along_axis(values, chosen[..., None], -1)[..., 0], best)
    assert (among == chosen[..., None]).any(-1).all()
    again = rounds.action.copy()
    for t in range(STEPS):
        policy.head.light_kernel(policy.plan, dense, rounds)  # what is bound for another changes nothing
        rounds.policy_output[:] = outputs_at(policy, dense, rounds, t)
        policy.head.choose(rounds, dense, t)
    np.testing.assert_array_equal(rounds.action, again)


def outputs_at(policy, dense, rounds, t):
    import torch

    with torch.inference_mode():
        return policy.module(dense, None)[0](torch.from_numpy(rounds.observation[t]))[0].numpy()


def test_without_a_part_it_is_the_best_of_all():
    policy, rounds, dense = prepared()
    chosen, values = acted(policy, rounds, dense, 0.0)
    np.testing.assert_array_equal(chosen, values.argmax(-1))
    of_parts, _ = acted(policy, rounds, dense, 3.0)
    assert (of_parts != chosen).mean() > 0.5


def test_epsilon_is_any_of_the_part():
    policy, rounds, dense = prepared()
    rounds.knobs[EPSILON] = 1.0
    policy.head.draw(np.random.default_rng(5), rounds)
    chosen, _ = acted(policy, rounds, dense, 5.0, epsilon=1.0)
    assert (parts(rounds, 5) == chosen[..., None]).any(-1).all()
    assert len(np.unique(chosen)) > 6


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["q1", "sarsa", "nq"])
def test_runs_with_parts_of_their_own(tmp_path, algo):
    settings = {**RUN, "encoding": "one-hot", "runs": str(tmp_path), "explore": "subset:2,15+epsilon:0.1"}
    result = asyncrl.train(algo, ManyEnv, steps=800, **settings)
    assert set(result.summary["return_by_exploration"]) == {"subset:2+epsilon:0.1", "subset:15+epsilon:0.1"}
    assert asyncrl.resume(result.folder, steps=1200, quiet=True, env=ManyEnv).status == "completed"


def test_values_of_a_box_with_parts(tmp_path):
    given = {**RUN, "set_size": 50, "steps": 600, "runs": str(tmp_path)}
    assert asyncrl.train("nq", FollowEnv, explore="subset:5", **given).status == "completed"
    with pytest.raises(UserError, match=r"subset:51 needs a set of as many actions \(allowed: up to 50\)"):
        asyncrl.train("nq", FollowEnv, explore="subset:51", **given)


def test_the_same_bits_in_sync_and_after_a_resume(tmp_path):
    settings = {**RUN, "encoding": "one-hot", "runs": str(tmp_path), "explore": "subset:1,2", "mode": "sync", "anneal": "constant"}
    whole = asyncrl.train("q1", "CartPole-v1", steps=800, **settings)
    half = asyncrl.train("q1", "CartPole-v1", steps=400, **settings)
    asyncrl.resume(half.folder, steps=800, quiet=True)
    first, second = (read_part(newest(one.folder), "run")[1]["parameters"] for one in (whole, half))
    assert first.tobytes() == second.tobytes()


def test_what_was_learned_is_played_from_the_whole_set(tmp_path):
    settings = {**RUN, "encoding": "one-hot", "runs": str(tmp_path), "explore": "subset:1"}
    policy = asyncrl.load(asyncrl.train("q1", ManyEnv, steps=400, **settings).folder)
    observation = np.random.default_rng(0).uniform(-1, 1, policy.spec.observation_shape).astype(np.float32)
    greedy = policy.act(observation)
    explored = {int(policy.act(observation, explore=True)) for _ in range(30)}
    assert len(explored) > 5, "one action at random"
    assert all(policy.act(observation) == greedy for _ in range(5)), "and no part is left over from exploring"
