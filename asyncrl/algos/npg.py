"""NPG: natural policy gradient (Kakade 2001; the CMU slides' closing pages, seed 004), by conjugate gradient.

The slides minimise L(theta + d) + lambda (KL[p_theta || p_(theta+d)] - c) to first order in L and second order in the divergence,
and get  d = - F^(-1) grad L / lambda  with F the Fisher information. Here lambda is what makes the divergence c = `max_kl`:

    F x = grad L,      d = - sqrt(2 c / (x . F x)) x,      so that  d . F d / 2 = c

Where the slides stand apart from the field: they write Newton's method for 0 = d/dd (...) and leave lambda open; the constraint
itself is solved here, to second order, as in Rajeswaran and others 2017 (appendix) and in TRPO before its line search.

Everything is a function of flat float32 or float64 vectors; products with F are functions too, so that F is never built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Product = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class NpgOptions:
    """Options of NPG (`--mode sync`)."""

    t_max: int = 500
    """Steps of each environment in a round (the length of a rollout)."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    max_kl: float = 0.01
    """KL divergence from the policy that acted to the next one, mean over states, in nats (to second order)."""
    conjugate_steps: int = 10
    """Steps of the conjugate gradient method."""
    damping: float = 0.1
    """This times the identity is added to the Fisher matrix."""
    backtracks: int = 10
    """How often a step is halved at most, until the loss improves within twice `max_kl`; 0 takes every step (the slides)."""
    value_learning_rate: float = 1e-3
    """Adam's step size for the value network."""
    value_epochs: int = 10
    """Passes over a round's steps with which the value network is fitted."""
    value_batch: int = 64
    """Steps of one of its updates."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of a round to mean 0 and deviation 1."""
    normalize_returns: bool = True
    """Divide rewards by a running scale of the discounted returns, the same for all workers: so their unit does not matter."""
    normalize_observations: bool = False
    """Shift and scale observations by a running mean and deviation that all workers share."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own). Cancels under `normalize_returns`, but for
    its sign."""


def conjugate_gradient(product: Product, b: NDArray[np.float64], steps: int, tolerance: float = 1e-10) -> NDArray[np.float64]:
    """x[N] with product(x) close to b[N], for a symmetric positive definite product, begun at 0 (Hestenes and Stiefel 1952).

    Ends after `steps`, or once |b - product(x)|^2 <= tolerance * |b|^2; exact after N steps but for rounding.
    """
    import numpy as np

    x, residual = np.zeros_like(b, np.float64), b.astype(np.float64)
    direction, square = residual.copy(), float(residual @ residual)
    enough = tolerance * square
    for _ in range(steps):
        if square <= enough:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if curvature <= 0:  # rounding has used the digits up
            break
        x += square / curvature * direction
        residual -= square / curvature * image
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return x


def natural_step(
    product: Product, gradient: NDArray[np.float64], max_kl: float, steps: int
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The step d[N] down `gradient` with d . F d / 2 = max_kl; `product` has its damping in it. Zeros for a gradient of zeros.

    Returns (d, figures); `expected_improvement` is - gradient . d, what the loss should fall by to first order.
    """
    import numpy as np

    x = conjugate_gradient(product, gradient, steps)
    curvature = float(x @ product(x))
    if not curvature > 0:
        return np.zeros_like(x), {"expected_improvement": 0.0, "step_norm": 0.0}
    d = -np.sqrt(2.0 * max_kl / curvature) * x
    return d, {"expected_improvement": float(-(gradient @ d)), "step_norm": float(np.linalg.norm(d))}


def fisher_product(distance: torch.Tensor, parameters: list[Any], damping: float) -> Product:
    """v[N] -> (F + damping * identity) v, by Pearlmutter's rule: the gradient of (gradient of `distance`) . v.

    `distance` is the mean over states of KL[p_theta0 || p_theta] as a torch scalar in `parameters`, with theta0 held constant and
    theta = theta0 (see `asyncrl.heads.head.Head.divergence`): its second derivative there is F.
    """
    import numpy as np
    import torch

    slopes = torch.autograd.grad(distance, parameters, create_graph=True)
    flat = torch.cat([slope.reshape(-1) for slope in slopes])

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        inner = flat @ torch.from_numpy(vector).to(flat.dtype)
        parts = torch.autograd.grad(inner, parameters, retain_graph=True)
        image = torch.cat([part.reshape(-1) for part in parts]).numpy().astype(np.float64)
        return image + damping * vector

    return product


def surrogate(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """- mean of (pi / pi_old) A over samples [B]: its gradient at pi = pi_old is the policy gradient's."""
    return -((log_prob - old_log_prob).exp() * advantage).mean()


def backtrack(
    judge: Callable[[NDArray[np.float64]], tuple[float, float]], step: NDArray[np.float64], before: float, max_kl: float, times: int
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The longest of step, step / 2, step / 4, ... for which `judge(step)` = (loss, KL) has loss < before and KL <= 2 * max_kl.

    After `times` halvings without success: zeros. With times = 0 the step is taken as it is. NaN never passes.
    """
    import numpy as np

    if times == 0:
        loss, kl = judge(step)
        return step, {"kl": kl, "improvement": before - loss, "backtracks": 0.0}
    for halvings in range(times + 1):
        shorter = step * 0.5**halvings
        loss, kl = judge(shorter)
        if loss < before and kl <= 2 * max_kl:
            return shorter, {"kl": kl, "improvement": before - loss, "backtracks": float(halvings)}
    return np.zeros_like(step), {"kl": 0.0, "improvement": 0.0, "backtracks": float(times)}
