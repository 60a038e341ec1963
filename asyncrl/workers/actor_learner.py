"""The actor-learner: one process that acts, learns from its own rollouts, and updates the shared parameters."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from asyncrl.actors.rollout import Actor, EnvironmentFault
from asyncrl.checkpoint import parts, read_part, write_part
from asyncrl.envs import load_state, make_env, save_state, unship, why_not
from asyncrl.errors import UserError
from asyncrl.heads.rounds import ENTROPY_WEIGHT
from asyncrl.learners.gradients import gradient_of
from asyncrl.processes import settle_in
from asyncrl.scheduler.board import COMMAND, HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate, pace_of
from asyncrl.scheduler.pace import Books, Pace
from asyncrl.workers.messages import Failed, Go, Ready
from asyncrl.workers.plan import WorkerPlan, episode_ring, ground_of, normalises, stream
from asyncrl.workers.standardiser import Standardiser

ACTING, LEARNING, APPLYING = (PHASES.index(name) for name in ("acting", "learning", "applying"))


def run_actor_learner(plan: WorkerPlan, connection: Connection) -> None:
    """Process body: build, report, take over the slot, work until told to stop. Failures go to the launcher."""
    worker = None
    try:
        settle_in(plan.core)
        worker = ActorLearner(plan)
        connection.send(Ready(worker.notes))
        worker.work(_await_go(connection))
    except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the launcher
        steps = worker.steps_done if worker else 0
        cause = error.__cause__ if isinstance(error, EnvironmentFault) and error.__cause__ is not None else error
        place = traceback.extract_tb(cause.__traceback__)[-1]
        where = f"{type(cause).__name__} at {place.filename}:{place.lineno}"
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            connection.send(Failed(str(error) or type(error).__name__, text, steps, where, isinstance(error, UserError)))
        os._exit(1)


def _await_go(connection: Connection) -> Go:
    try:
        go: Go = connection.recv()
    except (EOFError, ConnectionResetError):
        os._exit(1)  # the launcher has hung up: there is nobody to tell
    return go


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
        )
        self._actor.rounds.knobs[ENTROPY_WEIGHT] = task.options.entropy_weight
        self._standardiser = Standardiser(self._ground.ledger, self._actor.rounds.normaliser) if normalises(task) else None
        self._books: Books | None = None
        self.notes: list[str] = []
        self._actor.reset([int(one.generate_state(1)[0]) for one in streams[1:]])
        self._warm_up()
        if plan.restore_from is not None:
            self._restore(plan)

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
        self._ring.push(episode_return=episode_return, length=length, worker_steps=int(self._books["steps"]))

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        self._books = Books(ground.ledger, index)
        if self._books["started"] == 0.0:
            self._books.put("started", time.monotonic())
        gate = Gate(ground, index)
        pace: Pace | None = pace_of(ground, index, self._books) if go.epoch_runs else gate.pass_through(self._books, self._save)
        while pace is not None:
            self._epoch(pace)
            pace = gate.pass_through(self._books, self._save)

    def _epoch(self, pace: Pace) -> None:
        """Rounds until it is time for the gate."""
        board, index = self._ground.board, self._plan.worker
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

    # Saving and restoring what only this process knows.

    def _save(self) -> None:
        """Write this worker's part of the checkpoint that the launcher has ordered."""
        actor, plan = self._actor, self._plan
        folder = plan.checkpoint_folder(self._ground.board.order(COMMAND))
        arrays: dict[str, Any] = {f"actor/{name}": array for name, array in actor.arrays().items()}
        environments: list[Any] = []
        for e, environment in enumerate(actor.environments):
            saved = save_state(environment)
            environments.append({"missing": why_not(environment)} if saved is None else {"state": saved[0]})
            if saved is not None:
                arrays.update({f"environment-{e}/{name}": array for name, array in saved[1].items()})
        state = {
            "generator": actor.generator.bit_generator.state,
            "episode_returns": actor.episode_returns,
            "episode_lengths": actor.episode_lengths,
            "environments": environments,
        }
        with contextlib.suppress(OSError):  # a full disk: the launcher sees that the part is missing, and says so
            write_part(folder, f"worker-{plan.worker}", state, arrays)

    def _restore(self, plan: WorkerPlan) -> None:
        name = f"worker-{plan.worker}"
        folder = plan.restore_from
        assert folder is not None
        if name not in parts(folder):
            self.notes.append(f"worker {plan.worker} had no saved state; it begins with a new random stream and new episodes")
            return
        state, arrays = read_part(folder, name)
        actor = self._actor
        fresh = actor.rounds.raw[-1].copy()
        actor.generator.bit_generator.state = state["generator"]
        actor.restore(_part(arrays, "actor"))
        for e, (environment, saved) in enumerate(zip(actor.environments, state["environments"])):
            problem = saved.get("missing")
            if problem is None:
                try:
                    load_state(environment, saved["state"], _part(arrays, f"environment-{e}"))
                except UserError as error:
                    problem = str(error)
            if problem is None:
                actor.episode_returns[e], actor.episode_lengths[e] = state["episode_returns"][e], state["episode_lengths"][e]
            else:
                actor.begin_afresh(e, fresh[e])
                self.notes.append(f"worker {plan.worker}: environment {e} could not be restored ({problem}); it begins a new episode")


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix + "/"): array for name, array in arrays.items() if name.startswith(prefix + "/")}
