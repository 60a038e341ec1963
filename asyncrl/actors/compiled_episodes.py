"""Whole episodes of a deterministic policy in a simulated environment: a few compiled calls each."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import types

from asyncrl.actors.episodes import Episode, EpisodeRunner, Observed
from asyncrl.envs.checked import CheckedEnvironment
from asyncrl.envs.compiled.registry import simulator_of, time_limit
from asyncrl.envs.compiled.rounds import MOVED, NOT_FINITE, PLAYING, RETURN, STEPS, play_by_head, play_greedily
from asyncrl.envs.faults import LONGEST_EPISODE, endless
from asyncrl.errors import Hopeless
from asyncrl.heads.rounds import BoundKernel
from asyncrl.heads.search_player import Deciding, HeadDeciding, Player
from asyncrl.shared.calling import STEPPED, address_of, returned_by


class _Simulated:
    """One simulated environment, and the episode under way in it."""

    def __init__(self, environment: CheckedEnvironment):
        self.simulator = one = simulator_of(environment.environment)
        spec, limit = environment.spec, time_limit(environment.environment)
        self.limit = 0 if limit is None else int(limit._max_episode_steps)
        self.discrete = spec.action_kind == "discrete"
        self.told, self.observation = np.zeros(2), np.zeros(spec.observation_size, spec.observation_dtype)
        self.chosen = np.zeros(max(spec.action_size, 1), np.float32)
        self.arguments = one.words, one.numbers, self.told, self.observation, self.chosen
        stepped = one.words, one.numbers, self.chosen, self.observation
        self.address = address_of(type(one).simulate, stepped, STEPPED)


class _Decisions:
    """Plays by a kernel of `asyncrl.heads.decisions`."""

    def __init__(self, simulated: _Simulated, deciding: Deciding):
        self.seen, one = deciding.seen, simulated
        memory = deciding.orders, deciding.numbers, deciding.seen
        action = one.chosen if deciding.action is None else deciding.action
        returned = types.int64 if one.discrete else types.boolean
        self._addresses = address_of(deciding.kernel, (one.observation, 0, *memory), returned), one.address
        self._discrete, self._limit, self._rest = one.discrete, one.limit, (*one.arguments, action, *memory)
        self.part(0)  # no step: it is compiled, or loaded, now

    def part(self, most: int) -> int:
        """So many steps of an episode, or fewer where it ends, from row 0 of `seen` on."""
        return int(play_greedily(*self._addresses, self._discrete, most, self._limit, *self._rest))


class _HeadDecisions:
    """Plays by a head's own kernel, which is bound anew where what it reads is another's by now."""

    def __init__(self, simulated: _Simulated, deciding: HeadDeciding):
        rounds, one = deciding.rounds, simulated
        self.seen, self._bind, self._one = deciding.seen, deciding.bind, one
        self._rest = (*one.arguments, deciding.seen, rounds.action, rounds.bounded)
        self._bound: BoundKernel | None = None

    def part(self, most: int) -> int:
        """As `_Decisions.part`."""
        told, before, bound_at = self._one.told, self._one.told[STEPS], -1.0
        while True:
            if self._bound is not None:
                came = self._play(self._bound, int(told[STEPS] - before), most)
                if came != MOVED:
                    return came
            self._bound = self._bound_to(told[STEPS] == bound_at)
            bound_at = told[STEPS]

    def _bound_to(self, alone: bool) -> BoundKernel:
        bound = self._bind(alone)
        arguments = (*bound.arguments, 0)
        returned = returned_by(bound.kernel, arguments)
        self._address, self._numbered = address_of(bound.kernel, arguments, returned), returned == types.int64
        return bound

    def _play(self, bound: BoundKernel, first: int, last: int) -> int:
        one = self._one
        how = (self._address, self._numbered, one.address, one.discrete)
        return int(play_by_head(*how, first, last, one.limit, *self._rest, *bound.arguments))


class CompiledEpisodeRunner:
    """As `asyncrl.actors.episodes.EpisodeRunner`, and the same episodes to the last bit."""

    def __init__(self, environment: CheckedEnvironment, deciding: Deciding | HeadDeciding, beat: Callable[[], None], evaluates: bool):
        """`environment`: such as `registry.why_not` has nothing against."""
        self.environment_seconds = 0.0
        self._environment, self._beat, self._evaluates = environment, beat, evaluates
        one = _Simulated(environment)
        self._simulator, self._told, self._observation = one.simulator, one.told, one.observation
        self._player = _Decisions(one, deciding) if isinstance(deciding, Deciding) else _HeadDecisions(one, deciding)

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
        told, seen, came = self._told, self._player.seen, PLAYING
        while came == PLAYING and told[STEPS] < most:
            before = told[STEPS]
            came = self._player.part(min(len(seen), most - int(before)))
            if observed is not None and came != NOT_FINITE:
                observed.add(seen[: int(told[STEPS] - before)])
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
