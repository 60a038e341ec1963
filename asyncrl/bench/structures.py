"""Microseconds of products with structured matrices, dense and by FFT, and of one step of every head of black-box search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.networks.compact import LAYERS
from asyncrl.heads.networks.layers import dense
from asyncrl.heads.networks.structures import STRUCTURES
from asyncrl.heads.networks.structures.fast import FAST_STRUCTURES, FastProduct, pays
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy

SIZES = (41, 256, 512, 1024)
HALF_CHEETAH = EnvSpec((17,), "float32", "box", (), (6,), (-1.0,) * 6, (1.0,) * 6, ())


def bench_structures(
    sizes: Sequence[int] = SIZES, seconds: float = 0.05, progress: Callable[[str], Any] | None = None
) -> list[dict[str, Any]]:
    """Measure products of one row with n x n matrices, `seconds` for each figure (the best of several runs).

    Returns:
        Rows {"structure", "size", "parameters", "dense", "fft", "expand", "used"}; times in microseconds. `expand` computes the dense
        matrix, once per candidate; `fft` is None for structures without one; `used` is what `SearchPolicy` uses, "dense" or "fft".
    """
    rows = []
    for size in sizes:
        for structure in STRUCTURES:
            if progress is not None:
                progress(f"{structure} {size} x {size}")
            rows.append(_row(structure, size, seconds))
    return rows


def _row(structure: str, size: int, seconds: float) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    family = STRUCTURES[structure]()
    parameters = family.initial(generator, size, size, 1.0)
    matrix, bias = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
    x, y = generator.standard_normal((1, size)).astype(np.float32), np.zeros((1, size), np.float32)
    row = {
        "structure": structure,
        "size": size,
        "parameters": len(parameters),
        "expand": _microseconds(lambda: family.expand(parameters, matrix), seconds),
        "dense": _microseconds(lambda: dense(x, matrix, bias, y), seconds),
        "fft": None,
        "used": "fft" if pays(structure, size, size) else "dense",
    }
    if structure in FAST_STRUCTURES:
        product = FastProduct(structure, size, size)
        product.set(parameters)
        row["fft"] = _microseconds(lambda: product(x, y), seconds)
    return row


def bench_heads(spec: EnvSpec = HALF_CHEETAH, seconds: float = 0.05) -> list[dict[str, Any]]:
    """Rows {"head", "parameters", "act", "set"}: microseconds of a step, called from Python, and of setting a candidate's parameters."""
    rows = []
    for head in LAYERS:
        policy = SearchPolicy(spec, head, NetworkOptions())
        player, vector = policy.player(), policy.initial(0)
        player.normaliser[:] = 1.0
        observation = np.zeros(spec.observation_size, spec.observation_dtype)
        times = {
            "set": _microseconds(lambda player=player, vector=vector: player.set(vector), seconds),  # type: ignore[misc]
            "act": _microseconds(lambda act=player.act, o=observation: act(o), seconds),  # type: ignore[misc]
        }
        rows.append({"head": head, "parameters": policy.size, **times})
    return rows


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """A table of the rows of `bench_structures` or `bench_heads`."""
    table = Table()
    for heading in rows[0]:
        table.add_column(heading, justify="left" if isinstance(rows[0][heading], str) else "right")
    for row in rows:
        table.add_row(*("-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def _microseconds(call: Callable[[], Any], seconds: float, runs: int = 5) -> float:
    """Microseconds of one call: the best of several runs, which together take about `seconds`."""
    call()
    began = time.perf_counter()
    call()
    count = max(1, int(seconds / runs / max(time.perf_counter() - began, 1e-7)))
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - began) / count)
    return best * 1e6
