"""Segments of shared memory: layout, too little of it, and that nothing stays behind."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from asyncrl.shared.arrays import CACHE_LINE, SharedArrays, SharedMemoryError, offsets_of, padded_words, prefixed
from asyncrl.shared.parking import Parking

LAYOUT = {
    "small": ((3,), np.uint8),
    "grid": ((2, 5), np.float32),
    "scalar": ((), np.int64),
    "empty": ((0, 4), np.float64),
    "words": padded_words(2),
}

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.rings", "asyncrl.shared.grid"])


def test_arrays_are_as_declared_zeroed_and_apart():
    arrays = SharedArrays.allocate(LAYOUT)
    ends = []
    for name, (shape, dtype) in LAYOUT.items():
        array = arrays[name]
        assert array.shape == shape and array.dtype == dtype and not array.any() and array.flags.writeable
        assert array.ctypes.data % CACHE_LINE == 0 or array.size == 0
        assert all(array.ctypes.data >= end for end in ends)
        ends.append(array.ctypes.data + array.nbytes)
    assert list(arrays) == list(LAYOUT) and arrays.size == offsets_of(LAYOUT)[1] == 64 + 64 + 64 + 128
    assert arrays["words"].size == 2 * CACHE_LINE // 8


def test_memory_is_taken_at_once_or_where_it_is_written():
    layout = {"large": ((2**20,), np.uint8)}
    made = [SharedArrays.allocate(layout, reserve=reserve) for reserve in (True, False)]
    assert [os.fstat(one._descriptor).st_blocks * 512 for one in made] == [2**20, 0]
    arrays = SharedArrays.allocate(layout, reserve=False)
    arrays["large"][5000] = 1
    assert 0 < os.fstat(arrays._descriptor).st_blocks * 512 <= 2**16
    with pytest.raises(SharedMemoryError, match="are needed"):
        SharedArrays.allocate({"large": ((2**50,), np.uint8)}, reserve=False)


def test_parts_are_views_of_the_whole():
    arrays = SharedArrays.allocate({**prefixed("a", LAYOUT), **prefixed("ab", LAYOUT)})
    part = arrays.part("a")
    part["grid"][1, 2] = 3
    assert part.keys() == LAYOUT.keys() and arrays["a/grid"][1, 2] == 3 and not arrays["ab/grid"].any()


def test_views_outlive_the_object():
    view = SharedArrays.allocate(LAYOUT)["grid"]
    gc.collect()
    view[:] = 2
    assert view.sum() == 20


def test_too_large_is_an_error_with_both_numbers():
    with pytest.raises(SharedMemoryError, match=r"8,000,000,000,000,000 bytes are needed, [\d,]+ are free on this machine"):
        SharedArrays.allocate({"huge": ((10**15,), np.float64)})


@pytest.fixture
def tiny_file_system(tmp_path):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_small_file_system_is_an_error_and_no_bus_error(tiny_file_system):
    script = (
        "import sys, numpy as np; from unittest import mock; from asyncrl.shared import arrays\n"
        "fits = arrays.SharedArrays.allocate({'x': ((32_000,), np.uint8)}, sys.argv[1]); fits['x'][:] = 1\n"
        "for free in (arrays.free_bytes, lambda directory: 10**9):\n"  # also when somebody takes the space after the check
        "    with mock.patch.object(arrays, 'free_bytes', free):\n"
        "        try: arrays.SharedArrays.allocate({'x': ((100_000,), np.uint8)}, sys.argv[1])['x'][:] = 1\n"
        "        except arrays.SharedMemoryError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tiny_file_system], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    first, second = done.stdout.splitlines()
    assert "100,032 bytes are needed" in first and str(tiny_file_system) in first
    assert "No space left on device" in second
    assert os.listdir(tiny_file_system) == []


EXHAUST = """
import json, os, resource, warnings
import numpy as np
from asyncrl.shared.arrays import SharedArrays, SharedMemoryError
from asyncrl.shared.parking import Parking

warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken, found = [], []

def take_all():
    before = len(taken)
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return len(taken) - before

take_all()
for spare in (0, 1, 3):
    for _ in range(spare):
        os.close(taken.pop())
    for maker in (lambda: SharedArrays.allocate({"x": ((8,), "f8")}), lambda: Parking.allocate(np.zeros(8 * 16, np.int64))):
        try:
            maker()
            found.append("made")
        except SharedMemoryError as error:
            found.append(str(error))
    found.append(take_all())
print(json.dumps(found))
"""


def test_too_few_descriptors_is_an_error_that_leaks_none():
    done = subprocess.run([sys.executable, "-c", EXHAUST], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    found = ["told" if isinstance(text, str) and "ulimit -n" in text else text for text in json.loads(done.stdout)]
    # With 0, 1, 3 descriptors free: a segment takes two (its own, and one of the mapping), sixteen pipes take more.
    assert found == ["told", "told", 0, "told", "told", 1, "made", "told", 3]


def test_travels_only_to_a_process_that_is_being_started():
    arrays = SharedArrays.allocate(LAYOUT)
    pipes = Parking.allocate(np.zeros(8, np.int64)).carried()
    for traveller in (arrays, pipes):
        with pytest.raises(RuntimeError, match="only be shared between processes through inheritance"):
            pickle.dumps(traveller)


def write(arrays):
    arrays["grid"][1, 4] += 5


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_writes_what_its_parent_reads(method):
    arrays = SharedArrays.allocate(LAYOUT)
    for _ in range(2):  # two children, from one segment
        child = multiprocessing.get_context(method).Process(target=write, args=(arrays,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
    assert arrays["grid"][1, 4] == 10


def create_and_hang(ready):
    arrays = SharedArrays.allocate(LAYOUT)
    on_disk = SharedArrays.allocate(LAYOUT, "/dev/shm")
    arrays["grid"][:] = on_disk["grid"][:] = 1
    ready.set()
    signal.pause()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm")
def test_nothing_remains_of_a_killed_creator():
    before = set(os.listdir("/dev/shm"))
    ready = context.Event()
    creator = context.Process(target=create_and_hang, args=(ready,))
    creator.start()
    assert ready.wait(60)
    os.kill(creator.pid, signal.SIGKILL)
    creator.join()
    left = [name for name in set(os.listdir("/dev/shm")) - before if "asyncrl" in name]
    assert left == []
