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
"""What is kept of an episode until it counts."""

ORDER, WORKER = HELD.index("order"), HELD.index("worker")


@dataclass(frozen=True)
class Episode:
    """A finished episode."""

    episode_return: float
    """Undiscounted."""
    length: int
    """In steps."""
    worker: int
    steps: int
    """Steps of all workers that were known when its round began."""


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
        self._held: list[NDArray[np.float64]] = []

    def hold(self, worker: int, records: Mapping[str, NDArray[Any]]) -> None:
        """Take in finished episodes of one worker, oldest first; they count once they are released. EPISODE_FIELDS -> (episodes,).

        `setting` is of use where exploration settings are not the workers'.
        """
        own = self._of_own_setting(worker)
        fields = {**records, "worker": np.full(len(records["order"]), worker)}
        if own is not None:
            fields["setting"] = np.full(len(records["order"]), own)
        self._held.append(np.stack([fields[name] for name in HELD], axis=1).astype(np.float64))

    def release(self, below: int | None) -> None:
        """Let the held episodes of an `order` below this count, in that order, then by worker, then as they ended; None: all, as they came.

        So what is told of a deterministic run does not depend on when its episodes were collected.
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
        """`rows`: episodes [n, fields of HELD]."""
        named = dict(zip(HELD, rows.T, strict=True))
        self._find_best(named["episode_return"], named["steps"])
        workers, settings = named["worker"].astype(int).tolist(), named["setting"].astype(int).tolist()
        told = zip(named["episode_return"].tolist(), named["length"].tolist(), named["steps"].tolist(), strict=True)
        for (value, length, steps), worker, setting in zip(told, workers, settings, strict=True):
            episode = Episode(value, int(length), worker, int(steps))
            for window in (self._recent, self._of_worker[worker], self._of_setting[self._settings[setting]]):
                window.append(episode)

    def _of_own_setting(self, worker: int) -> int | None:
        """The number of the worker's setting; None where settings are not the workers'."""
        name = self._explorations[worker]
        return self._settings.index(name) if name in self._settings else None

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
            "held": [row.tolist() for row in self._held],
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
        self._held = [np.array(rows, np.float64).reshape(-1, len(HELD)) for rows in state.get("held", [])]

    def _find_best(self, returns: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
        """`returns`, `steps` [n]: of the episodes that come after the last ones."""
        values = np.concatenate([[episode.episode_return for episode in self._recent][-(WINDOW - 1) :], returns])
        if len(values) >= WINDOW:
            # A copy, so that every window is added up in the same way however many episodes come at a time.
            means = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, WINDOW)).mean(axis=1)
            first = int(means.argmax())
            if means[first] > self._best:
                self._best, self._best_steps = float(means[first]), int(steps[first - len(means)])

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
