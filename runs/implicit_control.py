"""Seed 000's setting in a program of its own, for as many iterations as one likes. Usage: python runs/implicit_control.py

The two cars of gymnasium, policies of Tables 4 and 5 and the estimator of equation 11, compiled into one function that shares nothing with
asyncrl: a control of what runs/implicit.py finds, and for the iterations that the source does not tell. Writes
runs/reference/implicit-control.json: over 30 seeds, for some numbers of iterations, the mean of the maximum score (and how many seeds
have one above a car's that stands still), and the largest mean score.

`explicit-parts` is an explicit policy on MountainCar-v0 whose output is cut into three equal parts, by tanh, and `explicit` one that
takes the last choice where the output is positive and else the first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numba import njit

SEEDS = range(1000, 1030)
ITERATIONS = (100, 200, 500, 1000)
ITT, IOT, EXPLICIT, PARTS = range(4)
LIMITS = {True: 999, False: 200}
CASES = {
    ("MountainCar-v0", "itt"): (False, ITT, 4),
    ("MountainCar-v0", "iot"): (False, IOT, 5),
    ("MountainCar-v0", "explicit"): (False, EXPLICIT, 4),
    ("MountainCar-v0", "explicit-parts"): (False, PARTS, 4),
    ("MountainCarContinuous-v0", "itt"): (True, ITT, 3),
    ("MountainCarContinuous-v0", "explicit"): (True, EXPLICIT, 3),
}
"""Environment and head -> whether the action is a number, the kind of policy, its parameters (Table 4)."""


@njit
def score_of(t, position, velocity, action):  # type: ignore[no-untyped-def]
    """Minus the energy of a one-tower network with parameters t[5]."""
    hidden = max(t[0] * position + t[1] * velocity + t[2] * action, 0.0)
    return max(hidden * t[3], 0.0) * t[4]


@njit
def chosen(continuous, kind, t, position, velocity):  # type: ignore[no-untyped-def]
    """The action of policy t[D]."""
    if kind == IOT:
        best, action = -np.inf, 0.0
        for k in range(3):
            found = score_of(t, position, velocity, float(k))
            if found > best:
                best, action = found, float(k)
        return action
    output = t[0] * position + t[1] * velocity
    if kind == ITT and continuous:  # the best of 1,000 uniform numbers by a product: an end, but for a thousandth
        end = np.random.random() ** 0.001
        return 2.0 * end - 1.0 if output * t[2] > 0.0 else 1.0 - 2.0 * end
    output = max(output, 0.0) * t[2]
    if continuous:
        return np.tanh(output)
    if kind != ITT:  # a hidden layer more
        output = max(output, 0.0)
    output *= t[3]
    if kind == PARTS:
        return float(min(int(0.5 * (np.tanh(output) + 1.0) * 3), 2))
    return 2.0 if output > 0.0 else 0.0


@njit
def moved(continuous, position, velocity, action):  # type: ignore[no-untyped-def]
    """(position, velocity) a step later, as gymnasium has it."""
    velocity += action * 0.0015 if continuous else (action - 1.0) * 0.001
    velocity = min(max(velocity - 0.0025 * np.cos(3.0 * position), -0.07), 0.07)
    position = min(max(position + velocity, -1.2), 0.6)
    return position, 0.0 if position == -1.2 and velocity < 0.0 else velocity


@njit
def score(continuous, kind, t, limit):  # type: ignore[no-untyped-def]
    """What one episode of policy t[D] earns."""
    position, velocity, total = np.random.uniform(-0.6, -0.4), 0.0, 0.0
    for _ in range(limit):
        action = chosen(continuous, kind, t, position, velocity)
        position, velocity = moved(continuous, position, velocity, action)
        total -= 0.1 * action * action if continuous else 1.0
        if position >= (0.45 if continuous else 0.5) and (velocity >= 0.0 or not continuous):
            return total + 100.0 if continuous else total
    return total


@njit
def run(continuous, kind, size, iterations, limit, seed):  # type: ignore[no-untyped-def]
    """Scores [iterations] of the mean policy: equations 11 and 12 with M = D, sigma 1 and eta 0.01."""
    np.random.seed(seed)
    theta, scores = np.random.standard_normal(size), np.empty(iterations)
    for i in range(iterations):
        directions, _ = np.linalg.qr(np.random.standard_normal((size, size)))
        gradient = np.zeros(size)
        for j in range(size):
            length = np.sqrt((np.random.standard_normal(size) ** 2).sum())
            eps = directions[:, j] * length
            gradient += (score(continuous, kind, theta + eps, limit) - score(continuous, kind, theta - eps, limit)) * eps
        theta += 0.01 * gradient / (2 * size)
        scores[i] = score(continuous, kind, theta, limit)
    return scores


def check(env: str, continuous: bool) -> None:
    """Raise AssertionError where gymnasium's car moves otherwise."""
    environment = gymnasium.make(env)
    state, _ = environment.reset(seed=0)
    for _ in range(150):
        action = environment.action_space.sample()
        expected = moved(continuous, *map(float, state), float(np.sum(action)))
        state, *_ = environment.step(action)
        np.testing.assert_allclose(state, expected, atol=1e-5)


def figures(curves: Any, still: float) -> dict[str, Any]:
    """Of scores [seeds, iterations]."""
    table = {}
    for count in ITERATIONS:
        part = curves[:, :count]
        maxima, mean = part.max(axis=1), part.mean(axis=0)
        row = {"maximum": round(float(maxima.mean()), 1), "std": round(float(maxima.std()), 1), "learnt": int((maxima > still).sum())}
        table[str(count)] = row | {"largest_mean": round(float(mean.max()), 1)}
    return table


if __name__ == "__main__":
    data: dict[str, Any] = {"command": "python runs/implicit_control.py", "seeds": [SEEDS.start, SEEDS.stop - 1], "results": {}}
    for (env, head), (continuous, kind, size) in CASES.items():
        check(env, continuous)
        curves = np.array([run(continuous, kind, size, max(ITERATIONS), LIMITS[continuous], seed) for seed in SEEDS])
        data["results"][f"{env} {head}"] = figures(curves, 1.0 if continuous else -200.0)
        print(env, head, data["results"][f"{env} {head}"], flush=True)
    (Path(__file__).parent / "reference" / "implicit-control.json").write_text(json.dumps(data, indent=1) + "\n")
