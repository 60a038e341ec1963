"""SAVO beside its rivals under one learner: restricted MuJoCo, tasks without restrictions, Mining Expedition, RecSim (seed 002).

    python runs/savo.py pendulums              # likewise: unrestricted, hopper, discrete, ablations
    python runs/savo.py pendulums --seeds 5    # as many seeds of each; 3 without it
    python runs/savo.py report [pendulums]     # intervals of what is there, nothing is run

Writes runs/reference/savo-<study>.json after each run, and goes on where it was: runs that it has with the same settings are not made
again. Seeds go round the outside, so that at any moment all methods have nearly as many. Every run is `sync` with one actor, the same to
the bit whatever else the machine does. Budgets are small, so that a run takes minutes, and stand in the file; the paper's are 20 to 100
times as large. Settings are those of seed 002's table 2 where the budget does not forbid it; nothing was tuned.

A row has the greedy evaluations in the course of training, [steps, return, return of the first proposal alone or null], the first of
untrained networks. What is reported: the area under that curve, which is its mean, and the last evaluation.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import asyncrl
from asyncrl.landscapes.gaps import gaps
from asyncrl.studies.statistics import interval_of_mean

REFERENCE = Path(__file__).parent / "reference"
SMALL = {"hidden": (64, 64), "batch": 64, "warm_up": 1_000, "replay": 200_000}
METHODS: dict[str, dict[str, Any]] = {
    "savo": {"head": "savo"},
    "td3": {"target_noise": 0.0, "max_gradient_norm": 1.0},
    "ensemble": {"head": "savo", "told": "nothing", "surrogates": "none"},
    "wolpertinger": {"head": "wolpertinger"},
    "cem": {"head": "cross-entropy"},
}
"""All have the same critics, exploration and replay; td3 is without target smoothing, as the others are."""
OF_ITEMS = {**METHODS, "td3": {"head": "savo", "n_actors": 1}}
"""Of items one actor with a value of points: what "TD3" is there."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "savo": {"head": "savo"},
    "exact surrogates": {"head": "savo", "surrogates": "exact"},
    "told nothing": {"head": "savo", "told": "nothing"},
    "told by the input": {"head": "savo", "told": "input"},
    "smoothed": {"head": "savo", "target_noise": 0.2},
    "joint": {"head": "joint"},
    "fresh points": {"head": "savo", "surrogate_points": "fresh"},
    "white noise": {"head": "savo", "explore": "gaussian:0.1@{half}"},
    **{f"{count} actors": {"head": "savo", "n_actors": count} for count in (1, 2, 5)},
}


@dataclass(frozen=True)
class Study:
    """Tasks, methods, and what all runs have in common."""

    steps: dict[str, int]
    """Of each environment."""
    methods: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    episodes: int = 5
    """Of an evaluation, of which there are 20 in a run."""
    of: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further settings of an environment."""


OU = {"explore": "ou:0.2@{half}"}
ITEMS = {**SMALL, "hidden": (64, 32), "explore": "ou:0.2@{half}+epsilon:0.1"}
STUDIES = {
    "pendulums": Study(
        {
            f"asyncrl/Restricted{task}{difficulty}-v0": 30_000
            for task in ("InvertedPendulum", "InvertedDoublePendulum")
            for difficulty in ("", "Hard", "Harder")
        },
        METHODS,
        {**SMALL, **OU},
    ),
    "unrestricted": Study(
        {"InvertedPendulum-v5": 30_000, "InvertedDoublePendulum-v5": 30_000, "Hopper-v5": 50_000},
        {name: METHODS[name] for name in ("savo", "td3")},
        {**SMALL, **OU},
    ),
    "hopper": Study({"asyncrl/RestrictedHopper-v0": 50_000}, METHODS, {**SMALL, **OU}),
    "discrete": Study(
        {"asyncrl/MiningExpedition-v0": 50_000, "asyncrl/RecSim-v0": 50_000},
        OF_ITEMS,
        {**ITEMS, "replay_ratio": 0.1},
        episodes=20,
        of={"asyncrl/MiningExpedition-v0": {"replay_ratio": 0.5}},
    ),
    "ablations": Study({"asyncrl/RestrictedInvertedPendulumHard-v0": 30_000}, ABLATIONS, {**SMALL, **OU}),
}


def settings_of(study: Study, env: str, method: str) -> dict[str, Any]:
    """All that a run is given beside algorithm, environment and seed."""
    steps = study.steps[env]
    made = {**study.settings, **study.of.get(env, {}), **study.methods[method]}
    made["explore"] = made["explore"].format(half=steps // 2)
    evaluations = {"evaluate_every": steps // 20, "evaluation_episodes": study.episodes}
    return {**made, **evaluations, "steps": steps, "mode": "sync", "workers": 1}


def one(env: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train once."""
    with tempfile.TemporaryDirectory() as runs:
        result = asyncrl.train("td3", env, seed=seed, report_seconds=0.1, quiet=True, runs=runs, **settings)
        if result.status != "completed":
            raise KeyboardInterrupt
        entries = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
        seen = {} if env in STUDIES["discrete"].steps else {"landscape": landscape(result.folder)}
    made = {e["step"]: [e["evaluation/return"], e.get("evaluation/first_proposal_return")] for e in entries if "evaluation/return" in e}
    curve = [[steps, *(None if value is None else round(value, 2) for value in pair)] for steps, pair in made.items()]
    return {"env": env, "seed": seed, "seconds": round(result.summary["seconds"], 1), "evaluations": curve, **seen}


def landscape(folder: Path) -> dict[str, Any]:
    """Means over 100 states of an episode: how often the choice is worth more than the first proposal, by Q, and how far both lie below
    the largest Q of a dense grid; local optima of Q and of the surrogates there. Without a grid for more than two components."""
    seen = gaps(folder, states=100)
    found: dict[str, Any] = {"better_than_first": round(float(seen.better.mean()), 3)}
    if seen.largest is not None:
        found["gap"] = round(float((seen.largest - seen.chosen).mean()), 4)
        found["gap_of_first"] = round(float((seen.largest - seen.first).mean()), 4)
        found["optima"] = {name: round(float(counts.mean()), 2) for name, counts in seen.optima.items()}
    return found


def run(name: str, seeds: int) -> None:
    """Make the runs that the file lacks."""
    study, path = STUDIES[name], REFERENCE / f"savo-{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    for seed in range(seeds):
        for env in study.steps:
            for method in study.methods:
                settings = json.loads(json.dumps(settings_of(study, env, method)))
                found = [row for row in rows if (row["env"], row["method"], row["seed"]) == (env, method, seed)]
                if any(row["settings"] == settings for row in found):
                    continue
                rows = [row for row in rows if row not in found]
                rows.append({"method": method, "settings": settings, **one(env, settings, seed)})
                path.write_text(json.dumps({"study": name, "rows": rows}, indent=1) + "\n")
                print(env, method, seed, f"area {area(rows[-1]):.1f}, last {rows[-1]['evaluations'][-1][1:]}", flush=True)


def area(row: dict[str, Any]) -> float:
    """Under the curve of evaluations, divided by the steps: the mean of their returns."""
    return float(np.mean([value for _, value, _ in row["evaluations"]]))


def interval(values: list[float]) -> str:
    """Mean, and in parentheses 95 % of the bootstrapped means."""
    low, high = interval_of_mean(np.array(values))
    return f"{np.mean(values):.1f} ({low:.1f} to {high:.1f})"


def report(name: str) -> None:
    """Print a table of every environment."""
    rows = json.loads((REFERENCE / f"savo-{name}.json").read_text())["rows"]
    for env in dict.fromkeys(row["env"] for row in rows):
        print(f"\n{env}\nmethod | seeds | area under the curve | last evaluation | the first proposal alone, last five evaluations")
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if (row["env"], row["method"]) == (env, method)]
            if not own:
                continue
            last = [float(np.mean([value for _, value, _ in row["evaluations"][-1:]])) for row in own]
            pairs = [[(value, alone) for _, value, alone in row["evaluations"][-5:] if alone is not None] for row in own]
            both = np.array([pair for row in pairs for pair in row]).reshape(-1, 2).mean(0) if all(pairs) else None
            share = "-" if both is None else f"{both[1]:.1f} of {both[0]:.1f}"
            print(method, len(own), interval([area(row) for row in own]), interval(last), share, sep=" | ")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=(*STUDIES, "report"))
    parser.add_argument("of", nargs="?", choices=tuple(STUDIES))
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.study != "report":
        run(chosen.study, chosen.seeds)
        return
    for name in [chosen.of] if chosen.of else [name for name in STUDIES if (REFERENCE / f"savo-{name}.json").exists()]:
        report(name)


if __name__ == "__main__":
    main()
