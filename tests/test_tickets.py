"""Tickets: each is done by one worker at a time and used once, whoever is killed."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from asyncrl.processes.starting import start, stop_all
from asyncrl.shared import tickets
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.atomics import compare_and_swap, load_acquire
from asyncrl.shared.states import States
from asyncrl.shared.tickets import Tickets
from asyncrl.topologies import run_context

FIELDS = {"answer": ((), np.int64), "doers": ((), np.int64)}


def make(slots: int = 8, first: int = 0) -> Tickets:
    tickets = Tickets(SharedArrays.allocate(Tickets.layout(slots, FIELDS)))
    tickets.begin(first)
    return tickets


@pytest.mark.parametrize("first", [0, 5, 8, 21])
def test_tickets_are_claimed_in_order_up_to_the_limit(first):
    tickets = make(8, first)
    assert tickets.claim(0) == -1
    assert not tickets.any_free()
    tickets.set_limit(first + 3)
    assert tickets.any_free()
    assert [tickets.claim(worker) for worker in (0, 1, 0, 1)] == [first, first + 1, first + 2, -1]
    assert not tickets.any_free()


def test_a_ticket_is_used_once_and_its_slot_becomes_a_later_one():
    tickets = make(4)
    tickets.set_limit(4)
    for number in range(4):
        assert tickets.claim(0) == number
    tickets.hand_in(1)
    tickets.hand_in(3)
    assert list(tickets.done(4)) == [1, 3]
    assert list(tickets.done(1)) == [1]
    assert not tickets.all_done(0, 2)
    tickets.use_up(np.array([1, 3]))
    assert (tickets.first, list(tickets.done(4))) == (0, [])
    tickets.hand_in(0)
    assert tickets.all_done(0, 1)
    tickets.use_up(np.array([0]))
    assert tickets.first == 2  # 1 was used before
    tickets.set_limit(6)
    assert [tickets.claim(1), tickets.claim(1), tickets.claim(1)] == [4, 5, -1]
    tickets.hand_in(2)
    tickets.use_up(np.array([2]))
    assert tickets.first == 4
    with pytest.raises(ValueError, match="beyond"):
        tickets.set_limit(9)


def test_what_a_dead_worker_held_is_free_and_what_it_did_stays():
    tickets = make()
    tickets.set_limit(4)
    assert [tickets.claim(worker) for worker in (3, 3, 7)] == [0, 1, 2]
    tickets.hand_in(0)
    assert tickets.release(3) == 1
    assert list(tickets.done(8)) == [0]
    assert tickets.claim(5) == 1
    assert tickets.release(3) == 0
    assert tickets.newest_begun() == 2


def test_a_ticket_can_be_issued_again():
    tickets = make()
    tickets.set_limit(1)
    tickets.hand_in(tickets.claim(0))
    tickets.reissue(0)
    assert (tickets.newest_begun(), tickets.claim(2)) == (-1, 0)


def test_a_lowered_limit_ends_claims():
    tickets = make()
    tickets.set_limit(5)
    tickets.claim(0)
    tickets.set_limit(1)
    assert tickets.claim(0) == -1
    assert tickets.newest_begun() == 0


def test_of_two_that_see_the_same_free_ticket_one_has_it(monkeypatch):
    ours = make()
    ours.set_limit(3)

    def claimed_meanwhile(words: np.ndarray, word: int) -> int:
        value = load_acquire(words, word)
        if words is ours.states and word == 0:
            assert ours.claim(1) == 0
            monkeypatch.undo()
        return value

    monkeypatch.setattr(tickets, "load_acquire", claimed_meanwhile)
    assert tickets._claim.py_func(ours.states, ours.window, 0) == 1


def test_a_claim_that_meets_a_lowered_limit_is_given_back(monkeypatch):
    ours = make()
    ours.set_limit(3)

    def lowered_meanwhile(*arguments: object) -> int:
        ours.set_limit(0)
        return compare_and_swap(*arguments)

    monkeypatch.setattr(tickets, "compare_and_swap", lowered_meanwhile)
    assert tickets._claim.py_func(ours.states, ours.window, 0) == -1
    assert ours.newest_begun() == -1


def do_tickets(memory: SharedArrays, worker: int, connection: object) -> None:
    """Body: claim, count, hand in, for ever. A number is done once more only after its doer died."""
    tickets = Tickets(memory)
    while True:
        number = tickets.claim(worker)
        if number < 0:
            os.sched_yield()
            continue
        slot = tickets.slot(number)
        records = tickets.records
        records["doers"][slot] += 1  # two doers at once would lose one or show 2
        for _ in range(number % 7):
            time.sleep(0)
        records["answer"][slot] = number * number
        tickets.hand_in(number)


@pytest.mark.stress
def test_every_ticket_is_used_once_while_workers_are_killed():
    memory = SharedArrays.allocate(Tickets.layout(32, FIELDS))
    tickets = Tickets(memory)
    tickets.begin()
    chosen, generator = run_context(), np.random.default_rng(0)
    running = {worker: start(chosen, do_tickets, "doer", (memory, worker)) for worker in range(3)}
    used, killed, redone = 0, 0, 0
    try:
        tickets.set_limit(16)
        began = time.monotonic()
        while killed < 12 or (used < 30_000 and time.monotonic() < began + 15):
            assert time.monotonic() < began + 150, f"{used} used, {killed} killed"
            numbers = tickets.done(32).copy()
            slots = numbers % tickets.slots
            assert (tickets.records["answer"][slots] == numbers * numbers).all()
            redone += int((tickets.records["doers"][slots] - 1).sum())
            tickets.records["doers"][slots] = 0
            tickets.use_up(numbers)
            used += len(numbers)
            tickets.set_limit(tickets.first + 16)
            if killed < 12 and (used > 1500 * killed + 500 or time.monotonic() > began + killed + 1):
                worker = int(generator.integers(3))
                process, connection = running[worker]
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                connection.close()
                assert tickets.release(worker) <= 1
                running[worker] = start(chosen, do_tickets, "doer", (memory, worker))
                killed += 1
        assert tickets.first <= used
        assert redone <= killed, "a ticket is done again only where its worker died"
    finally:
        stop_all([process for process, _ in running.values()], 0.0)
        for _, connection in running.values():
            connection.close()


def test_states_keep_the_newest_version_and_the_one_before():
    example = {"a": np.zeros((2, 2)), "n": np.zeros(1, np.int64)}
    states = States(SharedArrays.allocate(States.layout(example)))
    for version in (4, 5):
        states.save(version, {"a": np.full((2, 2), version), "n": np.array([version])})
    for version in (4, 5):
        states.load(version, example)
        assert (example["a"] == version).all()
        assert example["n"].dtype == np.int64
        assert states.copies(version)["n"][0] == version
