"""Games of the Arcade Learning Environment as learning is used to them (Mnih et al. 2015, methods; A3C, section 5.1).

A step is four frames of one action, and shows the brighter of the last two, grey, 84 x 84, after the three before it. A game begins with
1 to 30 frames without action. It is gymnasium's AtariPreprocessing and FrameStackObservation in one object, which can be saved
and needs no OpenCV; `tests/test_atari.py` compares the two frame by frame.

Rewards are the game's own, and an episode is a whole game: who learns clips rewards (`reward_clip`), and treats a lost life as an end
(`life_lost`), while the game goes on.
"""

from __future__ import annotations

from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.images import Shrinking
from asyncrl.errors import UserError

NAMESPACE = "ALE"
"""Of the ids that are made into an `Atari` by themselves."""

SKIP = 4
"""Frames of a step."""

STACK = 4
"""Pictures of an observation."""

SIDE = 84
"""Rows and columns of a picture."""

MOST_NOOPS = 30
"""Frames without action at the beginning of a game, at most."""


def is_game(source: object) -> bool:
    """Whether an environment is given as the id of a game."""
    return isinstance(source, str) and source.rpartition(":")[2].startswith(f"{NAMESPACE}/")


def game(name: str, **arguments: Any) -> Atari:
    """The game of an id, whose package has been imported; `arguments`: of ``gymnasium.make``."""
    from ale_py import ALEInterface, LoggerMode

    ALEInterface.setLoggerMode(LoggerMode.Error)  # otherwise each process says which version of the emulator this is
    return Atari(gymnasium.make(name, frameskip=1, obs_type="grayscale", disable_env_checker=True, **arguments))


class Atari(gymnasium.Env[NDArray[np.uint8], Any]):
    """A game with observations uint8 [STACK, SIDE, SIDE], the newest picture last.

    life_lost   whether the newest step cost a life; `asyncrl.envs.stepping` reads it
    """

    def __init__(self, game: gymnasium.Env[Any, Any]):
        """`game`: gymnasium's environment of a game, whose step is one frame (``frameskip=1``) and whose observations are not used."""
        self.spec, self._game = game.spec, cast(Any, game.unwrapped)
        self._ale = self._game.ale
        self.action_space, self.render_mode = game.action_space, game.render_mode
        self.metadata = {**game.metadata, "render_fps": game.metadata["render_fps"] / SKIP}
        self.observation_space = spaces.Box(0, 255, (STACK, SIDE, SIDE), np.uint8)
        self._actions = list(self._game._action_set)
        screen = self._ale.getScreenDims()
        self._screens = np.zeros((2, *screen), np.uint8)
        self._shrunk = Shrinking(screen, (SIDE, SIDE))
        self._pictures = np.zeros((STACK, SIDE, SIDE), np.uint8)
        self._lives = 0
        self.life_lost = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin a game; what is drawn, and in which order, is as in gymnasium's AtariPreprocessing."""
        _, info = self._game.reset(seed=seed, options=options)
        ale = self._ale
        for _ in range(int(self._game.np_random.integers(1, MOST_NOOPS + 1))):
            ale.act(self._actions[0], 1.0)
            if ale.game_over():
                ale.reset_game()
        self._lives, self.life_lost = ale.lives(), False
        ale.getScreenGrayscale(self._screens[0])
        self._shrunk(self._screens[0], self._screens[0], self._pictures[0])
        self._pictures[1:] = self._pictures[0]
        return self._pictures.copy(), info

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Four frames of one action, or fewer where the game ends, whose last frame is then shown alone."""
        ale, screens, pictures, code = self._ale, self._screens, self._pictures, self._actions[action]
        reward = 0
        for frame in range(SKIP):
            reward += ale.act(code, 1.0)
            over = ale.game_over()
            if frame >= SKIP - 2 or over:
                ale.getScreenGrayscale(screens[frame % 2])
            if over:
                screens[1 - frame % 2] = screens[frame % 2]  # the other is older than this step, and no checkpoint has it
                break
        pictures[:-1] = pictures[1:]
        self._shrunk(screens[0], screens[1], pictures[-1])
        lives = ale.lives()
        self.life_lost, self._lives = lives < self._lives, lives
        return pictures.copy(), float(reward), ale.game_over(with_truncation=False), ale.game_truncated(), {"lives": lives}

    def render(self) -> Any:
        """The screen [H, W, 3], uint8, or what the render mode makes of it."""
        return self._game.render()

    def close(self) -> None:
        """Close the game."""
        self._game.close()

    def save_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The emulator with its random numbers, the pictures, and the generator of the frames without action."""
        emulator = np.frombuffer(self._ale.cloneState(include_rng=True).serialize(), np.uint8)
        json_part = {
            "game": self._game._game,
            "generator": self._game.np_random.bit_generator.state,
            "lives": self._lives,
            "life_lost": self.life_lost,
        }
        return json_part, {"emulator": emulator, "pictures": self._pictures}

    def load_state(self, json_part: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `save_state` gave. Raises UserError where it is another game's."""
        from ale_py import ALEState

        if json_part["game"] != self._game._game or arrays["pictures"].shape != self._pictures.shape:
            raise UserError(f"the saved state is of the game {json_part['game']!r}, not {self._game._game!r}")
        self._ale.restoreState(ALEState(arrays["emulator"].tobytes()))
        self._game.np_random.bit_generator.state = json_part["generator"]
        self._pictures[:] = arrays["pictures"]
        self._lives, self.life_lost = json_part["lives"], json_part["life_lost"]
