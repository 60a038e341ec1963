"""The gate between epochs: where a worker waits for orders, and saves itself when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from asyncrl.scheduler.board import ARRIVED, COMMAND, OBEYED, OPENED, PHASE, PHASES, STOP, Board
from asyncrl.shared.parking import Parking


class Gate:
    """A worker's side of the gate. The launcher's side is `asyncrl.launcher`.

    All live workers arrive; the launcher may then give commands (save your state), which each worker obeys and
    acknowledges; at last it opens the gate with the orders of the next epoch, or with the order to stop.
    """

    def __init__(self, board: Board, parking: Parking, worker: int):
        self._board, self._parking = board, parking
        self._worker = worker

    def epochs(self, epoch_runs: bool, save: Callable[[], None] = lambda: None) -> Iterator[None]:
        """A worker's life: once for each epoch, with the gate between them. The first is that which runs already, if `epoch_runs`."""
        if not epoch_runs and not self.pass_through(save):
            return
        yield
        while self.pass_through(save):
            yield

    def pass_through(self, save: Callable[[], None]) -> bool:
        """Arrive, obey, wait; returns whether another epoch begins. False is the end."""
        board, parking, worker = self._board, self._parking, self._worker
        awaited = board.order(OPENED) + 1
        board.stand(worker, PHASE, PHASES.index("at the gate"))
        board.stand(worker, ARRIVED, awaited)
        parking.wake(board.workers)
        while True:
            parking.wait(worker, lambda: board.order(OPENED) >= awaited or board.order(COMMAND) > board.stands(worker, OBEYED))
            if board.order(COMMAND) > board.stands(worker, OBEYED):
                board.stand(worker, PHASE, PHASES.index("saving"))
                save()
                board.stand(worker, OBEYED, board.order(COMMAND))
                parking.wake(board.workers)
            if board.order(OPENED) >= awaited:
                return not board.order(STOP)
