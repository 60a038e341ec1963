"""Implicit policies beside explicit ones, as seed 000 has them (Tables 2 and 6). Usage: python runs/implicit.py table6 | table2

Writes runs/reference/implicit-table6.json: for every environment, head and seed what one episode of the mean policy earned after
each iteration, with the figures that come of it; runs that the file has are not made again, so the command goes on where it was.
Arguments choose a part: --environments, --heads, --seeds N, --iterations N (all heads have equally many). `table2` writes
runs/reference/implicit-table2.json: seconds of an iteration, heads in turn.

The setting is the source's: parameters begin standard normal, orthogonal antithetic directions, as many as there are parameters, sigma
of its Table 3, learning rate 0.01, returns as they are, an episode each, nothing normalised. Nothing was chosen here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asyncrl.algos.es import EsOptions
from asyncrl.envs import seed_generators
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads import HEADS as REGISTRY
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.tables import attach_tables
from asyncrl.studies.statistics import interval_of_mean
from asyncrl.topologies.search.evaluating import PolicyEvaluator
from asyncrl.topologies.search.learner import LearnerState
from asyncrl.topologies.search.plan import Published, memory_layout, record_fields, search_policy
from asyncrl.topologies.search.topology import search_task
from asyncrl.topologies.topology import allocate

REFERENCE = Path(__file__).parent / "reference"
HEADS = ("itt", "iot", "explicit")
LEARNING_RATE = 0.01
LAST = 10
PIECE = 20
"""Evaluations of a piece of an iteration, of Table 2."""


@dataclass(frozen=True)
class Row:
    """An environment of Table 6."""

    preset: str
    """Its name there."""
    published: dict[str, tuple[float, float]]
    """head -> maximum average score over 10 seeds, and standard deviation."""
    iterations: int = 500
    """Those of Table 2; for environments that it leaves out, nothing is said there, and these are as many as its smallest have."""
    sigma: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HEADS, 1.0))
    """head -> that of Table 3."""


def published(*figures: float) -> dict[str, tuple[float, float]]:
    """Means and deviations in turn, in the order of HEADS."""
    return dict(zip(HEADS, zip(figures[::2], figures[1::2], strict=True), strict=True))


CHEETAH = "HalfCheetah-v5"
TABLE_6 = {
    "CartPole-v1": Row("CartPole-v1", published(500.0, 0.0, 500.0, 0.0, 500.0, 0.0)),
    "MountainCar-v0": Row("MountainCar-v0", published(-133.5, 27.1, -200.0, 0.0, -143.4, 37.12)),
    "MountainCarContinuous-v0": Row("MountainCarContinuous-v0", published(89.17, 8.97, 25.96, 53.61, 52.34, 42.74)),
    "Acrobot-v1": Row("Acrobot-v1", published(-82.6, 11.93, -82.0, 8.54, -92.1, 21.41)),
    "Swimmer-v5": Row("Swimmer-v2", published(344.13, 5.18, 75.54, 88.05, 347.67, 5.74)),
    "LunarLanderContinuous-v3": Row("LunarLanderContinuous-v2", published(157.38, 71.81, -72.72, 26.98, 62.85, 176.36)),
    "Hopper-v5": Row("Hopper-v2", published(2670.37, 225.53, 1036.52, 29.16, 1060.89, 40.71), 4000),
    CHEETAH: Row(
        "HalfCheetah-v2",
        published(2866.02, 416.81, 2696.29, 274.51, 1845.64, 441.96),
        iterations=4000,
        sigma={"itt": 1.0, "iot": 1.0, "explicit": 0.5},
    ),
    "Walker2d-v5": Row("Walker2d-v2", published(1897.87, 498.86, 2909.85, 621.45, 1346.93, 906.33), 4000, dict.fromkeys(HEADS, 0.5)),
}
"""Environment -> row of Table 6, cheapest first. Environments are today's versions of the source's."""


def experiment_of(env: str, head: str, seed: int, **chosen: Any) -> Experiment:
    """A head in an environment in the source's setting; `chosen`: options of the head beside the preset.

    Our estimates are in units of sigma, those of the source (equation 11) are divided by it: here the learning rate is.
    """
    row = TABLE_6[env]
    network = NetworkOptions(head_options=REGISTRY[head].options_type(preset=row.preset, **chosen))
    sigma = row.sigma[head]
    options = EsOptions(
        sigma=sigma,
        directions="orthogonal",
        shaping="none",
        optimizer="sgd",
        learning_rate=LEARNING_RATE / sigma,
        momentum=0.0,
        weight_decay=0.0,
        normalize_observations=False,
        common_seeds="none",
    )
    draft = Experiment("es", env, mode="sync", workers=1, seed=seed, head=head, network=network, options=options)
    size = search_task(draft).size
    return replace(draft, options=replace(options, population=2 * size))


class Iteration(NamedTuple):
    """What came of one."""

    score: float
    """What one episode of the mean policy earned after it."""
    steps: int
    """Those of its evaluations."""
    parameters: Any
    """The mean policy's [N], written over by the next iteration."""


def iterations_of(experiment: Experiment) -> Iterator[Iteration]:
    """The start, which has no steps, and then iterations without end.

    The updates are those of a run in sync, bit for bit. They are made in this process, since a run evaluates its mean whenever the
    evaluator is free, which is not once an iteration.
    """
    task = search_task(experiment)
    state, search = LearnerState(task, task.size), task.search(task.size)
    memory, parking = allocate(memory_layout(task, search), experiment.run)
    parking.close()
    policy, seed = search_policy(task.common), task.common.seed
    attach_tables(policy.head, memory)
    policy.fill_tables(seed)
    evaluator = PolicyEvaluator(task, memory, lambda: None)
    mean = Published.empty(task, search)
    records = {name: np.zeros((search.tickets, *shape), dtype) for name, (shape, dtype) in record_fields(task.observed).items()}
    candidate = np.zeros(task.size, task.space.dtype)
    state.begin()
    state.publish(mean)
    evaluator.published(mean)
    yield Iteration(evaluator.evaluate(mean.search, (0, 0, search.tickets)).value, 0, mean.search)
    for version in itertools.count():
        records["version"][:] = version
        for ticket in range(search.tickets):
            key = (version, 0, ticket)  # as a worker's: generation, attempt, ticket
            seed_generators(seed, *key)
            search.candidate(mean.search, version, ticket, candidate)
            outcome = evaluator.evaluate(candidate, key)
            records["value"][ticket], records["length"][ticket] = outcome.value, outcome.steps
        state.use(version, version * search.tickets + np.arange(search.tickets), records)
        state.publish(mean)
        evaluator.published(mean)
        score = evaluator.evaluate(mean.search, (version, 0, search.tickets)).value
        yield Iteration(score, int(records["length"].sum()), mean.search)


def one(experiment: Experiment, iterations: int) -> dict[str, Any]:
    """A run: its largest score after an iteration, the mean of the last ten, and all of them, as text, so that they take one line."""
    began = time.process_time()
    values, steps, _ = zip(*itertools.islice(iterations_of(experiment), 1, iterations + 1), strict=True)
    row = {"seed": experiment.seed, "maximum": round(max(values), 2), "last_10": round(float(np.mean(values[-LAST:])), 2)}
    row |= {"steps": sum(steps), "cpu_seconds": round(time.process_time() - began, 1)}
    return row | {"scores": " ".join(f"{value:.1f}" for value in values)}


def curve_of(row: dict[str, Any]) -> list[float]:
    """The scores of a run [iterations]."""
    return [float(score) for score in row["scores"].split()]


def mean_and_interval(figures: list[float]) -> dict[str, Any]:
    """Mean of figures [n], its 95 % bootstrap interval, and their standard deviation."""
    interval = [round(end, 1) for end in interval_of_mean(np.array(figures))]
    return {"mean": round(float(np.mean(figures)), 1), "interval_95": interval, "std": round(float(np.std(figures)), 1)}


def aggregate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds: means of the maximum and of the last ten scores, and of the scores after the iteration where that mean is largest."""
    table = {name: mean_and_interval([row[name] for row in rows]) for name in ("maximum", "last_10")}
    curves = np.array([curve_of(row) for row in rows])
    best = int(curves.mean(axis=0).argmax())
    return {"seeds": len(rows), **table, "best_iteration": {"iteration": best + 1, **mean_and_interval(list(curves[:, best]))}}


def add_missing(path: Path, place: tuple[str, str], experiment: Experiment, iterations: int, head: dict[str, Any]) -> None:
    """Make the run and write it into the file, where results/<place> there lacks its seed. `head`: what the file says before results."""
    data = head | {"results": json.loads(path.read_text())["results"] if path.exists() else {}}
    entries = data["results"].setdefault(place[0], {})
    rows = entries.get(place[1], {}).get("rows", [])
    if experiment.seed in [row["seed"] for row in rows]:
        return
    rows = [*rows, one(experiment, iterations)]
    entries[place[1]] = aggregate(rows) | {"rows": rows}
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(*place, {key: value for key, value in rows[-1].items() if key != "scores"}, flush=True)


def table_6(environments: list[str], heads: list[str], seeds: int, iterations: int | None) -> None:
    """The missing runs; seeds in the outer loop, so that all heads have as many whenever it is stopped."""
    head = {"command": "python runs/implicit.py table6", "published": {env: vars(row) for env, row in TABLE_6.items()}}
    for env in environments:
        count = iterations or TABLE_6[env].iterations
        for seed, name in itertools.product(range(seeds), heads):
            place = (f"{env}, {count} iterations", name)
            add_missing(REFERENCE / "implicit-table6.json", place, experiment_of(env, name, seed), count, head)


def table_2(turns: int) -> None:
    """Seconds of an iteration (wall clock and processor), as medians over turns, and what a head takes as a share of iot's.

    All episodes have 1,000 steps, so pieces of an iteration are measured, heads in turn, and multiplied: other programs disturb all alike.
    """
    runs, times = {}, {}
    for head in HEADS:
        whole = experiment_of(CHEETAH, head, 0)
        runs[head] = iterations_of(replace(whole, options=replace(whole.options, population=PIECE)))
        times[head] = (whole.options.population + 1) / (PIECE + 1)  # with the mean policy's episode
        next(runs[head])  # everything is made, and the kernels are loaded
    rows: dict[str, list[list[float]]] = {head: [] for head in HEADS}
    for _, (head, run) in itertools.product(range(turns), runs.items()):
        began = np.array([time.perf_counter(), time.process_time()])
        next(run)
        spent = np.array([time.perf_counter(), time.process_time()]) - began
        rows[head].append([round(float(second), 3) for second in spent])
    medians = {head: np.median(one, axis=0) * times[head] for head, one in rows.items()}
    seconds = {head: [round(float(one), 2) for one in two] for head, two in medians.items()}
    shares = {head: [round(float(one), 3) for one in two / medians["iot"]] for head, two in medians.items()}
    data = {"command": "python runs/implicit.py table2", "env": CHEETAH, "published_hours": {"itt": 12.94, "iot": 23.61, "explicit": 9.95}}
    data |= {"columns": ["wall", "processor"], "seconds": seconds, "as_a_share_of_iot": shares, "pieces": rows, "pieces_in_all": times}
    (REFERENCE / "implicit-table2.json").write_text(json.dumps(data, indent=1) + "\n")
    print(seconds, shares)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Seed 000's comparison of implicit and explicit policies.")
    parser.add_argument("table", choices=("table6", "table2"))
    parser.add_argument("--environments", nargs="+", choices=TABLE_6, default=list(TABLE_6), help="of table6")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS), help="of table6")
    parser.add_argument("--seeds", type=int, default=10, help="of table6; of table2, the turns")
    parser.add_argument("--iterations", type=int, help="of table6; default: the source's")
    given = parser.parse_args()
    if given.table == "table6":
        table_6(given.environments, given.heads, given.seeds, given.iterations)
    else:
        table_2(given.seeds)
