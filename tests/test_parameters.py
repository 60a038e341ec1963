"""Shards cover the parameters once; snapshots are never torn, whoever copies them and whenever their writer dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.shared.arrays import WORDS_PER_LINE, SharedArrays
from asyncrl.shared.parameters import FLOATS_PER_LINE, SharedParameters, Snapshots

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.parameters"])


def private(layout):
    return {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}


# Shards.


@given(st.integers(1, 400), st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_shards_cover_all_lines_once_in_equal_shares(size, workers):
    parameters = SharedParameters(size, private(SharedParameters.layout(size, 1, workers, False)))
    padded = parameters.vectors.shape[1]
    assert size <= padded < size + FLOATS_PER_LINE
    touched = np.zeros(padded, int)
    lengths = []
    for worker in range(workers):
        part = parameters.shard(worker)
        assert part.start % FLOATS_PER_LINE == 0 and part.stop % FLOATS_PER_LINE == 0
        touched[part] += 1
        lengths.append(part.stop - part.start)
    assert (touched == 1).all()
    assert max(lengths) - min(lengths) <= FLOATS_PER_LINE


@pytest.mark.parametrize(("statistics", "own"), [(0, False), (1, True), (3, True), (2, False)])
def test_the_layout_has_what_every_mode_needs(statistics, own):
    parameters = SharedParameters(21, private(SharedParameters.layout(21, statistics, 3, own)))
    kept = max(statistics, 1)
    assert parameters.vectors.shape == (2, 32) and parameters.statistics.shape == (2, kept, 32)
    assert parameters.gradients.shape == (3, 2, 32) and parameters.workers == 3 and parameters.size == 21
    assert parameters.own_statistics.shape == (3 if own else 0, kept, 32)


def test_buffers_alternate():
    parameters = SharedParameters(5, private(SharedParameters.layout(5, 1, 1, False)))
    parameters.vectors[0], parameters.vectors[1], parameters.statistics[1] = 10, 11, 12
    for index in (0, 2, 8):
        assert parameters.buffer(index)[0][0] == 10 and parameters.buffer(index)[1][0, 0] == 0
    for index in (1, 3, 7):
        assert parameters.buffer(index)[0][0] == 11 and parameters.buffer(index)[1][0, 0] == 12
    parameters.buffer(3)[0][:] = 5  # views
    assert parameters.vectors[1, 0] == 5


# Snapshots, by one process.


def test_the_newest_or_that_very_one():
    snapshots, out = Snapshots(private(Snapshots.layout(3, 4))), np.full(3, np.nan, np.float32)
    assert snapshots.version == 0 and snapshots.copy(out) == 0 and (out == 0).all()
    for version in range(1, 11):
        assert snapshots.publish(np.full(3, version, np.float32)) == version == snapshots.version
        assert snapshots.copy(out) == version and (out == version).all()
        for wanted in range(version + 3):
            out[:] = -1
            there = version - 4 < wanted <= version
            assert snapshots.copy(out, wanted) == (wanted if there else None)
            if there:
                assert (out == wanted).all()


def test_a_writer_that_died_within_leaves_the_newest_and_nobody_waits():
    arrays = private(Snapshots.layout(3, 4))
    snapshots, out = Snapshots(arrays), np.zeros(3, np.float32)
    for version in range(1, 6):
        snapshots.publish(np.full(3, version, np.float32))
    arrays["versions"][WORDS_PER_LINE] = 6  # about to write 6, over 2
    arrays["buffers"][6 % 4, :2] = 6  # and half way through
    assert snapshots.copy(out) == 5 and (out == 5).all()
    assert snapshots.copy(out, 3) == 3 and (out == 3).all()
    assert snapshots.copy(out, 2) is None
    again = Snapshots(arrays)
    assert again.publish(np.full(3, 60, np.float32)) == 6
    assert snapshots.copy(out) == 6 and (out == 60).all()


# Snapshots, under a process that publishes as fast as it can.

SIZE = 20_000


def publish_forever(arrays):
    snapshots, vector = Snapshots(arrays), np.empty(SIZE, np.float32)
    while True:
        vector[:] = snapshots.version + 1
        snapshots.publish(vector)


@pytest.fixture
def writer():
    def start():
        process = context.Process(target=publish_forever, args=(arrays,), daemon=True)
        process.start()
        processes.append(process)
        limit, before = time.monotonic() + 30, snapshots.version
        while snapshots.version < before + 10:
            assert time.monotonic() < limit and process.is_alive()
            time.sleep(0.001)
        return process

    arrays, processes = SharedArrays.allocate(Snapshots.layout(SIZE, 4)), []
    snapshots = Snapshots(arrays)
    yield snapshots, start
    for process in processes:
        process.kill()
        process.join(10)
    arrays.close()


@pytest.mark.stress
def test_no_copy_is_torn_and_versions_only_rise(writer):
    snapshots, start = writer
    start()
    out, last, versions = np.empty(SIZE, np.float32), 0, set()
    began = time.monotonic()
    while time.monotonic() < began + 1.0 or len(versions) < 100:
        assert time.monotonic() < began + 30
        version = snapshots.copy(out)
        assert version >= last and (out == np.float32(version)).all()
        last = version
        versions.add(version)


@pytest.mark.stress
def test_no_copy_of_an_older_version_is_torn(writer):
    snapshots, start = writer
    start()
    out, found = np.empty(SIZE, np.float32), {True: 0, False: 0}
    began = time.monotonic()
    while time.monotonic() < began + 1.0 or found[True] < 100 or found[False] < 1:
        assert time.monotonic() < began + 30
        for back in (1, 2, 3):
            wanted = snapshots.version - back
            version = snapshots.copy(out, wanted)
            found[version is not None] += 1
            if version is not None:
                assert version == wanted and (out == np.float32(version)).all()


@pytest.mark.stress
def test_a_killed_writer_leaves_a_whole_vector_for_the_next(writer):
    snapshots, start = writer
    out = np.empty(SIZE, np.float32)
    for round_number in range(6):
        process = start()
        time.sleep(0.003 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        version = snapshots.copy(out)
        assert version == snapshots.version and (out == np.float32(version)).all()
        for back in range(1, 5):  # comes back in any case
            older = snapshots.copy(out, version - back)
            assert older is None or (out == np.float32(older)).all()
