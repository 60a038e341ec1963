"""A head that is written once and used in three families, with tables: what a newcomer's head may look like. For the tests alone."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import numpy as np

from asyncrl.fields import POSITIVE
from asyncrl.heads import HEADS
from asyncrl.heads.head import Floats, Head, Sums
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE

DEVIATION = 0.5
PROCESSES = 4096
LARGEST = 1.0 - 1e-6


@dataclass(frozen=True)
class TiltedOptions(HeadOptions):
    """Options of a newcomer's head."""

    tilt: Annotated[float, POSITIVE] = 0.2
    """Deviation of the table's first contents."""


class TiltedHead(Head):
    """The action is tanh of a normal variable around the outputs [C] plus a table `tilt` [C].

    tilt        written before the run by `fill`, read by all
    processes   [PROCESSES]: how often each process has chosen, by its number; that process is its one writer
    """

    name: ClassVar[str] = "tilted"
    description: ClassVar[str] = "for the tests: normal, tilted by a shared table, squashed by tanh"
    options_type: ClassVar[type[HeadOptions]] = TiltedOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTOR_CRITIC, Role.REPLAY, Role.SEARCH})
    action_kinds: ClassVar[tuple[str, ...]] = ("box",)
    action_dtype: ClassVar[type] = np.float32
    noise: ClassVar[str] = "normal"

    def workspace(self, envs):
        return {"mean": ((envs, self.components), np.float64)}

    def table_layout(self):
        return {"tilt": ((self.components,), np.float32), "processes": ((PROCESSES,), np.int64)}

    def fill(self, generator):
        self.tables["tilt"][:] = self.chosen_options.tilt * generator.standard_normal(self.components)

    def choose(self, rounds, vector, t):
        mean = rounds.scratch["mean"]
        np.add(rounds.policy_output, self.tables["tilt"], out=mean)
        u = mean + rounds.knobs[TEMPERATURE] * DEVIATION * rounds.noise[0, t, :, :-1]
        action = np.clip(np.tanh(u) + rounds.extra_noise[t], -1.0, 1.0)
        uniform = rounds.noise[1, t, :, -1:] < rounds.knobs[EPSILON]
        rounds.action[t] = np.where(uniform, 2.0 * rounds.noise[1, t, :, :-1] - 1.0, action)
        low, high = self.bounds
        rounds.bounded[t] = low + 0.5 * (rounds.action[t] + 1.0) * (high - low)
        self.tables["processes"][os.getpid() % PROCESSES] += 1

    def light_kernel(self, plan, vector, r):
        def act(t):
            sound = normalise(r.raw[t], r.normaliser, r.observation[t])
            policy_forward(plan, vector, r.observation[t], r.work, r.policy_output)
            self.choose(r, vector, t)
            return sound

        return act, ()

    def output_gradient(self, rows, vector, entropy_weight, gradient, temperature=1.0) -> Sums:
        weighted = np.zeros(len(rows.action), np.float32)
        knobs = np.array([temperature, 0.0])
        self.log_prob(rows.policy_output, vector, rows.action, knobs, weighted)
        u = np.arctanh(np.clip(rows.action, -LARGEST, LARGEST))
        apart = u - rows.policy_output - self.tables["tilt"]
        rows.d_policy[:] = rows.log_prob_weight[:, None] * apart / (temperature * DEVIATION) ** 2
        entropy = self.components * (math.log(temperature * DEVIATION) + 0.5 + 0.5 * math.log(2.0 * math.pi))
        return float(weighted @ rows.log_prob_weight), len(rows.action) * entropy

    def log_prob(self, policy_output, vector, action, knobs, out: Floats) -> None:
        a, deviation = np.clip(action.astype(np.float64), -LARGEST, LARGEST), knobs[TEMPERATURE] * DEVIATION
        z = (np.arctanh(a) - policy_output - self.tables["tilt"]) / deviation
        density = -0.5 * z**2 - math.log(deviation) - 0.5 * math.log(2.0 * math.pi) - np.log(1.0 - a**2)
        out[:] = density.sum(-1)
        if knobs[EPSILON] > 0:
            out[:] = np.logaddexp(math.log(1.0 - knobs[EPSILON]) + out, math.log(knobs[EPSILON]) - self.components * math.log(2.0))

    def log_prob_and_entropy(self, policy_output: Any, extra: Any, action: Any, temperature: float = 1.0) -> tuple[Any, Any]:
        import torch

        a = action.clamp(-LARGEST, LARGEST)
        normal = torch.distributions.Normal(policy_output + torch.from_numpy(self.tables["tilt"]), temperature * DEVIATION)
        return (normal.log_prob(torch.atanh(a)) - torch.log(1.0 - a**2)).sum(-1), normal.entropy().sum(-1)

    def divergence(self, policy_output, extra, old_output, old_extra):
        return ((policy_output - old_output) ** 2).sum(-1).mean() / (2.0 * DEVIATION**2)


class AskingHead(TiltedHead):
    """The same, for which the learner publishes its critic too."""

    name: ClassVar[str] = "asking"
    acts_with_critic: ClassVar[bool] = True


class Registering(NetworkOptions):
    """Options that register the head in every process that they are sent to: the registry is the package's own."""

    def __reduce__(self):
        return _registered, tuple(getattr(self, field.name) for field in fields(NetworkOptions))


def _registered(*values: Any) -> NetworkOptions:
    HEADS[TiltedHead.name] = TiltedHead
    return Registering(*values)
