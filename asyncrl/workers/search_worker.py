"""The worker of a black-box search: claims tickets, plays their candidates, hands evaluations in."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.episodes import Acting, EpisodeRunner, Observed
from asyncrl.blackbox.search import Search
from asyncrl.envs import make_env, unship
from asyncrl.envs.probe import checked_reset
from asyncrl.errors import Hopeless
from asyncrl.heads.deterministic import Player
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.generations import Claim, WorkerPace
from asyncrl.scheduler.pace import Books
from asyncrl.workers.body import run_body
from asyncrl.workers.evaluator import Evaluation, Snapshot
from asyncrl.workers.limits import evaluation_limit
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import episode_ring
from asyncrl.workers.search_plan import Objective, Published, SearchPlan, SearchTask, ground_of

ACTING = PHASES.index("acting")
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
    """(the environment's own return, steps) of each."""


class Evaluating(Protocol):
    """How candidates are evaluated."""

    observed: Observed

    @property
    def seconds(self) -> float:
        """Spent outside of our own code."""

    def published(self, published: Published) -> None:
        """New parameters have been copied."""

    def evaluate(self, candidate: NDArray[np.float32], key: tuple[int, ...]) -> Outcome:
        """Evaluate candidate [N]; `key` determines every random number of its episodes."""


class PolicyEvaluating:
    """Candidates are policies: they play whole episodes."""

    def __init__(self, task: SearchTask, beat: Callable[[], None]):
        """`beat`: gives a sign of life."""
        assert task.spec is not None
        policy = task.policy()
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

    def evaluate(self, candidate: NDArray[np.float32], key: tuple[int, ...]) -> Outcome:
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


class FunctionEvaluating:
    """Candidates are arguments of a function of the user's."""

    def __init__(self, task: SearchTask, best: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]):
        """`best`: value [1], point [N] and whether there is one [1], this worker's own."""
        import cloudpickle

        self._function: Objective = cloudpickle.loads(task.objective)
        self._calls, self._best = task.options.episodes, best
        self.observed = Observed(0)
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """See `Evaluating`."""
        return self._seconds

    def published(self, published: Published) -> None:
        """See `Evaluating`."""

    def evaluate(self, candidate: NDArray[np.float32], key: tuple[int, ...]) -> Outcome:
        """See `Evaluating`."""
        began = time.perf_counter()
        try:
            values = [float(self._function(candidate.astype(np.float64))) for _ in range(self._calls)]
        except Exception as error:
            what = f"the function raised {type(error).__name__}: {error}"
            raise Hopeless(f"{what} (where it has no value, it may return nan)") from error
        self._seconds += time.perf_counter() - began
        value = sum(values) / len(values) if np.isfinite(values).all() else np.nan
        known_value, point, known = self._best
        if value > known_value[0] or (np.isfinite(value) and not known[0]):
            point[:], known_value[0], known[0] = candidate, value, 1
        return Outcome(value, len(values), 0, [(value, len(values))])


def evaluating(plan: SearchPlan, beat: Callable[[], None]) -> Evaluating:
    """How this task's candidates are evaluated."""
    if plan.task.spec is not None:
        return PolicyEvaluating(plan.task, beat)
    mine = slice(plan.worker, plan.worker + 1)
    memory = plan.memory
    return FunctionEvaluating(plan.task, (memory["best/value"][mine], memory["best/point"][plan.worker], memory["best/known"][mine]))


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
    environment.action_space.seed(int(seeds[0]))
    rows[0] = checked_reset(environment, task.spec, int(seeds[1]))[0]
    for row in rows[1:]:
        row[:], _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        if terminated or truncated:
            row[:] = checked_reset(environment, task.spec, None)[0]
    return rows


class SearchWorker:
    """One worker: a candidate at a time."""

    def __init__(self, plan: SearchPlan):
        task = plan.task
        self._task, self._index = task, plan.worker
        size = task.size
        self._search: Search = task.search(size)
        self._ground = ground_of(task, self._search, plan.memory, plan.pipes)
        self._ring = episode_ring(plan.memory, plan.worker)
        self._published = Published.empty(task, self._search)
        self._candidate = np.zeros(size, np.float32)
        self._evaluating = evaluating(plan, self._beat)
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
        gate = Gate(ground.board, ground.parking, index)
        goes_on = go.epoch_runs or gate.pass_through(_nothing_to_save)
        while goes_on:
            self._epoch(WorkerPace(ground, index, self._books))
            goes_on = gate.pass_through(_nothing_to_save)

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
        began = time.perf_counter()
        evaluating, published = self._evaluating, self._published
        if claim.version != self._version:
            evaluating.published(published)
            self._version = claim.version
        self._search.candidate(published.search, claim.generation, claim.ticket, self._candidate)
        before = evaluating.seconds
        outcome = evaluating.evaluate(self._candidate, self._key(claim))
        played = evaluating.seconds - before
        self._write(claim, outcome)
        self._tell(claim, outcome, played, time.perf_counter() - began - played)

    def _key(self, claim: Claim) -> tuple[int, ...]:
        attempt = int(self._ground.tickets.records["attempt"][claim.slot])
        sharing = self._task.options.common_seeds
        if sharing == "generation":
            return claim.generation, attempt
        return claim.generation, attempt, self._search.pair(claim.ticket) if sharing == "pair" else claim.ticket

    def _write(self, claim: Claim, outcome: Outcome) -> None:
        records, slot, observed = self._ground.tickets.records, claim.slot, self._evaluating.observed
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
        books.put("lost_episodes", self._ring.dropped)
        books.put("ended", time.monotonic())
        self._ground.ledger.publish(self._index, books.draft)
        setting = self._search.setting(claim.ticket)
        for episode_return, length in outcome.episodes:
            if np.isfinite(episode_return):
                self._ring.push(episode_return=episode_return, length=length, worker_steps=int(books["steps"]), setting=setting)


def _nothing_to_save() -> None:
    """A worker of a search remembers nothing."""


def run_search_worker(plan: SearchPlan, connection: Connection) -> None:
    """Process body of a worker."""
    run_body(lambda: SearchWorker(plan), plan.core, connection)


class SearchPlayer:
    """Plays the point that a search has reached, without perturbations, in this process."""

    def __init__(self, task: SearchTask, seed: int, render_mode: str | None = None, environment: Any = None):
        assert task.spec is not None
        self.environment = make_env(unship(task.objective), render_mode) if environment is None else environment
        self._player: Player = task.policy().player()
        self._reference = reference_observations(task, make_env(unship(task.objective)) if task.network.virtual_batch else None)
        self._runner = EpisodeRunner(self.environment, task.spec, self._player, evaluates=True)
        self._seed = seed

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes; where training cuts its episodes, much later these are cut too (`evaluation_limit`)."""
        self._player.normaliser[:] = snapshot.normaliser
        if self._reference is not None:
            self._player.reference(self._reference)
        self._player.set(snapshot.vector)
        seeds = np.random.SeedSequence((self._seed, EPISODE_SEEDS)).generate_state(episodes)
        played = [self._runner.run(int(seed), evaluation_limit(snapshot.limit)) for seed in seeds]
        return Evaluation(snapshot.steps, [one.episode_return for one in played], [one.length for one in played])
