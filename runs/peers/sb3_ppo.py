"""PPO of Stable-Baselines3 with its defaults, beside runs/studies/learning-ppo.toml. In an environment of its own that has

    pip install torch==2.13.0 'gymnasium[classic-control,mujoco]' stable-baselines3==2.9.2
    python runs/peers/sb3_ppo.py

One environment, as SB3's default has it: 2,048 steps a rollout, minibatches of 64, 10 epochs. Writes runs/reference/sb3-ppo.json, see
`sb3_learning.py`.
"""

from __future__ import annotations

from sb3_learning import study
from stable_baselines3 import PPO

STEPS = {"CartPole-v1": 200_000, "HalfCheetah-v5": 1_000_000, "Hopper-v5": 1_000_000}


def made(env: str, seed: int) -> PPO:
    """A model to be trained."""
    return PPO("MlpPolicy", env, seed=seed, device="cpu")


if __name__ == "__main__":
    study(made, STEPS, 3, "sb3-ppo.json", {"command": "python runs/peers/sb3_ppo.py"})
