"""Acting without an actor, head `cross-entropy`: the critic's maximum is sought by the cross-entropy method (QT-Opt, Kalashnikov and
others 2018, arXiv 1806.10293, section 4.2; what seed 002 compares SAVO with as "CEM").

    mean, deviation = 0, 1;  `iterations` times:  x_n = clip(mean + deviation * normal, -1, 1), n = 1 .. samples;
            mean and deviation become those of the `elites` of which the first critic says most, the deviation at least 0.05
    a = clip(the best x of the last iteration + noise, -1, 1);  of a Discrete space the item that is nearest to it

`asyncrl.algos.cross_entropy` learns the critics. In an evaluation the same normal numbers serve at every step. SAVO's research code seeds
its generator anew at every call, also while it explores, gives the best sample the least weight, and refits squashed samples; here all
elites weigh the same, as in QT-Opt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.fields import Range
from asyncrl.heads.head import Floats
from asyncrl.heads.keyed_numbers import KEYS, normal_at
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.networks.following import critic_values
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, vector_size
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.proposing.head import ProposingHead
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.proposing.picking import disturbed, nearest, take_of_box
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, RoundArrays
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

LEAST_DEVIATION = 0.05


@dataclass(frozen=True)
class CrossEntropyOptions(ProposingOptions):
    """Options of the head cross-entropy."""

    iterations: Annotated[int, Range(1, 1000, whole=True)] = 3
    """How often samples are drawn; after each but the last their distribution is refitted."""
    samples: Annotated[int, Range(2, 10_000, whole=True)] = 30
    """Samples of an iteration (QT-Opt: 64)."""
    elites: Annotated[int, Range(1, 10_000, whole=True)] = 3
    """The best samples, to which the distribution is refitted (QT-Opt: 6)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.elites, int) and isinstance(self.samples, int) and self.elites > self.samples:
            raise UserError(f"elites = {self.elites} cannot be used (allowed: up to samples = {self.samples})")


@njit(cache=True, nogil=True, error_model="numpy")
def _refit(samples, values, elites, mean, deviation):  # type: ignore[no-untyped-def]
    """mean[C], deviation[C]: those of the best `elites` of samples[N, C] by values[R, 1], whose best ones are marked there."""
    mean[:], deviation[:] = 0.0, 0.0
    for _ in range(elites):
        best = 0
        for n in range(1, samples.shape[0]):
            if values[n, 0] > values[best, 0]:
                best = n
        values[best, 0] = -np.inf
        for c in range(mean.size):
            mean[c] += samples[best, c]
            deviation[c] += np.float64(samples[best, c]) ** 2
    for c in range(mean.size):
        mean[c] /= elites
        variance = max(deviation[c] / elites - mean[c] ** 2, 0.0)
        deviation[c] = max(np.sqrt(variance), LEAST_DEVIATION)


@njit(cache=True, nogil=True, error_model="numpy")
def _sought(critic, vector, observation, numbers, key, scratch):  # type: ignore[no-untyped-def]
    """The number of the best of the last samples, which are left in scratch[0] [N, C]; numbers = (iterations, elites)."""
    samples, mean, deviation, pairs, work, used, values = scratch
    (count, components), (iterations, elites) = samples.shape, numbers
    mean[:], deviation[:] = 0.0, 1.0
    for n in range(pairs.shape[0]):
        pairs[n, : observation.size] = observation
    for iteration in range(iterations):
        for n in range(count):
            for c in range(components):
                number = normal_at(key, (iteration * count + n) * components + c)
                samples[n, c] = min(max(mean[c] + deviation[c] * number, -1.0), 1.0)
            pairs[n, observation.size :] = samples[n]
        critic_values(critic, vector, pairs, work, used, values)
        if iteration + 1 < iterations:
            _refit(samples, values, elites, mean, deviation)
    best = 0
    for n in range(1, count):
        if values[n, 0] > values[best, 0]:
            best = n
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(plan, vector, start, numbers, items, bounds, knobs, observation, policy_output, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, stored] and of a Box bounded[E, C]; policy_output is not read."""
    point, found = scratch[:2]
    components, features = point.shape[1], items[0]
    for e in range(action.shape[0]):
        uniform = noise[1, e, components] < knobs[EPSILON]
        if not uniform:
            key = np.int64(noise[0, e, 0] * KEYS) if knobs[TEMPERATURE] > 0 else np.int64(0)
            point[0] = scratch[2][_sought(plan, vector[start:], observation[e], numbers, key, scratch[2:])]
        disturbed(point, extra_noise[e], noise[1, e], uniform, True, point[0])
        if features.shape[0]:
            nearest(*items, point, found)
            if uniform:
                draw = noise[1, e, components] / max(knobs[EPSILON], 1e-300)
                found[0] = min(np.int64(draw * features.shape[0]), features.shape[0] - 1)
            action[e, :components] = features[found[0]]
            action[e, action.shape[1] - 1] = found[0]
        else:
            take_of_box(point[0], extra_noise[e], False, bounds, action[e], bounded[e])


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    _choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound


class CrossEntropyHead(ProposingHead):
    """There is no actor: the network below it is one linear layer that nobody asks or learns."""

    name: ClassVar[str] = "cross-entropy"
    description: ClassVar[str] = "no actor, the critic's maximum is sought (CEM): finite Box, Discrete with features"
    kernels: ClassVar[tuple[Any, Any]] = (_choose, _act)
    options_type: ClassVar[type[HeadOptions]] = CrossEntropyOptions
    chosen_options: CrossEntropyOptions
    learners: ClassVar[Mapping[str, str]] = {"td3": "cross_entropy:CrossEntropy"}
    noise: ClassVar[str] = "uniform"

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self._start = vector_size(make_plan(spec.observation_size, (), self.components, "relu", POLICY_ALONE))

    @classmethod
    def proposed(cls, chosen: CrossEntropyOptions) -> int:
        return chosen.samples

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: Any) -> Layout:
        return {}

    def network(self, given: Shape) -> Shape:
        return replace(given, hidden=())

    def workspace(self, envs: int) -> Layout:
        numbers: Layout = {
            "point": ((1, self.components), np.float32),
            "nearest": ((1,), np.int64),
            "samples": ((self.actors, self.components), np.float32),
            "mean": ((self.components,), np.float64),
            "deviation": ((self.components,), np.float64),
        }
        deciding = self.deciding_scratch()
        return {**numbers, **{name: deciding[name] for name in ("pairs", "critic_work", "used", "values")}}

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        numbers = (self.chosen_options.iterations, self.chosen_options.elites)
        return self.critic_plan, vector, self._start, numbers, self.choices, self.bounds, r.knobs
