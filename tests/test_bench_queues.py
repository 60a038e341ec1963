"""The queue benchmark: every link delivers every message, and the rows say what was run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from asyncrl.bench.queue_links import Case
from asyncrl.bench.queues import CASES, bench_queues, speedup, table_of
from asyncrl.errors import UserError


@pytest.mark.stress
def test_every_queue_delivers_every_message():
    cases = (Case(1, 1, 1.0), Case(2, 3, 0.5))
    rows = bench_queues(300, cases=cases)
    assert {row["queue"] for row in rows} >= {"asyncrl", "multiprocessing"}
    assert {(row["case"], row["messages"]) for row in rows} == {("1 to 1", 300), ("2 to 3", 300)}
    for row in rows:
        assert row["seconds"] > 0 and row["messages_per_second"] == row["messages"] / row["seconds"]
    text = io.StringIO()
    Console(file=text, width=120).print(table_of(rows))
    assert "asyncrl" in text.getvalue() and f"{speedup(rows, '1 to 1'):.1f}" in text.getvalue()


def test_cases_are_those_of_faster_fifo():
    counts = [(case.producers, case.consumers, int(200_000 * case.share)) for case in CASES]
    assert counts == [(1, 1, 200_000), (1, 10, 200_000), (10, 1, 100_000), (3, 20, 100_000), (20, 3, 50_000), (20, 20, 50_000)]


def test_too_few_messages_are_refused():
    with pytest.raises(UserError, match="at least 4, got 3"):
        bench_queues(3)
