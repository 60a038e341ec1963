"""What every head must hold, in every role that it has: a new head meets this contract by its line in `HEADS`."""

from __future__ import annotations

import inspect
import itertools
import multiprocessing
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from environments import ContinuousTargetEnv
from gymnasium import spaces
from tilted_head import PROCESSES, AskingHead, Registering, TiltedHead

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.a3c import A3COptions
from asyncrl.algos.es import EsOptions
from asyncrl.algos.td3 import Td3Options
from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment, RunOptions
from asyncrl.heads import HEADS
from asyncrl.heads.choice import AUTO, REPLAY_ROLES, made
from asyncrl.heads.head import Head
from asyncrl.heads.networks.compact import LAYERS
from asyncrl.heads.networks.greedy_modules import GreedyModule
from asyncrl.heads.networks.kernels import policy_forward, workspace_size
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy, round_arrays
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, KNOBS, TEMPERATURE, LossRows
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tables import attach_tables, restore_tables, tables_layout, tables_to_keep
from asyncrl.heads.tower import TowerPolicy
from asyncrl.session.learned import LearnedPolicy
from asyncrl.session.loading import load
from asyncrl.session.session import Session
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.sealed import SealedArray
from asyncrl.store.checkpoint import newest, read_part, write_part
from asyncrl.topologies.players import player_of
from asyncrl.topologies.streams.plan import stream_policy, updater_of, updater_type
from asyncrl.workers.plan import task_of
from asyncrl.workers.player import Snapshot

SPACES = {
    "discrete": spaces.Discrete(3, start=5),
    "multidiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "box": spaces.Box(np.float32([-2.0, 0.5]), np.float32([2.0, 0.75]), dtype=np.float32),
}
LINE = spaces.Box(-2.0, 2.0, (1,), np.float32)
TESTED = {**HEADS, TiltedHead.name: TiltedHead}
CASES = [
    (head, kind, role)
    for head in TESTED.values()
    for role in sorted(head.roles, key=str)
    for kind in head.for_role(role).action_kinds
]
NEEDED = {
    Role.ACTOR_CRITIC: ("choose", "light_kernel", "log_prob", "log_prob_and_entropy", "output_gradient", "divergence"),
    Role.ACTION_VALUES: ("choose", "light_kernel", "output_gradient", "chosen"),
    Role.REPLAY: ("choose", "light_kernel"),
    Role.SOFT_REPLAY: ("choose", "light_kernel"),
    Role.SEARCH: ("choose", "light_kernel"),
}


def cases(*roles, names=("head", "kind", "role")):
    """Every head of these roles, with each kind of actions that it is made for."""
    chosen = [case for case in CASES if case[2] in roles]
    return pytest.mark.parametrize(names, chosen, ids=[f"{head.name}-{kind}-{role.value}" for head, kind, role in chosen])


every_case = cases(*Role)
that_learns = cases(Role.ACTOR_CRITIC, Role.ACTION_VALUES)
distributions = cases(Role.ACTOR_CRITIC)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(HEADS, TiltedHead.name, TiltedHead)


def spec_of(space):
    """With features of the choices of a Discrete space, which heads need that propose these."""
    features = np.random.default_rng(4).uniform(-1, 1, (space.n, 2)) if isinstance(space, spaces.Discrete) else None
    return EnvSpec((4,), "float32", *_action(space), action_features=None if features is None else SealedArray(features))


def policy_of(head, kind, role, **options):
    """A policy over layers of 8 units; tables are filled."""
    layers = {} if head.name == "iot" else {"hidden": (8,)}  # whose network is one layer
    spec, network = spec_of(SPACES[kind]), NetworkOptions(**layers, **options)
    if role in REPLAY_ROLES:
        policy = TowerPolicy(spec, head.name, (8,), role=role)
    elif role is Role.SEARCH:
        policy = SearchPolicy(spec, "mlp" if head.name in AUTO[role].values() else head.name, network)
    else:
        policy = Policy(spec, head.name, network, role=role)
    assert type(policy.head) is head.for_role(role)
    policy.fill_tables(3)
    return policy


def lively(policy, seed=0):
    """Parameters with which the outputs differ from each other."""
    return (0.5 * np.random.default_rng(seed).standard_normal(policy.size)).astype(np.float32)


def acted(policy, vector, seed=0, **knobs):
    """Round arrays after 4 steps in 3 environments by the compiled kernel."""
    rounds = round_arrays(policy.spec, policy.head, policy.plan, (4, 3))
    rounds.raw[:] = np.random.default_rng(seed).standard_normal(rounds.raw.shape)
    for name, value in knobs.items():
        rounds.knobs[{"temperature": TEMPERATURE, "epsilon": EPSILON}[name]] = value
    policy.head.draw(np.random.default_rng(seed), rounds)
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    for t in range(4):
        assert kernel(*arguments, t)
    return rounds


def rows_of(policy, rows=7, seed=0):
    """Random outputs, weights, and actions that this head has drawn itself."""
    generator, head = np.random.default_rng(seed), policy.head
    output = generator.standard_normal((rows, head.policy_outputs)).astype(np.float32)
    arrays = round_arrays(policy.spec, head, None, (1, rows))
    arrays.policy_output[:] = output
    head.draw(generator, arrays)
    head.choose(arrays, policy.initial(0), 0)
    weight = generator.standard_normal(rows).astype(np.float32)
    return LossRows(output, np.full_like(output, np.nan), arrays.action[0].copy(), weight)


# What a head says of itself.


@pytest.mark.parametrize("head", TESTED.values(), ids=TESTED)
def test_a_head_says_what_it_is(head):
    assert TESTED[head.name] is head and head.description and len(head.description) < 90
    assert head.roles and head.roles <= set(Role) and set(head.action_kinds) <= set(SPACES)
    numbers = head.action_kinds == ("box",) or head.roles <= REPLAY_ROLES
    assert head.action_dtype is (np.float32 if numbers else np.int64)
    assert head.name not in LAYERS and head.name != "auto"


@pytest.mark.parametrize("head", TESTED.values(), ids=TESTED)
def test_members_have_the_contracts_parameters(head):
    for name, member in inspect.getmembers(Head, inspect.isfunction):
        if not name.startswith("__"):
            assert list(inspect.signature(getattr(head, name)).parameters) == list(inspect.signature(member).parameters), name


@every_case
def test_a_head_has_what_its_roles_need(head, kind, role):
    own = {name for name in dir(Head) if getattr(head.for_role(role), name) is not getattr(Head, name)}
    assert set(NEEDED[role]) - own <= ({"output_gradient"} if "loss_kernel" in own else set())


def test_what_a_head_lacks_is_named():
    head = made("deterministic", spec_of(LINE), NetworkOptions())
    with pytest.raises(NotImplementedError, match="head 'deterministic' has no 'chosen'; its roles are: replay"):
        head.chosen(None, None, None)


@every_case
def test_sizes(head, kind, role):
    policy = policy_of(head, kind, role)
    spec, made_head = policy.spec, policy.head
    learnt = role in REPLAY_ROLES and kind != "box"
    assert made_head.components == (head.learnt_size(spec, made_head.chosen_options) if learnt else spec.action_size)
    assert made_head.policy_outputs > 0
    assert made_head.sizes.tolist() == list(spec.action_sizes)
    assert made_head.bounds.shape == (2, made_head.components if kind == "box" else 0)
    own = made_head.initial(np.random.default_rng(0))
    assert own.shape == (made_head.extra_size,) and own.dtype == np.float32
    if role in REPLAY_ROLES:
        assert made_head.extra_size == 0 or head.learners
        assert made_head.policy_outputs == made_head.components * (2 if role is Role.SOFT_REPLAY else 1) or head.learners


@pytest.mark.parametrize("head", TESTED.values(), ids=TESTED)
def test_other_actions_are_refused(head):
    for role in (None, *head.roles):
        for kind in set(SPACES) - set((head if role is None else head.for_role(role)).action_kinds):
            with pytest.raises(UserError, match=f"head '{head.name}' needs .* actions, this environment's are"):
                made(head.name, spec_of(SPACES[kind]), NetworkOptions(), role)


# What it prefers.


def dense_of(policy, vector):
    """The parameters as kernels and head read them."""
    searched = isinstance(policy, SearchPolicy)
    dense = np.zeros(policy.network.dense_size + policy.extra_size, np.float32) if searched else policy.dense(vector)
    policy.expand(vector, dense)
    return dense


@every_case
def test_energies_are_those_of_what_it_chooses(head, kind, role):
    """Of a head that has them: the greedy action has the least, among all that it considered and in the whole box."""
    policy = policy_of(head, kind, role)
    if not policy.head.energy or (role is Role.SEARCH and policy.head.decides):
        return
    vector = dense_of(policy, lively(policy))
    rounds = acted(policy, vector, temperature=0.0)
    output = rounds.policy_output[2].copy()
    chosen = (rounds.bounded if kind == "box" else rounds.action)[3, 2].astype(np.float64)
    if policy.head.places and kind != "box":
        chosen = policy.head.tables["values"][rounds.action[3, 2, 0]].astype(np.float64)
    least = policy.head.energies(output, vector, chosen.reshape(1, -1))[0]
    actions, energies = policy.head.considered(output, vector)
    assert energies.shape == (len(actions),) and actions.shape == (len(actions), policy.head.components)
    if len(actions):
        np.testing.assert_allclose(actions[energies.argmin()], chosen)
        np.testing.assert_allclose(policy.head.energies(output, vector, actions), energies, atol=1e-5)
        assert least == pytest.approx(energies.min(), abs=1e-5)
        assert len(actions) == 1 or energies.max() > energies.min()
    else:
        low, high = policy.head.bounds
        anywhere = np.random.default_rng(1).uniform(low, high, (500, len(low)))
        assert (policy.head.energies(output, vector, anywhere) >= least - 1e-6).all()


@distributions
@pytest.mark.parametrize("options", [{}, {"energy": "softmax"}, {"energy": "angular"}, {"normalize_latents": True}])
def test_energies_are_those_of_the_probabilities(head, kind, role, options):
    """Of a distribution, -E differs from the logarithm of the density by the same number for every action."""
    if not head.energy or not set(options) <= {field.name for field in fields(head.options_type)}:
        return
    policy = policy_of(head, kind, role, head_options=head.options_type(**options))
    vector = dense_of(policy, lively(policy))
    rounds = acted(policy, vector, temperature=0.3)
    output, log_probs, energies = rounds.policy_output[0], np.zeros(4, np.float32), np.zeros(4)
    for t in range(4):
        action = rounds.action[t, :1]
        policy.head.log_prob(output[None], vector, action, np.array([1.0, 0.0]), log_probs[t : t + 1])
        given = rounds.bounded[t, :1] if kind == "box" else action
        energies[t] = policy.head.energies(output, vector, policy.head.tables["values"][action[0]] if policy.head.places else given)[0]
        if not policy.head.places and kind == "box" and np.abs(action).max() > 1.0:
            energies[t] = log_probs[t] = np.nan  # which was cut at a bound
    sums = (energies + log_probs)[np.isfinite(energies)]
    np.testing.assert_allclose(sums, sums[0], atol=1e-4)
    assert len(sums) > 1 and np.ptp(energies[np.isfinite(energies)]) > 1e-3


# Acting.


@cases(*set(Role) - {Role.SEARCH})
def test_acting_is_that_of_torch(head, kind, role):
    policy = policy_of(head, kind, role)
    vector = lively(policy)
    rounds = acted(policy, vector, epsilon=0.3)
    assert rounds.action.dtype == head.action_dtype and rounds.action.shape == (4, 3, policy.head.stored)
    assert np.isfinite(rounds.action).all() and np.isfinite(rounds.bounded).all()
    module, _ = policy.module(vector, None)
    for t in range(4):
        action, bounded = rounds.action[t].copy(), rounds.bounded[t].copy()
        for e in range(3):
            assert SPACES[kind].contains(policy.head.environment_action(rounds, t, e))
        with torch.no_grad():
            rounds.policy_output[:] = module(torch.from_numpy(rounds.observation[t]))[0].numpy()
        rounds.action[t], rounds.bounded[t] = 0, 0
        policy.head.choose(rounds, vector, t)
        np.testing.assert_allclose(rounds.action[t], action, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rounds.bounded[t], bounded, rtol=1e-4, atol=1e-5)


@cases(*set(Role) - {Role.SEARCH})
def test_an_observation_that_is_not_finite_is_told(head, kind, role):
    policy = policy_of(head, kind, role)
    rounds = policy.round_arrays(1, 2)
    kernel, arguments = policy.head.light_kernel(policy.plan, lively(policy), rounds)
    rounds.raw[0, 1, 2] = np.nan
    assert not kernel(*arguments, 0)


@every_case
def test_temperature_zero_reads_no_random_number(head, kind, role):
    policy = policy_of(head, kind, role)
    found = []
    for seed in (0, 1):
        rounds = round_arrays(policy.spec, policy.head, None, (1, 5))
        rounds.policy_output[:] = np.random.default_rng(9).standard_normal(rounds.policy_output.shape)
        rounds.knobs[TEMPERATURE] = 0.0
        policy.head.draw(np.random.default_rng(seed), rounds)
        policy.head.choose(rounds, np.zeros(policy.size, np.float32), 0)
        found.append(rounds.action[0].copy())
    np.testing.assert_array_equal(*found)


@cases(*REPLAY_ROLES)
def test_a_replays_greedy_action_is_the_learners(head, kind, role):
    policy = policy_of(head, kind, role)
    for table in policy.head.tables.values():
        table[:] = 0
    vector, components = lively(policy), policy.head.components
    rounds = acted(policy, vector, temperature=0.0)
    entry = ALGORITHMS["td3" if role is Role.REPLAY else "sac"]
    kind_of_learner = entry.found(head.learners.get(entry.name, entry.place))
    learner = kind_of_learner.under(policy.head, 4, entry.options_type(), 0, (8,))
    learner.policy.vector[:] = vector[: learner.published_size]
    learner.critics.vector[: policy.critic_size] = vector[learner.published_size :]
    expected = learner.greedy(torch.from_numpy(rounds.observation[3])).numpy()
    np.testing.assert_allclose(rounds.action[3][:, :components], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", [head for head in TESTED.values() if head.learners], ids=lambda head: head.name)
def test_a_head_with_learners_of_its_own_is_learned_by_them_alone(head):
    for algo, place in head.learners.items():
        entry = ALGORITHMS[algo]
        task = task_of(Experiment(algo, ContinuousTargetEnv, head=head.name, network=NetworkOptions(hidden=(8,)), steps=400))
        assert updater_type(task).learner_type is entry.found(place)
        policy = stream_policy(task)
        beside = head.stored_beside(task.spec, policy.head.chosen_options)
        assert policy.head.stored == policy.head.components + sum(int(np.prod(shape)) for shape, _ in beside.values())
        assert type(updater_of(task, policy)._learner) is entry.found(place)
    others = [name for name, entry in ALGORITHMS.items() if entry.topology == "streams" and name not in head.learners]
    for algo in others:
        with pytest.raises(UserError, match=f"head '{head.name}' cannot be used with {algo}"):
            stream_policy(task_of(Experiment(algo, ContinuousTargetEnv, head=head.name, steps=400)))


@cases(Role.SEARCH)
def test_a_search_plays_the_greedy_action(head, kind, role):
    policy = policy_of(head, kind, role)
    player, vector = policy.player(), lively(policy)
    player.set(vector)
    observations = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    for at, observation in enumerate(observations):
        action = player.act(observation, at)
        output, dense = np.zeros((1, policy.outputs), np.float32), np.zeros(policy.network.dense_size + policy.extra_size, np.float32)
        policy.expand(vector, dense)
        policy_forward(policy.plan, dense, observation[None], np.zeros(workspace_size(policy.plan, 1), np.float32), output)
        rounds = round_arrays(policy.spec, policy.head, None, (1, 1))
        rounds.policy_output[:], rounds.knobs[TEMPERATURE] = output, 0.0
        policy.head.choose(rounds, vector, 0)
        np.testing.assert_allclose(action, policy.head.environment_action(rounds, 0, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(player.seen[at], observation)
        assert SPACES[kind].contains(action)
    assert player.act(np.full(4, np.nan, np.float32)) is None and player.act(np.zeros(3, np.float32)) is None


# Probabilities and gradients.


@every_case
def test_an_exported_policy_acts_as_it_does_or_is_refused_in_one_line(head, kind, role):
    """`greedy_action`, within the module that is exported, against what is played."""
    policy = policy_of(head, kind, role)
    vector, generator = lively(policy), np.random.default_rng(5)
    normaliser = np.vstack([generator.normal(size=(1, 4)), generator.uniform(0.5, 2.0, (1, 4)), np.ones((1, 4))]).astype(np.float32)
    observations = generator.standard_normal((40, 4), np.float32)
    module = GreedyModule(policy, vector, normaliser)
    if head.for_role(role).greedy_action is Head.greedy_action:
        with pytest.raises(UserError, match=rf"^head '{policy.head.name}' cannot be exported: [^\n]*$"):
            module(torch.from_numpy(observations))
        return
    wanted = LearnedPolicy(policy, Snapshot(vector, normaliser, 0), []).act(observations)
    given = module(torch.from_numpy(observations)).detach().numpy()
    assert given.dtype == wanted.dtype and len(np.unique(wanted.reshape(40, -1), axis=0)) > 1
    np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@distributions
def test_probabilities_sum_to_one(head, kind, role, temperature, epsilon):
    layers = {} if head.name == "iot" else {"hidden": (8,)}
    policy = Policy(spec_of(LINE if kind == "box" else SPACES[kind]), head.name, NetworkOptions(**layers, initial_log_std=-0.4))
    policy.fill_tables(3)
    if policy.head.places:
        action, step = np.arange(policy.head.places)[:, None], 1.0
    elif kind == "box":
        reach = 8.0 if head.roles.isdisjoint(REPLAY_ROLES) else 1.0  # actions of a replay lie within [-1, 1]
        action, step = np.linspace(-reach, reach, 400_001, dtype=np.float32)[:, None], 2.0 * reach / 400_000
    else:
        action, step = np.array(list(itertools.product(*map(range, policy.spec.action_sizes)))), 1.0
    output = np.random.default_rng(2).standard_normal(policy.head.policy_outputs).astype(np.float32)
    knobs, out = np.zeros(KNOBS), np.zeros(len(action), np.float32)
    knobs[TEMPERATURE], knobs[EPSILON] = temperature, epsilon
    policy.head.log_prob(np.tile(output, (len(action), 1)), policy.initial(0), action, knobs, out)
    assert np.exp(out.astype(np.float64)).sum() * step == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@distributions
def test_log_probabilities_are_those_of_torch(head, kind, role, temperature):
    policy = policy_of(head, kind, role, initial_log_std=-0.4)
    rows, vector = rows_of(policy), policy.initial(0)
    knobs, out = np.zeros(KNOBS), np.zeros(len(rows.action), np.float32)
    knobs[TEMPERATURE] = temperature
    policy.head.log_prob(rows.policy_output, vector, rows.action, knobs, out)
    extra = torch.from_numpy(vector[vector.size - policy.head.extra_size :])
    log_prob, entropy = policy.head.log_prob_and_entropy(
        torch.from_numpy(rows.policy_output), extra, torch.from_numpy(rows.action), temperature
    )
    assert log_prob.shape == entropy.shape == out.shape
    np.testing.assert_allclose(log_prob.numpy(), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@that_learns
def test_the_gradient_is_that_of_finite_differences(head, kind, role, temperature):
    policy = policy_of(head, kind, role, **({"initial_log_std": -0.4} if kind == "box" else {}))
    rows, vector, entropy_weight = rows_of(policy), policy.initial(0), 0.3
    own, action = vector[vector.size - policy.head.extra_size :].astype(np.float64), torch.from_numpy(rows.action)
    weight = torch.from_numpy(rows.log_prob_weight).double()

    def parts(output, extra):
        tensors = torch.from_numpy(output), torch.from_numpy(extra)
        if role is Role.ACTION_VALUES:
            return (weight * policy.head.chosen(*tensors, action)).sum().item(), 0.0
        log_prob, entropy = policy.head.log_prob_and_entropy(*tensors, action, temperature)
        return (weight * log_prob).sum().item(), entropy.expand(len(weight)).sum().item()

    def slopes(numbers, total):
        found = np.zeros(numbers.size)
        for i in range(numbers.size):
            for sign in (1, -1):
                moved = numbers.copy()
                moved.flat[i] += sign * 1e-7  # so small a step hardly ever crosses a kink of relu
                found[i] += sign * total(moved) / 2e-7
        return found

    gradient = np.full(policy.size, np.nan, np.float32)
    told = policy.head.output_gradient(rows, vector, entropy_weight, gradient, temperature)
    output = rows.policy_output.astype(np.float64)
    expected = parts(output, own)
    assert told == pytest.approx(expected, rel=1e-4, abs=1e-5)
    loss = lambda sums: sums[0] + entropy_weight * sums[1]  # noqa: E731
    by_output = slopes(output, lambda moved: loss(parts(moved, own)))
    np.testing.assert_allclose(rows.d_policy.reshape(-1), by_output, rtol=1e-3, atol=1e-4)
    network = policy.size - policy.head.extra_size
    assert np.isnan(gradient[:network]).all()  # the network's part is not the head's to write
    np.testing.assert_allclose(gradient[network:], slopes(own, lambda moved: loss(parts(output, moved))), rtol=1e-3, atol=1e-4)


@distributions
def test_the_divergence_is_least_where_nothing_has_moved(head, kind, role):
    policy = policy_of(head, kind, role)
    generator = np.random.default_rng(0)
    old = torch.from_numpy(generator.standard_normal((5, policy.head.policy_outputs)))
    extra = torch.from_numpy(policy.head.initial(generator)).double()
    here = old.clone().requires_grad_()
    at = policy.head.divergence(here, extra, old, extra)
    assert at.item() == pytest.approx(0.0, abs=1e-12)
    assert torch.autograd.grad(at, here)[0].abs().max() < 1e-8
    assert policy.head.divergence(old + 0.1 * torch.from_numpy(generator.standard_normal(old.shape)), extra, old, extra).item() > 0


# The start, and what a checkpoint keeps.


@every_case
def test_the_start_depends_on_the_seed_alone(head, kind, role):
    policy, again = (policy_of(head, kind, role) for _ in range(2))
    for seed in (3, 4):
        np.testing.assert_array_equal(policy.initial(seed), again.initial(seed))
        assert policy.initial(seed).dtype == np.float32 and policy.initial(seed).shape == (policy.size,)
    for name, table in policy.head.tables.items():
        np.testing.assert_array_equal(table, again.head.tables[name])


@every_case
def test_what_a_checkpoint_keeps_acts_the_same(head, kind, role, tmp_path):
    policy, again = (policy_of(head, kind, role) for _ in range(2))
    vector = lively(policy)
    for table in policy.head.tables.values():
        table += np.ones(table.shape, table.dtype)
    write_part(tmp_path, "run", {}, {"parameters": vector, **{f"tables/{name}": table for name, table in policy.head.tables.items()}})
    arrays = read_part(tmp_path, "run")[1]
    again.head.attach({name: arrays[f"tables/{name}"] for name in policy.head.table_layout()})
    if role is Role.SEARCH:
        players = [(one.player(), numbers) for one, numbers in ((policy, vector), (again, arrays["parameters"]))]
        for player, numbers in players:
            player.set(numbers)
        first, second = ([player.act(np.full(4, number, np.float32)) for number in (0.1, -1.0)] for player, _ in players)
    else:
        first, second = acted(policy, vector, epsilon=0.2).action, acted(again, arrays["parameters"], epsilon=0.2).action
    np.testing.assert_array_equal(first, second)


# Tables.


@every_case
def test_tables_are_attached_where_they_are_shared(head, kind, role):
    policy = policy_of(head, kind, role)
    memory = SharedArrays.allocate({"other": ((3,), np.float32), **tables_layout(policy.head)})
    attach_tables(policy.head, memory)
    assert set(policy.head.tables) == set(policy.head.table_layout())
    for name, table in policy.head.tables.items():
        assert np.shares_memory(table, memory[f"tables/{name}"])


def add_one(memory):
    """The body of another process: a head over the same memory, whose table is counted up."""
    HEADS[TiltedHead.name] = TiltedHead
    head = made("tilted", spec_of(SPACES["box"]), NetworkOptions())
    attach_tables(head, memory)
    head.tables["tilt"] += 1.0


def test_two_processes_have_the_same_table():
    head = made("tilted", spec_of(SPACES["box"]), NetworkOptions())
    memory = SharedArrays.allocate(tables_layout(head))
    attach_tables(head, memory)
    context = multiprocessing.get_context("forkserver")
    for _ in range(2):
        process = context.Process(target=add_one, args=(memory,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    assert head.tables["tilt"].tolist() == [2.0, 2.0]


def test_a_checkpoints_tables_are_taken_back():
    head = made("tilted", spec_of(SPACES["box"]), NetworkOptions())
    kept, memory = (SharedArrays.allocate(tables_layout(head)) for _ in range(2))
    kept["tables/tilt"][:], kept["tables/processes"][7] = (0.5, -1.0), 3
    restore_tables(memory, {"parameters": np.zeros(3), **tables_to_keep(kept)})
    assert memory["tables/tilt"].tolist() == [0.5, -1.0] and memory["tables/processes"][7] == 3
    with pytest.raises(UserError, match=r"does not fit: tables/tilt has shape None, this run needs \(2,\)"):
        restore_tables(memory, {"parameters": np.zeros(3)})


# One head in three families, in real runs.

FAMILIES = {
    "a3c": A3COptions(t_max=10),
    "td3": Td3Options(t_max=5, warm_up=20, batch=16, replay=1000, replay_ratio=0.05),
    "es": EsOptions(population=8),
}


@pytest.mark.parametrize("algo", FAMILIES)
def test_a_head_of_several_roles_is_written_once(algo, tmp_path):
    experiment = Experiment(
        algo,
        ContinuousTargetEnv,
        head="tilted",
        network=Registering(hidden=(8,)),
        options=FAMILIES[algo],
        workers=2,
        steps=400,
        run=RunOptions(runs=str(tmp_path), evaluation_episodes=2, quiet=True),
    )
    result = asyncrl.run(experiment)
    _, arrays = read_part(newest(result.folder), "run")
    assert arrays["tables/tilt"].any() and arrays["tables/processes"].shape == (PROCESSES,)
    assert (arrays["tables/processes"] > 0).sum() >= 2  # both workers have written to the same table
    # The evaluator was given the tables: where all observations are the same, a tilt of another size shows in the return.
    task, snapshot = load(result.folder, ContinuousTargetEnv, None)
    player, evaluated = player_of(task, 0), result.summary["evaluation_return"]
    assert player.play(snapshot, 2).mean == pytest.approx(evaluated)
    tilted = replace(snapshot, tables={**snapshot.tables, "tilt": snapshot.tables["tilt"] + 1.0})
    assert player.play(tilted, 2).mean != pytest.approx(evaluated)
    # A resumed run goes on with the tables of its checkpoint, and writes to them.
    Session(replace(experiment, steps=800), result.folder, newest(result.folder)).run()
    resumed = read_part(newest(result.folder), "run")[1]
    np.testing.assert_array_equal(resumed["tables/tilt"], arrays["tables/tilt"])
    more = resumed["tables/processes"] - arrays["tables/processes"]
    assert (more >= 0).all() and more.sum() > 0


def test_a_head_that_acts_with_the_critic_is_given_it(monkeypatch):
    monkeypatch.setitem(HEADS, "asking", AskingHead)
    network = NetworkOptions(hidden=(8,))
    task = task_of(Experiment("td3", ContinuousTargetEnv, head="asking", network=network, options=FAMILIES["td3"], steps=400))
    policy = stream_policy(task)
    updater = updater_of(task, policy)
    learner, out = updater._learner, np.full(policy.size, np.nan, np.float32)
    assert policy.critic_size == (2 + 1) * 8 + 8 + 8 + 1 and policy.size == learner.published_size + policy.critic_size
    updater.published(out)
    np.testing.assert_array_equal(out, np.concatenate([learner.policy.vector, learner.critics.vector[: policy.critic_size]]))


def test_named_errors_list_a_new_head():
    with pytest.raises(UserError, match=r"allowed: auto, categorical, .*tilted"):
        Policy(spec_of(LINE), "tilte?", NetworkOptions())
    assert replace(Registering(hidden=(3,)), rank=2).hidden == (3,)
