"""`asyncrl bench more-wild`: compares searches on the 53 problems, by data profiles and average ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.bench.more_wild.optimizers import DEFAULT, OPTIMIZERS, SIGMA_RULE, sigma0_of
from asyncrl.bench.more_wild.problems import PROBLEMS, TYPES, Problem
from asyncrl.bench.more_wild.profiles import data_profile, evaluations_to_solve
from asyncrl.bench.more_wild.ranks import critical_difference, friedman, ranks_of, sign_test
from asyncrl.bench.more_wild.runner import Factory, run
from asyncrl.errors import UserError, unknown

TOLERANCES = (1e-1, 1e-3, 1e-5)
"""tau: for coarse, medium and accurate solutions."""
KAPPAS = (1, 2, 5, 10, 20, 30, 50, 70, 100, 200, 500, 1000)
"""Budgets at which the data profile is tabulated, in units of n + 1 evaluations; those above the study's budget are left out."""
SAME = 1e-7
"""Results this close to the best, as a share of f0 - fL, are tied: parameters are float32."""

Traces = dict[tuple[str, str, int, int], NDArray[np.float64]]
"""(optimizer, type, problem's number, seed) to the least value so far after each evaluation."""


def bench_more_wild(
    optimizers: Sequence[str] = DEFAULT,
    types: Sequence[str] = TYPES,
    budget_factor: int = 100,
    seeds: Sequence[int] = (0, 1, 2),
    problems: Sequence[Problem] = PROBLEMS,
    progress: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Run every optimizer on every problem, type and seed; the same arguments give the same result.

    No optimizer is tuned to a problem: the initial sigma follows one rule (`sigma0_of`), and step sizes are multiples of it.

    Args:
        optimizers: names, of OPTIMIZERS; at least two.
        types: of TYPES.
        budget_factor: a run takes so many times n + 1 evaluations.
        seeds: of the searches and of the noise; the same for all optimizers.
        progress: called with a line of text before each optimizer and type.

    Returns:
        settings; problems (f0 and fL, the least value that any search found); rows (optimizer, type, problem; for each seed
        the best value and, per tolerance, the evaluations to solve it or None); profiles; ranks; duels.

    Raises:
        UserError: an unknown name, a number that is too small, or a library that is missing.
    """
    _check(optimizers, types, budget_factor, seeds)
    traces: Traces = {}
    for kind in types:
        for name in optimizers:
            if progress is not None:
                progress(f"{kind}: {name}")
            for problem in problems:
                for seed in seeds:
                    traces[name, kind, problem.number, seed] = _trace(OPTIMIZERS[name].make, problem, kind, budget_factor, seed)
    return _result(traces, list(optimizers), list(types), budget_factor, list(seeds), problems)


def _check(optimizers: Sequence[str], types: Sequence[str], budget_factor: int, seeds: Sequence[int]) -> None:
    for name in optimizers:
        if name not in OPTIMIZERS:
            raise unknown("optimizer", name, OPTIMIZERS)
    for kind in types:
        if kind not in TYPES:
            raise unknown("type of objective", kind, TYPES)
    if len(set(optimizers)) < max(2, len(optimizers)):
        raise UserError(f"optimizers must be at least two different ones, got {', '.join(optimizers) or 'none'}")
    if budget_factor < 1 or not seeds or not types:
        raise UserError(f"budget_factor must be at least 1, with one seed and one type or more; got {budget_factor}, {seeds}, {types}")
    for name in optimizers:
        OPTIMIZERS[name].make(2, 1.0, 0)  # raises now, not after minutes, if a library is missing


def _trace(make: Factory, problem: Problem, kind: str, budget_factor: int, seed: int) -> NDArray[np.float64]:
    search = make(problem.n, sigma0_of(problem.start), seed)
    return run(search, problem, kind, budget_factor * (problem.n + 1), seed)


def _result(
    traces: Traces, names: list[str], types: list[str], budget_factor: int, seeds: list[int], problems: Sequence[Problem]
) -> dict[str, Any]:
    bounds, rows = [], []
    quality = np.zeros((len(types), len(problems), len(names)))
    for i, kind in enumerate(types):
        for j, problem in enumerate(problems):
            of_case = [[traces[name, kind, problem.number, seed] for seed in seeds] for name in names]
            start, least = float(of_case[0][0][0]), min(float(best[-1]) for row in of_case for best in row)
            bounds.append({"type": kind, "problem": problem.number, "name": problem.name, "n": problem.n, "start": start, "least": least})
            for k, (name, row) in enumerate(zip(names, of_case)):
                rows.append(_row(name, kind, problem.number, row, start, least))
                quality[i, j, k] = _quality(np.array([best[-1] for best in row]), start, least)
    return {
        "settings": {
            "optimizers": {name: OPTIMIZERS[name].description for name in names}, "types": types, "seeds": seeds,
            "budget": f"{budget_factor} (n + 1) evaluations", "sigma0": SIGMA_RULE, "tolerances": list(TOLERANCES),
        },
        "ranks": _ranks(quality, types, names),
        "duels": _duels(quality, names),
        "profiles": _profiles(rows, types, names, [kappa for kappa in KAPPAS if kappa < budget_factor] + [budget_factor], problems),
        "problems": bounds,
        "rows": rows,
    }  # fmt: skip


def _row(name: str, kind: str, number: int, row: list[NDArray[np.float64]], start: float, least: float) -> dict[str, Any]:
    evaluations = {f"{tau:g}": [evaluations_to_solve(best, start, least, tau) for best in row] for tau in TOLERANCES}
    values = [float(f"{best[-1]:.7g}") for best in row]
    return {"optimizer": name, "type": kind, "problem": number, "best": values, "evaluations": evaluations}


def _quality(best: NDArray[np.float64], start: float, least: float) -> float:
    """The median run's distance to the best known value, as a share of f0 - fL; 0 within SAME."""
    share = float(np.median((best - least) / (start - least))) if start > least else 0.0
    return share if share > SAME else 0.0


def _ranks(quality: NDArray[np.float64], types: list[str], names: list[str]) -> dict[str, Any]:
    """Ranks for each type and for "all". Types share their functions, so "all" averages the ranks within a problem first and counts
    each problem once, which makes its Friedman statistic and critical difference conservative."""
    ranks = np.stack([ranks_of(of_type) for of_type in quality])
    groups = {kind: ranks[i].mean(0) for i, kind in enumerate(types)} | {"all": ranks.mean((0, 1))}
    cases = quality.shape[1]
    result: dict[str, Any] = {}
    for group, average in groups.items():
        result[group] = {"average": {name: round(float(rank), 4) for name, rank in zip(names, average)}, "problems": cases}
        if cases > 1:
            test = friedman(average, cases)
            result[group] |= {"friedman": test.statistic, "p": test.p}
        if len(names) <= 10:
            result[group]["critical_difference"] = {str(a): round(critical_difference(len(names), cases, a), 4) for a in (0.05, 0.1)}
    return result


def _duels(quality: NDArray[np.float64], names: list[str]) -> list[dict[str, Any]]:
    """Pairwise comparisons of each search with the same search with Gaussian directions, with all else equal.

    A problem is won by the search that is better in more of its types, and counts once, since types share their functions.
    """
    duels = []
    for first in names:
        second = OPTIMIZERS[first].against
        if second not in names:
            continue
        lead = np.sign(quality[..., names.index(second)] - quality[..., names.index(first)]).sum(0)
        wins, losses = int((lead > 0).sum()), int((lead < 0).sum())
        counts = {"wins": wins, "losses": losses, "ties": len(lead) - wins - losses}
        duels.append({"first": first, "second": second, **counts, "p": sign_test(wins, losses)})
    return duels


def _profiles(
    rows: list[dict[str, Any]], types: list[str], names: list[str], kappas: list[int], problems: Sequence[Problem]
) -> dict[str, Any]:
    """Data profiles over problems and seeds: tolerance -> type (and "all") -> optimizer -> shares at the kappas."""
    size = {problem.number: problem.n for problem in problems}
    shares: dict[str, Any] = {}
    for tau in (f"{tolerance:g}" for tolerance in TOLERANCES):
        shares[tau] = {}
        for group in [*types, "all"]:
            shares[tau][group] = {}
            for name in names:
                mine = [row for row in rows if row["optimizer"] == name and group in (row["type"], "all")]
                counts = [count for row in mine for count in row["evaluations"][tau]]
                parameters = [size[row["problem"]] for row in mine for _ in row["evaluations"][tau]]
                shares[tau][group][name] = [round(float(share), 4) for share in data_profile(counts, parameters, kappas)]
    return {"kappas": kappas, "shares": shares}
