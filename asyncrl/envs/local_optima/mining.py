"""Mining Expedition: cross a room, breaking with the right tools the mines that stand in the way (seed 002, section 5, appendix C.1)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.local_optima.mining_tools import Tools
from asyncrl.errors import UserError, unknown

SIZE = 8
"""Cells in a row and in a column of the room, its walls left out."""
LIMIT = 100
"""Steps of an episode: `asyncrl/MiningExpedition-v0` is truncated then, and the reward of the goal falls towards them."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up, as (x, y): what actions 0 to 3 do, and the four directions of the agent."""
REWARDS = {"paper": (10.0, 0.1, 0.1, 0.1), "code": (30.0, 0.2, 0.05, 0.05)}
"""At the goal, for each cell that one is nearer to it, for a tool that works, and more if it breaks the mine (equation 12)."""
FULLNESS = 0.7
_EMPTY = -1


class MiningExpedition(gymnasium.Env[NDArray[np.float32], Any]):
    """A room of 8 x 8 cells, from top left to bottom right; each other cell holds, with probability 0.7, a mine of one of K kinds.

    Observation  float32 [8 + K] in [0, 1]: x/7, y/7, direction/3; whether the cells right, below, left and above are free (empty or
                 the goal); one-hot [K + 1] of the mine in front, the last for none.
    Action       0 to 3: turn right, down, left, up, and go there if it is free. From 4: a tool, which works if the mine in front is
                 of its kind, and turns it into another or breaks it (`Tools`).
    Reward       at the goal 10 (1 - 0.9 t/100) after t steps; 0.1 for each cell that it is nearer to the goal than before (Manhattan);
                 0.1 for a tool that works, and 0.1 more if that breaks the mine.
    End          at the goal; the registered id is truncated after 100 steps. `info["success"]` says whether the goal is reached.

    n_tools, kinds, extra_dims   50, 15, 0 as in the paper's text; 100, 20, 5 as in its table 2 (`asyncrl/MiningExpedition104-v0`)
    layout      "episode": new mines in each episode, as in the paper; "fixed", the research code's default: they stand where
                RandomState(seed) says, and only their kinds are drawn anew
    heading     "random": the direction at the start of an episode is drawn, as in the research code; "right"
    rewards     "paper", or "code" for the research code's 30, 0.2, 0.05, 0.05
    graph, seed of the tools, see `Tools`; the paper's text does not say how they are drawn

    `action_features`, float32 [4 + n_tools, 4 + extra_dims] in [-1, 1], says what actions have in common. Raises UserError for arguments
    that cannot be used.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(
        self,
        n_tools: int = 50,
        kinds: int = 15,
        extra_dims: int = 0,
        layout: str = "episode",
        heading: str = "random",
        rewards: str = "paper",
        graph: str = "code",
        seed: int = 2022,
        render_mode: str | None = None,
    ):
        for what, given, allowed in (("layout", layout, ("episode", "fixed")), ("heading", heading, ("random", "right"))):
            if given not in allowed:
                raise unknown(what, given, allowed)
        if rewards not in REWARDS:
            raise unknown("rewards", rewards, REWARDS)
        if render_mode is not None:
            raise UserError(f"render_mode = {render_mode!r} cannot be used (allowed: None)")
        self.tools = Tools(n_tools, kinds, graph, seed)
        self.action_features = self.tools.features(extra_dims)
        self.action_space = spaces.Discrete(4 + n_tools)
        self.observation_space = spaces.Box(0.0, 1.0, (8 + kinds,), np.float32)
        self._rewards, self._kinds, self._heading = REWARDS[rewards], kinds, heading
        self._fixed = np.random.RandomState(seed).random_sample((SIZE, SIZE)) < FULLNESS if layout == "fixed" else None
        self._begin()

    def _begin(self) -> None:
        """Place mines and agent; walls stand around the room, so cells are counted from 1."""
        filled = self.np_random.random((SIZE, SIZE)) < FULLNESS if self._fixed is None else self._fixed
        drawn = self.np_random.integers(0, self._kinds, (SIZE, SIZE))
        self._cells = np.full((SIZE + 2, SIZE + 2), _EMPTY)  # [x, y] -> kind of the mine, or _EMPTY, which walls are too
        self._cells[1:-1, 1:-1] = np.where(filled, drawn, _EMPTY)
        self._cells[1, 1] = self._cells[SIZE, SIZE] = _EMPTY
        self._x = self._y = 1
        self._direction = int(self.np_random.integers(4)) if self._heading == "random" else 0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in the room's top left. Returns the observation [8 + K] and an empty dict; `options` are not used."""
        super().reset(seed=seed)
        self._begin()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Do one action. Returns observation [8 + K], reward, terminated, False, and whether the goal is reached as "success"."""
        number = int(action)
        if not 0 <= number < 4 + self.tools.n_tools:
            raise UserError(f"action {number} cannot be used (allowed: 0 to {3 + self.tools.n_tools})")
        self._steps += 1
        reward = self._move(number) if number < 4 else self._use(number - 4)
        reached = self._distance() == 0
        if reached:
            reward += self._rewards[0] * (1.0 - 0.9 * self._steps / LIMIT)
        return self._observe(), reward, reached, False, {"success": reached}

    def _move(self, direction: int) -> float:
        before = self._distance()
        self._direction = direction
        if self._is_free(direction):
            self._x, self._y = self._x + STEPS[direction][0], self._y + STEPS[direction][1]
        return self._rewards[1] * (before - self._distance())

    def _use(self, tool: int) -> float:
        kind, made = self.tools.pairs[tool]
        cell = self._x + STEPS[self._direction][0], self._y + STEPS[self._direction][1]
        if self._cells[cell] != kind:
            return 0.0
        broken = made == self._kinds
        self._cells[cell] = _EMPTY if broken else made
        return self._rewards[2] + (self._rewards[3] if broken else 0.0)

    def _distance(self) -> int:
        return (SIZE - self._x) + (SIZE - self._y)

    def _is_free(self, direction: int) -> bool:
        x, y = self._x + STEPS[direction][0], self._y + STEPS[direction][1]
        return 1 <= x <= SIZE and 1 <= y <= SIZE and bool(self._cells[x, y] == _EMPTY)

    def _observe(self) -> NDArray[np.float32]:
        made = np.zeros(8 + self._kinds, np.float32)
        made[:3] = (self._x - 1) / (SIZE - 1), (self._y - 1) / (SIZE - 1), self._direction / 3
        made[3:7] = [self._is_free(direction) for direction in range(4)]
        front = self._cells[self._x + STEPS[self._direction][0], self._y + STEPS[self._direction][1]]
        made[7 + (self._kinds if front == _EMPTY else front)] = 1.0
        return made
