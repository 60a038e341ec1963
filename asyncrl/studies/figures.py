"""A study's figures as pictures, which can be told apart without colours too. Needs matplotlib.

Colours are those of Okabe and Ito (2008). Every picture comes with a caption that says how to read it and on how many runs it stands.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asyncrl.studies.comparison import Row, Task, normalised
from asyncrl.studies.statistics import LEVEL, band, interquartile_mean, interval, profile

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++")
MARKERS = "osD^vPX"
POINTS = 60
"""At which curves are drawn."""
DPI = 120
MOST_IN_A_LINE = 7
"""Names in a line of a legend."""
AXES = {"steps": "environment steps", "seconds": "seconds of training", "updates": "updates of the parameters"}


@dataclass(frozen=True)
class Picture:
    """A picture of the report."""

    name: str
    """Of its file."""
    title: str
    caption: str
    png: bytes


def pictures_of(tasks: Sequence[Task]) -> list[Picture]:
    """All pictures of a study, in the order of the report."""
    made = [draw(task) for task in tasks for draw in (_curves, _finals, _efficiency, _lags, _shares)]
    return [*(picture for picture in made if picture is not None), *_together(tasks)]


def style(place: int) -> dict[str, Any]:
    """Colour and line of the variant at a place of the table; both repeat only after 7."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _legend(figure: Any, panel: Any) -> None:
    """The names of what a panel shows, below all panels."""
    handles, names = panel.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), MOST_IN_A_LINE), frameon=False)


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _file(task: Task, kind: str) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in task.name)
    return f"{plain}-{kind}".strip("-")


def _runs(rows: Sequence[Row]) -> str:
    counts = sorted({len(row.runs) for row in rows})
    said = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    alone = " One run has no interval." if counts[0] == 1 else ""
    return f"{said} run{'s' * (counts != [1])} of each variant.{alone}"


def _curves(task: Task) -> Picture:
    """Returns against steps, seconds and updates."""
    figure = _figure(11.5, 3.6)
    panels = figure.subplots(1, 3, sharey=True)
    for panel, (what, label) in zip(panels, AXES.items()):
        for place, row in enumerate(task.rows):
            last = min(run.curve[what][-1] for run in row.runs)
            points = np.linspace(0.0, last, POINTS)
            curves = np.array([run.returns_at(what, points) for run in row.runs])
            panel.plot(points, curves.mean(0), label=row.variant, linewidth=1.8, **style(place))
            if len(curves) > 1:
                panel.fill_between(points, *band(curves), color=style(place)["color"], alpha=0.15, linewidth=0)
        panel.axhline(task.threshold, color="grey", linewidth=0.8, zorder=0)
        panel.set_xlabel(label)
        panel.grid(alpha=0.25)
        panel.ticklabel_format(axis="x", style="sci", scilimits=(-2, 5), useMathText=True)
    panels[0].set_ylabel("return")
    _legend(figure, panels[0])
    caption = (
        f"Return against steps (how much experience), seconds (how long) and updates. Lines are "
        f"means over runs, as far as all of them came; bands are {LEVEL:.0f} % bootstrap intervals of the mean. The grey line is the "
        f"threshold, {task.threshold:.4g}. Who is ahead on the left learns more from a step, who is ahead in the middle learns sooner. "
        + _runs(task.rows)
    )
    return Picture(_file(task, "curves"), f"{task.name}: learning", caption, _png(figure))


def _finals(task: Task) -> Picture:
    """Every run's last return, and at equal seconds."""
    figure = _figure(11.5, 0.9 + 0.42 * len(task.rows))
    panels = figure.subplots(1, 2, sharey=True)
    seconds = np.array([task.seconds])
    for place, row in enumerate(task.rows):
        each = ([run.final for run in row.runs], [float(run.returns_at("seconds", seconds)[0]) for run in row.runs])
        for panel, values, estimate in zip(panels, each, (row.final, row.at_equal_seconds)):
            colour = style(place)["color"]
            panel.plot(values, np.full(len(values), place) + 0.16, "|", color=colour, markersize=9, markeredgewidth=1.4)
            panel.plot(estimate.mean, place - 0.1, MARKERS[place % len(MARKERS)], color=colour, markersize=6)
            if estimate.interval is not None:
                panel.plot(estimate.interval, [place - 0.1] * 2, color=colour, linewidth=2.4, solid_capstyle="butt")
    panels[0].set_yticks(range(len(task.rows)), [row.variant for row in task.rows])
    panels[0].invert_yaxis()
    panels[0].set_xlabel("return at the end: equal steps")
    panels[1].set_xlabel(f"return after {task.seconds:.3g} s: equal seconds")
    for panel in panels:
        panel.grid(axis="x", alpha=0.25)
    caption = (
        f"Each stroke is a run; the mark is their mean, the bar its {LEVEL:.0f} % bootstrap interval. Left after all steps, right when the "
        f"fastest run of the task had ended. " + _runs(task.rows)
    )
    return Picture(_file(task, "returns"), f"{task.name}: returns at equal steps and at equal seconds", caption, _png(figure))


def _efficiency(task: Task) -> Picture | None:
    """Statistical and hardware efficiency, and their product."""
    rows = [row for row in task.rows if row.hardware is not None]
    if len(rows) < 2:
        return None
    figure = _figure(11.5, 3.2)
    panel = figure.subplots()
    names = ("statistical efficiency", "hardware efficiency", "speed-up: their product")
    width = 0.8 / len(rows)
    for place, row in enumerate(rows):
        for group, value in enumerate((row.statistical, row.hardware, row.speed_up)):
            at, colour = group + (place - (len(rows) - 1) / 2) * width, style(task.rows.index(row))["color"]
            if value is None:
                panel.text(at, 0.02, "not\nreached", ha="center", va="bottom", fontsize=7)
                continue
            hatch, label = HATCHES[task.rows.index(row) % len(HATCHES)], row.variant if group == 1 else None
            panel.bar(at, value, 0.92 * width, color=colour, alpha=0.85, hatch=hatch, edgecolor="white", label=label)
            panel.text(at, value, f"{value:.2g}", ha="center", va="bottom", fontsize=8)
    panel.axhline(1.0, color="grey", linewidth=0.8)
    panel.set_xticks(range(3), names)
    panel.set_xlim(-0.5, 2.5)
    panel.set_ylabel(f"times {task.baseline}")
    panel.margins(y=0.12)
    _legend(figure, panel)
    caption = (
        f"Beside the baseline ({task.baseline}), 1. Statistical efficiency: its steps to the return {task.threshold:.4g}, divided by the "
        f"variant's (medians over runs; a run that never reaches it counts as later than all). Hardware efficiency: steps a second, "
        f"divided by the baseline's. Their product is how much sooner by the clock the variant arrives there. " + _runs(rows)
    )
    return Picture(_file(task, "efficiency"), f"{task.name}: what makes a variant sooner", caption, _png(figure))


def _lags(task: Task) -> Picture | None:
    """How old parameters were at their use."""
    rows = [row for row in task.rows if any(run.summary["lag"].get("histogram") for run in row.runs)]
    if not rows:
        return None
    figure = _figure(11.5, 3.2)
    panel = figure.subplots()
    for row in rows:
        counts: dict[int, int] = {}
        for run in row.runs:
            for lag, count in (run.summary["lag"].get("histogram") or {}).items():
                counts[int(lag)] = counts.get(int(lag), 0) + count
        lags = np.array(sorted(counts))
        above = 1.0 - np.cumsum([counts[lag] for lag in lags]) / sum(counts.values())
        look = style(task.rows.index(row))
        panel.step(np.append(0, lags + 1), np.append(1.0, np.maximum(above, 1e-6)), where="post", label=row.variant, linewidth=1.8, **look)
    panel.set_yscale("log")
    panel.set_xscale("symlog", linthresh=8)
    panel.set_ylim(1e-5, 1.3)
    panel.set_xlim(left=0)
    panel.set_xlabel("lag at use, in versions of the parameters (at least)")
    panel.set_ylabel("share of uses")
    panel.grid(alpha=0.25)
    _legend(figure, panel)
    caption = (
        "How many updates were made between acting and learning from it: the share of all uses of experience whose lag was at least so "
        "large. In sync all of it is 0, in pipelined 1. " + _runs(rows)
    )
    return Picture(_file(task, "lag"), f"{task.name}: how old the parameters were", caption, _png(figure))


def _shares(task: Task) -> Picture | None:
    """Where the workers' time went."""
    names = list(dict.fromkeys(name for row in task.rows for name in row.time_share))
    if not names:
        return None
    figure = _figure(11.5, 1.3 + 0.42 * len(task.rows))
    panel = figure.subplots()
    left = np.zeros(len(task.rows))
    for place, name in enumerate(names):
        shares = np.array([100 * row.time_share.get(name, 0.0) for row in task.rows])
        look = {"color": style(place)["color"], "hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white", "alpha": 0.85}
        panel.barh(range(len(shares)), shares, left=left, label=name, **look)
        left += shares
    panel.set_yticks(range(len(task.rows)), [row.variant for row in task.rows])
    panel.invert_yaxis()
    panel.set_xlim(0, 100)
    panel.set_xlabel("% of the workers' and learners' time")
    _legend(figure, panel)
    caption = "What workers and learners spent their time with, mean over runs: wait is idle, all else is work. " + _runs(task.rows)
    return Picture(_file(task, "time"), f"{task.name}: where the time went", caption, _png(figure))


def _together(tasks: Sequence[Task]) -> list[Picture]:
    """Interquartile means and performance profiles over all tasks."""
    scores = normalised(tasks)
    if len(scores) < 2:
        return []
    figure = _figure(11.5, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    levels = np.linspace(0.0, 1.0, 101)
    for place, (variant, own) in enumerate(scores.items()):
        middle, colour = interquartile_mean(own), style(place)["color"]
        left.plot(middle, place, MARKERS[place % len(MARKERS)], color=colour, markersize=7)
        if min(map(len, own)) > 1:
            left.plot(interval(interquartile_mean, own), [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
        right.plot(levels, profile(own, levels), label=variant, linewidth=1.8, **style(place))
    left.set_yticks(range(len(scores)), list(scores))
    left.invert_yaxis()
    left.set_xlabel("interquartile mean of normalised returns")
    left.margins(y=0.2)
    right.set_xlabel("normalised return")
    right.set_ylabel("share of runs above it")
    for panel in (left, right):
        panel.grid(alpha=0.25)
    _legend(figure, right)
    runs = [len(task) for own in scores.values() for task in own]
    caption = (
        f"Final returns of {len(tasks)} task{'s' * (len(tasks) > 1)} together, normalised so that 0 is the lowest and 1 the highest run of "
        f"each task. Left the mean of the middle half of all runs with its {LEVEL:.0f} % stratified bootstrap interval, right performance "
        f"profiles: a curve above another is better at that level (Agarwal et al. 2021). {min(runs)} to {max(runs)} runs each."
    )
    return [Picture("together", "All tasks together", caption, _png(figure))]
