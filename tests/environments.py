"""Small environments for the tests: importable by worker processes, plain gymnasium, each with one purpose."""

from __future__ import annotations

import random
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Step = tuple[Any, float, bool, bool, dict[str, Any]]


class CountingEnv(gymnasium.Env[Any, Any]):
    """Observation (episode, step, steps in all); reward 1; every episode ends after ``length`` steps.

    ``truncate`` chooses how. Nothing is random: what was dropped, doubled or reordered shows.
    """

    def __init__(self, length: int = 10, truncate: bool = False) -> None:
        self.length, self.truncate = length, truncate
        self.episode, self.count, self.total = -1, 0, 0
        self.observation_space = spaces.Box(-1.0, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> Step:
        self.count, self.total = self.count + 1, self.total + 1
        over = self.count >= self.length
        return self.observe(), 1.0, over and not self.truncate, over and self.truncate, {}

    def observe(self) -> Any:
        return np.array([self.episode, self.count, self.total], dtype=np.float32)


class BanditEnv(CountingEnv):
    """Two arms, one-step episodes, observations of zeros: reward 1 for arm 1, 0 for arm 0."""

    def __init__(self) -> None:
        super().__init__(length=1)
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def step(self, action: Any) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action == 1), terminated, truncated, info

    def observe(self) -> Any:
        return np.zeros(2, dtype=np.float32)


class SlowEnv(CountingEnv):
    """Sleeps a random time in each step, exponential with mean ``delay_seconds``, drawn from the environment's own generator."""

    def __init__(self, delay_seconds: float = 0.001, length: int = 10) -> None:
        super().__init__(length)
        self.delay_seconds = delay_seconds

    def step(self, action: Any) -> Step:
        time.sleep(self.np_random.exponential(self.delay_seconds))
        return super().step(action)


class RaisingEnv(CountingEnv):
    """Raises RuntimeError at step ``raise_at_step`` counted over all episodes (from 1), or in reset once that many steps are done."""

    def __init__(self, raise_at_step: int = 5, in_reset: bool = False, length: int = 10) -> None:
        super().__init__(length)
        self.raise_at_step, self.in_reset = raise_at_step, in_reset

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.in_reset and self.total >= self.raise_at_step:
            raise RuntimeError(f"raised in reset after {self.total} steps, as asked")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Step:
        result = super().step(action)
        if not self.in_reset and self.total == self.raise_at_step:
            raise RuntimeError(f"raised at step {self.total}, as asked")
        return result


class NaNEnv(CountingEnv):
    """Observation 1 is NaN from step ``at_step`` on, counted over all episodes; 0 means already in the first reset."""

    def __init__(self, at_step: int = 5, length: int = 10) -> None:
        super().__init__(length)
        self.at_step = at_step

    def observe(self) -> Any:
        observation = super().observe()
        if self.total >= self.at_step:
            observation[1] = np.nan
        return observation


class WrongShapeEnv(CountingEnv):
    """Observations have one number more than declared from step ``at_step`` on, counted over all episodes."""

    def __init__(self, at_step: int = 5, length: int = 10) -> None:
        super().__init__(length)
        self.at_step = at_step

    def observe(self) -> Any:
        return np.zeros(4, dtype=np.float32) if self.total >= self.at_step else super().observe()


class HangingEnv(CountingEnv):
    """Never comes back from step ``at_step``, counted over all episodes."""

    def __init__(self, at_step: int = 5, length: int = 10) -> None:
        super().__init__(length)
        self.at_step = at_step

    def step(self, action: Any) -> Step:
        while self.total + 1 >= self.at_step:
            time.sleep(3600.0)
        return super().step(action)


class ImageEnv(CountingEnv):
    """Random uint8 images: 84x84x3 with the channels last, or 4x84x84 with the channels first. Pixel [0, 0, 0] is the step."""

    def __init__(self, channels_first: bool = False, length: int = 10) -> None:
        super().__init__(length)
        self.observation_space = spaces.Box(0, 255, (4, 84, 84) if channels_first else (84, 84, 3), np.uint8)

    def observe(self) -> Any:
        assert self.observation_space.shape is not None
        image = self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)
        image[0, 0, 0] = self.count % 256
        return image


class DictEnv(CountingEnv):
    """A Dict observation with a Tuple of a Discrete and a matrix inside: 3 + (4 + 2 * 2) = 11 numbers when flattened."""

    def __init__(self, length: int = 10) -> None:
        super().__init__(length)
        inner = spaces.Tuple((spaces.Discrete(4), spaces.Box(-1.0, 1.0, (2, 2), np.float32)))
        self.observation_space = spaces.Dict({"a": spaces.Box(-1.0, np.inf, (3,), np.float32), "b": inner})

    def observe(self) -> Any:
        return {"a": super().observe(), "b": (self.count % 4, np.eye(2, dtype=np.float32))}


class FollowEnv(CountingEnv):
    """Two random numbers are seen, and the first is to be given back: reward -(action - observation[0])^2, episodes of 10 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action: Any) -> Step:
        reward = -float(np.square(np.asarray(action) - self.seen[0]).sum())
        observation, _, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info

    def observe(self) -> Any:
        self.seen = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self.seen


class ContinuousTargetEnv(CountingEnv):
    """One-step episodes, observations of zeros: reward -sum((action - target)^2)."""

    def __init__(self, target: float = 0.5, size: int = 1) -> None:
        super().__init__(length=1)
        self.target = target
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

    def step(self, action: Any) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, -float(np.square(np.asarray(action) - self.target).sum()), terminated, truncated, info

    def observe(self) -> Any:
        return np.zeros(2, dtype=np.float32)


class Draws(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pays what it draws from the process's own generators."""

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(np.random.normal() + random.random()), terminated, truncated, info


def drawing_cartpole() -> Any:
    return Draws(gymnasium.make("CartPole-v1"))
