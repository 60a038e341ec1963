"""Restricted action spaces: only actions within some spheres have their effect (seed 002, section 5 and appendix C.3.1).

A policy meets a landscape of action values with many local optima, where gradient ascent stays in the nearest.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.local_optima.spheres import CODES_SEED, Spheres
from asyncrl.errors import UserError, unknown

SUBSTITUTES = {"zeros": 0.0, "minus_one": -1.0}


@dataclass(frozen=True)
class Restriction:
    """Which actions of a Box are valid: those that lie within the spheres when the Box is scaled to the unit cube.

    low, high         bounds of the flattened actions
    first_step_free   the first action after a reset has its effect in any case
    """

    spheres: Spheres
    low: tuple[float, ...]
    high: tuple[float, ...]
    first_step_free: bool

    @classmethod
    def of_box(cls, space: spaces.Space[Any], spheres: Spheres, first_step_free: bool) -> Restriction:
        """The restriction of an action space. Raises UserError for one that is no Box of floats with finite bounds."""
        floats = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
        if not floats or not np.isfinite([space.low, space.high]).all():  # type: ignore[attr-defined]
            raise UserError(f"action space {space} cannot be restricted (allowed: a Box of floats with finite bounds)")
        low, high = (tuple(float(bound) for bound in bounds.ravel()) for bounds in (space.low, space.high))  # type: ignore[attr-defined]
        return cls(spheres, low, high, first_step_free)

    def is_valid(self, action: Any) -> bool:
        """Whether an action of the Box lies within a sphere."""
        low, width = self._scale
        return self.spheres.contain((np.asarray(action, np.float64).ravel() - low) / width)

    def allows(self, action: Any, first: bool) -> bool:
        """Whether an action has its effect. `first`: it is the first after a reset."""
        return (first and self.first_step_free) or self.is_valid(action)

    @functools.cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower bounds and widths, [components] each."""
        return np.array(self.low), np.array(self.high) - np.array(self.low)


def substitute_of(space: spaces.Space[Any], invalid: str) -> NDArray[Any]:
    """The action [*shape] of the space that takes an invalid one's place. Raises UserError for another word than those of SUBSTITUTES."""
    if invalid not in SUBSTITUTES:
        raise unknown("substitute for invalid actions", invalid, SUBSTITUTES)
    return np.full(space.shape or (), SUBSTITUTES[invalid], space.dtype)


class RestrictedAction(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """An environment with a Box action space, in which actions outside of the spheres are replaced.

    The environment is given the substitute, so a cost of actions is that of the substitute (in `asyncrl/RestrictedHopper-v0` and
    its kin it is that of the action). `info["valid_action"]` says whether the action was valid.

    n_spheres, radius   of the spheres in the unit cube; None: as `difficulty` says (`Spheres.of_difficulty`)
    seed                of the centres; 123 as in the research code
    invalid             what takes an invalid action's place: "zeros", or "minus_one" in the environment's own units
    invalid_reward      None: the environment's reward, as the paper has it. The research code replaces it by -10.0.
    first_step_free     the research code's pendulums allow every first action after a reset; the paper does not say so

    Raises UserError for an action space without finite bounds, and for arguments that cannot be used.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        n_spheres: int | None = None,
        radius: float | None = None,
        seed: int = CODES_SEED,
        invalid: str = "zeros",
        invalid_reward: float | None = None,
        first_step_free: bool = False,
        difficulty: str = "code",
    ):
        arguments: dict[str, Any] = {"n_spheres": n_spheres, "radius": radius, "seed": seed, "invalid": invalid, "difficulty": difficulty}
        arguments |= {"invalid_reward": invalid_reward, "first_step_free": first_step_free}
        gymnasium.utils.RecordConstructorArgs.__init__(self, **arguments)
        gymnasium.Wrapper.__init__(self, env)
        spheres = spheres_for(env.action_space, difficulty, n_spheres, radius, seed)
        self.restriction = Restriction.of_box(env.action_space, spheres, first_step_free)
        self._substitute, self._invalid_reward, self._first = substitute_of(env.action_space, invalid), invalid_reward, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """As the environment's own."""
        self._first = True
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """As the environment's own, with the substitute for an invalid action."""
        valid = self.restriction.allows(action, self._first)
        self._first = False
        observation, reward, terminated, truncated, info = self.env.step(action if valid else self._substitute)
        if not valid and self._invalid_reward is not None:
            reward = self._invalid_reward
        return observation, reward, terminated, truncated, {**info, "valid_action": valid}


def spheres_for(space: spaces.Space[Any], difficulty: str, n_spheres: int | None, radius: float | None, seed: int) -> Spheres:
    """The spheres of a difficulty in a Box's components, with another number or radius where they are given."""
    components = int(np.prod(space.shape or (1,)))
    usual = Spheres.of_difficulty(components, difficulty, seed)
    return Spheres(components, usual.count if n_spheres is None else n_spheres, usual.radius if radius is None else radius, seed)
