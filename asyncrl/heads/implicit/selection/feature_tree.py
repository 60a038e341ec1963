"""A random-feature tree: draws from the softmax over N actions in time proportional to log N, approximately.

Source: Zhao et al., "Implicit Two-Tower Policies" [S000], section 2.3.2. With positive random features psi(x) = exp(omega . x - |x|^2 / 2)
/ sqrt(m), omega Gaussian and orthogonal in blocks, exp(x . y) = E[psi(x) . psi(y)]; a node v holds xi(v), the sum of psi over its actions,
and a draw goes to the left child with probability psi(q) . xi(left) / (psi(q) . (xi(left) + xi(right))) (equation 10). Here x is the query
over the temperature and y a latent less the mean of all latents, which changes no probability and makes latents shorter; phi of the
equation is the identity, as the kernel is the dot product.

What differs from the paper: leaves are blocks of 64 actions, put together at random, and within a block the softmax is exact. That is
64 times less memory and more exact: the features' errors at the actions of a block average out, as far as they are not common to all.
Total variation from the exact softmax, 65,536 latents of 20 numbers with norm 1, m = 256, measured at |q| / temperature =

                                                     1/4     1       2      4      8
    leaves of one action                            .009    .042    .11    .26    .52
    blocks of 64                                    .0011   .0056   .016   .042   .13
    no features: any block, the softmax within it   .0028   .011    .023   .051   .14

So the features help where the softmax is nearly uniform, and hardly where |q| |latent| / temperature is above 4: there `draw` warns.
`principal_tree` is closer to the softmax in all of these.

One constant, a bound on the exponents of all actions and features, is subtracted from them, and one from the query's: both cancel.
One constant for each action would not. Latents are scaled to lengths at which features neither under- nor overflow (see `scale_of`).
Nodes are sums of their children, not differences of prefix sums as in the published code (google-deepmind/iris), where float32 loses
small ones; the tree is padded to a power of two with nodes of mass 0, which no draw enters.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import LANES, block_count, blocks_entry, ids_of, scan, write_blocks
from asyncrl.heads.implicit.selection.feature_draws import draw_by_features, leaf_shares, query_features
from asyncrl.heads.implicit.selection.projections import orthogonal_gaussians
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

LARGEST = 4.0
"""|query| |latent| / temperature above which the features say nothing, and `FeatureTree.draw` warns."""


@njit(cache=True, nogil=True, error_model="numpy")
def _add_features(latents, row, centre, scale, vectors, highest, exponents, total):  # type: ignore[no-untyped-def]
    """Add to total[m] the exponentials of omega . y - |y|^2 / 2 - highest, for y = scale (latents[row] - centre)."""
    exponents[:] = -highest
    for j in range(latents.shape[1]):
        y = scale * (latents[row, j] - centre[j])
        for i in range(exponents.size):
            exponents[i] += y * (vectors[j, i] - 0.5 * y)
    for i in range(exponents.size):
        total[i] += math.exp(exponents[i])


@njit(cache=True, nogil=True, error_model="numpy")
def fill_nodes(latents, order, centre, scale, vectors, highest, nodes):  # type: ignore[no-untyped-def]
    """Write nodes[2 P, m]: leaf b, node P + b, is the sum of the features of the actions order[64 b : 64 b + 64]; order[N].

    latents[N, d] less centre[d], times scale; vectors[d, m]: the omegas; `highest`: subtracted from all exponents.
    """
    leaves = nodes.shape[0] // 2
    exponents, total = np.empty(nodes.shape[1]), np.empty(nodes.shape[1])
    nodes[0] = np.float32(0.0)
    for leaf in range(leaves):
        total[:] = 0.0
        for row in order[leaf * LANES : (leaf + 1) * LANES]:
            _add_features(latents, row, centre, scale, vectors, highest, exponents, total)
        for i in range(total.size):
            nodes[leaves + leaf, i] = total[i]
    for node in range(leaves - 1, 0, -1):
        for i in range(total.size):
            nodes[node, i] = nodes[2 * node, i] + nodes[2 * node + 1, i]


def highest_exponent(vectors: NDArray[np.float64], radius: float) -> float:
    """A bound on omega . y - |y|^2 / 2 over all y up to the length `radius` and all omegas, the columns of vectors [d, m]."""
    lengths = np.sqrt(np.square(vectors).sum(axis=0))
    reached = np.minimum(lengths, radius)
    return float((reached * (lengths - 0.5 * reached)).max())


def scale_of(radius: float, temperature: float) -> float:
    """By what the latents are multiplied, and the query divided, before their features are computed: no dot product changes.

    `radius`: the length of the longest latent; queries are taken to be about as long. The error depends on how the lengths of x and y are
    shared out: long y make features that differ between blocks by chance, long x make few features count. Measured at 65,536 latents
    of norm 1 and m = 256, the best |y| is about .7 min(|q| |latent| / temperature, 1).
    """
    return 0.7 * min(radius / temperature, 1.0 / radius) if radius > 0.0 else 1.0


def radius_of(latents: NDArray[np.float32], centre: NDArray[np.float64]) -> float:
    """The longest of latents [N, d] less centre [d]."""
    parts = np.array_split(latents, -(-len(latents) // 65536))  # so that no copy of all of them is made
    return math.sqrt(max(float(np.square(part - centre).sum(axis=1).max()) for part in parts))


class FeatureTree(Selection):
    """Draws from the softmax by a sum tree of positive random features, down to blocks in which the softmax is exact.

    Memory, besides a copy of the latents: 2 P m float32 with P at least N / 64, that is 34 million bytes for a million actions and
    m = 256. The argmax is that of all scores.
    """

    name = "feature-tree"
    description = "draws by a tree of positive random features (approximate)"
    draws = True

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        self._scratch = np.empty(arrays["vectors"].shape[1]), np.empty(LANES, np.float32)
        self._warned = False

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        blocks = block_count(actions)
        leaves = 1 << (blocks - 1).bit_length()
        return {
            "blocks": blocks_entry(blocks, size),
            "ids": ((blocks, LANES), np.int32),
            "nodes": ((2 * leaves, options.features), np.float32),
            "vectors": ((size, options.features), np.float64),
            "lengths": ((2,), np.float64),
            "actions": ((1,), np.int64),
        }

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        count, size = latents.shape
        order = generator.permutation(count)
        vectors = arrays["vectors"]
        vectors[:] = orthogonal_gaussians(generator, options.features, size).T
        centre = latents.mean(axis=0, dtype=np.float64)
        radius = radius_of(latents, centre)
        scale = scale_of(radius, options.temperature)
        fill_nodes(latents, order, centre, scale, vectors, highest_exponent(vectors, scale * radius), arrays["nodes"])
        arrays["lengths"][:], arrays["actions"][0] = (radius, scale), count
        write_blocks(latents, order, arrays["blocks"])
        ids_of(order, arrays["ids"])

    def best(self, query: NDArray[np.float32]) -> int:
        blocks = self.arrays["blocks"]
        return max(int(scan(blocks, self.arrays["ids"], 0, len(blocks), query, self._scratch[1], np.float32(-np.inf), -1)[1]), 0)

    def draw(self, query: NDArray[np.float32], uniform: float) -> int:
        one, temperature = self.arrays, self.options.temperature
        self._check(query)
        index = one["blocks"], one["ids"], one["nodes"], one["vectors"], float(one["lengths"][1]), int(one["actions"][0])
        return int(draw_by_features(*index, query, temperature, uniform, *self._scratch))

    def shares(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability [B] with which a draw for query [d] ends in each block of the index."""
        one = self.arrays
        found, (features, _) = np.zeros(len(one["nodes"])), self._scratch
        query_features(query, one["vectors"], self.options.temperature * float(one["lengths"][1]), features)
        leaf_shares(one["nodes"], features, found)
        return found[len(found) // 2 :][: len(one["blocks"])]

    def _check(self, query: NDArray[np.float32]) -> None:
        """Warn, once, of products so large that the features say nothing."""
        product = math.sqrt(float(query @ query)) * float(self.arrays["lengths"][0]) / self.options.temperature
        if product > LARGEST and not self._warned:
            self._warned = True
            warnings.warn(
                f"|query| |latent| / temperature is {product:.3g}, above {LARGEST:g}: draws of the feature tree are far from the softmax; "
                f"raise the temperature ({self.options.temperature:g}), normalise the latents or use the principal tree",
                stacklevel=3,
            )
