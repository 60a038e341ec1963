"""The learning figures of TD3 and SAC. Usage: python runs/off_policy.py STUDY ALGO [async] [--seeds N] [--plot]

    python runs/off_policy.py pendulum td3             # likewise sac; inverted-pendulum; hopper
    python runs/off_policy.py hopper td3 --plot        # its curve, beside that of runs/peers/sb3.py: an image, nothing is run

Writes runs/reference/<study>-<algo>.json (in async: <study>-<algo>-async.json): settings, and for every seed the greedy evaluations
in the course of training, [steps, mean return], the last of them after it. Learning is the same to the bit whatever else the
machine does (sync, one actor); the step at which an evaluation takes its snapshot is not, but for the last. The file is
written after each seed, and seeds that it has already, with the same settings, are not run again. Settings were chosen on
seed 100. The image is runs/reference/<study>-<algo>.png and needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
ALGOS = ("td3", "sac")
EVALUATION_SEED = 1_000_003
"""With the run's seed added, that of an evaluation's first episode: what `asyncrl.train` does, for programs beside it."""


@dataclass(frozen=True)
class Study:
    """A task, what is asked of it, and the settings of both algorithms."""

    env: str
    steps: int
    seeds: int
    evaluate_every: int
    evaluation_episodes: int
    threshold: float | None
    """Of the mean return of an evaluation; None: the curve is what is asked for."""
    settings: dict[str, Any]


def settings(warm_up: int, rate: float, every: int) -> dict[str, Any]:
    """One update every so many steps, acted with one version of the policy."""
    rates = {"policy_learning_rate": rate, "critic_learning_rate": rate}
    sizes = {"hidden": (64, 64), "batch": 128, "replay": 300_000, "warm_up": warm_up}
    return {**sizes, "gamma": 0.99, "tau": 0.005, "t_max": every, "replay_ratio": 1 / every, **rates}


STUDIES = {
    "pendulum": Study("Pendulum-v1", 20_000, 5, 2_500, 20, -200.0, settings(1_000, 1e-3, 1)),
    "inverted-pendulum": Study("InvertedPendulum-v5", 30_000, 5, 2_500, 20, 1000.0, settings(1_000, 1e-3, 1)),
    "hopper": Study("Hopper-v5", 300_000, 3, 10_000, 5, None, settings(10_000, 1e-3, 4)),
}
OWN: dict[str, dict[str, Any]] = {
    "td3": {"explore": "gaussian:0.1", "policy_delay": 2, "target_noise": 0.2, "target_noise_clip": 0.5},
    "sac": {"explore": "", "temperature": 1.0},
}


def settings_of(study: Study, algo: str) -> dict[str, Any]:
    """All that is not the defaults of asyncrl, and what the other program is to be told."""
    rates = {"temperature_learning_rate": study.settings["critic_learning_rate"]} if algo == "sac" else {}
    return {**study.settings, **OWN[algo], **rates}


def evaluations(folder: Path) -> list[list[float]]:
    """[steps, return] of a run's evaluations; the first parameters' among them."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    made = {entry["step"]: entry["evaluation/return"] for entry in entries if "evaluation/return" in entry}
    return [[steps, round(value, 1)] for steps, value in made.items()]


def one(study: Study, algo: str, mode: str, seed: int) -> dict[str, Any]:
    """Run one seed."""
    import asyncrl  # here, since runs/peers reads the settings where there is none

    with tempfile.TemporaryDirectory() as runs:
        result = asyncrl.train(
            algo,
            study.env,
            mode=mode,
            workers=1,
            seed=seed,
            steps=study.steps,
            evaluate_every=study.evaluate_every,
            evaluation_episodes=study.evaluation_episodes,
            report_seconds=0.1,
            quiet=True,
            runs=runs,
            **settings_of(study, algo),
        )
        if result.status != "completed":
            raise KeyboardInterrupt
        made = evaluations(result.folder)
    row = {"seed": seed, "steps": result.summary["steps"], "seconds": round(result.summary["seconds"], 1)}
    return row | figures(made, study.threshold)


def figures(made: list[list[float]], threshold: float | None) -> dict[str, Any]:
    """What is reported of a seed's evaluations."""
    row: dict[str, Any] = {"final_evaluation": made[-1][1], "best_evaluation": max(value for _, value in made)}
    if threshold is not None:
        row["steps_to_threshold"] = next((steps for steps, value in made if value >= threshold), None)
    return row | {"evaluations": made}


def head_of(name: str, algo: str) -> dict[str, Any]:
    """A file's content but for the rows, and what is to be the same for rows to be kept."""
    study = STUDIES[name]
    task = {key: value for key, value in asdict(study).items() if key not in ("seeds", "settings")}
    return {"algo": algo, **task, "settings": json.loads(json.dumps(settings_of(study, algo)))}


def run(path: Path, head: dict[str, Any], seeds: int, one_seed: Any) -> None:
    """Run the seeds that the file lacks; write it after each."""
    before = json.loads(path.read_text()) if path.exists() else {}
    rows = before["rows"] if {key: before.get(key) for key in head} == head else []
    for seed in [seed for seed in range(seeds) if seed not in [row["seed"] for row in rows]]:
        rows = [*rows, one_seed(seed)]
        summary = {"final_evaluations": [row["final_evaluation"] for row in rows]}
        if head["threshold"] is not None:
            summary["reached"] = sum(row["best_evaluation"] >= head["threshold"] for row in rows)
        path.write_text(json.dumps({**head, **summary, "rows": rows}, indent=1) + "\n")
        print(path.stem, {key: value for key, value in rows[-1].items() if key != "evaluations"}, flush=True)


def curve(data: dict[str, Any]) -> tuple[Any, Any]:
    """(steps [G], the seeds' evaluations there [S, G]): between two evaluations the straight line."""
    import numpy as np

    every, first = data["evaluate_every"], max(row["evaluations"][0][0] for row in data["rows"])
    grid = np.arange(-(-first // every), data["steps"] // every + 1) * every
    return grid, np.array([np.interp(grid, *np.transpose(row["evaluations"])) for row in data["rows"]])


def plot(name: str, algo: str) -> Path:
    """Draw the study's files that there are: mean over the seeds, and from the lowest to the highest of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    panel = figure.subplots()
    labels = {"": "asyncrl, sync", "-async": "asyncrl, async", "-sb3": "Stable-Baselines3"}
    for i, (suffix, label) in enumerate(labels.items()):
        path = REFERENCE / f"{name}-{algo}{suffix}.json"
        if path.exists():
            grid, returns = curve(json.loads(path.read_text()))
            panel.plot(grid, returns.mean(0), label=f"{label}: {len(returns)} seeds", color=f"C{i}", linewidth=1.8)
            panel.fill_between(grid, returns.min(0), returns.max(0), color=f"C{i}", alpha=0.2, linewidth=0)
    study = STUDIES[name]
    panel.set(title=f"{algo} on {study.env}: mean, lowest and highest seed", xlabel="steps", ylabel="return of greedy episodes")
    panel.set_xlim(0, study.steps)
    panel.grid(alpha=0.3)
    panel.legend(loc="upper left")
    image = REFERENCE / f"{name}-{algo}.png"
    figure.savefig(image, dpi=110)
    return image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Learning figures of TD3 and SAC.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("algo", choices=ALGOS)
    parser.add_argument("mode", nargs="?", choices=("sync", "async"), default="sync")
    parser.add_argument("--seeds", type=int, help="default: the study's number")
    parser.add_argument("--plot", action="store_true", help="draw what there is")
    given = parser.parse_args()
    if given.plot:
        print(plot(given.study, given.algo))
        return
    study, mode, suffix = STUDIES[given.study], given.mode, "" if given.mode == "sync" else "-async"
    command = f"python runs/off_policy.py {given.study} {given.algo}{suffix.replace('-', ' ')}"
    head = {"command": command, **head_of(given.study, given.algo), "mode": mode, "workers": 1}
    path = REFERENCE / f"{given.study}-{given.algo}{suffix}.json"
    run(path, head, given.seeds or study.seeds, lambda seed: one(study, given.algo, mode, seed))


if __name__ == "__main__":
    main()
