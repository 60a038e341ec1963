"""Returns and lengths of finished episodes: means over the last ones, and the best mean so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW = 100
"""Episodes over which returns and lengths are averaged."""


@dataclass(frozen=True)
class Episode:
    """A finished episode."""

    episode_return: float
    """Undiscounted."""
    length: int
    """In steps."""
    worker: int
    steps: int
    """Steps of all workers when it was collected."""


class Returns:
    """The last 100 episodes of all workers, of each, and of each exploration setting, whenever they ended; and the best 100 so far."""

    def __init__(self, explorations: Sequence[str], settings: Sequence[str]):
        """`explorations[i]`: the setting of worker i; `settings`: all settings that there are, without repetition."""
        self._explorations, self._settings = explorations, settings
        self._best = -math.inf
        self._best_steps = 0
        self._recent: deque[Episode] = deque(maxlen=WINDOW)
        self._of_worker = [deque[Episode](maxlen=WINDOW) for _ in explorations]
        self._of_setting = {setting: deque[Episode](maxlen=WINDOW) for setting in settings}

    def add(self, worker: int, returns: ArrayLike, lengths: ArrayLike, total_steps: int, settings: ArrayLike | None = None) -> None:
        """Take in finished episodes of one worker, oldest first; `returns`, `lengths`, `settings` have shape (episodes,)."""
        values, steps = np.asarray(returns, np.float64), np.asarray(lengths, np.int64)
        before = [episode.episode_return for episode in self._recent][-(WINDOW - 1) :]
        self._find_best(np.concatenate([before, values]), total_steps)
        finished = [Episode(float(value), int(length), worker, total_steps) for value, length in zip(values, steps, strict=True)]
        for window in (self._recent, self._of_worker[worker]):
            window.extend(finished)
        if settings is None:
            self._of_setting[self._explorations[worker]].extend(finished)
            return
        for episode, setting in zip(finished, np.asarray(settings), strict=True):
            self._of_setting[self._settings[setting]].append(episode)

    def report(self) -> dict[str, float]:
        """Means under the names of reports; NaN where there is nothing yet."""
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
        """Their part of summary.json; None where there is nothing to tell."""
        return {
            "return_mean_last_100": _none(_mean_return(self._recent)),
            "return_best_mean_100": _none(self._best_mean()),
            "return_best_steps": self._best_steps if self._best > -math.inf else None,
            "return_by_exploration": {name: _none(_mean_return(window)) for name, window in self._of_setting.items()},
            "episode_length_last_100": _none(_mean_length(self._recent)),
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep so that returns go on where they were; standard JSON."""
        return {
            "best": _none(self._best),
            "best_steps": self._best_steps,
            "recent": _rows(self._recent),
            "of_worker": [_rows(window) for window in self._of_worker],
            "of_setting": {name: _rows(window) for name, window in self._of_setting.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; workers and settings that this run does not have are left out."""
        self._best = -math.inf if state["best"] is None else float(state["best"])
        self._best_steps = int(state["best_steps"])
        self._recent.extend(Episode(*row) for row in state["recent"])
        for window, rows in zip(self._of_worker, state["of_worker"], strict=False):
            window.extend(Episode(*row) for row in rows)
        for name, rows in state["of_setting"].items():
            if name in self._of_setting:
                self._of_setting[name].extend(Episode(*row) for row in rows)

    def _find_best(self, values: NDArray[np.float64], total_steps: int) -> None:
        if len(values) >= WINDOW:
            means = np.lib.stride_tricks.sliding_window_view(values, WINDOW).mean(axis=1)
            best = float(means.max())
            if best > self._best:
                self._best, self._best_steps = best, total_steps

    def _best_mean(self) -> float:
        # A run with fewer than 100 episodes has one window: what there is. (max: the two means add up in another order.)
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


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
