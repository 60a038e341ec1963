"""A2C of Stable-Baselines3 with its defaults, beside runs/studies/learning-defaults.toml. In an environment of its own that has

    pip install torch==2.13.0 'gymnasium[classic-control,box2d,mujoco]' stable-baselines3==2.9.2
    python runs/peers/sb3_a2c.py

Eight environments in one process, as in the comparison of throughput; all else is its default. Writes
runs/reference/defaults-sb3-a2c.json, see `sb3_learning.py`.
"""

from __future__ import annotations

from sb3_learning import study
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env

ENVIRONMENTS = 8
STEPS = {
    "Acrobot-v1": 500_000,
    "InvertedPendulum-v5": 500_000,
    "Reacher-v5": 500_000,
    "Pendulum-v1": 500_000,
    "LunarLander-v3": 500_000,
    "MountainCarContinuous-v0": 500_000,
    "HalfCheetah-v5": 1_000_000,
    "Hopper-v5": 500_000,
}


def made(env: str, seed: int) -> A2C:
    """A model to be trained."""
    return A2C("MlpPolicy", make_vec_env(env, n_envs=ENVIRONMENTS, seed=seed), seed=seed, device="cpu")


if __name__ == "__main__":
    study(made, STEPS, 5, "defaults-sb3-a2c.json", {"command": "python runs/peers/sb3_a2c.py", "environments_each": ENVIRONMENTS})
