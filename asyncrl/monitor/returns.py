"""Returns and lengths of finished episodes: means over the last ones, and the best mean so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 100
"""Episodes over which returns and lengths are averaged."""


HELD = ("order", "worker", "episode_return", "length", "setting", "steps")
"""Fields of a finished episode that is held until it is counted."""

ORDER, WORKER = HELD.index("order"), HELD.index("worker")


@dataclass(frozen=True)
class Episode:
    """A finished episode."""

    episode_return: float
    """The undiscounted sum of rewards."""
    length: int
    """In steps."""
    worker: int
    steps: int
    """The steps of all workers that were known when the round in which it ended began."""


class Returns:
    """Means over the last 100 episodes of all workers, of each worker and of each exploration setting, and the best mean of 100."""

    def __init__(self, explorations: Sequence[str], settings: Sequence[str]):
        """`explorations[i]`: the setting of worker i; `settings`: all settings, without repetition."""
        self._explorations, self._settings = explorations, settings
        self._best = -math.inf
        self._best_steps = 0
        self._recent: deque[Episode] = deque(maxlen=WINDOW)
        self._of_worker = [deque[Episode](maxlen=WINDOW) for _ in explorations]
        self._of_setting = {setting: deque[Episode](maxlen=WINDOW) for setting in settings}
        self._held: list[NDArray[np.float64]] = []

    def hold(self, worker: int, records: Mapping[str, NDArray[Any]]) -> None:
        """Add finished episodes of one worker, oldest first; they are counted when `release` is called.

        `records`: the names of EPISODE_FIELDS -> arrays [episodes]. Its `setting` is used if the worker has no setting of its own.
        """
        own = self._of_own_setting(worker)
        fields = {**records, "worker": np.full(len(records["order"]), worker)}
        if own is not None:
            fields["setting"] = np.full(len(records["order"]), own)
        self._held.append(np.stack([fields[name] for name in HELD], axis=1).astype(np.float64))

    def release(self, below: int | None) -> None:
        """Count the held episodes whose `order` is below this number, sorted by order, then worker, then time; with None all, unsorted.

        So the reports of a deterministic run do not depend on when its episodes were collected.
        """
        if not self._held:
            return
        held = np.concatenate(self._held)
        counts = np.full(len(held), True) if below is None else held[:, ORDER] < below
        self._held = [] if counts.all() else [held[~counts]]
        due = held[counts]
        if below is not None:
            due = due[np.lexsort((due[:, WORKER], due[:, ORDER]))]
        if len(due):
            self._count(due)

    def _count(self, rows: NDArray[np.float64]) -> None:
        """Count the episodes rows[n, fields of HELD]."""
        named = dict(zip(HELD, rows.T, strict=True))
        self._find_best(named["episode_return"], named["steps"])
        workers, settings = named["worker"].astype(int).tolist(), named["setting"].astype(int).tolist()
        named_values = zip(named["episode_return"].tolist(), named["length"].tolist(), named["steps"].tolist(), strict=True)
        for (value, length, steps), worker, setting in zip(named_values, workers, settings, strict=True):
            episode = Episode(value, int(length), worker, int(steps))
            for window in (self._recent, self._of_worker[worker], self._of_setting[self._settings[setting]]):
                window.append(episode)

    def _of_own_setting(self, worker: int) -> int | None:
        """The number of the worker's setting; None if settings belong to episodes and not to workers."""
        name = self._explorations[worker]
        return self._settings.index(name) if name in self._settings else None

    def report(self) -> dict[str, float]:
        """Means under the names of reports; NaN for those without an episode so far."""
        report = {
            "return/mean": _mean_return(self._recent),
            "return/best": self._best_mean(),
            "episode/length": _mean_length(self._recent),
        }
        for name, window in self._of_setting.items():
            report[f"return/by_exploration/{name}"] = _mean_return(window)
            report[f"episode/length_by_exploration/{name}"] = _mean_length(window)
        for worker, window in enumerate(self._of_worker):
            report[f"worker/{worker}/return"] = _mean_return(window)
        return report

    def summary(self) -> dict[str, Any]:
        """The part of summary.json that is about episodes; None for values without data."""
        return {
            "return_mean_last_100": _none_unless_finite(_mean_return(self._recent)),
            "return_best_mean_100": _none_unless_finite(self._best_mean()),
            "return_best_steps": self._best_steps if self._best > -math.inf else None,
            "return_by_exploration": {name: _none_unless_finite(_mean_return(window)) for name, window in self._of_setting.items()},
            "episode_length_last_100": _none_unless_finite(_mean_length(self._recent)),
        }

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, as standard JSON, from which `restore` continues."""
        return {
            "best": _none_unless_finite(self._best),
            "best_steps": self._best_steps,
            "recent": _rows(self._recent),
            "of_worker": [_rows(window) for window in self._of_worker],
            "of_setting": {name: _rows(window) for name, window in self._of_setting.items()},
            "held": [row.tolist() for row in self._held],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, without the workers and settings that this run does not have."""
        self._best = -math.inf if state["best"] is None else float(state["best"])
        self._best_steps = int(state["best_steps"])
        self._recent.extend(Episode(*row) for row in state["recent"])
        for window, rows in zip(self._of_worker, state["of_worker"], strict=False):
            window.extend(Episode(*row) for row in rows)
        for name, rows in state["of_setting"].items():
            if name in self._of_setting:
                self._of_setting[name].extend(Episode(*row) for row in rows)
        self._held = [np.array(rows, np.float64).reshape(-1, len(HELD)) for rows in state.get("held", [])]

    def _find_best(self, returns: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
        """Update the best mean by returns[n] and steps[n] of the episodes that follow those in `_recent`."""
        values = np.concatenate([[episode.episode_return for episode in self._recent][-(WINDOW - 1) :], returns])
        if len(values) >= WINDOW:
            # A contiguous copy, so that every window is summed in the same order however many episodes come at a time.
            means = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, WINDOW)).mean(axis=1)
            first = int(means.argmax())
            if means[first] > self._best:
                self._best, self._best_steps = float(means[first]), int(steps[first - len(means)])

    def _best_mean(self) -> float:
        # With fewer than 100 episodes the best mean is that of all. (max, since the two means are summed in different orders.)
        recent = _mean_return(self._recent)
        return max(self._best, recent) if self._best > -math.inf else recent


def _mean_return(window: Iterable[Episode]) -> float:
    returns = [episode.episode_return for episode in window]
    return math.fsum(returns) / len(returns) if returns else math.nan


def _mean_length(window: Iterable[Episode]) -> float:
    lengths = [episode.length for episode in window]
    return sum(lengths) / len(lengths) if lengths else math.nan


def _rows(window: Iterable[Episode]) -> list[list[Any]]:
    return [list(astuple(episode)) for episode in window]


def _none_unless_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
