"""TRES: trust region evolution strategies ([S003] Liu and others 2019): several epochs on the same evaluations.

Algorithm 1: from theta, K times theta' += step times the gradient of the clipped surrogate L (`asyncrl.blackbox.ratios`), with
mirrored evaluations. V is the same for every coordinate: the centred rank of an evaluation's return.

What the seed leaves open, and what is done here:
- Step and convention. theta' += learning_rate sigma g, with g = sigma dL/dtheta': in units of sigma, d += learning_rate g.
  The root mean square of g is 0.3 to 0.4 / sqrt(population) with ranks; 0.5 moves an epoch's d by about 0.02. Without
  1/sigma^2 in it the same number serves every sigma.
- Trust region. With lambda = 14 almost nothing is clipped, so epochs also end at a mean KL divergence per coordinate of
  `mean_kl`, or one coordinate's of `max_kl`; the move is scaled back to that limit.
- The first epoch is one step of ES (sgd with learning rate learning_rate sigma, without momentum and decay). All epochs
  together are about that step `epochs` times as long, corrected by the curvature along each axis; so compare TRES with ES at
  `epochs` times the learning rate. The curvature is in V+ + V-, so both are kept. Directions whose entries are not normal (hadamard,
  discrete, orthogonal-fixed) have no ratio and show none of it: all epochs then have the gradient of the first.
- Where the limit on the mean divergence ends the epochs, every move is sqrt(2 mean_kl N) sigma long, whatever the gradient's length:
  that is ES with a normalised gradient, as far as the epochs' directions agree. `straight` is exactly that, move by move as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.perturbed import Perturbed
from asyncrl.blackbox.ratios import Samples, divergence, gradient, measure
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.space import POLICIES, Space, Vector
from asyncrl.fields import COUNT, POSITIVE


@dataclass(frozen=True)
class TresOptions(SearchOptions):
    """Options of trust region evolution strategies."""

    epochs: Annotated[int, COUNT] = 15
    """Steps on the evaluations of an update, at most (the paper's best)."""
    clip: Annotated[float, POSITIVE] = 14.0
    """Density ratios are clipped to 1 - clip .. 1 + clip (the paper's lambda, its best); see `asyncrl.blackbox.ratios`."""
    learning_rate: Annotated[float, POSITIVE] = 0.5
    """Step of an epoch in sigmas, times a gradient of about 0.35 / sqrt(population) in each parameter with ranks."""
    mean_kl: Annotated[float, POSITIVE] = 0.05
    """Epochs end where the divergence per parameter, (move / sigma)^2 / 2, reaches this mean."""
    max_kl: Annotated[float, POSITIVE] = 0.5
    """Epochs end where the divergence of one parameter reaches this."""
    straight: bool = False
    """For studies, the control that shows what the epochs add: a move as long as theirs, along the first epoch's gradient, that of ES."""


class Tres(Perturbed):
    """Trust region evolution strategies as `asyncrl.blackbox.search.Search`. Published: theta [N]. No further state."""

    figures = (*Perturbed.figures, "surrogate", "epochs_done", "max_kl", "total_kl", "clipped_share", "effective_sample_size")

    def __init__(self, options: TresOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES) -> None:
        super().__init__(options, size, seed, settings, "antithetic", space)
        self._tres = options

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1 by several epochs on the batch.

        surrogate, divergences, clipped_share and effective_sample_size (in evaluations) are those at the new theta,
        gradient_norm is that of the first epoch.
        """
        kept, figures = self._keep(version, batch)
        if kept is None:
            return figures
        samples = self._samples(kept, kept.value)
        move, done, norm = self._epochs(samples, self._part(kept))
        surrogate, clipped, effective = measure(samples, move, self._tres.clip)
        largest, _, total = divergence(move, self._smallest_sigma)
        figures |= self._replaced(version, (self.theta + move).astype(self.theta.dtype))
        figures |= {"max_kl": largest, "total_kl": total, "clipped_share": clipped, "effective_sample_size": effective}
        return {"surrogate": surrogate, "epochs_done": float(done), "gradient_norm": norm, **figures}

    def _epochs(self, samples: Samples, part: slice) -> tuple[Vector, int, float]:
        """The move [N], the epochs that it took, and the norm of the first gradient; `part`: the parameters that do not rest."""
        options, norm = self._tres, 0.0
        move, first = np.zeros(self.published_size), np.zeros(self.published_size)
        for epoch in range(options.epochs):
            g = gradient(samples, move if epoch else None, options.clip)
            if not epoch:
                first, norm = g, float(np.linalg.norm(g))
            move += options.learning_rate * self._sigma * g
            largest, mean, _ = divergence(move[part], self._smallest_sigma)
            if largest > options.max_kl or mean > options.mean_kl:
                move *= np.sqrt(min(options.max_kl / largest, options.mean_kl / mean))
                break
        if options.straight and norm:
            move = first * (np.linalg.norm(move) / norm)
        return move, epoch + 1, norm
