"""A study's progress in the terminal: a bar with what is left, or a line now and then where standard error is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from asyncrl.studies.forecast import duration

if TYPE_CHECKING:
    from asyncrl.studies.running import Outcomes

PLAIN_SECONDS = 10.0
"""Between lines."""


class Progress:
    """Shows how many runs are done, which are under way, and about how long the others take."""

    def __init__(self, title: str, runs: int, done: int, quiet: bool):
        """`done`: runs that were done before; `quiet`: only warnings."""
        self._console = Console(stderr=True, highlight=False)
        self._title, self._runs, self._quiet = title, runs, quiet
        self._next_line = 0.0
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, TextColumn("{task.fields[more]}", markup=False), console=self._console, transient=True)
        self._task = self._bar.add_task(title, total=runs, completed=done, more="")

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            self._bar.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._bar.stop()

    def note(self, message: str) -> None:
        """Print a warning."""
        self._console.print(Text.assemble(("warning: ", "bold yellow"), message), soft_wrap=True)

    def show(self, outcomes: Outcomes, names: Sequence[str], left: float | None) -> None:
        """Show where the study stands. `names`: of the runs under way; `left`: seconds that the others take, if that is known."""
        if self._quiet:
            return
        rest = "" if left is None else f", about {duration(left)} left"
        failed = f", {len(outcomes.failures)} failed" if outcomes.failures else ""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=outcomes.done + len(outcomes.failures), more=f"{len(names)} under way{failed}{rest}")
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            line = f"{self._title}: {outcomes.done} of {self._runs} runs{failed}{rest}; now {' '.join(names)}"
            self._console.print(Text(line), soft_wrap=True)
