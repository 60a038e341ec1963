"""The actor of a stream: acts on versions of the policy, hands units to the learner."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from asyncrl.actors.rollout import Actor
from asyncrl.envs import make_env, unship
from asyncrl.scheduler.board import COMMAND, HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.scheduler.streams import ActorPace
from asyncrl.shared.rings import Slot
from asyncrl.shared.statistics import fold
from asyncrl.trajectory import Trajectory
from asyncrl.workers.actor_state import restore_actor, save_actor
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import episode_ring, stream
from asyncrl.workers.stream_plan import PublishedPolicy, StreamPlan, ground_of

ACTING, WAITING = PHASES.index("acting"), PHASES.index("waiting")


class StreamActor:
    """One actor: T steps in E environments a unit."""

    def __init__(self, plan: StreamPlan):
        task = plan.task
        self._plan, self._task = plan, task
        policy = self._policy = task.policy()
        figures = task.updater_figures
        self._ground = ground_of(task, figures, plan.memory, plan.pipes)
        self._ring = episode_ring(plan.memory, plan.worker)
        self._published = PublishedPolicy.empty(policy.size, task.observed)
        streams = stream(task.seed, plan.worker, plan.generation).spawn(1 + task.envs_per_worker)
        source = unship(task.env)
        options = task.options
        self._actor = Actor(
            [make_env(source) for _ in range(task.envs_per_worker)],
            policy,
            self._published.parameters,
            options.t_max,
            list(plan.exploration),
            np.random.default_rng(streams[0]),
            options.reward_scale,
            getattr(options, "reward_clip", 0.0),
            self._episode_ended,
        )
        self._outputs = np.zeros((options.t_max, task.envs_per_worker, policy.head.policy_outputs), np.float32)
        if task.needs_log_prob:
            self._actor.act = self._recording(self._actor.act)
        self._fresh = np.ones(task.envs_per_worker, np.uint8)
        self._books: Books | None = None
        self._wait_seconds = 0.0
        self.notes: list[str] = []
        self._actor.reset([int(one.generate_state(1)[0]) for one in streams[1:]])
        self._policy.head.draw(np.random.default_rng(0), self._actor.rounds)
        self._actor.act(0)  # loads the compiled kernels before the clock runs
        if policy.memory_size:
            self._actor.forget_all()
        if plan.restore_from is not None:
            goes_on, self.notes = restore_actor(self._actor, plan.worker, plan.restore_from)
            self._fresh[:] = [not one for one in goes_on]

    def _recording(self, act: Callable[[int], bool]) -> Callable[[int], bool]:
        """Keep the policy's outputs of every step: what the actions were drawn from."""
        outputs, newest = self._outputs, self._actor.rounds.policy_output

        def act_and_keep(t: int) -> bool:
            sound = act(t)
            outputs[t] = newest
            return sound

        return act_and_keep

    @property
    def steps_done(self) -> int:
        """Steps that this actor has published."""
        return int(self._books["steps"]) if self._books else 0

    def _episode_ended(self, episode_return: float, length: int) -> None:
        assert self._books is not None
        self._books.add("episodes", 1)
        self._ring.push(episode_return=episode_return, length=length, worker_steps=int(self._books["steps"]), setting=0)

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        self._books = Books(ground.ledger, index)
        gate = Gate(ground.board, ground.parking, index)
        pace = ActorPace(ground.streams, index)
        pace.arrive()
        goes_on = go.epoch_runs or gate.pass_through(self._save)
        while goes_on:
            ground.board.stand(index, PHASE, WAITING)
            if not pace.enter():
                return
            self._epoch(pace)
            pace.arrive()
            goes_on = gate.pass_through(self._save)

    def _epoch(self, pace: ActorPace) -> None:
        board, index, books = self._ground.board, self._plan.worker, self._books
        assert books is not None
        if books["started"] == 0.0:
            books.put("started", time.monotonic())
        while (version := pace.start_unit(self._published.vector)) is not None:
            board.stand(index, HEARTBEAT, time.monotonic_ns())  # before the phase: a long wait is no hanging environment
            board.stand(index, PHASE, ACTING)
            self._unit(pace, version)
            board.stand(index, PHASE, WAITING)

    def _unit(self, pace: ActorPace, version: int) -> None:
        """Act, fill the ring's slot, publish the books and then the slot."""
        actor, books = self._actor, self._books
        assert books is not None
        slot = pace.ring.reserve()
        assert slot is not None  # start_unit has seen that there is room
        began = time.perf_counter()
        self._published.normaliser(actor.rounds.normaliser)
        actor.uniform = self._published.uniform[0] > 0
        environment = actor.environment_seconds
        trajectory = actor.collect(version, self._ground.ledger.total("steps"))
        environment = actor.environment_seconds - environment
        self._fill(slot, trajectory)
        acted = time.perf_counter()
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
        if self._task.needs_log_prob:
            rows = trajectory.reward.size
            action, outputs = trajectory.action.reshape(rows, -1), self._outputs.reshape(rows, -1)
            self._policy.head.log_prob(outputs, actor.dense, action, actor.rounds.knobs, slot["log_prob"].reshape(rows))
        if self._task.observed:
            slot["observed_mean"][...], slot["observed_square"][...] = 0.0, 0.0
            raw = actor.rounds.raw[1:].reshape(-1, self._task.observed)
            slot["observed_count"][...] = fold(0.0, slot["observed_mean"], slot["observed_square"], raw)

    def _save(self) -> None:
        folder = self._plan.checkpoint_folder(self._ground.board.order(COMMAND))
        with contextlib.suppress(OSError):  # a full disk: the launcher sees that the part is missing, and says so
            save_actor(self._actor, self._plan.worker, folder)


def run_stream_actor(plan: StreamPlan, connection: Connection) -> None:
    """Process body of an actor."""
    run_body(lambda: StreamActor(plan), plan.core, connection)
