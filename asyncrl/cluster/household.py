"""What a site has of its own instead of a run's: a crew and an estate without a learner, and memory without its state."""

from __future__ import annotations

from typing import Any

import numpy as np

from asyncrl.cluster.bridge import Window
from asyncrl.launcher import Crew
from asyncrl.scheduler.modes import Mode
from asyncrl.shared.arrays import Layout, prefixed
from asyncrl.shared.states import States
from asyncrl.topologies.search.estate import TicketsEstate
from asyncrl.topologies.search.plan import SITE, SearchTask, memory_layout


class SiteCrew(Crew):
    """A crew without a learner: the bridge, in this process, has its place and is woken in its stead."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        del self.slots[-1]
        self._bridge = self._ground.board.workers - 1

    def _orphans(self) -> list[int]:
        return [*super()._orphans(), self._bridge]


class SiteEstate(TicketsEstate):
    """What a dead worker of the site held is free again, unless others have done it meanwhile."""

    window: Window

    def open(self, mode: Mode, owned: Any) -> None:
        """Nothing: the window belongs to the bridge."""

    def bury(self, worker: int, epoch_runs: bool) -> None:
        super().bury(worker, epoch_runs)
        self.window.forget_strays()

    def owes_nothing(self, worker: int) -> bool:
        return True


def node_layout(task: SearchTask, search: Any) -> Layout:
    """The memory of a site: a search's, without the learner's state, of which workers read the steps alone."""
    layout = {name: entry for name, entry in memory_layout(task, search).items() if not name.startswith("states/")}
    return {**layout, **prefixed("states", States.layout({"used_steps": np.zeros(1, np.int64)})), f"{SITE}/here": ((1,), np.int64)}
