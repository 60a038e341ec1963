"""What the learner of a stream runs: units of experience in, the next version out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout
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
        """Load the compiled kernels before the clock runs, on a unit of zeros; nothing is learned from it."""

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


class Small:
    """Base of updaters that remember little, all of it in `state`."""

    state: Callable[[], dict[str, NDArray[Any]]]
    restore: Callable[[Mapping[str, NDArray[Any]]], None]

    @staticmethod
    def layout(task: Any, units: int) -> Layout:
        """See `Updater`."""
        return {}

    def kept(self) -> dict[str, NDArray[Any]]:
        """See `Updater`."""
        return self.state()

    def keep(self, number: int) -> None:
        """See `Updater`."""

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        """See `Updater`."""
        self.restore(kept)


def draws(seed: int, purpose: int, count: int) -> np.random.Generator:
    """Random numbers of the `count`-th time that a learner draws for `purpose` (16 bits): they depend on the three alone.

    So a resumed run draws what it would have drawn. Of a seed, 48 bits count here.
    """
    return np.random.Generator(np.random.Philox(key=[(seed * 2**16 + purpose) % 2**64, count]))
