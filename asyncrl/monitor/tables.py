"""Reports and summaries as tables and text that rich prints; pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncrl.progress import SHARES

COLORS = {"environment": "green", "act": "cyan", "learn": "blue", "apply": "magenta", "wait": "yellow"}

WIDEST = 100
"""Largest width of the tables in characters, also in a wider terminal."""

NARROW = 64
"""In a terminal of fewer characters, figures are not aligned in columns, and the table of workers has fewer columns."""

LAGS = ("mean", "p50", "p95", "max")
"""What a summary shows of the lag; its file has the histogram too."""

LINES_BESIDES_WORKERS = 14
"""Lines of the live table beside those of workers, which may fill the rest of the terminal's height."""


@dataclass(frozen=True)
class Target:
    """What the table shows of a run's settings: its title, its steps or seconds to reach, and the workers' explorations."""

    title: str
    steps: int
    seconds: float | None
    explorations: Sequence[str]

    def remaining_seconds(self, report: Mapping[str, float]) -> float | None:
        """The time that the run will still take at the present rate; None if that is unknown."""
        estimates = []
        if report.get("rate/steps_per_second", 0.0) > 0:
            estimates.append((self.steps - report["step"]) / report["rate/steps_per_second"])
        if self.seconds is not None:
            estimates.append(self.seconds - report["seconds"])
        return max(0.0, min(estimates)) if estimates else None

    def times(self, report: Mapping[str, float]) -> str:
        """The elapsed and the remaining time as text: ``0:00:31 elapsed, about 0:00:28 left``."""
        remaining = self.remaining_seconds(report)
        return f"{clock(report['seconds'])} elapsed" + (f", about {clock(remaining)} left" if remaining is not None else "")

    def done(self, report: Mapping[str, float]) -> float:
        """Share of the steps that are done."""
        return report["step"] / max(self.steps, 1)


def live_table(
    target: Target,
    report: Mapping[str, float],
    restarts: Sequence[int],
    width: int,
    height: int,
    colors: bool = True,
    ascii_only: bool = False,
) -> Panel:
    """The live table for a terminal of `width` columns and `height` lines."""
    width = min(width, WIDEST)
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=max(target.steps, 1), completed=min(report["step"], target.steps), complete_style="green")
    grid.add_row(bar, f"{target.done(report):.0%} of {target.steps:,} steps")
    parts: list[RenderableType] = [grid, _figures(target, report, width), *_time_shares(report, width - 4, colors, ascii_only)]
    parts.append(_workers(target, report, restarts, width, max(1, height - LINES_BESIDES_WORKERS)))
    return Panel(Group(*parts), title=Text(target.title, style="bold"), title_align="left", box=box.ROUNDED, width=width)


def plain_line(target: Target, report: Mapping[str, float]) -> str:
    """A report in one line of text."""
    parts = [f"{report['step']:,.0f}/{target.steps:,} steps ({target.done(report):.0%})"]
    if "rate/steps_per_second" in report:
        parts.append(f"{report['rate/steps_per_second']:,.0f} steps/s")
    if "return/mean" in report:
        parts.append(f"return {number(report['return/mean'])}")
    if "lag/mean" in report:
        parts.append(f"lag {report['lag/mean']:.2f} (max {report['lag/max']:.0f})")
    if told := sites_told(report):
        parts.append(f"sites {told[0]}, {told[-1]}")
    return "  ".join([*parts, target.times(report)])


def sites_told(report: Mapping[str, float]) -> list[str]:
    """What a report says of sites on other machines, all together; empty where there are none."""

    def of(name: str) -> list[float]:
        return [value for key, value in report.items() if key.startswith("site/") and key.endswith(f"/{name}")]

    if not (up := of("up")):
        return []
    deaths = [f"{sum(of('deaths')):.0f} lost"] if sum(of("deaths")) else []
    rate, latency = sum(of("evaluations_per_second")), max(of("latency_ms"))
    flying = f"{sum(of('in_flight')):.0f} in flight"
    return [f"{sum(up):.0f} of {len(up)}", f"{number(latency, 1)} ms", flying, *deaths, f"{number(rate, 0)} evaluations/s"]


def summary_panel(summary: Mapping[str, Any], folder: str, width: int) -> Panel:
    """The main lines of summary.json in a frame, without those whose values are missing."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    lag, shares, given = summary.get("lag") or {}, summary.get("time_share") or {}, summary.get
    counts = given("counts") or {}
    why = "" if counts else ": not finite"
    skipped = f" ({given('skipped_updates'):,} skipped{why})" if given("skipped_updates") else ""
    left_out = {"too late": counts.get("late_dropped"), "made again": counts.get("discarded"), "without a return": counts.get("missing")}
    means = f"{number(given('return_mean_last_100'))} over the last 100 episodes, {number(given('return_best_mean_100'))} at best"
    rows = {
        "steps": f"{given('steps', 0):,} in {clock(given('seconds') or 0.0)}, {number(given('steps_per_second'), 0)} a second",
        "updates": f"{given('updates', 0):,}{skipped}",
        "left out": ", ".join(f"{count:,} evaluations {what}" for what, count in left_out.items() if count),
        "episodes": f"{given('episodes', 0):,}",
        "return": means if given("episodes") else "",
        "evaluation": number(given("evaluation_return")) if given("evaluation_return") is not None else "",
        "lag": ", ".join(f"{name} {number(lag[name], 2 if name == 'mean' else 0)}" for name in LAGS if lag.get(name) is not None),
        "time": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        "restarts": str(given("restarts")) if given("restarts") else "",
        "sites": "; ".join(_of_site(site) for site in given("sites") or ()),
        "memory": f"{number(given('peak_rss_mb'), 0)} MB at most" if given("peak_rss_mb") else "",
        "folder": folder,
    }
    for name, text in rows.items():
        if text:
            grid.add_row(name, Text(text))  # as Text, so that brackets in a name are not taken for markup
    status = str(given("status", "completed"))
    color = {"completed": "green", "interrupted": "yellow"}.get(status, "red")
    return Panel(grid, title=Text(status, style=f"bold {color}"), title_align="left", box=box.ROUNDED, width=min(width, WIDEST))


def _of_site(site: Mapping[str, Any]) -> str:
    lost = f", lost {site['deaths']:,} times" if site["deaths"] else ""
    return f"{site['evaluations']:,} evaluations, {number(site['latency_ms'], 1)} ms{lost}"


def number(value: float | None, digits: int | None = None) -> str:
    """`value` as text with separated thousands and `digits` decimals, by default so many that it has about four figures."""
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 10_000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def clock(seconds: float) -> str:
    """Seconds as text, hours:minutes:seconds."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _figures(target: Target, report: Mapping[str, float], width: int) -> Table:
    given = report.get
    steps, updates = number(given("rate/steps_per_second"), 0), number(given("rate/updates_per_second"), 0)
    memory = [f"{number(given('memory/rss_mb'), 0)} MB"] if "memory/rss_mb" in report else []
    rows = {
        "speed": [f"{steps} steps/s", f"{updates} updates/s", *memory],
        "return": [f"{number(given('return/mean'))} mean of 100", f"{number(given('return/best'))} best"],
        "lag": [f"{number(given(f'lag/{name}'), digits)} {name}" for name, digits in (("mean", 2), ("p95", 0), ("max", 0))],
        "time": [target.times(report)],
    }
    rows["return"].append(f"{given('episodes', 0.0):,.0f} episodes")
    if told := sites_told(report):
        rows["sites"] = told
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    if width < NARROW:
        for name, figures in rows.items():
            grid.add_row(name, "  ".join(figures))
        return grid
    for name in ("speed", "return", "lag"):
        grid.add_row(name, *rows[name])
    if "sites" in rows:
        grid.add_row("sites", *rows["sites"][:3])
    both = Table.grid()
    both.add_row(grid)
    both.add_row(Text.assemble(("time    ", "dim"), *rows["time"]))
    return both


def _time_shares(report: Mapping[str, float], width: int, colors: bool, ascii_only: bool) -> list[Text]:
    """Shares of time as a bar of colored cells, and a legend with their names and numbers in the same colors."""
    bar, legend, end, drawn = Text(), Text(), 0.0, 0
    for share in SHARES:
        value = report.get(f"time/{share}")
        if value is None:
            return []
        end += value
        cells = round(end * width) - drawn
        drawn += cells
        bar.append(("#" if ascii_only else "━") * cells, style=COLORS[share])
        legend.append(f"{share} {value:.0%}" + ("  " if share != SHARES[-1] else ""), style=COLORS[share])
    return [bar, legend] if colors else [legend]


def _workers(target: Target, report: Mapping[str, float], restarts: Sequence[int], width: int, rows: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in ("worker", "steps/s", "return"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exploration", no_wrap=True, ratio=1)
    if width >= NARROW:
        table.add_column("restarts", justify="right", no_wrap=True)
    total = len(target.explorations)
    shown = total if total <= rows else rows - 1
    for worker, exploration in enumerate(target.explorations[:shown]):
        times = restarts[worker] if worker < len(restarts) else 0
        rate, mean = number(report.get(f"worker/{worker}/steps_per_second"), 0), number(report.get(f"worker/{worker}/return"))
        cells: list[RenderableType] = [str(worker), rate, mean, Text(exploration), Text(str(times), style="yellow" if times else "dim")]
        table.add_row(*cells[: len(table.columns)])
    if shown < total:
        table.add_row("...", "", "", f"{total - shown} more", *([str(sum(restarts[shown:]))] if width >= NARROW else []))
    return table
