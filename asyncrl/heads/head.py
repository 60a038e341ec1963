"""The contract of a head: what turns a network's outputs into actions, and actions into gradients of those outputs.

A head is one class in one file, with a line in `asyncrl.heads.HEADS`. It subclasses `Head` and overrides what its roles need:

    every role      choose, light_kernel; greedy_action, without which it cannot be exported
    ACTOR_CRITIC    log_prob, log_prob_and_entropy, loss_kernel or output_gradient; divergence, without which npg cannot use it
    ACTION_VALUES   output_gradient, chosen; values, where the outputs are not the values themselves
    REPLAY          the greedy action is tanh(policy_output), P = C, and there are no parameters of its own, unless `learners` names
                    what learns it; actions are stored within [-1, 1] as critics take them (C = `learnt_size`), and after that what
                    `stored_beside` says
    SOFT_REPLAY     the same of tanh(the first C outputs); the other C are logarithms of deviations, P = 2 C
    SEARCH          at temperature 0, `light_kernel` draws no random number: it gives the greedy action

Shapes: T steps, E environments, N = T x E rows, C components of an action, P outputs of the network for the policy, D numbers of
an observation. `tests/test_head_contract.py` holds every head of the registry to this contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.actions import EnvironmentActions, float32_within
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.options import HeadOptions, NetworkOptions, chosen_or_default
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, BoundKernel, LossRows, RoundArrays
from asyncrl.shared.arrays import Layout

MOST_COMBINATIONS = 100_000
"""Of the choices of several components, of which a picture looks at each."""

Floats = NDArray[np.float32]
Sums = tuple[float, float]


class Head:
    """Base class of all heads, with defaults for what most of them share. One object serves one process.

    policy_outputs   P, numbers that the network computes for this head at an observation
    components       C, components of an action of the environment's; 1 for Discrete. With a replay, those of an action as it is learnt
    stored           numbers that stand for an action in a trajectory: its C components, or what the head keeps instead of them
    places           N > 0: a stored action begins with its place in a set of N, of which the head chooses; 0 for others
    largest_part     where a step chooses among a random part of a set: as many actions as the knob PART may say; 0 for others
    pair_steps       where parts grow by themselves: for so many steps of a run they have `first_part` actions, and over half as many
                     again they grow to `last_part`; 0 for others
    sizes            [C] int64, the number of choices of each component; [0] for Box
    bounds           [2, C] float64 that float32 holds exactly, lowest and highest values of a Box; [2, 0] otherwise
    noises           numbers of the exploration's action noise, and of uniform ones, at a step: C, or more where it adds several
    extra_size       numbers of the head's own parameters; they end the policy's parameter vector
    takes_noise      whether an exploration setting can add noise to what it decides: to numbers, not to choices
    one_call         whether `light_kernel` gives a compiled function, and environments take what that writes as it is: a Box
                     bounded[t, e], a Discrete one action[t, e, 0]
    squash           whether tanh keeps a Box action within its bounds; otherwise it is clipped there
    tables           the shared arrays of `table_layout`, see `attach`
    chosen_options   what the user has chosen of this head, an `options_type`

    `vector` is everywhere the policy's parameters [size], or what stands for them under compact layers (`Policy.dense`): the
    head's own parameters are its last `extra_size` numbers, all others are the network's; of a head that acts with the critic, the
    critic's follow.
    """

    name: ClassVar[str]
    """What the user calls it: `--head NAME`."""
    description: ClassVar[str]
    """One line for `asyncrl list`, below 90 characters."""
    roles: ClassVar[frozenset[Role]]
    """Where it may be used."""
    action_kinds: ClassVar[tuple[str, ...]]
    """Kinds of actions that it is made for: "discrete", "multidiscrete", "box" (see `asyncrl.envs.spec.EnvSpec`)."""
    action_dtype: ClassVar[type]
    """Of the actions that are stored: np.int64 for choices, counted from 0; np.float32 for Box."""
    options_type: ClassVar[type[HeadOptions]] = HeadOptions
    """The frozen dataclass of its own options, in its file or beside it. They are shown, accepted and kept where the head is named, and
    refused elsewhere; other heads may have options of the same names. `asyncrl.experiment.experiment` makes the one object of a run."""
    noise: ClassVar[str] = ""
    """Random numbers that `choose` reads from noise[0]: "uniform" in [0, 1), "normal", or "" for none."""
    decides: ClassVar[bool] = False
    """Whether its greedy action is one that `asyncrl.heads.decisions` computes in one compiled call: of each component's outputs
    the largest, or outputs within `bounds` by `squash`. Without it, searches act by `light_kernel`, and vary its own parameters too."""
    energy: ClassVar[str] = ""
    """What `energies` are, in words for a picture, such as "-log density"; "" for a head that has none."""
    can_play_alone: ClassVar[bool] = False
    """Whether evaluations tell too what its first proposal earns without the critic's choice (`asyncrl.heads.rounds.ALONE`)."""
    acts_with_critic: ClassVar[bool] = False
    """Whether acting asks the critic too, so that algorithms with a replay publish their first critic after the policy's
    parameters (see `asyncrl.heads.tower.TowerPolicy`). Other families have v(s) in the policy's vector anyway."""

    learners: ClassVar[Mapping[str, str]] = {}
    """By name of an algorithm with a replay: ``file:class`` in `asyncrl.algos` of the `asyncrl.learners.off_policy.OffPolicyLearner`
    that learns this head there, whose updater is ``<class>Updater``. A head that names any can be used with those alone; without
    one, the algorithm's own learner learns it."""

    extra_size: int = 0
    squash: bool = False
    places: int = 0
    largest_part: int = 0
    pair_steps: int = 0
    first_part: int = 0
    last_part: int = 0

    @classmethod
    def for_role(cls, role: Role) -> type[Head]:
        """What stands for the head in a family of algorithms: itself, or a subclass for that role alone."""
        return cls

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        """Raises UserError for actions or options that this head cannot serve; `asyncrl.heads.choice` has checked the action kind."""
        self.chosen_options: Any = chosen_or_default(options.head_options, self.options_type)
        self.components = self.stored = self.noises = spec.action_size
        self.sizes = np.array(spec.action_sizes, np.int64)
        self.bounds = float32_within(np.array([spec.action_low, spec.action_high], np.float64).reshape(2, -1))
        self.policy_outputs = self.components if spec.action_kind == "box" else int(self.sizes.sum())
        self.tables: Mapping[str, NDArray[Any]] = {}
        self.caches: Mapping[str, NDArray[Any]] = {}
        self._actions = EnvironmentActions(spec)
        self._box, self._single = spec.action_kind == "box", spec.action_kind == "discrete"
        self.takes_noise = self._box
        self.one_call = spec.action_kind != "multidiscrete"

    @classmethod
    def learnt_size(cls, spec: EnvSpec, chosen: Any) -> int:
        """With a replay: C, numbers of an action as critics take it; `chosen`: the head's options."""
        return spec.action_size

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: Any) -> Layout:
        """With a replay: float32 arrays of a transition by name, whose numbers follow the C components of a stored action, in order.

        `chosen`: the head's options. A replay keeps them as `asyncrl.replays.records.Batch.extras`.
        """
        return {}

    # The network below it.

    def network(self, given: Shape) -> Shape:
        """The layers that it wants below it, for observations that are vectors. `given`: those that its name and the options say."""
        return given

    # Parameters of its own, and memory.

    def initial(self, generator: np.random.Generator) -> Floats:
        """Its own parameters [extra_size] at the start; they depend on the generator alone."""
        return np.zeros(self.extra_size, np.float32)

    def workspace(self, envs: int) -> Layout:
        """Named scratch arrays for acting in E = `envs` environments. Each `RoundArrays` has its own of them, in `scratch`."""
        return {}

    def table_layout(self) -> Layout:
        """Named arrays that all processes of a run share. A checkpoint keeps them, and evaluations are given a copy."""
        return {}

    def attach(self, tables: Mapping[str, NDArray[Any]]) -> None:
        """Use these arrays of `table_layout` from now on. Called before `light_kernel`, whose arguments may hold them.

        The head itself says who writes them, and what readers may see. Until this is called it has arrays of its own.
        """
        self.tables = tables

    def cache_layout(self) -> Layout:
        """Named arrays that all processes of a run share beside `tables`, and that it can do without: no checkpoint keeps them.

        They are zero when processes start, also of a resumed run and in an evaluation.
        """
        return {}

    def attach_caches(self, caches: Mapping[str, NDArray[Any]]) -> None:
        """Use these arrays of `cache_layout` from now on; as `attach`, and called with it."""
        self.caches = caches

    def begin(self, vector: Floats) -> None:
        """Parameters vector [size] are taken on to play whole episodes greedily: a candidate of a search, or what is evaluated.

        A head whose greedy actions are drawn from random sets draws them from here on as a function of the vector alone.
        """

    def announce(self, vector: Floats) -> None:
        """Others use vector [size] too: a search's new version, or the parameters of a round. What it computes of it may be shared."""

    def fill(self, generator: np.random.Generator) -> None:
        """Write the first contents of `tables`, which are zero before. Called once, before the processes of a new run start."""

    def figures(self) -> dict[str, float]:
        """What its tables and caches tell of the run so far, by name, for a run's summary."""
        return {}

    def parameter_figures(self, vector: Floats) -> dict[str, float]:
        """What the head's own parameters, the last of vector [size], say of the policy by themselves, by name, for reports."""
        return {}

    # Acting.

    def draw(self, generator: np.random.Generator, rounds: RoundArrays) -> None:
        """Fill the random numbers of a round, `rounds.noise`: noise[0] as `noise` says, noise[1] uniform, only where epsilon is above 0."""
        if self.noise == "uniform":
            generator.random(out=rounds.noise[0])
        elif self.noise == "normal":
            generator.standard_normal(out=rounds.noise[0])
        if rounds.knobs[EPSILON] > 0:
            generator.random(out=rounds.noise[1])

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        """Write rounds.action[t] [E, stored], and for Box rounds.bounded[t] [E, C], of rounds.policy_output [E, P] of any network.

        Reads rounds.knobs, rounds.noise[:, t] and rounds.extra_noise[t]. Temperature 0 gives the greedy action.
        """
        raise self._lacks("choose")

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        """(kernel, its arguments but for the last, the step t): `kernel(*arguments, t)` does a whole step on the compiled network.

        It normalises r.raw[t] into r.observation[t], runs the network of `plan` (see `asyncrl.heads.networks.kernels`) into
        r.policy_output, does what `choose` does, and returns whether all observations are finite.
        """
        raise self._lacks("light_kernel")

    @property
    def one_greedy_call(self) -> bool:
        """Whether a greedy step is one call of what `greedy_kernel` gives, and one environment takes what that writes as it is."""
        return self.one_call

    def greedy_kernel(self, plan: NDArray[np.int64], vector: Floats, rounds: RoundArrays) -> Callable[[bool], BoundKernel]:
        """What binds a compiled function that does a whole greedy step in one environment, as the kernel of `light_kernel` does.

        It is called with False, and again when that function finds that what it reads is another's now; with True if that happens
        without a step in between: then nobody else may write what is bound.
        """
        bound = BoundKernel(*self.light_kernel(plan, vector, rounds))
        return lambda alone: bound

    def environment_action(self, rounds: RoundArrays, t: int, e: int) -> Any:
        """What environment e is given for action[t, e]: of the space's own type and shape, and the environment's to keep."""
        if self._box:
            return self._actions.values(rounds.bounded[t, e])
        if self._single:
            return self._actions.number(rounds.action[t, e, 0])
        return self._actions.numbers(rounds.action[t, e])

    def greedy_action(self, policy_output: Any) -> Any:
        """torch: what `choose` gives at temperature 0, of policy_output[N, P] alone: choices [N, C], counted from 0, or of a Box float64
        [N, C] within `bounds`. It is traced, for files that are run elsewhere (`asyncrl export`).

        Raises UserError, as here: a head for which the outputs are not enough.
        """
        raise UserError(f"head {self.name!r} cannot be exported: its greedy action is more than a function of the network's outputs")

    # What it prefers, for pictures (`asyncrl landscape`): where `energy` says what that is.

    def energies(self, policy_output: Floats, vector: Floats, actions: NDArray[Any]) -> NDArray[np.float64]:
        """The energy [n] of each of actions[n, C] at policy_output[P]: a greedy step takes the least.

        Of a Box actions are what the environment is given, of others choices, counted from 0.
        """
        raise self._lacks("energies")

    def considered(self, policy_output: Floats, vector: Floats) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """(actions [M, C] among which the newest greedy step, at policy_output[P], has chosen; their energies [M]).

        All combinations of choices; none where there are more than MOST_COMBINATIONS, or where the best of a Box is computed, not sought.
        """
        count = math.prod(self.sizes.tolist()) if self.sizes.size else 0
        if not 0 < count <= MOST_COMBINATIONS:
            return np.zeros((0, self.components)), np.zeros(0)
        actions = np.stack(np.unravel_index(np.arange(count), self.sizes), axis=1)
        return actions, self.energies(policy_output, vector, actions)

    # Learning.

    def output_gradient(self, rows: LossRows, vector: Floats, entropy_weight: float, gradient: Floats, temperature: float = 1.0) -> Sums:
        """Write the gradient of  sum over n of rows.log_prob_weight[n] * s_n + entropy_weight * H_n,  a loss to descend.

        s_n is log pi(rows.action[n]) at this temperature and H_n the entropy there; of action values s_n is Q(s_n, a_n) and H_n is
        0. By the network's outputs it is written to rows.d_policy [N, P], by the head's own parameters to the last `extra_size`
        numbers of `gradient`. Returns (the sum's first part, the sum of the entropies).
        """
        bound = self.loss_kernel(rows, vector, gradient)
        sums: Sums = bound.kernel(*bound.arguments, rows.action, np.float32(entropy_weight), float(temperature))
        return sums

    @property
    def one_loss_call(self) -> bool:
        """Whether `loss_kernel` is all of `output_gradient`; a head that overrides the latter has nothing fused with it."""
        own = type(self)
        return own.loss_kernel is not Head.loss_kernel and own.output_gradient is Head.output_gradient

    def loss_kernel(self, rows: LossRows, vector: Floats, gradient: Floats) -> BoundKernel:
        """What does all of `output_gradient` in one call: kernel(*arguments, action, entropy weight, temperature).

        These are action[N, stored], a float32 and a float64; the arrays of `rows` but for its action, and vector [size] and
        gradient [size], are bound.
        """
        raise self._lacks("output_gradient")

    def log_prob(self, policy_output: Floats, vector: Floats, action: NDArray[Any], knobs: NDArray[np.float64], out: Floats) -> None:
        """Write out[N], the log-probability (of Box: density) of action[N, stored] as drawn from policy_output[N, P] with knobs[KNOBS]."""
        raise self._lacks("log_prob")

    def log_prob_and_entropy(self, policy_output: Any, extra: Any, action: Any, temperature: float = 1.0) -> tuple[Any, Any]:
        """torch: (log pi(action) [N], entropy [N]) of policy_output[N, P], its own parameters extra[extra_size] and action[N, stored]."""
        raise self._lacks("log_prob_and_entropy")

    def divergence(self, policy_output: Any, extra: Any, old_output: Any, old_extra: Any) -> Any:
        """torch: the mean over N states of KL[old || new], a scalar; outputs [N, P], its own parameters [extra_size]."""
        raise self._lacks("divergence")

    def chosen(self, policy_output: Any, extra: Any, action: Any) -> Any:
        """torch: of action values, Q(s_n, a_n) [N] of policy_output[N, P], its own parameters extra[extra_size] and action[N, 1]."""
        raise self._lacks("chosen")

    def values(self, policy_output: Floats, vector: Floats, out: Floats) -> Floats:
        """Of action values, Q(s_n, .) [N, A] of policy_output[N, P]: written to out[N, A], or the outputs themselves where they are it."""
        return policy_output

    def _lacks(self, member: str) -> NotImplementedError:
        roles = ", ".join(sorted(role.value for role in self.roles))
        return NotImplementedError(f"head {self.name!r} has no {member!r}; its roles are: {roles}")
