"""Microseconds and quality of the ways to select an action among N, ours and faiss's, on one core.

Rows {"head", "selection", "scanned", "actions", "latent", "latents", "microseconds", "score", "temperature", "variation", "bytes"}:

    head          "none": the selection alone, for a latent of the state that is there already. Rows of whole heads have the same keys:
                  see `asyncrl.bench.implicit_heads`
    scanned       actions whose scores an approximate selection or a control computes, at least
    latent        numbers of a latent, d
    latents       "unit": independent, of norm 1; "tower": of a random tower with one hidden layer, of actions in a box of 6 numbers
    microseconds  median of one call from Python
    score         of a choice: its dot product, where the best action's is 1 and the mean of all actions' is 0; mean over queries
    temperature   of a draw; queries have norm 1
    variation     of a draw: total variation from the exact softmax; mean over queries
    bytes         of the index

All selections are called in turn, ten queries each, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from asyncrl.bench.faiss_peers import peers
from asyncrl.heads.implicit.selection import (
    Brute,
    Coded,
    FeatureTree,
    PrincipalTree,
    Projections,
    RandomBlock,
    RandomSubset,
    Selection,
    TopNormSubset,
)
from asyncrl.heads.implicit.selection.controls import Subset
from asyncrl.heads.implicit.selection.selection import SelectionOptions

ACTIONS = (1_000, 10_000, 100_000, 1_000_000)
SIZES = (20, 6)
LATENTS = ("unit", "tower")
SCANNED = (2_048, 8_192, 65_536)
QUERIES = 60
TURN = 10
TEMPERATURES = (1.0, 0.5, 0.25)
VARIATIONS = 6
"""Queries for which the total variation is computed."""

APPROXIMATE: tuple[tuple[str, type[Selection], dict[str, Any]], ...] = (
    ("projections", Projections, {}),
    ("projections, hamming", Projections, {"order": "hamming"}),
    ("projections, hamming, median", Projections, {"order": "hamming", "thresholds": "median"}),
    ("principal-tree", PrincipalTree, {"moments": 1}),
    ("random-subset", RandomSubset, {}),
    ("top-norm-subset", TopNormSubset, {}),
)
"""Name, class and options of the approximate selections and their controls. The last of the projections are the paper's."""
Blockwise = FeatureTree | PrincipalTree | RandomBlock
DRAWING: tuple[type[Brute | Blockwise], ...] = (Brute, FeatureTree, PrincipalTree, RandomBlock)

Choose = Callable[[NDArray[np.float32]], int]


@dataclass
class Measured:
    """A selection under measurement: its name, the call that takes a query [d], and its row's figures."""

    name: str
    choose: Choose
    bytes: int
    scanned: int | None = None
    variation: float | None = None
    temperature: float | None = None


def bench_selections(
    actions: Sequence[int] = ACTIONS,
    sizes: Sequence[int] = SIZES,
    latents: Sequence[str] = LATENTS,
    scanned: Sequence[int] = SCANNED,
    hnsw_up_to: int = 100_000,
    progress: Callable[[str], Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure every selection at every number of actions, size of latents and kind of latents.

    Args:
        actions: numbers of actions.
        sizes: numbers of a latent.
        latents: of LATENTS.
        scanned: actions that an approximate selection and its controls look at; of those above N / 8 that number is taken instead.
        hnsw_up_to: faiss's HNSW is built for up to so many actions, since that takes minutes for a million.
        progress: called with a line of text before each part.

    Returns:
        Rows, as the module describes them.
    """
    rows = []
    for size in sizes:
        for kind in latents:
            for count in actions:
                if progress is not None:
                    progress(f"{count:,} actions, {kind} latents of {size} numbers")
                rows += _measured(count, size, kind, sorted({min(one, count // 8 + 1) for one in scanned}), count <= hnsw_up_to)
    return rows


def _measured(count: int, size: int, kind: str, scanned: Sequence[int], hnsw: bool) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    table = unit_latents(generator, count, size) if kind == "unit" else tower_latents(generator, count, size)
    queries = unit_latents(generator, QUERIES, size)
    selections = [*_choosing(table, scanned), *_drawing(table, queries)]
    selections += [Measured(name, choose, held) for name, choose, held in peers(table, hnsw)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*feature tree")  # its row shows how far it is off
        times, chosen = _alternating(selections, queries)
    scores = _scores(table, queries, chosen)
    return [
        {
            "head": "none",
            "selection": one.name,
            "scanned": one.scanned,
            "actions": count,
            "latent": size,
            "latents": kind,
            "microseconds": float(np.median(times[i]) * 1e6),
            "score": float(scores[i]) if one.temperature is None else None,
            "temperature": one.temperature,
            "variation": one.variation,
            "bytes": one.bytes,
        }
        for i, one in enumerate(selections)
    ]


def unit_latents(generator: np.random.Generator, count: int, size: int) -> NDArray[np.float32]:
    """Latents [count, size], uniform on the sphere."""
    rows = generator.standard_normal((count, size), np.float32)
    rows /= np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows


def tower_latents(generator: np.random.Generator, count: int, size: int, inputs: int = 6) -> NDArray[np.float32]:
    """Latents [count, size] of actions that are uniform in [-1, 1]^inputs: random weights, one hidden layer of ReLU, no biases."""
    hidden = np.maximum(generator.uniform(-1.0, 1.0, (count, inputs)) @ generator.standard_normal((inputs, size)), 0.0)
    return np.ascontiguousarray(hidden @ generator.standard_normal((size, size)) / np.sqrt(inputs * size), np.float32)


def _choosing(table: NDArray[np.float32], scanned: Sequence[int]) -> list[Measured]:
    brute = Brute.build(table, SelectionOptions(), np.random.default_rng(1))
    coded = Coded.build(table, SelectionOptions(), np.random.default_rng(1))
    found = [Measured(one.name, one.best, _bytes(one)) for one in (brute, coded)]
    for name, kind, changes in APPROXIMATE:
        index: Selection | None = None
        for count in scanned:
            options = replace(SelectionOptions(scanned=count), **changes)
            if index is None or issubclass(kind, Subset):  # of the others the index is the same
                index = kind.build(table, options, np.random.default_rng(1))
            selection = kind(index.arrays, options)
            found.append(Measured(name, selection.best, _bytes(selection), count))
    return found


def _bytes(selection: Selection) -> int:
    return sum(array.nbytes for array in selection.arrays.values())


def _drawing(table: NDArray[np.float32], queries: NDArray[np.float32]) -> list[Measured]:
    found = []
    uniform = np.random.default_rng(2).random
    for temperature in TEMPERATURES:
        for kind in DRAWING:
            selection = kind.build(table, SelectionOptions(temperature=temperature), np.random.default_rng(1))
            variation = 0.0
            if not isinstance(selection, Brute):
                variation = float(np.mean([total_variation(selection, table, query) for query in queries[:VARIATIONS]]))

            def draw(query: NDArray[np.float32], selection: Selection = selection) -> int:
                return selection.draw(query, uniform())

            found.append(Measured(f"{kind.name} draw", draw, _bytes(selection), None, variation, temperature))
    return found


def total_variation(selection: Blockwise, latents: NDArray[np.float32], query: NDArray[np.float32]) -> float:
    """Half the sum over latents [N, d] of the differences between the probabilities of a draw and the softmax's, for query [d].

    Within a block draws are exact, so that the blocks' probabilities are all that differ.
    """
    scores = (latents @ query).astype(np.float64) / selection.options.temperature
    exact = np.exp(scores - scores.max())
    ids = selection.arrays["ids"]
    weights = exact[ids]
    weights[:, 1:][ids[:, 1:] == ids[:, :-1]] = 0.0  # copies that fill a block
    return float(0.5 * np.abs(weights.sum(axis=1) / exact.sum() - selection.shares(query)).sum())


def _alternating(selections: Sequence[Measured], queries: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Seconds [S, Q] of each selection's call for each query [Q, d], called in turn, and the actions [S, Q] that they chose."""
    seconds, chosen = np.zeros((len(selections), len(queries))), np.zeros((len(selections), len(queries)), np.int64)
    for one in selections:
        one.choose(queries[0])
    for first in range(0, len(queries), TURN):
        for i, one in enumerate(selections):
            for q in range(first, min(first + TURN, len(queries))):
                began = time.perf_counter()
                chosen[i, q] = one.choose(queries[q])
                seconds[i, q] = time.perf_counter() - began
    return seconds, chosen


def _scores(table: NDArray[np.float32], queries: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores [S] of the actions chosen [S, Q]: 1 for the best's dot product, 0 for the mean of all."""
    total = np.zeros(len(chosen))
    for q, query in enumerate(queries):
        scores = table @ query
        best, mean = float(scores.max()), float(scores.mean(dtype=np.float64))
        total += (scores[chosen[:, q]] - mean) / (best - mean) if best > mean else 1.0
    return total / len(queries)


def _shown(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def table_of_selections(rows: Sequence[dict[str, Any]]) -> Table:
    """A table of the rows of `bench_selections`, within 80 columns where names allow."""
    table = Table("selection", "scanned", "actions", "latent", "\N{MICRO SIGN}s", "score", "T", "TV", padding=(0, 1, 0, 0))
    for row in rows:
        name = row["selection"] if row["head"] == "none" else f"{row['head']} {row['selection']}"
        score, temperature, variation = (row[key] for key in ("score", "temperature", "variation"))
        numbers = _shown(score, ".3f"), _shown(temperature, "g"), _shown(variation, ".4f")
        scanned = "" if row["scanned"] is None else str(row["scanned"])
        table.add_row(name, scanned, str(row["actions"]), f"{row['latent']} {row['latents']}", f"{row['microseconds']:.1f}", *numbers)
    return table
