"""Black-box searches without workers: evaluations made in this process, whole generations of them, states copied out and in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asyncrl.blackbox.search import Evaluations, Search


def sphere(x):
    """0 at 1, 1, ..., and less elsewhere."""
    return -float(np.sum((np.asarray(x, np.float64) - 1.0) ** 2))


def ellipsoid(x):
    """A sphere around 1, 1, ... with axes of condition 1e4."""
    scales = 10.0 ** np.linspace(0, 4, len(x))
    return -float(np.sum(scales * (np.asarray(x, np.float64) - 1.0) ** 2))


def batch(returns: Any, generation: Any = 0, ticket: Any = None, version: Any = None) -> Evaluations:
    """Evaluations with these returns; numbers stand for all of them. Tickets are counted, the version is the generation."""
    returns = np.asarray(returns, np.float64)
    n = len(returns)
    whole = (generation, np.arange(n) if ticket is None else ticket, generation if version is None else version)
    return Evaluations(*(np.array(np.broadcast_to(x, n), np.int64) for x in whole), returns, np.ones(n, np.int64))


def joined(*batches: Evaluations) -> Evaluations:
    """Several batches as one."""
    names = ("generation", "ticket", "version", "value", "length")
    return Evaluations(*(np.concatenate([getattr(one, name) for one in batches]) for name in names))


def candidates(search: Search, generation: int = 0) -> np.ndarray:
    """The points [P, N] of a generation, float32, as a worker makes them from what is published now."""
    published = np.empty(search.published_size, np.float32)
    search.published(published)
    size = next((search.state[name].size for name in ("theta", "mean") if name in search.state), len(published))
    points = np.full((search.tickets, size), np.nan, np.float32)
    for ticket, point in enumerate(points):
        search.candidate(published, generation, ticket, point)
    return points


def synchronous(search: Search, objective: Callable[[np.ndarray], Any], updates: range) -> list[dict[str, float]]:
    """Updates as in mode sync; objective: points [P, N] float64 to returns [P]. The search has begun. The figures of each."""
    figures = [search.update(v, batch(objective(candidates(search, v).astype(np.float64)), v)) for v in updates]
    assert all(np.isfinite(value) for one in figures for value in one.values())
    return figures


def search_for(search: Search, function: Callable, generations: int, first: int = 0) -> list[dict[str, float]]:
    """The same for a function of one point, and so many generations."""
    return synchronous(search, lambda points: [function(x) for x in points], range(first, first + generations))


def evaluations_until(search: Search, function: Callable, goal: float, most: int) -> int:
    """Evaluations until the mean's value is above the goal; fails when there are more than `most`."""
    for g in range(most // search.tickets):
        search_for(search, function, 1, g)
        if function(search.state["mean"]) > goal:
            return (g + 1) * search.tickets
    raise AssertionError(f"{function(search.state['mean']):g} after {most} evaluations")


def snapshot(search: Search) -> dict[str, np.ndarray]:
    """The state, copied out."""
    return {name: array.copy() for name, array in search.state.items()}


def put_back(search: Search, state: dict[str, np.ndarray]) -> None:
    """The state, copied in, as a resumed run does."""
    assert search.state.keys() == state.keys()
    for name, array in state.items():
        search.state[name][...] = array


def assert_same_state(search: Search, state: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    for name, array in state.items():
        np.testing.assert_array_equal(search.state[name], array, err_msg=name)
        assert search.state[name].dtype == array.dtype, name


def check_continuation(make: Callable[[], Search], size: int, function: Callable, before: int = 7, after: int = 20) -> None:
    """A fresh search with copied arrays goes on as the first does, and one that went elsewhere in between does too."""
    first, fresh, other = make(), make(), make()
    first.begin(np.full(size, 0.5, np.float32))
    other.begin(np.full(size, -3.0, np.float32))
    arrays = {name: id(array) for name, array in first.state.items()}
    search_for(first, function, before)
    search_for(other, lambda x: -function(x), before + 3)
    state = snapshot(first)
    put_back(fresh, state)
    put_back(other, state)
    for search in (first, fresh, other):
        search_for(search, function, after, before)
    for search in (fresh, other):
        assert_same_state(search, snapshot(first))
    assert {name: id(array) for name, array in first.state.items()} == arrays
    assert not np.array_equal(first.state["mean"], state["mean"])
