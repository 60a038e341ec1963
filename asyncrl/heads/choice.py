"""Which head a name of the command line stands for, in each family of algorithms, and what is said where it does not fit.

A name is that of a head, or of layers (`asyncrl.heads.networks.compact.LAYERS`): under these the distribution is the one that
the action space has by default. `auto` stands for that distribution over dense layers with biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError, nearest, unknown
from asyncrl.heads import HEADS
from asyncrl.heads.head import Head
from asyncrl.heads.networks.compact import LAYERS, LINEAR
from asyncrl.heads.networks.structures import STRUCTURES
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role

_DISTRIBUTIONS = {"discrete": "categorical", "multidiscrete": "categorical", "box": "gaussian"}
AUTO: Mapping[Role, Mapping[str, str]] = {
    Role.ACTOR_CRITIC: _DISTRIBUTIONS,
    Role.ACTION_VALUES: dict.fromkeys(_DISTRIBUTIONS, "action-values"),
    Role.SEARCH: _DISTRIBUTIONS,
}
"""By family and kind of actions: the head that `auto` and names of layers stand for. With a replay, each algorithm has its own."""

ACTOR_CRITIC_LAYERS = (LINEAR, *STRUCTURES)
"""Names of layers that actor-critics and action values can have; the dense ones with biases are what they have under `auto`."""

REPLAY_ROLES = frozenset({Role.REPLAY, Role.SOFT_REPLAY})

_ACTIONS = {"discrete": "Discrete", "multidiscrete": "MultiDiscrete", "box": "Box"}


def with_role(*roles: Role) -> list[str]:
    """Names of the heads that have any of these roles, in the order of the registry."""
    return [name for name, head in HEADS.items() if not head.roles.isdisjoint(roles)]


def role_under(own_head: str, searches: bool, learns_values: bool) -> Role:
    """The role that heads have under an algorithm. `own_head`: of one with a replay its own head, of others `auto`."""
    if searches:
        return Role.SEARCH
    if learns_values:
        return Role.ACTION_VALUES
    return Role.ACTOR_CRITIC if own_head == "auto" else next(iter(HEADS[own_head].roles & REPLAY_ROLES))


def options_type_of(name: str) -> type[HeadOptions]:
    """The type of a head's own options: plain `HeadOptions` for names of layers, and for `auto` where that depends on the actions."""
    return HEADS[name].options_type if isinstance(name, str) and name in HEADS else HeadOptions


def heads_with_options() -> dict[str, list[str]]:
    """Every option of a head, by name: the heads that have it, in the order of the registry."""
    found: dict[str, list[str]] = {}
    for name, head in HEADS.items():
        for field in fields(head.options_type):
            found.setdefault(field.name, []).append(name)
    return found


def of_other_heads(option: str, head: str) -> str:
    """What is said of an option that `head`, as it is named, has not, but others have."""
    having = heads_with_options()[option]
    return f"cannot be used with head {head!r}{nearest(head, having)} (it is an option of {', '.join(having)})"


def made(name: str, spec: EnvSpec, options: NetworkOptions, role: Role | None = None) -> Head:
    """The head of this name, for this role if one is given, with tables of its own.

    Raises UserError where it is not made for the environment's actions.
    """
    kind = HEADS[name] if role is None else HEADS[name].for_role(role)
    if spec.action_kind not in kind.action_kinds:
        needed = " or ".join(_ACTIONS[one] for one in kind.action_kinds)
        given = "a Box" if spec.action_kind == "box" else spec.action_kind
        other = "" if kind.roles <= REPLAY_ROLES else f"; use {_DISTRIBUTIONS[spec.action_kind]!r}"
        if spec.action_kind in HEADS[name].action_kinds:
            other = "; under other algorithms it serves these too"
        raise UserError(f"head {name!r} needs {needed} actions, this environment's are {given}{other}")
    head = kind(spec, options)
    head.attach({table: np.zeros(shape, dtype) for table, (shape, dtype) in head.table_layout().items()})
    head.attach_caches({cache: np.zeros(shape, dtype) for cache, (shape, dtype) in head.cache_layout().items()})
    return head


def actor_learner_head(given: str, spec: EnvSpec, role: Role) -> str:
    """The head of an actor-critic or of action values (`role`) that the user calls `given`; raises UserError for an unknown name.

    An actor-critic may name a head of action values: which algorithms it goes with is for `refuse_action_values` to say.
    """
    if role is Role.ACTION_VALUES and given in with_role(Role.ACTOR_CRITIC) and role not in HEADS[given].roles:
        allowed = ", ".join(("auto", *with_role(role), *ACTOR_CRITIC_LAYERS))
        raise UserError(f"head {given!r} cannot be used for action values (allowed: {allowed})")
    if given == "auto" or given in ACTOR_CRITIC_LAYERS:
        return AUTO[role][spec.action_kind]
    known = with_role(Role.ACTOR_CRITIC, Role.ACTION_VALUES)
    if given not in known:
        raise unknown("head", given, ("auto", *known, *ACTOR_CRITIC_LAYERS))
    return given


def refuse_action_values(given: str, algo: str, learners: Iterable[str]) -> None:
    """Raise UserError where `algo` learns no action values and the head is one of them; `learners`: the algorithms that do."""
    if given in HEADS and HEADS[given].roles == {Role.ACTION_VALUES}:
        raise UserError(f"head {given!r} does not go with {algo} (algorithms that learn action values: {', '.join(learners)})")


def refuse_replay_head(given: str, algo: str, owners: Mapping[str, str]) -> None:
    """Raise UserError where `algo` has no replay and the head is for one; `owners`: algorithm -> its own head."""
    if given in HEADS and HEADS[given].roles <= REPLAY_ROLES:
        fitting = ", ".join(name for name, own in owners.items() if own == given or name in HEADS[given].learners)
        raise UserError(f"head {given!r} cannot be used with {algo} (it is that of {fitting})")


def replay_head(given: str, algo: str, own: str) -> str:
    """The head of an algorithm with a replay whose own head is `own`: that one, or another of the same role. Raises UserError.

    Others are left out whose learners are for other algorithms.
    """
    fitting = [name for name in with_role(*HEADS[own].roles & REPLAY_ROLES) if algo in HEADS[name].learners or not HEADS[name].learners]
    if given not in ("auto", *fitting):
        raise UserError(f"head {given!r} cannot be used with {algo} (allowed: auto, {', '.join(fitting)})")
    return own if given == "auto" else given


def searched_head(given: str, spec: EnvSpec) -> str:
    """The head of a black-box search: under a name of layers the action space's. Raises UserError for an unknown name.

    Heads that names of layers stand for have no name of their own here.
    """
    if given in LAYERS:
        return AUTO[Role.SEARCH][spec.action_kind]
    named = [name for name in with_role(Role.SEARCH) if name not in _DISTRIBUTIONS.values()]
    if given not in named:
        raise unknown("head", given, (*LAYERS, *named))
    return given
