"""How what comes back from a site is handed in: records, books and episodes, as those of any worker."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.search import Search
from asyncrl.cluster.engine import Answer
from asyncrl.cluster.lending import Lending
from asyncrl.cluster.words import SiteWords
from asyncrl.scheduler.pace import Books
from asyncrl.topologies.search.evaluating import Best
from asyncrl.topologies.search.generations import SearchGround, place_of
from asyncrl.topologies.search.plan import SearchPlan
from asyncrl.topologies.search.worker_pace import Claim, WorkerPace
from asyncrl.workers.plan import episode_ring


class Results:
    """Hands in, for the process of one place."""

    def __init__(self, plan: SearchPlan, site: int, ground: SearchGround, search: Search, lending: Lending):
        task = plan.task
        self._place, self._site, self._ground, self._search, self._lending = plan.worker, site, ground, search, lending
        self._words = SiteWords(plan.memory.part("sites"))
        self._ring = episode_ring(plan.memory, plan.worker)
        self._episodes = 0 if task.space.of_function else int(task.common.options.episodes)
        self._best = Best(plan.memory, plan.worker) if task.space.of_function else None
        self.books: Books | None = None
        """Of the place, once it is this process's."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """With a new site, whose counts begin at 0."""
        self._seconds = (0.0, 0.0)

    @property
    def steps(self) -> int:
        """Steps that this place has published."""
        return int(self.books["steps"]) if self.books else 0

    def best(self, answer: Answer) -> None:
        """Take in the best point of a function, if the site has a new one."""
        if answer.best is not None and self._best is not None:
            self._best.offer(*answer.best)

    def hand_in(self, pace: WorkerPace, answer: Answer) -> None:
        """What counts: first the records and the books, as of any worker, then the tickets."""
        records, made = self._ground.tickets.records, answer.records["made"]
        counts = [row for row, number in enumerate(answer.numbers.tolist()) if self._lending.accept(number, int(made[row]))]
        rows, numbers = np.array(counts, np.int64), answer.numbers[counts]
        slots = numbers % self._ground.tickets.slots
        for name in records:
            if name not in ("worker", "attempt"):
                records[name][slots] = answer.records[name][rows]
        records["worker"][slots] = self._place
        self._keep_books(answer, rows)
        self._tell(answer, rows)
        for number, version in zip(numbers.tolist(), answer.records["version"][rows].tolist()):
            generation, ticket = divmod(number, self._ground.population)
            pace.hand_in(Claim(number, generation, ticket, self._ground.tickets.slot(number), version))
            self._lending.done(number)

    def _keep_books(self, answer: Answer, rows: NDArray[np.int64]) -> None:
        books = self.books
        assert books is not None
        spent = [now - before for now, before in zip(answer.seconds, self._seconds)]
        self._seconds = answer.seconds
        books.add("steps", int(answer.records["length"][rows].sum()))
        books.add("rounds", len(rows))
        books.add("episodes", self._episodes * len(rows))
        books.add("environment_seconds", spent[0])
        books.add("act_seconds", spent[1])
        books.put("ended", time.monotonic())
        books.put("lost_episodes", self._ring.dropped)
        self._ground.ledger.publish(self._place, books.draft)

    def _tell(self, answer: Answer, rows: NDArray[np.int64]) -> None:
        """The monitor, of episodes that count; and the words of this site."""
        versions = answer.records["version"]
        columns = (answer.numbers[rows], answer.records["made"][rows], versions[rows])
        acted = {place_of(number, made): version for number, made, version in zip(*(column.tolist() for column in columns))}
        names = ("order", "episode_return", "length")
        for order, value, length in zip(*(answer.episodes[name].tolist() for name in names)):
            if order in acted and np.isfinite(value):
                self._push(order, value, length, acted[order])
        self._words.add(self._site, "evaluations", len(rows))
        self._words.add(self._site, "late", len(answer.numbers) - len(rows))
        self._words.add(self._site, "lag_sum", float((self._ground.version - versions[rows]).sum()))

    def _push(self, order: int, value: Any, length: Any, version: int) -> None:
        setting = self._search.setting(order // place_of(1, 0) % self._ground.population)
        steps = int(self._ground.states.one(version, "used_steps")[0])
        self._ring.push(episode_return=value, length=length, setting=setting, order=order, steps=steps)
