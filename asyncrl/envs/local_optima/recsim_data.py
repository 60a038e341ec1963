"""RecSim-Data: recommend films to users who click as MovieLens' users do (seed 002, section 5; AGILE)."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.local_optima.click_model import EMBEDDING, HISTORY, SHARE, fitted, item_embeddings, layout_of, observations, samples
from asyncrl.envs.local_optima.made_up_log import N_ITEMS, N_USERS, made_up_log
from asyncrl.envs.local_optima.movielens import USER_SIZE, Log, read_movielens, summary_of
from asyncrl.errors import UserError, unknown
from asyncrl.shared.sealed import Arrays, sealed_arrays

MODELS = ("offline", "online")
VARIABLE = "ASYNCRL_MOVIELENS"
"""The environment variable with the folder of MovieLens' files, for who has only an id to give."""
SURE = 0.7
"""Probabilities above this one are spread over the rest of the way to 1."""


@dataclass(frozen=True)
class Audience:
    """Users and their models of clicks: a function of the log and of these numbers."""

    digest: str
    """Of the files, "" for a log that is made up."""
    items: int
    people: int
    seed: int
    click_from: int
    epochs: int
    folder: str = field(repr=False, compare=False)
    """Where the files lie; they may be moved."""

    def arrays(self) -> Arrays:
        """`embeddings` [I, 30], `users` [U, 24], and for offline/ and online/ the weights of `click_model.layout_of`.

        Read-only and, in a run, one copy in memory for all processes: the first that asks fits them, which takes some seconds.
        """
        return _arrays(self)

    def log(self) -> Log:
        """Who rated what. Raises UserError for files that cannot be used."""
        return made_up_log(self.seed) if not self.digest else read_movielens(self.folder)

    def fill(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Fit both models and write all arrays."""
        log = self.log()
        arrays["users"][:] = log.users
        embeddings = arrays["embeddings"]
        embeddings[:] = item_embeddings(log.genres, self.seed)
        history, clicks = samples(log, self.click_from)
        first = np.random.default_rng(self.seed).random(len(clicks)) < SHARE
        for model, rows in zip(MODELS, (first, ~first)):
            seen = observations(history[rows], embeddings, log.users[log.user[rows]])
            weights = fitted(seen, log.item[rows], clicks[rows], embeddings.copy(), self.seed, self.epochs)
            for name, weight in weights.items():
                arrays[f"{model}/{name}"][:] = weight


@functools.lru_cache(maxsize=4)
def _arrays(audience: Audience) -> Arrays:
    layout: dict[str, Any] = {"embeddings": ((audience.items, EMBEDDING), np.float32), "users": ((audience.people, USER_SIZE), np.float32)}
    layout |= {f"{model}/{name}": entry for model in MODELS for name, entry in layout_of(audience.items).items()}
    return sealed_arrays(repr(audience), layout, audience.fill)


class RecSimData(gymnasium.Env[NDArray[np.float32], Any]):
    """One user an episode, drawn from the log's. An action recommends a film, and a model that was fitted to the log says who clicks.

    Observation  float32 [3, 54]: of the three films that were clicked last, oldest first, the embedding [30] (zeros for none yet),
                 each beside the user's vector [24]: age, F, M, occupation.
    Reward       1 for a click, 0 for none. `info["click"]` says it too.
    Click        with the model's probability for film and observation; those above 0.7 are spread linearly over 0.7 to 1 between the
                 least and the most probable of these films.
    End          never; the registered ids are truncated after 80 steps.

    folder      of MovieLens-100K: GroupLens' u.data, u.item and u.user, or recbole's ml-100k.inter, .item and .user. None: what the
                variable ASYNCRL_MOVIELENS says
    synthetic   True: a log that is made up, with the same schema; no files are needed (`asyncrl/RecSimDataSynthetic-v0`)
    users       "offline": the model of 60 % of the log, to train with; "online": of the rest, to evaluate with
    click_from  the rating from which a film counts as clicked: 5, or 3 in the research code's other variant
    spread      False: the model's probabilities as they are. The research code spreads them over the users that it serves at once
                instead of over the films, which for one user has no meaning
    seed        of the fits, and of a log that is made up
    epochs      of the models of clicks

    `action_features`, float32 [films, 30] in [-1, 1], are the embeddings. Raises UserError for arguments and files that cannot be used.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(
        self,
        folder: str | None = None,
        synthetic: bool = False,
        users: str = "offline",
        click_from: int = 5,
        spread: bool = True,
        seed: int = 2022,
        epochs: int = 3,
        render_mode: str | None = None,
    ):
        if users not in MODELS:
            raise unknown("users", users, MODELS)
        for name, given, low, high in (("click_from", click_from, 1, 5), ("epochs", epochs, 1, 1000), ("seed", seed, 0, 2**32 - 1)):
            if not low <= given <= high:
                raise UserError(f"{name} = {given} cannot be used (allowed: {low} to {high})")
        if render_mode is not None:
            raise UserError(f"render_mode = {render_mode!r} cannot be used (allowed: None)")
        place = "" if synthetic else _folder(folder)
        digest, items, people = summary_of(place) if place else ("", N_ITEMS, N_USERS)
        self.audience = Audience(digest, items, people, seed, click_from, epochs, place)
        self.audience.arrays()
        self._model, self._spread = users, spread
        self.action_space = spaces.Discrete(items)
        self.observation_space = spaces.Box(-1.0, 2.0, (HISTORY, EMBEDDING + USER_SIZE), np.float32)
        self._user, self._history = 0, np.full(HISTORY, -1)

    @property
    def action_features(self) -> NDArray[np.float32]:
        """[films, 30], read-only, in [-1, 1]."""
        return self.audience.arrays()["embeddings"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin with another user, who has clicked nothing. Returns the observation [3, 54] and an empty dict; `options` are not used."""
        super().reset(seed=seed)
        self._user = int(self.np_random.integers(self.audience.people))
        self._history = np.full(HISTORY, -1)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Recommend a film. Returns the observation [3, 54], the reward, False, False, and the "click"."""
        number = int(action)
        if not 0 <= number < self.audience.items:
            raise UserError(f"action {number} cannot be used (allowed: 0 to {self.audience.items - 1})")
        clicked = bool(self.np_random.random() < self.click_probabilities()[number])
        if clicked:
            self._history = np.array([*self._history[1:], number])
        return self._observe(), float(clicked), False, False, {"click": clicked}

    def click_probabilities(self) -> NDArray[np.float64]:
        """[films], of the next action."""
        arrays, model = self.audience.arrays(), self._model
        y = np.maximum(self._observe() @ arrays[f"{model}/element"].T + arrays[f"{model}/element_bias"], 0.0).mean(axis=0)
        state = arrays[f"{model}/pooled"] @ y + arrays[f"{model}/pooled_bias"]
        hidden = np.maximum(arrays[f"{model}/item"] + arrays[f"{model}/state"] @ state, 0.0)
        logits = (hidden @ arrays[f"{model}/last"] + arrays[f"{model}/last_bias"]).astype(np.float64)
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logits))
        sure = probabilities > SURE
        if self._spread and sure.any() and (low := probabilities[sure].min()) < (high := probabilities[sure].max()):
            probabilities[sure] = SURE + (1.0 - SURE) * (probabilities[sure] - low) / (high - low)
        return probabilities

    def _observe(self) -> NDArray[np.float32]:
        arrays = self.audience.arrays()
        return observations(self._history[None], arrays["embeddings"], arrays["users"][[self._user]])[0]


def _folder(folder: str | None) -> str:
    found = folder or os.environ.get(VARIABLE)
    if not found:
        files = "MovieLens-100K (u.data, u.item, u.user)"
        raise UserError(f"RecSim-Data needs {files}: name its folder in the variable {VARIABLE}, or as the argument folder")
    return found
