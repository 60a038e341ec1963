"""What the critics of a learner say of items, the choices of a Discrete space that are known by their features, at a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.proposing.head import ProposingHead
from asyncrl.heads.proposing.items import Items
from asyncrl.heads.proposing.picking import nearest
from asyncrl.landscapes.looking import Look
from asyncrl.landscapes.values import Asked, Judged, Q, one_thread
from asyncrl.learners.off_policy import OffPolicyLearner

MOST_ITEMS = 20_000
"""Items that are looked at; of more, so many are drawn, the same at every state."""
SEED = 0
"""Of that draw."""


@dataclass(frozen=True)
class ItemState(Judged):
    """What was seen at one step; items are counted from 0. The action [1] that was chosen, and those [K, 1] on which the actors'
    proposals land without noise, are items.

    surfaces   [n]
    items      [n] those that were looked at, in rising order
    """

    items: NDArray[np.int64]

    @property
    def best(self) -> int:
        """The item of the largest Q of those that were looked at, of equal ones the first."""
        return int(self.items[self.surfaces[Q].argmax()])


def items_of(look: Look) -> Items | None:
    """The items among which the head chooses; None where it does not."""
    head = look.player.head
    return head.items if isinstance(head, ProposingHead) else None


def items_along(look: Look, learner: OffPolicyLearner, items: Items, count: int) -> list[ItemState]:
    """`count` states evenly along one episode, or as many as it has steps."""
    shown = looked_at(len(items.features))
    with one_thread():
        return look.along(count, lambda step, action: _seen(look, learner, items, shown, step, action))


def looked_at(count: int) -> NDArray[np.int64]:
    """Of so many items those that are looked at [n], in rising order: all, or MOST_ITEMS of them."""
    if count <= MOST_ITEMS:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, MOST_ITEMS, replace=False))


def _seen(look: Look, learner: OffPolicyLearner, items: Items, shown: NDArray[np.int64], step: int, action: Any) -> ItemState:
    observation = look.player.newest().observation
    assert observation is not None  # of all that learn by a replay
    size = items.features.shape[1]
    asked = Asked(learner, observation, np.array([[-1.0] * size, [1.0] * size]))
    chosen = int(action) - look.task.spec.action_start[0]
    proposals = np.ascontiguousarray(asked.proposals(), np.float32)
    landed = np.zeros(len(proposals), np.int64)
    nearest(items.features, items.half_squares, proposals, landed)
    marked = asked.values(items.features[[*landed, chosen]].astype(np.float64))[Q]
    same = np.flatnonzero(landed == chosen)
    surfaces = asked.values(items.features[shown].astype(np.float64))
    places = landed[:, None].astype(np.float64)
    picked = int(same[0]) if same.size else None
    return ItemState(step, np.array([chosen], np.float64), float(marked[-1]), places, marked[:-1], picked, surfaces, shown)


def places_of(items: Items, shown: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """(places [N, 2] of all items along the two directions in which the features of those `shown` [n] differ most, their share of the
    variance). Of a single feature the second place is 0."""
    features = items.features[shown].astype(np.float64)
    middle = features.mean(0)
    _, lengths, directions = np.linalg.svd(features - middle, full_matrices=False)
    places = np.zeros((len(items.features), 2))
    places[:, : min(2, len(directions))] = (items.features - middle) @ directions[:2].T
    total = float((lengths**2).sum())
    return places, float((lengths[:2] ** 2).sum()) / total if total else 1.0
