"""The columns of the workers' ledger and the fields of the record of a finished episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LAG_BINS = 128
"""Lags 0 to 126 have a bin each; the last bin counts all larger ones (the maximum is stored separately)."""

SHARES = ("environment", "act", "learn", "apply", "wait")
"""What a worker's time is divided into; columns ``<share>_seconds``."""

LOSSES = ("policy_loss", "value_loss", "entropy", "gradient_norm")
"""Columns ``<loss>_sum`` of an actor-critic, with one summand per round (in place: per update). Divide by ``rounds``."""

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
    **{f"{loss}_sum": 1 for loss in LOSSES},
    "started": 1,  # time.monotonic() when the first round began
    "ended": 1,  # time.monotonic() when the last published round ended
}

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
