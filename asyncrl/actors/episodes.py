"""Whole episodes of a deterministic policy: a candidate in, an evaluation out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.rollout import EnvironmentFault
from asyncrl.envs.probe import checked_reset, observation_fault, reward_fault
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import Hopeless, UserError
from asyncrl.shared.statistics import fold

BEAT = 16
"""Steps between signs of life; the observations that a player keeps are a multiple of it."""

LONGEST_EPISODE = 1_000_000
"""Steps after which an episode counts as one that never ends."""


def endless(evaluates: bool) -> str:
    """What the user is told of an episode that does not end, in training or in evaluation."""
    kind, limit = ("an evaluation episode", "") if evaluates else ("an episode", "limit it with --episode-limit, or ")
    return f"{kind} did not end within {LONGEST_EPISODE:,} steps; {limit}give the environment a time limit"


class Episode(NamedTuple):
    """What came of one episode."""

    episode_return: float
    """Undiscounted sum of the environment's own rewards; NaN where an observation or a reward was not finite."""
    length: int
    """Steps."""
    cut: bool
    """Whether it was ended by the step limit of the search, not by the environment."""


class Acting(Protocol):
    """As `asyncrl.heads.search_player.Player`."""

    seen: NDArray[Any]
    """[n, D]: the observations that were acted on, until they are folded into the statistics."""

    def act(self, observation: NDArray[Any], at: int, /) -> Any:
        """What the environment is given for observation [D], which is kept in seen[at]; None for a wrong size, or not finite."""


class Observed:
    """Count, mean and sum of squared deviations of the observations of an evaluation: what travels to the learner."""

    def __init__(self, size: int):
        self.mean, self.square = np.zeros(size), np.zeros(size)
        self.count = 0.0

    def clear(self) -> None:
        """Begin with none."""
        self.count, self.mean[:], self.square[:] = 0.0, 0.0, 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Fold rows [n, D] in."""
        self.count = fold(self.count, self.mean, self.square, rows)


class EpisodeRunner:
    """Plays episodes in one environment, one after the other. Nothing is allocated or logged per step."""

    def __init__(
        self,
        environment: gymnasium.Env[Any, Any],
        spec: EnvSpec,
        player: Acting,
        beat: Callable[[], None] = lambda: None,
        evaluates: bool = False,
    ):
        """`beat`: called now and then; `evaluates`: what has been learned is played, which matters for what the user is told."""
        self._evaluates = evaluates
        self.environment_seconds = 0.0
        self._beat = beat
        self._environment, self._spec, self._player = environment, spec, player
        self._step = environment.step

    def run(self, seed: int, limit: int = 0, observed: Observed | None = None) -> Episode:
        """One episode from `reset(seed)`, cut after `limit` steps (0: never); `observed` takes in what the policy saw.

        Raises EnvironmentFault where the environment raises or gives something of another shape; Hopeless for an
        episode that does not end.
        """
        began = time.perf_counter()
        first = self._reset(seed)
        most = limit or LONGEST_EPISODE
        try:
            total, length, ended = self._play(first, most, observed)
        except UserError:
            raise
        except Exception as error:
            raise EnvironmentFault(f"step raised {type(error).__name__}: {error}") from error
        self.environment_seconds += time.perf_counter() - began
        if not ended and not limit:
            raise Hopeless(endless(self._evaluates))
        return Episode(total if np.isfinite(total) else np.nan, length, not ended)

    def _reset(self, seed: int) -> Any:
        try:
            return checked_reset(self._environment, self._spec, seed)[0]
        except UserError as error:
            raise EnvironmentFault(str(error)) from error
        except Exception as error:
            raise EnvironmentFault(f"reset raised {type(error).__name__}: {error}") from error

    def _play(self, observation: Any, most: int, observed: Observed | None) -> tuple[float, int, bool]:
        """(return, steps, whether the environment ended it)"""
        step, act, seen, beat, array = self._step, self._player.act, self._player.seen, self._beat, np.ndarray
        total, length, at, rows = 0.0, 0, 0, len(seen)
        while True:
            if type(observation) is not array or observation.ndim != 1:
                observation = self._array(observation)
            action = act(observation, at)
            if action is None:
                self._array(observation)
                return np.nan, length, True
            observation, reward, terminated, truncated, _ = step(action)
            try:
                total += float(reward)  # float64 before the first sum, whatever the reward's own type
            except (TypeError, ValueError) as error:
                raise EnvironmentFault(f"step returned a wrong reward: {reward_fault(reward)}") from error
            length += 1
            at += 1
            if not at % BEAT:
                beat()
                if at == rows:
                    if observed is not None:
                        observed.add(seen)
                    at = 0
            if terminated or truncated or length == most:
                break
        if observed is not None:
            observed.add(seen[:at])
        return total, length, bool(terminated or truncated)

    def _array(self, observation: Any) -> NDArray[Any]:
        """As an array [D]; what is not finite passes. Raises EnvironmentFault for what is none."""
        try:
            array = np.asarray(observation, self._spec.observation_dtype)
        except (TypeError, ValueError):
            array = np.zeros(())
        if array.shape != self._spec.observation_shape:
            raise EnvironmentFault(f"step returned a wrong observation: {observation_fault(observation, self._spec)}")
        return array
