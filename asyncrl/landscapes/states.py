"""What a head computes at a state of which it chooses by energies: of the chosen action, of those beside it, and on a cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.landscapes.cuts import Cut, surface
from asyncrl.landscapes.looking import Look


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


def states_along(look: Look, count: int, cut: Cut) -> list[State]:
    """`count` states evenly along one episode, or as many as it has steps."""
    return look.along(count, lambda step, action: _seen(look, cut, step, action))


def _seen(look: Look, cut: Cut, step: int, action: Any) -> State:
    spec = look.task.spec
    start = np.array(spec.action_start, np.float64) if spec.action_kind != "box" else 0.0
    chosen = np.asarray(action, np.float64).reshape(-1) - start
    newest, head = look.player.newest(), look.player.head
    lines = cut.lines(chosen)
    actions, energies = head.considered(newest.output, newest.vector)
    return State(
        step,
        newest.value,
        chosen,
        float(head.energies(newest.output, newest.vector, chosen.reshape(1, -1))[0]),
        np.array(actions, np.float64),
        energies,
        lines,
        surface(head.energies(newest.output, newest.vector, cut.actions(chosen, lines)), lines),
    )
