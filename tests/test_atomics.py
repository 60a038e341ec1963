"""Atomic operations between processes."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from asyncrl.shared.arrays import SharedArrays, padded_words
from asyncrl.shared.atomics import compare_and_swap, fence, fetch_add, load_acquire, store_release

PROCESSES = 4
ADDITIONS = 50_000

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.rings", "asyncrl.shared.grid"])


def run_all(target, arrays, count=PROCESSES):
    gate = context.Barrier(count)
    processes = [context.Process(target=target, args=(arrays, gate, rank), daemon=True) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        code = process.exitcode
        process.kill()
        assert code == 0


def add(arrays, gate, rank):
    words = arrays["words"]
    fetch_add(words, 8, 0)
    gate.wait(60)
    for _ in range(ADDITIONS):
        fetch_add(words, 0, 1)
        words[16] += 1  # the control: a load and a store with a gap between them


@pytest.mark.stress
def test_fetch_add_loses_nothing_where_plain_addition_may():
    arrays = SharedArrays.allocate({"words": padded_words(3)})
    run_all(add, arrays)
    assert arrays["words"][0] == PROCESSES * ADDITIONS
    lost = PROCESSES * ADDITIONS - arrays["words"][16]
    assert 0 <= lost < PROCESSES * ADDITIONS
    print(f"plain additions lost {lost} of {PROCESSES * ADDITIONS}")


def lock_and_add(arrays, gate, rank):
    """A lock made of compare-and-swap around a plain addition."""
    words = arrays["words"]
    compare_and_swap(words, 8, -1, -1)
    gate.wait(60)
    for _ in range(2000):
        while compare_and_swap(words, 0, 0, rank + 1) != 0:
            pass
        words[8] += 1
        store_release(words, 0, 0)


@pytest.mark.stress
def test_compare_and_swap_admits_one_at_a_time():
    arrays = SharedArrays.allocate({"words": padded_words(2)})
    run_all(lock_and_add, arrays, 2)
    assert arrays["words"][8] == 4000 and arrays["words"][0] == 0


def send_payload(arrays, gate, rank):
    words, payload = arrays["words"], arrays["payload"]
    load_acquire(words, 0), store_release(words, 16, 0)
    gate.wait(60)
    for number in range(1, 5000):
        if rank == 0:
            payload[:] = number
            store_release(words, 0, number)
            while load_acquire(words, 8) != number:
                pass
        else:
            while load_acquire(words, 0) != number:
                pass
            assert (payload == number).all()
            store_release(words, 8, number)


@pytest.mark.stress
def test_a_payload_is_seen_once_its_publication_is():
    run_all(send_payload, SharedArrays.allocate({"words": padded_words(3), "payload": ((100,), np.int64)}), 2)


def test_values_and_neighbours():
    words = np.array([5, -7, 2**62], dtype=np.int64)
    assert [load_acquire(words, i) for i in range(3)] == [5, -7, 2**62]
    assert fetch_add(words, 1, -3) == -7 and words.tolist() == [5, -10, 2**62]
    assert compare_and_swap(words, 0, 4, 9) == 5 and words[0] == 5
    assert compare_and_swap(words, 0, 5, 9) == 5 and words[0] == 9
    store_release(words, 2, -1)
    fence()
    assert words.tolist() == [9, -10, -1]


@pytest.mark.parametrize("array", [np.zeros(3, np.int32), np.zeros((2, 2), np.int64), np.zeros(6, np.int64)[::2]])
def test_other_arrays_are_refused(array):
    with pytest.raises(Exception, match="atomics need a one-dimensional contiguous int64 array"):
        load_acquire(array, 0)
