"""The rounds modes against a plain loop, with workers killed at every point of their turn and the launcher standing in.

The real paces, board, ledger and parameters, in one process: each worker is a thread that runs only when the test lets it,
from one stopping point to the next. The stopping points lie where another process could see or leave a half-done step.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asyncrl.progress import COLUMNS, NORMS, figure_columns
from asyncrl.scheduler.board import MARK, OPENED, REQUEST, ROUNDS, SCHEDULER_COLUMNS, UPDATES, Board
from asyncrl.scheduler.modes import Mode, Pipelined, Sync
from asyncrl.scheduler.pace import Books, Ground, UpdateRule
from asyncrl.shared.arrays import SharedArrays, prefixed
from asyncrl.shared.atomics import store_release
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.optimizers import Rmsprop, clip_scale, norm, weighted_mean
from asyncrl.shared.parameters import SharedParameters
from asyncrl.topologies.actor_learner.rounds import RoundsPace

SIZE = 70  # five cache lines: shards of unequal size, and one that is not full
STEPS = 5  # of a worker's round
LONGEST = 1.0
EVERY = 13  # steps between refreshments of the target network: some rounds carry the total past one multiple, some past none


class Killed(BaseException):
    """SIGKILL: nothing of ours may catch it."""


class Puppet:
    """A worker's thread, which moves only while the test waits for it."""

    def __init__(self, body: Any):
        self._may_run, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.at = "the start"
        self.condition: Any = None  # what it waits for
        self.done = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(body,), daemon=True)
        self._thread.start()

    def _run(self, body: Any) -> None:
        self._may_run.acquire()
        try:
            if not self._killed:
                body(self)
        except Killed:
            self.at = "dead"
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            self.error = error
        self.done = True
        self._stands.release()

    def stop(self, at: str, condition: Any = None) -> None:
        """A stopping point; called by the worker."""
        self.at, self.condition = at, condition
        self._stands.release()
        self._may_run.acquire()
        self.condition = None
        if self._killed:
            raise Killed

    def can_run(self) -> bool:
        return not self.done and (self.condition is None or self.condition())

    def step(self) -> None:
        """Run it to its next stopping point."""
        self._may_run.release()
        self._stands.acquire()
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        self._killed = True
        if not self.done:
            self.step()
        self._thread.join()


class Stage:
    """Who runs now; None is the launcher, which is never stopped."""

    def __init__(self) -> None:
        self.puppet: Puppet | None = None

    def stop(self, at: str, condition: Any = None) -> None:
        if self.puppet is not None and threading.current_thread() is not threading.main_thread():
            self.puppet.stop(at, condition)


class StagedParking:
    """Waiting as a stopping point: in one process nobody may really sleep."""

    now = staticmethod(time.perf_counter)

    def __init__(self, stage: Stage):
        self._stage = stage

    def wait(self, place: int, condition: Any) -> None:
        while not condition():
            self._stage.stop("waiting", condition)
        self._stage.stop("woken")

    def wake_all(self) -> None:
        self._stage.stop("progress is stored, nobody woken yet")


class StagedLedger(Ledger):
    """Writes nonsense where the next entry goes before it publishes, and remembers what was published."""

    stage: Stage
    published: dict[tuple[int, int], tuple[Any, Any]]
    pending: dict[int, Any]

    def publish(self, worker: int, draft: Any) -> None:
        self.entries[worker, (self.clock(worker) + 1) % 4, ::2] = np.nan
        self.stage.stop("publishing")
        super().publish(worker, draft)
        self.published[worker, self.clock(worker)] = (draft.copy(), self.pending.pop(worker, None))


class StagedRmsprop(Rmsprop):
    """Stops with half a shard written, of the target network too."""

    def staged(self, stage: Stage, parameters: SharedParameters) -> StagedRmsprop:
        object.__setattr__(self, "stage", stage)
        object.__setattr__(self, "parameters", parameters)
        return self

    def step(self, place: Any, gradient: Any, part: slice, scale: float, rate: float, count: int) -> None:
        vector, statistics = place[0][part], place[1][:, part]
        kept = vector.copy(), statistics.copy()
        vector[::2], statistics[:, 1::2] = np.nan, -1.0
        vectors, targets = self.parameters.vectors, self.parameters.targets  # type: ignore[attr-defined]
        targets[int(np.shares_memory(vectors[1], place[0])), part][::3] = np.nan
        self.stage.stop("half a shard is written")  # type: ignore[attr-defined]
        vector[:], statistics[:] = kept
        super().step(place, gradient, part, scale, rate, count)


@dataclass
class Seen:
    """What a worker acted on."""

    worker: int
    epoch: int
    round: int
    version: int
    vector: Any
    target: Any
    total_steps: float


@dataclass
class Game:
    """W workers and a launcher, driven move by move."""

    workers: int
    how: dict[str, Any] = field(default_factory=dict)  # of the rule
    stage: Stage = field(default_factory=Stage)
    seen: list[Seen] = field(default_factory=list)
    epoch: int = 0
    kills: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {**COLUMNS, **SCHEDULER_COLUMNS, **figure_columns(NORMS)}
        layout = {
            **prefixed("ledger", Ledger.layout(columns, self.workers)),
            **prefixed("board", Board.layout(self.workers)),
            **prefixed("parameters", SharedParameters.layout(SIZE, 1, self.workers, False, target=True)),
        }
        self.memory = SharedArrays.allocate(layout)
        self.ledger = StagedLedger(columns, self.memory.part("ledger"))
        self.ledger.stage, self.ledger.published, self.ledger.pending = self.stage, {}, {}
        parameters = SharedParameters(SIZE, self.memory.part("parameters"))
        parameters.vectors[:] = np.random.default_rng(1).standard_normal(parameters.vectors.shape[1]).astype(np.float32)
        parameters.targets[:] = parameters.vectors
        parameters.gradients[:, :, :SIZE] = np.nan  # what was never handed over must not count
        self.first_vector = parameters.vectors[0].copy()
        staged = StagedRmsprop().staged(self.stage, parameters)
        rule = UpdateRule(staged, lambda steps: 0.1 / (1.0 + steps), LONGEST, EVERY, **self.how)
        self.ground = Ground(Board(self.memory.part("board")), self.ledger, parameters, StagedParking(self.stage), rule)  # type: ignore[arg-type]
        self.puppets: list[Puppet | None] = [None] * self.workers
        self.stand_ins: list[RoundsPace | None] = [None] * self.workers
        self.epochs: list[tuple[Mode, int, list[int]]] = []

    # The launcher's side, as asyncrl.launcher has it.

    def open(self, mode: Mode, rounds: int) -> None:
        board = self.ground.board
        board.set_mode(mode)
        board.set_order(MARK, int(self.ledger.total("steps")) + rounds * STEPS * self.workers)
        board.set_order(ROUNDS, board.applied_by_all())
        board.set_order(UPDATES, board.applied_by_all())
        for worker in range(self.workers):
            store_release(board.base, worker, self.ledger.clock(worker))
        board.set_order(REQUEST, board.order(OPENED) + 1)
        board.set_order(OPENED, board.order(OPENED) + 1)
        self.epochs.append((mode, board.applied_by_all(), [self.ledger.clock(worker) for worker in range(self.workers)]))
        self.epoch = len(self.epochs) - 1
        for worker in range(self.workers):
            self.grant(worker)

    def grant(self, worker: int) -> None:
        self.stand_ins[worker] = None
        self.puppets[worker] = Puppet(lambda puppet: self.work(worker))

    def kill(self, worker: int) -> None:
        puppet = self.puppets[worker]
        assert puppet is not None
        self.kills[puppet.at] = self.kills.get(puppet.at, 0) + 1
        puppet.kill()
        self.ledger.pending.pop(worker, None)
        self.puppets[worker] = None
        self.stand_ins[worker] = RoundsPace(self.ground, worker, Books(self.ledger, worker))

    def stand_in(self, worker: int) -> bool:
        pace = self.stand_ins[worker]
        self.stage.puppet = None
        return pace is not None and any(self.puppets) and pace.stand_in()

    def advance(self, worker: int) -> bool:
        puppet = self.puppets[worker]
        if puppet is None or not puppet.can_run():
            return False
        self.stage.puppet = puppet
        puppet.step()
        return True

    def request(self) -> None:
        board = self.ground.board
        board.set_order(REQUEST, board.order(OPENED) + 1)

    def over(self) -> bool:
        owing = any(pace is not None and not pace.at_gate() for pace in self.stand_ins)
        return any(self.puppets) and not owing and all(puppet is None or puppet.done for puppet in self.puppets)

    # A worker's side, as asyncrl.topologies.actor_learner.worker has it.

    def work(self, worker: int) -> None:
        books = Books(self.ledger, worker)
        pace = RoundsPace(self.ground, worker, books)
        local, target = np.zeros((2, SIZE), np.float32)
        while (version := pace.start_round(local)) is not None:
            k = pace.handed
            pace.copy_target(target)
            self.seen.append(Seen(worker, self.epoch, k, version, local.copy(), target.copy(), pace.total_steps()))
            self.stage.stop("acting")
            gradient = gradient_of(worker, self.epoch, k, local)
            books.round_done(STEPS, np.zeros(0), (0.0, 0.0, 0.0), 0, 0.0)
            self.ledger.pending[worker] = gradient
            pace.finish_round(gradient)

    def play(self, choices: Any, kill_share: int, most: int = 4000) -> None:
        """Random moves until the epoch is over; whoever can't move is passed over. `choices(n)` draws below n."""
        for _ in range(most):
            if self.over():
                return
            worker, what = choices(self.workers), choices(100)
            if what < kill_share and self.puppets[worker] is not None:
                self.kill(worker)
            elif what < 2 * kill_share and self.puppets[worker] is None:
                self.grant(worker)
            elif self.advance(worker) or self.stand_in(worker):
                continue
            elif not any(self.advance(other) or self.stand_in(other) for other in range(self.workers)):
                if any(self.puppets):
                    places = [(puppet.at if puppet else "dead") for puppet in self.puppets]
                    raise AssertionError(f"deadlock: {places}, over: {self.over()}")
                self.grant(worker)
        raise AssertionError("the epoch did not end")

    def close(self) -> None:
        for puppet in self.puppets:
            if puppet is not None:
                puppet.kill()

    # The same, plainly.

    def check(self) -> None:
        """Replay what was handed over in a plain loop, and compare every vector that somebody acted on, bit by bit."""
        board, parameters = self.ground.board, self.ground.parameters
        rule = replace(self.ground.rule, optimizer=Rmsprop())
        vector, statistics = self.first_vector.copy(), np.zeros_like(parameters.statistics[0])
        target = vector.copy()
        vectors, targets, version = {0: vector.copy()}, {0: target}, 0
        ends = [*((first, bases) for _, first, bases in self.epochs[1:]), (board.applied_by_all(), None)]
        for epoch, ((mode, first, bases), (end, _)) in enumerate(zip(self.epochs, ends)):
            assert version == first
            totals = [self.handed_steps(bases, 0)]
            for k in range(end - first):
                records = [self.published(worker, bases[worker] + k + 1) for worker in range(self.workers)]
                gradients = np.zeros((self.workers, 2, vector.size), np.float32)
                weights = np.array([self.ledger.column(record, "weight")[0] for record, _ in records], np.float32)
                for worker, (_, gradient) in enumerate(records):
                    assert (gradient is None) == (weights[worker] == 0.0)
                    if gradient is not None:
                        gradients[worker, 0, :SIZE] = gradient
                rounds = min(k, mode.delay or 0)  # by which what acted was older
                for gradient, lag in self.updates_of(gradients, weights, rounds):
                    factor = 1.0 if rule.by_lag is None else rule.by_lag(lag)
                    rate, scale = rule.rate(totals[k]) * factor, clip_scale(norm(gradient), LONGEST)
                    rule.optimizer.step((vector, statistics), gradient, slice(0, vector.size), scale, rate, 0)
                version += 1
                vectors[version] = vector.copy()
                totals.append(self.handed_steps(bases, k + 1))
                if int(totals[k + 1]) // EVERY > int(totals[k]) // EVERY:
                    target = vectors[version]
                targets[version] = target
            for one in (one for one in self.seen if one.epoch == epoch):
                acted_on = max(one.round - (mode.delay or 0), 0)
                assert one.version == first + acted_on
                assert np.array_equal(one.vector, vectors[one.version][:SIZE]), (one.worker, one.round, "acted on another vector")
                assert np.array_equal(one.target, targets[one.version][:SIZE]), (one.worker, one.round, "learned with another target")
                assert one.total_steps == totals[acted_on]
        assert list(board.applied[::8]) == [version] * self.workers
        assert np.array_equal(parameters.buffer(version)[0], vector)
        assert np.array_equal(parameters.buffer(version)[1], statistics)
        assert np.array_equal(parameters.targets[version & 1], target)

    def updates_of(self, gradients: Any, weights: Any, rounds: int) -> list[tuple[Any, float]]:
        """(gradient, lag in updates) of each update that a round makes."""
        if self.how.get("each"):
            return [(gradients[worker, 0], rounds * self.workers + worker) for worker in np.flatnonzero(weights)]
        mean = np.zeros(gradients.shape[2], np.float32)
        return [(mean, rounds)] if weighted_mean(gradients, 0, weights, mean) > 0 else []

    def published(self, worker: int, clock: int) -> tuple[Any, Any]:
        return self.ledger.published[worker, clock]

    def handed_steps(self, bases: list[int], count: int) -> float:
        total = 0.0
        for worker, base in enumerate(bases):
            if base + count:
                total += self.ledger.column(self.published(worker, base + count)[0], "steps")[0]
        return float(total)


def gradient_of(worker: int, epoch: int, k: int, vector: Any) -> Any:
    noise = np.random.default_rng([worker, epoch, k]).standard_normal(SIZE).astype(np.float32)
    return 0.3 * vector + noise * np.float32(10.0 ** (k % 3 - 1))


def play(
    workers: int, modes: list[Mode], rounds: int, kill_share: int, seed: int, request_after: int | None = None, **how: Any
) -> Game:
    generator = np.random.default_rng(seed)
    drawn = iter(generator.integers(0, 1 << 30, 200_000))
    game = Game(workers, how)
    count = 0

    def choices(below: int) -> int:
        nonlocal count
        count += 1
        if count == request_after:
            game.request()
        return int(next(drawn)) % below

    try:
        for mode in modes:
            game.open(mode, rounds)
            game.play(choices, kill_share)
        game.check()
    finally:
        game.close()
    return game


def inverse(lag: float) -> float:
    return 1.0 / (1.0 + lag)


MODES = st.lists(st.sampled_from([Sync(), Pipelined()]), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True)
@given(
    workers=st.integers(1, 4),
    modes=MODES,
    rounds=st.integers(1, 5),
    kill_share=st.sampled_from([0, 2, 5, 15]),
    seed=st.integers(0, 1 << 30),
    request_after=st.none() | st.integers(1, 300),
    how=st.sampled_from([{}, {}, {"each": True}, {"by_lag": inverse}, {"each": True, "by_lag": inverse}]),
)
def test_any_interleaving_with_any_kills_equals_a_plain_loop(workers, modes, rounds, kill_share, seed, request_after, how):
    play(workers, modes, rounds, kill_share, seed, request_after, **how)


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        (Sync(), {}),
        (Pipelined(), {}),
        pytest.param(Sync(), {"each": True, "by_lag": inverse}, marks=pytest.mark.slow),
        pytest.param(Pipelined(), {"each": True, "by_lag": inverse}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_kill_at_every_single_point_of_a_turn(mode, how):
    """One worker of three is killed after its n-th move, for every n of two rounds and more; its successor comes early or never."""
    points: dict[str, int] = {}
    for moves, successor, slow in itertools.product(range(40), (None, 0, 3), (None, 0, 2)):
        game = Game(3, how)
        try:
            game.open(mode, 4)
            kill_and_go_on(game, moves, successor, slow)
            game.check()
        finally:
            game.close()
        for at, count in game.kills.items():
            points[at] = points.get(at, 0) + count
    wanted = {"the start", "acting", "publishing", "half a shard is written", "progress is stored, nobody woken yet", "waiting", "woken"}
    assert wanted <= set(points), points


def kill_and_go_on(game: Game, moves: int, successor: int | None, slow: int | None) -> None:
    """Everybody moves in turn, the slow worker every third time only."""
    done = 0
    for turn in itertools.count():
        if game.over():
            return
        moved = False
        for worker in range(game.workers):
            if worker == slow and turn % 3:
                moved = True
                continue
            if worker == 1 and game.puppets[1] is not None and done == moves:
                game.kill(1)
                done += 1
            if game.advance(worker):
                moved = True
                done += worker == 1
            elif game.stand_in(worker):
                moved = True
                if successor is not None:
                    successor -= 1
            if worker == 1 and successor is not None and successor < 0 and game.puppets[1] is None:
                game.grant(1)
                moved, successor = True, None
        assert moved or game.over(), [(puppet.at if puppet else "dead") for puppet in game.puppets]


def test_an_unusable_gradient_counts_for_nothing():
    game = Game(2)
    original = globals()["gradient_of"]
    try:
        globals()["gradient_of"] = lambda worker, *more: original(worker, *more) * (np.inf if worker and more[1] else 1.0)
        game.open(Sync(), 3)
        while not game.over():
            for worker in range(2):
                game.advance(worker)
        assert np.isfinite(game.ground.parameters.vectors).all()
        assert game.ledger.total("skipped") == 2
        assert game.ledger.total("steps") == 2 * 3 * STEPS
    finally:
        globals()["gradient_of"] = original
        game.close()


@pytest.mark.slow
def test_thousands_of_interleavings():
    generator = np.random.default_rng(0)
    for seed in range(3000):
        modes: list[Mode] = [Sync() if generator.integers(2) else Pipelined() for _ in range(generator.integers(1, 4))]
        play(int(generator.integers(1, 5)), modes, int(generator.integers(1, 6)), int(generator.choice([0, 2, 5, 15, 30])), seed)
