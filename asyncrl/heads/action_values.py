"""Action values: one output per choice of a Discrete action, the best one taken unless epsilon draws another."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.actions import EnvironmentActions
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import NetworkOptions
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
def _output_gradient(weight, action, d_value):  # type: ignore[no-untyped-def]
    d_value[:] = np.float32(0.0)
    for n in range(weight.size):
        d_value[n, action[n, 0]] = weight[n]


class ActionValueHead:
    """See the module. `policy_output` holds Q(s, .). Temperature means nothing here: the choice is greedy but for epsilon."""

    name: ClassVar[str] = "action-values"
    description: ClassVar[str] = "one value per action, the best one but for epsilon: Discrete actions"
    action_dtype: ClassVar[type] = np.int64
    needs_value: ClassVar[bool] = False
    """Whether the network has the output v(s) besides."""

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        if spec.action_kind != "discrete":
            kind, fitting = ("a Box", "gaussian") if spec.action_kind == "box" else (spec.action_kind, "categorical")
            raise UserError(f"head 'action-values' needs Discrete actions, this environment's are {kind}; use '{fitting}'")
        if options.recurrent:
            raise UserError(f"recurrent {options.recurrent} does not go with head 'action-values', whose target network keeps no memory")
        self.policy_outputs = int(spec.action_sizes[0])
        self.components = 1
        self.extra = np.zeros(0, np.float32)
        self._actions = EnvironmentActions(spec)

    def draw(self, generator: np.random.Generator, rounds: RoundArrays) -> None:
        """Fill the random numbers of a round: uniform, and only where epsilon is on."""
        if rounds.knobs[EPSILON] > 0:
            generator.random(out=rounds.noise[1])

    def choose(self, rounds: RoundArrays, vector: NDArray[np.float32], t: int) -> None:
        """Choose action[t] from rounds.policy_output, the outputs of any network."""
        _choose(rounds.policy_output, rounds.knobs, rounds.noise[:, t], rounds.action[t])

    def light_kernel(self, plan: Any, vector: NDArray[np.float32], r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        """(kernel, its arguments but for the last, the step): normalise, run the MLP and choose, in one compiled call."""
        return _act, (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output, r.knobs, r.noise, r.action)

    def environment_action(self, rounds: RoundArrays, t: int, e: int) -> Any:
        """What environment e is given for action[t, e]."""
        return self._actions.number(rounds.action[t, e, 0])

    def output_gradient(self, rows: LossRows) -> None:
        """Write rows.d_policy [N, A] of the sum over n of log_prob_weight[n] * Q(s_n, a_n): a weight for each chosen output."""
        _output_gradient(rows.log_prob_weight, rows.action, rows.d_policy)

    def chosen(self, policy_output: Any, action: Any) -> Any:
        """torch: Q(s_n, a_n) [N] of policy_output[N, A], action[N, 1]."""
        return policy_output.gather(1, action).squeeze(1)
