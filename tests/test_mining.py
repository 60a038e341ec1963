"""Mining Expedition: against equation 12 and figure 14 of seed 002, and a game played by hand."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrl.envs.local_optima.mining import MiningExpedition
from asyncrl.envs.local_optima.mining_tools import Tools
from asyncrl.errors import UserError

RIGHT, DOWN, LEFT, UP = range(4)


def placed(mines: dict[tuple[int, int], int], **arguments) -> MiningExpedition:
    """An environment whose room holds these mines alone, (x, y) -> kind; cells are counted from 1."""
    env = MiningExpedition(heading="right", **arguments)
    env.reset(seed=1)
    env._cells[:] = -1
    for cell, kind in mines.items():
        env._cells[cell] = kind
    return env


def tool(env: MiningExpedition, kind: int, made: int) -> int:
    """The action of a tool."""
    return 4 + env.tools.pairs.tolist().index([kind, made])


def test_a_game_by_hand():
    env = placed({(2, 1): 0})
    made = int(next(pair[1] for pair in env.tools.pairs if pair[0] == 0))
    observation, reward, *_ = env.step(RIGHT)
    assert reward == 0.0
    expected = np.zeros(23)
    expected[[4, 7]] = 1.0  # below is free; in front is kind 0
    np.testing.assert_array_equal(observation, expected.astype(np.float32))
    assert env.step(tool(env, 7, 15))[1] == 0.0, "the wrong tool"
    observation, reward, *_ = env.step(tool(env, 0, made))
    assert reward == pytest.approx(0.1)
    assert observation[7:].tolist() == [float(kind == made) for kind in range(16)]
    observation, reward, *_ = env.step(tool(env, made, 15))
    assert reward == pytest.approx(0.1 + 0.1)
    assert observation[3:7].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert observation[7:].tolist() == [0.0] * 15 + [1.0]
    observation, reward, *_ = env.step(RIGHT)
    assert reward == pytest.approx(0.1 * (14 - 13))
    assert observation[:3].tolist() == pytest.approx([1 / 7, 0.0, 0.0])
    assert env.step(UP)[1] == 0.0, "a wall"
    assert env.step(LEFT)[1] == pytest.approx(-0.1)
    for steps, direction in enumerate([RIGHT] * 7 + [DOWN] * 7, 8):
        observation, reward, terminated, truncated, info = env.step(direction)
        assert not truncated
        assert terminated == info["success"] == (steps == 21)
        assert reward == pytest.approx(0.1 + (steps == 21) * 10 * (1 - 0.9 * 21 / 100))
    assert observation[:2].tolist() == [1.0, 1.0]


def test_the_codes_rewards():
    env = placed({(2, 1): 7}, rewards="code")
    assert env.step(tool(env, 7, 15))[1] == pytest.approx(0.05 + 0.05)
    assert env.step(RIGHT)[1] == pytest.approx(0.2)
    env._x = env._y = 8
    env._y = 7
    assert env.step(DOWN)[1] == pytest.approx(0.2 + 30 * (1 - 0.9 * 3 / 100))


def test_tools_are_those_of_figure_14():
    pairs = [tuple(pair) for pair in Tools(50, 15, "code", 2022).pairs.tolist()]
    assert len(set(pairs)) == 50
    assert [pair for pair in pairs if pair[0] >= 7] == [(kind, 15) for kind in range(7, 15)]
    others = [pair for pair in pairs if pair[0] < 7]
    assert len(others) == 42
    assert {kind for kind, _ in others} == set(range(7)), "every complex mine has a tool"
    assert {made for _, made in others} <= set(range(7, 15))
    drawn = [tuple(pair) for pair in Tools(50, 15, "paper", 5).pairs.tolist()]
    assert len(set(drawn)) == 50
    assert any(made == 15 for kind, made in drawn if kind < 7)
    assert Tools(50, 15, "code", 1).pairs.tolist() != Tools(50, 15, "code", 2).pairs.tolist()
    assert Tools(64, 15, "code", 1).pairs.shape == (64, 2), "all there are"


def test_features_follow_the_formula():
    env = MiningExpedition()
    made = env.action_features
    assert made.shape == (54, 4)
    assert not made.flags.writeable
    assert made[:4].tolist() == [[1.0, pytest.approx(2 * d / 3 - 1), -1.0, -1.0] for d in range(4)]
    kinds = env.tools.pairs[:, 0]
    np.testing.assert_allclose(made[4:, 2], 2 * (kinds / 15) / (14 / 15) - 1, rtol=1e-6)
    np.testing.assert_allclose(made[4:, 3], 2 * (env.tools.pairs[:, 1] / 15) - 1, rtol=1e-6, atol=1e-6)
    assert (made[4:, :2] == -1.0).all()


def test_table_2():
    env = MiningExpedition(n_tools=100, kinds=20, extra_dims=5)
    assert env.action_space.n == 104
    assert env.action_features.shape == (104, 9)
    assert env.observation_space.shape == (28,)
    noise = env.action_features[:, 4:]
    assert -1.0 <= noise.min() < -0.9
    assert 0.9 < noise.max() <= 1.0
    np.testing.assert_array_equal(noise, MiningExpedition(n_tools=100, kinds=20, extra_dims=5).action_features[:, 4:])


def test_rooms():
    env = MiningExpedition()
    env.reset(seed=3)
    first = env._cells.copy()
    shares = []
    for _ in range(200):
        env.reset()
        shares.append((env._cells[1:-1, 1:-1] >= 0).mean())
        assert env._cells[1, 1] == env._cells[8, 8] == -1
    assert np.mean(shares) == pytest.approx(0.7 * 62 / 64, abs=0.01)
    assert (env._cells != first).any()
    assert {int(env.reset()[0][2] * 3 + 0.5) for _ in range(50)} == {0, 1, 2, 3}
    fixed = MiningExpedition(layout="fixed")
    fixed.reset(seed=1)
    before = fixed._cells.copy()
    fixed.reset(seed=2)
    np.testing.assert_array_equal(before >= 0, fixed._cells >= 0)
    assert (before != fixed._cells).any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"n_tools": 14}, r"n_tools = 14 cannot be used \(allowed: 15 to 64 for 15 kinds of mines\)"),
        ({"n_tools": 65}, "allowed: 15 to 64"),
        ({"n_tools": 72, "graph": "paper"}, "allowed: 15 to 71"),
        ({"kinds": 1}, "kinds = 1 cannot be used"),
        ({"layout": "fix"}, "unknown layout 'fix'; did you mean 'fixed'"),
        ({"heading": "up"}, "unknown heading 'up'"),
        ({"rewards": "papr"}, "did you mean 'paper'"),
        ({"graph": "cod"}, "did you mean 'code'"),
        ({"extra_dims": -1}, "extra_dims = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"render_mode": "human"}, "render_mode = 'human' cannot be used"),
    ],
)
def test_wrong_arguments(arguments, told):
    with pytest.raises(UserError, match=told):
        MiningExpedition(**arguments)


def test_a_wrong_action():
    env = MiningExpedition()
    env.reset(seed=1)
    with pytest.raises(UserError, match=r"action 54 cannot be used \(allowed: 0 to 53\)"):
        env.step(54)
