"""A heap of pairs of numbers in one array heap[2, K], with the pair of the lowest first number in front; compiled."""

from __future__ import annotations

from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def push(heap, count, cost, item):  # type: ignore[no-untyped-def]
    """Add (cost, item) to heap[2, K], which holds `count` pairs, and return the new count; without effect if it is full."""
    if count == heap.shape[1]:
        return count
    k = count
    while k and heap[0, (k - 1) // 2] > cost:
        heap[0, k], heap[1, k] = heap[0, (k - 1) // 2], heap[1, (k - 1) // 2]
        k = (k - 1) // 2
    heap[0, k], heap[1, k] = cost, item
    return count + 1


@njit(cache=True, nogil=True, error_model="numpy")
def pop(heap, count):  # type: ignore[no-untyped-def]
    """Remove the pair in front of heap[2, K], which holds `count` pairs, and return how many remain."""
    count -= 1
    cost, item, k = heap[0, count], heap[1, count], 0
    while 2 * k + 1 < count:
        child = 2 * k + 1
        if child + 1 < count and heap[0, child + 1] < heap[0, child]:
            child += 1
        if heap[0, child] >= cost:
            break
        heap[0, k], heap[1, k] = heap[0, child], heap[1, child]
        k = child
    heap[0, k], heap[1, k] = cost, item
    return count
