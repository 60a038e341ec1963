"""The acting side of algorithms with a replay: a policy network alone, compiled; its value networks stay with the learner."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError, unknown
from asyncrl.heads.choice import REPLAY_ROLES, with_role
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, vector_size
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role


class TowerPolicy(Policy):
    """A `Policy` over what the learners of `learners.off_policy` publish: the policy's layers, without v(s).

    For a head that acts with the critic (`Head.acts_with_critic`) the first critic's layers follow, `critic_size` numbers in the
    same layout: an MLP from (observation, action) [D + C] to one value. The learner makes the first parameters.
    """

    def __init__(
        self,
        spec: EnvSpec,
        head: str,
        hidden: tuple[int, ...] = (256, 256),
        head_options: HeadOptions | None = None,
        role: Role = Role.REPLAY,
    ):
        """`hidden`: units of each relu layer; `head_options`: none for the head's defaults; `role`: which of a head's two is meant.

        Raises UserError for an unknown head, images, or actions that the head cannot serve.
        """
        known = with_role(*REPLAY_ROLES)
        if head not in known:
            raise unknown("head", head, known)
        if spec.is_image:
            raise UserError(f"head {head!r} has no network for images; it needs observations that are vectors")
        network = NetworkOptions(hidden=hidden, activation="relu", head_options=head_options or HeadOptions())
        super().__init__(spec, head, network, role=role)
        critic = make_plan(spec.observation_size + self.head.components, hidden, 1, "relu", POLICY_ALONE)
        self.critic_size = vector_size(critic) if self.head.acts_with_critic else 0
        self.size += self.critic_size

    def initial(self, seed: int, normalised: bool = False) -> NDArray[np.float32]:
        """Zeros [size]: the learner makes the first parameters."""
        return np.zeros(self.size, np.float32)


def check_replay_network(network: NetworkOptions, algo: str) -> None:
    """Raise UserError for options of which the networks of algorithms with a replay, relu layers of their own, have no use."""
    for field in fields(NetworkOptions):
        value, allowed = getattr(network, field.name), ("auto", "relu") if field.name == "activation" else (field.default,)
        if field.name not in ("hidden", "head_options") and value not in allowed:
            raise UserError(f"{field.name} = {value} cannot be used with {algo} (allowed: {', '.join(map(str, allowed))})")
