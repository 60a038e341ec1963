"""What a worker of a search does with a candidate: plays it as a policy, or calls the user's function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.compiled_episodes import episode_runner
from asyncrl.actors.episodes import Acting, Observed
from asyncrl.blackbox.space import Points
from asyncrl.envs import CheckedEnvironment, make_env, unship
from asyncrl.errors import Hopeless
from asyncrl.heads.tables import attach_tables
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.atomics import store_release
from asyncrl.topologies.search.plan import Function, Objective, Published, SearchPlan, SearchTask, search_policy
from asyncrl.topologies.search.player import EPISODE_SEEDS, reference_observations
from asyncrl.workers.plan import Task


class Outcome(NamedTuple):
    """What came of a candidate."""

    value: float
    """What is maximised; NaN where there is none."""
    steps: int
    cut: int
    """Episodes that were ended by the step limit."""
    episodes: list[tuple[float, int]]
    """(the environment's own return, steps) of each; a function has none."""


class CandidateEvaluator(Protocol):
    """How candidates are evaluated."""

    observed: Observed

    @property
    def seconds(self) -> float:
        """Spent outside of our own code."""

    def published(self, published: Published) -> None:
        """New parameters have been copied."""

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        """Evaluate candidate [N]; `key` determines every random number of its episodes. The process's generators have been seeded."""


class PolicyEvaluator(CandidateEvaluator):
    """Candidates are policies: they play whole episodes."""

    def __init__(self, task: SearchTask, memory: SharedArrays, beat: Callable[[], None]):
        """`memory`: with the tables of the policy's head; `beat`: updates the worker's heartbeat."""
        common = task.common
        policy = search_policy(common)
        attach_tables(policy.head, memory)
        self._seed, self._options, self._observes = common.seed, common.options, task.observed > 0
        self._head, self._size, self._player = policy.head, policy.size, policy.player()
        environment = CheckedEnvironment(make_env(unship(common.env)), common.spec)
        self._reference = reference_observations(common, environment)
        self._runner = episode_runner(environment, self._player, common.simulated, beat)
        self._limit = 0
        self.observed = Observed(task.observed)
        if self._reference is not None:
            self._player.reference(self._reference)
        self._player.set(policy.initial(common.seed))
        warm_up(self._player, common)

    @property
    def seconds(self) -> float:
        return self._runner.environment_seconds

    def published(self, published: Published) -> None:
        published.normaliser(self._player.normaliser)
        self._head.announce(published.search[: self._size])
        self._limit = int(published.limit[0])
        if self._reference is not None:
            self._player.reference(self._reference)

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        self._player.set(candidate)
        self.observed.clear()
        observed = self.observed if self._observes else None
        seeds = np.random.SeedSequence((self._seed, EPISODE_SEEDS, *key)).generate_state(self._options.episodes)
        played = [self._runner.run(int(seed), self._limit, observed) for seed in seeds]
        bonus = self._options.survival_bonus
        value = sum(one.episode_return - bonus * one.length for one in played) / len(played)
        steps, cut = sum(one.length for one in played), sum(one.cut for one in played)
        return Outcome(value, steps, cut, [(one.episode_return, one.length) for one in played])


def cost_of(function: Objective, x: NDArray[np.float64], calls: int) -> float:
    """The mean of so many calls at x [N], in float64 before anything is done with it; nan where that is not finite.

    The function is given a copy: what it does to its argument stays its own.
    """
    mean = sum(float(function(x.copy())) for _ in range(calls)) / calls
    return mean + 0.0 if math.isfinite(mean) else math.nan  # never -0.0


class Best:
    """The best point that a worker has evaluated.

    Writers:  that worker; after its death, its successor.
    Readers:  the main process, once nobody evaluates any more.
    Torn:     never: what does not count is written, and then it is made to count, with one store.
    Crash:    what counted stands.
    """

    def __init__(self, memory: SharedArrays, worker: int):
        self._values, self._points = memory["best/value"][worker], memory["best/point"][worker]  # [2], [2, N]
        self._which = memory["best/which"][worker : worker + 1]

    def get(self) -> tuple[float, NDArray[np.float64]] | None:
        """What was maximised there, and the point [N]; None without any."""
        place = int(self._which[0]) - 1
        return None if place < 0 else (float(self._values[place]), self._points[place].copy())

    def offer(self, value: float, point: NDArray[np.float64]) -> None:
        """Take in a point [N] with a value (nan: none)."""
        place = int(self._which[0]) - 1
        if value > (self._values[place] if place >= 0 else -math.inf):
            other = 1 - max(place, 0)
            self._points[other], self._values[other] = point, value
            store_release(self._which, 0, other + 1)


class FunctionEvaluator(CandidateEvaluator):
    """Candidates are arguments of a function of the user's."""

    def __init__(self, function: Function, calls: int, best: Best):
        """`calls`: of the function, of which each evaluation is the mean; `best`: this worker's own."""
        self._function: Objective = function.pickled.unpack()
        self._calls, self._space, self._best = calls, function.space, best
        self.observed = Observed(0)
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        return self._seconds

    def published(self, published: Published) -> None:
        """A function needs nothing of what is published beside the candidate."""

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        point = self._space.inside(candidate)
        began = time.perf_counter()
        try:
            value = -cost_of(self._function, point, self._calls)
        except Exception as error:
            what = f"the function raised {type(error).__name__}: {error}"
            raise Hopeless(f"{what} (where it has no value, it may return nan)") from error
        self._seconds += time.perf_counter() - began
        self._best.offer(value, point)
        return Outcome(value, self._calls, 0, [])


def evaluator_of(plan: SearchPlan, beat: Callable[[], None]) -> CandidateEvaluator:
    """What evaluates this task's candidates, as worker `plan.worker`; `beat`: updates the worker's heartbeat."""
    if plan.task.function is None:
        return PolicyEvaluator(plan.task, plan.memory, beat)
    return FunctionEvaluator(plan.task.function, plan.task.common.options.episodes, Best(plan.memory, plan.worker))


def warm_up(player: Acting, task: Task) -> None:
    """Load the compiled kernels before the clock runs."""
    player.act(np.zeros(task.spec.observation_size, task.spec.observation_dtype), 0)
    Observed(task.spec.observation_size).add(np.zeros((1, task.spec.observation_size), task.spec.observation_dtype))
