"""Looks at a greedy player while it plays: what the head has chosen at some steps, and the energies of other actions there."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.workers.player import GreedyPlayer, Snapshot

REACH = 3.0
"""How far a component without bounds is looked at, to either side of the chosen action."""


@dataclass(frozen=True)
class State:
    """What was seen at one step. Actions [C] are those that the environment is given; choices are counted from 0.

    step           of the episode, from 0
    value          v(s), where the policy has one
    chosen         [C], and its energy
    actions        [M, C] among which it was chosen, and their energies [M]; M is 0 where the best one is computed
    lines          for each axis the values [n] at which energies were computed
    surface        [n] those energies, or of two axes [n of the second, n of the first]; other components are those of `chosen`
    """

    step: int
    value: float | None
    chosen: NDArray[np.float64]
    chosen_energy: float
    actions: NDArray[np.float64]
    energies: NDArray[np.float64]
    lines: tuple[NDArray[np.float64], ...]
    surface: NDArray[np.float64]

    @property
    def best(self) -> int | None:
        """Place of the action of least energy among `actions`, of equal ones the first; None where there are none."""
        return int(self.energies.argmin()) if len(self.energies) else None


class Watching(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that calls `see(step, action)` with what it is about to be given, at some steps of one episode."""

    def __init__(self, environment: gymnasium.Env[Any, Any]):
        super().__init__(environment)
        self._steps: Collection[int] = ()
        self._see: Callable[[int, Any], None] = lambda step, action: None
        self._step = 0

    def watch(self, steps: Collection[int], see: Callable[[int, Any], None]) -> None:
        """At these steps of the next episode."""
        self._steps, self._see, self._step = set(steps), see, 0

    def reset(self, **options: Any) -> Any:
        """Reset the environment; an episode that was watched is over."""
        if self._step:
            self._steps = ()
        self._step = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        """Step the environment."""
        if self._step in self._steps:
            self._see(self._step, action)
        self._step += 1
        return self.env.step(action)


def states_along(
    player: GreedyPlayer, watching: Watching, snapshot: Snapshot, spec: EnvSpec, count: int, axes: Sequence[int], points: int
) -> list[State]:
    """`count` states evenly along one episode, which is played twice: its length is known after the first time.

    `player` plays in `watching`. An episode of fewer steps has as many states; where the environment does not repeat itself and the
    second one is shorter, those of it.
    """
    length = player.play(snapshot, 1).lengths[0]
    steps = np.unique(np.linspace(0, length - 1, count).round().astype(np.int64)).tolist()
    found: list[State] = []
    watching.watch(steps, lambda step, action: found.append(_seen(player, spec, step, action, axes, points)))
    player.play(snapshot, 1)
    return found


def _seen(player: GreedyPlayer, spec: EnvSpec, step: int, action: Any, axes: Sequence[int], points: int) -> State:
    start = np.array(spec.action_start, np.float64) if spec.action_kind != "box" else 0.0
    chosen = np.asarray(action, np.float64).reshape(-1) - start
    newest, head = player.newest(), player.head
    lines = tuple(_line(spec, axis, chosen[axis], points) for axis in axes)
    grid = np.repeat(chosen.reshape(1, -1), math.prod(map(len, lines)), axis=0)
    for axis, values in zip(axes, np.meshgrid(*lines)):
        grid[:, axis] = values.reshape(-1)
    actions, energies = head.considered(newest.output, newest.vector)
    return State(
        step,
        newest.value,
        chosen,
        float(head.energies(newest.output, newest.vector, chosen.reshape(1, -1))[0]),
        np.array(actions, np.float64),
        energies,
        lines,
        head.energies(newest.output, newest.vector, grid).reshape([len(line) for line in reversed(lines)]),
    )


def _line(spec: EnvSpec, axis: int, chosen: float, points: int) -> NDArray[np.float64]:
    """The values [n] of a component at which energies are computed: every choice, or `points` from bound to bound."""
    if spec.action_kind != "box":
        return np.arange(spec.action_sizes[axis], dtype=np.float64)
    low, high = spec.action_low[axis], spec.action_high[axis]
    return np.linspace(low if math.isfinite(low) else chosen - REACH, high if math.isfinite(high) else chosen + REACH, points)
