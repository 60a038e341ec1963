"""`asyncrl list`: the parts that an experiment can be made of."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from asyncrl.cli.parsing import parse


class Extra(NamedTuple):
    """Environments that need a package beyond asyncrl's own: the module that must be there, and their ids."""

    module: str
    brings: str


EXTRAS = {
    "mujoco": Extra("mujoco", "HalfCheetah-v5 and its kin, asyncrl/RestrictedHopper-v0 and its kin"),
    "box2d": Extra("Box2D", "LunarLander-v3, BipedalWalker-v3, CarRacing-v3"),
    "dmc": Extra("shimmy", "dm_control/fish-swim-v0 and the other tasks of DeepMind's suite"),
    "bullet": Extra("pybullet_envs_gymnasium", "pybullet_envs_gymnasium:InvertedPendulumBulletEnv-v0 and its kin"),
    "atari": Extra("ale_py", "ALE/Pong-v5, ALE/Breakout-v5 and Atari's other games"),
    "adroit": Extra("gymnasium_robotics", "gymnasium_robotics:AdroitHandPen-v1 and its kin: Door, Hammer, Relocate"),
}
"""Extras of `pip install 'asyncrl[NAME]'` that bring environments."""


@dataclass(frozen=True)
class List:
    """Algorithms, modes, heads, explorations, studies and environments, with one line each."""


def list_parts(args: list[str]) -> int:
    """Algorithms, modes, heads, explorations, studies and environments, with one line each."""
    parse(List, args, "asyncrl list")

    import gymnasium

    from asyncrl.actors.exploration import EXPLORATIONS
    from asyncrl.algos import ALGORITHMS
    from asyncrl.blackbox.settings import SETTINGS
    from asyncrl.heads import HEADS
    from asyncrl.heads.networks.compact import LAYERS
    from asyncrl.scheduler import MODES
    from asyncrl.studies.files import ready_studies

    def described(parts: Mapping[str, Any]) -> dict[str, str]:
        return {name: part.description for name, part in parts.items()}

    _print_section("algorithms", described(ALGORITHMS).items())
    _print_section("modes", described(MODES).items())
    families = {name: ", ".join(head.learners or sorted(role.value for role in head.roles)) for name, head in HEADS.items()}
    heads = {name: f"{line} ({families[name]})" for name, line in described(HEADS).items()}
    _print_section("heads", {**heads, **LAYERS}.items())
    _print_section("explorations", {**described(EXPLORATIONS), **SETTINGS}.items())
    _print_section("studies", ready_studies().items())
    title = f"environments, {len(gymnasium.registry)} ids registered here (older versions not shown; others as module:id)"
    _print_section(title, environments())
    _print_section("more environments, by extras", extras())
    return 0


def extras() -> list[tuple[str, str]]:
    """The extras that bring environments, as pairs (name, whether it is installed or how to install it, and what it brings)."""
    rows = []
    for name, extra in EXTRAS.items():
        there = importlib.util.find_spec(extra.module) is not None
        told = "installed" if there else f"pip install 'asyncrl[{name}]'"
        rows.append((name, f"{told}: {extra.brings}"))
    return rows


def environments() -> list[tuple[str, str]]:
    """The registered environments in their newest versions, as pairs (id, family), sorted by family."""
    import gymnasium

    newest: dict[tuple[str | None, str], gymnasium.envs.registration.EnvSpec] = {}
    for spec in gymnasium.registry.values():
        key = spec.namespace, spec.name
        if not isinstance(spec.entry_point, str):
            continue  # placeholders of gymnasium for environments that have moved to other packages
        if key not in newest or (spec.version or 0) > (newest[key].version or 0):
            newest[key] = spec
    return sorted(((spec.id, _family(spec.entry_point)) for spec in newest.values()), key=lambda row: (row[1], row[0]))


def _family(entry_point: object) -> str:
    """``"mujoco"`` for ``"gymnasium.envs.mujoco.hopper_v5:HopperEnv"``, ``"asyncrl: recsim"`` for ours; for others their first module."""
    words = str(entry_point).partition(":")[0].removeprefix("gymnasium.envs.").split(".")
    name = f"asyncrl: {words[-1]}" if words[:3] == ["asyncrl", "envs", "local_optima"] else words[0]
    return name.replace("_", " ")


def _print_section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0) + 2
    print(f"{title}:")
    for name, description in rows:
        print(f"  {name:<{width}}{description}")
    print()
