"""The columns of the workers' ledger and the fields of the record of a finished episode."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LAG_BINS = 128
"""Lags 0 to 126 have a bin each; the last bin counts all larger ones (the maximum is stored separately)."""

SHARES = ("environment", "act", "learn", "apply", "wait")
"""What a worker's time is divided into; columns ``<share>_seconds``."""

NORMS = ("gradient_norm", "gradient_norm_clipped")
"""Figures of every actor-learner: the norm of what an update was made of, before and after clipping."""

MOMENTS = ("target", "target_square", "residual", "residual_square")
"""Figures that are not told themselves: means, over the steps of a rollout or a batch, of what v(s) is drawn to, of what it lacks to
that, and of their squares. The monitor makes `learn/value_mean` and `learn/explained_variance` of their means over an interval."""

DIAGNOSES = ("gradient_cosine", "parameter_drift")
"""What an actor-learner samples under `--diagnose`: columns ``<name>_sum`` and ``<name>_count``; a stream's learner only the second."""

AGES = ("in_flight", "in_queue")
"""What a stream's lag is divided into under `--diagnose`: until a unit is handed over, and from there until it is used. Columns
``<age>_versions`` (their sum), ``<age>_longest`` and ``<age>_histogram``."""

COLUMNS: dict[str, int] = {
    "steps": 1,  # environment transitions whose round was published
    "rounds": 1,  # rounds completed
    "updates": 1,  # updates of the shared parameters that this worker made alone (in place)
    "episodes": 1,
    "skipped": 1,  # gradients that were left out because they were not finite
    "torn": 1,  # updates by other workers while this worker copied the parameters
    "lost_episodes": 1,  # episode records that did not fit into the ring to the monitor
    "lag_sum": 1,
    "lag_count": 1,
    "lag_max": 1,
    "lag_histogram": LAG_BINS,
    **{f"{share}_seconds": 1 for share in SHARES},
    "started": 1,  # time.monotonic() when the first round began
    "ended": 1,  # time.monotonic() when the last published round ended
}



def figure_columns(names: Iterable[str]) -> dict[str, int]:
    """Columns ``<figure>_sum``: of an actor-learner with one summand a round (of `NORMS` one an update), of a learner one an update."""
    return {f"{name}_sum": 1 for name in names}


def sample_columns(names: Iterable[str]) -> dict[str, int]:
    """Columns ``<figure>_sum`` and ``<figure>_count``, of what is told now and then."""
    return {f"{name}_{what}": 1 for name in names for what in ("sum", "count")}


def age_columns() -> dict[str, int]:
    """The columns of `AGES`."""
    return {f"{age}_{what}": size for age in AGES for what, size in (("versions", 1), ("longest", 1), ("histogram", LAG_BINS))}


EPISODE_FIELDS = {
    "episode_return": ((), np.float64),
    "length": ((), np.int64),
    "setting": ((), np.int64),
    "order": ((), np.int64),
    "steps": ((), np.int64),
}
"""The record of a finished episode, field -> (shape, dtype).

    episode_return   undiscounted sum of rewards
    length           in steps
    setting          number of its exploration setting in black-box search; otherwise the setting is the worker's
    order            by which episodes are sorted in deterministic modes, whatever the workers' timing: the version of the parameters
                     that acted; in black-box search the ticket and the attempt
    steps            the steps of all workers that were known when its round began
"""


def lag_quantile(histogram: NDArray[np.float64], share: float, maximum: float) -> float:
    """The quantile `share` (0 to 1) of the lags counted in histogram[LAG_BINS]; `maximum` if it falls into the open last bin."""
    total = histogram.sum()
    if total == 0:
        return 0.0
    position = int(np.searchsorted(np.cumsum(histogram), share * total))
    return float(maximum) if position >= LAG_BINS - 1 else float(position)
