"""RecSim: items against scikit-learn's mixture, users against the formulas of the specification, and one block of memory for all."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from asyncrl.envs.local_optima.items import Items, mixture
from asyncrl.envs.local_optima.recsim import RecSim
from asyncrl.errors import UserError

SMALL = 97


def test_the_mixture_is_scikit_learns():
    """Golden: make_blobs(97, centers=C, cluster_std=0.35, random_state=5) of scikit-learn 1.9.1."""
    points, cluster = mixture(np.random.RandomState(5), SMALL)
    assert points[0, :3].tolist() == [-0.29918062488662783, -0.29653955516254726, -0.19497530948712302]
    assert points[96, 27:].tolist() == [0.3462082811977103, -0.5817852110821156, 0.34833400808681464]
    assert [*cluster[:5], *cluster[-3:]] == [22, 11, 11, 10, 19, 22, 28, 16]


def test_items_follow_the_formulas():
    points, cluster = mixture(np.random.RandomState(2022), 3000)
    arrays = Items(3000, 2022, 0.0, 15).arrays()
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose(arrays["task"], 2 * (points - low) / (high - low) - 1, atol=1e-6)
    np.testing.assert_array_equal(arrays["features"][:, :30], arrays["task"])
    assert arrays["features"].shape == (3000, 45)
    assert arrays["features"].dtype == np.float32
    assert abs(arrays["features"][:, 30:].mean()) < 0.02
    assert arrays["features"][:, 30:].std() == pytest.approx(1 / math.sqrt(3), rel=0.02)
    means = [*np.linspace(-3, 0, 21), *np.linspace(0, 3, 9)]
    for number in range(30):
        assert arrays["quality"][cluster == number].mean() == pytest.approx(means[number], abs=0.05)
    assert (arrays["quality"] - np.array(means)[cluster]).std() == pytest.approx(0.1, rel=0.05)


def test_shifted_features():
    plain, shifted = Items(3000, 2022, 0.0, 0).arrays(), Items(3000, 2022, 1.0, 0).arrays()
    np.testing.assert_array_equal(plain["task"], shifted["task"])
    assert shifted["features"].min(axis=0).tolist() == [-1.0] * 30
    assert shifted["features"].max(axis=0).tolist() == [1.0] * 30
    seen = np.corrcoef(plain["task"][:, 0], shifted["features"][:, 0])[0, 1]
    deviation = plain["task"][:, 0].std()
    assert seen == pytest.approx(deviation / math.hypot(deviation, 1.0), abs=0.06)


def plain_step(e_u, e_i, quality, generosity, budget, random):
    """The user's answer, by the specification: (click, interests, budget)."""
    d = sum(a * b for a, b in zip(e_u, e_i))
    score = math.log(1 + math.exp(d - 1.5 if d < 0 else d))
    if random.random() >= score / (score + 2.0):
        return 0.0, e_u, budget - 0.5
    size = [abs(a) for a in e_u]
    weight = [(one - min(size)) / (max(size) - min(size)) for one in size]
    sign = 1 if random.random() < 1 / (1 + math.exp(-d)) else -1
    moved = [min(max(a + sign * w * (b - a), -1.0), 1.0) for a, b, w in zip(e_u, e_i, weight)]
    length = min(4.0, budget)
    return 1.0, moved, budget - length + generosity * length * quality


def test_users_follow_the_formulas():
    env = RecSim(SMALL)
    arrays, random = env.items.arrays(), np.random.default_rng(0)
    seen = set()
    for episode in range(20):
        observation, _ = env.reset(seed=episode)
        np.testing.assert_array_equal(observation, env._interests.astype(np.float32))
        over, steps = False, 0
        while not over and steps < 20:
            number = int(random.integers(SMALL))
            twin = np.random.default_rng(0)
            twin.bit_generator.state = env.np_random.bit_generator.state
            item = arrays["task"][number].astype(float).tolist()
            expected = plain_step(env._interests.tolist(), item, float(arrays["quality"][number]), env._generosity, env._budget, twin)
            observation, reward, over, truncated, info = env.step(np.int64(number))
            assert (reward, info["click"], truncated) == (expected[0], bool(expected[0]), False)
            np.testing.assert_allclose(observation, expected[1], atol=1e-6)
            assert env._budget == pytest.approx(expected[2])
            assert over == (expected[2] <= 0)
            seen.add((reward, over))
            steps += 1
    assert {(0.0, False), (1.0, False), (1.0, True)} <= seen


def test_the_papers_choice_and_drift():
    env = RecSim(SMALL, choice="softmax", skip_score=0.5)
    assert env.click_probability(1.2) == pytest.approx(math.exp(1.2) / (math.exp(1.2) + math.exp(0.5)))
    score = math.log1p(math.exp(-0.5 - 1.5))
    assert RecSim(SMALL).click_probability(-0.5) == pytest.approx(score / (score + 2.0))
    linear = RecSim(SMALL, drift="linear")
    linear.reset(seed=1)
    towards = 0
    item = np.ones(30)
    for _ in range(500):
        linear._interests[:] = 0.0
        linear._interests[0] = 0.5
        linear._move(item, 0.2)
        towards += linear._interests[0] > 0.5
    assert towards / 500 == pytest.approx((0.2 + 1) / 2, abs=0.08)


def test_episodes_without_a_budget_do_not_end():
    env = RecSim(SMALL, budget=False)
    env.reset(seed=1)
    assert not any(env.step(number % SMALL)[2] for number in range(300))


def test_users_differ_unless_they_are_the_codes():
    env, same = RecSim(SMALL), RecSim(SMALL, same_user=True)
    assert len({env.reset(seed=seed)[0].tobytes() for seed in range(5)}) == 5
    assert len({same.reset(seed=seed)[0].tobytes() for seed in range(5)}) == 1
    env.reset(seed=1)
    assert env.reset()[0].tobytes() != env.reset()[0].tobytes()


def test_one_block_for_all_processes():
    """Half of the features' memory counts as ours once a child has them, and the child makes none."""
    psutil = pytest.importorskip("psutil")
    env = RecSim(100_000)
    assert not env.action_features.flags.writeable
    code = (
        "import asyncrl.envs.local_optima.items as items, sys\nfrom asyncrl.envs.local_optima.recsim import RecSim\n"
        "items.Items._fill = lambda *_: 1 / 0\nenv = RecSim(100_000)\nprint(float(env.action_features.sum()), flush=True)\nsys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert float(child.stdout.readline()) == float(env.action_features.sum())
    size = 100_000 * (45 + 30 + 1) * 4
    shared = sum(one.pss for one in psutil.Process(child.pid).memory_maps() if "memfd:asyncrl-" in one.path)
    assert shared < 0.55 * size
    child.communicate("")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"n_items": 29}, r"n_items = 29 cannot be used \(allowed: whole numbers from 30"),
        ({"action_noise_std": -1.0}, "action_noise_std = -1.0"),
        ({"action_noise_std": math.inf}, "action_noise_std = inf"),
        ({"extra_dims": -1}, "extra_dims = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"choice": "softmx"}, "did you mean 'softmax'"),
        ({"drift": "liner"}, "did you mean 'linear'"),
        ({"render_mode": "human"}, "render_mode = 'human'"),
    ],
)
def test_wrong_arguments(arguments, told):
    with pytest.raises(UserError, match=told):
        RecSim(**{"n_items": SMALL, **arguments})


def test_a_wrong_action():
    env = RecSim(SMALL)
    env.reset(seed=1)
    with pytest.raises(UserError, match=r"action 97 cannot be used \(allowed: 0 to 96\)"):
        env.step(SMALL)
