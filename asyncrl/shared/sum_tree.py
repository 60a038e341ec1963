"""A sum tree: samples leaves with probability proportional to their weights, by compiled passes over one float64 array.

The array is tree[2 P], where P is the number of leaves rounded up to a power of two: node 1 is the root, node i has the
children 2 i and 2 i + 1, leaf j is node P + j. When a child changes, its parent is computed as the sum of both children
and not by adding the difference, so that rounding errors do not accumulate and the sums depend on the leaves alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def set_leaf(tree, leaf, weight):  # type: ignore[no-untyped-def]
    """Set the weight of one leaf of tree[2 P] and update the sums above it."""
    node = tree.size // 2 + leaf
    tree[node] = weight
    node //= 2
    while node >= 1:
        tree[node] = tree[2 * node] + tree[2 * node + 1]
        node //= 2


@njit(cache=True, nogil=True, error_model="numpy")
def set_leaves(tree, leaves, weights):  # type: ignore[no-untyped-def]
    """Set the leaves leaves[n] of tree[2 P] to weights[n]; if a leaf occurs twice, the later weight remains."""
    for i in range(leaves.size):
        set_leaf(tree, leaves[i], weights[i])


@njit(cache=True, nogil=True, error_model="numpy")
def rebuild(tree):  # type: ignore[no-untyped-def]
    """Compute all sums of tree[2 P] from its leaves."""
    for node in range(tree.size // 2 - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_stratified(tree, uniform, leaves, weights):  # type: ignore[no-untyped-def]
    """Stratified sampling: draw one leaf of tree[2 P] from each of n equal parts of the total, by uniform[n] in [0, 1).

    Writes leaves[n] and their weights[n]. A leaf of weight 0 is never drawn, also not if rounding carries the search past
    the end of a node: the right child is entered only if its sum is positive. The total must be > 0.
    """
    count = uniform.size
    first = tree.size // 2
    for i in range(count):
        leaves[i] = 1
        weights[i] = tree[1] * ((i + uniform[i]) / count)
    # All draws descend level by level, so that their memory accesses overlap.
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
    """A sum tree over leaves with finite weights >= 0; the module's docstring describes the array.

    Writers:  one process (the learner), which is also the only reader.
    Stale:    not applicable.
    When full: the number of leaves is fixed; the padding up to P keeps the weight 0.
    Crash:    a writer that died may have left sums that do not match the leaves: its replacement calls `rebuild`.
    """

    def __init__(self, array: NDArray[np.float64], leaves: int):
        """`array` [2 P]: of `layout(leaves)`, zeroed or as an earlier writer left it."""
        self.array = array
        self.leaves = leaves

    @staticmethod
    def layout(leaves: int) -> Layout:
        """Layout of the array ``tree`` for so many leaves. Raises ValueError for less than one."""
        if leaves < 1:
            raise ValueError(f"a sum tree needs at least one leaf, got {leaves}")
        return {"tree": ((2 * max(1 << (leaves - 1).bit_length(), 2),), np.float64)}

    @classmethod
    def empty(cls, leaves: int) -> SumTree:
        """A tree in this process's own memory, with all weights 0."""
        shape, dtype = cls.layout(leaves)["tree"]
        return cls(np.zeros(shape, dtype), leaves)

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self.array[1])

    @property
    def weights(self) -> NDArray[np.float64]:
        """View [leaves] of the weights; after writing there, call `rebuild`."""
        first = self.array.size // 2
        return self.array[first : first + self.leaves]

    def set(self, leaves: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Set the leaves leaves[n] to weights[n].

        Raises ValueError, before anything is changed, if a leaf is out of range or a weight is negative or not finite.
        """
        if leaves.size and not (leaves.min() >= 0 and leaves.max() < self.leaves):
            raise ValueError(f"leaves {leaves.min()}..{leaves.max()} are not all within 0..{self.leaves - 1}")
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("weights must be finite and not negative")
        set_leaves(self.array, leaves, weights)

    def rebuild(self) -> None:
        """Compute all sums from the leaves."""
        rebuild(self.array)

    def draw(self, generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw leaves [count], one from each of `count` equal parts of the total, and return them with their weights [count].

        Raises ValueError if the total is 0.
        """
        leaves, weights = np.empty(count, np.int64), np.empty(count)
        if not self.total > 0:
            raise ValueError("nothing can be drawn from a sum tree without weight")
        draw_stratified(self.array, generator.random(count), leaves, weights)
        return leaves, weights
