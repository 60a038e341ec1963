"""A run's output in the terminal: a live table, or a plain line every few seconds if standard error is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.console import Console as Terminal
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from asyncrl.monitor.tables import Target, live_table, plain_line, summary_panel

PLAIN_SECONDS = 5.0
"""Seconds between lines where standard error is not a terminal."""


class Console:
    """Shows progress on standard error, so that standard output is free for results.

    No method raises when the terminal is gone (a closed window, `| head`): the run continues without output.
    """

    def __init__(
        self,
        title: str,
        target_steps: int,
        explorations: Sequence[str],
        target_seconds: float | None = None,
        quiet: bool = False,
        file: IO[str] | None = None,
    ):
        """`title`: of the table; `explorations[i]`: name of worker i's setting; `quiet`: print only warnings."""
        self._target = Target(title, target_steps, target_seconds, list(explorations))
        self._terminal = Terminal(file=file, stderr=file is None, highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._next_line = 0.0
        self._gone = False

    def update(self, report: Mapping[str, float], restarts: Sequence[int] = ()) -> None:
        """Show a report of `Aggregate.report`; `restarts[i]`: how often worker i was replaced."""
        if self._quiet:
            return
        if self._terminal.is_terminal:
            self._show_live(report, restarts)
        elif report["seconds"] >= self._next_line:
            self._next_line = report["seconds"] + PLAIN_SECONDS
            self._print(Text(plain_line(self._target, report)))

    def say(self, message: str) -> None:
        """Print a line above the table, unless quiet."""
        if not self._quiet:
            self._print(Text(message))

    def note(self, message: str) -> None:
        """Print a warning above the table, also when quiet."""
        self._print(Text.assemble(("warning: ", "bold yellow"), message))

    def close(self) -> None:
        """Stop the live table; its last state stays on the screen, and the cursor is shown again."""
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        except (OSError, ValueError):
            self._gone = True

    def print_summary(self, summary: Mapping[str, Any], folder: str = "") -> None:
        """Print the main lines of summary.json, after `close`."""
        if not self._quiet:
            self._print(summary_panel(summary, folder, self._terminal.width))

    def _show_live(self, report: Mapping[str, float], restarts: Sequence[int]) -> None:
        if self._gone:
            return
        terminal = self._terminal
        table = live_table(
            self._target,
            report,
            restarts,
            terminal.width,
            terminal.height,
            colors=terminal.color_system is not None and not terminal.no_color,
            ascii_only=terminal.options.ascii_only,
        )
        try:
            if self._live is None:
                # Without rich's refresh thread: the table is drawn once per report, in one write, and does not flicker.
                # Output of other code to standard output is printed above the table if it goes to the same terminal.
                to_screen = sys.stdout.isatty()
                self._live = Live(table, console=terminal, auto_refresh=False, vertical_overflow="crop", redirect_stdout=to_screen)
                self._live.start()
            self._live.update(table, refresh=True)
        except (OSError, ValueError):
            self._gone = True

    def _print(self, what: RenderableType) -> None:
        if self._gone:
            return
        try:
            # Lines are wrapped for a terminal, but not in a file.
            self._terminal.print(what, soft_wrap=isinstance(what, Text) and not self._terminal.is_terminal)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._gone = True
