"""Microseconds and quality of an action of whole implicit heads: observation in, action out, as a search plays them.

Rows have the keys of `asyncrl.bench.selections`; what is different of them:

    head          itt, iot or explicit, on observations of 17 numbers and actions of 6
    selection     brute, principal-tree, projections: of itt by the latents in its table, which are embedded before; "brute, fresh set":
                  of itt with a set that is drawn and embedded at every action; of iot: brute, refine
    score         by the head's own energy, where the best action of the fixed set is 1 and the mean of all is 0; a fresh or refined
                  action may be better than that set's best. None of explicit, which has no energy
    bytes         of what processes share
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.bench.structures import HALF_CHEETAH
from asyncrl.heads import HEADS
from asyncrl.heads.implicit.form import work_size
from asyncrl.heads.implicit.towers import embed, raw_scores
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy

OBSERVATIONS, TURN = 20, 5
ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("itt", "brute", {}),
    ("itt", "principal-tree", {"selection": "principal-tree"}),
    ("itt", "projections", {"selection": "projections"}),
    ("itt", "brute, fresh set", {"resample": "transition"}),
    ("iot", "brute", {}),
    ("iot", "refine", {"selection": "refine"}),
    ("explicit", "none", {}),
)
"""Head, selection as it is called here, and options."""


class Played:
    """A head with random parameters that is ready to act."""

    def __init__(self, head: str, selection: str, count: int, size: int, changes: dict[str, Any]):
        """`count`, `size`: actions of the set, and numbers of a latent."""
        self.head, self.selection, self.scanned = head, selection, changes.get("scanned")
        of_set, of_state = {} if head == "explicit" else {"set_size": count}, {} if head == "iot" else {"state_layers": 2}
        options = HEADS[head].options_type(latent=size, **of_set, **of_state, **changes)  # type: ignore[call-arg]
        self.policy = SearchPolicy(HALF_CHEETAH, head, NetworkOptions(head_options=options))
        self.policy.fill_tables(0)
        self.vector = self.policy.initial(1)
        self.policy.head.announce(self.vector)
        self.player = self.policy.player()
        self.player.set(self.vector)
        self.player.act(np.zeros(HALF_CHEETAH.observation_size, np.float32))

    @property
    def bytes(self) -> int:
        """Of what processes share."""
        head = self.policy.head
        return sum(array.nbytes for arrays in (head.tables, head.caches) for array in arrays.values())

    def score(self, observation: NDArray[np.float32], action: NDArray[np.float32]) -> float:
        """Of an action [C] at an observation [D], as the module says; the head has a fixed set."""
        head = self.policy.head
        self.player.act(observation)
        scores = self._energies(head.tables["features"])
        best, mean = float(scores.max()), float(scores.mean(dtype=np.float64))
        return (float(self._energies(action.reshape(1, -1))[0]) - mean) / (best - mean) if best > mean else 1.0

    def _energies(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What orders actions with features [n, C], [n], at the observation that was acted on last; bounds are -1 and 1."""
        form: NDArray[np.int64] = self.policy.head.form  # type: ignore[attr-defined]
        own, state = self.vector[self.policy.network.size :], self.player.scores
        latents, scores = np.zeros((len(features), state.size), np.float32), np.zeros(len(features), np.float32)
        work = np.zeros(work_size(4, 4, state.size, features.shape[1]), np.float32)
        embed(form, own, features, work, latents)
        raw_scores(form, own, state, latents, work, scores)
        return scores


def bench_implicit_heads(
    actions: Sequence[int], sizes: Sequence[int], scanned: int = 2048, progress: Callable[[str], Any] | None = None
) -> list[dict[str, Any]]:
    """Measure every head at every number of actions and size of latents.

    Args:
        actions: numbers of actions of a set.
        sizes: numbers of a latent.
        scanned: actions that an index looks at; of sets of fewer than eighty times as many an eightieth.
        progress: called with a line of text before each part.

    Returns:
        Rows, as the module describes them.
    """
    rows = []
    for size in sizes:
        for count in actions:
            if progress is not None:
                progress(f"heads, {count:,} actions, latents of {size} numbers")
            rows += _measured(count, size, min(scanned, count // 80 + 1))
    return rows


def _measured(count: int, size: int, scanned: int) -> list[dict[str, Any]]:
    index = {"principal-tree": {"scanned": scanned}, "projections": {"scanned": scanned}}
    heads = [Played(head, named, count, size, {**changes, **index.get(named, {})}) for head, named, changes in ROWS]
    observations = np.random.default_rng(0).standard_normal((OBSERVATIONS, HALF_CHEETAH.observation_size), np.float32)
    seconds, played = np.zeros((len(heads), OBSERVATIONS)), np.zeros((len(heads), OBSERVATIONS, HALF_CHEETAH.action_size), np.float32)
    for first in range(0, OBSERVATIONS, TURN):
        for i, one in enumerate(heads):
            for o in range(first, min(first + TURN, OBSERVATIONS)):
                began = time.perf_counter()
                action = one.player.act(observations[o])
                seconds[i, o] = time.perf_counter() - began
                played[i, o] = action
    judges = {one.head: one for one in reversed(heads) if one.selection == "brute"}
    return [
        {
            "head": one.head,
            "selection": one.selection,
            "scanned": one.scanned,
            "actions": count,
            "latent": size,
            "latents": "tower",
            "microseconds": float(np.median(seconds[i]) * 1e6),
            "score": _mean_score(judges.get(one.head), observations, played[i]),
            "temperature": None,
            "variation": None,
            "bytes": one.bytes,
        }
        for i, one in enumerate(heads)
    ]


def _mean_score(judge: Played | None, observations: NDArray[np.float32], played: NDArray[np.float32]) -> float | None:
    """Of the actions played [O, C] at observations [O, D]."""
    if judge is None:
        return None
    return float(np.mean([judge.score(observation, action) for observation, action in zip(observations, played)]))


def ratios_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times faster itt with its cached table acts than iot that looks at all of the same number of actions.

    Args:
        rows: of `bench_implicit_heads`.

    Returns:
        Rows {"actions", "latent", "selection", "times_faster"}.
    """
    time_of = {(row["actions"], row["latent"], row["head"], row["selection"]): row["microseconds"] for row in rows}
    return [
        {"actions": count, "latent": size, "selection": selection, "times_faster": time_of[count, size, "iot", "brute"] / microseconds}
        for (count, size, head, selection), microseconds in time_of.items()
        if head == "itt" and "fresh" not in selection
    ]


def lines_of_ratios(ratios: Sequence[dict[str, Any]]) -> list[str]:
    """What `ratios_of` has found, a line for each number of actions and size of latents."""
    found: dict[tuple[int, int], list[str]] = {}
    for row in ratios:
        found.setdefault((row["actions"], row["latent"]), []).append(f"{row['selection']} {row['times_faster']:.1f}")
    return [
        f"itt with a cached table against iot, {count:,} actions, d = {size}, times faster: {', '.join(parts)}"
        for (count, size), parts in found.items()
    ]
