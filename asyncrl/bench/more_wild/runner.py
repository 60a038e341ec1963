"""One search on one problem, in this process, with every evaluation counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.bench.more_wild.problems import Problem
from asyncrl.blackbox.search import Evaluations, Search

WORST = 1e100
"""Objectives above this, and those that are not numbers, are replaced by this, so that the search gets a very bad value."""


def run(search: Search, problem: Problem, kind: str, budget: int, seed: int) -> NDArray[np.float64]:
    """Minimise one problem within a budget of evaluations.

    A generation evaluates the incumbent (the search's present answer) and then its tickets. All of these count towards the
    budget, so the first evaluation is at the starting point. The last generation is cut off at the end of the budget.

    Args:
        search: a new one; it begins at the problem's start, and gets returns = -f.
        kind: type of objective, of TYPES.
        seed: of the noise of noisy3; the same for all searches means the same draws in the same order.

    Returns:
        [budget], the least value so far after each evaluation. For noisy3 the search gets noisy values, but this result
        has the values without noise at the same points.
    """
    search.begin(problem.start.astype(np.float32))
    tickets, n = search.tickets, problem.n
    published = np.empty(search.published_size, np.float32)
    points = np.empty((1 + tickets, n), np.float32)
    rng = np.random.default_rng([seed, problem.number])
    true = np.empty(budget)
    used = generation = 0
    while used < budget:
        search.published(published)
        points[0] = published[:n]
        for ticket in range(tickets):
            search.candidate(published, generation, ticket, points[1 + ticket])
        count = min(len(points), budget - used)
        seen, true[used : used + count] = _evaluate(problem, kind, points[:count], rng)
        used += count
        if count == len(points):
            search.update(generation, _batch(generation, -seen[1:]))
        generation += 1
    return np.minimum.accumulate(true)


def _evaluate(problem: Problem, kind: str, points: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """The objective that the search gets, and the one by which it is judged, [k] each, at points [k, n]."""
    exact = points.astype(np.float64)
    seen = _bounded(problem.values(exact, kind, rng))
    return seen, _bounded(problem.values(exact)) if kind == "noisy3" else seen


def _bounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(np.nan_to_num(values, nan=WORST, posinf=WORST), WORST)


def _batch(generation: int, returns: NDArray[np.float64]) -> Evaluations:
    count = len(returns)
    whole = np.full(count, generation, np.int64)
    return Evaluations(whole, np.arange(count), whole, returns, np.ones(count, np.int64))


Factory = Callable[[int, float, int], Search]
"""(n, sigma0, seed) to a search: n parameters, first deviation sigma0."""
