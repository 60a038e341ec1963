"""The actor of a stream: acts on versions of the policy, hands units to the learner."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

import numpy as np

from asyncrl.heads.tables import attach_tables
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.rings import Slot
from asyncrl.shared.statistics import fold
from asyncrl.topologies.streams.actor_pace import ActorPace
from asyncrl.topologies.streams.plan import PublishedPolicy, ground_of, observed_size, stream_policy, updater_type
from asyncrl.trajectory import Trajectory
from asyncrl.workers.acting import ActingWorker
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import WorkerPlan

ACTING, WAITING = PHASES.index("acting"), PHASES.index("waiting")


class StreamActor(ActingWorker):
    """One actor: T steps in E environments a unit."""

    def __init__(self, plan: WorkerPlan):
        task, policy = plan.task, stream_policy(plan.task)
        attach_tables(policy.head, plan.memory)
        self._ground = ground_of(task, plan.memory, plan.pipes)
        self._observed = observed_size(task)
        self._needs_log_prob = bool(updater_type(task).needs_log_prob)
        self._published = PublishedPolicy.empty(policy.size, self._observed)
        ground = self._ground
        super().__init__(plan, policy, self._published.parameters, ground.board, ground.parking, keeps_outputs=self._needs_log_prob)
        self._wait_seconds = 0.0
        self._copies = OldCopies.of(task.staleness, self._published.vector.size)
        self._warm_up()
        self._fresh = np.array([not goes_on for goes_on in self._restore()], np.uint8)

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        self._books = Books(ground.ledger, index)
        pace = ActorPace(ground.streams, index, self._copies, self._plan.task.diagnose > 0)
        pace.arrive()
        for _ in Gate(ground.board, ground.parking, index).epochs(go.epoch_runs, self._save):
            ground.board.stand(index, PHASE, WAITING)
            if not pace.enter():
                return
            self._epoch(pace)
            pace.arrive()

    def _epoch(self, pace: ActorPace) -> None:
        board, index = self._board, self._plan.worker
        self._begin_epoch()
        while (version := pace.start_unit(self._published.vector)) is not None:
            board.stand(index, HEARTBEAT, time.monotonic_ns())  # before the phase: a long wait is no hanging environment
            board.stand(index, PHASE, ACTING)
            self._unit(pace, version)
            board.stand(index, PHASE, WAITING)

    def _unit(self, pace: ActorPace, version: int) -> None:
        """Act, fill the ring's slot, publish the books and then the slot.

        Killed between the two, an actor leaves a unit's steps counted that never reached the learner. In the other order the
        learner could reach the epoch's mark by steps that the ledger lacks, by which the main process goes.
        """
        actor, books = self._actor, self._books
        assert books is not None
        slot = pace.ring.reserve()
        assert slot is not None  # start_unit has seen that there is room
        began = self._stages.now()
        self._published.normaliser(actor.rounds.normaliser)
        actor.uniform = self._published.uniform[0] > 0
        trajectory = self._collect(version, float(self._published.steps[0]))
        self._stages.acted()
        self._fill(slot, trajectory)
        environment, acted = self._environment_seconds, self._stages.applied()
        books.add("steps", trajectory.reward.size)
        books.add("rounds", 1)
        books.add("environment_seconds", environment)
        books.add("act_seconds", acted - began - environment)
        books.add("wait_seconds", pace.wait_seconds - self._wait_seconds)
        self._wait_seconds = pace.wait_seconds
        books.put("lost_episodes", self._ring.dropped)
        books.put("ended", time.monotonic())
        self._ground.ledger.publish(self._plan.worker, books.draft)
        pace.finish_unit()

    def _fill(self, slot: Slot, trajectory: Trajectory) -> None:
        for name in ("observation", "action", "reward", "ended", "final_observation", "memory"):
            slot[name][...] = getattr(trajectory, name)
        slot["fresh"][...] = self._fresh
        self._fresh[:] = 0
        actor = self._actor
        if self._needs_log_prob:
            rows = trajectory.reward.size
            action, outputs = trajectory.action.reshape(rows, -1), actor.outputs.reshape(rows, -1)
            self._policy.head.log_prob(outputs, actor.dense, action, actor.rounds.knobs, slot["log_prob"].reshape(rows))
        if self._observed:
            slot["observed_mean"][...], slot["observed_square"][...] = 0.0, 0.0
            raw = actor.rounds.raw[1:].reshape(-1, self._observed)
            slot["observed_count"][...] = fold(0.0, slot["observed_mean"], slot["observed_square"], raw)


def run_stream_actor(plan: WorkerPlan, connection: Connection) -> None:
    """Process body of an actor."""
    run_body(lambda: StreamActor(plan), plan.core, connection, (plan.task.seed, plan.worker, plan.generation), plan.identity)
