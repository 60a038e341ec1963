"""Records are published whole: a reader sees all columns of one publication, whatever the writers do meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.ledger import DEPTH, Ledger

COLUMNS = {"steps": 1, "mean": 3, "episodes": 1}
WIDE = {"first": 1, "body": 400, "last": 1}

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.ledger"])


def ledger_of(columns=COLUMNS, workers=3):
    return Ledger(columns, {name: np.zeros(shape, dtype) for name, (shape, dtype) in Ledger.layout(columns, workers).items()})


def test_columns_have_their_places():
    ledger = ledger_of()
    assert ledger.width == 5 and ledger.workers == 3
    assert [ledger.position(name) for name in COLUMNS] == [0, 1, 4]
    record = np.arange(5.0)
    np.testing.assert_array_equal(ledger.column(record, "mean"), [1, 2, 3])
    ledger.column(record, "mean")[:] = 7  # a view
    np.testing.assert_array_equal(record, [0, 7, 7, 7, 4])
    np.testing.assert_array_equal(ledger.column(np.stack([record, record + 1]), "episodes"), [[4], [5]])


def test_a_draft_shows_only_when_it_is_published():
    ledger = ledger_of()
    draft = ledger.draft_of(1)
    draft[:] = 5.0
    assert (ledger.read_all() == 0).all() and ledger.clock(1) == 0
    ledger.publish(1, draft)
    draft[:] = 6.0
    np.testing.assert_array_equal(ledger.read_all(), [[0] * 5, [5] * 5, [0] * 5])
    assert [ledger.clock(worker) for worker in range(3)] == [0, 1, 0]
    ledger.read(1)[:] = 9  # copies
    assert (ledger.read(1) == 5).all()
    np.testing.assert_array_equal(ledger.draft_of(1), ledger.read(1))


def test_a_copy_lies_between_two_totals():
    for more in ({}, {"totals": np.zeros(5)}):
        layout = Ledger.layout(COLUMNS, 3)
        ledger = Ledger(COLUMNS, {**{name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}, **more})
        for worker in range(3):
            ledger.publish(worker, np.full(5, 10.0**worker))
        source, out = np.arange(8, dtype=np.float32), np.zeros(6, np.float32)
        assert ledger.copy_between("episodes", source, out) == (111.0, 111.0)
        np.testing.assert_array_equal(out, source[:6])


def test_past_publications_stay_readable():
    ledger = ledger_of()
    for clock in range(1, 20):
        ledger.publish(2, np.full(5, float(clock)))
        for back in range(min(clock, DEPTH - 2) + 1):
            assert (ledger.entry(2, clock - back) == clock - back).all()


def test_total_sums_the_newest_of_all():
    ledger = ledger_of()
    for worker in range(3):
        for clock in range(worker + 1):
            draft = ledger.draft_of(worker)
            draft[ledger.position("episodes")] += 10.0**worker
            draft[ledger.position("steps")] = -1.0
            ledger.publish(worker, draft)
            assert clock + 1 == ledger.clock(worker)
    assert ledger.total("episodes") == 1 + 2 * 10 + 3 * 100
    assert ledger.total("steps") == -3


def publish_forever(arrays, worker):
    ledger = Ledger(WIDE, arrays)
    draft = ledger.draft_of(worker)
    while True:
        draft += 1.0
        ledger.publish(worker, draft)


@pytest.fixture
def busy():
    """A ledger of two workers, and a function that starts the process of one."""
    arrays, processes = SharedArrays.allocate(Ledger.layout(WIDE, 2)), []
    ledger = Ledger(WIDE, arrays)

    def start(worker):
        before = ledger.clock(worker)
        process = context.Process(target=publish_forever, args=(arrays, worker), daemon=True)
        process.start()
        processes.append(process)
        limit = time.monotonic() + 30
        while ledger.clock(worker) < before + 10:
            assert time.monotonic() < limit and process.is_alive()
            time.sleep(0.001)
        return process

    yield ledger, start
    for process in processes:
        process.kill()
        process.join(10)
    arrays.close()


@pytest.mark.stress
def test_no_record_is_torn_and_clocks_only_rise(busy):
    ledger, start = busy
    start(0)
    last, seen = 0.0, set()
    began = time.monotonic()
    while time.monotonic() < began + 1.0 or len(seen) < 100:
        assert time.monotonic() < began + 30
        record = ledger.read(0)
        assert (record == record[0]).all() and record[0] >= last
        last = record[0]
        seen.add(last)
        before = ledger.clock(0)
        total = ledger.total("last")
        assert before <= total <= ledger.clock(0)


@pytest.mark.stress
def test_a_successor_goes_on_from_what_a_killed_worker_published(busy):
    ledger, start = busy
    for round_number in range(5):
        process = start(1)
        time.sleep(0.003 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        record = ledger.read(1)
        assert (record == record[0]).all() and record[0] == ledger.clock(1)
    assert ledger.clock(0) == 0 and (ledger.read(0) == 0).all()
