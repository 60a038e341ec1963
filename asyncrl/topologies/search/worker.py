"""The worker of a black-box search: claims tickets, plays their candidates, hands evaluations in."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

import numpy as np

from asyncrl.blackbox.search import Search
from asyncrl.envs import seed_generators
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.topologies.search.evaluating import Outcome, evaluator_of
from asyncrl.topologies.search.generations import place_of
from asyncrl.topologies.search.plan import Published, SearchPlan, ground_of
from asyncrl.topologies.search.worker_pace import Claim, WorkerPace
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import delay_of, episode_ring, stages_of

ACTING = PHASES.index("acting")


class SearchWorker:
    """One worker: a candidate at a time."""

    def __init__(self, plan: SearchPlan):
        task = plan.task
        self._common, self._index = task.common, plan.worker
        size = task.size
        self._search: Search = task.search(size)
        self._ground = ground_of(task, self._search, plan.memory, plan.pipes)
        self._ring = episode_ring(plan.memory, plan.worker)
        self._published = Published.empty(task, self._search)
        self._candidate = np.zeros(size, task.space.dtype)
        self._evaluator = evaluator_of(plan, self._beat)
        self._stages = stages_of(plan.memory, self._ground.parking, plan.worker)
        self._delay = delay_of(task.common, self._ground.board, plan.worker, plan.generation)
        self._version = -1
        self._books: Books | None = None
        self.notes: list[str] = []

    @property
    def steps_done(self) -> int:
        """Steps that this worker has published."""
        return int(self._books["steps"]) if self._books else 0

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._index
        self._books = Books(ground.ledger, index)
        for _ in Gate(ground.board, ground.parking, index).epochs(go.epoch_runs):  # a worker of a search has nothing to save
            self._epoch(WorkerPace(ground, index, self._books))

    def _epoch(self, pace: WorkerPace) -> None:
        board, index, books = self._ground.board, self._index, self._books
        assert books is not None
        if books["started"] == 0.0:
            books.put("started", time.monotonic())
        board.stand(index, PHASE, PHASES.index("waiting"))
        while (claim := pace.claim(self._published.vector)) is not None:
            self._beat()  # before the phase: a long wait is no hanging environment
            board.stand(index, PHASE, ACTING)
            self._evaluate(claim)
            pace.hand_in(claim)
            board.stand(index, PHASE, PHASES.index("waiting"))

    def _beat(self) -> None:
        self._ground.board.stand(self._index, HEARTBEAT, time.monotonic_ns())

    def _evaluate(self, claim: Claim) -> None:
        """Play the ticket's candidate; write its record and the books."""
        began = self._stages.now()
        evaluator, published = self._evaluator, self._published
        if claim.version != self._version:
            evaluator.published(published)
            self._version = claim.version
        self._search.candidate(published.search, claim.generation, claim.ticket, self._candidate)
        before = evaluator.seconds
        key = self._key(claim)
        seed_generators(self._common.seed, *key)
        outcome = evaluator.evaluate(self._candidate, key)
        played = min(evaluator.seconds - before, self._stages.now() - began) + (self._delay() if self._delay is not None else 0.0)
        self._stages.acted()
        self._write(claim, outcome)
        self._tell(claim, outcome, played, self._stages.applied() - began - played)

    def _key(self, claim: Claim) -> tuple[int, ...]:
        attempt = self._attempt(claim)
        sharing = self._common.options.common_seeds
        if sharing == "generation":
            return claim.generation, attempt
        return claim.generation, attempt, self._search.pair(claim.ticket) if sharing == "pair" else claim.ticket

    def _attempt(self, claim: Claim) -> int:
        return int(self._ground.tickets.records["attempt"][claim.slot])

    def _write(self, claim: Claim, outcome: Outcome) -> None:
        records, slot, observed = self._ground.tickets.records, claim.slot, self._evaluator.observed
        records["value"][slot], records["length"][slot] = outcome.value, outcome.steps
        records["version"][slot], records["worker"][slot], records["cut"][slot] = claim.version, self._index, outcome.cut
        records["made"][slot] = records["attempt"][slot]
        records["observed_count"][slot] = observed.count
        records["observed_mean"][slot], records["observed_square"][slot] = observed.mean, observed.square

    def _tell(self, claim: Claim, outcome: Outcome, played: float, rest: float) -> None:
        """Publish the books, before the ticket is handed in: what a killed worker has played counts as steps in any case."""
        books = self._books
        assert books is not None
        books.add("steps", outcome.steps)
        books.add("rounds", 1)
        books.add("episodes", len(outcome.episodes))
        books.add("environment_seconds", played)
        books.add("act_seconds", rest)
        books.put("ended", time.monotonic())
        if outcome.episodes:
            books.put("lost_episodes", self._ring.dropped)
        self._ground.ledger.publish(self._index, books.draft)
        setting, order = self._search.setting(claim.ticket), place_of(claim.number, self._attempt(claim))
        steps = int(self._ground.states.one(claim.version, "used_steps")[0])  # in sync and pipelined kept until the ticket is handed in
        for episode_return, length in outcome.episodes:
            if np.isfinite(episode_return):
                self._ring.push(episode_return=episode_return, length=length, setting=setting, order=order, steps=steps)


def run_search_worker(plan: SearchPlan, connection: Connection) -> None:
    """Process body of a worker."""
    # The same in every worker, since what an evaluation comes to must not depend on who makes it; each has a key of its own.
    run_body(lambda: SearchWorker(plan), plan.core, connection, (plan.task.common.seed,), plan.identity)
