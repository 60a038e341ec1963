"""A policy: a network and a head over one flat vector. Acts with compiled kernels where it can, learns on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.generators import kept_generators, seed_generators
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.choice import ACTOR_CRITIC_LAYERS, REPLAY_ROLES, actor_learner_head, made
from asyncrl.heads.head import Head
from asyncrl.heads.networks import value_alone
from asyncrl.heads.networks.compact import GAINS, CompactNetwork, actor_critic, check_network, shape_of
from asyncrl.heads.networks.kernels import POLICY_ALONE, layer_sizes, make_plan, vector_size, workspace_size
from asyncrl.heads.networks.structures.dense import Orthogonal
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import KNOBS, TEMPERATURE, RoundArrays

OWN_PARAMETERS = 0x4EAD
"""What a stream of random numbers is for, part of its key: the start of a head's own parameters, and of its tables."""

NetworkFunction = Callable[[EnvSpec, int], Any]
"""A network of the user's own: (spec, policy outputs) -> torch module, observation[N, ...] -> (policy_output[N, P], value[N])."""


class Policy:
    """What every process knows of a policy: its head, its network, sizes and layout. The numbers are in a vector that is passed in.

    An actor needs of it: `spec`; `head`; `memory_size`; `round_arrays`; `dense` and `expand`; and to act, where it is `light`, `plan`
    for `Head.light_kernel`, otherwise `module` and `Head.choose`. Learners need `pull_back` besides.

    The vector [size] holds the network's layers, then the head's own parameters [head.extra_size]. Under compact layers the
    kernels work on a dense vector, which `expand` writes from it, and `pull_back` takes gradients of to those of the vector; for
    other layers the two are one array, and nothing is done. `has_value`: whether the network gives v(s) too.
    """

    def __init__(
        self,
        spec: EnvSpec,
        head: str,
        options: NetworkOptions,
        network: NetworkFunction | None = None,
        role: Role = Role.ACTOR_CRITIC,
    ):
        """`head`: the name of a head or of layers, or auto. `role`: what the network learns; only actor-critics have v(s).

        Raises UserError for names, actions, observations or options that do not go together.
        """
        self.spec = spec
        self.options = options
        self.head = made(head if role in REPLAY_ROLES else actor_learner_head(head, spec, role), spec, options, role)
        self._check(head, network)
        self.name = head if head in ACTOR_CRITIC_LAYERS else self.head.name
        self.memory_size = options.recurrent
        self.has_value = role is Role.ACTOR_CRITIC and role in self.head.roles
        self._network = network
        self._compact: CompactNetwork | None = None
        self._activation = options.hidden_activation
        self.plan: NDArray[np.int64] | None = None
        if network is None and not options.recurrent and not spec.is_image:
            trunk = int(options.trunk == "shared") if self.has_value else POLICY_ALONE
            shape = self.head.network(shape_of(head, options))
            self.plan = make_plan(spec.observation_size, shape.hidden, self.head.policy_outputs, shape.activation, trunk)
            self._activation = shape.activation
            self._network_size = vector_size(self.plan)
            if not shape.plain:
                self._compact = actor_critic(self.plan, shape)
                self._network_size = self._compact.size
        else:
            from asyncrl.heads.networks.modules import flatten

            self._network_size = flatten(self._fresh_module(0)).size
        self.size = self._network_size + self.head.extra_size

    def _check(self, head: str, network: NetworkFunction | None) -> None:
        options = self.options
        if network is not None and options.recurrent:
            raise UserError(f"recurrent {options.recurrent} needs the built-in network; a network function's own keeps no memory")
        if options.virtual_batch:
            raise UserError(f"virtual_batch = {options.virtual_batch} cannot be used: it is for black-box search (allowed: 0)")
        if head in ACTOR_CRITIC_LAYERS:
            check_network(self.spec, head, options)
            if network is not None:
                raise UserError(f"head {head!r} brings its own network and cannot be used with a network function; use 'auto'")

    @property
    def light(self) -> bool:
        """Whether the compiled MLP kernels serve this policy."""
        return self.plan is not None

    def why_not_compiled(self) -> str | None:
        """Why acting is more than one compiled call, as a compiled simulator asks for; None if it is one."""
        if not self.light:
            return "the policy acts through torch"
        return None if self.head.one_call else f"head {self.name!r} does more than one compiled call a step"

    def initial(self, seed: int, normalised: bool = False) -> NDArray[np.float32]:
        """A fresh vector: orthogonal weights, zero biases, the head's own start. `normalised`: observations come with deviation 1."""
        if self._compact is not None:
            network = self._compact.initial(np.random.default_rng(seed), normalised)
        elif self.plan is not None:
            network = _orthogonal(self.plan, np.random.default_rng(seed))
        else:
            from asyncrl.heads.networks.modules import flatten

            network = flatten(self._fresh_module(seed))
        own = self.head.initial(np.random.default_rng((seed, OWN_PARAMETERS)))
        return np.concatenate([network, own]).astype(np.float32)

    def value_alone(self) -> list[slice]:
        """The parts of the vector that v(s) depends on and the policy does not."""
        if self.plan is not None:
            return value_alone.of_layers(self.plan, self._compact)
        with kept_generators():
            return value_alone.of_module(self._fresh_module(0), self.spec)

    # Compact layers.

    def dense(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the kernels work on instead of vector[size]: the same array, or under compact layers one of their own, to be filled."""
        if self._compact is None:
            return vector
        return np.zeros(self._compact.dense_size + self.head.extra_size, np.float32)

    def expand(self, vector: NDArray[np.float32], dense: NDArray[np.float32]) -> None:
        """Fill what `dense` gave from vector[size]; to be called after every change of the vector."""
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
        """(torch module, the head's own parameters [extra_size] as a tensor): views of vector[N], with gradients in gradient[N].

        Both are what `dense` gives, of the parameters and of their gradient; without `gradient` there are none.
        """
        import torch

        from asyncrl.heads.networks.modules import MlpActorCritic, bind

        module = self._fresh_module(0) if self.plan is None else MlpActorCritic(self.plan, self._activation)
        at = bind(module, vector, gradient)
        extra = torch.nn.Parameter(torch.from_numpy(vector)[at:])
        if gradient is not None:
            extra.grad = torch.from_numpy(gradient)[at:]
        return module, extra

    def greedy_action(self, output: Any) -> Any:
        """torch: the actions of output[N, P], see `Head.greedy_action`."""
        return self.head.greedy_action(output)

    def fill_tables(self, seed: int) -> None:
        """Write the first contents of the head's tables; see `Head.fill`."""
        self.head.fill(np.random.default_rng((seed, OWN_PARAMETERS, 1)))

    def round_arrays(self, steps: int, envs: int, ahead: int = 0) -> RoundArrays:
        """Arrays for acting, T = `steps`, E = `envs`; room for `ahead` actions after the last step."""
        return round_arrays(self.spec, self.head, self.plan, (steps, envs), ahead)


def round_arrays(spec: EnvSpec, head: Head, plan: NDArray[np.int64] | None, shape: tuple[int, int], ahead: int = 0) -> RoundArrays:
    """Arrays for `shape` = (T, E), and for `ahead` actions after the last step; scratch for the network of plan[4 + layers], if any."""
    steps, envs = shape
    raw = np.zeros((steps + 1, envs, *spec.observation_shape), spec.observation_dtype)
    values = (steps + ahead, envs, head.components)
    knobs = np.zeros(KNOBS)
    knobs[TEMPERATURE] = 1.0
    return RoundArrays(
        raw=raw,
        observation=raw if spec.is_image else np.zeros(raw.shape, np.float32),
        policy_output=np.zeros((envs, head.policy_outputs), np.float32),
        action=np.zeros((steps + ahead, envs, head.stored), head.action_dtype),
        bounded=np.zeros(values, np.float32),
        noise=np.zeros((2, steps + ahead, envs, head.noises + 1)),
        extra_noise=np.zeros((steps + ahead, envs, head.noises)),
        knobs=knobs,
        normaliser=np.zeros((3, spec.observation_size), np.float32),
        work=np.zeros(workspace_size(plan, envs) if plan is not None else 0, np.float32),
        scratch={name: np.zeros(shape, dtype) for name, (shape, dtype) in head.workspace(envs).items()},
    )


def _orthogonal(plan: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.float32]:
    parts = []
    for name, inputs, outputs in layer_sizes(plan):
        parts += [Orthogonal().initial(generator, inputs, outputs, GAINS.get(name, 2.0**0.5)), np.zeros(outputs, np.float32)]
    return np.concatenate(parts)
