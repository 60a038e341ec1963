"""What the learner of a stream runs: units of experience in, the next version out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.policy import Policy
from asyncrl.learners.return_scale import ReturnScale
from asyncrl.shared.arrays import Layout
from asyncrl.shared.optimizers import Optimizer
from asyncrl.trajectory import Trajectory


class Updater(Protocol):
    """One algorithm's learner, without processes, rings and clocks; constructed as (task, policy, arrays of `layout`).

    What it makes of the same units from the same state is the same to the bit (on one device): so whoever takes its place
    goes back to the state that was kept last (`recover`), and makes the updates since then again.
    """

    figures: tuple[str, ...]
    """Names of what `update` tells, for the log; those that end in ``_max`` are largest values, of which no mean is taken. Of the class."""
    needs_log_prob: bool
    """Whether units must say how probable their actions were. Of the class."""

    @staticmethod
    def check(task: Any, units: int) -> None:
        """Raise UserError for what can't work, before anything is allocated. `units`: see `layout`."""

    @staticmethod
    def layout(task: Any, units: int) -> Layout:
        """What it has in shared memory, where a successor finds it as it was left; `units`: most that are taken between two `keep`."""

    @staticmethod
    def saved_bytes(task: Any, steps: int) -> int:
        """About how many bytes `state` has after so many steps, where that can be much; else 0."""

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        """Load the compiled kernels before the clock runs, on a unit of zeros, log_prob [T, E]; nothing is learned from it."""

    def published(self, out: NDArray[np.float32]) -> None:
        """Write the parameters that actors need into out [N]."""

    def take(self, actor: int, trajectory: Trajectory, log_prob: NDArray[np.float32], fresh: NDArray[np.uint8]) -> None:
        """Use up a unit. Its arrays stay as they are until the `update` that follows is done, and are not to be written to: who makes
        that update again reads them again.

        log_prob [T, E]: of the actions as they were drawn. fresh [E]: environments whose steps do not follow on those of this
        actor's last unit.
        """

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        """Make the updates that the units taken since the last call are good for; `steps`: of all units ever taken.

        `goes_on()` is asked between updates: where it says no, an updater that makes many may leave the rest to the next call.
        Returns the figures of each. A figure that an update does not have is left out: it is no 0.
        """

    def explores(self, steps: int) -> bool:
        """Whether actors should act uniformly at random, after so many steps: until there is enough to learn from."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that it remembers, as arrays: views where nothing need be copied."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave. Raises UserError where it does not fit."""

    def kept(self) -> dict[str, NDArray[Any]]:
        """What `recover` needs beside what lies in shared memory: arrays of fixed shapes, views where nothing need be copied."""

    def keep(self, number: int) -> None:
        """What `kept` gave is kept in two copies, as number `number` (each the next): `recover` will go back to it."""

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        """Be as when `kept` was kept as number `number`, the newest. May be cut off, and is then done again by another."""


class OnPolicyUpdater(Updater):
    """Base of updaters that use each unit once: they remember little, and all of it in `state`.

    In checkpoints: `vector` [N] float32, the parameters; `statistics` [S, N] float32 of the optimizer; `counts` [C] int64 of updates;
    and those of the scale of returns, where there is one.
    """

    def __init__(self, task: Any, policy: Policy, rule: Optimizer, counts: int):
        """`rule`: what makes an update of a gradient; `counts`: how many kinds of updates are counted."""
        options = task.options
        self._policy = policy
        self._vector = policy.initial(task.seed, options.normalize_observations)
        self._rule = rule
        self._statistics = np.zeros((max(rule.statistics, 1), policy.size), np.float32)
        self._counts = np.zeros(counts, np.int64)
        self._returns = ReturnScale(task.workers, task.envs_per_worker, options.gamma) if options.normalize_returns else None

    @staticmethod
    def check(task: Any, units: int) -> None:
        """Nothing is large."""

    @staticmethod
    def layout(task: Any, units: int) -> Layout:
        """Nothing lies in shared memory but what `kept` gives."""
        return {}

    @staticmethod
    def saved_bytes(task: Any, steps: int) -> int:
        """The state is as small as the parameters."""
        return 0

    def published(self, out: NDArray[np.float32]) -> None:
        out[:] = self._vector

    def explores(self, steps: int) -> bool:
        """Never: there is no warm-up."""
        return False

    def state(self) -> dict[str, NDArray[Any]]:
        own: dict[str, NDArray[Any]] = {"vector": self._vector, "statistics": self._statistics, "counts": self._counts}
        return own if self._returns is None else {**own, **self._returns.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self.state().items():
            if name not in state or state[name].shape != array.shape:
                raise UserError(f"the checkpoint does not fit: {name} has another shape than this run needs")
            array[...] = state[name]

    def kept(self) -> dict[str, NDArray[Any]]:
        """All of `state`."""
        return self.state()

    def keep(self, number: int) -> None:
        """Nothing but `kept` needs to be remembered."""

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        self.restore(kept)


def draws(seed: int, purpose: int, count: int) -> np.random.Generator:
    """Random numbers of the `count`-th time that a learner draws for `purpose` (16 bits): they depend on the three alone.

    So a resumed run draws what it would have drawn. Of a seed, 48 bits count here.
    """
    return np.random.Generator(np.random.Philox(key=[(seed * 2**16 + purpose) % 2**64, count]))
