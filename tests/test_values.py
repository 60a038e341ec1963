"""Asynchronous value learning (q1, sarsa, nq): targets, gradients, the target network, whole runs."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from environments import BanditEnv, ContinuousTargetEnv
from running import jittery_cartpole, resume, train
from test_gradients import DISCRETE, IMAGE, MULTI, close, rollout, sharpened
from test_kills import killed_run

from asyncrl.actors.commitment import NOTHING
from asyncrl.actors.rewards import RewardRule
from asyncrl.actors.rollout import Actor
from asyncrl.algos import ALGORITHMS
from asyncrl.envs import GymnasiumStepping, ship, spec_of
from asyncrl.envs.make import make_env
from asyncrl.errors import UserError
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.learners.estimators import best_values, n_step_targets, one_step_targets, taken_values
from asyncrl.learners.rules import linear_or_constant, optimizer_of
from asyncrl.learners.value_gradients import AutogradValueGradient, WrittenValueGradient, value_gradient_of
from asyncrl.progress import COLUMNS, NORMS, figure_columns
from asyncrl.scheduler.board import SCHEDULER_COLUMNS, Board
from asyncrl.scheduler.modes import Async
from asyncrl.scheduler.pace import Books, Ground, UpdateRule
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.optimizers import Sgd, clip_scale, norm
from asyncrl.shared.parameters import SharedParameters
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.trajectory import TERMINATED, TRUNCATED
from asyncrl.workers.plan import Task, stream

VALUE_BASED = [name for name, entry in ALGORITHMS.items() if entry.learns_values]
KINDS = [WrittenValueGradient, AutogradValueGradient]
SMALL = NetworkOptions(hidden=(16, 8))


def options_of(algo, **changes):
    return ALGORITHMS[algo].options_type(gamma=0.9, reduction="sum", **changes)


# Arrays to arrays.


def test_one_step_targets_by_hand():
    reward = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    ended = np.array([[0, 1], [2, 0], [0, 2]], np.uint8)
    following = np.array([[10, 99], [20, 30], [40, 50]], np.float32)
    target = np.zeros((3, 2), np.float32)
    one_step_targets(reward, ended, following, 0.5, target)
    np.testing.assert_array_equal(target, [[6, 2], [13, 19], [25, 31]])


def test_n_step_targets_by_hand():
    reward = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    ended = np.array([[0, 1], [2, 0], [0, 0]], np.uint8)
    following = np.array([[99, 99], [20, 99], [40, 50]], np.float32)
    target = np.zeros((3, 2), np.float32)
    n_step_targets(reward, ended, following, 0.5, target)
    np.testing.assert_array_equal(target, [[1 + 0.5 * 13, 2], [13, 4 + 0.5 * 31], [25, 31]])


def test_two_episodes_in_one_rollout_are_two_rollouts():
    generator = np.random.default_rng(0)
    reward, following = generator.standard_normal((2, 9, 2)).astype(np.float32)
    for end in (TERMINATED, TRUNCATED):
        ended = np.zeros((9, 2), np.uint8)
        ended[3] = end
        whole, first, second = np.zeros((9, 2), np.float32), np.zeros((4, 2), np.float32), np.zeros((5, 2), np.float32)
        n_step_targets(reward, ended, following, 0.9, whole)
        n_step_targets(reward[:4], ended[:4], following[:4], 0.9, first)
        n_step_targets(reward[4:], ended[4:], following[4:], 0.9, second)
        np.testing.assert_array_equal(whole, np.concatenate([first, second]))


def test_the_next_value_by_hand():
    judged = np.array([[1, 2, 3], [6, 5, 4], [7, 7, 9]], np.float32)
    picked_by = np.array([[0, 1, 0], [0, 0, 1], [8, 8, 0]], np.float32)
    out = np.zeros(3, np.float32)
    best_values(judged, judged, out)
    np.testing.assert_array_equal(out, [3, 6, 9])
    best_values(judged, picked_by, out)  # double: what another would pick
    np.testing.assert_array_equal(out, [2, 4, 7])
    taken_values(judged, np.array([0, 2, 1]), out)
    np.testing.assert_array_equal(out, [1, 4, 7])


# Gradients, against the algorithms' text.


def loops(algo, policy, vector, target, trajectory, options):
    """Algorithms S1 and S2 (and S1's Sarsa) read aloud, step by step, in float64; (gradient, loss, means of Q and of its targets)."""
    (module, _), (target_module, _) = policy.module(vector.copy(), None), policy.module(target.copy(), None)
    number = torch.float32 if policy.spec.is_image else torch.float64  # the convolutions' trunk makes float32 of its pixels
    module, target_module = module.to(number), target_module.to(number)

    def values(network, observation):
        return network(torch.tensor(observation[None]).to(number))[0][0]

    def bootstrap(observation, action):
        judged = values(target_module, observation).detach()
        if algo == "sarsa" and action is not None:
            return float(judged[action])
        picked_by = values(module, observation) if getattr(options, "double", False) else judged
        return float(judged[int(picked_by.argmax())])

    loss, means = torch.zeros((), dtype=number), np.zeros(2)
    steps, envs = trajectory.reward.shape
    for e in range(envs):
        following = None
        for i in reversed(range(steps)):
            ended = trajectory.ended[i, e]
            if ended == TERMINATED:
                following = 0.0
            elif ended == TRUNCATED:
                would = int(trajectory.final_action[i, e, 0]) if algo == "sarsa" else None
                following = bootstrap(trajectory.final_observation[i, e], would)
            elif following is None or algo != "nq":
                following = bootstrap(trajectory.observation[i + 1, e], int(trajectory.action[i + 1, e, 0]) if algo == "sarsa" else None)
            following = float(trajectory.reward[i, e]) + options.gamma * following
            value = values(module, trajectory.observation[i, e])[int(trajectory.action[i, e, 0])]
            loss, means = loss + (following - value) ** 2, means + np.array([value.item(), following])
    parameters = [one for one in module.parameters() if one.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    parts = [torch.zeros_like(one) if part is None else part for one, part in zip(parameters, found)]
    return torch.cat([part.reshape(-1) for part in parts]).numpy(), loss.item(), means / (steps * envs)


def value_rollout(policy, algo, steps, envs, seed=0):
    """As `test_gradients.rollout`; with the action after the last step where the algorithm needs it."""
    trajectory = rollout(policy, steps, envs, seed)
    if algo == "sarsa":
        generator = np.random.default_rng(seed)
        trajectory.action = np.concatenate([trajectory.action, generator.integers(0, policy.head.policy_outputs, (1, envs, 1))])
        trajectory.final_action = generator.integers(0, policy.head.policy_outputs, (steps, envs, 1))
    return trajectory


CASES = [("q1", {}), ("q1", {"double": True}), ("sarsa", {}), ("nq", {}), ("nq", {"double": True})]
cases = pytest.mark.parametrize(("algo", "changes"), CASES, ids=lambda one: "double" if one == {"double": True} else one or "plain")


@cases
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [(16, 8), ()])
def test_the_gradient_is_the_algorithms(algo, changes, kind, hidden):
    policy = Policy(DISCRETE, "auto", NetworkOptions(hidden=hidden), role=Role.ACTION_VALUES)
    vector, target, options = sharpened(policy, 0), sharpened(policy, 1), options_of(algo, **changes)
    for steps, envs in ((7, 2), (1, 1)):
        trajectory = value_rollout(policy, algo, steps, envs)
        learner = kind(policy, vector, target, (steps, envs), options, ALGORITHMS[algo].implementation)
        losses = learner(trajectory, 0.0)
        expected, loss, means = loops(algo, policy, vector, target, trajectory, options)
        close(learner.gradient, expected)
        assert losses.value_loss == pytest.approx(loss, rel=1e-4)
        assert tuple(learner.figures) == losses
        assert losses[1:] == pytest.approx(means, rel=1e-4, abs=1e-5)
        mean = kind(policy, vector, target, (steps, envs), dataclasses.replace(options, reduction="mean"), ALGORITHMS[algo].implementation)
        assert mean(trajectory, 0.0).value_loss == pytest.approx(loss / (steps * envs), rel=1e-4)
        close(mean.gradient, expected / (steps * envs))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("head", ["auto", "toeplitz", "linear"])
def test_written_is_autograd(head, activation):
    options = NetworkOptions(hidden=None if head == "linear" else (12, 9, 7), activation=activation)
    policy = Policy(DISCRETE, head, options, role=Role.ACTION_VALUES)
    vector, target, options = sharpened(policy, 0), sharpened(policy, 1), options_of("nq", double=True)
    trajectory = value_rollout(policy, "nq", 5, 3)
    written, by_torch = (kind(policy, vector, target, (5, 3), options, ALGORITHMS["nq"].implementation) for kind in KINDS)
    np.testing.assert_allclose(written(trajectory, 0.0), by_torch(trajectory, 0.0), rtol=1e-4)
    close(written.gradient, by_torch.gradient)


@cases
def test_images_go_through_torch(algo, changes):
    policy = Policy(IMAGE, "auto", SMALL, role=Role.ACTION_VALUES)
    vector, target, options = policy.initial(0), policy.initial(1), options_of(algo, **changes)
    learner = value_gradient_of(policy, vector, target, (3, 2), options, ALGORITHMS[algo].implementation)
    assert isinstance(learner, AutogradValueGradient)
    trajectory = value_rollout(policy, algo, 3, 2)
    learner(trajectory, 0.0)
    close(learner.gradient, loops(algo, policy, vector, target, trajectory, options)[0], 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_sees_what_changes_in_place_and_is_overwritten(kind):
    policy = Policy(DISCRETE, "auto", SMALL, role=Role.ACTION_VALUES)
    vector, target, options = sharpened(policy, 0), sharpened(policy, 1), options_of("q1")
    learner, trajectory = kind(policy, vector, target, (4, 1), options, ALGORITHMS["q1"].implementation), value_rollout(policy, "q1", 4, 1)
    learner(trajectory, 0.0)
    first = learner.gradient.copy()
    for changed, seed in ((vector, 2), (target, 3)):
        changed[:] = sharpened(policy, seed)
        learner(trajectory, 0.0)
        fresh = kind(policy, vector.copy(), target.copy(), (4, 1), options, ALGORITHMS["q1"].implementation)
        fresh(trajectory, 0.0)
        np.testing.assert_array_equal(learner.gradient, fresh.gradient)
        assert not np.array_equal(learner.gradient, first)


# Acting.


def test_a_head_of_values_has_no_tower_for_states():
    policy = Policy(DISCRETE, "auto", SMALL, role=Role.ACTION_VALUES)
    assert policy.name == "action-values" and policy.size == (5 * 16 + 16) + (16 * 8 + 8) + (8 * 3 + 3)
    plain = Policy(DISCRETE, "auto", SMALL)
    assert policy.size < plain.size


def test_a_committed_action_is_the_next_rounds_first():
    policy = Policy(spec_of(BanditEnv()), "auto", SMALL, role=Role.ACTION_VALUES)
    from asyncrl.actors.exploration import Epsilon

    def actor_of():
        vector = sharpened(policy)
        stepping = GymnasiumStepping([BanditEnv(), BanditEnv()], policy.spec)
        return Actor(stepping, policy, vector, 3, [Epsilon(0.9)], np.random.default_rng(0), commits=True)

    actor = actor_of()
    actor.reset([0, 1])
    before, seen = None, set()
    for _ in range(20):
        actions = actor.collect(0, 0.0).action.copy()
        assert actions.shape == (4, 2, 1)
        if before is not None:
            np.testing.assert_array_equal(actions[0], before)
        before = actions[-1]
        seen.add(tuple(before.ravel()))
    assert len(seen) > 2  # epsilon reaches the committed action too
    for committed in (before, 1 - before):
        successor = actor_of()
        successor.restore({**actor.arrays(), "committed": committed})
        np.testing.assert_array_equal(successor.collect(0, 0.0).action[0], committed)
    actor.begin_afresh(1, np.zeros(2, np.float32))
    assert actor.arrays()["committed"][1] == NOTHING != actor.arrays()["committed"][0]


class Cut(BanditEnv):
    """Episodes of one step, truncated; their last observation is another than their first, and neither is the next one's."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, True, info

    def observe(self):
        return np.array([1.0, 0.0] if self.count == 0 else [-0.5, 1.0], dtype=np.float32)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("network_kind", ["light", "torch"])
def test_a_truncated_step_of_sarsa_is_followed_by_what_the_worker_would_have_done(epsilon, network_kind):
    """E[y] = r + gamma E[Q^-(s', a')], a' epsilon-greedy by the worker's own Q, where Q^- has another best action."""
    import torch

    from asyncrl.actors.exploration import Epsilon
    from asyncrl.learners.value_targets import Targets

    def network(spec, outputs):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.value = torch.nn.Linear(spec.observation_size, outputs)

            def forward(self, x):
                return self.value(x), torch.zeros(len(x))

        return Net()

    own = network if network_kind == "torch" else None
    policy = Policy(spec_of(Cut()), "auto", NetworkOptions(hidden=()), own, role=Role.ACTION_VALUES)
    weights = np.array([[2.0, 0.0], [0.0, 3.0]], np.float32)  # Q(s, a) = s . weights[:, a]: action 0 is best at first, 1 at last
    weights_of_target = np.array([[0.0, 1.0], [4.0, -1.0]], np.float32)  # and the other way round
    vector, target = (np.zeros(policy.size, np.float32) for _ in range(2))
    for numbers, matrix in ((vector, weights), (target, weights_of_target)):
        numbers[:4] = (matrix.T if network_kind == "torch" else matrix).ravel()
    steps, options = 4000, options_of("sarsa")
    stepping = GymnasiumStepping([Cut()], policy.spec)
    actor = Actor(stepping, policy, vector, steps, [Epsilon(epsilon)], np.random.default_rng(0), commits=True)
    actor.reset([0])
    trajectory = actor.collect(0, 0.0)
    assert (trajectory.ended == TRUNCATED).all()
    targets, last = Targets(policy, steps, 1, options, ALGORITHMS["sarsa"].implementation), np.array([-0.5, 1.0], np.float32)
    successors = targets.successors(trajectory)
    y = targets(trajectory, successors @ weights_of_target, successors @ weights) - trajectory.reward
    judged, greedy = last @ weights_of_target, int(np.argmax(last @ weights))
    assert greedy != np.argmax(judged)
    expected = (1 - epsilon) * judged[greedy] + epsilon * judged.mean()
    assert y.mean() / options.gamma == pytest.approx(expected, abs=1e-5 if epsilon == 0 else 0.2)
    assert len(np.unique(y.round(3))) == (1 if epsilon == 0 else 2)
    # The first action of the next episode is drawn apart from it.
    if epsilon == 1.0:
        pairs = np.stack([trajectory.action[1:, 0, 0], trajectory.final_action[:, 0, 0]])
        assert abs(np.corrcoef(pairs)[0, 1]) < 0.06


# The target network.


def test_when_a_target_is_refreshed():
    rule = UpdateRule(Sgd(), lambda steps: 0.1, 0.0, 300)
    refreshed = [after for before, after in zip(range(0, 2000, 40), range(40, 2000, 40)) if rule.refreshes(before, after)]
    assert refreshed == [320, 600, 920, 1200, 1520, 1800]
    assert rule.refreshes(100, 1000) and not rule.refreshes(300, 599) and rule.refreshes(299, 300)
    assert not UpdateRule(Sgd(), lambda steps: 0.1, 0.0).refreshes(0, 1e9)


def two_paces(every):
    """Two workers in place on private memory, each with 5 steps a round."""
    columns = {**COLUMNS, **SCHEDULER_COLUMNS, **figure_columns(NORMS)}

    def private(layout):
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}

    ledger = Ledger(columns, private(Ledger.layout(columns, 2)))
    parameters = SharedParameters(3, private(SharedParameters.layout(3, 1, 2, False, target=True)))
    board = Board(private(Board.layout(2)))
    board.set_mode(Async())
    board.set_order(4, 10**6)
    ground = Ground(board, ledger, parameters, SimpleNamespace(), UpdateRule(Sgd(), lambda steps: 1.0, 0.0, every))
    books = [Books(ledger, worker) for worker in range(2)]
    return ground, books, [InPlacePace(ground, worker, one) for worker, one in enumerate(books)]


def act(pace, books):
    pace.start_round(np.zeros(3, np.float32))
    books.round_done(5, np.zeros(0), (0.0, 0.0, 0.0), 0, 0.0)


def test_in_place_a_refreshment_comes_with_the_update_that_passes_the_multiple():
    _, books, paces = two_paces(every=12)
    gradient, copy = np.full(3, -1.0, np.float32), np.zeros(3, np.float32)
    found = []
    for turn in range(8):
        worker = turn % 2
        act(paces[worker], books[worker])
        paces[worker].finish_round(gradient)
        paces[1 - worker].copy_target(copy)
        found.append(copy[0])
    # Totals 5, 10, 15, ... after updates 1, 2, 3, ...; 12, 24 and 36 are passed by updates 3, 5 and 8.
    assert found == [0, 0, 3, 3, 5, 5, 5, 8]


def test_in_place_a_multiple_that_two_pass_together_is_not_missed(monkeypatch):
    ground, books, paces = two_paces(every=8)
    gradient, publish = np.full(3, -1.0, np.float32), ground.ledger.publish
    act(paces[0], books[0]), act(paces[1], books[1])

    def other_comes_between(worker, draft):
        if worker == 0:
            monkeypatch.setattr(ground.ledger, "publish", publish)
            paces[1].finish_round(gradient)
        publish(worker, draft)

    monkeypatch.setattr(ground.ledger, "publish", other_comes_between)
    paces[0].finish_round(gradient)
    assert ground.ledger.total("steps") == 10
    np.testing.assert_array_equal(ground.parameters.targets[0, :3], 2.0)


def test_in_place_a_refreshment_outlives_a_kill_before_or_after_the_publication(monkeypatch):
    for publishes in (False, True):
        ground, books, paces = two_paces(every=5)
        publish = ground.ledger.publish

        def killed(worker, draft, publishes=publishes, publish=publish):
            if publishes:
                publish(worker, draft)
            raise KeyboardInterrupt

        act(paces[0], books[0])
        monkeypatch.setattr(ground.ledger, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            paces[0].finish_round(np.full(3, -1.0, np.float32))
        np.testing.assert_array_equal(ground.parameters.targets[0, :3], 1.0)


# Whole runs.


def bits(folder):
    arrays = read_part(newest(folder), "run")[1]
    return {name: arrays[name].tobytes() for name in ("parameters", "statistics", "target", "normaliser")}


@pytest.mark.parametrize("algo", VALUE_BASED)
def test_one_worker_in_any_mode_is_a_plain_loop(tmp_path, algo):
    steps, seed = 1500, 3
    options, entry = ALGORITHMS[algo].options_type(), ALGORITHMS[algo]
    settings = {"workers": 1, "steps": steps, "seed": seed, "explore": entry.default_explore}
    runs = [train(tmp_path, "CartPole-v1", algo=algo, mode=mode, **settings) for mode in ("async", "sync")]
    environment = make_env("CartPole-v1")
    policy = Task(ship("CartPole-v1"), spec_of(environment), "auto", NetworkOptions(), None, algo, options, 1, 1, steps, seed).policy()
    from asyncrl.actors.spelling import parse_exploration

    explore = parse_exploration(entry.default_explore, 1, seed)[0]
    streams = stream(seed, 0, 0).spawn(2)
    vector = policy.initial(seed).copy()
    target = vector.copy()
    generator = np.random.default_rng(streams[0])
    stepping, rewards = GymnasiumStepping([environment], policy.spec), RewardRule(options.reward_scale)
    actor = Actor(stepping, policy, vector, options.t_max, explore, generator, rewards, commits=entry.implementation.commits)
    actor.reset([int(streams[1].generate_state(1)[0])])
    gradient = value_gradient_of(policy, vector, target, (options.t_max, 1), options, entry.implementation)
    rule, rate = optimizer_of(options, policy), linear_or_constant(options, steps)
    statistics = np.zeros((max(rule.statistics, 1), vector.size), np.float32)
    for count, done in enumerate(range(0, steps, options.t_max), start=1):
        gradient(actor.collect(0, done), 0.0)
        scale = clip_scale(norm(gradient.gradient), options.max_gradient_norm)
        rule.step((vector, statistics), gradient.gradient, slice(0, vector.size), scale, rate(done), count)
        if (done + options.t_max) // options.target_every > done // options.target_every:
            target[:] = vector
    for run in runs:
        arrays = read_part(newest(run.folder), "run")[1]
        assert np.array_equal(arrays["parameters"][: vector.size], vector)
        assert np.array_equal(arrays["target"][: vector.size], target)
    assert not np.array_equal(target, policy.initial(seed))


def test_sync_resumes_with_the_same_bits_however_workers_are_timed(tmp_path):
    settings = {"algo": "sarsa", "mode": "sync", "workers": 2, "seed": 7, "anneal": "constant", "target_every": 270}
    settings["explore"] = "epsilon:paper@20000"  # by default it depends on the planned length, where that is short
    settings["explore"] = "epsilon:0.1,0.4@500"
    whole = train(tmp_path, jittery_cartpole, steps=2000, **settings)
    half = train(tmp_path, "CartPole-v1", steps=1000, **settings)
    assert bits(half.folder) != bits(whole.folder)
    second = resume(half.folder, steps=2000)
    assert second.notes == []
    assert bits(half.folder) == bits(whole.folder)
    assert bits(half.folder)["target"] != bits(half.folder)["parameters"]


def test_pipelined_gives_the_same_bits_however_workers_are_timed(tmp_path):
    first, second = (train(tmp_path, jittery_cartpole, algo="sarsa", mode="pipelined", workers=2, steps=1500, seed=5) for _ in range(2))
    assert bits(first.folder) == bits(second.folder)


@pytest.mark.stress
def test_a_run_survives_kills(tmp_path):
    run, killer = killed_run(tmp_path, "sync", 3, algo="sarsa", workers=2, steps=6000, target_every=50)
    assert killer.done == 3 and run.summary["status"] == "completed"
    run.check_books(10)
    assert np.isfinite(read_part(newest(run.folder), "run")[1]["target"]).all()


def test_all_modes_in_one_run(tmp_path):
    run = train(tmp_path, "CartPole-v1", algo="q1", mode="async@0,sync@600,pipelined@1200,bounded:1@1800", workers=2, steps=2400)
    run.check_books(5)


@pytest.mark.parametrize("algo", [pytest.param(algo, marks=[] if algo == "nq" else pytest.mark.slow) for algo in VALUE_BASED])
def test_the_better_arm_is_learned(tmp_path, algo):
    run = train(tmp_path, BanditEnv, algo=algo, workers=2, steps=4000, evaluation_episodes=5)
    assert run.summary["evaluation_return"] == 1.0 and run.summary["head"] == "action-values"


def test_what_does_not_fit_is_refused(tmp_path):
    def refusal(env, **settings):
        return str(train(tmp_path, env, workers=1, steps=100, **settings).error)

    for algo in VALUE_BASED:
        text = refusal(ContinuousTargetEnv, algo=algo)
        assert f"{algo} needs Discrete actions, this environment's are Box" in text and "a3c" in text and "q1," not in text
    assert "cannot be used for action values (allowed: auto, action-values" in refusal("CartPole-v1", algo="q1", head="categorical")
    assert "algorithms that learn action values: q1, sarsa, nq" in refusal("CartPole-v1", algo="a3c", head="action-values")
    assert "'entropy' cannot be used with nq (allowed: epsilon, subset)" in refusal("CartPole-v1", algo="nq", explore="entropy:0.1")
    assert "recurrent 8 does not go with" in refusal("CartPole-v1", algo="sarsa", recurrent=8)
    assert "target_every = 0 cannot be used" in refusal("CartPole-v1", algo="q1", target_every=0)
    with pytest.raises(UserError, match="needs Discrete actions"):
        Policy(MULTI, "auto", SMALL, role=Role.ACTION_VALUES)
