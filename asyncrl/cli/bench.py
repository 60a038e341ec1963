"""`asyncrl bench throughput ENV` and `asyncrl bench queues`."""

from __future__ import annotations

from dataclasses import dataclass

from asyncrl.cli.arguments import Env, check_at_least_one, check_writable, write_json
from asyncrl.cli.parsing import parse
from asyncrl.errors import UserError, unknown


@dataclass(frozen=True)
class Throughput:
    """Steps per second of the simulator alone (its limit), and of each algorithm and mode as a share of it."""

    env: Env
    """Environment: an id of gymnasium's."""
    workers: int | None = None
    """Worker processes; none for one per core."""
    seconds: float = 5.0
    """Seconds that each row is measured for."""
    only: str = ""
    """Rows, as algorithm:mode pairs with commas between, such as a3c:async,a2c:sync; empty for all."""
    t_max: tuple[int, ...] = (5, 20)
    """Steps of each environment in a round; every row is measured for each."""
    json: str | None = None
    """File for the result; nothing is written without it."""


def throughput(args: list[str]) -> int:
    """Steps per second of each algorithm and mode, as a share of the simulator's own."""
    given = parse(Throughput, args, "asyncrl bench throughput")
    check_at_least_one(workers=given.workers, t_max=min(given.t_max, default=0))
    check_writable(given.json)
    if not 0 < given.seconds < float("inf"):
        raise UserError(f"seconds = {given.seconds} cannot be used (allowed: finite numbers above 0)")
    only = _pairs(given.only)

    from rich.console import Console

    from asyncrl.bench.throughput import bench_throughput, print_throughput

    show = Console(stderr=True).print
    result = bench_throughput(given.env, workers=given.workers, seconds=given.seconds, only=only, t_max=given.t_max, progress=show)
    print_throughput(result)
    write_json(given.json, result)
    return 0


def _pairs(only: str) -> list[str] | None:
    """The checked ``algorithm:mode`` pairs of --only; None for all."""
    from asyncrl.algos import ALGORITHMS
    from asyncrl.scheduler.modes import parse_modes

    pairs = [pair.strip() for pair in only.split(",") if pair.strip()]
    for pair in pairs:
        algo, colon, mode = pair.partition(":")
        if not colon:
            raise UserError(f"only: {pair!r} is not an algorithm and a mode (allowed: such as a3c:async,a2c:sync,a3c:bounded:2)")
        if algo not in ALGORITHMS:
            raise unknown("algorithm", algo, ALGORITHMS)
        parse_modes(mode)
    return pairs or None


@dataclass(frozen=True)
class Queues:
    """Messages per second through our rings and through other queues."""

    messages: int = 200_000
    """Messages of each producer in the first case; the other cases are in proportion."""
    json: str | None = None
    """File for the result; nothing is written without it."""


def queues(args: list[str]) -> int:
    """Messages per second through our rings and through other queues."""
    given = parse(Queues, args, "asyncrl bench queues")
    check_at_least_one(messages=given.messages)
    check_writable(given.json)

    from rich.console import Console

    from asyncrl.bench.queues import bench_queues, table_of

    result = bench_queues(messages=given.messages, progress=Console(stderr=True).print)
    Console().print(table_of(result))
    write_json(given.json, result)
    return 0
