"""The actor-learner: one process that acts, learns from its own rollouts, and updates the shared parameters."""

from __future__ import annotations

import contextlib
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.rollout import Actor
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import ValueBased
from asyncrl.envs import make_env, unship
from asyncrl.heads.rounds import ENTROPY_WEIGHT
from asyncrl.learners.gradients import gradient_of
from asyncrl.learners.values import value_gradient_of
from asyncrl.scheduler.board import COMMAND, HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate, pace_of
from asyncrl.scheduler.pace import Books, Pace
from asyncrl.workers.actor_state import restore_actor, save_actor
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import WorkerPlan, episode_ring, ground_of, normalises, stream
from asyncrl.workers.standardiser import Standardiser

ACTING, LEARNING, APPLYING = (PHASES.index(name) for name in ("acting", "learning", "applying"))


def run_actor_learner(plan: WorkerPlan, connection: Connection) -> None:
    """Process body of an actor-learner."""
    run_body(lambda: ActorLearner(plan), plan.core, connection)


class ActorLearner:
    """One worker: an actor, a gradient, and its side of the scheduler."""

    def __init__(self, plan: WorkerPlan):
        task = plan.task
        self._plan = plan
        self._policy = task.policy()
        self._ground = ground_of(task, self._policy.size, plan.memory, plan.pipes)
        self._ring = episode_ring(plan.memory, plan.worker)
        self._local = np.zeros(self._policy.size, np.float32)
        shape = (task.options.t_max, task.envs_per_worker)
        self._target: NDArray[np.float32] | None = None
        entry = ALGORITHMS[task.algo]
        self._learner: Any
        if isinstance(entry, ValueBased):
            self._target = np.zeros(self._policy.size, np.float32)
            self._learner = value_gradient_of(self._policy, self._local, self._target, shape, task.options, entry)
        else:
            self._learner = gradient_of(self._policy, self._local, *shape, task.options, task.algo)
        self._steps_a_round = shape[0] * shape[1]
        streams = stream(task.seed, plan.worker, plan.generation).spawn(1 + task.envs_per_worker)
        source = unship(task.env)
        self._actor = Actor(
            [make_env(source) for _ in range(task.envs_per_worker)],
            self._policy,
            self._local,
            task.options.t_max,
            list(plan.exploration),
            np.random.default_rng(streams[0]),
            task.options.reward_scale,
            task.options.reward_clip,
            self._episode_ended,
            commits=isinstance(entry, ValueBased) and entry.commits,
        )
        self._actor.rounds.knobs[ENTROPY_WEIGHT] = getattr(task.options, "entropy_weight", 0.0)
        self._standardiser = Standardiser(self._ground.ledger, self._actor.rounds.normaliser) if normalises(task) else None
        self._books: Books | None = None
        self.notes: list[str] = []
        self._actor.reset([int(one.generate_state(1)[0]) for one in streams[1:]])
        self._warm_up()
        if plan.restore_from is not None:
            self.notes = restore_actor(self._actor, plan.worker, plan.restore_from)[1]

    @property
    def steps_done(self) -> int:
        """Steps that this worker has published."""
        return int(self._books["steps"]) if self._books else 0

    def _warm_up(self) -> None:
        """Load the compiled kernels before the clock runs."""
        arrays = self._actor.rounds
        self._policy.head.draw(np.random.default_rng(0), arrays)
        self._actor.act(0)
        self._learner(self._actor.trajectory, 0.0)
        if self._policy.memory_size:
            self._actor.forget_all()

    def _episode_ended(self, episode_return: float, length: int) -> None:
        assert self._books is not None
        self._books.add("episodes", 1)
        self._ring.push(episode_return=episode_return, length=length, worker_steps=int(self._books["steps"]), setting=0)

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        self._books = Books(ground.ledger, index)
        gate = Gate(ground.board, ground.parking, index)
        goes_on = go.epoch_runs or gate.pass_through(self._save)
        while goes_on:
            self._epoch(pace_of(ground, index, self._books))
            goes_on = gate.pass_through(self._save)

    def _epoch(self, pace: Pace) -> None:
        """Rounds until it is time for the gate."""
        board, index, books = self._ground.board, self._plan.worker, self._books
        assert books is not None
        if books["started"] == 0.0:
            books.put("started", time.monotonic())
        while (version := pace.start_round(self._local)) is not None:
            board.stand(index, HEARTBEAT, time.monotonic_ns())  # before the phase: a long wait is no hanging environment
            board.stand(index, PHASE, ACTING)
            self._round(pace, version)

    def _round(self, pace: Pace, version: int) -> None:
        """Act, learn, hand over: one turn."""
        actor, books, board, index = self._actor, self._books, self._ground.board, self._plan.worker
        assert books is not None
        began = time.perf_counter()
        if self._standardiser is not None:
            self._standardiser.refresh(pace.records())
        if self._target is not None:
            pace.copy_target(self._target)
        environment = actor.environment_seconds
        trajectory = actor.collect(version, pace.total_steps())
        environment = actor.environment_seconds - environment
        acted = time.perf_counter()
        board.stand(index, PHASE, LEARNING)
        losses = self._learner(trajectory, actor.rounds.knobs[ENTROPY_WEIGHT])
        if self._standardiser is not None:
            self._standardiser.observe(books.draft, actor.rounds.raw[1:])
        learned = time.perf_counter()
        board.stand(index, PHASE, APPLYING)
        books.round_done(
            self._steps_a_round, losses, (environment, acted - began - environment, learned - acted), self._ring.dropped, time.monotonic()
        )
        pace.finish_round(self._learner.gradient)

    def _save(self) -> None:
        """Write this worker's part of the checkpoint that the launcher has ordered."""
        folder = self._plan.checkpoint_folder(self._ground.board.order(COMMAND))
        with contextlib.suppress(OSError):  # a full disk: the launcher sees that the part is missing, and says so
            save_actor(self._actor, self._plan.worker, folder)
