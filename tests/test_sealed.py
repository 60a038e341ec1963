"""Sealed arrays: made once in a family of processes, unchangeable, and gone with the last that holds them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import psutil
import pytest

from asyncrl.shared import sealed
from asyncrl.shared.arrays import SharedMemoryError
from asyncrl.shared.sealed import SealedArray, sealed_arrays

LAYOUT = {"a": ((3, 2), np.float32), "b": ((5,), np.int64)}
linux = pytest.mark.skipif(not sealed._SEALS, reason="sealed memory is Linux's")


def counting(calls: list[int]):
    def fill(arrays):
        calls.append(os.getpid())
        arrays["a"][:] = 1.5
        arrays["b"][:] = np.arange(5)

    return fill


def segments(process: int | str = "self") -> set[str]:
    """Names of our segments that a process has open."""
    found = set()
    for entry in os.scandir(f"/proc/{process}/fd"):
        try:
            found.add(os.readlink(entry.path))
        except OSError:
            continue
    return {name for name in found if name.startswith("/memfd:asyncrl-")}


def test_they_are_filled_once_and_cannot_be_changed():
    calls: list[int] = []
    first = sealed_arrays("x", LAYOUT, counting(calls))
    second = sealed_arrays("x", LAYOUT, counting(calls))
    assert len(calls) == (1 if sealed._SEALS else 2)
    assert second["b"].tolist() == [0, 1, 2, 3, 4]
    assert first["a"].tolist() == [[1.5, 1.5]] * 3
    assert first["b"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="read-only"):
        first["a"][0, 0] = 2.0
    with pytest.raises(ValueError):
        first["a"].flags.writeable = True


def test_another_name_or_layout_is_another_segment():
    calls: list[int] = []
    layouts = {"x": LAYOUT, "y": LAYOUT, "x ": {**LAYOUT, "c": ((1,), np.int8)}}
    kept = [sealed_arrays(name.strip(), layout, counting(calls)) for name, layout in layouts.items()]
    assert len(calls) == 3
    assert [list(one) for one in kept] == [list(layout) for layout in layouts.values()]


CHILD = """
import sys, time, numpy as np
from asyncrl.shared.sealed import SealedArray, sealed_arrays
def fill(arrays):
    print('filled', flush=True)
    {within}
layout = {{"a": ((3, 2), np.float32), "b": ((5,), np.int64)}}
held = sealed_arrays('x', layout, fill)
print(held['b'].tolist(), flush=True)
{after}
"""


def child(within: str = "pass", after: str = "", **more):
    return subprocess.Popen([sys.executable, "-c", CHILD.format(within=within, after=after)], stdout=subprocess.PIPE, text=True, **more)


@linux
def test_a_descendant_takes_its_ancestors():
    held = sealed_arrays("x", LAYOUT, counting([]))
    assert child().communicate(timeout=60)[0] == "[0, 1, 2, 3, 4]\n"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD.format(within='pass', after='')!r}])"
    done = subprocess.run([sys.executable, "-c", nested], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[0, 1, 2, 3, 4]\n"
    del held


@linux
def test_without_one_it_makes_its_own():
    assert child().communicate(timeout=60)[0] == "filled\n[0, 0, 0, 0, 0]\n"


@linux
def test_one_that_is_being_filled_is_not_taken():
    before = len(segments())

    def fill(arrays):
        counting([])(arrays)
        assert len(segments()) == before + 1, "it is there, and not sealed"
        assert child().communicate(timeout=60)[0] == "filled\n[0, 0, 0, 0, 0]\n"

    assert sealed_arrays("x", LAYOUT, fill)["b"].tolist() == [0, 1, 2, 3, 4]


@linux
def test_it_goes_with_the_last_array():
    before = segments()
    kept = sealed_arrays("x", LAYOUT, counting([]))["b"]
    assert len(segments()) == len(before) + 1
    assert kept[4] == 4
    del kept
    assert segments() == before


@linux
@pytest.mark.parametrize("within", ["time.sleep(60)", "pass"])
def test_nothing_is_left_of_a_killed_process(within, tmp_path):
    before = {one.name for one in tmp_path.iterdir()} | set(os.listdir("/dev/shm"))
    process = child(within, "time.sleep(60)", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    assert process.stdout.readline() == "filled\n"
    if within == "pass":
        process.stdout.readline()
    assert len(segments(process.pid)) == 1
    process.kill()
    process.wait()
    assert {one.name for one in tmp_path.iterdir()} | set(os.listdir("/dev/shm")) == before
    calls: list[int] = []
    sealed_arrays("x", LAYOUT, counting(calls))
    assert len(calls) == 1, "whoever needs it next makes it"


@linux
def test_its_memory_is_there_once():
    """Of 40 MB that a child reads, the proportional share falls when the parent reads them too."""
    layout = {"a": ((10_000_000,), np.float32)}
    held = sealed_arrays("big", layout, lambda arrays: arrays["a"].fill(1.0))
    code = (
        "import numpy as np, time\nfrom asyncrl.shared.sealed import SealedArray, sealed_arrays\n"
        "a = sealed_arrays('big', {'a': ((10_000_000,), np.float32)}, lambda arrays: 1 / 0)['a']\n"
        "print(a.sum(), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert float(process.stdout.readline()) == 1e7
        assert held["a"].sum() == 1e7
        shared = [one.pss for one in psutil.Process(process.pid).memory_maps() if "memfd:asyncrl-" in one.path]
        assert 19e6 < sum(shared) < 21e6, "half of it counts as the child's"
    finally:
        process.kill()
        process.wait()


def test_an_error_within_fill_is_told_and_leaves_nothing():
    def fails(arrays):
        raise KeyError("line 3")

    with pytest.raises(KeyError, match="line 3"):
        sealed_arrays("x", LAYOUT, fails)
    assert sealed_arrays("x", LAYOUT, counting([]))["a"][0, 0] == 1.5


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(sealed, "free_bytes", lambda directory: 100)
    if sealed._SEALS:
        with pytest.raises(SharedMemoryError, match="too little memory: 128 bytes are needed, 100 are free"):
            sealed_arrays("x", LAYOUT, counting([]))


def test_systems_without_sealed_memory(monkeypatch):
    monkeypatch.setattr(sealed, "_SEALS", 0)
    made = sealed_arrays("x", LAYOUT, counting([]))
    assert made["b"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="read-only"):
        made["a"][0, 0] = 2.0


def test_an_array_is_sent_without_its_numbers_and_found_where_it_lies():
    arrays = sealed_arrays("sent", LAYOUT, counting([]))
    for array in (arrays["b"], np.arange(12.0).reshape(3, 4)[:, ::2]):
        one = SealedArray(array)
        sent = pickle.dumps(one)
        assert len(sent) < 600
        np.testing.assert_array_equal(one.array, array)
        before = segments()
        taken = pickle.loads(sent)
        np.testing.assert_array_equal(taken.array, array)
        assert segments() == before
        assert not taken.array.flags.writeable
    assert np.shares_memory(SealedArray(arrays["b"]).array, arrays["b"])


@linux
def test_a_descendant_finds_a_sent_array_and_a_stranger_is_told(tmp_path):
    one = SealedArray(np.arange(6, dtype=np.float32).reshape(2, 3))
    (tmp_path / "sent").write_bytes(pickle.dumps(one))
    program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).array.tolist())"
    run = subprocess.run([sys.executable, "-c", program, tmp_path / "sent"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    del one
    run = subprocess.run([sys.executable, "-c", program, tmp_path / "sent"], capture_output=True, text=True)
    assert "the array's memory is not open" in run.stderr


def test_a_segment_is_mapped_once_in_a_process():
    """However often it is asked for, so that an array is known to lie in it whichever call has given it."""
    first, second = (sealed_arrays("once", LAYOUT, counting([])) for _ in range(2))
    sent = [SealedArray(arrays["a"])._place for arrays in (first, second)]
    if sealed._SEALS:
        assert np.shares_memory(first["a"], second["a"]) and sent[0] == sent[1] is not None
