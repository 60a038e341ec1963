"""A sum tree: draw leaves with probability proportional to their weight, in compiled passes over one float64 array.

The array has 2 P numbers, P the number of leaves rounded up to a power of two: node 1 is the root, node i has the children
2 i and 2 i + 1, leaf j is node P + j. Every node is the sum of its children, computed anew when one of them changes and
never by adding a difference, so that no error builds up: the tree depends on the leaves alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def set_leaf(tree, leaf, weight):  # type: ignore[no-untyped-def]
    """Set one leaf, and the sums above it."""
    node = tree.size // 2 + leaf
    tree[node] = weight
    node //= 2
    while node >= 1:
        tree[node] = tree[2 * node] + tree[2 * node + 1]
        node //= 2


@njit(cache=True, nogil=True, error_model="numpy")
def set_leaves(tree, leaves, weights):  # type: ignore[no-untyped-def]
    """Set leaves[n] to weights[n]; of a leaf that comes twice, the later weight stays."""
    for i in range(leaves.size):
        set_leaf(tree, leaves[i], weights[i])


@njit(cache=True, nogil=True, error_model="numpy")
def rebuild(tree):  # type: ignore[no-untyped-def]
    """Compute all sums from the leaves."""
    for node in range(tree.size // 2 - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_stratified(tree, uniform, leaves, weights):  # type: ignore[no-untyped-def]
    """Draw one leaf from each of n equal parts of the total; uniform[n] in [0, 1). Writes leaves[n] and their weights[n].

    A leaf of weight 0 is never drawn: rounding may carry the search past the end of a node, and then the rest of it is
    empty. The total must be > 0.
    """
    count = uniform.size
    first = tree.size // 2
    for i in range(count):
        leaves[i] = 1
        weights[i] = tree[1] * ((i + uniform[i]) / count)
    # Level by level, so that the draws wait for memory together and not one after another.
    level = 1
    while level < first:
        for i in range(count):
            left = 2 * leaves[i]
            mass = weights[i]
            if mass >= tree[left] and tree[left + 1] > 0.0:
                weights[i] = mass - tree[left]
                left += 1
            leaves[i] = left
        level *= 2
    for i in range(count):
        weights[i] = tree[leaves[i]]
        leaves[i] -= first


class SumTree:
    """See the module. The weights are finite and >= 0.

    Writers:  one, which is also the only reader (the learner).
    Stale:    not applicable.
    When full: it has as many leaves as it was laid out with; those beyond them keep the weight 0.
    Crash:    a writer that died may have left sums that are not those of the leaves: whoever takes its place calls `rebuild`.
    """

    def __init__(self, array: NDArray[np.float64], leaves: int):
        """`array`: of `layout(leaves)`, zeroed or as a former writer left it."""
        self.array = array
        self.leaves = leaves

    @staticmethod
    def layout(leaves: int) -> Layout:
        """The one array that it needs."""
        if leaves < 1:
            raise ValueError(f"a sum tree needs at least one leaf, got {leaves}")
        return {"tree": ((2 * max(1 << (leaves - 1).bit_length(), 2),), np.float64)}

    @classmethod
    def empty(cls, leaves: int) -> SumTree:
        """A private one."""
        shape, dtype = cls.layout(leaves)["tree"]
        return cls(np.zeros(shape, dtype), leaves)

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self.array[1])

    @property
    def weights(self) -> NDArray[np.float64]:
        """The leaves' weights, a view; after writing there, `rebuild`."""
        first = self.array.size // 2
        return self.array[first : first + self.leaves]

    def set(self, leaves: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Set many. Raises ValueError, changing nothing, for a leaf that is not there or a weight that is no weight."""
        if leaves.size and not (leaves.min() >= 0 and leaves.max() < self.leaves):
            raise ValueError(f"leaves {leaves.min()}..{leaves.max()} are not all within 0..{self.leaves - 1}")
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("weights must be finite and not negative")
        set_leaves(self.array, leaves, weights)

    def rebuild(self) -> None:
        """Compute all sums from the leaves."""
        rebuild(self.array)

    def draw(self, generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """`count` leaves, one from each of as many equal parts of the total, and their weights. The total must be > 0."""
        leaves, weights = np.empty(count, np.int64), np.empty(count)
        if not self.total > 0:
            raise ValueError("nothing can be drawn from a sum tree without weight")
        draw_stratified(self.array, generator.random(count), leaves, weights)
        return leaves, weights
