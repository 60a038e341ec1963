"""The acting side of algorithms with a replay: a policy network alone, compiled; its value networks stay with the learner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError, unknown
from asyncrl.heads.networks.kernels import layer_sizes, make_plan, policy_forward, workspace_size
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.squashed import DeterministicHead, SquashedHead

TOWER_HEADS: dict[str, type[DeterministicHead]] = {head.name: head for head in (DeterministicHead, SquashedHead)}


class TowerPolicy(Policy):
    """A `Policy` over a vector of the policy's layers and nothing else: what the learners of `learners.off_policy` publish."""

    def __init__(self, spec: EnvSpec, head: str, hidden: tuple[int, ...] = (256, 256), activation: str = "relu"):
        if head not in TOWER_HEADS:
            raise unknown("head", head, TOWER_HEADS)
        if spec.is_image:
            raise UserError(f"head {head!r} has no network for images; it needs observations that are vectors")
        self.spec = spec
        self.options = NetworkOptions(hidden=hidden)
        self.head = TOWER_HEADS[head](spec)
        self.memory_size = 0
        self._network, self._compact = None, None
        self.plan: NDArray[np.int64] = make_plan(spec.observation_size, hidden, self.head.policy_outputs, activation, False)
        layers = layer_sizes(self.plan)
        self.size = sum(inputs * outputs + outputs for name, inputs, outputs in layers if name.startswith("policy."))
        self._network_size = self.size

    def initial(self, seed: int) -> NDArray[np.float32]:
        """Zeros: the learner makes the first parameters."""
        return np.zeros(self.size, np.float32)

    def act(self, vector: NDArray[np.float32], observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The action [E, C] in [-1, 1] at observation[E, D], without noise (squashed: tanh of the mean)."""
        envs = observation.shape[0]
        output = np.zeros((envs, self.head.policy_outputs), np.float32)
        policy_forward(self.plan, vector, observation, np.zeros(workspace_size(self.plan, envs), np.float32), output)
        return np.tanh(output[:, : self.head.components])
