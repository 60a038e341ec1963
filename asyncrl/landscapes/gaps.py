"""Figures for studies: how far what is chosen lies below the best action there is, and what one actor alone would have done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.landscapes.cuts import Cut, check_points
from asyncrl.landscapes.items import items_along, items_of
from asyncrl.landscapes.looking import check_states, looking
from asyncrl.landscapes.values import Judged, values_along


@dataclass(frozen=True)
class Gaps:
    """What the first critic, Q, says at n states of one greedy episode.

    steps     of the checkpoint
    step      [n] of the episode, from 0
    chosen    [n] Q of the chosen action
    first     [n] of the first proposal: what one actor alone would do
    better    [n] whether it says more of the chosen action than of the first proposal
    largest   [n] the largest Q of a dense grid over all actions, or of all items; None where actions have more than two components, and
              where there are more than `asyncrl.landscapes.items.MOST_ITEMS` items
    optima    by name of a function: [n] its local optima on that grid; none where there is no such grid
    """

    steps: int
    step: NDArray[np.int64]
    chosen: NDArray[np.float64]
    first: NDArray[np.float64]
    better: NDArray[np.bool_]
    largest: NDArray[np.float64] | None
    optima: dict[str, NDArray[np.int64]]


def gaps(
    run_folder: str | Path,
    states: int = 100,
    seed: int = 0,
    points: int | None = None,
    checkpoint: int | None = None,
    env: EnvSource | None = None,
) -> Gaps:
    """Of a run that learned by a replay, at `states` states evenly along one greedy episode. Arguments are those of `landscape`.

    Raises UserError for another run, and for arguments or a checkpoint that cannot be used.
    """
    check_states(states)
    check_points(points)
    with looking(Path(run_folder), env, None, checkpoint, seed) as look:
        if look.learner is None:
            said = f"{look.task.algo} of run {str(run_folder)!r} has no values of actions"
            raise UserError(f"{said} (allowed: actions learned by a replay)")
        spec, items = look.task.spec, items_of(look)
        if items is not None:
            seen = items_along(look, look.learner, items, states)
            return _told(look.snapshot.steps, seen, len(seen[0].items) == len(items.features))
        whole = spec.action_size <= 2
        found = values_along(look, look.learner, states, Cut(spec, (), points if whole else 2))  # nothing is told of a cut
    return _told(look.snapshot.steps, found, whole)


def _told(steps: int, found: Sequence[Judged], whole: bool) -> Gaps:
    def each(number: Any) -> NDArray[Any]:
        return np.array([number(state) for state in found])

    optima = {name: each(lambda state, name=name: state.optima[name]) for name in found[0].optima} if whole else {}
    return Gaps(
        steps,
        each(lambda state: state.step),
        each(lambda state: state.chosen_value),
        each(lambda state: state.proposal_values[0]),
        each(lambda state: state.better_than_first),
        each(lambda state: state.best_value) if whole else None,
        optima,
    )
