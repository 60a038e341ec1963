"""`asyncrl bench throughput ENV`, `queues`, `heads` and `more-wild`."""

from __future__ import annotations

from dataclasses import dataclass

from asyncrl.cli.arguments import Env, check_at_least_one, check_writable, write_json
from asyncrl.cli.parsing import parse
from asyncrl.errors import UserError
from asyncrl.fields import Simulator


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
    """Rows, as algorithm:mode pairs with commas between, such as impala:async,td3:sync,q1:bounded:2: any algorithm of `asyncrl list`
    that fits the environment, in any of its modes. Empty for a3c in every mode, impala, es and tres in async and sync, and td3, sac,
    q1, sarsa and nq in async, if they fit the environment."""
    t_max: tuple[int, ...] = (5, 20)
    """Steps of each environment in a round; a3c and the rows of --only are measured for each, other rows with their own."""
    simulator: Simulator = "auto"
    """What steps the rows' environments: gymnasium, or a compiled simulator; auto takes one where there is one."""
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
    result = bench_throughput(given.env, given.workers, given.seconds, only, given.t_max, given.simulator, show)
    print_throughput(result)
    write_json(given.json, result)
    return 0


def _pairs(only: str) -> list[str] | None:
    """The checked ``algorithm:mode`` pairs of --only; None for all."""
    from asyncrl.algos import ALGORITHMS, unknown_algorithm
    from asyncrl.scheduler.modes import parse_modes

    pairs = [pair.strip() for pair in only.split(",") if pair.strip()]
    for pair in pairs:
        algo, colon, mode = pair.partition(":")
        if not colon:
            raise UserError(f"only: {pair!r} is not an algorithm and a mode (allowed: such as a3c:async,a2c:sync,a3c:bounded:2)")
        if algo not in ALGORITHMS:
            raise unknown_algorithm(algo)
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


@dataclass(frozen=True)
class Heads:
    """Microseconds of a step of each head of black-box search, of products with structured matrices, dense and by FFT, and of the ways to
    select an action among many, beside faiss where it is installed; and of whole implicit heads, with and without them."""

    seconds: float = 0.05
    """Seconds for each figure of heads and products (the best of several runs)."""
    actions: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Numbers of actions to select from; a million takes some minutes and 2 GB."""
    latent: tuple[int, ...] = (20, 6)
    """Numbers of a latent."""
    scanned: tuple[int, ...] = (2_048, 8_192, 65_536)
    """Actions that an approximate selection looks at, at least."""
    hnsw_up_to: int = 100_000
    """faiss's HNSW index, whose construction takes minutes for a million, is built for up to so many actions."""
    json: str | None = None
    """File for the result; nothing is written without it."""


def heads(args: list[str]) -> int:
    """Microseconds of heads, structured products and selections of an action."""
    given = parse(Heads, args, "asyncrl bench heads")
    lowest = {name: min(getattr(given, name), default=0) for name in ("actions", "latent", "scanned")}
    check_at_least_one(**lowest)
    check_writable(given.json)
    if not 0 < given.seconds < float("inf"):
        raise UserError(f"seconds = {given.seconds} cannot be used (allowed: finite numbers above 0)")

    from rich.console import Console

    from asyncrl.bench.implicit_heads import bench_implicit_heads, lines_of_ratios, ratios_of
    from asyncrl.bench.selections import bench_selections, table_of_selections
    from asyncrl.bench.structures import bench_heads, bench_structures, table_of

    show = Console(stderr=True).print
    acting = bench_heads(seconds=given.seconds)
    products = bench_structures(seconds=given.seconds, progress=show)
    selections = bench_selections(given.actions, given.latent, scanned=given.scanned, hnsw_up_to=given.hnsw_up_to, progress=show)
    implicit = bench_implicit_heads(given.actions, given.latent, scanned=min(given.scanned), progress=show)
    ratios = ratios_of(implicit)
    for table in (table_of(acting), table_of(products), table_of_selections(selections), table_of_selections(implicit)):
        Console().print(table)
    print(*lines_of_ratios(ratios), sep="\n")
    write_json(given.json, {"heads": acting, "structures": products, "rows": [*selections, *implicit], "ratios": ratios})
    return 0


@dataclass(frozen=True)
class MoreWild:
    """The black-box searches on the 53 problems of Moré and Wild: data profiles, average ranks, Nemenyi test."""

    optimizers: str = ""
    """Names with commas between, at least two, such as es,es-orthogonal,cma-es; empty for the usual six."""
    types: str = "smooth,nondiff,wild3,noisy3"
    """Types of objective, with commas between."""
    budget_factor: int = 100
    """A run takes so many times n + 1 evaluations."""
    seeds: int = 3
    """Runs of each search on each problem and type, with seeds 0, 1, ..."""
    json: str | None = None
    """File for the result; nothing is written without it."""
    plot: str | None = None
    """Image for the data profiles (.png, .svg, .pdf); needs matplotlib."""


def more_wild(args: list[str]) -> int:
    """The black-box searches on the 53 problems of Moré and Wild."""
    given = parse(MoreWild, args, "asyncrl bench more-wild")
    check_at_least_one(budget_factor=given.budget_factor, seeds=given.seeds)
    check_writable(given.json)
    check_writable(given.plot)

    from rich.console import Console

    from asyncrl.bench.more_wild.optimizers import DEFAULT
    from asyncrl.bench.more_wild.plot import check_plots, plot_profiles
    from asyncrl.bench.more_wild.study import bench_more_wild
    from asyncrl.bench.more_wild.tables import print_more_wild

    names = [name.strip() for name in given.optimizers.split(",") if name.strip()] or DEFAULT
    types = [kind.strip() for kind in given.types.split(",") if kind.strip()]
    if given.plot is not None:
        check_plots()
    show = Console(stderr=True).print
    result = bench_more_wild(names, types, given.budget_factor, range(given.seeds), progress=show)
    print_more_wild(result)
    write_json(given.json, result)
    if given.plot is not None:
        plot_profiles(result, given.plot)
    return 0
