"""A study's figures as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_more_wild(result: dict[str, Any]) -> None:
    """Print the average ranks with the critical difference, the shares solved, and the pairwise comparisons of a study."""
    show = Console().print
    show(_rank_table(result))
    show(_profile_table(result))
    if result["duels"]:
        show(_duel_table(result))


def _rank_table(result: dict[str, Any]) -> Table:
    ranks, settings = result["ranks"], result["settings"]
    table = Table(title=f"average rank, {settings['budget']}, {len(settings['seeds'])} seeds; 1 is best")
    table.add_column("")
    for group in ranks:
        table.add_column(group, justify="right")
    for name in settings["optimizers"]:
        table.add_row(name, *(f"{group['average'][name]:.2f}" for group in ranks.values()))
    table.add_section()
    if len(settings["optimizers"]) <= 10:
        for alpha in ("0.05", "0.1"):
            differences = [group["critical_difference"][alpha] for group in ranks.values()]
            table.add_row(f"critical difference, {alpha}", *(f"{difference:.2f}" for difference in differences))
    table.add_row("Friedman p", *(f"{group['p']:.1g}" if "p" in group else "-" for group in ranks.values()))
    return table


def _profile_table(result: dict[str, Any]) -> Table:
    profiles = result["profiles"]
    kappas = profiles["kappas"]
    shown = [i for i, kappa in enumerate(kappas) if kappa >= 5]
    table = Table(title="% of problems solved within kappa (n + 1) evaluations, all types")
    for heading in ("tolerance", "", *(str(kappas[i]) for i in shown)):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for tau, groups in profiles["shares"].items():
        for name, shares in groups["all"].items():
            table.add_row(tau, name, *(f"{100 * shares[i]:.0f}" for i in shown))
        table.add_section()
    return table


def _duel_table(result: dict[str, Any]) -> Table:
    table = Table(title="problems on which the one is better than the other")
    for heading in ("one", "other", "better", "worse", "equal", "sign test p"):
        table.add_column(heading, justify="left" if heading in ("one", "other") else "right")
    for duel in result["duels"]:
        counts = (str(duel[key]) for key in ("wins", "losses", "ties"))
        table.add_row(duel["first"], duel["second"], *counts, f"{duel['p']:.2g}")
    return table
