"""What the learner of a search knows: the algorithm, and its bookkeeping beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.search import Evaluations
from asyncrl.shared.compiled import njit
from asyncrl.shared.statistics import standardise
from asyncrl.topologies.search.plan import Published, SearchTask, episode_limit, learner_state, record_fields


@njit(cache=True, nogil=True, error_model="numpy")
def merge_observed(count, mean, square, counts, means, squares):  # type: ignore[no-untyped-def]
    """Merge evaluations' statistics (counts [n], means [n, D], squares [n, D]) into count [1], mean [D], square [D], in order."""
    for n in range(counts.size):
        if counts[n] == 0.0:
            continue
        both = count[0] + counts[n]
        for d in range(mean.size):
            delta = means[n, d] - mean[d]
            mean[d] += delta * counts[n] / both
            square[d] += squares[n, d] + delta * delta * count[0] * counts[n] / both
        count[0] = both


class LearnerState:
    """The algorithm, and what the learner keeps beside it; both lie in `arrays`, which can be copied out and in."""

    def __init__(self, task: SearchTask, size: int):
        self._task = task
        self.search = task.search(size)
        self.arrays = learner_state(task, self.search)
        self._limit = episode_limit(task)

    def begin(self) -> None:
        """The first state."""
        self.search.begin(self._task.initial())
        self.arrays["limit"][0], self.arrays["limit_since"][0] = self._limit.start, 0

    def publish(self, into: Published) -> None:
        """Write what workers need."""
        self.search.published(into.search)
        arrays = self.arrays
        standardise(arrays["observed_count"][0], arrays["observed_mean"], arrays["observed_square"], into.shift, into.scale)
        into.limit[0] = arrays["limit"][0]

    def use(self, version: int, numbers: NDArray[np.int64], records: dict[str, NDArray]) -> dict[str, float]:
        """Make the next version from the records [n] of tickets `numbers`, which are in order; returns the algorithm's figures."""
        generation, ticket = np.divmod(numbers, self.search.tickets)
        no_value = -np.inf if self._task.space.of_function else np.nan
        value = np.where(np.isfinite(records["value"]), records["value"], no_value)
        figures = self.search.update(version, Evaluations(generation, ticket, records["version"], value, records["length"]))
        arrays = self.arrays
        if self._task.space.of_function:
            arrays["ended"][0] = int(figures.get("ended", 0.0))
        merge_observed(
            *(arrays[f"observed_{name}"] for name in ("count", "mean", "square")),
            *(records[f"observed_{name}"] for name in ("count", "mean", "square")),
        )
        arrays["used_steps"] += int(records["length"].sum())
        arrays["used"][:] = numbers
        self._lengthen(version, records)
        return figures

    @property
    def has_ended(self) -> bool:
        """Whether the search has come to its own end."""
        return self._task.space.of_function and bool(self.arrays["ended"][0])

    def _lengthen(self, version: int, records: dict[str, NDArray]) -> None:
        """The episodes' limit of the next version. Evaluations of versions before the limit rose were cut at a lower one."""
        arrays = self.arrays
        limit, since = arrays["limit"], arrays["limit_since"]
        cut = int(records["cut"][records["version"] >= since[0]].sum())
        following = self._limit.after(int(limit[0]), cut, len(records["cut"]) * self._task.common.options.episodes)
        if following != limit[0]:
            limit[0], since[0] = following, version + 1


def warm_up(task: SearchTask, tickets: int) -> None:
    """Load the compiled kernels before the clock runs: one update of a search that is thrown away."""
    state = LearnerState(task, task.size)
    state.begin()
    numbers = np.arange(tickets)
    shapes = {name: ((tickets, *shape), dtype) for name, (shape, dtype) in record_fields(task.observed).items()}
    records = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    records["value"] = np.random.default_rng(0).standard_normal(tickets)
    state.use(0, numbers, records)
    state.publish(Published.empty(task, state.search))
