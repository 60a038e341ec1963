"""Whole episodes of a deterministic policy: a candidate in, an evaluation out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.checked import CheckedEnvironment
from asyncrl.envs.faults import LONGEST_EPISODE, endless, raised
from asyncrl.errors import Hopeless, UserError
from asyncrl.shared.statistics import fold

BEAT = 16
"""Steps between signs of life; the observations that a player keeps are a multiple of it."""


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

    def __init__(self, environment: CheckedEnvironment, player: Acting, beat: Callable[[], None] = lambda: None, evaluates: bool = False):
        """`beat`: called now and then; `evaluates`: what has been learned is played, which matters for what the user is told."""
        self._evaluates = evaluates
        self.environment_seconds = 0.0
        self._beat = beat
        self._environment, self._player = environment, player

    def run(self, seed: int, limit: int = 0, observed: Observed | None = None) -> Episode:
        """One episode from `reset(seed)`, cut after `limit` steps (0: never); `observed` takes in what the policy saw.

        Raises EnvironmentFault where the environment raises or gives something of another shape; Hopeless for an
        episode that does not end.
        """
        began = time.perf_counter()
        first = self._environment.reset(seed)
        most = limit or LONGEST_EPISODE
        try:
            total, length, ended = self._play(first, most, observed)
        except UserError:
            raise
        except Exception as error:
            raise raised("step", error) from error
        self.environment_seconds += time.perf_counter() - began
        if not ended and not limit:
            raise Hopeless(endless(self._evaluates, most))
        return Episode(total if np.isfinite(total) else np.nan, length, not ended)

    def _play(self, observation: Any, most: int, observed: Observed | None) -> tuple[float, int, bool]:
        """(return, steps, whether the environment ended it)"""
        environment, act, seen, beat, array = self._environment, self._player.act, self._player.seen, self._beat, np.ndarray
        step = environment.step
        total, length, at, rows = 0.0, 0, 0, len(seen)
        while True:
            if type(observation) is not array or observation.ndim != 1:
                observation = environment.array(observation)
            action = act(observation, at)
            if action is None:
                environment.array(observation)  # raises where it is of another size; otherwise it is not finite
                return np.nan, length, True
            observation, reward, ended = step(action)
            total += reward
            length += 1
            at += 1
            if not at % BEAT:
                beat()
                if at == rows:
                    if observed is not None:
                        observed.add(seen)
                    at = 0
            if ended or length == most:
                break
        if observed is not None:
            observed.add(seen[:at])
        return total, length, ended > 0
