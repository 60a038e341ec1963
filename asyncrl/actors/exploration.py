"""Exploration settings: each worker has its own. One setting is one class, and its line in `EXPLORATIONS`.

`asyncrl.actors.spelling` says how they are written on the command line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.rounds import EPSILON, PART, TEMPERATURE, RoundArrays

if TYPE_CHECKING:
    from asyncrl.heads.head import Head

LEAST_NOISE = 0.01
"""The share of the deviation to which annealed noise falls."""


@dataclass(frozen=True)
class Exploration:
    """One exploration setting of one worker: its base class, and what it does where a setting says nothing else."""

    description: ClassVar[str]
    """A line of `asyncrl list`."""
    kind: ClassVar[str]
    """Its name on the command line."""
    turns: ClassVar[str]
    """What it changes. A worker may have one setting for each."""
    value: float

    def fits(self, spec: EnvSpec) -> str | None:
        """Why it cannot be used with these actions, or None."""
        return None

    def fits_head(self, head: Head) -> str | None:
        """Why it cannot be used with this head, or None."""
        return None

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        """Prepare a round: set knobs, fill extra noise [T, E, M]. `memory` [E, M] is the setting's own, kept between rounds."""

    @property
    def heeds_ends(self) -> bool:
        """Whether it has something to do where an episode ends."""
        return type(self).episode_ended is not Exploration.episode_ended

    def episode_ended(self, rounds: RoundArrays, t: int, e: int, memory: NDArray[np.float64]) -> None:
        """Environment e begins an episode after step t of the round that `turn` prepared; `memory` [E, M]."""


@dataclass(frozen=True)
class EntropyWeight(Exploration):
    """Weight of the policy's entropy in this worker's loss, which reads it by `entropy_weight`. Actions are drawn as without it."""

    description: ClassVar[str] = "weight of the entropy in the worker's loss"
    kind: ClassVar[str] = "entropy"
    turns: ClassVar[str] = "entropy weight"

    def fits(self, spec: EnvSpec) -> str | None:
        return None if self.value >= 0 else "must be >= 0"


@dataclass(frozen=True)
class Epsilon(Exploration):
    """With probability epsilon an action is uniform. Annealed linearly from 1 over `anneal_steps` (0: constant)."""

    description: ClassVar[str] = "probability of a uniform action; epsilon:paper draws each worker's, @STEPS anneals from 1"
    kind: ClassVar[str] = "epsilon"
    turns: ClassVar[str] = "epsilon"
    anneal_steps: int = 0

    def fits(self, spec: EnvSpec) -> str | None:
        if not 0 <= self.value <= 1:
            return "must lie between 0 and 1"
        if spec.action_kind == "box" and not all(map(math.isfinite, (*spec.action_low, *spec.action_high))):
            return "needs Discrete actions or a Box with finite bounds"
        return None

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        done = min(total_steps / self.anneal_steps, 1.0) if self.anneal_steps else 1.0
        rounds.knobs[EPSILON] = (1.0 - done) + self.value * done


@dataclass(frozen=True)
class Temperature(Exploration):
    """Divides the logits; multiplies a Gaussian's standard deviation."""

    description: ClassVar[str] = "softmax temperature (for Box actions: factor of the standard deviation)"
    kind: ClassVar[str] = "temperature"
    turns: ClassVar[str] = "temperature"

    def fits(self, spec: EnvSpec) -> str | None:
        return None if self.value > 0 else "must be > 0"

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        rounds.knobs[TEMPERATURE] = self.value


@dataclass(frozen=True)
class Subset(Exploration):
    """A step chooses among a random part of so many actions of a head's set: the smaller, the more of the draw is the part's.

    The part is drawn anew at every transition and travels with the trajectory, so the policy is the softmax over it, exactly. Of action
    values the best of the part is taken; what is learned there are values of the whole set, whatever the parts.
    """

    description: ClassVar[str] = "heads itt, iot with resample subset, rollout; itt as action values: actions among which a step chooses"
    kind: ClassVar[str] = "subset"
    turns: ClassVar[str] = "part of the set"

    def fits(self, spec: EnvSpec) -> str | None:
        return None if self.value >= 1 and self.value == int(self.value) else "needs whole numbers from 1"

    def fits_head(self, head: Head) -> str | None:
        if not head.largest_part:
            wanted = "head itt or iot with resample = subset or rollout, or itt as action values"
            return f"needs {wanted} (head {head.name!r} as it is here does not choose among parts of a set)"
        return None if self.value <= head.largest_part else f"needs a set of as many actions (allowed: up to {head.largest_part:,})"

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        rounds.knobs[PART] = self.value


@dataclass(frozen=True)
class GrowingSubset(Subset):
    """Parts that grow, where a head wants that and the worker has no `Subset`: `value` actions for so many steps, then more and more.

    They have `last` actions after half as many steps again, and stay so. Between, they grow in equal ratios.
    """

    steps: int
    last: float

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        grown = min(max(2.0 * (total_steps / self.steps - 1.0), 0.0), 1.0)
        rounds.knobs[PART] = math.floor(self.value * (self.last / self.value) ** grown + 1e-9)


def with_parts(settings: list[list[Exploration]], head: Head) -> list[list[Exploration]]:
    """The settings of every worker, with parts that grow where the head has such and the worker none of its own."""
    if not head.pair_steps:
        return settings
    grows = GrowingSubset(float(head.first_part), head.pair_steps, float(head.last_part))
    return [one if any(isinstance(setting, Subset) for setting in one) else [*one, grows] for one in settings]


@dataclass(frozen=True)
class ActionNoise(Exploration):
    """Base of noise on the action, before bounding (bounded components live in [-1, 1]); `value` is its deviation, in half ranges.

    With `anneal_steps` that falls linearly to a hundredth over so many steps (seed 002, table 2).
    """

    turns: ClassVar[str] = "action noise"
    anneal_steps: int = 0

    def fits(self, spec: EnvSpec) -> str | None:
        return None if self.value >= 0 else "must be >= 0"

    def fits_head(self, head: Head) -> str | None:
        return None if head.takes_noise else "needs Box actions, or a head that proposes features of Discrete ones"

    def deviation(self, total_steps: float) -> float:
        """After so many steps of all workers."""
        done = min(total_steps / self.anneal_steps, 1.0) if self.anneal_steps else 0.0
        return self.value * (1.0 - (1.0 - LEAST_NOISE) * done)


@dataclass(frozen=True)
class GaussianNoise(ActionNoise):
    """White noise."""

    description: ClassVar[str] = "white noise on the action, deviation in half ranges; @STEPS lets it fall to a hundredth"
    kind: ClassVar[str] = "gaussian"

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        generator.standard_normal(out=rounds.extra_noise)
        rounds.extra_noise *= self.deviation(total_steps)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(ActionNoise):
    """Correlated noise x' = x - theta * x + sigma * normal; sigma is the `deviation`. Every episode begins at x = 0.

    SAVO's research code lets theta fall with sigma, so that the noise becomes slower too; here sigma falls alone.
    """

    description: ClassVar[str] = "Ornstein-Uhlenbeck noise (theta 0.15), anew each episode; sigma in half ranges, @STEPS lets it fall"
    kind: ClassVar[str] = "ou"
    theta: ClassVar[float] = 0.15

    def turn(self, rounds: RoundArrays, total_steps: float, generator: np.random.Generator, memory: NDArray[np.float64]) -> None:
        generator.standard_normal(out=rounds.extra_noise)
        sigma = self.deviation(total_steps)
        for noise in rounds.extra_noise:
            memory += -self.theta * memory + sigma * noise
            noise[:] = memory

    def episode_ended(self, rounds: RoundArrays, t: int, e: int, memory: NDArray[np.float64]) -> None:
        # The recursion is linear: x after a start from 0 is x as it ran on, less what is left of x at step t.
        noise = rounds.extra_noise[:, e]
        left = noise[t].copy()
        for x in noise[t + 1 :]:
            left *= 1.0 - self.theta
            x -= left
        memory[e] = noise[-1] if t + 1 < len(noise) else 0.0


EXPLORATIONS: dict[str, type[Exploration]] = {
    setting.kind: setting
    for setting in (
        EntropyWeight,
        Epsilon,
        Temperature,
        Subset,
        GaussianNoise,
        OrnsteinUhlenbeck,
    )
}


def entropy_weight(settings: list[Exploration], default: float) -> float:
    """The weight of the entropy in the loss of a worker with these settings: that of an `EntropyWeight` among them, or the default."""
    return next((one.value for one in settings if isinstance(one, EntropyWeight)), default)


def label(settings: list[Exploration]) -> str:
    """How a worker's settings are called in reports."""
    return "+".join(f"{setting.kind}:{setting.value:g}" for setting in settings) or "default"


def check_fit(settings: list[list[Exploration]], spec: EnvSpec) -> None:
    """Raise UserError where a setting does not fit the actions."""
    for setting in (one for worker in settings for one in worker):
        reason = setting.fits(spec)
        if reason:
            raise UserError(f"exploration {setting.kind}:{setting.value:g} {reason}")


def check_head(settings: list[list[Exploration]], head: Head) -> None:
    """Raise UserError where a setting does not fit the head."""
    for setting in (one for worker in settings for one in worker):
        reason = setting.fits_head(head)
        if reason:
            raise UserError(f"exploration {setting.kind}:{setting.value:g} {reason}")


def check_use(settings: list[list[Exploration]], kinds: tuple[str, ...], algo: str) -> None:
    """Raise UserError for settings that are not of these kinds: the algorithm has no use for others."""
    for setting in (one for worker in settings for one in worker):
        if setting.kind not in kinds:
            raise UserError(f"exploration {setting.kind!r} cannot be used with {algo} (allowed: {', '.join(kinds) or 'none'})")
