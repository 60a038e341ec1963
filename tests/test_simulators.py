"""Compiled simulators: each gives what its environment gives, to the last bit; where there is none, the environment is stepped itself."""

from __future__ import annotations

import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from environments import CountingEnv
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from running import train
from tables import Table, arrays_of

import asyncrl
from asyncrl.actors.compiled_episodes import CompiledEpisodeRunner
from asyncrl.actors.episodes import EpisodeRunner, Observed
from asyncrl.actors.rollout import Actor
from asyncrl.algos import ALGORITHMS
from asyncrl.envs import CheckedEnvironment, EnvironmentFault, GymnasiumStepping, make_env, save_state, spec_of
from asyncrl.envs.compiled.cartpole import CartPole
from asyncrl.envs.compiled.check import first_difference
from asyncrl.envs.compiled.registry import SIMULATORS, begins, why_not
from asyncrl.envs.compiled.simulator import Simulator, simulating
from asyncrl.envs.compiled.stepping import MOST_STEPS, CompiledStepping
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads import HEADS
from asyncrl.heads.implicit.options import ImplicitOptions, TwoTowerOptions
from asyncrl.heads.implicit.table import SLOTS
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.search_player import HeadDeciding
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.scheduler.pace import Books
from asyncrl.topologies import topology_of
from asyncrl.topologies.actor_learner.worker import ActorLearner
from asyncrl.topologies.topology import Seat

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")

STEPS, ENVS = 50, 2


def ids() -> list[str]:
    """Of every environment of gymnasium's that has a simulator."""
    entries = {name: str(one.entry_point) for name, one in gymnasium.registry.items() if not name.startswith("phys2d")}
    places = {f"{place.split(':')[0].rpartition('.')[0]}:{place.split(':')[1]}" for place in SIMULATORS} | set(SIMULATORS)
    found = [name for name, entry in entries.items() if entry in places]
    return [name for name in found if name != "CartPole-v0" and _known(name)]


def _known(name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium's, of old versions
            environment = gymnasium.make(name, disable_env_checker=True)
    except (ImportError, TypeError, ValueError, gymnasium.error.Error):  # an old version that this MuJoCo refuses
        return False
    else:
        kind = type(environment.unwrapped)
        environment.close()
        return f"{kind.__module__}:{kind.__qualname__}" in SIMULATORS


KEYWORDS: list[tuple[str, dict[str, Any]]] = [
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("CartPole-v1", {"max_episode_steps": 9}),
    ("MountainCar-v0", {"goal_velocity": 0.01}),
    ("MountainCarContinuous-v0", {"goal_velocity": 0.01}),
    ("Pendulum-v1", {"g": 9.81}),
    ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False, "forward_reward_weight": 2.0, "ctrl_cost_weight": 0.3}),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False, "frame_skip": 2, "reset_noise_scale": 0.3}),
    ("Hopper-v5", {"terminate_when_unhealthy": False, "healthy_reward": 0.5}),
    ("Hopper-v5", {"healthy_state_range": (-2.0, 2.0), "healthy_angle_range": (-0.5, 0.5)}),
    ("Hopper-v4", {"terminate_when_unhealthy": False}),
    ("Walker2d-v5", {"healthy_z_range": (0.5, 3.0), "ctrl_cost_weight": 0.1}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3.0}),
    ("Reacher-v5", {"reward_dist_weight": 0.3, "reward_control_weight": 0.7}),
    ("Pusher-v5", {"reward_near_weight": 0.3, "reward_dist_weight": 2, "reward_control_weight": 0.7}),
    ("Ant-v5", {"include_cfrc_ext_in_observation": False, "healthy_z_range": (0.3, 0.7), "contact_cost_weight": 0.1}),
    ("Ant-v5", {"exclude_current_positions_from_observation": False, "contact_force_range": (-0.1, 0.2)}),
    ("Humanoid-v5", {"include_cinert_in_observation": False, "contact_cost_weight": 1e-3, "contact_cost_range": (0.0, 0.1)}),
    ("HumanoidStandup-v5", {"include_cvel_in_observation": False, "impact_cost_weight": 1e-3, "impact_cost_range": (0.0, 0.1)}),
]


class Side:
    """Environments behind one kind of stepping, which takes actions from a table."""

    def __init__(self, kind: Any, source: Any, steps: int = STEPS, envs: int = ENVS, heeds_ends: bool = True) -> None:
        self.episodes: list[tuple[float, int]] = []
        environments = [make_env(source) for _ in range(envs)]
        self.spec = spec = spec_of(environments[0])
        self.stepping = kind(environments, spec, lambda *episode: self.episodes.append(episode))
        self.arrays, given = arrays_of(spec, steps, envs), Table(spec, steps, envs)
        self.table = given.actions
        given.chooser.heeds_ends = heeds_ends
        self.stepping.bind(self.arrays, given.chooser)
        self.stepping.reset(list(range(envs)))

    def round(self, actions: Any) -> None:
        """One round with actions [STEPS, E, C]."""
        self.table[:] = actions
        self.stepping.begin_round()
        t = 0
        while t < len(self.table):
            t, _ = self.stepping.play(t, False)


def compare(source: Any, rounds: int, heeds_ends: bool = True) -> Side:
    """Play both ways; every array, every episode and the environments' states in the end are the same."""
    there, here = Side(GymnasiumStepping, source), Side(CompiledStepping, source, heeds_ends=heeds_ends)
    assert why_not(here.stepping.environments[0]) is None
    generator, spec = np.random.default_rng(0), here.spec
    for _ in range(rounds):
        if spec.action_kind == "discrete":
            actions: Any = generator.integers(spec.action_sizes[0], size=here.table.shape)
        else:
            low, high = np.maximum(spec.action_low, -1e3), np.minimum(spec.action_high, 1e3)
            actions = generator.uniform(low, high, here.table.shape)
            actions = np.where(generator.random(here.table.shape) < 0.2, np.where(actions > 0, high, low), actions)
        there.round(actions)
        here.round(actions)
        for name, array in vars(there.arrays).items():
            np.testing.assert_array_equal(getattr(here.arrays, name), array, err_msg=name)
    assert here.episodes == there.episodes
    assert list(here.stepping.episode_returns) == list(there.stepping.episode_returns)
    here.stepping.settle()
    for mine, other in zip(here.stepping.environments, there.stepping.environments):
        one, two = save_state(mine), save_state(other)
        assert one is not None and two is not None and one[0] == two[0]
        assert all(np.array_equal(one[1][name], two[1][name], equal_nan=True) for name in two[1])
    return here


@pytest.mark.parametrize("name", ids())
def test_it_is_the_environment_to_the_last_bit(name):
    compare(name, 8)


BEGINNING = [("CartPole-v1", {}), ("CartPole-v1", {"max_episode_steps": 30}), ("MountainCar-v0", {}), ("MountainCarContinuous-v0", {})]
"""Environments whose simulators begin episodes too."""


def _near_the_goal(name, keywords):
    """The environment; a car's goal is where random actions come."""
    environment = gymnasium.make(name, disable_env_checker=True, **keywords)
    if "Car" in name:
        environment.unwrapped.goal_position = -0.4
    return environment


@pytest.mark.parametrize(("name", "keywords"), BEGINNING)
def test_episodes_that_begin_in_compiled_code_are_those_of_reset(name, keywords):
    """Some end by the time limit, which Python begins: both draw from one stream."""
    here = compare(lambda: _near_the_goal(name, keywords), 20, heeds_ends=False)
    assert begins(here.stepping.environments[0])
    assert len(here.episodes) > 5


def test_python_is_left_where_an_episode_is_begun_by_the_simulator(monkeypatch):
    here = Side(CompiledStepping, "CartPole-v1", heeds_ends=False)
    monkeypatch.setattr(here.stepping, "_begin_episode", lambda e: pytest.fail("Python began an episode"))
    here.round(np.ones(here.table.shape))
    assert len(here.episodes) >= 2 * ENVS


def test_a_reset_of_ones_own_is_not_passed_over():
    class Own(CartPoleEnv):
        simulator = CartPole

        def reset(self, *, seed=None, options=None):
            _, told = super().reset(seed=seed)
            self.state = self.state * 0.5
            return np.array(self.state, np.float32), told

    assert not begins(make_env(Own))
    here = compare(Own, 4, heeds_ends=False)
    assert len(here.episodes) > 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ids())
def test_it_is_the_environment_over_20_000_steps(name):
    """With ends of both kinds, wherever an environment has them."""
    side = compare(name, 20_000 // (STEPS * ENVS))
    assert side.episodes


@pytest.mark.parametrize(("name", "keywords"), KEYWORDS)
def test_keywords_are_followed(name, keywords):
    compare(lambda: gymnasium.make(name, disable_env_checker=True, **keywords), 4)


def test_every_simulator_is_compared():
    compared = {type(gymnasium.make(name, disable_env_checker=True).unwrapped) for name in ids()}
    assert {f"{kind.__module__}:{kind.__qualname__}" for kind in compared} == set(SIMULATORS)


def test_attributes_that_were_changed_are_followed():
    def nips() -> Any:
        environment = gymnasium.make("Acrobot-v1", disable_env_checker=True)
        environment.unwrapped.book_or_nips = "nips"  # type: ignore[attr-defined]
        environment.unwrapped.dt = 0.1  # type: ignore[attr-defined]
        return environment

    compare(nips, 8)


# Where there is none.


class Replaced(gymnasium.Wrapper):  # type: ignore[type-arg]
    """A wrapper of the user's."""


def noisy() -> Any:
    environment = gymnasium.make("Acrobot-v1")
    environment.unwrapped.torque_noise_max = 0.1  # type: ignore[attr-defined]
    return environment


def patched() -> Any:
    environment = gymnasium.make("CartPole-v1")
    environment.unwrapped.step = lambda action: None  # type: ignore[method-assign, assignment, return-value]
    return environment


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Replaced(gymnasium.make("CartPole-v1")), "it is wrapped in Replaced"),
        (lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1"), 10), "it has two time limits"),
        (lambda: gymnasium.make("CartPole-v1", render_mode="rgb_array"), "it is rendered"),
        (CountingEnv, "CountingEnv has no compiled simulator"),
        (noisy, "its torques are noisy, or not three"),
        (patched, "its step was replaced"),
    ],
)
def test_why_there_is_none(make, reason):
    assert why_not(make()) == reason


def test_a_model_that_calls_python_is_not_simulated():
    import mujoco

    environment = gymnasium.make("HalfCheetah-v5")
    assert why_not(environment) is None
    mujoco.set_mjcb_control(lambda model, data: None)
    try:
        assert why_not(environment) == "MuJoCo calls functions of Python (mjcb)"
    finally:
        mujoco.set_mjcb_control(None)


# One of the user's own.


@simulating
def _grow(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    words[0] += 1
    numbers[0] = numbers[0] * 1.1 + action[0]
    observation[0] = numbers[0] if words[0] != words[1] else np.nan
    return numbers[0], words[0] >= 9


class GrowingSimulator(Simulator):
    """Of `Growing`."""

    simulate = _grow

    def __init__(self, environment: Any) -> None:
        super().__init__(environment, 2, 1)

    def adopt(self) -> None:
        self.words[:], self.numbers[:] = (self.environment.steps, self.environment.breaks), self.environment.x

    def settle(self) -> None:
        self.environment.steps, self.environment.x = int(self.words[0]), float(self.numbers[0])


class Growing(gymnasium.Env):  # type: ignore[type-arg]
    """Its state grows; `exponent`: what it should be 1 for its simulator to be right; `breaks`: at which step it shows no number."""

    simulator = GrowingSimulator
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, wrong: float = 0.0, breaks: int = 0) -> None:
        self.x, self.steps, self.wrong, self.breaks = 0.0, 0, wrong, breaks

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.steps = float(self.np_random.uniform()), 0
        return np.array([self.x], np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.x = self.x * (1.1 + self.wrong) + float(action[0])
        seen = self.x if self.steps != self.breaks else np.nan
        return np.array([seen], np.float32), self.x, self.steps >= 9, False, {}


def test_an_environment_of_ones_own_names_its_simulator():
    compare(Growing, 4)


def test_a_simulator_that_differs_is_found_out():
    spec = spec_of(make_env(Growing))
    assert first_difference(Growing(), Growing(), spec) is None
    assert first_difference(Growing(), Growing(wrong=1e-15), spec) == "reward or end at step 0"
    assert first_difference(Growing(), Growing(wrong=1e-3), spec) == "observation at step 0"


@simulating
def _fails(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    return observation.never_there, False


@simulating
def _returns_one(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    return 1.0


@pytest.mark.parametrize(("function", "reason"), [(_fails, "Unknown attribute 'never_there'"), (_returns_one, "returns float64")])
def test_a_simulator_that_cannot_be_compiled_is_told(tmp_path, function, reason):
    """The run takes the environment itself."""

    class Broken(GrowingSimulator):
        simulate = function

    class Own(Growing):
        simulator = Broken

    run = train(tmp_path, Own, algo="a3c", workers=1, steps=50, evaluation_episodes=0)
    assert run.summary["simulator"] == "gymnasium"
    refused = train(tmp_path, Own, algo="a3c", workers=1, steps=50, simulator="compiled")
    assert isinstance(refused.error, UserError) and "its simulator cannot be compiled: " in str(refused.error)
    assert reason in str(refused.error)


def test_an_environment_that_raises_while_both_are_compared_is_told_as_ever(tmp_path):
    """Not by a traceback of the comparison: the run steps the environment itself, and tells what it raises there."""

    class Raising(Growing):
        simulator = GrowingSimulator

        def step(self, action: Any) -> Any:
            if self.steps == 3:
                raise RuntimeError("the engine has no memory left")
            return super().step(action)

    refused = train(tmp_path, Raising, algo="a3c", workers=1, steps=50, simulator="compiled")
    assert isinstance(refused.error, UserError)
    assert "cannot be used: the environment's step raised RuntimeError: the engine has no memory left" in str(refused.error)
    run = train(tmp_path, Raising, algo="a3c", workers=1, steps=50, max_failures=1)
    assert "step raised RuntimeError: the engine has no memory left" in str(run.error)


def test_time_in_environments_is_no_more_than_a_rollout_took(tmp_path, monkeypatch):
    """A step that is timed for sixteen may be the one at which another program had the core."""
    experiment = Experiment("a3c", "CartPole-v1", workers=1, options=ALGORITHMS["a3c"].options_type())
    topology = topology_of(experiment)
    try:
        topology.begin()
        plan = topology.body_of(Seat(0, 0, None, None, tmp_path))[1]
        worker = ActorLearner(plan)
        worker._books = Books(topology.ground.ledger, 0)
        told = iter([1.0, 5.0, 5.0, 5.0])
        monkeypatch.setattr(CompiledStepping, "seconds", property(lambda self: next(told)))
        began = time.perf_counter()
        worker._collect(0, 0.0)
        assert 0.0 < worker._environment_seconds <= time.perf_counter() - began
        worker._collect(0, 0.0)
        assert worker._environment_seconds == 0.0
    finally:
        topology.close()


def test_an_observation_that_is_not_finite_is_told():
    side = Side(CompiledStepping, lambda: Growing(breaks=9))
    with pytest.raises(EnvironmentFault, match=r"^step returned a wrong observation: observation is not finite: nan at index 0 of 1$"):
        side.round(np.zeros(side.table.shape))


def _broken_in_workers():
    environment = gymnasium.make("HalfCheetah-v5")
    if asyncrl.worker().role == "worker":
        environment.unwrapped.model.opt.integrator = 77
    return environment


@pytest.mark.parametrize("algo", ["a3c", "es"])
def test_a_fatal_error_of_mujocos_is_told(algo, tmp_path):
    """Within a compiled round nothing can be raised, and by itself MuJoCo ends the process with a line in its own log."""
    with pytest.raises(UserError, match=r"worker 0 .*MuJoCo ended the process: .*integrator"):
        asyncrl.train(algo, _broken_in_workers, simulator="compiled", workers=1, steps=2000, runs=str(tmp_path), quiet=True)


def test_a_long_round_is_played_in_parts():
    """Signals wait for the end of a call."""
    side = Side(CompiledStepping, "MountainCar-v0", steps=4 * MOST_STEPS, envs=1)
    ends, t = [], 0
    side.stepping.begin_round()
    while t < len(side.table):
        t, over = side.stepping.play(t, False)
        ends.append((t, bool(over)))
    assert all(end - begin <= MOST_STEPS for (begin, _), (end, _) in zip([(0, False), *ends], ends))
    assert ends[0] == (200, True) and ends[-1] == (4 * MOST_STEPS, False)


# Whole episodes.


@pytest.mark.parametrize("limit", [0, 300])
@pytest.mark.parametrize(
    ("name", "head", "options", "bins"),
    [
        ("CartPole-v1", "linear", {}, 0),
        ("Acrobot-v1", "mlp", {"hidden": (8,)}, 0),
        ("HalfCheetah-v5", "linear", {}, 0),
        ("HalfCheetah-v5", "mlp", {"hidden": (8,), "squash": True}, 0),
        ("InvertedPendulum-v5", "mlp", {"hidden": (8, 8)}, 0),
        ("Pendulum-v1", "toeplitz", {"hidden": (8,)}, 5),
    ],
)
def test_episodes_are_those_of_the_environment(name, head, options, bins, limit):
    spec = spec_of(make_env(name))
    policy = SearchPolicy(spec, head, NetworkOptions(**options), bins)
    vector = np.random.default_rng(1).standard_normal(policy.size).astype(np.float32)
    played = []
    for compiled in (False, True):
        player, checked, observed = policy.player(), CheckedEnvironment(make_env(name), spec), Observed(spec.observation_size)
        player.set(vector)
        assert player.deciding is not None
        runner = (
            CompiledEpisodeRunner(checked, player.deciding, lambda: None, False)
            if compiled
            else EpisodeRunner(checked, player, lambda: None)
        )
        episodes = [runner.run(seed, limit, observed) for seed in range(3)]
        played.append((episodes, observed.count, observed.mean.tolist(), observed.square.tolist()))
    assert played[0] == played[1]


def played_by_head(policy, vector, name, compiled, beat=lambda: None):
    """Two episodes of a head's own steps, the second one with other parameters, and what was observed."""
    player, checked, observed = policy.player(), CheckedEnvironment(make_env(name), policy.spec), Observed(policy.spec.observation_size)
    kind = CompiledEpisodeRunner if compiled else EpisodeRunner
    assert isinstance(player.deciding, HeadDeciding)
    runner = kind(checked, player.deciding if compiled else player, beat, False)
    episodes = []
    for seed, parameters in enumerate((vector, vector[::-1].copy())):
        player.set(parameters)
        episodes.append(runner.run(seed, 300, observed))
    return episodes, observed.count, observed.mean.tolist(), observed.square.tolist()


@pytest.mark.parametrize(
    ("name", "head", "options"),
    [
        ("HalfCheetah-v5", "explicit", {}),
        ("CartPole-v1", "explicit", {"encoding": "one-hot"}),
        ("CartPole-v1", "itt", {"encoding": "one-hot"}),
        ("HalfCheetah-v5", "itt", {"set_size": 50}),
        ("Pendulum-v1", "itt", {"set_size": 50, "resample": "subset", "subset": 9}),
        ("Pendulum-v1", "itt", {"set_size": 50, "resample": "iteration"}),
        ("HalfCheetah-v5", "itt", {"set_size": 50, "resample": "transition"}),
        ("HalfCheetah-v5", "itt", {"set_size": 3000, "selection": "projections", "scanned": 64}),
        ("HalfCheetah-v5", "itt", {"set_size": 3000, "selection": "principal-tree", "scanned": 64}),
        ("HalfCheetah-v5", "iot", {"set_size": 50}),
        ("Acrobot-v1", "iot", {}),
    ],
)
def test_episodes_of_a_heads_own_steps_are_those_of_the_environment(name, head, options):
    played = []
    for compiled in (False, True):
        policy = SearchPolicy(spec_of(make_env(name)), head, NetworkOptions(head_options=HEADS[head].options_type(**options)))
        policy.fill_tables(3)
        played.append(played_by_head(policy, policy.initial(1), name, compiled))
    assert played[0] == played[1]
    assert played[0][1] > 1


@pytest.mark.parametrize("announced", [True, False])
def test_latents_that_others_take_away_during_an_episode(announced):
    """Between parts of an episode others ask for the latents of so many parameters that no slot of the table is left."""
    name, played = "HalfCheetah-v5", []
    for others in (0, SLOTS + 1):
        options = NetworkOptions(head_options=TwoTowerOptions(set_size=50))
        policy, taker = (SearchPolicy(spec_of(make_env(name)), "itt", options) for _ in range(2))
        policy.fill_tables(3)
        policy.head.attach_caches({n: np.zeros(shape, kind) for n, (shape, kind) in policy.head.cache_layout().items()})
        taker.head.attach(policy.head.tables)
        taker.head.attach_caches(policy.head.caches)
        if announced:
            policy.head.announce(policy.initial(1))

        def beat(taker=taker, others=others):
            for seed in range(2, 2 + others):
                taker.head.announce(taker.initial(seed))
                taker.head._latents.of(taker.initial(seed)[-taker.head.extra_size :])

        played.append(played_by_head(policy, policy.initial(1), name, True, beat))
    assert played[0] == played[1]


def test_what_refines_is_stepped_by_the_environment():
    policy = SearchPolicy(spec_of(make_env("Pendulum-v1")), "iot", NetworkOptions(head_options=ImplicitOptions(selection="refine")))
    policy.fill_tables(3)
    assert policy.why_not_compiled() == "head 'iot' does more than one compiled call a step"
    assert policy.player().deciding is None


@pytest.mark.parametrize("kind", [GymnasiumStepping, CompiledStepping])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_outputs_that_are_kept_are_those_that_actions_were_drawn_from(kind, name):
    """At every step, whoever steps: what the network gives for what the policy saw, and the log-probability follows from them."""
    environments = [make_env(name) for _ in range(ENVS)]
    policy = Policy(spec_of(environments[0]), "auto", NetworkOptions())
    vector = policy.initial(1)
    actor = Actor(kind(environments, policy.spec), policy, vector, STEPS, [], np.random.default_rng(0), keeps_outputs=True)
    actor.reset([1, 2])
    for _ in range(3):
        trajectory = actor.collect(0, 0.0)
        module, _ = policy.module(vector, None)
        with torch.inference_mode():
            expected = module(torch.from_numpy(trajectory.observation[:-1].reshape(STEPS * ENVS, -1)))[0].numpy()
        np.testing.assert_allclose(actor.outputs.reshape(STEPS * ENVS, -1), expected, atol=1e-5)
    assert actor.outputs.std(axis=0).min() > 0
