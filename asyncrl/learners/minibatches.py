"""Shuffled minibatches of a batch's steps -> gradient of an actor-critic's clipped loss, as in PPO.

What a batch is judged by, its targets, advantages, values and log-probabilities, is made once, before its first update: `Samples`.
What the loss makes of the policy's part, one algorithm gives (`LogProbWeights`); the value's squared error may be clipped too.
Options that are read here: clip_range, value_clip, entropy_weight, value_weight, normalize_advantages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.kernels import backward, forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, KNOBS, TEMPERATURE, LossRows
from asyncrl.learners.estimators import standardised
from asyncrl.learners.traces import Judged, LogProbWeights, Trace
from asyncrl.shared.compiled import njit


class Samples(NamedTuple):
    """N steps of several units, one unit after another, and what they were judged by before the first update.

    observation [N, *shape]; action [N, S]; acted, log_prob [N] of the action, by who acted and by the policy before the first update;
    value, target, advantage [N].
    """

    observation: NDArray[Any]
    action: NDArray[Any]
    acted: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    value: NDArray[np.float32]
    target: NDArray[np.float32]
    advantage: NDArray[np.float32]

    @classmethod
    def of(cls, traces: Sequence[Trace], judge: Callable[[Trace], Judged]) -> Samples:
        """Those of all traces, in arrays of their own."""
        parts = [_samples(trace, judge(trace)) for trace in traces]
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts)))

    def at(self, rows: NDArray[np.int64] | slice) -> Samples:
        """Those at rows [M], in arrays of their own; of a slice, views."""
        return Samples(*(array[rows] for array in self))


def _samples(trace: Trace, judged: Judged) -> Samples:
    trajectory, count = trace.trajectory, trace.trajectory.reward.size
    observation = trajectory.observation[:-1].reshape(count, *trajectory.observation.shape[2:])
    first = trace.first
    assert first is not None
    grids = (array.reshape(count).copy() for array in judged)  # the next trace is judged in the same arrays
    return Samples(observation, trajectory.action.reshape(count, -1), trace.acted.reshape(count), first, *grids)


@njit(cache=True, nogil=True, error_model="numpy")
def value_slopes(value, old, target, clip, weight, slope):  # type: ignore[no-untyped-def]
    """Write slope[N], the derivative by each value[N] of weight * the mean error of target[N]; returns that mean error.

    The error is (R - v)^2. With a clip above 0 it is the larger of that and (R - u)^2, where u is v moved to within the clip of
    old[N], the value before the first update: the rule of Baselines' PPO2. Where u has been moved and its error is the larger,
    nothing changes it, and the derivative is 0.
    """
    total = 0.0
    share = np.float32(weight / value.size)
    most = np.float32(clip)
    for n in range(value.size):
        error = value[n] - target[n]
        square = error * error
        slope[n] = np.float32(2.0) * share * error
        if most > np.float32(0.0):
            held = old[n] + min(max(value[n] - old[n], -most), most) - target[n]
            if held * held > square:
                square = held * held
                slope[n] = np.float32(0.0)
        total += square
    return total / value.size


class WrittenMinibatches:
    """The gradient for the compiled MLP, written out. Equal to that of `AutogradMinibatches` up to rounding (a test)."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], rows: int, options: Any, weights: LogProbWeights):
        """`rows`: most samples of a minibatch."""
        assert policy.plan is not None
        self._policy, self._plan, self._vector, self._options, self._weights = policy, policy.plan, vector, options, weights
        self.gradient = np.zeros(policy.size, np.float32)
        self._dense, self._dense_gradient = policy.dense(vector), policy.dense(self.gradient)
        self._output = np.zeros((rows, policy.head.policy_outputs), np.float32)
        self._d_output = np.zeros_like(self._output)
        self._value, self._d_value = np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.float32)
        self._log_prob = np.zeros(rows, np.float32)
        self._work = np.zeros(workspace_size(policy.plan, rows), np.float32)
        self._knobs = np.zeros(KNOBS)
        self._knobs[TEMPERATURE], self._knobs[EPSILON] = 1.0, 0.0

    def __call__(self, samples: Samples, now: NDArray[np.float32]) -> dict[str, float]:
        """Overwrite `gradient` with that of the loss of these samples at the present parameters, and now [N] with log pi(a_n).

        Advantages are normalised in place. Returns figures.
        """
        count, options, head = len(now), self._options, self._policy.head
        inputs = samples.observation.reshape(count, -1)
        output, value, d_value = self._output[:count], self._value[:count], self._d_value[:count]
        self._policy.expand(self._vector, self._dense)
        forward(self._plan, self._dense, inputs, self._work, output, value)
        head.log_prob(output, self._dense, samples.action, self._knobs, now)
        weights = policy_weights(samples, now, options, self._weights)
        rows = LossRows(output, self._d_output[:count], samples.action, weights)
        scale = 1.0 / count
        policy_loss, entropies = head.output_gradient(rows, self._dense, -options.entropy_weight * scale, self._dense_gradient)
        slopes = (samples.value, samples.target, options.value_clip, options.value_weight, d_value.reshape(count))
        value_loss = value_slopes(value.reshape(count), *slopes)
        backward(self._plan, self._dense, inputs, self._work, rows.d_policy, d_value, self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropies * scale}


class AutogradMinibatches:
    """The same by torch, for any network without a memory."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], rows: int, options: Any, weights: LogProbWeights):
        self._policy, self._options, self._weights = policy, options, weights
        self.gradient = np.zeros(policy.size, np.float32)
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)

    def __call__(self, samples: Samples, now: NDArray[np.float32]) -> dict[str, float]:
        """As `WrittenMinibatches.__call__`, by torch's backpropagation."""
        import torch

        options = self._options
        self._policy.expand(self._vector, self._dense)
        self._dense_gradient[:] = 0.0  # through the flat vector: the parameters' .grad are views of it
        output, value = self._module(torch.from_numpy(samples.observation))
        log_prob, entropy = self._policy.head.log_prob_and_entropy(output, self._extra, torch.from_numpy(samples.action))
        now[:] = log_prob.detach().numpy()
        weights = torch.from_numpy(policy_weights(samples, now, options, self._weights))
        slopes = np.empty_like(now)
        numbers = (samples.value, samples.target, options.value_clip, options.value_weight, slopes)
        value_loss = value_slopes(value.detach().numpy(), *numbers)
        policy_loss, mean_entropy = (weights * log_prob).sum(), entropy.mean()
        (policy_loss - options.entropy_weight * mean_entropy + (torch.from_numpy(slopes) * value).sum()).backward()
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return {"policy_loss": policy_loss.item(), "value_loss": value_loss, "entropy": mean_entropy.item()}


def policy_weights(samples: Samples, now: NDArray[np.float32], options: Any, weights: LogProbWeights) -> NDArray[np.float32]:
    """Derivative of the policy's loss, a mean, by each log pi(a_n), now [N]; normalises the samples' advantages, if that is on."""
    advantage = samples.advantage
    if options.normalize_advantages:
        standardised(advantage[:, None])
    return weights(advantage, now - samples.log_prob, options.clip_range, 1.0 / len(now))
