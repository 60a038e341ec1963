"""What the tools of the Mining Expedition do to which kind of mine, and the features of its actions (seed 002, appendix C.1)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, unknown

GRAPHS = ("code", "paper")


@dataclass(frozen=True)
class Tools:
    """Tools for mines of `kinds` kinds: the first half are complex, the others basic; `kinds` itself stands for no mine.

    Each basic kind has a tool that breaks it. Of a complex kind there are tools that turn it into a basic one; which there are is
    drawn by numpy's RandomState(seed):
        "code"    for every complex kind one, then others from the remaining pairs of a complex and a basic kind. Every mine can
                  be broken, so every room can be crossed.
        "paper"   from all pairs of a complex kind and a basic one or none (figure 14: 42 of 63). A kind may have no tool.
    """

    n_tools: int
    kinds: int
    graph: str
    seed: int

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS:
            raise unknown("graph of tools", self.graph, GRAPHS)
        if self.kinds < 2:
            raise UserError(f"kinds = {self.kinds} cannot be used (allowed: whole numbers from 2)")
        complex_kinds, basic = self.kinds // 2, self.kinds - self.kinds // 2
        most = basic + complex_kinds * (basic + (self.graph == "paper"))
        if not self.kinds <= self.n_tools <= most:
            raise UserError(f"n_tools = {self.n_tools} cannot be used (allowed: {self.kinds} to {most} for {self.kinds} kinds of mines)")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed = {self.seed} cannot be used (allowed: 0 to {2**32 - 1})")

    @functools.cached_property
    def pairs(self) -> NDArray[np.int64]:
        """[n_tools, 2]: the kind that a tool works on, and what it makes of it."""
        random = np.random.RandomState(self.seed)
        first_basic = self.kinds // 2
        basic = [(kind, self.kinds) for kind in range(first_basic, self.kinds)]
        into = range(first_basic, self.kinds + (self.graph == "paper"))
        sure = [(kind, int(random.choice(into))) for kind in range(first_basic)] if self.graph == "code" else []
        others = [pair for pair in ((kind, made) for kind in range(first_basic) for made in into) if pair not in sure]
        chosen = random.choice(len(others), self.n_tools - len(basic) - len(sure), replace=False)
        return np.array([*basic, *sorted([*sure, *(others[one] for one in chosen)])], np.int64)

    def features(self, extra: int) -> NDArray[np.float32]:
        """[4 + n_tools, 4 + extra], each column from -1 to 1: skill, direction, kind, outcome; and numbers without meaning, uniform.

        The paper has the four in [0, 1]; its code scales them to [-1, 1], where actors that end in a tanh can reach them.
        """
        if extra < 0:
            raise UserError(f"extra_dims = {extra} cannot be used (allowed: whole numbers from 0)")
        moves = np.array([[1.0, direction / 3, 0.0, 0.0] for direction in range(4)])
        tools = np.hstack([np.zeros((self.n_tools, 2)), self.pairs / self.kinds])
        own = np.vstack([moves, tools])
        low, high = own.min(axis=0), own.max(axis=0)
        noise = np.random.RandomState([self.seed, extra]).uniform(-1.0, 1.0, (len(own), extra))
        made = np.hstack([2.0 * (own - low) / (high - low) - 1.0, noise]).astype(np.float32)
        made.flags.writeable = False
        return made
