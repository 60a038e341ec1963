"""Rates of work that several processes do at the same time."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from asyncrl.envs import seed_process
from asyncrl.errors import AsyncrlError, UserError
from asyncrl.processes.interrupts import held
from asyncrl.processes.starting import settle_in, start, stop_all
from asyncrl.topologies import run_context
from asyncrl.workers.leaving import live, to_stderr

PATIENCE_SECONDS = 120.0
"""How many seconds processes may take, beyond the time measured, to build their environment or to answer."""

Work = Callable[[Any, int, float, Callable[[], None]], float]
"""(what it is given, the process's number, seconds, what is to be called before the clock runs) -> its rate."""


def rate_of_processes(work: Work, given: Any, processes: int, seconds: float) -> float:
    """The sum of the rates of so many processes, whose clocks begin to run together. Raises UserError for what `work` raises."""
    chosen = run_context()
    started: list[tuple[Any, Connection]] = []
    try:
        for i in range(processes):
            with held():
                started.append(start(chosen, work_and_tell, f"asyncrl-limit-{i}", (work, given, i, seconds)))
        for _, connection in started:
            _receive(connection)  # it is ready
        for _, connection in started:
            connection.send(None)  # begin
        return float(sum(_receive(connection, seconds) for _, connection in started))
    finally:
        for _, connection in started:
            connection.close()
        stop_all([process for process, _ in started], 2.0)
        for process, _ in started:
            process.close()


def work_and_tell(work: Work, given: Any, rank: int, seconds: float, connection: Connection) -> None:
    """Body of a process: report that it is ready, wait for the start, work, and send the rate."""
    live(lambda: _work(work, given, rank, seconds, connection), to_stderr)


def _work(work: Work, given: Any, rank: int, seconds: float, connection: Connection) -> int:
    """Returns the exit code."""

    def ready() -> None:
        connection.send(0.0)
        connection.recv()

    try:
        settle_in(None)
        seed_process(0, rank)
        connection.send(work(given, rank, seconds, ready))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0  # the main process has ended
    except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the main process
        connection.send(f"environment raised {type(error).__name__}: {error}")
        return 1
    return 0


def _receive(connection: Connection, seconds: float = 0.0) -> float:
    """The number that a process sends. Raises AsyncrlError if it failed, died or does not answer in time."""
    try:
        if not connection.poll(seconds + PATIENCE_SECONDS):
            raise AsyncrlError(f"a process that measures the limit said nothing for {seconds + PATIENCE_SECONDS:g} seconds")
        answer = connection.recv()
    except EOFError:
        raise AsyncrlError("a process that measures the limit was killed") from None
    if isinstance(answer, str):
        raise UserError(answer)
    return float(answer)
