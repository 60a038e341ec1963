"""What a run shows in the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import re

import pytest

import asyncrl
from asyncrl.monitor.console import Console
from asyncrl.monitor.tables import Target, live_table

EXPLORATIONS = ["entropy:0.01", "entropy:0.1"]


REPORT = {
    "step": 260_000.0, "seconds": 30.0, "episodes": 1200.0, "return/mean": 143.2, "return/best": 151.0, "rate/steps_per_second": 8000.0,
    "rate/updates_per_second": 1600.0, "lag/mean": 2.9, "lag/p95": 6.0, "lag/max": 11.0, "worker/0/steps_per_second": 4000.0,
    "time/environment": 0.3, "time/act": 0.2, "time/learn": 0.3, "time/apply": 0.1, "time/wait": 0.1,
}  # fmt: skip


def test_without_a_terminal_there_is_a_plain_line_every_five_seconds():
    file = io.StringIO()
    console = Console("a3c CartPole-v1", 500_000, EXPLORATIONS, file=file)
    for second in range(12):
        console.update({**REPORT, "seconds": float(second)})
    console.note("worker 1 was killed [signal 9]")
    console.close()
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "260,000/500,000 steps (52%)  8,000 steps/s  return 143.2  lag 2.90 (max 11)  0:00:00 elapsed, about 0:00:30 left"
    assert lines[3] == "warning: worker 1 was killed [signal 9]"


def test_quiet_shows_warnings_only():
    file = io.StringIO()
    console = Console("a3c", 500_000, EXPLORATIONS, quiet=True, file=file)
    console.update(REPORT)
    console.note("the disk is full")
    console.print_summary({"steps": 3})
    console.close()
    assert file.getvalue() == "warning: the disk is full\n"


@pytest.mark.parametrize(("width", "height"), [(30, 10), (50, 24), (80, 24), (200, 60)])
@pytest.mark.parametrize("workers", [1, 4, 100])
def test_the_table_fits_the_terminal(width, height, workers):
    from rich.console import Console as Terminal

    target = Target("a3c  CartPole-v1", 500_000, None, ["[b]eps:0.1"] * workers)
    terminal = Terminal(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    for report in (REPORT, {"step": 0.0, "seconds": 0.0}):
        lines = terminal.render_lines(live_table(target, report, [0] * workers, width, height), pad=False)
        assert all(sum(segment.cell_length for segment in line) <= width for line in lines)
        assert width < 80 or len(lines) <= max(height, 16)
    text = "".join(segment.text for line in lines for segment in line)
    assert width < 50 or "[b]eps:0.1" in text  # brackets are no markup


def test_a_terminal_that_went_away_does_not_stop_the_run():
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115 (closing it raises, as it has to)
    console = Console("a3c", 500_000, EXPLORATIONS, file=full)
    console.update(REPORT)
    console.note("still here")
    console.print_summary({"steps": 3})
    console.close()
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_on_a_terminal_the_table_is_redrawn_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    master, slave = os.openpty()
    os.set_blocking(master, False)

    def screen() -> str:
        parts = []
        with contextlib.suppress(BlockingIOError):
            while True:
                parts.append(os.read(master, 4096))
        return b"".join(parts).decode()

    with os.fdopen(slave, "w") as file:
        console = Console("a3c  CartPole-v1", 500_000, EXPLORATIONS, file=file)
        console.update(REPORT)
        first = screen()
        console.update({**REPORT, "return/mean": 171.5}, [0, 2])
        console.note("worker 1 was replaced")
        second = screen()
        console.close()
        last = screen()
    os.close(master)
    assert "143.2 mean of 100" in first
    assert "\x1b[1A\x1b[2K" in second  # up and erase: no second table below the first
    assert "171.5 mean of 100" in second
    assert second.index("worker 1 was replaced") < second.rindex("171.5")
    assert last.endswith("\x1b[?25h")  # the cursor is back


def test_the_summary_of_a_real_run_is_shown_whole(tmp_path, capsys):
    """What is kept for others in summary.json, a histogram say, does not disturb it."""
    result = asyncrl.train("a3c", "CartPole-v1", workers=1, steps=200, evaluation_episodes=1, runs=str(tmp_path))
    told = capsys.readouterr().err
    for row in ("steps", "return", "evaluation", "lag", "time", "memory", "folder"):
        assert re.search(rf"│ {row} +\S", told), row
    assert result.summary["lag"]["histogram"] and "mean 0.00, p50 0, p95 0, max 0" in told
