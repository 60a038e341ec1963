"""Sleeping until woken: prompt, free of cost, and no wake-up lost."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import pytest

from asyncrl.shared import parking as parking_module
from asyncrl.shared.arrays import SharedArrays, padded_words, prefixed
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.parking import RECHECK_SECONDS, Parking

TURNS = 20_000

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.rings", "asyncrl.shared.grid"])


def shared():
    arrays = SharedArrays.allocate({"words": padded_words(2), "times": ((64,), np.float64), **prefixed("parking", Parking.layout(2))})
    return arrays, Parking.allocate(arrays["parking/sleeping"])


def attached(arrays, carried):
    return Parking(arrays["parking/sleeping"], carried.pipes)


def started(target, *arguments):
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def ended(process):
    process.join(60)
    code = process.exitcode
    process.kill()
    process.join()
    return code


def play(arrays, parking, rank, turns):
    """Each side stores its turn, wakes the other, and waits for the other's turn."""
    words, other = arrays["words"], 1 - rank
    for turn in range(1, turns + 1):
        if rank == 0:
            store_release(words, 0, turn)
            parking.wake_all()
        assert parking.wait(rank, lambda turn=turn: load_acquire(words, other * 8) >= turn, 30)
        if rank == 1:
            store_release(words, 8, turn)
            parking.wake_all()


def play_at_once_asleep(arrays, carried, rank, turns):
    parking_module.SPINS = parking_module.YIELDS = 0  # every wait is a sleep
    play(arrays, attached(arrays, carried), rank, turns)


@pytest.mark.stress
def test_ping_pong_loses_no_wake_up():
    arrays, parking = shared()
    players = [started(play_at_once_asleep, arrays, parking.carried(), rank, TURNS) for rank in range(2)]
    while not arrays["words"][8]:
        time.sleep(0.001)
    before = time.monotonic()
    assert [ended(player) for player in players] == [0, 0]
    a_turn = (time.monotonic() - before) / TURNS
    assert a_turn < RECHECK_SECONDS / 100, "a turn with a lost wake-up lasts until the re-check"


def sleep_and_note(arrays, carried, count):
    parking_module.RECHECK_SECONDS = 10.0  # a lost wake-up cannot be taken for a slow one
    parking, words, times = attached(arrays, carried), arrays["words"], arrays["times"]
    load_acquire(words, 0), parking.wait(1, lambda: False, 0.0)  # the kernels are loaded
    for turn in range(1, count + 1):
        store_release(words, 8, turn)
        spent = time.process_time()
        parking.wait(1, lambda turn=turn: load_acquire(words, 0) >= turn)
        times[turn], times[32 + turn] = time.monotonic(), time.process_time() - spent


def test_waiting_costs_no_processor_and_ends_at_once():
    arrays, parking = shared()
    sleeper = started(sleep_and_note, arrays, parking.carried(), 5)
    progress = []
    for turn in range(1, 6):
        while load_acquire(arrays["words"], 8) != turn:
            time.sleep(0.001)
        time.sleep(0.23)
        progress.append(time.monotonic())
        store_release(arrays["words"], 0, turn)
        parking.wake_all()
    assert ended(sleeper) == 0
    assert np.median(arrays["times"][1:6] - progress) < 0.1, "seconds from the progress to the wake-up"
    assert np.median(arrays["times"][33:38]) < 0.05, "processor seconds of a wait of 0.23 s"


def test_a_wait_ends_when_its_time_is_up():
    _, parking = shared()
    for seconds in (0.0, 0.05, 0.25):
        lasted = []
        while not lasted or (min(lasted) > seconds + 0.09 and len(lasted) < 20):  # once undisturbed is enough
            before = time.monotonic()
            assert not parking.wait(0, lambda: False, seconds)
            lasted.append(time.monotonic() - before)
            assert lasted[-1] > seconds - 0.01
        assert min(lasted) < seconds + 0.09
    assert parking.wait(0, lambda: True, 0.0)


def test_progress_without_a_wake_up_is_seen_at_the_re_check():
    _, parking = shared()
    late = []
    while not late or (min(late) > 2 * RECHECK_SECONDS and len(late) < 20):
        ready = time.monotonic() + 0.02
        assert parking.wait(0, lambda ready=ready: time.monotonic() > ready, 30.0)
        late.append(time.monotonic() - ready)
    assert min(late) < 2 * RECHECK_SECONDS


def test_wake_ups_go_to_sleepers_only_and_never_block():
    arrays, parking = shared()
    parking.wake_all()
    with pytest.raises(BlockingIOError):
        os.read(parking.fileno(0), 1)
    parking.announce(1)
    parking.wake_all()
    assert os.read(parking.fileno(1), 8) == b"\0"
    for _ in range(100_000):  # more than a pipe holds
        parking.wake(1)
    parking.arise(1)
    assert arrays["parking/sleeping"][8] == 0
    with pytest.raises(BlockingIOError):
        os.read(parking.fileno(1), 1)


def test_an_announced_waiter_whose_condition_came_true_does_not_sleep():
    """The check after the announcement: progress between the first check and the announcement must not be slept through."""
    _, parking = shared()
    announced = []

    def announce(place, original=parking.announce):
        original(place)
        announced.append(place)

    parking.announce = announce  # type: ignore[method-assign]
    parking._sleep = lambda place, seconds: pytest.fail("it slept")  # type: ignore[method-assign]
    assert parking.wait(0, lambda: bool(announced))
