"""Data profiles of a study as an image. Needs matplotlib (``pip install 'asyncrl[plots]'``)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from asyncrl.errors import UserError


def plot_profiles(result: dict[str, Any], file: str, group: str = "all") -> None:
    """Draw the data profiles, one panel for each tolerance: share solved over evaluations in units of n + 1.

    Args:
        result: of `bench_more_wild`, also after a round trip through JSON.
        file: image to write, in the format of its suffix (.png, .svg, .pdf).
        group: a type of objective, or "all".

    Raises:
        UserError: matplotlib is missing, or the study has no such group.
    """
    check_plots()
    from matplotlib.figure import Figure

    if group not in result["ranks"]:
        raise UserError(f"the study has no group {group!r} (allowed: {', '.join(result['ranks'])})")
    tolerances = list(result["profiles"]["shares"])
    figure = Figure(figsize=(4.2 * len(tolerances), 3.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(tolerances), sharey=True))
    for panel, tau in zip(panels, tolerances):
        for i, name in enumerate(result["settings"]["optimizers"]):
            budgets, shares = _steps(result, name, tau, group)
            panel.step(budgets, shares, where="post", label=name, color=f"C{i % 10}", linestyle=("-", "--", ":")[i % 3], linewidth=1.6)
        panel.set_xscale("log")
        panel.set(title=f"tolerance {tau}", xlabel="evaluations / (n + 1)", xlim=(0.5, result["profiles"]["kappas"][-1]), ylim=(0, 1.02))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"share of problems solved ({group})")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.savefig(file, dpi=130)


def check_plots() -> None:
    """Raise UserError if matplotlib is missing; to be called before the study is run."""
    if find_spec("matplotlib") is None:
        raise UserError("plots need matplotlib: pip install 'asyncrl[plots]'")


def _steps(result: dict[str, Any], name: str, tau: str, group: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The budgets [k] at which a profile rises, and the shares [k] solved from there on."""
    size = {problem["problem"]: problem["n"] for problem in result["problems"]}
    rows = [row for row in result["rows"] if row["optimizer"] == name and group in (row["type"], "all")]
    counts = [(count, size[row["problem"]]) for row in rows for count in row["evaluations"][tau]]
    units = np.sort([count / (n + 1) for count, n in counts if count is not None])
    ends = [0.0], [result["profiles"]["kappas"][-1]]
    shares = np.arange(1, len(units) + 1) / len(counts)
    return np.concatenate((ends[0], units, ends[1])), np.concatenate(([0.0], shares, shares[-1:] if len(shares) else [0.0]))
