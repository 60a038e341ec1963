"""Black-box searches without workers: whole generations, evaluated in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from asyncrl.blackbox.search import Evaluations, Search


def sphere(x):
    """0 at 1, 1, ..., and less elsewhere."""
    return -float(np.sum((np.asarray(x, np.float64) - 1.0) ** 2))


def ellipsoid(x):
    """A sphere around 1, 1, ... with axes of condition 1e4."""
    scales = 10.0 ** np.linspace(0, 4, len(x))
    return -float(np.sum(scales * (np.asarray(x, np.float64) - 1.0) ** 2))


def candidates(search: Search, generation: int) -> np.ndarray:
    """The points [P, N] of a generation, as a worker makes them from what is published now."""
    published = np.empty(search.published_size, np.float32)
    search.published(published)
    points = np.empty((search.tickets, len(search.state["mean"])), np.float32)
    for ticket, point in enumerate(points):
        search.candidate(published, generation, ticket, point)
    return points


def evaluations(generation: int, returns: Sequence[float], version: int | None = None) -> Evaluations:
    """A batch of one whole generation."""
    tickets = np.arange(len(returns))
    versions = np.full(len(returns), generation if version is None else version)
    return Evaluations(np.full(len(returns), generation), tickets, versions, np.array(returns, np.float64), np.ones_like(tickets))


def joined(*batches: Evaluations) -> Evaluations:
    """Several generations as one batch."""
    names = ("generation", "ticket", "version", "returns", "length")
    return Evaluations(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in names))


def search_for(search: Search, function: Callable, generations: int, first: int = 0) -> list[dict[str, float]]:
    """Run so many generations in sync; the figures of each."""
    figures = []
    for g in range(first, first + generations):
        figures.append(search.update(g, evaluations(g, [function(x) for x in candidates(search, g)])))
        assert all(np.isfinite(value) for value in figures[-1].values())
    return figures


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
    """The state, copied in."""
    assert set(state) == set(search.state)
    for name, array in state.items():
        search.state[name][...] = array


def same_state(first: Search, second: Search) -> bool:
    """Whether two searches are the same, bit for bit."""
    return all(np.array_equal(array, second.state[name]) and array.dtype == second.state[name].dtype for name, array in first.state.items())


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
    assert same_state(first, fresh)
    assert same_state(first, other)
    assert {name: id(array) for name, array in first.state.items()} == arrays
    assert not np.array_equal(first.state["mean"], state["mean"])
