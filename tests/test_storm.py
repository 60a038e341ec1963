"""Every process of a run but the main one is killed at random instants, and the run completes with exact books.

The long one, with its table:  pytest tests/test_storm.py -m slow -s
"""

from __future__ import annotations

import pytest
from storm import HEAD, MODES, TOPOLOGIES, storm

SMALL = [("a3c", "sync"), pytest.param("impala", "pipelined", marks=pytest.mark.slow), ("td3", "async"), ("es", "bounded:1")]


@pytest.mark.stress
@pytest.mark.parametrize(("algo", "mode"), SMALL)
def test_a_run_survives_a_small_storm(tmp_path, algo, mode):
    print(storm(tmp_path, algo, mode, 6, workers=2))


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algo", TOPOLOGIES)
def test_250_kills(tmp_path, algo, mode):
    line = storm(tmp_path, algo, mode, 250)
    print(f"\n{HEAD}\n{line}" if (algo, mode) == (next(iter(TOPOLOGIES)), MODES[0]) else f"\n{line}", end="")
