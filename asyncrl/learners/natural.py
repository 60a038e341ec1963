"""The natural gradient by conjugate gradient: maths on flat vectors, for any network and any distribution of actions.

Everything is a function of flat float32 or float64 vectors; products with the Fisher matrix F are functions too, so that F is never
built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Product = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A symmetric matrix as a function: v [N] -> its product with v [N]."""


def conjugate_gradient(product: Product, b: NDArray[np.float64], steps: int, tolerance: float = 1e-10) -> NDArray[np.float64]:
    """x[N] with product(x) close to b[N], for a symmetric positive definite product, begun at 0 (Hestenes and Stiefel 1952).

    Ends after `steps`, or once |b - product(x)|^2 <= tolerance * |b|^2; exact after N steps but for rounding.
    """
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
    """The longest of step[N], step / 2, step / 4, ... for which `judge(step)` = (loss, KL) has loss < before and KL <= 2 * max_kl.

    After `times` halvings without success: zeros. With times = 0 the step is taken as it is. NaN never passes.
    """
    if times == 0:
        loss, kl = judge(step)
        return step, {"kl": kl, "improvement": before - loss, "backtracks": 0.0}
    for halvings in range(times + 1):
        shorter = step * 0.5**halvings
        loss, kl = judge(shorter)
        if loss < before and kl <= 2 * max_kl:
            return shorter, {"kl": kl, "improvement": before - loss, "backtracks": float(halvings)}
    return np.zeros_like(step), {"kl": 0.0, "improvement": 0.0, "backtracks": float(times)}
