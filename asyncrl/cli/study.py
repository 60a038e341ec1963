"""`asyncrl study FILE|NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from asyncrl.cli.arguments import EXIT_CODES, check_at_least_one
from asyncrl.cli.parsing import parse
from asyncrl.fields import Engine

PLAIN_WIDTH = 120
"""Letters in a line where standard output is a file."""
Given = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|NAME")]


@dataclass(frozen=True)
class Study:
    """Run one experiment along axes and over seeds, and write a report: a TOML file, a ready study, or the folder of one that was begun."""

    study: Given
    """A TOML file, the name of a ready study (asyncrl list), or a study's folder, to go on with it."""
    folder: str | None = None
    """Folder of the study; study/NAME without it. Runs that it has are kept."""
    seeds: int | None = None
    """Seeds, from 0 on, instead of the study's own."""
    cores: int | None = None
    """Cores that runs may keep busy at the same time; none for all that are usable."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Other settings of the experiment, such as env=HalfCheetah-v5 steps=1000000; of an axis, its one value."""
    report: bool = False
    """Run nothing; write the report of the runs that there are."""
    yes: bool = False
    """Run it also where it takes more than a day."""
    engine: Engine = "local"
    """Where runs are made: on this machine, or with ray on the nodes of a cluster, each run on one node."""
    address: str = ""
    """Of the cluster, for engine ray: auto, or HOST:PORT of its head; without it a Ray of its own on this machine."""
    quiet: bool = False
    """No progress in the terminal."""


def study(args: list[str]) -> int:
    """Vary one experiment along axes and over seeds, and write a report."""
    given = parse(Study, args, "asyncrl study")
    check_at_least_one(seeds=given.seeds, cores=given.cores)

    from asyncrl.sources import arguments_of
    from asyncrl.studies.making import study as make

    changes = arguments_of(given.set, "set")
    where = {"engine": given.engine, "address": given.address}
    result = make(given.study, given.folder, given.seeds, given.cores, changes, given.report, given.yes, given.quiet, **where)
    if result.report is not None:
        _print(result.report, given.quiet)
    for name, problem in result.failures.items():
        print(f"failed: {name}: {problem.strip().splitlines()[-1]}")
    return EXIT_CODES[result.status]


def _print(report: object, quiet: bool) -> None:
    """The main columns of the report's tables, and where the report is."""
    from rich.console import Console
    from rich.table import Table

    from asyncrl.studies.report import Report
    from asyncrl.studies.tables import HEADINGS, cells

    assert isinstance(report, Report)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    shown = ("variant", "final", "equal", "rate", "speed_up", "lag")
    for task in report.tasks if not quiet else ():
        table = Table(*(HEADINGS[column] for column in shown), title=task.name, title_justify="left")
        for row in task.rows:
            said = cells(row, task)
            table.add_row(*(said[column].replace(" (", "\n(") for column in shown))
        console.print(table)
    if report.html is None:
        console.print("no report.html: pip install 'asyncrl[study]'", markup=False)
    else:
        console.print(f"report: {report.html}", markup=False, soft_wrap=True)
