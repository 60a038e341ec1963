"""Base class of processes that step environments: owns the environments, the ledger record and the worker's part of a checkpoint."""

from __future__ import annotations

import contextlib
import time

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.rewards import RewardRule
from asyncrl.actors.rollout import Actor
from asyncrl.envs import GymnasiumStepping, make_env, unship
from asyncrl.envs.compiled.stepping import CompiledStepping
from asyncrl.heads.policy import Policy
from asyncrl.scheduler.board import COMMAND, HEARTBEAT, Board
from asyncrl.scheduler.pace import Books
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.parking import Parking
from asyncrl.trajectory import Trajectory
from asyncrl.workers.actor_state import restore_actor, save_actor
from asyncrl.workers.plan import WorkerPlan, delay_of, episode_ring, stages_of, stream


class ActingWorker:
    """Worker i of a run: an actor in environments of its own, seeded by (seed, i, generation)."""

    def __init__(self, plan: WorkerPlan, policy: Policy, vector: NDArray[np.float32], board: Board, parking: Parking, **how: bool):
        """Makes the environments and resets them. `vector` [N]: the parameters that act. `how`: commits, keeps_outputs, see `Actor`."""
        task, options = plan.task, plan.task.options
        self._plan, self._policy, self._board = plan, policy, board
        self._stages = stages_of(plan.memory, parking, plan.worker)
        self._ring = episode_ring(plan.memory, plan.worker)
        streams = stream(task.seed, plan.worker, plan.generation).spawn(1 + task.envs_per_worker)
        source = unship(task.env)
        environments = [make_env(source) for _ in range(task.envs_per_worker)]
        kind = CompiledStepping if task.simulated else GymnasiumStepping
        stepping = kind(environments, policy.spec, self._episode_ended, self._beat)
        rewards = RewardRule(options.reward_scale, options.reward_clip or 0.0)
        generator = np.random.default_rng(streams[0])
        self._actor = Actor(stepping, policy, vector, options.t_max, list(plan.exploration), generator, rewards, **how)
        self._books: Books | None = None
        self._steps_known = 0
        self._delay = delay_of(task, board, plan.worker, plan.generation)
        self._copies: OldCopies | None = None  # whoever inherits makes them, for the vector that it copies
        self._environment_seconds = 0.0  # of the newest rollout
        self.notes: list[str] = []
        self._actor.reset([int(one.generate_state(1)[0]) for one in streams[1:]])

    @property
    def steps_done(self) -> int:
        """Steps that this worker has published."""
        return int(self._books["steps"]) if self._books else 0

    def _warm_up(self) -> None:
        """Load the compiled kernels of a step before the clock runs."""
        self._policy.head.draw(np.random.default_rng(0), self._actor.rounds)
        self._actor.act(0)

    def _restore(self) -> list[bool]:
        """Forget what warming up has left; go on from a checkpoint, if any. Returns which environments go on where they were."""
        if self._policy.memory_size:
            self._actor.forget_all()
        if self._plan.restore_from is None:
            return [False] * self._plan.task.envs_per_worker
        goes_on, self.notes = restore_actor(self._actor, self._plan.worker, self._plan.restore_from, self._copies)
        return goes_on

    def _episode_ended(self, episode_return: float, length: int) -> None:
        assert self._books is not None
        self._books.add("episodes", 1)
        version = self._actor.trajectory.version
        self._ring.push(episode_return=episode_return, length=length, setting=0, order=version, steps=self._steps_known)

    def _collect(self, version: int, total_steps: float) -> Trajectory:
        """Act for one rollout with parameters of this version; `total_steps`: of all workers, by which exploration is annealed.

        A delay that is injected counts as the environment's, in whose place it stands.
        """
        self._steps_known = int(total_steps)
        stepping, began = self._actor.stepping, self._stages.now()
        before = stepping.seconds
        trajectory = self._actor.collect(version, total_steps)
        # A compiled simulator times some steps for all, which is too much where one of these was interrupted.
        self._environment_seconds = min(stepping.seconds - before, self._stages.now() - began)
        if self._delay is not None:
            self._environment_seconds += self._delay()
        return trajectory

    def _beat(self) -> None:
        """Update the heartbeat while acting, so that a long rollout is not mistaken for a hung environment."""
        self._board.stand(self._plan.worker, HEARTBEAT, time.monotonic_ns())

    def _begin_epoch(self) -> None:
        """The clock runs from a worker's first epoch."""
        assert self._books is not None
        if self._books["started"] == 0.0:
            self._books.put("started", time.monotonic())

    def _save(self) -> None:
        """Write this worker's part of the checkpoint that the launcher has ordered."""
        folder = self._plan.checkpoint_folder(self._board.order(COMMAND))
        with contextlib.suppress(OSError):  # a full disk: the launcher sees that the part is missing, and says so
            save_actor(self._actor, self._plan.worker, folder, self._beat, self._copies)
