"""What workers tell about themselves: the columns of their ledger, and the record of a finished episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LAG_BINS = 128
"""Lag 0 to 126 has a bin each; the last bin takes everything above (the maximum is kept exactly)."""

SHARES = ("environment", "act", "learn", "apply", "wait")
"""Where a worker's time goes; columns ``<share>_seconds``."""

LOSSES = ("policy_loss", "value_loss", "entropy", "gradient_norm")
"""Columns ``<loss>_sum`` of an actor-critic, one term a round (in place: an update). Divide by ``rounds``."""

COLUMNS: dict[str, int] = {
    "steps": 1,  # environment transitions whose round was published
    "rounds": 1,  # rounds completed
    "updates": 1,  # updates of the shared parameters that this worker made alone (in place)
    "episodes": 1,
    "skipped": 1,  # gradients that were not finite and were left out
    "torn": 1,  # updates by others that happened while this worker copied parameters
    "lost_episodes": 1,  # episode records that the monitor had no room for
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
"""A finished episode: undiscounted return, length in steps, in black-box search the number of its exploration setting (elsewhere
the setting is the worker's), and what does not depend on how workers are timed in a deterministic mode: `order`, the version of
the parameters that acted or in black-box search the ticket and attempt (`launcher.estate.Estate.told_below`), and `steps`, those of all
workers that were known when its round began."""


def lag_quantile(histogram: NDArray[np.float64], share: float, maximum: float) -> float:
    """The lag that a share of all uses did not pass; `maximum` where it falls into the open last bin."""
    total = histogram.sum()
    if total == 0:
        return 0.0
    position = int(np.searchsorted(np.cumsum(histogram), share * total))
    return float(maximum) if position >= LAG_BINS - 1 else float(position)
