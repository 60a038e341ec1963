"""The learner of algorithms with a replay: units into the replay, so many updates per step out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.fields import written
from asyncrl.heads import HEADS
from asyncrl.heads.policy import Policy
from asyncrl.learners.off_policy import HIDDEN, OffPolicyLearner, OffPolicyOptions
from asyncrl.learners.resets import Resets
from asyncrl.learners.updater import Updater, draws
from asyncrl.replays.records import fields_of
from asyncrl.replays.sizes import bytes_needed, check_batch, check_size
from asyncrl.replays.store import Replay
from asyncrl.shared.arrays import Layout, free_bytes
from asyncrl.trajectory import Trajectory

DRAWS = 0x4E9
"""What a stream of random numbers is for: part of its key."""

VALUES = ("critic_loss", "critic_gradient_norm", "critic_gradient_norm_clipped", "q_mean", "q_target_mean", "skipped")
CRITICS = (*VALUES, "policy_loss", "policy_gradient_norm", "policy_gradient_norm_clipped")
REPLAY = ("replay_size", "age_versions", "age_versions_max", "age_steps", "age_steps_max")

MOST_UPDATES = 2**53
"""Up to here floating-point numbers count every one."""


def updates_due(ratio: Fraction, steps: int, warm_up: int) -> int:
    """Updates that the run should have made after so many steps, whatever the mode: floor(ratio * steps since the warm-up), exactly."""
    return max(steps - warm_up, 0) * ratio.numerator // ratio.denominator


def check_ratio(ratio: float, steps: int, warm_up: int, batch: int, n_step: int = 1, streams: int = 1) -> None:
    """Raise UserError where a run of so many steps can't hold the ratio: it would come to no update, or to more than can be counted.

    Each of so many streams keeps its newest n_step - 1 steps back, unless its episode ends just then.
    """
    if steps <= warm_up:
        raise UserError(f"warm_up = {warm_up:,} leaves no update in {steps:,} steps (allowed: below {steps:,}; or more steps)")
    if steps < batch:
        raise UserError(f"batch = {batch:,} leaves no update in {steps:,} steps (allowed: up to {steps:,}; or more steps)")
    if steps < batch + (n_step - 1) * streams:
        raise UserError(
            f"n_step = {n_step:,} leaves no update in {steps:,} steps: each of {streams:,} environments keeps up to {n_step - 1:,} "
            f"back from a batch of {batch:,} (allowed: up to {(steps - batch) // streams + 1:,}; or more steps)"
        )
    left = steps - warm_up
    updates = updates_due(written(ratio), steps, warm_up)
    if not 1 <= updates <= MOST_UPDATES:
        few = "no update" if updates < 1 else "too many updates to be counted"
        raise UserError(
            f"replay_ratio = {ratio:g} comes to {few} in the {left:,} steps after the warm-up "
            f"(allowed: from 1/{left} to {MOST_UPDATES // left:,})"
        )


class ReplayUpdater(Updater):
    """Updater of an algorithm with a replay. Updates per step are counted from the end of the warm-up on."""

    figures = REPLAY
    needs_log_prob = False
    learner_type: ClassVar[Any]
    """The algorithm's `OffPolicyLearner`: its networks and its update."""

    @classmethod
    def of(cls, learner_type: type[OffPolicyLearner]) -> type[ReplayUpdater]:
        """The updater of one algorithm: a class whose learner is of this type, and which logs that learner's figures too."""
        figures = (*learner_type.figures, *REPLAY)
        return type(f"{learner_type.__name__}Updater", (cls,), {"learner_type": learner_type, "figures": figures})

    def __init__(self, task: Any, policy: Policy, arrays: Mapping[str, NDArray[Any]] | None = None):
        options: OffPolicyOptions = task.options
        self._options, self._task = options, task
        self._warm_up_steps = options.warm_up_for(task.target_steps)
        self._learner = self.new_learner(task, policy)
        self._resets = Resets(options, task.seed, lambda seed: self.new_learner(replace(task, seed=seed), policy))
        self._envs = task.envs_per_worker
        fields = _fields(task)
        self._beside, self._components = _places(task), _components(task)
        if arrays is None:
            numbers = (options.gamma, task.workers * self._envs, options.n_step, options.priority_alpha)
            self._replay = Replay.private(options.replay, fields, *numbers)
        else:
            self._replay = Replay(arrays, fields, options.gamma, options.n_step, options.priority_alpha)
        self._updates = np.zeros(1, np.int64)
        self._ratio = written(options.replay_ratio)

    @classmethod
    def new_learner(cls, task: Any, policy: Policy) -> OffPolicyLearner:
        """The algorithm's networks and its update, for the environment and the network of the task and the policy's head."""
        hidden = task.network.hidden or HIDDEN
        learner: OffPolicyLearner = cls.learner_type.under(policy.head, task.spec.observation_size, task.options, task.seed, hidden)
        return learner

    @classmethod
    def learner_of(cls, task: Any, policy: Policy, state: Mapping[str, NDArray[Any]]) -> OffPolicyLearner:
        """The same as it was when `state` was given, without a replay."""
        learner = cls.new_learner(task, policy)
        learner.restore(_part(state, "learner/"))
        return learner

    @staticmethod
    def check(task: Any, units: int) -> None:
        """The replay is not smaller than a batch and fits in memory, there are updates, the device is there: or a UserError."""
        from asyncrl.heads.networks.devices import check_device

        options = task.options
        check_device(options.learner_device)
        streams = task.workers * task.envs_per_worker
        warm_up = options.warm_up_for(task.target_steps)
        check_ratio(options.replay_ratio, task.target_steps, warm_up, options.batch, options.n_step, streams)
        free = check_batch(options.batch, free_bytes(None), _fields(task), sum(task.network.hidden or HIDDEN))
        check_size(options.replay, options.batch, free, *_kinds(task), units * options.t_max * task.envs_per_worker)

    @staticmethod
    def layout(task: Any, units: int) -> Layout:
        """The replay; `units`: see `Updater`."""
        return Replay.layout(task.options.replay, *_kinds(task), units * task.options.t_max * task.envs_per_worker)

    @staticmethod
    def saved_bytes(task: Any, steps: int) -> int:
        """Those of the transitions that there are by then."""
        return bytes_needed(max(min(task.options.replay, steps), 1), *_kinds(task))

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        """Load the compiled kernels on a small replay of its own; log_prob [T, E] is not needed."""
        options = self._options
        fields = _fields(self._task)
        check_batch(options.batch, free_bytes(None), fields, sum(self._task.network.hidden or HIDDEN))
        replay = Replay.private(options.batch, fields, options.gamma, self._envs, options.n_step, options.priority_alpha)
        for _ in range(-(-options.n_step // len(trajectory.reward))):
            self._add(replay, trajectory, 0)
        replay.draw(np.random.default_rng(0), options.batch)
        replay.cut(0)

    def published(self, out: NDArray[np.float32]) -> None:
        size = self._learner.published_size
        self._learner.published(out[:size])
        if out.size > size:  # of a head that acts with the critic
            self._learner.critics.numbers.copy_to(out[size:])

    def explores(self, steps: int) -> bool:
        """Until the warm-up is over."""
        return steps < self._warm_up_steps

    def take(self, actor: int, trajectory: Trajectory, log_prob: NDArray[np.float32], fresh: NDArray[np.uint8]) -> None:
        first = actor * self._envs
        for e in np.flatnonzero(fresh):
            self._replay.cut(first + int(e))
        self._add(self._replay, trajectory, first)

    def _add(self, replay: Replay, trajectory: Trajectory, first: int) -> None:
        """To the streams from `first` on. What its head has stored beside the actions goes to fields of its own."""
        action, steps = trajectory.action, trajectory.reward.shape
        if action.shape[-1] == self._components:
            replay.add(trajectory, first)
            return
        beside = {name: action[..., place].reshape(*steps, *shape) for name, (place, shape) in self._beside.items()}
        replay.add(replace(trajectory, action=action[..., : self._components]), first, beside)

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        """Make the updates that are due. What is left is due with the next units: updates are counted over the whole run."""
        options = self._options
        due = updates_due(self._ratio, steps, self._warm_up_steps) - int(self._updates[0])
        if due <= 0 or len(self._replay) < options.batch:
            return []
        made: list[dict[str, float]] = []
        while len(made) < due and goes_on():
            made.append(self._one(version, steps))
        return made

    def _one(self, version: int, steps: int) -> dict[str, float]:
        options = self._options
        self._resets.before(int(self._updates[0]), self._learner)
        done = min(steps / self._task.target_steps, 1.0)
        beta = options.priority_beta + (1.0 - options.priority_beta) * done
        batch = self._replay.draw(draws(self._task.seed, DRAWS, int(self._updates[0])), options.batch, beta)
        figures = self._learner.update(batch)
        self._updates += 1
        if options.priority_alpha > 0:
            self._replay.reprioritise(batch.position, self._learner.errors)
        return {**figures, **self._replay.ages(batch, version), "replay_size": float(len(self._replay))}

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            **{f"learner/{name}": array for name, array in self._learner.state.items()},
            **{f"replay/{name}": array for name, array in self._replay.saved().items()},
            "updates": self._updates,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._learner.restore(_part(state, "learner/"))
        self._replay.restore(_part(state, "replay/"))
        self._updates[...] = state["updates"]
        self._learner.seed = self._resets.seed_after(int(self._updates[0]))

    def kept(self) -> dict[str, NDArray[Any]]:
        """Of the replay its words, and what waits; transitions and priorities stay where they are."""
        return {
            **{f"learner/{name}": array for name, array in self._learner.state.items()},
            **{f"replay/{name}": array for name, array in self._replay.state().items()},
            "updates": self._updates,
        }

    def keep(self, number: int) -> None:
        self._replay.keep(number)

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        self._learner.restore(_part(kept, "learner/"))
        self._replay.recover(_part(kept, "replay/"), number)
        self._updates[...] = kept["updates"]
        self._learner.seed = self._resets.seed_after(int(self._updates[0]))


def _fields(task: Any) -> Layout:
    """Of a transition."""
    return fields_of((task.spec.observation_shape, task.spec.observation_dtype), _components(task), _beside(task))


def _places(task: Any) -> dict[str, tuple[slice, tuple[int, ...]]]:
    """Where the head's own arrays of a transition lie in a stored action, and their shapes."""
    places, at = {}, _components(task)
    for name, (shape, _) in _beside(task).items():
        places[name] = (slice(at, at + math.prod(shape)), tuple(shape))
        at += math.prod(shape)
    return places


def _components(task: Any) -> int:
    """Numbers of an action as critics take it."""
    return HEADS[task.head].learnt_size(task.spec, task.network.head_options) if task.head in HEADS else int(task.spec.action_size)


def _beside(task: Any) -> Layout:
    """What the head that is named stores beside the action; under `auto` the algorithm's own head acts, which stores nothing."""
    return HEADS[task.head].stored_beside(task.spec, task.network.head_options) if task.head in HEADS else {}


def _kinds(task: Any) -> tuple[Layout, int, int, bool]:
    """(fields, streams, steps of a return, whether there are priorities): what a replay is laid out for."""
    return _fields(task), task.workers * task.envs_per_worker, task.options.n_step, task.options.priority_alpha > 0


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
