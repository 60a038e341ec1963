"""The learning figures of black-box search: steps to published thresholds. Usage: python runs/search.py STUDY [VARIANT ...] [--seeds N]

Writes runs/reference/search-<study>.json: settings, and for every variant and seed the steps at which a greedy evaluation (10
episodes) first reached the threshold. A run ends there, or with its budget of steps; what it then has is played 20 episodes
more. Seeds that the file has already, with the same settings, are not run again. Settings were chosen on seeds from 100 on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import asyncrl
from asyncrl.algos.tres import TresOptions

REFERENCE = Path(__file__).parent / "reference"
PAPER_SEEDS = (5523, 2265, 3481, 147, 8971, 9485)
"""Those that the paper of TRES lists. Nothing was chosen on them."""
WORKERS = 2
EPISODES, LAST_EPISODES = 10, 20

WHOLE: dict[str, Any] = {"population": 16, "sigma": 0.1}
SHORT: dict[str, Any] = {"population": 32, "sigma": 0.06, "episode_limit": "200"}


@dataclass(frozen=True)
class Variant:
    """An algorithm with its settings."""

    algo: str
    settings: dict[str, Any]
    seeds: tuple[int, ...] | None = None
    """None: from 0 on, as many as the study has."""


@dataclass(frozen=True)
class Study:
    """A task, the published figure, and the algorithms to hold against it."""

    env: str
    threshold: float
    published: dict[str, int]
    """Steps or episodes to the threshold."""
    steps: int
    """Budget of a run."""
    evaluate_every: int
    seeds: int
    variants: dict[str, Variant]


def tres(settings: dict[str, Any], tuned: dict[str, Any]) -> dict[str, Variant]:
    """TRES; ES with settings of its own; and ES with TRES's settings and longer steps, the controls.

    es-k: the first epoch of TRES is a step of ES (sgd) with learning rate learning_rate sigma, so K epochs that all went the same
    way would be one with K times that. es-length: TRES ends its epochs where a step has a length of sqrt(2 mean_kl) sigma in each
    parameter; this ES has steps of about that length (with ranks, the gradient's variance in each is that of ranks / (P - 1)).
    tres-straight: in every update exactly as long as TRES's move on these evaluations, along the gradient of ES.
    """
    defaults = TresOptions(**settings)
    sigma, population = defaults.sigma, defaults.population
    control = {key: value for key, value in settings.items() if key not in ("epochs", "clip", "learning_rate", "mean_kl", "max_kl")}
    control |= {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    gradient = np.sqrt((population + 1) / 12) / (population - 1)
    rates = {
        "es-k": defaults.learning_rate * sigma * defaults.epochs,
        "es-length": float(np.sqrt(2 * defaults.mean_kl) * sigma / gradient),
    }
    controls = {label: Variant("es", control | {"learning_rate": round(rate, 4)}) for label, rate in rates.items()}
    straight = Variant("tres", settings | {"straight": True})
    return {"tres": Variant("tres", settings), "es": Variant("es", tuned), **controls, "tres-straight": straight}


STUDIES = {
    "swimmer": Study(
        "Swimmer-v5",
        128,
        {"tres_steps": 240_000, "es_steps": 450_000},
        480_000,
        20_000,
        6,
        tres({"population": 8, "sigma": 0.1}, {"population": 8, "sigma": 0.1, "learning_rate": 0.04}),
    ),
    "halfcheetah": Study(
        "HalfCheetah-v5",
        2385,
        {"tres_steps": 980_000, "es_steps": 1_700_000},
        1_500_000,
        50_000,
        6,
        # Nothing ends this environment's episodes before 1,000 steps. Cut at 200 (evaluations are not), as many steps make five times
        # as many evaluations, and seeds hardly ever stay below 2,000 for good.
        {
            **tres(SHORT | {"mean_kl": 0.1, "learning_rate": 1.0}, SHORT | {"learning_rate": 0.02}),
            "tres-paper-seeds": Variant("tres", SHORT | {"mean_kl": 0.1, "learning_rate": 1.0}, PAPER_SEEDS),
            **{f"{name}-whole-episodes": one for name, one in tres(WHOLE, WHOLE | {"learning_rate": 0.04}).items()},
            "tres-whole-episodes-paper-seeds": Variant("tres", WHOLE, PAPER_SEEDS),
        },
    ),
    "inverted-double-pendulum": Study(
        "InvertedDoublePendulum-v5",
        9104,
        {"tres_steps": 600_000, "es_steps": 880_000},
        2_400_000,
        20_000,
        6,
        # The whole reward is a bonus of 10 for staying alive less penalties: without the bonus it would be best to fall at once.
        tres({"population": 16, "sigma": 0.1}, {"population": 16, "sigma": 0.1, "learning_rate": 0.04}),
    ),
    "walker2d": Study(
        "Walker2d-v4",
        2872,
        {"tres_steps": 3_600_000, "es_steps": 12_000_000},
        3_600_000,
        100_000,
        6,
        tres({"population": 32, "sigma": 0.1, "survival_bonus": 1.0}, {"population": 32, "sigma": 0.1, "survival_bonus": 1.0}),
    ),
    "ars-swimmer": Study(
        "Swimmer-v5",
        325,
        {"v1_episodes": 100, "v2_episodes": 427},
        427_000,
        20_000,
        5,
        {
            "v1": Variant("ars", {"version": "v1", "population": 2, "top": 1, "learning_rate": 0.02, "sigma": 0.01}),
            "v2": Variant("ars", {"version": "v2", "population": 2, "top": 1, "learning_rate": 0.02, "sigma": 0.01}),
        },
    ),
    "ars-halfcheetah": Study(
        "HalfCheetah-v5",
        3430,
        {"v2_episodes": 2_720, "v2t_episodes": 1_707},
        2_720_000,
        100_000,
        5,
        {"v2-t": Variant("ars", {"version": "v2", "population": 64, "top": 4, "learning_rate": 0.02, "sigma": 0.03})},
    ),
}


def evaluations(folder: Path) -> list[tuple[int, float]]:
    """(steps, return) of the evaluations that a run has made so far."""
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return [(entry["step"], entry["evaluation/return"]) for entry in entries if "evaluation/return" in entry]


class Stop(threading.Thread):
    """Interrupts the run in this process, as Ctrl-C would, once an evaluation has reached the threshold."""

    def __init__(self, folder: Path, study: Study):
        super().__init__(daemon=True)
        self._folder, self._study, self.done = folder, study, threading.Event()

    def run(self) -> None:
        """Watch; an evaluation close to the end is left to end the run by itself."""
        while not self.done.wait(0.5):
            made = evaluations(self._folder)
            if made and made[-1][0] > self._study.steps - 2 * self._study.evaluate_every:
                return
            if any(value >= self._study.threshold for _, value in made):
                os.kill(os.getpid(), signal.SIGINT)
                return


def one(study: Study, variant: Variant, seed: int) -> dict[str, Any]:
    """Run one seed."""
    with tempfile.TemporaryDirectory() as runs:
        watch = Stop(Path(runs) / "run", study)
        watch.start()
        result = asyncrl.train(
            variant.algo,
            study.env,
            mode="sync",
            workers=WORKERS,
            seed=seed,
            steps=study.steps,
            evaluate_every=study.evaluate_every,
            evaluation_episodes=EPISODES,
            report_seconds=0.5,
            quiet=True,
            runs=runs,
            name="run",
            **variant.settings,
        )
        watch.done.set()
        watch.join()
        made = evaluations(result.folder)
        last = asyncrl.evaluate(result.folder, episodes=LAST_EPISODES, seed=seed + 2_000_003)
    hit = next((steps for steps, value in made if value >= study.threshold), None)
    row = {"seed": seed, "steps_to_threshold": hit, "best_evaluation": round(max(value for _, value in made), 1)}
    row |= {"final_evaluation": round(last["return_mean"], 1), "final_std": round(last["return_std"], 1)}
    row |= {key: result.summary[key] for key in ("steps", "episodes", "updates")}
    return row | {"seconds": round(result.summary["seconds"], 1), "evaluations": [[steps, round(value, 1)] for steps, value in made]}


def aggregate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many seeds reached the threshold, and the mean of their steps with its 95 % bootstrap interval."""
    hits = np.array([row["steps_to_threshold"] for row in rows if row["steps_to_threshold"] is not None], float)
    if not len(hits):
        return {"reached": 0, "of": len(rows)}
    resampled = np.random.default_rng(0).choice(hits, (10_000, len(hits))).mean(axis=1)
    interval = [round(float(end)) for end in np.percentile(resampled, [2.5, 97.5])]
    return {"reached": len(hits), "of": len(rows), "steps_mean": round(float(hits.mean())), "interval_95": interval}


def run(name: str, labels: list[str], seeds: int | None = None) -> None:
    """Run the variants' missing seeds, of the study's or of the first so many; the file is written after each of them."""
    study, path = STUDIES[name], REFERENCE / f"search-{name}.json"
    data = json.loads(path.read_text()) if path.exists() else {}
    head = {key: value for key, value in asdict(study).items() if key not in ("variants", "seeds")}
    data = {"command": f"python runs/search.py {name}", **head, "mode": "sync", "workers": WORKERS, "variants": data.get("variants", {})}
    for label in labels or list(study.variants):
        variant = study.variants[label]
        entry = {"algo": variant.algo, "settings": variant.settings}
        before = data["variants"].get(label, {})
        rows = before["rows"] if {key: before.get(key) for key in entry} == entry else []
        wanted = variant.seeds or range(seeds or study.seeds)
        for seed in [seed for seed in wanted if seed not in [row["seed"] for row in rows]]:
            rows = [*rows, one(study, variant, seed)]
            data["variants"][label] = entry | aggregate(rows) | {"rows": rows}
            path.write_text(json.dumps(data, indent=1) + "\n")
            print(name, label, {key: value for key, value in rows[-1].items() if key != "evaluations"}, flush=True)
        print(name, label, aggregate(rows), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Steps of black-box searches to published thresholds.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("variants", nargs="*", help="default: all of the study's")
    parser.add_argument("--seeds", type=int, help="default: the study's number")
    given = parser.parse_args()
    run(given.study, given.variants, given.seeds)
