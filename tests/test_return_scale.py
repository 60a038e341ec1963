"""Learning does not depend on the unit of rewards: the running scale of returns, and what whole runs make of it."""

import json

import gymnasium
import numpy as np
import pytest

import asyncrl
from asyncrl.learners.return_scale import ReturnScale, SharedReturnScale, divide, fold_returns, scale_of
from asyncrl.session.folder import read_experiment
from asyncrl.shared.ledger import Ledger
from asyncrl.store.checkpoint import newest, parts, read_part
from asyncrl.trajectory import Trajectory

GAMMA = 0.9


def trajectory_of(reward, ended):
    """A trajectory of which only rewards [T, E] and ends [T, E] matter."""
    steps, envs = reward.shape
    layout = Trajectory.layout(steps, envs, ((1,), np.float32), (1, np.int64), 0)
    trajectory = Trajectory.empty(layout)
    trajectory.reward[:], trajectory.ended[:] = reward, ended
    return trajectory


def random_rollout(seed, steps=12, envs=3):
    """Rewards [T, E] and ends [T, E] with a few episodes in them."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(steps, envs)).astype(np.float32), (generator.random((steps, envs)) < 0.2).astype(np.uint8)


def plain(*rows):
    """The scale of the discounted returns over rows of consecutive rollouts of the same environments, as the definition reads."""
    returns = np.concatenate([returns_of(rollouts) for rollouts in rows])
    return max(returns.std(), 0.1 * abs(returns.mean()))


def returns_of(rollouts):
    returns = []
    for e in range(rollouts[0][0].shape[1]):
        episode = []
        for reward, ended in rollouts:
            for r, over in zip(reward[:, e].tolist(), ended[:, e].tolist()):
                episode.append(r)
                returns.append(sum(GAMMA ** (len(episode) - 1 - i) * past for i, past in enumerate(episode)))
                if over:
                    episode = []
    return returns


def test_the_scale_is_the_deviation_of_discounted_returns():
    rollouts = [random_rollout(seed) for seed in range(4)]
    running, moments = np.zeros(3), np.zeros(3)
    for reward, ended in rollouts:
        fold_returns(reward, ended, GAMMA, running, moments)
    assert scale_of(moments) == pytest.approx(plain(rollouts), rel=1e-12)


def test_rewards_are_divided_by_the_scale():
    """Of means far above the deviation too; and by 1 while no return is known."""
    generator = np.random.default_rng(5)
    reward = generator.normal(size=(3, 2)).astype(np.float32)
    known = ([7.0, 7.0 * mean, 7.0 * mean * mean] for mean in generator.normal(scale=4.0, size=100))
    for moments in (np.zeros(3), *map(np.array, known)):
        divided = reward.copy()
        divide(divided, moments)
        np.testing.assert_array_equal(divided, reward / np.float32(scale_of(moments)))


def test_where_returns_hardly_differ_it_is_a_tenth_of_their_mean():
    moments = np.zeros(3)
    fold_returns(np.full((50, 1), -7.0, np.float32), np.ones((50, 1), np.uint8), GAMMA, np.zeros(1), moments)
    assert scale_of(moments) == pytest.approx(0.7)


def test_without_a_reward_the_scale_is_one():
    running, moments = np.zeros(1), np.zeros(3)
    assert scale_of(moments) == 1.0
    fold_returns(np.zeros((5, 1), np.float32), np.zeros((5, 1), np.uint8), GAMMA, running, moments)
    assert scale_of(moments) == 1.0


def ledger_of(workers):
    """A ledger with the columns of three environments a worker, in this process's own memory."""
    columns = SharedReturnScale.columns(3)
    layout = Ledger.layout(columns, workers)
    return Ledger(columns, {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()})


def adding(ledger, worker):
    """What sums a column over all workers, with numbers of this worker's own."""
    return lambda name, own, out: ledger.add_newest(name, worker, own, out)


def shared(factor):
    """Rewards [T, E] of worker 0 divided by the scale that it shares with worker 1, where both are paid `factor` times as much."""
    ledger = ledger_of(2)
    others, own = random_rollout(5), random_rollout(6)
    draft = ledger.draft_of(1)
    SharedReturnScale(ledger, GAMMA)(trajectory_of(others[0] * np.float32(factor), others[1]), draft, adding(ledger, 1))
    ledger.publish(1, draft)
    trajectory = trajectory_of(own[0] * np.float32(factor), own[1])
    SharedReturnScale(ledger, GAMMA)(trajectory, ledger.draft_of(0), adding(ledger, 0))
    return trajectory.reward, own[0] / plain([others], [own])


def test_workers_share_one_scale_and_the_unit_of_rewards_cancels_to_the_bit():
    found, right = shared(1.0)
    np.testing.assert_allclose(found, right, rtol=1e-6)
    for factor in (2.0**-9, 2.0**9):
        np.testing.assert_array_equal(shared(factor)[0], found)


def test_episodes_that_do_not_go_on_begin_with_a_return_of_zero():
    ledger = ledger_of(1)
    scale, draft = SharedReturnScale(ledger, GAMMA), ledger.draft_of(0)
    ledger.column(draft, "running_returns")[:] = [1.0, 2.0, 3.0]
    scale.begin(draft, [True, False, True])
    np.testing.assert_array_equal(ledger.column(draft, "running_returns"), [1.0, 0.0, 3.0])


def test_a_learner_follows_each_actors_environments_and_forgets_those_that_begin_afresh():
    first, second = random_rollout(1), random_rollout(2)
    follows, afresh = ReturnScale(2, 3, GAMMA), ReturnScale(2, 3, GAMMA)
    for scale, fresh in ((follows, np.zeros(3, np.uint8)), (afresh, np.ones(3, np.uint8))):
        scale.fold(0, trajectory_of(*first), np.ones(3, np.uint8))
        scale.fold(1, trajectory_of(*first), np.ones(3, np.uint8))
        scale.fold(1, trajectory_of(*second), fresh)
    assert float(follows.scale) == pytest.approx(plain([first], [first, second]), rel=1e-6)
    assert float(afresh.scale) == pytest.approx(plain([first], [first], [second]), rel=1e-6)


def learned(algo, factor, folder):
    """The bits of the parameters that a short run in `sync` learns where every reward is multiplied by `factor`."""

    def make():
        return gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: factor * reward)

    settings = {"workers": 2, "steps": 4_000, "seed": 3, "quiet": True, "runs": str(folder), "evaluation_episodes": 0}
    run = asyncrl.train(algo, make, mode="sync", **settings)
    folder = newest(run.folder)
    arrays = read_part(folder, "learner" if "learner" in parts(folder) else "run")[1]
    return arrays["vector" if "vector" in arrays else "parameters"].tobytes()


@pytest.mark.parametrize("algo", ["a2c", "a3c", "impala", "appo", "ppo", "npg"])
def test_a_run_learns_the_same_bits_in_any_unit_of_rewards(algo, tmp_path):
    assert learned(algo, 1.0, tmp_path) == learned(algo, 2.0**-7, tmp_path) == learned(algo, 2.0**7, tmp_path)


def test_a_run_that_is_older_than_the_scale_goes_on_without_it(tmp_path):
    run = asyncrl.train("a2c", "CartPole-v1", workers=1, steps=400, quiet=True, runs=str(tmp_path), evaluation_episodes=0)
    path = run.folder / "experiment.json"
    data = json.loads(path.read_text())
    assert data["settings"]["options"].pop("normalize_returns") is True
    path.write_text(json.dumps(data))
    assert not read_experiment(run.folder).options.normalize_returns


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.01, 100.0])
@pytest.mark.parametrize("algo", ["a3c", "a2c", "impala", "appo", "ppo", "npg"])
def test_cartpole_is_learned_in_any_unit_of_rewards(algo, factor, tmp_path):
    def make():
        return gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: factor * reward)

    run = asyncrl.train(algo, make, workers=2, steps=500_000, quiet=True, runs=str(tmp_path), evaluation_episodes=20)
    assert run.summary["evaluation_return"] >= 475 * factor
