"""The arrays that a worker acts and learns in: allocated once, used every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEMPERATURE, EPSILON, PART, ALONE, KNOBS = range(5)
"""Positions in the knobs of a worker: what its exploration settings can change of how actions are drawn. PART: among how many actions of
a set a step chooses, where the head chooses among parts of it; 0 for as many as the head says. ALONE: 1 where the first of a head's
proposals is taken, whatever the critic says (`Head.can_play_alone`); no setting turns it, evaluations do."""


@dataclass
class RoundArrays:
    """What acting reads and writes; T steps, E environments, C action components, S numbers that stand for
    an action (`Head.stored`), M numbers of noise (`Head.noises`), P outputs of the policy network.

    raw            [T+1, E, *shape]   observations as the environments gave them
    observation    [T+1, E, *shape]   as the policy sees them (the same array as raw for images)
    policy_output  [E, P]             of the newest step
    action         [T, E, S]          what was chosen (before bounding; by the Gaussian head also before extra_noise)
    bounded        [T, E, C]          float32, what a Box environment is given
    noise          [2, T, E, M+1]     random numbers of the round
    extra_noise    [T, E, M]          action noise of the exploration setting
    knobs          [KNOBS]            float64
    normaliser     [3, D]             shift, scale, and in [2, 0] whether it is on
    work                              scratch of the light network
    scratch                           the head's own scratch arrays, see `Head.workspace`
    """

    raw: NDArray[Any]
    observation: NDArray[Any]
    policy_output: NDArray[np.float32]
    action: NDArray[Any]
    bounded: NDArray[np.float32]
    noise: NDArray[np.float64]
    extra_noise: NDArray[np.float64]
    knobs: NDArray[np.float64]
    normaliser: NDArray[np.float32]
    work: NDArray[np.float32]
    scratch: dict[str, NDArray[Any]]


@dataclass
class LossRows:
    """What a written-out gradient reads and writes; N = T x E rows.

    policy_output [N, P], d_policy [N, P], action [N, S], log_prob_weight [N]
    """

    policy_output: NDArray[np.float32]
    d_policy: NDArray[np.float32]
    action: NDArray[Any]
    log_prob_weight: NDArray[np.float32]


class BoundKernel(NamedTuple):
    """A compiled function bound to what it reads: kernel(*arguments, t) does step t, and returns whether all observations are finite.

    It may return a number instead: 1, 0, or one below 0 where what it reads is another's by now, and nothing was done.
    """

    kernel: Any
    arguments: tuple[Any, ...]
    kept: Any = None
    """What has to exist as long as the arguments are used."""
