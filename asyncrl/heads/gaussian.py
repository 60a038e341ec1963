"""Gaussian head: a diagonal normal distribution with a standard deviation that does not depend on the observation.

Its logarithm is a parameter, clamped to `options.LOG_STD` wherever it is used. A parameter that a step has carried out of them
has the gradient of the nearest bound as far as that leads back in: without it, it would stay outside for ever.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.head import Floats, Head
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import FAST, normalise
from asyncrl.heads.options import LOG_STD, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, BoundKernel, LossRows, RoundArrays
from asyncrl.shared.compiled import njit

if TYPE_CHECKING:
    import torch

LOG_STD_LOW, LOG_STD_HIGH = LOG_STD
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
BELOW_ONE = 1.0 - 2.0**-53
"""The last number before 1: what tanh gives must be finite before it."""


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(policy_output, log_std, bounds, squash, knobs, noise, extra_noise, action, bounded):  # type: ignore[no-untyped-def]
    """action[E, C] = mean + temperature * deviation * noise[0]; bounded[E, C] is what the environment gets of it, with extra_noise.

    Components with finite bounds live in [-1, 1] and are clipped there (or squashed by tanh), then scaled to the bounds.
    With probability epsilon (noise[1, e, C] below it) an action is uniform within its bounds. `_log_prob` is the density of action.
    """
    temperature, epsilon = knobs[TEMPERATURE], knobs[EPSILON]
    for e in range(action.shape[0]):
        uniform = noise[1, e, action.shape[1]] < epsilon
        for c in range(action.shape[1]):
            deviation = math.exp(min(max(log_std[c], LOG_STD_LOW), LOG_STD_HIGH))
            u = policy_output[e, c] + temperature * deviation * noise[0, e, c]
            low, high = bounds[0, c], bounds[1, c]
            finite = low > -np.inf and high < np.inf
            if uniform and finite:
                u = (2.0 * noise[1, e, c] - 1.0) * BELOW_ONE
                if squash:
                    u = math.atanh(u)
                action[e, c] = u
            else:
                action[e, c] = u
                u += extra_noise[e, c]
            if finite:
                within = math.tanh(u) if squash else min(max(u, -1.0), 1.0)
                u = low + 0.5 * (within + 1.0) * (high - low)
            bounded[e, c] = min(max(u, low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, vector, work, normaliser, raw, observation, policy_output, log_std, bounds, squash, knobs, noise, extra, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, vector, observation[t], work, policy_output)
    _choose(policy_output, log_std, bounds, squash, knobs, noise[:, t], extra[t], action[t], bounded[t])
    return sound


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _output_gradient(policy_output, log_std, log_prob_weight, d_policy, d_log_std, action, entropy_coefficient, temperature):  # type: ignore[no-untyped-def]
    """Write d_policy[N, C] and d_log_std[C] of sum over n of log_prob_weight[n] * log pi(a_n) + entropy_coefficient * H.

    pi is the policy at that temperature.

    The sum is a loss to descend: that decides which way leads a parameter back within its bounds. Returns (its first part, the
    sum of the entropies).
    """
    rows = np.float32(policy_output.shape[0])
    one = np.float32(1.0)
    warmth = np.float32(math.log(temperature))
    weighted, entropies = 0.0, 0.0
    for c in range(log_std.size):
        logarithm = min(max(log_std[c], np.float32(LOG_STD_LOW)), np.float32(LOG_STD_HIGH)) + warmth
        inverse = np.exp(-logarithm)
        slope = np.float32(0.0)
        for n in range(policy_output.shape[0]):
            z = (action[n, c] - policy_output[n, c]) * inverse
            d_policy[n, c] = log_prob_weight[n] * z * inverse
            slope += log_prob_weight[n] * (z * z - one)
            weighted += log_prob_weight[n] * (np.float32(-0.5) * z * z - logarithm - np.float32(_HALF_LOG_TWO_PI))
        slope += entropy_coefficient * rows
        outwards = (log_std[c] > LOG_STD_HIGH and slope < 0.0) or (log_std[c] < LOG_STD_LOW and slope > 0.0)
        d_log_std[c] = np.float32(0.0) if outwards else slope
        entropies += rows * (logarithm + np.float32(0.5 + _HALF_LOG_TWO_PI))
    return weighted, entropies


@njit(cache=True, nogil=True, error_model="numpy")
def _log_uniform(u, squash):  # type: ignore[no-untyped-def]
    """log density of a component that is uniform in [-1, 1], or whose tanh is."""
    if squash:
        return math.log(2.0) - 2.0 * abs(u) - 2.0 * math.log1p(math.exp(-2.0 * abs(u)))
    return -math.log(2.0) if abs(u) <= 1.0 else -np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _log_prob(policy_output, log_std, action, bounds, squash, temperature, epsilon, out):  # type: ignore[no-untyped-def]
    """out[N] = log density of action[N, C] as `_choose` draws it with means policy_output[N, C]; temperature above 0."""
    for n in range(out.size):
        own, uniform = 0.0, 0.0
        for c in range(log_std.size):
            logarithm = min(max(np.float64(log_std[c]), LOG_STD_LOW), LOG_STD_HIGH) + math.log(temperature)
            z = (np.float64(action[n, c]) - policy_output[n, c]) * math.exp(-logarithm)
            normal = -0.5 * z * z - logarithm - _HALF_LOG_TWO_PI
            own += normal
            bounded = bounds[0, c] > -np.inf and bounds[1, c] < np.inf
            uniform += _log_uniform(np.float64(action[n, c]), squash) if bounded else normal
        if epsilon > 0.0:
            own, uniform = own + math.log(1.0 - epsilon) if epsilon < 1.0 else -np.inf, uniform + math.log(epsilon)
            larger = max(own, uniform)
            own = larger + math.log1p(math.exp(min(own, uniform) - larger)) if larger > -np.inf else larger
        out[n] = own


class GaussianHead(Head):
    """The outputs are the mean [C]; the head's own parameters are the logarithm of the deviation [C].

    Log-probability and entropy are those of the normal distribution before bounding. Under `squash` the change of
    variables would add a term that does not depend on the parameters for a given action, so gradients of log pi agree;
    the entropy is that of the unsquashed distribution. Under epsilon the density is a mixture: (1 - epsilon) times the normal
    density, epsilon times 2^-C within [-1, 1] (before `squash`).
    """

    name: ClassVar[str] = "gaussian"
    description: ClassVar[str] = "diagonal normal, clipped or squashed into the bounds: Box actions"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTOR_CRITIC, Role.SEARCH})
    action_kinds: ClassVar[tuple[str, ...]] = ("box",)
    action_dtype: ClassVar[type] = np.float32
    noise: ClassVar[str] = "normal"
    energy: ClassVar[str] = "-log density"
    decides: ClassVar[bool] = True

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self.extra_size, self.squash = self.components, bool(options.squash)
        self._initial_log_std = options.initial_log_std

    def initial(self, generator: np.random.Generator) -> Floats:
        """The option `initial_log_std` for every component [C]."""
        return np.full(self.extra_size, self._initial_log_std, np.float32)

    def parameter_figures(self, vector: Floats) -> dict[str, float]:
        """The deviation, mean over components, before exploration and bounds."""
        log_std = vector[vector.size - self.components :]
        return {"policy_std": float(np.exp(np.clip(log_std, LOG_STD_LOW, LOG_STD_HIGH)).mean())}

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        r, log_std = rounds, vector[vector.size - self.components :]
        _choose(r.policy_output, log_std, self.bounds, self.squash, r.knobs, r.noise[:, t], r.extra_noise[t], r.action[t], r.bounded[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        log_std = vector[vector.size - self.components :]
        inputs = (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output)
        return _act, (*inputs, log_std, self.bounds, self.squash, r.knobs, r.noise, r.extra_noise, r.action, r.bounded)

    def greedy_action(self, policy_output: Any) -> Any:
        import torch

        low, high = torch.tensor(self.bounds.tolist(), dtype=torch.float64)
        finite = np.isfinite(self.bounds).all(0)
        mean = policy_output.double()
        within = torch.tanh(mean) if self.squash else mean.clamp(-1.0, 1.0)
        width = torch.tensor(np.where(finite, self.bounds[1], 1.0) - np.where(finite, self.bounds[0], 0.0))
        scaled = torch.where(torch.tensor(finite), low + 0.5 * (within + 1.0) * width, mean)
        return torch.minimum(torch.maximum(scaled, low), high)

    def loss_kernel(self, rows: LossRows, vector: Floats, gradient: Floats) -> BoundKernel:
        at = vector.size - self.components
        return BoundKernel(_output_gradient, (rows.policy_output, vector[at:], rows.log_prob_weight, rows.d_policy, gradient[at:]))

    def log_prob(self, policy_output: Floats, vector: Floats, action: NDArray[Any], knobs: NDArray[np.float64], out: Floats) -> None:
        log_std = vector[vector.size - self.components :]
        _log_prob(policy_output, log_std, action, self.bounds, self.squash, knobs[TEMPERATURE], knobs[EPSILON], out)

    def energies(self, policy_output: Floats, vector: Floats, actions: NDArray[Any]) -> NDArray[np.float64]:
        """As `Head.energies`: of what is bounded to the action, under `squash` of what tanh makes it of."""
        low, high = self.bounds
        finite = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):
            within = np.where(finite, 2.0 * (np.asarray(actions, np.float64) - low) / (high - low) - 1.0, actions)
        if self.squash:
            within = np.where(finite, np.arctanh(np.clip(within, -BELOW_ONE, BELOW_ONE)), within)
        log_std, rows = vector[vector.size - self.components :], np.repeat(policy_output.reshape(1, -1), len(within), axis=0)
        out = np.zeros(len(within))
        _log_prob(rows, log_std, within, self.bounds, self.squash, 1.0, 0.0, out)
        return -out

    def log_prob_and_entropy(self, policy_output: Any, extra: Any, action: Any, temperature: float = 1.0) -> tuple[Any, Any]:
        """torch: (log pi(action) [N], entropy [N]) of the mean policy_output[N, C], the log deviation extra[C] and action[N, C].

        What is made of them is a loss to descend, as in `output_gradient`.
        """
        import torch

        log_std = self.log_std(extra)
        if log_std.requires_grad:
            over, under = extra > log_std, extra < log_std
            log_std.register_hook(lambda slope: slope.masked_fill((over & (slope < 0)) | (under & (slope > 0)), 0.0))
        normal = torch.distributions.Normal(policy_output, temperature * log_std.exp(), validate_args=False)
        return normal.log_prob(action).sum(-1), normal.entropy().sum(-1)

    def divergence(self, policy_output: Any, extra: Any, old_output: Any, old_extra: Any) -> Any:
        return kl_gaussian(policy_output, self.log_std(extra), old_output, self.log_std(old_extra))

    def log_std(self, extra: Any) -> Any:
        """torch: the logarithm of the deviation [C] that extra[C] stands for; derivatives are those of the nearest one that it can be."""
        return extra.detach().clamp(LOG_STD_LOW, LOG_STD_HIGH) + (extra - extra.detach())


def kl_gaussian(mean: torch.Tensor, log_std: torch.Tensor, from_mean: torch.Tensor, from_log_std: torch.Tensor) -> torch.Tensor:
    """Mean over states of KL[N(from_mean, from_std) || N(mean, std)]; means [B, C], logarithms of deviations [C] or [B, C]."""
    variance, from_variance = (2 * log_std).exp(), (2 * from_log_std).exp()
    apart = (from_variance + (from_mean - mean).square()) / (2 * variance)
    return (log_std - from_log_std + apart - 0.5).sum(-1).mean()
