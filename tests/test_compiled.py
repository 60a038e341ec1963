"""Kernels are made when they are first wanted, and from then on they are Numba's own dispatchers."""

from __future__ import annotations

import fcntl
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from asyncrl.shared import compiled
from asyncrl.shared.compiled import Kernel, intrinsic, njit, ready


@intrinsic
def _doubled(typing_context, number):
    from numba import types

    def generate(context, builder, signature, arguments):
        return builder.shl(arguments[0], context.get_constant(types.int64, 1))

    return types.int64(types.int64), generate


@njit()
def inner(x):
    """Twice x."""
    return _doubled(x)


@njit()
def outer(x):
    return inner(x) + 1


@njit()
def applied(kernel, x):
    return kernel(x)


def after(program: str) -> Any:
    """What a program says in a fresh process, as JSON."""
    return json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def test_a_kernel_calls_others_and_is_their_argument():
    given = inner
    assert outer(4) == 9 and applied(given, 3) == 6
    assert ready(given) is ready(given) and not isinstance(ready(given), Kernel) and given(2) == 4
    assert given.py_func.__doc__ == given.__doc__ == "Twice x." and given.__name__ == "inner"


def test_a_kernel_travels():
    """As a part of a user's function, before it is made and after."""
    for _ in range(2):
        assert pickle.loads(cloudpickle.dumps(lambda x: outer(x)))(4) == 9


def test_later_calls_do_not_come_by_the_name():
    """In every module of ours that has it by its name, there is Numba's dispatcher after the first call; before, Numba is not loaded."""
    program = """
import json, sys
import numpy as np
from asyncrl.heads.networks import kernels, layers
from asyncrl.shared.compiled import Kernel
def kinds():
    return [type(module.tanh).__name__ for module in (layers, kernels)]
before, loaded = kinds(), "numba" in sys.modules
row = np.ones((1, 2), np.float32)
layers.tanh(row)
print(json.dumps([before, loaded, kinds(), float(row[0, 0]), type(layers.relu).__name__]))
"""
    before, loaded, later, value, other = after(program)
    assert before == ["Kernel", "Kernel"] and not loaded
    assert later == ["CPUDispatcher", "CPUDispatcher"] and value == pytest.approx(np.tanh(1.0), abs=1e-6)
    assert other == "Kernel", "what is not called is not made"


def test_the_fork_server_has_made_them_all():
    program = """
import json, sys
from asyncrl.topologies import bodies
from asyncrl.shared.compiled import Kernel
ours = [vars(module) for name, module in sys.modules.items() if name.startswith("asyncrl.")]
print(json.dumps([sum(isinstance(one, Kernel) for names in ours for one in names.values()), len(ours)]))
"""
    left, modules = after(program)
    assert left == 0 and modules > 100


AT_ONCE = """
import json, sys
import numpy as np
from asyncrl.shared import tickets
from asyncrl.shared.compiled import make_all
make_all()
print(flush=True)
input()
tickets._use_up(np.zeros(3, np.int64), np.zeros(8, np.int64), np.zeros(1, np.int64))
print(json.dumps([sum(tickets._use_up.stats.cache_hits.values()), sum(tickets._use_up.stats.cache_misses.values())]))
"""


def test_of_processes_that_need_a_kernel_at_the_same_time_one_compiles_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    ends: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    all_of_them = [subprocess.Popen([sys.executable, "-c", AT_ONCE], **ends) for _ in range(4)]
    for one in all_of_them:
        assert one.stdout is not None and one.stdout.readline()
    for one in all_of_them:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    found = [json.loads(one.communicate(timeout=60)[0]) for one in all_of_them]
    assert sorted(found) == [[0, 1], [1, 0], [1, 0], [1, 0]]


def test_nobody_waits_for_ever_for_who_compiles(monkeypatch):
    """Who has the lock may have been stopped."""
    monkeypatch.setattr(compiled, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(compiled, "_given_up", set())
    with open(compiled.__file__, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        with compiled._alone(Path(compiled.__file__)):
            assert 0.3 <= time.monotonic() - began < 5.0
        monkeypatch.setattr(compiled, "WAIT_SECONDS", 60.0)
        with compiled._alone(Path(compiled.__file__)):
            assert time.monotonic() - began < 10.0, "once, not for every kernel"


TICKETS = """
import json, sys
import numpy as np
from asyncrl.shared import tickets
from asyncrl.shared.compiled import load_kept, make_all
make_all()
count = load_kept("shared")
words = np.zeros(3, np.int64)
tickets._hand_in(words, 0)
if {more}:
    tickets._use_up(words, np.zeros(8, np.int64), np.zeros(1, np.int64))
stats = tickets._hand_in.stats
print(json.dumps([count, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def test_what_is_kept_is_loaded_before_it_is_called(monkeypatch, tmp_path):
    """And another kernel can be compiled that calls what was loaded."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert after(TICKETS.format(more=False)) == [0, 0, 1], "nothing is kept yet, and nothing is compiled for it"
    count, hits, misses = after(TICKETS.format(more=True))
    assert (count > 1, hits, misses) == (True, 1, 0)
