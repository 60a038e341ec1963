"""Algorithms: one algorithm is one file, and its line in `ALGORITHMS`. Imports nothing heavy: the command line reads it.

    entries           what a line of `ALGORITHMS` says, for each kind of algorithm
    a3c               every worker acts and updates; synchronous as a2c
    q1, sarsa, nq     the same with action values and a target network: one-step Q, one-step Sarsa, n-step Q
    impala            actors -> rings -> learner, on trajectories
    appo              the same with clipped epochs; synchronous with the field's numbers as ppo
    npg               natural policy gradient, in sync
    ddpg, td3, sac    actors -> rings -> learner, with a replay
    es, tres, ars, nes, cem, cma_es   black-box search

What several of them build on is in `asyncrl.learners` and `asyncrl.blackbox`.
"""

from __future__ import annotations

from asyncrl.algos.entries import ActorCritic, AlgorithmEntry, BlackBox, Replayed, Streamed, ValueBased
from asyncrl.errors import UserError, unknown

_DRAWN = ("temperature", "epsilon", "subset")
_APPO, _TANH = "appo:Appo", "deterministic"

ALGORITHMS: dict[str, AlgorithmEntry] = {
    entry.name: entry
    for entry in (
        ActorCritic("a3c", "asynchronous advantage actor-critic: every worker acts and updates", "a3c:A3C"),
        ActorCritic("a2c", "the same with one averaged update a round (a3c --mode sync)", "a3c:A3C", "sync"),
        ValueBased("q1", "asynchronous one-step Q-learning with a target network", "q1:Q1"),
        ValueBased("sarsa", "asynchronous one-step Sarsa with a target network", "sarsa:Sarsa"),
        ValueBased("nq", "asynchronous n-step Q-learning with a target network", "nq:Nq"),
        Streamed("impala", "actors, rings and one learner, corrected by V-trace", "impala:Impala", explorations=_DRAWN),
        Streamed("appo", "the same with clipped epochs on each batch, as in PPO", _APPO, explorations=_DRAWN),
        Streamed("ppo", "appo in sync on shuffled minibatches, the field's PPO", _APPO, "sync", options="PpoOptions", explorations=_DRAWN),
        Streamed("npg", "natural policy gradient by conjugate gradient, in sync", "npg:Npg", "sync", modes=("sync",), explorations=()),
        Replayed("ddpg", "deterministic policy gradient from a replay", "ddpg:Ddpg", head=_TANH, default_explore="ou:0.2"),
        Replayed("td3", "twin delayed deterministic policy gradient from a replay", "td3:Td3", head=_TANH, default_explore="gaussian:0.1"),
        Replayed("sac", "soft actor-critic from a replay, with a tuned temperature", "sac:Sac", head="squashed"),
        BlackBox("es", "evolution strategies: a gradient estimate from perturbed policies", "es:Es"),
        BlackBox("tres", "trust-region evolution strategies: clipped epochs on each generation", "tres:Tres"),
        BlackBox("ars", "augmented random search: the best directions, scaled by the spread of returns", "ars:Ars"),
        BlackBox("nes", "natural evolution strategies: deviations are learned too (snes, xnes)", "nes:Nes"),
        BlackBox("cem", "cross-entropy method: a diagonal Gaussian, refitted to the elite", "cem:Cem"),
        BlackBox("cma-es", "covariance matrix adaptation, full (small problems)", "cma_es:CmaEs", modes=("sync",)),
        BlackBox("sep-cma", "covariance matrix adaptation, diagonal", "cma_es:SepCma", options="CmaEsOptions", modes=("sync",)),
    )
}


def unknown_algorithm(given: object, env: object = None) -> UserError:
    """The error for a name that is no algorithm's: it names the nearest one, and all. `env`: what stands where an environment belongs;
    where that is an algorithm, the two were given in the wrong order."""
    if isinstance(env, str) and env in ALGORITHMS:
        return UserError(f"{given!r} is no algorithm, but {env!r} is: the algorithm comes first, then the environment")
    return unknown("algorithm", given, ALGORITHMS, most=len(ALGORITHMS))


def head_named(algo: str, given: str) -> str:
    """The head, or the layers, that a user names under an algorithm: of `auto` the algorithm's own head, where it has one."""
    return ALGORITHMS[algo].head if given == "auto" else given


_ACTIONS = {"discrete": "Discrete", "multidiscrete": "MultiDiscrete", "box": "Box"}


def check_actions(algo: str, action_kind: str) -> None:
    """Raise UserError where an algorithm is not made for actions of this kind; names those that are."""
    kinds = ALGORITHMS[algo].action_kinds
    if action_kind not in kinds:
        fitting = ", ".join(name for name, entry in ALGORITHMS.items() if action_kind in entry.action_kinds)
        needed = " or ".join(_ACTIONS[kind] for kind in kinds)
        raise UserError(f"{algo} needs {needed} actions, this environment's are {_ACTIONS[action_kind]} (algorithms that fit: {fitting})")
