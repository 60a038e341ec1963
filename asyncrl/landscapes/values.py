"""What the critics of a learner say of actions at a state: of those that its actors propose, of the chosen one, and on a cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.landscapes.cuts import Cut, surface
from asyncrl.landscapes.looking import Look
from asyncrl.landscapes.optima import doubtful, local_optima
from asyncrl.learners.off_policy import OffPolicyLearner

Q = "q"
"""The first critic's name among `OffPolicyLearner.values`."""
SAME = 1e-4
"""Of the width of the bounds: actions that are as near to each other are taken for the same."""
AT_ONCE = 4096
"""Actions that a learner is asked of at once: its networks need some kilobytes for each."""


@dataclass(frozen=True)
class Judged:
    """What was chosen at one step, and what the first critic, Q, says of it. Actions [C] are what the environment is given.

    step              of the episode, from 0
    chosen            [C], and its Q
    proposals         [K, C] of the actors, or of whatever was chosen among, without noise, in their order, and Q of each [K]
    picked            which of them was chosen, of equal ones the first, counted from 0; None where the choice is none of them
    surfaces          by name of a function, `q` first: its values at all actions that were looked at
    """

    step: int
    chosen: NDArray[np.float64]
    chosen_value: float
    proposals: NDArray[np.float64]
    proposal_values: NDArray[np.float64]
    picked: int | None
    surfaces: dict[str, NDArray[np.float64]]

    @property
    def optima(self) -> dict[str, int]:
        """By name of a function its local optima; none where actions have no neighbours."""
        return {}

    @property
    def best_value(self) -> float:
        """The largest Q of those."""
        return float(self.surfaces[Q].max())

    @property
    def gap(self) -> float:
        """How much larger that is than Q of the chosen action; below 0 where the chosen one was not among them."""
        return self.best_value - self.chosen_value

    @property
    def first_gap(self) -> float:
        """The same of the first proposal, which is what one actor alone would do. It may be none of those that were looked at."""
        return self.best_value - float(self.proposal_values[0])

    @property
    def better_than_first(self) -> bool:
        """Whether Q says more of the chosen action than of the first proposal."""
        return self.picked != 0 and self.chosen_value > self.proposal_values[0]


@dataclass(frozen=True)
class ValueState(Judged):
    """The same of Box actions, on a cut.

    surfaces          [n], or of two axes [n of the second, n of the first]
    axes              the components that vary on the cut; others are those of `chosen`
    lines             for each axis its values [n]
    """

    axes: tuple[int, ...]
    lines: tuple[NDArray[np.float64], ...]

    @property
    def best(self) -> tuple[float, ...]:
        """Where the largest Q of the cut is, on each of `axes`."""
        place = np.unravel_index(int(self.surfaces[Q].argmax()), self.surfaces[Q].shape)
        return tuple(float(line[at]) for line, at in zip(self.lines, reversed(place)))

    @cached_property
    def optima(self) -> dict[str, int]:
        """Local optima of each function on the cut, without those that rounding or the grid may have made (`optima.doubtful`)."""
        return {name: local_optima(values, doubtful(values)) for name, values in self.surfaces.items()}


class Asked:
    """A learner's functions at one state, arrays in and out, of actions as the environment is given them.

    `observation` [D]: as the policy is given it. `bounds` [2, C]: what -1 and 1 of the learner's actions stand for.
    """

    def __init__(self, learner: OffPolicyLearner, observation: NDArray[np.float32], bounds: NDArray[np.float64]):
        self._learner, self._observation = learner, learner.place.tensor(observation[None].copy())
        self._low, self._half = bounds[0], (bounds[1] - bounds[0]) / 2

    def proposals(self) -> NDArray[np.float64]:
        """Those of all actors [K, C]."""
        proposals = self._learner.place.array(self._learner.proposals(self._observation)[:, 0].detach())
        return self._low + (proposals.astype(np.float64) + 1.0) * self._half

    def values(self, actions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """By name of a function what it says [n] of actions [n, C]."""
        within = ((actions - self._low) / np.where(self._half > 0, self._half, 1.0) - 1.0).astype(np.float32)
        parts = [self._part(within[start : start + AT_ONCE]) for start in range(0, len(within), AT_ONCE)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, within: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        found = self._learner.values(self._observation, self._learner.place.tensor(within))
        return {name: self._learner.place.array(values).astype(np.float64) for name, values in found.items()}


def values_along(look: Look, learner: OffPolicyLearner, count: int, cut: Cut) -> list[ValueState]:
    """`count` states evenly along one episode, or as many as it has steps."""
    with one_thread():
        return look.along(count, lambda step, action: _seen(look, learner, cut, step, action))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in one thread: networks are small, and where a run has the cores several threads wait for each other, up to
    ten times as long."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seen(look: Look, learner: OffPolicyLearner, cut: Cut, step: int, action: Any) -> ValueState:
    observation = look.player.newest().observation
    assert observation is not None  # of all that learn by a replay
    bounds = look.player.head.bounds
    asked, chosen = Asked(learner, observation, bounds), np.asarray(action, np.float64).reshape(-1)
    lines, proposals = cut.lines(chosen), asked.proposals()
    same = np.flatnonzero((np.abs(proposals - chosen) <= SAME * (bounds[1] - bounds[0])).all(1))
    marked = asked.values(np.concatenate([proposals, chosen[None]]))[Q]
    picked = int(same[0]) if same.size else None
    surfaces = {name: surface(values, lines) for name, values in asked.values(cut.actions(chosen, lines)).items()}
    value = float(marked[-1 if picked is None else picked])
    return ValueState(step, chosen, value, proposals, marked[:-1], picked, surfaces, cut.axes, lines)


def means(states: Sequence[Judged]) -> dict[str, Any]:
    """Over states: local optima of each function, the gaps, and the share of states whose chosen action has more Q than proposal 0."""
    return {
        "optima": {name: float(np.mean([state.optima[name] for state in states])) for name in states[0].optima},
        "gap": float(np.mean([state.gap for state in states])),
        "first_gap": float(np.mean([state.first_gap for state in states])),
        "better_than_first": float(np.mean([state.better_than_first for state in states])),
    }
