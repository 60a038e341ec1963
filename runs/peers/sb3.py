"""TD3 and SAC of Stable-Baselines3 under the settings of runs/off_policy.py. In an environment of its own that has

    pip install torch==2.13.0 'gymnasium[mujoco]' stable-baselines3==2.9.2
    python runs/peers/sb3.py hopper td3      # likewise sac; pendulum; inverted-pendulum

Writes runs/reference/<study>-<algo>-sb3.json in the format of runs/off_policy.py, from which the settings are taken (asyncrl is not
imported). The same: networks and their initial distribution, Adam's rates, batch, replay, warm-up, steps per update and per
version of the policy, noise, discounts, targets, temperature, one thread, and evaluation: greedy episodes in an environment of
their own whose first reset has the same seed. Two differences are left: during the warm-up its TD3 adds the noise to the
uniform actions, and its critics' loss in SAC is halved, which Adam does not notice.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise

sys.path.insert(0, str(Path(__file__).parents[1]))
from off_policy import ALGOS, EVALUATION_SEED, REFERENCE, STUDIES, Study, figures, head_of, run, settings_of

from asyncrl.algos.td3 import Td3


class Evaluate(BaseCallback):
    """Greedy episodes every so many steps."""

    def __init__(self, study: Study, seed: int):
        super().__init__()
        self._study, self._seed = study, seed
        self._environment = gymnasium.make(study.env)
        self.made: list[list[float]] = []
        self.seconds = 0.0

    def _on_step(self) -> bool:
        if self.num_timesteps % self._study.evaluate_every == 0 and self.num_timesteps < self._study.steps:
            self.evaluate()
        return True

    def evaluate(self) -> None:
        """Play; the clock of the run stands still meanwhile."""
        began = time.monotonic()
        returns = []
        observation, _ = self._environment.reset(seed=self._seed + EVALUATION_SEED)
        while len(returns) < self._study.evaluation_episodes:
            total, over = 0.0, False
            while not over:
                action, _ = self.model.predict(observation, deterministic=True)
                observation, reward, terminated, truncated, _ = self._environment.step(action)
                total, over = total + float(reward), terminated or truncated
            returns.append(total)
            observation, _ = self._environment.reset()
        self.made.append([self.num_timesteps, round(float(np.mean(returns)), 1)])
        self.seconds += time.monotonic() - began


def model_of(study: Study, algo: str, seed: int) -> Any:
    """The learner that the study's settings describe."""
    s = settings_of(study, algo)
    assert s["policy_learning_rate"] == s["critic_learning_rate"]  # there is one
    common = {
        "learning_rate": s["policy_learning_rate"],
        "buffer_size": s["replay"],
        "learning_starts": s["warm_up"],
        "batch_size": s["batch"],
        "train_freq": s["t_max"],
        "gradient_steps": round(s["t_max"] * s["replay_ratio"]),
        "policy_kwargs": {"net_arch": list(s["hidden"]), "activation_fn": torch.nn.ReLU},
        **{name: s[name] for name in ("gamma", "tau")},
    }
    environment = gymnasium.make(study.env)
    if algo == "sac":
        return SAC("MlpPolicy", environment, ent_coef=f"auto_{s['temperature']}", seed=seed, device="cpu", **common)
    size = environment.action_space.shape
    noise = NormalActionNoise(np.zeros(size), np.full(size, float(s["explore"].removeprefix("gaussian:"))))
    targets = {name: s[name] for name in ("policy_delay", "target_noise_clip")}
    return TD3(
        "MlpPolicy",
        environment,
        action_noise=noise,
        target_policy_noise=Td3.usual["target_noise"] if s["target_noise"] is None else s["target_noise"],
        seed=seed,
        device="cpu",
        **targets,
        **common,
    )


def one(study: Study, algo: str, seed: int) -> dict[str, Any]:
    """Run one seed."""
    model, evaluate = model_of(study, algo, seed), Evaluate(study, seed)
    began = time.monotonic()
    model.learn(study.steps, callback=evaluate)
    seconds = time.monotonic() - began - evaluate.seconds
    evaluate.evaluate()
    return {"seed": seed, "steps": model.num_timesteps, "seconds": round(seconds, 1), **figures(evaluate.made, study.threshold)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Learning figures of Stable-Baselines3's TD3 and SAC.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("algo", choices=ALGOS)
    parser.add_argument("--seeds", type=int, help="default: the study's number")
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = STUDIES[given.study]
    command = f"python runs/peers/sb3.py {given.study} {given.algo}"
    versions = {"stable-baselines3": stable_baselines3.__version__, "torch": torch.__version__, "gymnasium": gymnasium.__version__}
    head = {"command": command, **head_of(given.study, given.algo), "program": "Stable-Baselines3", "versions": versions}
    path = REFERENCE / f"{given.study}-{given.algo}-sb3.json"
    run(path, head, given.seeds or study.seeds, lambda seed: one(study, given.algo, seed))


if __name__ == "__main__":
    main()
