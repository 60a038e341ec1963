"""Messages per second through this package's rings and through queues with locks, in the six cases of faster-fifo's README."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from rich.table import Table

from asyncrl.bench.queue_links import OPENERS, PAYLOAD, Case
from asyncrl.errors import UserError
from asyncrl.processes.starting import for_children, leave_signals_to_main
from asyncrl.shared.arrays import WORDS_PER_LINE, SharedArrays, padded_words

PATIENCE = 300.0
"""Seconds after which a case is aborted."""

CASES = (Case(1, 1, 1.0), Case(1, 10, 1.0), Case(10, 1, 0.5), Case(3, 20, 0.5), Case(20, 3, 0.25), Case(20, 20, 0.25))
"""The cases of faster-fifo's README: by default 200,000 messages per producer in the first two, 100,000 in the next two, 50,000 in
the last two."""

QUEUES = ("asyncrl", "asyncrl_put_many", "faster_fifo", "multiprocessing")
"""With asyncrl a producer puts one message at a time, with asyncrl_put_many 32 in one call; in both, as with faster_fifo, a consumer
takes up to 100 at once."""


def bench_queues(
    messages: int = 200_000, queues: Sequence[str] = QUEUES, cases: Sequence[Case] = CASES, progress: Callable[[str], Any] | None = None
) -> list[dict[str, Any]]:
    """Run every case with every queue that can be imported.

    Args:
        messages: messages per producer of the first case; the other cases scale with it.
        queues: of QUEUES.
        progress: called with a line of text before each run.

    Returns:
        Rows {"case", "producers", "consumers", "messages", "queue", "seconds", "messages_per_second"}; seconds from
        the moment when all processes are ready to the moment when the last consumer has the last message.
    """
    if messages < 4:
        raise UserError(f"messages must be at least 4, got {messages}")
    rows = []
    for case in cases:
        for queue in queues:
            if queue == "faster_fifo" and not _importable("faster_fifo"):
                continue
            if progress is not None:
                progress(f"{case.name}: {queue}")
            rows.append(_run(case, queue, max(int(messages * case.share), 1)))
    return rows


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """A table with a line per case: seconds of each queue, and how many times faster "asyncrl" is than "multiprocessing"."""
    queues = list(dict.fromkeys(row["queue"] for row in rows))
    table = Table(title=f"seconds for messages of {PAYLOAD} bytes")
    for heading in ("producers", "consumers", "messages", *queues, "times faster"):
        table.add_column(heading, justify="right")
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = {row["queue"]: row for row in rows if row["case"] == case}
        any_row = next(iter(of_case.values()))
        seconds = [f"{of_case[queue]['seconds']:.2f}" if queue in of_case else "-" for queue in queues]
        ratio = f"{speedup(rows, case):.1f}" if {"asyncrl", "multiprocessing"} <= of_case.keys() else "-"
        table.add_row(str(any_row["producers"]), str(any_row["consumers"]), f"{any_row['messages']:,}", *seconds, ratio)
    return table


def speedup(rows: Sequence[dict[str, Any]], case: str, over: str = "multiprocessing") -> float:
    """The messages per second of "asyncrl" divided by those of another queue, in one case."""
    rate = {row["queue"]: row["messages_per_second"] for row in rows if row["case"] == case}
    return float(rate["asyncrl"] / rate[over])


def _run(case: Case, queue: str, count: int) -> dict[str, Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    workers = case.producers + case.consumers
    results = SharedArrays.allocate({"times": ((workers, 2), np.float64), "received": padded_words(workers)})
    barrier = context.Barrier(workers)
    link, common = OPENERS[queue](context, case)
    processes = []
    for rank in range(workers):
        produces = rank < case.producers
        body = link.produce if produces else link.consume
        arguments = (body, common, case, rank if produces else rank - case.producers, rank, count, barrier, results)
        processes.append(context.Process(target=_body, args=arguments, daemon=True))
    try:
        with for_children():
            for process in processes:
                process.start()
        _await(processes[: case.producers])
        link.finish(common, case)
        _await(processes[case.producers :])
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    times = results["times"]
    seconds = float(times[:, 1].max() - times[:, 0].min())
    total, received = case.producers * count, int(results["received"].sum())
    if received != total:
        raise RuntimeError(f"{queue}, {case.name}: {total} messages were sent, {received} received")
    return {
        "case": case.name, "producers": case.producers, "consumers": case.consumers, "messages": total,
        "queue": queue, "seconds": seconds, "messages_per_second": total / seconds,
    }  # fmt: skip


def _body(
    work: Callable[..., int], common: Any, case: Case, index: int, rank: int, count: int, barrier: Any, results: SharedArrays
) -> None:
    leave_signals_to_main()
    run = work(common, case, index, count)
    barrier.wait(PATIENCE)
    results["times"][rank, 0] = time.monotonic()
    received = run()  # type: ignore[operator]
    results["times"][rank, 1] = time.monotonic()
    if rank >= case.producers:
        results["received"][rank * WORDS_PER_LINE] = received


def _await(processes: Sequence[Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    waiting = {process.sentinel: process for process in processes}
    while waiting:
        ready = wait(list(waiting), max(deadline - time.monotonic(), 0.0))
        if not ready:
            raise RuntimeError(f"the queues did not finish within {PATIENCE:g} seconds")
        for sentinel in ready:
            process = waiting.pop(sentinel)  # type: ignore[call-overload]
            process.join()
            if process.exitcode != 0:
                raise RuntimeError(f"a process of the benchmark ended with exit code {process.exitcode}")


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
