"""What all paces share: the parts of a worker's turn, and the books it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.progress import LAG_BINS
from asyncrl.scheduler.board import Board
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.compiled import njit
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.optimizers import Optimizer
from asyncrl.shared.parameters import SharedParameters
from asyncrl.shared.parking import Parking
from asyncrl.shared.stages import Stages
from asyncrl.shared.whole import WholeParameters


@dataclass(frozen=True)
class UpdateRule:
    """How a gradient becomes an update."""

    optimizer: Optimizer
    rate: Callable[[float], float]
    """Total steps -> learning rate."""
    longest: float
    """Largest norm of a gradient; 0 for no limit."""
    target_every: int = 0
    """The target network becomes the parameters after an update that carries the total steps past a multiple of this; 0: there is none."""

    by_lag: Callable[[float], float] | None = None
    """Lag of an update -> factor of its learning rate; None: it has no effect."""
    each: bool = False
    """Rounds: whether every worker's gradient is an update of its own, instead of their mean one for all."""

    def updates_a_round(self, workers: int) -> int:
        """Updates that a round of so many workers makes."""
        return workers if self.each else 1

    def rate_at(self, steps: float, lag: float) -> float:
        """The learning rate of an update after so many steps of all workers, of so old a gradient."""
        return self.rate(steps) if self.by_lag is None else self.rate(steps) * self.by_lag(lag)

    def refreshes(self, before: float, after: float) -> bool:
        """Whether steps from `before` to `after` make a new target network due."""
        return self.target_every > 0 and after // self.target_every > before // self.target_every


@dataclass(frozen=True)
class Ground:
    """The shared parts that every pace works on."""

    board: Board
    ledger: Ledger
    parameters: SharedParameters
    parking: Parking
    rule: UpdateRule
    whole: WholeParameters | None = None
    """Where updates are whole, the parameters that workers read and write instead of the current buffer of `parameters`."""


@njit(cache=True)
def _add_finite(draft, at, figures):  # type: ignore[no-untyped-def]
    """draft[at : at + F] += figures[F], or nothing where one is not finite: a sum would stay so for ever."""
    for i in range(figures.size):
        if not math.isfinite(figures[i]):
            return
    for i in range(figures.size):
        draft[at + i] += figures[i]


@njit(cache=True)
def _count_update(draft, at, lag, length, scale):  # type: ignore[no-untyped-def]
    """Count an update; at [6]: the columns updates, lag_histogram, lag_sum, lag_count, lag_max and gradient_norm_sum of draft."""
    draft[at[0]] += 1
    draft[at[1] + min(lag, LAG_BINS - 1)] += 1
    draft[at[2]] += lag
    draft[at[3]] += 1
    draft[at[4]] = max(draft[at[4]], lag)
    draft[at[5]] += length
    draft[at[5] + 1] += length * scale


class Books:
    """The private draft of a worker's ledger record. A pace publishes it with every round."""

    def __init__(self, ledger: Ledger, worker: int, figures: Sequence[str] = ()):
        """`figures`: names of what `round_done` is told of a round, whose columns ``<name>_sum`` follow one another."""
        self.draft = ledger.draft_of(worker)
        self._positions = {name: ledger.position(name) for name in ledger.columns}
        self._figures_at = self._positions[f"{figures[0]}_sum"] if figures else 0
        counted = ("updates", "lag_histogram", "lag_sum", "lag_count", "lag_max", "gradient_norm_sum")
        self._update_at = np.array([self._positions.get(name, -1) for name in counted])

    def __getitem__(self, name: str) -> float:
        return float(self.draft[self._positions[name]])

    def add(self, name: str, value: float) -> None:
        """Add to a column of one number."""
        self.draft[self._positions[name]] += value

    def put(self, name: str, value: float) -> None:
        """Overwrite a column of one number."""
        self.draft[self._positions[name]] = value

    def round_done(self, steps: int, figures: NDArray[np.float64], seconds: Sequence[float], lost: int, now: float) -> None:
        """Count a round: its steps, figures [F] of what was learned, seconds of (environment, act, learn), lost episodes."""
        draft, positions = self.draft, self._positions
        draft[positions["steps"]] += steps
        draft[positions["rounds"]] += 1
        _add_finite(draft, self._figures_at, figures)
        at = positions["environment_seconds"]
        draft[at] += seconds[0]
        draft[at + 1] += seconds[1]
        draft[at + 2] += seconds[2]
        draft[positions["lost_episodes"]] = lost
        draft[positions["ended"]] = now

    def applied(self, length: float, scale: float) -> None:
        """Count an update by a gradient of norm `length`, which was scaled by `scale` for it."""
        at = self._positions["gradient_norm_sum"]
        self.draft[at] += length
        self.draft[at + 1] += length * scale

    def updated(self, lag: int, length: float, scale: float) -> None:
        """Count a worker's update by its own gradient: what `lag` and `applied` count, and one of ``updates``."""
        _count_update(self.draft, self._update_at, lag, length, scale)

    def sampled(self, name: str, value: float) -> None:
        """Count one value of a figure that has a column for how many there are; none that is not finite."""
        if math.isfinite(value):
            self.add(f"{name}_sum", value)
            self.add(f"{name}_count", 1)

    def lag(self, lag: int) -> None:
        """Count one use of experience that was `lag` versions old."""
        draft, positions = self.draft, self._positions
        draft[positions["lag_histogram"] + min(lag, LAG_BINS - 1)] += 1
        draft[positions["lag_sum"]] += lag
        draft[positions["lag_count"]] += 1
        if lag > draft[positions["lag_max"]]:
            draft[positions["lag_max"]] = lag


class Pace(Protocol):
    """One worker's side of an update mode, for one epoch."""

    def start_round(self, local: NDArray[np.float32]) -> int | None:
        """Wait for permission, copy the parameters into local [N]; returns their version, None when it is time for the gate.

        Under injected staleness local has older ones in the end; what is returned is the version of this round all the same.
        """

    def present(self, local: NDArray[np.float32]) -> None:
        """Copy the parameters into local [N] to which this round's gradient would be applied now; rounds modes wait for them."""

    def copy_target(self, local: NDArray[np.float32]) -> None:
        """Copy the target network that goes with the version of this round into local [N]."""

    def finish_round(self, gradient: NDArray[np.float32]) -> None:
        """Hand over (rounds modes) or apply (in place) the gradient [N] of the round, and publish the books.

        A gradient that is not finite is left out and counted.
        """

    def records(self) -> Sequence[NDArray[np.float64]]:
        """Ledger records [columns] of all workers as this round may know them: in rounds modes the same for everybody."""

    def add_up(self, name: str, own: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write into out[n] the sum of a column of n numbers over the records that this round may know, the worker's own being own[n]."""

    def total_steps(self) -> float:
        """Steps of all workers as this round may know them."""


def slept(parking: Parking, place: int, condition: Callable[[], bool]) -> float:
    """Sleep at `place` until `condition()` holds; returns the seconds."""
    began = parking.now()
    parking.wait(place, condition)
    return parking.now() - began


class Clockwork:
    """Waiting and its bookkeeping, for one worker."""

    def __init__(
        self, ground: Ground, worker: int, books: Books, copies: OldCopies | None = None, stages: Stages | None = None
    ):
        """`copies`: of older parameters, on which the worker acts; None: it acts on the newest. `stages`: of the worker; the launcher,
        which stands in for one, has none."""
        self.ground = ground
        self.worker = worker
        self.books = books
        self.stages = stages or Stages()
        self._copies = copies

    def acts_on(self, local: NDArray[np.float32], version: int) -> int:
        """The version that acts where local [N] has been read as `version`: that one, or an older one, which local then has."""
        return version if self._copies is None else self._copies.exchange(local, version)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Park until `condition()` holds; the time counts as waiting."""
        if not condition():
            self.books.add("wait_seconds", slept(self.ground.parking, self.worker, condition))

    def usable(self, length: float) -> bool:
        """Whether a gradient of this norm may be applied; counts those that may not."""
        if math.isfinite(length):
            return True
        self.books.add("skipped", 1)
        return False
