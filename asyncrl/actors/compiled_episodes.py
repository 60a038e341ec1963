"""Whole episodes of a deterministic policy in a simulated environment: a few compiled calls each."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import types

from asyncrl.actors.episodes import Episode, EpisodeRunner, Observed
from asyncrl.envs.checked import CheckedEnvironment
from asyncrl.envs.compiled.registry import simulator_of, time_limit
from asyncrl.envs.compiled.rounds import NOT_FINITE, PLAYING, RETURN, STEPS, play_greedily
from asyncrl.envs.faults import LONGEST_EPISODE, endless
from asyncrl.errors import Hopeless
from asyncrl.heads.search_player import Deciding, Player
from asyncrl.shared.calling import STEPPED, address_of


class CompiledEpisodeRunner:
    """As `asyncrl.actors.episodes.EpisodeRunner`, and the same episodes to the last bit."""

    def __init__(self, environment: CheckedEnvironment, deciding: Deciding, beat: Callable[[], None], evaluates: bool):
        """`environment`: such as `registry.why_not` has nothing against."""
        self.environment_seconds = 0.0
        self._environment, self._beat, self._evaluates = environment, beat, evaluates
        self._simulator = one = simulator_of(environment.environment)
        limit = time_limit(environment.environment)
        self._limit = 0 if limit is None else int(limit._max_episode_steps)
        self._seen, spec = deciding.seen, environment.spec
        self._told, self._observation = np.zeros(2), np.zeros(spec.observation_size, spec.observation_dtype)
        chosen, discrete = np.zeros(spec.action_size, np.float32), deciding.action is None
        action = chosen if deciding.action is None else deciding.action
        memory = deciding.orders, deciding.numbers, deciding.seen
        returned = types.int64 if discrete else types.boolean
        self._addresses = (
            address_of(deciding.kernel, (self._observation, 0, *memory), returned),
            address_of(type(one).simulate, (one.words, one.numbers, chosen, self._observation), STEPPED),
        )
        self._discrete, self._rest = discrete, (one.words, one.numbers, self._told, self._observation, chosen, action, *memory)

        self._part(0)  # no step: it is compiled, or loaded, now

    def _part(self, most: int) -> int:
        """So many steps of an episode, or fewer where it ends."""
        return int(play_greedily(*self._addresses, self._discrete, most, self._limit, *self._rest))

    def run(self, seed: int, limit: int = 0, observed: Observed | None = None) -> Episode:
        """As `EpisodeRunner.run`."""
        began = time.perf_counter()
        self._observation[:] = self._environment.reset(seed)
        self._simulator.adopt()
        self._told[:] = 0.0
        most = limit or LONGEST_EPISODE
        came = self._play(most, observed)
        self.environment_seconds += time.perf_counter() - began
        total, length = float(self._told[RETURN]), int(self._told[STEPS])
        if came == NOT_FINITE:
            return Episode(np.nan, length, False)
        if came == PLAYING and not limit:
            raise Hopeless(endless(self._evaluates, most))
        return Episode(total if np.isfinite(total) else np.nan, length, came == PLAYING)

    def _play(self, most: int, observed: Observed | None) -> int:
        """Play to the end, or `most` steps; a part of the episode at a time, of as many steps as there are rows in `seen`."""
        told, rows, came = self._told, len(self._seen), PLAYING
        while came == PLAYING and told[STEPS] < most:
            before = told[STEPS]
            came = self._part(min(rows, most - int(before)))
            if observed is not None and came != NOT_FINITE:
                observed.add(self._seen[: int(told[STEPS] - before)])
            self._beat()
        return came


def episode_runner(
    environment: CheckedEnvironment,
    player: Player,
    simulated: bool,
    beat: Callable[[], None] = lambda: None,
    evaluates: bool = False,
) -> EpisodeRunner | CompiledEpisodeRunner:
    """What plays a player's episodes; with `simulated` in compiled calls."""
    if simulated and player.deciding is not None:
        return CompiledEpisodeRunner(environment, player.deciding, beat, evaluates)
    return EpisodeRunner(environment, player, beat, evaluates)
