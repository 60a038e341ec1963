"""The families of algorithms, as heads see them. A leaf: heads, and the options of heads, read it."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """The families of algorithms in which a head can be used. `asyncrl.heads.head` says what each of them needs of a head."""

    ACTOR_CRITIC = "actor-critic"
    """Stochastic policies beside v(s), learned from log-probabilities: a3c and a2c (actor-learners), impala, appo and npg (streams)."""
    ACTION_VALUES = "action values"
    """Q(s, .) with a target network: q1, sarsa and nq."""
    REPLAY = "replay"
    """Policies that learn from a replay, deterministic and by a critic's gradient but where `Head.learners` names others: ddpg and td3."""
    SOFT_REPLAY = "soft replay"
    """Stochastic policies that learn from a replay: sac."""
    SEARCH = "search"
    """Greedy policies whose parameters a black-box search varies: es and its kin."""
