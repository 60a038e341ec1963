"""For tests of black-box searches: plain objects that play the part of workers and learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asyncrl.blackbox.search import Evaluations


def batch(returns: Any, generation: Any = 0, ticket: Any = None, version: Any = 0) -> Evaluations:
    """Evaluations with these returns; numbers stand for all of them, tickets are counted."""
    returns = np.asarray(returns, np.float64)
    n = len(returns)
    ticket = np.arange(n) if ticket is None else ticket
    whole = [np.array(np.broadcast_to(x, n), np.int64) for x in (generation, ticket, version)]
    return Evaluations(*whole, returns, np.ones(n, np.int64))


def points(search: Any, generation: int = 0) -> np.ndarray:
    """Every candidate of a generation around what the search publishes now, float64 [tickets, N]."""
    published, found = np.empty(search.published_size, np.float32), []
    search.published(published)
    for ticket in range(search.tickets):
        out = np.full(search.state["theta"].size if "theta" in search.state else len(published), np.nan, np.float32)
        search.candidate(published, generation, ticket, out)
        found.append(out.astype(np.float64))
    return np.array(found)


def synchronous(search: Any, objective: Callable[[np.ndarray], np.ndarray], updates: range) -> list[dict[str, float]]:
    """Updates as in mode sync; objective: [n, N] to returns [n]. The search has begun."""
    return [search.update(v, batch(objective(points(search, v)), v, version=v)) for v in updates]


def copies(search: Any) -> dict[str, np.ndarray]:
    """Its state, to compare with or to put back."""
    return {name: array.copy() for name, array in search.state.items()}


def put_back(search: Any, state: dict[str, np.ndarray]) -> None:
    """Copy a state in, as a resumed run does."""
    assert search.state.keys() == state.keys()
    for name, array in state.items():
        search.state[name][...] = array


def assert_same_state(search: Any, state: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    for name, array in state.items():
        np.testing.assert_array_equal(search.state[name], array, err_msg=name)
