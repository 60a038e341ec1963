"""Generations: workers' and learner's sides driven by hand, in orders that real processes reach rarely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from asyncrl.progress import COLUMNS
from asyncrl.scheduler.board import DRAIN, MARK, OPENED, REQUEST, SCHEDULER_COLUMNS, Board
from asyncrl.scheduler.modes import parse_mode
from asyncrl.scheduler.pace import Books
from asyncrl.shared.arrays import SharedArrays, prefixed
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking
from asyncrl.shared.states import States
from asyncrl.shared.tickets import STRIDE, Tickets
from asyncrl.topologies.search.estate import TicketsEstate
from asyncrl.topologies.search.generations import MOST_ATTEMPTS, SearchGround, window_for
from asyncrl.topologies.search.learner_pace import LearnerPace
from asyncrl.topologies.search.window import finish_using
from asyncrl.topologies.search.worker_pace import Claim, WorkerPace

P = 4
WORKERS = 3
FIELDS = dict.fromkeys(("attempt", "made", "version"), ((), np.int64)) | {"value": ((), np.float64)}
STATE = {"used": np.full(P, -1, np.int64)}


class Hands:
    """A search without processes: every move is made by whoever writes the test. Vector v is full of v's; an evaluation is a step."""

    def __init__(self, arrival: bool = False):
        columns = {**COLUMNS, **SCHEDULER_COLUMNS}
        layout = {
            **prefixed("ledger", Ledger.layout(columns, WORKERS + 1)),
            **prefixed("board", Board.layout(WORKERS + 1)),
            **prefixed("parking", Parking.layout(WORKERS + 2)),
            **SearchGround.layout(P, FIELDS, 2, STATE),
        }
        self.memory = SharedArrays.allocate(layout)
        self.parking = Parking.allocate(self.memory["parking/sleeping"])
        self.ground = SearchGround(
            Board(self.memory.part("board")),
            Ledger(columns, self.memory.part("ledger")),
            self.parking,
            Tickets(self.memory.part("tickets")),
            Snapshots(self.memory.part("snapshots")),
            States(self.memory.part("states")),
            self.memory["over"],
            P,
            arrival,
        )
        self.tickets, self.estate = self.ground.tickets, TicketsEstate(self.ground)
        self.ground.states.save(0, STATE)
        self.tickets.begin()
        self.used: list[int] = []
        self.local = np.zeros(2, np.float32)

    def open(self, mode: str, mark: int, drain: int = 0) -> LearnerPace:
        """What the launcher does at the gate; the learner's pace of the new epoch."""
        board = self.ground.board
        board.set_mode(parse_mode(mode))
        board.set_order(MARK, mark)
        board.set_order(DRAIN, drain)
        self.estate.open(parse_mode(mode), [True] * (WORKERS + 1))
        number = board.order(OPENED) + 1
        board.set_order(REQUEST, number)
        board.set_order(OPENED, number)
        self.learner = LearnerPace(self.ground, len(self.used))
        self.workers = [WorkerPace(self.ground, i, Books(self.ground.ledger, i)) for i in range(WORKERS)]
        return self.learner

    def successor(self) -> LearnerPace:
        """The learner was killed: what its successor does before it goes on."""
        state = {"used": STATE["used"].copy()}
        self.ground.states.load(self.ground.version, state)
        finish_using(self.tickets, state["used"])
        self.learner = LearnerPace(self.ground, len(self.used))
        return self.learner

    def claim(self, worker: int = 0) -> Claim:
        """A ticket, without waiting for one."""
        assert self.workers[worker]._take()
        number = self.workers[worker]._number
        assert number >= 0
        self.workers[worker]._take = lambda: True  # type: ignore[method-assign]
        try:
            claim = self.workers[worker].claim(self.local)
        finally:
            del self.workers[worker]._take  # type: ignore[attr-defined]
        assert claim is not None
        assert self.local[0] == claim.version
        return claim

    def hand_in(self, claim: Claim, worker: int = 0, value: float = 1.0) -> None:
        records = self.tickets.records
        records["value"][claim.slot], records["version"][claim.slot] = value, claim.version
        records["made"][claim.slot] = records["attempt"][claim.slot]
        self.workers[worker].hand_in(claim)

    def do(self, count: int = 1, worker: int = 0) -> list[int]:
        """Claim and hand in so many."""
        numbers = []
        for _ in range(count):
            claim = self.claim(worker)
            self.hand_in(claim, worker)
            numbers.append(claim.number)
        return numbers

    def make(self, numbers: np.ndarray) -> None:
        """The learner's state of the next version."""
        used = self.ground.states.one(self.ground.version, "used").copy()
        used[:] = numbers
        self.ground.states.save(self.ground.version + 1, {"used": used})
        self.used += numbers.tolist()

    def publish(self, numbers: np.ndarray) -> None:
        self.make(numbers)
        self.learner.publish(numbers, np.full(2, self.ground.version + 1, np.float32), len(self.used))

    def looks(self) -> np.ndarray | None:
        """What `batch` would return now; fails where it would wait."""
        self.learner._set_limit()
        assert self.learner._look(), "the learner waits"
        return self.learner._numbers

    def finish(self) -> None:
        """Worker 1 and the learner go on until the learner ends the epoch. It sets limits when `batch` does, and no oftener."""
        self.learner._set_limit()
        for _ in range(300 * P):
            if self.learner._look():
                if self.learner._numbers is None:
                    return
                self.publish(self.learner._numbers)
                self.learner._set_limit()
                continue
            assert self.tickets.any_free(), f"nobody can go on: limit {self.tickets.limit}, {self.tickets.states}"
            self.do(worker=1)
        raise AssertionError("the epoch does not end")

    def check_used_up(self) -> None:
        """What was begun was used, once, and nothing is left."""
        assert sorted(self.used) == list(range(self.ground.version * P))
        assert self.tickets.first == len(self.used)
        assert not self.tickets.all_done(self.tickets.first, self.tickets.first + 1)

    def close(self) -> None:
        self.parking.close()
        self.memory.close()


@pytest.fixture
def hands() -> Iterator[Callable[..., Hands]]:
    made: list[Hands] = []

    def build(**settings: bool) -> Hands:
        made.append(Hands(**settings))
        return made[-1]

    yield build
    for one in made:
        one.close()


# --- who acts on what ---


@pytest.mark.parametrize(
    ("mode", "ahead", "lag"), [("sync", 1, 0), ("pipelined", 2, 1), ("bounded:2", 3, 2), ("async", window_for(P) + 1, window_for(P))]
)
def test_how_far_workers_run_ahead(hands, mode, ahead, lag):
    one = hands()
    one.open(mode, 1000)
    for turn in range(3):
        one.learner._set_limit()
        numbers = one.do(ahead * P if turn == 0 else P)
        assert not one.tickets.any_free()
        batch = one.looks()
        assert list(batch) == list(range(turn * P, (turn + 1) * P))
        lags = turn - one.tickets.records["version"][batch % one.tickets.slots]
        assert (lags == min(turn, lag)).all(), numbers
        one.publish(batch)


def test_an_update_takes_the_order_of_dispatch_or_of_arrival(hands):
    for arrival, expected in ((False, None), (True, [1, 2, 3, 4])):
        one = hands(arrival=arrival)
        one.open("async", 1000)
        one.learner._set_limit()
        slow = one.claim(2)
        one.do(5)
        assert one.learner._look() == arrival
        numbers = one.learner._numbers
        assert expected is None if numbers is None else list(numbers) == expected
        one.hand_in(slow, 2)
        assert list(one.looks()) == [0, 1, 2, 3]


def test_a_very_slow_evaluation_does_not_block_arrival_for_ever(hands):
    one = hands(arrival=True)
    one.open("async", 200 * P)
    one.learner._set_limit()
    one.do(1)
    slow = one.claim(2)
    while True:
        one.learner._set_limit()
        if one.learner._look():
            one.publish(one.learner._numbers)
        elif one.tickets.any_free():
            one.do(1)
        else:
            break
    one.hand_in(slow, 2)
    one.finish()
    assert one.ground.version == 200 > 2 * window_for(P)
    assert len(set(one.used)) == 200 * P


# --- kills ---


@pytest.mark.parametrize("killed_after", ["state", "publish", "some", "freed"])
def test_a_learner_killed_between_state_and_use_up_uses_every_ticket_once(hands, killed_after):
    one = hands()
    one.open("sync", 1000)
    one.learner._set_limit()
    one.do(P)
    numbers = one.looks()
    one.make(numbers)
    if killed_after == "state":
        one.used.clear()  # the version was not announced: it does not count
    else:
        one.ground.snapshots.publish(np.ones(2, np.float32))
        if killed_after != "publish":  # in the middle of freeing, or before the window was moved on
            some = numbers[:2] if killed_after == "some" else numbers
            one.tickets.records["attempt"][some] = 0
            one.tickets.states[some] = (some + one.tickets.slots) * 4096
    one.successor()
    again = killed_after == "state"
    assert one.ground.version == (0 if again else 1)
    assert one.tickets.first == (0 if again else P)
    if again:
        assert list(one.looks()) == list(numbers)
    else:
        one.learner._set_limit()
        assert one.do(P) == list(range(P, 2 * P))
    one.open("sync", 5 * P)
    one.finish()
    one.check_used_up()


def test_a_learner_killed_while_it_issues_again_counts_the_attempt_once(hands):
    one = hands()
    one.open("sync", 1000)
    one.learner._set_limit()
    one.do(P - 1)
    one.hand_in(one.claim(), value=np.nan)
    one.tickets.reissue = lambda number: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.looks()
    del one.tickets.reissue  # type: ignore[attr-defined]
    one.successor()
    assert not one.learner._look()
    assert list(one.tickets.records["attempt"][:P]) == [0, 0, 0, 1]


def test_what_has_no_finite_return_is_issued_so_often_and_no_more(hands):
    one = hands()
    one.open("sync", 1000)
    one.learner._set_limit()
    one.do(P - 1)
    attempts = []
    for _ in range(MOST_ATTEMPTS + 1):
        assert not one.learner._look()
        claim = one.claim()
        assert claim.number == P - 1
        attempts.append(int(one.tickets.records["attempt"][claim.slot]))
        one.hand_in(claim, value=np.nan)
    assert attempts == [*range(MOST_ATTEMPTS + 1)]
    one.publish(one.looks())
    assert one.learner.reissued == MOST_ATTEMPTS
    assert not one.tickets.records["attempt"].any(), "the next ticket of this slot begins anew"


def test_what_a_dead_worker_held_is_done_by_another(hands):
    one = hands()
    one.open("sync", 1000)
    one.learner._set_limit()
    held = one.claim(2)
    one.do(P - 1)
    assert not one.learner._look()
    one.estate.bury(2, True)
    assert one.do(1, worker=1) == [held.number]
    assert len(one.looks()) == P


# --- before another mode ---


@pytest.mark.parametrize("arrival", [False, True])
@pytest.mark.parametrize("ahead", [0, 1, 3, 6])
def test_what_was_begun_is_used_up_before_another_mode(hands, arrival, ahead):
    one = hands(arrival=arrival)
    one.open("async", P, drain=P)
    one.learner._set_limit()
    slow = one.claim(2)  # arrival: others are used before it
    one.do(P + ahead)
    one.learner._look()
    if one.learner._numbers is not None:
        one.publish(one.learner._numbers)
    one.hand_in(slow, 2)
    one.finish()
    one.check_used_up()
    one.open("sync", 100 * P)
    for _ in range(2):
        one.learner._set_limit()
        one.do(P)
        one.publish(one.looks())
    one.check_used_up()


@pytest.mark.parametrize("killed", [False, True])
def test_a_claim_made_while_the_limit_is_lowered_is_used_up_too(hands, killed):
    """The learner has looked what was begun, and lowers the limit; just before, a worker's claim beyond it has come to stand."""
    one = hands()
    one.open("async", P, drain=P)
    one.learner._set_limit()
    one.do(P)
    one.publish(one.looks())
    real, late = one.tickets.set_limit, []

    def claim_first(limit: int) -> None:
        if not late:
            late.append(one.claim(2))
        real(limit)
        if killed:
            raise KeyboardInterrupt  # right after lowering it

    one.tickets.set_limit = claim_first  # type: ignore[method-assign]
    if killed:
        with pytest.raises(KeyboardInterrupt):
            one.learner._set_limit()
        one.tickets.set_limit = real  # type: ignore[method-assign]
        one.successor()
    one.learner._set_limit()
    assert late[0].number == P
    one.hand_in(late[0], 2)
    one.do(P - 1, worker=1)  # without the learner setting anything again
    one.finish()
    one.check_used_up()
    assert one.ground.version == 2


def test_the_successor_of_a_learner_that_had_ended_the_epoch_waits_for_nobody(hands, monkeypatch):
    """A worker has claimed beyond the lowered limit, and is about to see that and to give the ticket back."""
    one = hands()
    one.open("async", P, drain=P)
    one.learner._set_limit()
    one.do(P)
    one.publish(one.looks())
    assert one.learner.batch() is None
    one.tickets.states[one.tickets.slot(P)] = P * STRIDE + 3
    learner = one.successor()  # it was killed on its way to the gate
    monkeypatch.setattr(Parking, "wait", lambda *arguments: arguments[2]() or pytest.fail("waits for what nobody does any more"))
    assert learner.batch() is None
    assert one.tickets.limit == P


@pytest.mark.parametrize("mode", ["async", "pipelined", "sync"])
def test_a_ticket_that_is_issued_again_is_used_up_before_another_mode(hands, mode):
    one = hands()
    one.open(mode, P, drain=P)
    one.learner._set_limit()
    one.do(P - 1)
    one.hand_in(one.claim(), value=np.nan)
    if mode == "async":
        one.do(1)
    assert not one.learner._look()
    one.finish()
    one.check_used_up()
    assert one.ground.version == (1 if mode == "sync" else 2)


def test_a_change_of_mode_that_a_generation_jumps_over_is_not_missed(hands):
    one = hands()
    one.open("async", P - 1, drain=P)  # a checkpoint, and one step later another mode
    one.learner._set_limit()
    one.do(P + 1)
    one.finish()
    one.check_used_up()
    assert one.ground.version == 2
    not_yet = hands()
    not_yet.open("async", P - 1, drain=P + 1)
    not_yet.learner._set_limit()
    not_yet.do(P + 1)
    not_yet.publish(not_yet.looks())
    assert not_yet.looks() is None, "the epoch is over with what was begun"
    assert not_yet.tickets.all_done(P, P + 1)


@pytest.mark.parametrize("mode", ["sync", "pipelined", "bounded:2"])
@pytest.mark.parametrize("arrival", [False, True])
def test_a_mode_that_begins_in_another_ones_window_does_over_what_it_cannot_use(hands, arrival, mode):
    """An interruption came before everything was used up; the resumed run is past the change of mode."""
    one = hands(arrival=arrival)
    one.open("async", 1000, drain=1000)
    one.learner._set_limit()
    slow = one.claim(2)
    one.do(2 * P)
    one.learner._look()
    if one.learner._numbers is not None:
        one.publish(one.learner._numbers)
    assert one.ground.version == int(arrival)
    one.ground.board.set_order(REQUEST, 2)
    one.hand_in(slow, 2)
    assert one.looks() is None
    before = one.ground.version
    one.open(mode, 6 * P)
    one.learner._set_limit()
    while one.tickets.any_free():
        one.do()
    one.successor()  # knows what is done over from what was used
    one.finish()
    assert one.ground.version == 6
    slots = one.tickets.slots
    assert len(one.used) == 6 * P
    for version in range(before, 6):
        numbers = np.array(one.used[version * P : (version + 1) * P])
        assert (numbers // P == version).all()
        if mode == "sync" and version >= before:
            assert (one.tickets.records["version"][numbers % slots] == version).all()


# --- waking up ---


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_learner_and_workers_wake_each_other(hands, mode, monkeypatch):
    """Nobody looks again of his own accord here: a wake-up that is lost is seen."""
    monkeypatch.setattr("asyncrl.shared.parking.RECHECK_SECONDS", 10.0)
    one = hands()
    generations = 40
    learner = one.open(mode, generations * P)

    def work(worker: int) -> None:
        local = np.zeros(2, np.float32)
        while (claim := one.workers[worker].claim(local)) is not None:
            time.sleep(0.0002 * (claim.number % 3))
            one.hand_in(claim, worker)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    set_limit = learner._set_limit

    def dawdle() -> None:
        set_limit()
        if learner._is_done():
            time.sleep(0.05)  # everybody is asleep again when the epoch ends

    learner._set_limit = dawdle  # type: ignore[method-assign]
    began = time.monotonic()
    while (numbers := learner.batch()) is not None:
        one.publish(numbers)
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert time.monotonic() - began < 8
    assert one.ground.version == generations
    assert one.used == list(range(generations * P))
