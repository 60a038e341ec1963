"""Environments that are reset and stepped into arrays of the caller's: what actors know of environments.

`Stepping` is the interface behind which a simulator of another kind can stand; gymnasium's is `GymnasiumStepping`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.checked import CheckedEnvironment
from asyncrl.envs.faults import EnvironmentFault, observation_fault, wrong_observation
from asyncrl.envs.spec import EnvSpec
from asyncrl.trajectory import GOES_ON, TRUNCATED

BEAT_SECONDS = 0.25
"""The least time between two calls of `beat`."""


@dataclass
class StepArrays:
    """What stepping writes in a round of T steps in E environments. The caller allocates the arrays, once.

    observation        [T+1, E, *shape]  as the environments gave them, in the spec's dtype; where an episode ended at step t,
                       observation[t + 1] is the first of the next one
    reward             [T, E]            float64, as the environments gave them; they may be non-finite
    ended              [T, E]            uint8: GOES_ON, TERMINATED or TRUNCATED
    final_observation  [T, E, *shape]    the last observation of an episode, written only where it was TRUNCATED
    """

    observation: NDArray[Any]
    reward: NDArray[np.float64]
    ended: NDArray[np.uint8]
    final_observation: NDArray[Any]


class Stepping(Protocol):
    """E environments that are reset and stepped together, into arrays of the caller's (`StepArrays`).

    An episode that ends is followed by the next one within the same step. A step that is terminated and truncated
    counts as TERMINATED.

    A simulator that plays a whole round in one compiled call offers that in a further method. That method works on the
    same arrays and lists; after it, they are as after T calls of `step`.

    environments     [E], whose states a checkpoint keeps
    episode_returns  [E], undiscounted sums of the environments' own rewards in the episodes under way
    episode_lengths  [E], their steps
    seconds          spent in `step` so far
    """

    spec: EnvSpec
    environments: list[gymnasium.Env[Any, Any]]
    episode_returns: list[float]
    episode_lengths: list[int]
    seconds: float

    def bind(self, arrays: StepArrays) -> None:
        """Write to these arrays from now on. To be called before anything below."""

    def reset(self, seeds: list[int]) -> None:
        """Begin an episode in every environment, by seeds [E]; the first observations go to observation[0] and observation[T].

        The returns and lengths of episodes are left alone. Raises EnvironmentFault.
        """

    def begin_round(self) -> None:
        """Copy observation[T], where the round before ended, to observation[0], and set `ended` to GOES_ON everywhere."""

    def step(self, t: int, action_for: Callable[[int, int], Any]) -> tuple[int, ...]:
        """Step t of the round. Returns the environments whose episodes ended.

        `action_for(t, e)` gives the action of environment e, of the action space's own type; the environment may keep it.

        Raises EnvironmentFault: an exception in an environment, an observation of a wrong shape or type, a reward that is not a
        number, a last observation of an episode that is not finite. The caller checks whether other observations are
        finite, and calls `raise_observation_fault` if one is not.
        """

    def raise_observation_fault(self, t: int) -> NoReturn:
        """Raise the EnvironmentFault of the first environment whose observation[t] is not finite."""


class GymnasiumStepping(Stepping):
    """E environments of gymnasium's, stepped one after the other in this process. Nothing is allocated per step.

    `on_episode(return, length)` is called at the end of each episode, before the environment is reset. `beat()` is called
    between steps, at most every BEAT_SECONDS, so that a long round is not mistaken for an environment that hangs.
    """

    def __init__(
        self,
        environments: list[gymnasium.Env[Any, Any]],
        spec: EnvSpec,
        on_episode: Callable[[float, int], None] = lambda episode_return, length: None,
        beat: Callable[[], None] = lambda: None,
    ):
        self.environments, self.spec = environments, spec
        self.episode_returns, self.episode_lengths = [0.0] * len(environments), [0] * len(environments)
        self.seconds = 0.0
        self._checked = [CheckedEnvironment(one, spec) for one in environments]
        self._steps = [one.step for one in self._checked]
        self._shape, self._image = spec.observation_shape, spec.is_image
        self._on_episode, self._beat, self._next_beat = on_episode, beat, 0.0

    def bind(self, arrays: StepArrays) -> None:
        self._arrays, self._rewards = arrays, arrays.reward
        self._rows = [[moment[e] for e in range(len(self.environments))] for moment in arrays.observation]

    def reset(self, seeds: list[int]) -> None:
        for row, one, seed in zip(self._rows[0], self._checked, seeds):
            row[...] = one.reset(seed)
        self._arrays.observation[-1] = self._arrays.observation[0]

    def begin_round(self) -> None:
        self._arrays.observation[0] = self._arrays.observation[-1]
        self._arrays.ended[:] = GOES_ON

    def step(self, t: int, action_for: Callable[[int, int], Any]) -> tuple[int, ...]:
        began = time.perf_counter()
        rows, rewards, array, shape, image = self._rows[t + 1], self._rewards, np.ndarray, self._shape, self._image
        returns, lengths = self.episode_returns, self.episode_lengths
        over: tuple[int, ...] = ()
        for e, step in enumerate(self._steps):
            observation, reward, ended = step(action_for(t, e))
            if type(observation) is not array or observation.shape != shape or (image and observation.dtype != np.uint8):
                self._check(observation)
            rows[e][...] = observation
            rewards[t, e] = reward
            returns[e] += reward
            lengths[e] += 1
            if ended:
                self._end_episode(t, e, ended)
                over = (*over, e)
        now = time.perf_counter()
        self.seconds += now - began
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS
            self._beat()
        return over

    def _check(self, observation: Any) -> None:
        """Accept a value that is no array but can be written into one, such as a list of numbers; raise EnvironmentFault for any other."""
        if observation_fault(observation, self.spec) is not None:
            raise wrong_observation(observation, self.spec)

    def _end_episode(self, t: int, e: int, ended: int) -> None:
        row = self._rows[t + 1][e]
        self._arrays.ended[t, e] = ended
        if not np.isfinite(row).all():
            raise wrong_observation(row, self.spec)
        if ended == TRUNCATED:
            self._arrays.final_observation[t, e] = row
        self._on_episode(self.episode_returns[e], self.episode_lengths[e])
        self.episode_returns[e], self.episode_lengths[e] = 0.0, 0
        row[...] = self._checked[e].reset(None)

    def raise_observation_fault(self, t: int) -> NoReturn:
        for row in self._rows[t]:
            if observation_fault(row, self.spec) is not None:
                raise wrong_observation(row, self.spec)
        raise EnvironmentFault("step returned an observation that is not finite")
