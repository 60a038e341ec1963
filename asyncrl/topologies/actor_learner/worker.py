"""The actor-learner: one process that acts, learns from its own rollouts, and updates the shared parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.exploration import entropy_weight
from asyncrl.algos import ALGORITHMS
from asyncrl.heads.tables import attach_tables
from asyncrl.learners.fused import gradient_of
from asyncrl.learners.return_scale import SharedReturnScale
from asyncrl.learners.value_gradients import value_gradient_of
from asyncrl.scheduler.board import DELAY, HEARTBEAT, IN_PLACE, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books, Pace
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.whole import WholeParameters
from asyncrl.topologies.actor_learner.diagnosis import Diagnosis
from asyncrl.topologies.actor_learner.plan import figures, ground_of, normalises, scales_returns
from asyncrl.topologies.actor_learner.record import RoundLog, pace_in_place, warm_up
from asyncrl.topologies.actor_learner.rounds import RoundsPace
from asyncrl.workers.acting import ActingWorker
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import WorkerPlan
from asyncrl.workers.standardiser import Standardiser

MadePace = TypeVar("MadePace", bound=Pace)
ACTING, LEARNING, APPLYING = (PHASES.index(name) for name in ("acting", "learning", "applying"))


def run_actor_learner(plan: WorkerPlan, connection: Connection) -> None:
    """Process body of an actor-learner."""
    run_body(lambda: ActorLearner(plan), plan.core, connection, (plan.task.seed, plan.worker, plan.generation), plan.identity)


class ActorLearner(ActingWorker):
    """One worker: an actor, a gradient, and its side of the scheduler."""

    def __init__(self, plan: WorkerPlan):
        task, policy = plan.task, plan.task.policy()
        attach_tables(policy.head, plan.memory)
        entry = ALGORITHMS[task.algo]
        algorithm = entry.implementation
        self._ground = ground_of(task, policy, plan.memory, plan.pipes)
        self._local = np.zeros(policy.size, np.float32)
        shape = (task.options.t_max, task.envs_per_worker)
        self._steps_a_round = shape[0] * shape[1]
        self._target: NDArray[np.float32] | None = None
        self._learner: Any
        if entry.learns_values:
            self._target = np.zeros(policy.size, np.float32)
            self._learner = value_gradient_of(policy, self._local, self._target, shape, task.options, algorithm)
        else:
            self._learner = gradient_of(policy, self._local, *shape, task.options, algorithm)
        commits = entry.learns_values and algorithm.commits
        super().__init__(plan, policy, self._local, self._ground.board, self._ground.parking, commits=commits)
        self._entropy_weight = entropy_weight(list(plan.exploration), task.options.entropy_weight)
        ledger = self._ground.ledger
        self._standardiser = Standardiser(ledger, self._actor.rounds.normaliser) if normalises(task) else None
        self._return_scale = SharedReturnScale(ledger, task.options.gamma) if scales_returns(task) else None
        self._log: RoundLog | None = None
        self._copies = OldCopies.of(task.staleness, policy.size)
        self._diagnosis = Diagnosis(task.diagnose, self._learner, self._local) if task.diagnose else None
        self._warm_up()
        if self._return_scale is not None:
            self._return_scale.warm_up(plan.worker)
        if task.recorded:
            warm_up(ledger, task, plan.worker)
        if task.whole:
            WholeParameters.warm_up()
        self._learner(self._actor.trajectory, 0.0)
        self._goes_on = self._restore()

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        self.take_over()
        for _ in Gate(self._board, self._ground.parking, self._plan.worker).epochs(go.epoch_runs, self._save):
            self.epoch(self.paced(self._kind_of_pace()))

    def take_over(self) -> None:
        """Go on with the slot's books."""
        self._books = Books(self._ground.ledger, self._plan.worker, figures(self._plan.task))
        if self._return_scale is not None:
            self._return_scale.begin(self._books.draft, self._goes_on)

    def paced(self, kind: Callable[..., MadePace]) -> MadePace:
        """A pace of this kind for this worker, once it has taken over."""
        return kind(self._ground, self._plan.worker, self._books, self._copies, self._stages)

    def _kind_of_pace(self) -> Callable[..., Pace]:
        """That of this epoch's mode."""
        if self._board.order(DELAY) != IN_PLACE:
            return RoundsPace
        plan = self._plan
        if plan.task.recorded and self._log is None:
            self._log = RoundLog(plan.run_folder, plan.task, plan.worker, plan.generation)
        return pace_in_place(self._ground, self._log)

    def epoch(self, pace: Pace) -> None:
        """Rounds until it is time for the gate."""
        board, index = self._board, self._plan.worker
        self._begin_epoch()
        while (version := pace.start_round(self._local)) is not None:
            board.stand(index, HEARTBEAT, time.monotonic_ns())  # before the phase: a long wait is no hanging environment
            board.stand(index, PHASE, ACTING)
            self._round(pace, version)

    def _round(self, pace: Pace, version: int) -> None:
        """Act, learn, hand over: one turn."""
        actor, books, board, index = self._actor, self._books, self._board, self._plan.worker
        stages = self._stages
        assert books is not None
        began = stages.now()
        if self._standardiser is not None:
            self._standardiser.refresh(pace.records())
        if self._target is not None:
            pace.copy_target(self._target)
        trajectory = self._collect(version, pace.total_steps())
        environment, acted = self._environment_seconds, stages.acted()
        board.stand(index, PHASE, LEARNING)
        if self._return_scale is not None:
            self._return_scale(trajectory, books.draft, pace.add_up)
        self._learner(trajectory, self._entropy_weight)
        if self._standardiser is not None:
            self._standardiser.observe(books.draft, actor.rounds.raw[1:])
        learned = stages.computed()
        board.stand(index, PHASE, APPLYING)
        seconds = environment, acted - began - environment, learned - acted
        books.round_done(self._steps_a_round, self._learner.figures, seconds, self._ring.dropped, time.monotonic())
        if self._diagnosis is not None:
            self._diagnosis(pace, trajectory, self._entropy_weight, books)
        pace.finish_round(self._learner.gradient)
