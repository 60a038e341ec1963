"""In place with whole applications (`--whole`): every update is made on a copy, and is there at once or not at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.pace import Books, Ground
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.stages import Stages
from asyncrl.topologies.actor_learner.in_place import InPlacePace


class WholePace(InPlacePace):
    """The same modes on `WholeParameters`: nothing that is read mixes updates, and none is lost.

    What an update depends on besides its gradient lies with the version that it is made from: the optimizer's statistics, the count of
    updates, the steps by which learning rate and exploration are annealed, and the target network with the time of its refreshment. So
    it is a function of that version and of the round.
    """

    def __init__(
        self, ground: Ground, worker: int, books: Books, copies: OldCopies | None = None, stages: Stages | None = None
    ):
        super().__init__(ground, worker, books, copies, stages)
        assert ground.whole is not None
        self._whole = ground.whole
        self._steps_read = 0
        targets = ground.parameters.targets
        self._target_read = np.zeros(targets.shape[1] if len(targets) else 0, np.float32)
        self._target = None  # it is refreshed with the update, not with the books
        self._counted = self._published_steps  # of this worker's steps, those that some version is made from

    def version(self) -> int:
        return self._whole.version

    def _copy(self, local: NDArray[np.float32]) -> int:
        version, self._steps_read = self._whole.copy(local, self._target_read)
        return version

    def present(self, local: NDArray[np.float32]) -> None:
        self._whole.copy(local)

    def copy_target(self, local: NDArray[np.float32]) -> None:
        """Copy the target network of the version that was read into local [N]."""
        local[:] = self._target_read[: local.size]

    def total_steps(self) -> float:
        """Steps of all workers that the version which was read is made from."""
        return float(self._steps_read)

    def _apply(self, gradient: NDArray[np.float32], length: float) -> None:
        """Make an update by a gradient [N] of this norm, on the newest version until nobody was quicker."""
        fresh = self.books["steps"] - self._counted
        while True:
            draft = self._whole.draft(self.worker)
            lag, after = draft.version - self._acted_on, int(draft.steps + fresh)
            place = draft.vector, draft.statistics
            scale = self._step(place, gradient, length, float(draft.steps), lag, draft.version + 1)
            if draft.target is not None and self.ground.rule.refreshes(draft.steps, after):
                self._refresh(draft.target, draft.vector)
            if self._whole.swap(draft, after):
                break
        self._counted = self.books["steps"]
        self._used(length, lag, scale)
