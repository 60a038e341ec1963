"""Environments that are reset and stepped into arrays of the caller's: what actors know of environments.

`Stepping` is the interface behind which a simulator of another kind can stand; gymnasium's is `GymnasiumStepping`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.checked import LIFE_LOST, checked
from asyncrl.envs.faults import EnvironmentFault, observation_fault, wrong_observation
from asyncrl.envs.spec import EnvSpec
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

BEAT_SECONDS = 0.25
"""The least time between two calls of `beat`."""


@dataclass
class StepArrays:
    """What stepping writes in a round of T steps in E environments. The caller allocates the arrays, once.

    observation        [T+1, E, *shape]  as the environments gave them, in the spec's dtype; where an episode ended at step t,
                       observation[t + 1] is the first of the next one
    reward             [T, E]            float64, as the environments gave them; they may be non-finite
    ended              [T, E]            uint8: GOES_ON, TERMINATED or TRUNCATED; where a life was lost and the episode goes on, it is
                       TERMINATED too, and observation[t + 1] is of the same episode
    final_observation  [T, E, *shape]    the last observation of an episode, written only where it was TRUNCATED
    """

    observation: NDArray[Any]
    reward: NDArray[np.float64]
    ended: NDArray[np.uint8]
    final_observation: NDArray[Any]


@dataclass
class Chooser:
    """What chooses the actions of a round.

    choose       chooses those of step t for observation[t]; False where an observation has a component that is not finite
    action_for   (t, e) -> the action of environment e, of the action space's own type; the environment may keep it
    newest       [E, P]        the policy's outputs of the newest step
    heeds_ends   whether whoever acts has something to do where an episode is terminated, beside learning of it from `ended`
    outputs      [T, E, P]     where they are kept, of every step; [0, E, P] where nobody keeps them
    kernel       where one compiled call does what `choose` does: kernel(*arguments, t); and then
    action       [T, E, S]  of Discrete environments the choice, counted from 0, in [t, e, 0]
    bounded      [T, E, C]  float32, of others what the environment is given
    """

    choose: Callable[[int], bool]
    action_for: Callable[[int, int], Any]
    kernel: Any = None
    arguments: tuple[Any, ...] = ()
    action: Any = None
    bounded: Any = None
    heeds_ends: bool = True
    newest: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    outputs: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))


class Stepping(Protocol):
    """E environments that are reset and stepped together, into arrays of the caller's (`StepArrays`).

    An episode that ends is followed by the next one within the same step. A step that is terminated and truncated
    counts as TERMINATED.

    environments     [E], whose states a checkpoint keeps, between `settle` and `adopt`
    episode_returns  [E], undiscounted sums of the environments' own rewards in the episodes under way
    episode_lengths  [E], their steps
    """

    spec: EnvSpec
    environments: list[gymnasium.Env[Any, Any]]
    episode_returns: MutableSequence[float] | NDArray[np.float64]
    episode_lengths: MutableSequence[int] | NDArray[np.int64]

    @property
    def seconds(self) -> float:
        """Spent in environments so far."""

    def bind(self, arrays: StepArrays, chooser: Chooser) -> None:
        """Write to these arrays from now on, with actions that it chooses. To be called before anything below."""

    def reset(self, seeds: list[int]) -> None:
        """Begin an episode in every environment, by seeds [E]; the first observations go to observation[0] and observation[T].

        The returns and lengths of episodes are left alone. Raises EnvironmentFault.
        """

    def begin_round(self) -> None:
        """Copy observation[T], where the round before ended, to observation[0], and set `ended` to GOES_ON everywhere."""

    def play(self, t: int, acted: bool) -> tuple[int, tuple[int, ...]]:
        """Choose and step, from step t of the round on: one step or more, but none after one at which an episode ends or a life is lost.

        `acted`: whether the actions of step t have been chosen already. Returns (the step that comes next, the environments whose
        episodes ended, or that lost a life, at the one before). Ends that nobody heeds (`Chooser.heeds_ends`) may be passed over.

        Raises EnvironmentFault: an exception in an environment, an observation of a wrong shape or type, or not finite, a reward that
        is not a number.
        """

    def settle(self) -> None:
        """Make the environments what they would be if they had been stepped themselves: before somebody looks at them."""

    def adopt(self) -> None:
        """Go on from what the environments are: after somebody has changed them."""

    def raise_observation_fault(self, t: int) -> NoReturn:
        """Raise the EnvironmentFault of the first environment whose observation[t] is not finite."""


def _keeping(chooser: Chooser) -> Callable[[int], bool]:
    """Its `choose`, which keeps the policy's outputs too where somebody wants them."""
    choose, newest, outputs = chooser.choose, chooser.newest, chooser.outputs
    if not len(outputs):
        return choose

    def choose_and_keep(t: int) -> bool:
        sound = choose(t)
        outputs[t] = newest
        return sound

    return choose_and_keep


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
        self.episode_returns: MutableSequence[float] | NDArray[np.float64] = [0.0] * len(environments)
        self.episode_lengths: MutableSequence[int] | NDArray[np.int64] = [0] * len(environments)
        self._seconds = 0.0
        self._checked = [checked(one, spec) for one in environments]
        self._steps = [one.step for one in self._checked]
        self._shape, self._image = spec.observation_shape, spec.is_image
        self._on_episode, self._beat, self._next_beat = on_episode, beat, 0.0

    @property
    def seconds(self) -> float:
        return self._seconds

    def bind(self, arrays: StepArrays, chooser: Chooser) -> None:
        self._arrays, self._rewards = arrays, arrays.reward
        self._choose, self._action_for = _keeping(chooser), chooser.action_for
        self._rows = [[moment[e] for e in range(len(self.environments))] for moment in arrays.observation]

    def reset(self, seeds: list[int]) -> None:
        for row, one, seed in zip(self._rows[0], self._checked, seeds):
            row[...] = one.reset(seed)
        self._arrays.observation[-1] = self._arrays.observation[0]

    def begin_round(self) -> None:
        self._arrays.observation[0] = self._arrays.observation[-1]
        self._arrays.ended[:] = GOES_ON

    def play(self, t: int, acted: bool) -> tuple[int, tuple[int, ...]]:
        if not acted and not self._choose(t):
            self.raise_observation_fault(t)
        began = time.perf_counter()
        action_for = self._action_for
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
        self._seconds += now - began
        if now >= self._next_beat:
            self._sign_of_life(now)
        return t + 1, over

    def _sign_of_life(self, now: float) -> None:
        self._next_beat = now + BEAT_SECONDS
        self._beat()

    def _check(self, observation: Any) -> None:
        """Accept a value that is no array but can be written into one, such as a list of numbers; raise EnvironmentFault for any other."""
        if observation_fault(observation, self.spec) is not None:
            raise wrong_observation(observation, self.spec)

    def _end_episode(self, t: int, e: int, ended: int) -> None:
        row = self._rows[t + 1][e]
        if ended == LIFE_LOST:
            self._arrays.ended[t, e] = TERMINATED
            return
        self._arrays.ended[t, e] = ended
        if not np.isfinite(row).all():
            raise wrong_observation(row, self.spec)
        if ended == TRUNCATED:
            self._arrays.final_observation[t, e] = row
        self._on_episode(float(self.episode_returns[e]), int(self.episode_lengths[e]))
        self.episode_returns[e], self.episode_lengths[e] = 0.0, 0
        row[...] = self._begin_episode(e)

    def _begin_episode(self, e: int) -> Any:
        return self._checked[e].reset(None)

    def settle(self) -> None:
        """Nothing: they are stepped themselves."""

    def adopt(self) -> None:
        """Nothing: they are stepped themselves."""

    def raise_observation_fault(self, t: int) -> NoReturn:
        for row in self._rows[t]:
            if observation_fault(row, self.spec) is not None:
                raise wrong_observation(row, self.spec)
        raise EnvironmentFault("step returned an observation that is not finite")
