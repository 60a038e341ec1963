"""Environments that are stepped by compiled simulators: a round in few calls, one for each time that an episode ends in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numba import types

from asyncrl.envs.compiled.draws import DRAWS, addresses
from asyncrl.envs.compiled.registry import begins, simulator_of, time_limit
from asyncrl.envs.compiled.rounds import ADDRESS, CLOCK, ENDS, LENGTH, LIMIT, NANOSECONDS, play
from asyncrl.envs.spec import EnvSpec
from asyncrl.envs.stepping import Chooser, GymnasiumStepping, StepArrays
from asyncrl.shared.calling import STEPPED, address_of

MOST_STEPS = 256
"""Of all environments together in one call: signals and signs of life wait for its end, and MuJoCo's largest need a millisecond a step."""


class CompiledStepping(GymnasiumStepping):
    """E environments of one class, stepped without Python between the ends of their episodes; they are reset as ever.

    What it writes is what `GymnasiumStepping` writes, to the last bit. Of `seconds` every sixteenth step is measured.
    """

    def __init__(
        self,
        environments: list[gymnasium.Env[Any, Any]],
        spec: EnvSpec,
        on_episode: Callable[[float, int], None] = lambda episode_return, length: None,
        beat: Callable[[], None] = lambda: None,
    ):
        """`environments`: such as `registry.why_not` has nothing against."""
        super().__init__(environments, spec, on_episode, beat)
        count = len(environments)
        self._simulators = [simulator_of(one) for one in environments]
        self._limits = [time_limit(one) for one in environments]
        self._words = np.stack([one.words for one in self._simulators])
        self._numbers = np.stack([one.numbers for one in self._simulators])
        for one, words, numbers in zip(self._simulators, self._words, self._numbers):
            one.words, one.numbers = words, numbers
        self._counts = np.zeros((count, 2), np.int64)
        self._counts[:, LIMIT] = [0 if limit is None else limit._max_episode_steps for limit in self._limits]
        self._begins = all(map(begins, environments))
        self._draws = np.zeros((count, DRAWS), np.int64)
        self._clock = np.zeros(CLOCK, np.int64)
        self._clock[ADDRESS] = self._clock.ctypes.data
        self.episode_returns, self.episode_lengths = np.zeros(count), self._counts[:, LENGTH]

    @property
    def seconds(self) -> float:
        return 1e-9 * float(self._clock[NANOSECONDS])

    def bind(self, arrays: StepArrays, chooser: Chooser) -> None:
        """As `Stepping.bind`; the chooser must have a kernel."""
        super().bind(arrays, chooser)
        steps, envs = arrays.reward.shape
        self._last, self._most = steps, max(MOST_STEPS // envs, 1)
        chosen = np.zeros(max(self.spec.action_size, 1), np.float32)
        stepped = (self._words[0], self._numbers[0], chosen, arrays.observation[0, 0])
        kind, first = type(self._simulators[0]), (self._words[0], self._numbers[0], self._draws[0], arrays.observation[0, 0])
        self._addresses = (
            address_of(chooser.kernel, (*chooser.arguments, 0), types.boolean),
            address_of(kind.simulate, stepped, STEPPED),
            address_of(kind.begin, first, types.boolean) if self._begins and not chooser.heeds_ends else 0,
        )
        self._ends = np.zeros((steps * envs, 2))
        self._books = (
            *(self._words, self._numbers, self._counts, self.episode_returns, self._clock, self._draws, self._ends),
            *(arrays.observation, arrays.reward, arrays.ended, chooser.action, chooser.bounded, chosen),
            *(chooser.newest, chooser.outputs),
            *chooser.arguments,
        )
        self._discrete = self.spec.action_kind == "discrete"
        play(*self._addresses, 0, 0, False, self._discrete, *self._books)  # no step: it is compiled, or loaded, now

    def reset(self, seeds: list[int]) -> None:
        super().reset(seeds)
        self.adopt()

    def play(self, t: int, acted: bool) -> tuple[int, tuple[int, ...]]:
        last = min(t + self._most, self._last)
        came = play(*self._addresses, t, last, acted, self._discrete, *self._books)
        if came < 0:
            self.raise_observation_fault(-1 - came)
        now = time.perf_counter()
        if now >= self._next_beat:
            self._sign_of_life(now)
        if self._clock[ENDS]:
            self._tell_ends()
        t, ended = divmod(came, 2)
        if not ended:
            return t, ()
        over = tuple(np.flatnonzero(self._arrays.ended[t - 1]).tolist())
        for e in over:
            self._end_episode(t - 1, e, int(self._arrays.ended[t - 1, e]))
        return t, over

    def _tell_ends(self) -> None:
        """Tell of the episodes whose next were begun in the call."""
        for episode_return, length in self._ends[: self._clock[ENDS]].tolist():
            self._on_episode(episode_return, int(length))
        self._clock[ENDS] = 0

    def _begin_episode(self, e: int) -> Any:
        first = super()._begin_episode(e)
        self._adopt(e)
        return first

    def settle(self) -> None:
        for one, limit, length in zip(self._simulators, self._limits, self.episode_lengths):
            if length or self._begins:
                one.settle()
            if limit is not None:
                limit._elapsed_steps = int(length)

    def adopt(self) -> None:
        for e in range(len(self._simulators)):
            self._adopt(e)

    def _adopt(self, e: int) -> None:
        one = self._simulators[e]
        one.adopt()
        if self._begins:
            self._draws[e] = addresses(one.environment.np_random)
