"""A policy: a network and a head over one flat vector. Acts with compiled kernels where it can, learns on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.generators import kept_generators, seed_generators
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError, unknown
from asyncrl.heads import HEADS
from asyncrl.heads.action_values import ActionValueHead
from asyncrl.heads.networks.compact import GAINS, LINEAR, CompactNetwork, actor_critic, check_network, hidden_of
from asyncrl.heads.networks.kernels import POLICY_ALONE, layer_sizes, make_plan, vector_size, workspace_size
from asyncrl.heads.networks.structures import STRUCTURES
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.rounds import KNOBS, TEMPERATURE, RoundArrays

NetworkFunction = Callable[[EnvSpec, int], Any]
"""A network of the user's own: (spec, policy outputs) -> torch module, observation[N, ...] -> (policy_output[N, P], value[N])."""


COMPACT_HEADS = (LINEAR, *STRUCTURES)
"""Heads that say what the layers are made of; the distribution is then the action space's."""


def head_name(given: str, spec: EnvSpec, values: bool = False) -> str:
    """Resolve ``auto`` and compact heads; raises UserError for an unknown name. `values`: see `Policy`."""
    if values and given in HEADS and given != ActionValueHead.name:
        allowed = ", ".join(("auto", ActionValueHead.name, *COMPACT_HEADS))
        raise UserError(f"head {given!r} cannot be used for action values (allowed: {allowed})")
    if given == "auto" or given in COMPACT_HEADS:
        if values:
            return ActionValueHead.name
        return "gaussian" if spec.action_kind == "box" else "categorical"
    if given not in HEADS:
        raise unknown("head", given, ("auto", *HEADS, *COMPACT_HEADS))
    return given


class Policy:
    """What every process knows of the policy: sizes and layout. The numbers are in a vector that is passed in.

    The vector holds the network's layers, then the head's own parameters (`head.extra`). Under a compact head the kernels work
    on a dense vector, which `expand` writes from it, and `pull_back` takes gradients of to those of the vector; for other
    heads the two are one array, and nothing is done.
    """

    _compact: CompactNetwork | None = None
    _compact_head = ""

    def __init__(
        self, spec: EnvSpec, head: str, options: NetworkOptions, network: NetworkFunction | None = None, values: bool = False
    ):
        """`values`: what the network gives are action values, and not a distribution's parameters."""
        self.spec = spec
        self.options = options
        self.head = HEADS[head_name(head, spec, values)](spec, options)
        if network is not None and options.recurrent:
            raise UserError(f"recurrent {options.recurrent} needs the built-in network; a network function's own keeps no memory")
        self.memory_size = options.recurrent
        self._network = network
        if options.virtual_batch:
            raise UserError(f"virtual_batch = {options.virtual_batch} cannot be used: it is for black-box search (allowed: 0)")
        if head in COMPACT_HEADS:
            check_network(spec, head, options)
            self._compact_head = head
            if network is not None:
                raise UserError(f"head {head!r} brings its own network and cannot be used with a network function; use 'auto'")
        self.plan: NDArray[np.int64] | None = None
        if network is None and not options.recurrent and not spec.is_image:
            hidden = hidden_of(head, options)
            shared = int(options.trunk == "shared") if getattr(self.head, "needs_value", True) else POLICY_ALONE
            self.plan = make_plan(spec.observation_size, hidden, self.head.policy_outputs, options.hidden_activation, shared)
            self._network_size = vector_size(self.plan)
            if head in COMPACT_HEADS:
                self._compact = actor_critic(self.plan, head, options)
                self._network_size = self._compact.size
        else:
            from asyncrl.heads.networks.modules import flatten

            self._network_size = flatten(self._fresh_module(0)).size
        self.size = self._network_size + self.head.extra.size

    @property
    def light(self) -> bool:
        """Whether the compiled MLP kernels serve this policy."""
        return self.plan is not None

    def initial(self, seed: int) -> NDArray[np.float32]:
        """A fresh vector: orthogonal weights, zero biases, the head's own start."""
        if self._compact is not None:
            network = self._compact.initial(np.random.default_rng(seed))
        elif self.plan is not None:
            network = _orthogonal(self.plan, np.random.default_rng(seed))
        else:
            from asyncrl.heads.networks.modules import flatten

            network = flatten(self._fresh_module(seed))
        return np.concatenate([network, self.head.extra]).astype(np.float32)

    @property
    def name(self) -> str:
        """The head's name: of a compact head its own, not the distribution's."""
        return self._compact_head or str(self.head.name)

    # Compact heads.

    def dense(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the kernels work on instead of vector[size]: the same array, or under a compact head one of their own, to be filled."""
        if self._compact is None:
            return vector
        return np.zeros(self._compact.dense_size + self.head.extra.size, np.float32)

    def expand(self, vector: NDArray[np.float32], dense: NDArray[np.float32]) -> None:
        """Fill what `dense` gave; once after every change of the vector."""
        if self._compact is not None:
            self._compact.expand(vector[: self._network_size], dense[: self._compact.dense_size])
            dense[self._compact.dense_size :] = vector[self._network_size :]

    def pull_back(self, vector: NDArray[np.float32], dense_gradient: NDArray[np.float32], gradient: NDArray[np.float32]) -> None:
        """Write gradient[size] of the dense vector's gradient; both from `dense`."""
        if self._compact is not None:
            self._compact.pull_back(
                vector[: self._network_size], dense_gradient[: self._compact.dense_size], gradient[: self._network_size]
            )
            gradient[self._network_size :] = dense_gradient[self._compact.dense_size :]

    def _fresh_module(self, seed: int) -> Any:
        import torch

        from asyncrl.heads.networks.modules import TorchActorCritic, checked, initialise

        if self._network is not None:
            with kept_generators():
                seed_generators(seed)
                torch.default_generator.manual_seed(seed)
                return checked(self._network(self.spec, self.head.policy_outputs), self.spec, self.head.policy_outputs)
        module = TorchActorCritic(self.spec, self.options, self.head.policy_outputs)
        initialise(module, seed)
        return module

    def module(self, vector: NDArray[np.float32], gradient: NDArray[np.float32] | None) -> tuple[Any, Any]:
        """(torch module, the head's own parameters as a tensor), views of a `dense` vector with gradients in `gradient`, likewise dense."""
        import torch

        from asyncrl.heads.networks.modules import MlpActorCritic, bind

        module = self._fresh_module(0) if self.plan is None else MlpActorCritic(self.plan, self.options.hidden_activation)
        at = bind(module, vector, gradient)
        extra = torch.nn.Parameter(torch.from_numpy(vector)[at:])
        if gradient is not None:
            extra.grad = torch.from_numpy(gradient)[at:]
        return module, extra

    def round_arrays(self, steps: int, envs: int, ahead: int = 0) -> RoundArrays:
        """Arrays for acting, T = `steps`, E = `envs`; room for `ahead` actions after the last step."""
        shape = (steps + 1, envs, *self.spec.observation_shape)
        components = self.head.components
        raw = np.zeros(shape, self.spec.observation_dtype)
        knobs = np.zeros(KNOBS)
        knobs[TEMPERATURE] = 1.0
        return RoundArrays(
            raw=raw,
            observation=raw if self.spec.is_image else np.zeros(shape, np.float32),
            policy_output=np.zeros((envs, self.head.policy_outputs), np.float32),
            action=np.zeros((steps + ahead, envs, components), self.head.action_dtype),
            bounded=np.zeros((steps + ahead, envs, components), np.float32),
            noise=np.zeros((2, steps + ahead, envs, components + 1)),
            extra_noise=np.zeros((steps + ahead, envs, components)),
            knobs=knobs,
            normaliser=np.zeros((3, self.spec.observation_size), np.float32),
            work=np.zeros(workspace_size(self.plan, envs) if self.plan is not None else 0, np.float32),
        )


def _orthogonal(plan: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.float32]:
    parts = []
    for name, inputs, outputs in layer_sizes(plan):
        gain = GAINS.get(name, 2.0**0.5)
        normal = generator.standard_normal((max(inputs, outputs), min(inputs, outputs)))
        q, r = np.linalg.qr(normal)
        q *= np.sign(np.diag(r))
        parts += [gain * (q if inputs >= outputs else q.T).reshape(-1), np.zeros(outputs)]
    return np.concatenate(parts).astype(np.float32)
