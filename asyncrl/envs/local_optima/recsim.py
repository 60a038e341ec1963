"""RecSim: recommend one of very many items to a user whose interests move with what is clicked (seed 002, appendix C.2)."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.local_optima.items import CLUSTERS, DEVIATION, Items, centres
from asyncrl.errors import UserError, unknown

CHOICES = ("proportional", "softmax")
DRIFTS = ("sigmoid", "linear")
BUDGET = 20.0
"""The user's time at the start."""
SKIP_COST, LENGTH = 0.5, 4.0
"""What a skipped item and a clicked one take of it."""
SKIP_SCORE = 2.0
DISLIKED = 1.5
"""Taken from the product of user and item where it is negative, before the score is computed."""


class RecSim(gymnasium.Env[NDArray[np.float32], Any]):
    """One user an episode, whose interests e_u [30] are the observation. An action recommends an item, of the hidden embedding e_i [30].

    Reward       1 for a click, 0 for a skip.
    Click        with probability s / (s + 2), s = softplus(d), d = e_u . e_i, with d - 1.5 for a negative d.
    Interests    after a click e_u moves by w * (e_i - e_u) with probability sigmoid(d), else by its negative, and is cut to [-1, 1];
                 w is |e_u|, scaled to reach from 0 to 1 over its components.
    End          when the user's budget is used up: from 20, a skip takes 0.5, a click its length of 4 (at most what is left) and gives
                 back u times length times the item's quality, u uniform in (0, 1) for each user. Qualities are the clusters', of
                 which 70 % have negative ones. The registered ids are truncated after 20 steps. `info["click"]` says what the user did.

    n_items           10,000; of the ids RecSim100k and RecSim500k 100,000 and 500,000
    action_noise_std  0.0: the agent sees e_i. The research code's default is 1.0: normal noise on each feature, scaled to [-1, 1] again
    extra_dims        features without meaning; 15 as in the paper's table 2, 5 in the research code
    choice            "proportional", the research code's; "softmax", the paper's: e^d / (e^d + e^skip_score)
    skip_score        of the paper's softmax; it does not give the number
    drift             "sigmoid", the research code's; "linear", the paper's (d + 1)/2, cut to [0, 1]
    budget            False: episodes have 20 steps, as in the paper, which mentions no budget
    same_user         True: every episode begins with one user, as in the research code
    seed              of the items

    `action_features`, float32 [n_items, 30 + extra_dims], is what the agent sees of the items; with all else about them it is in
    memory once for all processes of a run. Raises UserError for arguments that cannot be used, SharedMemoryError for too little memory.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(
        self,
        n_items: int = 10_000,
        action_noise_std: float = 0.0,
        extra_dims: int = 15,
        choice: str = "proportional",
        skip_score: float = 2.0,
        drift: str = "sigmoid",
        budget: bool = True,
        same_user: bool = False,
        seed: int = 2022,
        render_mode: str | None = None,
    ):
        if choice not in CHOICES:
            raise unknown("choice", choice, CHOICES)
        if drift not in DRIFTS:
            raise unknown("drift", drift, DRIFTS)
        if render_mode is not None:
            raise UserError(f"render_mode = {render_mode!r} cannot be used (allowed: None)")
        self.items = Items(n_items, seed, action_noise_std, extra_dims)
        self.items.arrays()
        self._choice, self._drift, self._skip_score = choice, drift, skip_score
        self._has_budget, self._same_user = budget, same_user
        self.action_space = spaces.Discrete(n_items)
        self.observation_space = spaces.Box(-1.0, 1.0, (CLUSTERS,), np.float32)
        self._begin()

    @property
    def action_features(self) -> NDArray[np.float32]:
        """[n_items, 30 + extra_dims], read-only, each column within -1 to 1."""
        return self.items.arrays()["features"]

    def _begin(self) -> None:
        random: Any = np.random.RandomState(self.items.seed) if self._same_user else self.np_random
        centre = centres()[int(random.random() * CLUSTERS)]
        self._interests = np.clip(random.normal(centre, DEVIATION), -1.0, 1.0)
        self._generosity, self._budget = float(random.random()), BUDGET

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin with another user. Returns the interests [30] and an empty dict; `options` are not used."""
        super().reset(seed=seed)
        self._begin()
        return self._interests.astype(np.float32), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Recommend an item. Returns the interests [30], the reward, whether the budget is used up, False, and the "click"."""
        number = int(action)
        if not 0 <= number < self.items.count:
            raise UserError(f"action {number} cannot be used (allowed: 0 to {self.items.count - 1})")
        arrays = self.items.arrays()
        item = arrays["task"][number].astype(np.float64)
        product = float(self._interests @ item)
        clicked = bool(self.np_random.random() < self.click_probability(product))
        if clicked:
            self._move(item, product)
            length = min(self._budget, LENGTH)
            self._budget += length * (self._generosity * float(arrays["quality"][number]) - 1.0)
        else:
            self._budget -= SKIP_COST
        over = self._has_budget and self._budget <= 0.0
        return self._interests.astype(np.float32), float(clicked), over, False, {"click": clicked}

    def click_probability(self, product: float) -> float:
        """Of an item whose embedding has this product with the user's interests."""
        if self._choice == "softmax":
            return 1.0 / (1.0 + math.exp(self._skip_score - product))
        score = math.log1p(math.exp(product if product >= 0.0 else product - DISLIKED))
        return score / (score + SKIP_SCORE)

    def _move(self, item: NDArray[np.float64], product: float) -> None:
        size = np.abs(self._interests)
        low, high = size.min(), size.max()
        change = (size - low) / (high - low) * (item - self._interests) if high > low else np.zeros(CLUSTERS)
        toward = 1.0 / (1.0 + math.exp(-product)) if self._drift == "sigmoid" else min(max((product + 1.0) / 2.0, 0.0), 1.0)
        sign = 1.0 if self.np_random.random() < toward else -1.0
        self._interests = np.clip(self._interests + sign * change, -1.0, 1.0)
