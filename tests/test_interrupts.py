"""Ctrl-C where Python drops it: what a handler raises in a finaliser is printed and forgotten."""

from __future__ import annotations

import os
import signal
import time

import gymnasium
import pytest

import asyncrl
from asyncrl.interrupts import TOGETHER_SECONDS, Interrupts

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MAIN = os.getpid()


class Dropped:
    """Sends Ctrl-C to the process that it was made for as it goes."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __del__(self) -> None:
        if os.getpid() == self._process:
            os.kill(self._process, signal.SIGINT)
            time.sleep(0)


def test_a_dropped_interrupt_is_remembered():
    with Interrupts() as interrupts:
        Dropped(MAIN)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with Interrupts() as inner, pytest.raises(KeyboardInterrupt):
            inner.check()
    with Interrupts() as interrupts:
        interrupts.check()


def test_the_first_is_only_remembered_where_it_can_wait_and_the_second_is_raised():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(lambda: True) as interrupts:
        os.kill(MAIN, signal.SIGINT)
        assert interrupts.seen
        os.kill(MAIN, signal.SIGTERM)  # no second one: `timeout` sends it twice
        time.sleep(TOGETHER_SECONDS)
        with pytest.raises(KeyboardInterrupt):
            os.kill(MAIN, signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_whose_start_up_was_interrupted_in_a_finaliser_does_not_begin(tmp_path):
    main = MAIN

    def make() -> gymnasium.Env:
        Dropped(main)
        return gymnasium.make("CartPole-v1")

    with pytest.raises(KeyboardInterrupt):
        asyncrl.train("a3c", make, workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
