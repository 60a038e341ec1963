"""APPO and PPO: several clipped epochs on each batch of trajectories (Schulman and others 2017, equation 7 and algorithm 1).

APPO is IMPALA with several epochs, as told in `asyncrl.algos.impala`. With `minibatch` above 0 an epoch is no longer one update of all
trajectories but one of each minibatch of their steps, shuffled, as PPO has it; targets and advantages are then made once, before the
first update, and what is normalised is the advantage of a minibatch:

    L = 1/M * sum over n of  - min(r A, clip(r, 1 - e, 1 + e) A)  -  beta H(pi(. | s_n))  +  c (R_n - V(s_n))^2,    r = pi / pi_old

PPO is that with `--mode sync` and the field's numbers (`PpoOptions`). Acting on policy, the targets of V-trace are those of
generalised advantage estimation, and pi_old is the policy that acted (tests/test_ppo.py). In the other modes pi_old is the policy at
the batch's first update, to which V-trace corrects from the older one that acted.

Where ours stands apart from Stable-Baselines3 and CleanRL: advantages are divided by the deviation of the minibatch itself and not
by its estimate for a larger whole (n, not n - 1), so that a last minibatch of one step is no exception; the learning rate falls to
0, as CleanRL's does; rewards are divided by their scale, as CleanRL's are in continuous tasks, though by ours
(`asyncrl.learners.return_scale`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos.impala import ImpalaOptions, ImpalaUpdater, log_prob_weights
from asyncrl.fields import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, POSITIVE
from asyncrl.heads.policy import Policy
from asyncrl.learners.estimators import moments
from asyncrl.learners.minibatches import AutogradMinibatches, Samples, WrittenMinibatches
from asyncrl.learners.traces import Trace
from asyncrl.learners.updater import draws
from asyncrl.learners.vtrace import importance_figures
from asyncrl.progress import MOMENTS
from asyncrl.trajectory import Trajectory

SHUFFLES = 0x550
"""What a stream of random numbers is for: part of its key."""

ROLLOUT = 2048
"""Steps of all environments that PPO learns from at once, unless `t_max` says otherwise: the field's number for one environment."""


@dataclass(frozen=True)
class AppoOptions(ImpalaOptions):
    """Options of APPO: IMPALA with several clipped epochs on each batch."""

    epochs: Annotated[int, COUNT] = 4
    """Passes over each batch: without minibatches an update each, all but the first with clipped ratios."""
    minibatch: Annotated[int, COUNT_OR_ZERO] = 0
    """Steps of an update, drawn without replacement in each epoch; targets are made once a batch. 0: all of the batch, targets made
    anew in each epoch."""
    value_clip: Annotated[float, NOT_NEGATIVE] = 0.0
    """With minibatches: how far a value may move from what it was before the first update until its error counts as if it were there;
    0 for no limit. In units of returns as they are learned from."""
    optimizer: Literal["rmsprop", "adam", "sgd"] = "adam"
    """Rule of the update."""
    learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Step size at the start."""
    value_learning_rate: Annotated[float, POSITIVE] = 3e-3
    """Step size at the start of what v(s) alone depends on: larger, so that the policy does not outrun its critic."""


@dataclass(frozen=True)
class PpoOptions(AppoOptions):
    """Options of PPO (`--mode sync`): APPO with shuffled minibatches and the field's numbers."""

    t_max: Annotated[int, COUNT_OR_ZERO] = 0
    """Steps of each environment in a trajectory; 0 for as many as make 2,048 of all environments together."""
    epochs: Annotated[int, COUNT] = 10
    """Passes over each batch."""
    minibatch: Annotated[int, COUNT_OR_ZERO] = 64
    """Steps of an update, drawn without replacement in each epoch; targets are made once a batch. 0: all of the batch, targets made
    anew in each epoch."""
    value_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Step size at the start of what v(s) alone depends on."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of a minibatch to mean 0 and deviation 1."""

    def settled(self, steps: int, environments: int) -> tuple[Self, list[str]]:
        """With the steps of a trajectory, and a line where the run is too short for the usual ones."""
        if self.t_max:
            return self, []
        usual = max(ROLLOUT // environments, 1)
        t_max, notes = max(min(usual, steps // environments), 1), []
        if t_max < usual:
            notes.append(f"t_max is shortened to {t_max:,}: the usual {usual:,} are more than each environment has (--t-max sets another)")
        return replace(self, t_max=t_max), notes


class AppoUpdater(ImpalaUpdater):
    """APPO and PPO. Shuffles depend on the seed and the version alone."""

    figures = (*ImpalaUpdater.figures, "clip_fraction")

    def __init__(self, task: Any, policy: Policy, arrays: Mapping[str, NDArray[Any]] | None = None):
        super().__init__(task, policy, arrays)
        options: AppoOptions = task.options
        self._seed, self._size = task.seed, options.minibatch
        kind = WrittenMinibatches if policy.light else AutogradMinibatches
        self._minibatch_gradient = kind(policy, self._vector, self._size, options, log_prob_weights)
        self._moments = np.zeros(len(MOMENTS))

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        super().warm_up(trajectory, log_prob)
        if self._size:
            samples = Samples.of([Trace(trajectory, log_prob)], self._gradient_of.judge).at(slice(self._size))
            self._minibatch_gradient(samples, np.zeros_like(samples.value))

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        """One update for each minibatch of each epoch, or for each epoch where there are none; no update without units."""
        if not self._size or not self._traces:
            return super().update(version, steps, goes_on)
        rate = self._rate_at(steps, version)
        self._scale_rewards()
        samples = Samples.of(self._traces, self._gradient_of.judge)
        self._traces.clear()
        generator = draws(self._seed, SHUFFLES, version)
        all_figures: list[dict[str, float]] = []
        for _ in range(self._options.epochs):
            goes_on()  # a sign of life: a batch that was begun is learned from to its end
            shuffled = samples.at(generator.permutation(len(samples.value)))
            all_figures += self._pass(shuffled, now := np.zeros_like(shuffled.value), rate)
        moved = np.abs(np.exp(now - shuffled.log_prob) - 1.0)
        all_figures[-1]["clip_fraction"] = float(np.mean(moved > self._options.clip_range))
        all_figures[-1] |= importance_figures(now - shuffled.acted)
        moments(samples.value[:, None], samples.target - samples.value, self._moments)
        all_figures[-1] |= dict(zip(MOMENTS, self._moments.tolist()))  # of the batch, before its first update
        return all_figures

    def _pass(self, samples: Samples, now: NDArray[np.float32], rate: float) -> list[dict[str, float]]:
        """An update for each minibatch, in order; writes now [N], each log pi(a_n) as it was met."""
        all_figures = []
        for first in range(0, len(now), self._size):
            part = slice(first, first + self._size)
            figures = self._minibatch_gradient(samples.at(part), now[part])
            all_figures.append(figures | self._step(self._minibatch_gradient.gradient, rate))
        return all_figures
