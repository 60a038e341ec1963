"""Compiled construction of a principal component tree; see `asyncrl.heads.implicit.selection.principal_tree`."""

from __future__ import annotations

import numpy as np

from asyncrl.shared.compiled import njit

SAMPLE = 256
"""Latents of a node, at equal distances in its order, from which its principal axis is estimated."""
ROUNDS = 8
"""Steps of the power iteration. The axis needs no precision: any direction cuts, a good one makes cells round."""


@njit(cache=True, nogil=True, error_model="numpy")
def principal_axis(latents, rows, axis, covariance):  # type: ignore[no-untyped-def]
    """Write axis[d], about the direction in which latents[N, d] with the numbers rows[n] vary most; covariance[d, d] is scratch."""
    size, count = axis.size, min(rows.size, SAMPLE)
    mean = np.zeros(size)
    for i in range(count):
        for j in range(size):
            mean[j] += latents[rows[i * rows.size // count], j] / count
    covariance[:] = 0.0
    for i in range(count):
        row = rows[i * rows.size // count]
        for j in range(size):
            x = latents[row, j] - mean[j]
            for k in range(size):
                covariance[j, k] += x * (latents[row, k] - mean[k])
    # It begins with the row of the number that varies most: never orthogonal to the axis, unless nothing varies.
    widest = 0
    for j in range(size):
        if covariance[j, j] > covariance[widest, widest]:
            widest = j
    for j in range(size):
        axis[j] = covariance[widest, j]
    for _ in range(ROUNDS):
        _multiply(covariance, axis, mean)
    if not covariance[widest, widest] > 0.0:
        axis[0] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(matrix, vector, product):  # type: ignore[no-untyped-def]
    """vector[d] becomes matrix[d, d] times vector, scaled to a largest number of 1; product[d] is scratch."""
    largest = 0.0
    for j in range(vector.size):
        product[j] = 0.0
        for k in range(vector.size):
            product[j] += matrix[j, k] * vector[k]
        largest = max(largest, abs(product[j]))
    for j in range(vector.size):
        vector[j] = product[j] / largest if largest > 0.0 else vector[j]


@njit(cache=True, nogil=True, error_model="numpy")
def select(keys, rows, first, last, middle):  # type: ignore[no-untyped-def]
    """Reorder rows[N] and keys[N] from `first` to before `last` so that those before `middle` have no higher keys than the rest.

    Hoare's quickselect, with the middle of three as the pivot.
    """
    last -= 1
    while first < last:
        a, b, c = keys[first], keys[(first + last) // 2], keys[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = first, last
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                rows[i], rows[j] = rows[j], rows[i]
                i += 1
                j -= 1
        if middle <= j:
            last = j
        elif middle >= i:
            first = i
        else:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_node(latents, order, level, place, axis, covariance, keys):  # type: ignore[no-untyped-def]
    """Bring the actions of one node into an order in which its left child's come first."""
    first, last = (place * order.size) >> level, ((place + 1) * order.size) >> level
    principal_axis(latents, order[first:last], axis, covariance)
    for i in range(first, last):
        key = 0.0
        for j in range(axis.size):
            key += latents[order[i], j] * axis[j]
        keys[i] = key
    select(keys, order, first, last, ((2 * place + 1) * order.size) >> (level + 1))


@njit(cache=True, nogil=True, error_model="numpy")
def cut(latents, order, depth):  # type: ignore[no-untyped-def]
    """Bring order[N], numbers of latents[N, d], into that of a tree's cells: node i of level l begins at position i N / 2^l."""
    size = latents.shape[1]
    axis, covariance, keys = np.empty(size), np.empty((size, size)), np.empty(order.size, np.float32)
    # Depth first: a node's latents stay in the cache for all levels below it.
    level, place = 0, 0
    while depth > 0:
        _cut_node(latents, order, level, place, axis, covariance, keys)
        if level + 1 < depth:
            level, place = level + 1, 2 * place
            continue
        while place & 1:
            level, place = level - 1, place >> 1
        if level == 0:
            return
        place += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _add_cell(latents, rows, total):  # type: ignore[no-untyped-def]
    """Add to total[F] the sums of the latents[N, d] with the numbers rows[n], and of their products where there is room."""
    size = latents.shape[1]
    for row in rows:
        at = size
        for j in range(size):
            total[j] += latents[row, j]
            if total.size > size:
                for k in range(j, size):
                    total[at] += np.float64(latents[row, j]) * latents[row, k]
                    at += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _write_node(total, count, size, node):  # type: ignore[no-untyped-def]
    """Write node[F], mean and covariance of `count` latents of `size` numbers, of the sums total[F] of `_add_cell`."""
    for j in range(size):
        node[j] = total[j] / count
    at = size
    if node.size > size:
        for j in range(size):
            for k in range(j, size):
                both = total[at] / count - total[j] / count * (total[k] / count)
                node[at] = 0.5 * both if j == k else both
                at += 1


@njit(cache=True, nogil=True, error_model="numpy")
def moments_of(latents, order, depth, nodes):  # type: ignore[no-untyped-def]
    """Write nodes[2 * 2^depth, F]: node 2^l + i is node i of level l; order[N]: the actions with latents[N, d] by position.

    A node has its mean [d], and where F is more than d, the upper triangle of its covariance, row by row, its diagonal halved: so that
    its dot product with [q, q_j q_k] is q . mean + q' covariance q / 2.
    """
    cells, size = 1 << depth, latents.shape[1]
    sums = np.zeros((2 * cells, nodes.shape[1]))
    for cell in range(cells):
        _add_cell(latents, order[(cell * order.size) >> depth : ((cell + 1) * order.size) >> depth], sums[cells + cell])
    for node in range(cells - 1, 0, -1):
        for j in range(sums.shape[1]):
            sums[node, j] = sums[2 * node, j] + sums[2 * node + 1, j]
    nodes[0] = np.float32(0.0)
    for level in range(depth + 1):
        for place in range(1 << level):
            count = (((place + 1) * order.size) >> level) - ((place * order.size) >> level)
            _write_node(sums[(1 << level) + place], count, size, nodes[(1 << level) + place])
