"""What a run has learned, as an object: observation -> action, in one's own program, without processes and shared memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.choosing import Memory, choosing
from asyncrl.actors.exploration import Exploration
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos import ALGORITHMS
from asyncrl.envs.faults import observation_fault
from asyncrl.envs.make import EnvSource
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, PART, TEMPERATURE
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tables import set_tables
from asyncrl.session import loading
from asyncrl.session.folder import read_experiment, recorded_spec
from asyncrl.session.loading import check_checkpoint, checkpoint_of, snapshot_of
from asyncrl.topologies.players import policy_of
from asyncrl.workers.plan import task_without_environment
from asyncrl.workers.player import Snapshot


class Chooses(Protocol):
    """Chooses actions at E observations at a time."""

    def __call__(self, observation: NDArray[Any], explore: bool) -> list[Any]:
        """The actions [E], each of the space's own type, at observation[E, *shape]."""

    def forget(self) -> None:
        """Episodes begin: empty what it remembers of those before."""


class LearnedPolicy:
    """The policy of a checkpoint, with its normaliser, and its memory where it is recurrent. One thread uses it at a time.

    spec       the environment's spaces, as the run had them
    steps      environment steps of the checkpoint
    policy     its head, its network, sizes and layout
    snapshot   the numbers of both, and the normaliser
    """

    def __init__(self, policy: Policy | SearchPolicy, snapshot: Snapshot, settings: list[Exploration], seed: int = 0):
        """`settings`: how the worker explores that `explore` stands for; `seed`: of every random number."""
        self.spec: EnvSpec = policy.spec
        self.steps = snapshot.steps
        self.policy, self.snapshot, self._settings, self._seed = policy, snapshot, settings, seed
        set_tables(policy.head, snapshot.tables)
        self._of: dict[int, Chooses] = {}

    def act(self, observation: Any, explore: bool = False) -> Any:
        """The action at one observation, or the actions at a batch of them, as the environment gives them: not normalised.

        `explore`: as the first worker in training at the run's end; a search's policies are deterministic, and act as without it.
        Actions are of the action space's own type; of a batch [N, ...] there is an array [N, ...]. A recurrent policy remembers
        the episode of each place in the batch, until `reset`.

        Raises UserError for another shape, and for numbers that are not finite.
        """
        array = np.asarray(observation)
        single = array.shape == self.spec.observation_shape
        batch = array[None] if single else array
        if batch.shape[1:] != self.spec.observation_shape or not len(batch):
            raise UserError(f"observation has shape {array.shape} (allowed: {self.spec.observation_shape}, or several of them)")
        actions = self._chooser(len(batch))(batch, explore)
        return actions[0] if single else np.array(actions)

    def reset(self) -> None:
        """Episodes begin: a recurrent policy forgets what was before."""
        for one in self._of.values():
            one.forget()

    def _chooser(self, count: int) -> Chooses:
        if count not in self._of:
            if isinstance(self.policy, SearchPolicy):
                self._of[count] = _Searched(self.policy, self.snapshot)
            else:
                self._of[count] = _Drawn(self.policy, self.snapshot, count, self._settings, self._seed)
        return self._of[count]


class _Drawn:
    """A stochastic policy, or action values: E observations in one call."""

    def __init__(self, policy: Policy, snapshot: Snapshot, count: int, settings: list[Exploration], seed: int):
        self._policy, self._settings, self._steps = policy, settings, snapshot.steps
        self._generator = np.random.default_rng(seed)
        self._rounds = policy.round_arrays(1, count)
        self._rounds.normaliser[:] = snapshot.normaliser
        vector = np.array(snapshot.vector, np.float32)
        self._dense = policy.dense(vector)
        policy.head.begin(vector)
        policy.expand(vector, self._dense)
        policy.head.announce(self._dense)
        self._memory = Memory(count, policy.memory_size) if policy.memory_size else None
        self._noise = np.zeros((count, policy.head.noises))
        self._choose = choosing(policy, self._dense, self._rounds, self._memory)

    def forget(self) -> None:
        self._noise[:] = 0.0
        if self._memory is not None:
            for e in range(len(self._noise)):
                self._memory.forget(e)

    def __call__(self, observation: NDArray[Any], explore: bool) -> list[Any]:
        rounds, head = self._rounds, self._policy.head
        rounds.raw[0] = observation
        rounds.knobs[EPSILON], rounds.knobs[PART], rounds.knobs[TEMPERATURE] = 0.0, 0.0, float(explore)
        rounds.extra_noise[:] = 0.0
        if explore:
            for setting in self._settings:
                setting.turn(rounds, self._steps, self._generator, self._noise)
        head.draw(self._generator, rounds)
        if not self._choose(0):
            _refuse(observation, self._policy.spec)
        return [head.environment_action(rounds, 0, e) for e in range(len(observation))]


class _Searched:
    """What a search has found: one observation after the other."""

    def __init__(self, policy: SearchPolicy, snapshot: Snapshot):
        if policy.options.virtual_batch:
            raise UserError("a policy with virtual_batch needs observations of its environment to begin with; use `asyncrl.evaluate`")
        self._policy, self._player = policy, policy.player()
        self._player.normaliser[:] = snapshot.normaliser
        self._player.set(snapshot.vector)

    def forget(self) -> None:
        """Nothing: it remembers nothing."""

    def __call__(self, observation: NDArray[Any], explore: bool) -> list[Any]:
        actions = [self._player.act(one) for one in observation]
        if any(action is None for action in actions):
            _refuse(observation, self._policy.spec)
        return actions


def _refuse(batch: NDArray[Any], spec: EnvSpec) -> None:
    faults = (observation_fault(one, spec) for one in batch)
    raise UserError(next(fault for fault in faults if fault is not None))


def load(
    run_folder: str | Path,
    step: int | None = None,
    env: EnvSource | None = None,
    network_function: Any = None,
    seed: int = 0,
) -> LearnedPolicy:
    """The policy of a run's folder: of the newest checkpoint, or of that of a `step`.

    No environment is made, and nothing that the folder names is imported; `env` is needed only where an environment says itself
    what its actions are like (`action_features`). `network_function`: as the run had it. `seed`: of the random numbers of `explore`.

    Raises UserError for a folder that is no run's, a damaged checkpoint, or what does not fit.
    """
    folder = Path(run_folder)
    if env is not None:
        task, snapshot = loading.load(folder, env, network_function, step)
        experiment = read_experiment(folder, env, network_function)
    else:
        experiment = read_experiment(folder, _no_environment, network_function)
        checkpoint = checkpoint_of(folder, step)
        check_checkpoint(checkpoint, experiment)
        task = dataclasses.replace(task_without_environment(experiment), env_spec=recorded_spec(folder))
        snapshot = snapshot_of(checkpoint, task)
    entry = ALGORITHMS[experiment.algo]
    text = "" if entry.searches else experiment.explore or experiment.network.head_options.explore(entry.default_explore)
    return LearnedPolicy(policy_of(task), snapshot, parse_exploration(text, experiment.workers, experiment.seed)[0], seed)


def _no_environment() -> Any:
    raise UserError("a learned policy needs no environment")
