"""Action values: one output per choice of a Discrete action, the best one taken unless epsilon draws another."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats, Head, Sums
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, LossRows, RoundArrays
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(value, knobs, noise, action):  # type: ignore[no-untyped-def]
    """action[E, 1] = the first of the best values[E, A], or with probability epsilon (noise[1, e, 1] below it) any, uniformly."""
    for e in range(action.shape[0]):
        if noise[1, e, 1] < knobs[EPSILON]:
            action[e, 0] = min(int(noise[1, e, 0] * value.shape[1]), value.shape[1] - 1)
            continue
        best = 0
        for a in range(1, value.shape[1]):
            if value[e, a] > value[e, best]:
                best = a
        action[e, 0] = best


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, vector, work, normaliser, raw, observation, value, knobs, noise, action, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, vector, observation[t], work, value)
    _choose(value, knobs, noise[:, t], action[t])
    return sound


@njit(cache=True, nogil=True, error_model="numpy")
def _output_gradient(weight, value, action, d_value):  # type: ignore[no-untyped-def]
    """Write d_value[N, A] of the sum over n of weight[n] * value[n, action[n, 0]]; returns that sum."""
    total = 0.0
    d_value[:] = np.float32(0.0)
    for n in range(weight.size):
        d_value[n, action[n, 0]] = weight[n]
        total += weight[n] * value[n, action[n, 0]]
    return total


class ActionValueHead(Head):
    """The outputs are Q(s, .), one for each choice. Temperature means nothing here: the choice is greedy but for epsilon."""

    name: ClassVar[str] = "action-values"
    description: ClassVar[str] = "one value per action, the best one but for epsilon: Discrete actions"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTION_VALUES})
    action_kinds: ClassVar[tuple[str, ...]] = ("discrete",)
    action_dtype: ClassVar[type] = np.int64
    energy: ClassVar[str] = "-Q(s, a)"

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        if options.recurrent:
            raise UserError(f"recurrent {options.recurrent} does not go with head 'action-values', whose target network keeps no memory")
        super().__init__(spec, options)

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        _choose(rounds.policy_output, rounds.knobs, rounds.noise[:, t], rounds.action[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        return _act, (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output, r.knobs, r.noise, r.action)

    def greedy_action(self, policy_output: Any) -> Any:
        return policy_output.argmax(-1, keepdim=True)

    def output_gradient(self, rows: LossRows, vector: Floats, entropy_weight: float, gradient: Floats, temperature: float = 1.0) -> Sums:
        """As `Head.output_gradient`, of the chosen values; a choice that is greedy has no entropy, so its weight is not read."""
        return _output_gradient(rows.log_prob_weight, rows.policy_output, rows.action, rows.d_policy), 0.0

    def energies(self, policy_output: Floats, vector: Floats, actions: NDArray[Any]) -> NDArray[np.float64]:
        return -policy_output[np.asarray(actions, np.int64)[:, 0]].astype(np.float64)

    def chosen(self, policy_output: Any, extra: Any, action: Any) -> Any:
        return policy_output.gather(1, action).squeeze(1)
