"""What a black-box search does with a candidate: plays it as a policy, or calls the user's function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.episodes import Acting, EpisodeRunner, Observed
from asyncrl.blackbox.space import Points
from asyncrl.envs import make_env, seed_generators, unship
from asyncrl.envs.probe import checked_reset
from asyncrl.errors import Hopeless
from asyncrl.heads.tables import set_tables
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.atomics import store_release
from asyncrl.topologies.search.limits import evaluation_limit
from asyncrl.topologies.search.plan import Objective, Published, SearchPlan, SearchTask
from asyncrl.workers.evaluator import Evaluation, Snapshot

EPISODE_SEEDS, REFERENCE_SEEDS = 1, 2
"""What a stream of random numbers is for: part of its key."""


class Outcome(NamedTuple):
    """What came of a candidate."""

    value: float
    """What is maximised; NaN where there is none."""
    steps: int
    cut: int
    """Episodes that were ended by the step limit."""
    episodes: list[tuple[float, int]]
    """(the environment's own return, steps) of each; a function has none."""


class Evaluating(Protocol):
    """How candidates are evaluated."""

    observed: Observed

    @property
    def seconds(self) -> float:
        """Spent outside of our own code."""

    def published(self, published: Published) -> None:
        """New parameters have been copied."""

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        """Evaluate candidate [N]; `key` determines every random number of its episodes. The process's generators have been seeded."""


class PolicyEvaluating:
    """Candidates are policies: they play whole episodes."""

    def __init__(self, task: SearchTask, memory: SharedArrays, beat: Callable[[], None]):
        """`memory`: with the tables of the policy's head; `beat`: gives a sign of life."""
        assert task.spec is not None
        policy = task.policy(memory)
        self._task, self._options = task, task.options
        self._player = policy.player()
        environment = make_env(unship(task.objective))
        self._reference = reference_observations(task, environment)
        self._runner = EpisodeRunner(environment, task.spec, self._player, beat)
        self._limit = 0
        self.observed = Observed(task.spec.observation_size if task.normalises else 0)
        if self._reference is not None:
            self._player.reference(self._reference)
        self._player.set(policy.initial(task.seed))
        warm_up(self._player, task)

    @property
    def seconds(self) -> float:
        """See `Evaluating`."""
        return self._runner.environment_seconds

    def published(self, published: Published) -> None:
        """See `Evaluating`."""
        published.normaliser(self._player.normaliser)
        self._limit = int(published.limit[0])
        if self._reference is not None:
            self._player.reference(self._reference)

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        """See `Evaluating`."""
        self._player.set(candidate)
        self.observed.clear()
        observed = self.observed if self._task.normalises else None
        seeds = np.random.SeedSequence((self._task.seed, EPISODE_SEEDS, *key)).generate_state(self._options.episodes)
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


class FunctionEvaluating:
    """Candidates are arguments of a function of the user's."""

    def __init__(self, task: SearchTask, best: Best):
        """`best`: this worker's own."""
        import cloudpickle

        self._function: Objective = cloudpickle.loads(task.objective)
        self._calls, self._space, self._best = task.options.episodes, task.space, best
        self.observed = Observed(0)
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """See `Evaluating`."""
        return self._seconds

    def published(self, published: Published) -> None:
        """See `Evaluating`."""

    def evaluate(self, candidate: Points, key: tuple[int, ...]) -> Outcome:
        """See `Evaluating`."""
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


def evaluating(plan: SearchPlan, beat: Callable[[], None]) -> Evaluating:
    """How this task's candidates are evaluated."""
    if plan.task.spec is not None:
        return PolicyEvaluating(plan.task, plan.memory, beat)
    return FunctionEvaluating(plan.task, Best(plan.memory, plan.worker))


def warm_up(player: Acting, task: SearchTask) -> None:
    """Load the compiled kernels before the clock runs."""
    assert task.spec is not None
    player.act(np.zeros(task.spec.observation_size, task.spec.observation_dtype), 0)
    Observed(task.spec.observation_size).add(np.zeros((1, task.spec.observation_size), task.spec.observation_dtype))


def reference_observations(task: SearchTask, environment: Any) -> NDArray[np.float32] | None:
    """Observations [n, D] of random actions, the same in every process: for virtual batch normalisation. None without it."""
    count = task.network.virtual_batch
    if not count:
        return None
    assert task.spec is not None
    rows = np.zeros((count, task.spec.observation_size), np.float32)
    seeds = np.random.SeedSequence((task.seed, REFERENCE_SEEDS)).generate_state(2)
    seed_generators(task.seed)
    environment.action_space.seed(int(seeds[0]))
    rows[0] = checked_reset(environment, task.spec, int(seeds[1]))[0]
    for row in rows[1:]:
        row[:], _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        if terminated or truncated:
            row[:] = checked_reset(environment, task.spec, None)[0]
    return rows


class SearchPlayer:
    """Plays the point that a search has reached, without perturbations, in this process."""

    def __init__(self, task: SearchTask, seed: int, render_mode: str | None = None, environment: Any = None):
        assert task.spec is not None
        self.environment = make_env(unship(task.objective), render_mode) if environment is None else environment
        policy = task.policy()
        self._head, self._player = policy.head, policy.player()
        self._reference = None
        if task.network.virtual_batch:
            self._reference = reference_observations(task, make_env(unship(task.objective)))
        self._runner = EpisodeRunner(self.environment, task.spec, self._player, evaluates=True)
        self._seed = seed

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes; where training cuts its episodes, much later these are cut too (`evaluation_limit`)."""
        self._player.normaliser[:] = snapshot.normaliser
        set_tables(self._head, snapshot.tables)
        if self._reference is not None:
            self._player.reference(self._reference)
        self._player.set(snapshot.vector)
        seed_generators(self._seed)
        seeds = np.random.SeedSequence((self._seed, EPISODE_SEEDS)).generate_state(episodes)
        played = [self._runner.run(int(seed), evaluation_limit(snapshot.limit)) for seed in seeds]
        return Evaluation(snapshot.steps, [one.episode_return for one in played], [one.length for one in played])
