"""Values of items as points, where their features differ most: a row for each state where there are surrogates. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.landscapes.items import ItemState
from asyncrl.landscapes.picture import RING, STAR, columns_for, panels_of, png
from asyncrl.landscapes.value_maps import POINT, numbered, shown_functions
from asyncrl.landscapes.value_marks import heading, symbol
from asyncrl.landscapes.values import Q

ROOM = 0.04
"""Of an axis, for a letter of the proposals' numbers."""
POINTS_AREA, LARGEST_POINT = 20_000.0, 30.0
"""Of all items of a panel together, and of one, in square points."""


def drawn(states: Sequence[ItemState], places: NDArray[np.float64], title: str) -> tuple[bytes, tuple[int, int]]:
    """(a PNG file, its width and height in pixels); places [N, 2] of all items. Each panel has its own scale of values."""
    names = shown_functions(list(states[0].surfaces))
    columns = len(names) if len(names) > 1 else columns_for(len(states))
    figure, panels = panels_of(len(states) * len(names), columns, one_height=True)
    for panel, (state, name) in zip(panels, ((state, name) for state in states for name in names)):
        _draw(figure, panel, state, name, places)
    for i, panel in enumerate(panels):
        if i + columns >= len(panels):
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("first principal component", fontsize=9)
        if i % columns == 0:
            panel.set_ylabel("second", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    return png(figure, title)


def _draw(figure: Any, panel: Any, state: ItemState, name: str, places: NDArray[np.float64]) -> None:
    values = state.surfaces[name]
    order = values.argsort(kind="stable")  # the largest on top
    size = min(POINTS_AREA / len(order), LARGEST_POINT)
    points = panel.scatter(*places[state.items[order]].T, c=values[order], s=size, cmap="viridis", linewidths=0, rasterized=True)
    figure.colorbar(points, ax=panel).ax.tick_params(labelsize=7)
    proposals = places[state.proposals[:, 0].astype(np.int64)]
    if len(proposals) > 1:
        panel.plot(*proposals.T, label="proposals", **POINT)
        numbered(panel, proposals, places.mean(0), ROOM * np.ptp(places, axis=0))
    panel.plot(*places[state.best], label=f"largest Q of {len(order):,} items", **STAR)
    panel.plot(*places[int(state.chosen[0])], label="chosen", **RING)
    panel.set_title(heading(state) if name == Q else symbol(name), fontsize=8)
    panel.tick_params(labelsize=8)
    panel.locator_params(nbins=5)
