"""Algorithms: one algorithm is one file, and its line in `ALGORITHMS`. Imports nothing heavy: the command line reads it.

    entries      what a line of `ALGORITHMS` says, for each kind of algorithm
    estimators, vtrace   returns and advantages, arrays to arrays
    options      what all actor-learners let the user choose
    a3c          every worker acts and updates; synchronous as a2c
    values, q1, sarsa, nq   the same with action values and a target network: one-step Q, one-step Sarsa, n-step Q
    impala       actors -> rings -> learner, on trajectories (also appo)
    off_policy, towers, ddpg, td3, sac   actors -> rings -> learner, with a replay
    devices      where their numbers live: host, GPU
    npg          natural policy gradient, in sync
    es, tres, ars, nes, cem, cma_es   black-box search
"""

from __future__ import annotations

from asyncrl.algos import nq, q1, sarsa
from asyncrl.algos.a3c import A3COptions, loss, output_weights
from asyncrl.algos.entries import ALL_MODES, ActorCritic, AlgorithmEntry, BlackBox, Streamed, ValueBased
from asyncrl.errors import UserError

_A3C = (A3COptions, loss, output_weights)
_Q1 = (q1.Q1Options, q1.next_value, q1.targets)
_SARSA = (sarsa.SarsaOptions, sarsa.next_value, sarsa.targets)
_NQ = (nq.NqOptions, nq.next_value, nq.targets)


def _search(name: str, description: str, search: str, options: str = "", modes: tuple[str, ...] = ALL_MODES) -> BlackBox:
    """`search`: ``file:class`` in this folder; its options are ``<class>Options`` unless they are named."""
    file, _, kind = search.partition(":")
    return BlackBox(name, description, "sync", f"asyncrl.algos.{file}", kind, options or f"{kind}Options", modes)


_IN = "asyncrl.algos.impala"
_TRACES = ("asyncrl.learners.traces:TraceUpdater", "auto", ("temperature", "epsilon"))
_NPG = ("asyncrl.algos.npg", "NpgOptions", "asyncrl.learners.natural:NaturalUpdater", "auto", (), "", ("sync",))
_NOISES = ("gaussian", "ou", "epsilon")


def _replayed(name: str, description: str, kind: str, head: str, explore: str) -> Streamed:
    updater = f"asyncrl.learners.replays:{kind}Updater"
    return Streamed(name, description, "async", f"asyncrl.algos.{name}", f"{kind}Options", updater, head, _NOISES, explore)


ALGORITHMS: dict[str, AlgorithmEntry] = {
    entry.name: entry
    for entry in (
        ActorCritic("a3c", "asynchronous advantage actor-critic: every worker acts and updates", "async", *_A3C),
        ActorCritic("a2c", "the same with one averaged update a round (a3c --mode sync)", "sync", *_A3C),
        ValueBased("q1", "asynchronous one-step Q-learning with a target network", "async", *_Q1),
        ValueBased("sarsa", "asynchronous one-step Sarsa with a target network", "async", *_SARSA, commits=True),
        ValueBased("nq", "asynchronous n-step Q-learning with a target network", "async", *_NQ, at_cuts_only=True),
        Streamed("impala", "actors, rings and one learner, corrected by V-trace", "async", _IN, "ImpalaOptions", *_TRACES),
        Streamed("appo", "the same with clipped epochs on each batch, as in PPO", "async", _IN, "AppoOptions", *_TRACES),
        Streamed("npg", "natural policy gradient by conjugate gradient, in sync", "sync", *_NPG),
        _replayed("ddpg", "deterministic policy gradient from a replay", "Ddpg", "deterministic", "ou:0.2"),
        _replayed("td3", "twin delayed deterministic policy gradient from a replay", "Td3", "deterministic", "gaussian:0.1"),
        _replayed("sac", "soft actor-critic from a replay, with a tuned temperature", "Sac", "squashed", ""),
        _search("es", "evolution strategies: a gradient estimate from perturbed policies", "es:Es"),
        _search("tres", "trust-region evolution strategies: clipped epochs on each generation", "tres:Tres"),
        _search("ars", "augmented random search: the best directions, scaled by the spread of returns", "ars:Ars"),
        _search("nes", "natural evolution strategies: deviations are learned too (snes, xnes)", "nes:Nes"),
        _search("cem", "cross-entropy method: a diagonal Gaussian, refitted to the elite", "cem:Cem"),
        _search("cma-es", "covariance matrix adaptation, full (small problems)", "cma_es:CmaEs", modes=("sync",)),
        _search("sep-cma", "covariance matrix adaptation, diagonal", "cma_es:SepCma", "CmaEsOptions", ("sync",)),
    )
}


_ACTIONS = {"discrete": "Discrete", "multidiscrete": "MultiDiscrete", "box": "Box"}


def check_actions(algo: str, action_kind: str) -> None:
    """Raise UserError where an algorithm is not made for actions of this kind; names those that are."""
    kinds = ALGORITHMS[algo].action_kinds
    if action_kind not in kinds:
        fitting = ", ".join(name for name, entry in ALGORITHMS.items() if action_kind in entry.action_kinds)
        needed = " or ".join(_ACTIONS[kind] for kind in kinds)
        raise UserError(f"{algo} needs {needed} actions, this environment's are {_ACTIONS[action_kind]} (algorithms that fit: {fitting})")
