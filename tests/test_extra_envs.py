"""Environments of the extras `dmc`, `bullet`, `adroit` and `atari`: made by their ids where these are there, else named."""

from __future__ import annotations

import sys
import types

import gymnasium
import numpy as np
import pytest

from asyncrl.envs import make_env, spec_of
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy

BULLET = "pybullet_envs_gymnasium:InvertedPendulumBulletEnv-v0"
MADE = {
    "dm_control/fish-swim-v0": ("dm_control", "DMCS:FishSwim", 2180),
    "dm_control/swimmer-swimmer6-v0": ("dm_control", "DMCS:Swimmer6", 2200),
    "dm_control/swimmer-swimmer15-v0": ("dm_control", "DMCS:Swimmer15", 3100),
    "dm_control/hopper-stand-v0": ("dm_control", "DMCS:HopperStand", 1980),
    "dm_control/walker-walk-v0": ("dm_control", "DMCS:WalkerWalk", 2200),
    BULLET: ("pybullet_envs_gymnasium", "InvertedPendulumBulletEnv-v0", 6),
}
"""Id -> the module without which it is not there, the preset, and the parameters of an itt policy (seed 000, Table 4)."""


@pytest.mark.parametrize("name", MADE)
def test_they_are_made_and_repeat_an_episode(name):
    module, preset, size = MADE[name]
    pytest.importorskip(module)
    env = make_env(name)
    spec = spec_of(env)
    assert SearchPolicy(spec, "itt", NetworkOptions(head_options=HEADS["itt"].options_type(preset=preset))).size == size
    action = np.full(env.action_space.shape, 0.3, env.action_space.dtype)

    def episode() -> list[np.ndarray]:
        return [env.reset(seed=3)[0], *[env.step(action)[0] for _ in range(3)]]

    first = episode()
    env.reset(seed=4)
    np.testing.assert_array_equal(first, episode())
    env.close()


MISSING = [
    ("dm_control/fish-swim-v0", "shimmy", "dmc"),
    (BULLET, BULLET.partition(":")[0], "bullet"),
    ("gymnasium_robotics:AdroitHandPen-v1", "gymnasium_robotics", "adroit"),
    ("ALE/Pong-v5", "ale_py", "atari"),
]


@pytest.mark.parametrize(("name", "module", "extra"), MISSING)
def test_a_missing_extra_is_named(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)  # python's own way to make an import fail
    with pytest.raises(UserError, match=rf"needs a package: run `pip install 'asyncrl\[{extra}\]'`"):
        make_env(name)


def test_shimmy_without_dm_control(monkeypatch):
    """It is imported and registers nothing."""
    monkeypatch.setitem(sys.modules, "shimmy", types.ModuleType("shimmy"))
    for name in [name for name in gymnasium.registry if name.startswith("dm_control/")]:
        monkeypatch.delitem(gymnasium.registry, name)
    with pytest.raises(UserError, match=r"'asyncrl\[dmc\]'"):
        make_env("dm_control/fish-swim-v0")
