"""Categorical head: one softmax per component of a Discrete or MultiDiscrete action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.head import Floats, Head
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import FAST, normalise
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, BoundKernel, LossRows, RoundArrays
from asyncrl.shared.compiled import njit

if TYPE_CHECKING:
    import torch


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(policy_output, sizes, knobs, noise, action):  # type: ignore[no-untyped-def]
    """Draw action[E, C] from policy_output[E, P] by inverting each softmax at noise[0, e, c]; noise[1] is for epsilon.

    With probability epsilon (noise[1, e, C] below it) all components of an environment are uniform. Temperature 0 is greedy.
    """
    temperature, epsilon = knobs[TEMPERATURE], knobs[EPSILON]
    for e in range(action.shape[0]):
        uniform = noise[1, e, sizes.size] < epsilon
        start = 0
        for c in range(sizes.size):
            size = sizes[c]
            if uniform:
                action[e, c] = min(int(noise[1, e, c] * size), size - 1)
            else:
                action[e, c] = _invert(policy_output[e, start : start + size], temperature, noise[0, e, c])
            start += size


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(logits, temperature, point):  # type: ignore[no-untyped-def]
    best, highest = 0, logits[0]
    for k in range(1, logits.size):
        if logits[k] > highest:
            best, highest = k, logits[k]
    if temperature == 0.0:
        return best
    total = 0.0
    for k in range(logits.size):
        total += np.exp((logits[k] - highest) / temperature)
    rest = point * total
    for k in range(logits.size):
        rest -= np.exp((logits[k] - highest) / temperature)
        if rest < 0.0:
            return k
    return logits.size - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, vector, work, normaliser, raw, observation, policy_output, sizes, knobs, noise, action, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, vector, observation[t], work, policy_output)
    _choose(policy_output, sizes, knobs, noise[:, t], action[t])
    return sound


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _output_gradient(policy_output, sizes, log_prob_weight, d_policy, action, entropy_coefficient, temperature):  # type: ignore[no-untyped-def]
    """Write d_policy[N, P] of sum over n of log_prob_weight[n] * log pi(a_n) + entropy_coefficient * H_n.

    pi is the policy at that temperature. Returns (that sum's first part, the sum of the entropies).
    """
    weighted, entropies = 0.0, 0.0
    cold = np.float32(1.0 / temperature)
    for n in range(policy_output.shape[0]):
        start = 0
        for c in range(sizes.size):
            size = sizes[c]
            highest = policy_output[n, start] * cold
            for k in range(start + 1, start + size):
                highest = max(highest, policy_output[n, k] * cold)
            total = np.float32(0.0)
            for k in range(start, start + size):
                total += np.exp(policy_output[n, k] * cold - highest)
            normal = highest + np.log(total)
            entropy = np.float32(0.0)
            for k in range(start, start + size):
                log_p = policy_output[n, k] * cold - normal
                entropy -= np.exp(log_p) * log_p
            for k in range(start, start + size):
                log_p = policy_output[n, k] * cold - normal
                p = np.exp(log_p)
                d_policy[n, k] = cold * (-log_prob_weight[n] * p - entropy_coefficient * p * (log_p + entropy))
            chosen = start + action[n, c]
            d_policy[n, chosen] += cold * log_prob_weight[n]
            weighted += log_prob_weight[n] * (policy_output[n, chosen] * cold - normal)
            entropies += float(entropy)
            start += size
    return weighted, entropies


@njit(cache=True, nogil=True, error_model="numpy")
def _log_prob(policy_output, sizes, action, temperature, epsilon, out):  # type: ignore[no-untyped-def]
    """out[N] = log of the probability with which `_choose` draws action[N, C]; temperature above 0."""
    for n in range(out.size):
        total, uniform, start = 0.0, 0.0, 0
        for c in range(sizes.size):
            size = sizes[c]
            highest = policy_output[n, start]
            for k in range(start + 1, start + size):
                highest = max(highest, policy_output[n, k])
            normal = 0.0
            for k in range(start, start + size):
                normal += np.exp((policy_output[n, k] - highest) / temperature)
            total += (policy_output[n, start + action[n, c]] - highest) / temperature - np.log(normal)
            uniform -= np.log(float(size))
            start += size
        if epsilon > 0.0:
            total = np.log((1.0 - epsilon) * np.exp(total) + epsilon * np.exp(uniform))
        out[n] = total


class CategoricalHead(Head):
    """Draws each component from a softmax of its own part of the outputs, by inverting it at a uniform random number."""

    name: ClassVar[str] = "categorical"
    description: ClassVar[str] = "one softmax per component: Discrete and MultiDiscrete actions"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTOR_CRITIC, Role.SEARCH})
    action_kinds: ClassVar[tuple[str, ...]] = ("discrete", "multidiscrete")
    action_dtype: ClassVar[type] = np.int64
    noise: ClassVar[str] = "uniform"
    energy: ClassVar[str] = "-log probability"
    decides: ClassVar[bool] = True

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        _choose(rounds.policy_output, self.sizes, rounds.knobs, rounds.noise[:, t], rounds.action[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        inputs = (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output)
        return _act, (*inputs, self.sizes, r.knobs, r.noise, r.action)

    def greedy_action(self, policy_output: Any) -> Any:
        import torch

        return torch.stack([scores.argmax(-1) for scores in policy_output.split(self.sizes.tolist(), -1)], -1)

    def loss_kernel(self, rows: LossRows, vector: Floats, gradient: Floats) -> BoundKernel:
        return BoundKernel(_output_gradient, (rows.policy_output, self.sizes, rows.log_prob_weight, rows.d_policy))

    def log_prob(self, policy_output: Floats, vector: Floats, action: NDArray[Any], knobs: NDArray[np.float64], out: Floats) -> None:
        _log_prob(policy_output, self.sizes, action, knobs[TEMPERATURE], knobs[EPSILON], out)

    def energies(self, policy_output: Floats, vector: Floats, actions: NDArray[Any]) -> NDArray[np.float64]:
        out, rows = np.zeros(len(actions), np.float32), np.repeat(policy_output.reshape(1, -1), len(actions), axis=0)
        _log_prob(rows, self.sizes, np.asarray(actions, np.int64), 1.0, 0.0, out)
        return -out.astype(np.float64)

    def log_prob_and_entropy(self, policy_output: Any, extra: Any, action: Any, temperature: float = 1.0) -> tuple[Any, Any]:
        import torch

        log_prob: Any = 0.0
        entropy: Any = 0.0
        start = 0
        for c, size in enumerate(self.sizes.tolist()):
            log_p = torch.log_softmax(policy_output[:, start : start + size] / temperature, dim=-1)
            log_prob = log_prob + log_p.gather(1, action[:, c : c + 1]).squeeze(1)
            finite = log_p.clamp(min=torch.finfo(log_p.dtype).min)  # a network may rule choices out by logits of -inf
            entropy = entropy - (log_p.exp() * finite).sum(-1)
            start += size
        return log_prob, entropy

    def divergence(self, policy_output: Any, extra: Any, old_output: Any, old_extra: Any) -> Any:
        total: Any = 0.0
        start = 0
        for size in self.sizes.tolist():
            total = total + kl_categorical(policy_output[:, start : start + size], old_output[:, start : start + size])
            start += size
        return total


def kl_categorical(logits: torch.Tensor, from_logits: torch.Tensor) -> torch.Tensor:
    """Mean over states of KL[softmax(from_logits) || softmax(logits)]; logits [B, K]."""
    logarithm, from_logarithm = logits.log_softmax(-1), from_logits.log_softmax(-1)
    return (from_logarithm.exp() * (from_logarithm - logarithm)).sum(-1).mean()
