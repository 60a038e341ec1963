"""A log with MovieLens-100K's schema that nobody has rated: for tests, and to try `asyncrl/RecSimDataSynthetic-v0` without files."""

from __future__ import annotations

import numpy as np

from asyncrl.envs.local_optima.movielens import GENRES, OCCUPATIONS, Log

N_USERS, N_ITEMS, N_RATINGS = 943, 1682, 100_000
RANK = 8
_CUMULATED = (0.061, 0.175, 0.446, 0.788)
"""Shares of ratings up to 1, 2, 3 and 4 in MovieLens-100K."""


def made_up_log(seed: int, users: int = N_USERS, items: int = N_ITEMS, ratings: int = N_RATINGS) -> Log:
    """Items with genres by chance, 0.1 each and at least one; ratings whose order follows a product of rank 8, and noise.

    The shares of ratings are those of MovieLens-100K.
    """
    random = np.random.default_rng(seed)
    genres = random.random((items, len(GENRES))) < 0.1
    genres[np.arange(items), random.integers(len(GENRES), size=items)] = True
    people = np.zeros((users, 3 + len(OCCUPATIONS)), np.float32)
    people[:, 0] = random.integers(7, 74, users) / 100.0
    people[np.arange(users), 1 + random.integers(2, size=users)] = 1.0
    people[np.arange(users), 3 + random.integers(len(OCCUPATIONS), size=users)] = 1.0
    tastes = people @ random.normal(size=(people.shape[1], RANK)) + 0.5 * random.normal(size=(users, RANK))
    kinds = genres @ random.normal(size=(len(GENRES), RANK))
    user, item = random.integers(users, size=ratings), random.integers(items, size=ratings)
    score = np.einsum("ij,ij->i", tastes[user], kinds[item])
    score += 0.3 * score.std() * random.normal(size=ratings)
    rating = 1 + np.searchsorted(np.quantile(score, _CUMULATED), score)
    return Log(user, item, rating, genres.astype(np.float32), people)
