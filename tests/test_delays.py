"""`--delay`: workers that are slower than others, in every algorithm; what is drawn for them changes no bit of what is learned."""

from __future__ import annotations

from typing import Any

import pytest
from running import Run, interrupt, train, wait_for
from tiny import RUNS, everything, tiny

from asyncrl.algos import ALGORITHMS

DELAYED = "exponential:0.004@0+constant:0.001@1"


@pytest.mark.parametrize("algo", RUNS)
def test_a_delay_changes_no_bit_in_sync_and_pipelined(tmp_path, algo):
    for mode in ("sync", "pipelined"):
        if mode not in ALGORITHMS[algo].modes:
            continue
        plain, delayed = (tiny(tmp_path, algo, mode=mode, workers=2, delay=delay) for delay in ("", DELAYED))
        assert everything(plain.folder) == everything(delayed.folder)


@pytest.mark.parametrize("algo", ["a3c", "impala", "es"])
def test_the_delayed_worker_does_less_in_async_and_its_sleep_is_the_environments(tmp_path, algo):
    def share(run: Run) -> float:
        time_share: dict[str, float] = run.summary["time_share"]
        return time_share["environment"]

    more: dict[str, Any] = {"steps": 4000, "mode": "async", "workers": 2}
    plain, delayed = (tiny(tmp_path, algo, delay=delay, **more) for delay in ("", "constant:0.01@1"))
    rounds, seconds = delayed.column("rounds"), delayed.column("environment_seconds")
    assert rounds[1] < 0.7 * rounds[0], rounds
    assert seconds[1] > 0.01 * rounds[1]
    assert seconds[1] / rounds[1] > 2.0 * seconds[0] / rounds[0]
    assert share(delayed) > share(plain)


def test_an_end_that_is_asked_for_does_not_wait_for_a_delay(tmp_path):
    def stop_it(run: Run) -> None:
        wait_for(lambda: run.launcher is not None and run.launcher.epoch_runs)
        interrupt(run)

    run = train(tmp_path, "CartPole-v1", stop_it, mode="sync", workers=2, steps=10**6, delay="constant:600@1")
    assert run.summary["status"] == "interrupted"
    assert run.summary["restarts"] == 0
