"""Lazy action towers, and indices of latents, under training: seed 000's Figures 4 and 5. Usage: python runs/implicit_figures.py [ENV ...]

Goes on where it was, like runs/implicit.py, whose setting and arguments it shares (--variants for --heads); --plot draws
runs/reference/implicit-figures-<environment>.png, with matplotlib, of what the file beside it has.

Figure 5 holds `lazy` (the action tower moves in every fifth iteration) against `itt`, whose set is drawn anew at each transition: the
runs of `python runs/implicit.py table6` with as many iterations. Figure 4 needs sets that stand, so its regular one is `fixed`; an
index looks at as many actions as there are in a bucket of the source. `subset` is the control: as many, drawn at random at each
transition, which the source calls bootstrapping.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from implicit import REFERENCE, TABLE_6, add_missing, curve_of, experiment_of

PERIOD = 5
SETS = {"Swimmer-v5": (1_024, 128), "HalfCheetah-v5": (16_384, 256)}
"""Environment -> actions of the set, and of a bucket (section 3.2; the source calls the latter the size of the hash space)."""
FIGURE_5, FIGURE_4 = ("lazy",), ("fixed", "projections", "principal-tree", "subset")


def options_of(env: str, variant: str) -> dict[str, Any]:
    """What a variant adds to the preset."""
    size, bucket = SETS[env]
    stands = {"resample": "never", "set_size": size}
    indexed = {name: {**stands, "selection": name, "scanned": bucket} for name in ("projections", "principal-tree")}
    subset = {"resample": "subset", "set_size": size, "subset": bucket}
    return {"lazy": {"lazy": PERIOD}, "fixed": stands, "subset": subset, **indexed}[variant]


def path_of(env: str) -> Path:
    """Where the figures of an environment lie."""
    return REFERENCE / f"implicit-figures-{env.partition('-')[0].lower()}.json"


def study(env: str, variants: list[str], seeds: int, iterations: int | None) -> None:
    """The missing runs; seeds in the outer loop."""
    count = iterations or TABLE_6[env].iterations
    head = {"command": f"python runs/implicit_figures.py {env}", "variants": {one: options_of(env, one) for one in FIGURE_5 + FIGURE_4}}
    for seed, variant in itertools.product(range(seeds), variants):
        experiment = experiment_of(env, "itt", seed, **options_of(env, variant))
        add_missing(path_of(env), (f"{env}, {count} iterations", variant), experiment, count, head)


def plot(env: str) -> None:
    """Means over seeds, with the least and the largest as a shadow, as the source has them; a panel for each figure and number of
    iterations."""
    from matplotlib.figure import Figure

    results = json.loads(path_of(env).read_text())["results"]
    regular = json.loads((REFERENCE / "implicit-table6.json").read_text())["results"]
    for title, entries in results.items():
        entries["itt"] = regular[title]["itt"]
    figure = Figure(figsize=(10, 3.8 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 2, squeeze=False)
    for panel, ((title, entries), variants) in zip(panels.flat, itertools.product(results.items(), (("itt", *FIGURE_5), FIGURE_4))):
        for variant in [one for one in variants if one in entries]:
            curves = np.array([curve_of(row) for row in entries[variant]["rows"]])
            at = np.arange(1, curves.shape[1] + 1)
            panel.plot(at, curves.mean(axis=0), label=f"{variant} ({len(curves)} seeds)")
            panel.fill_between(at, curves.min(axis=0), curves.max(axis=0), alpha=0.15)
        panel.set(title=title, xlabel="iterations", ylabel="score of the mean policy")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path_of(env).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lazy action towers and indices under training.")
    parser.add_argument("environments", nargs="*", metavar="ENV", help=f"default: {' '.join(SETS)}")
    parser.add_argument("--variants", nargs="+", choices=FIGURE_5 + FIGURE_4, default=list(FIGURE_5 + FIGURE_4))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, help="default: the source's")
    parser.add_argument("--plot", action="store_true", help="draw what there is; nothing is run")
    given = parser.parse_args()
    for environment in given.environments or SETS:
        if given.plot:
            plot(environment)
        else:
            study(environment, given.variants, given.seeds, given.iterations)
