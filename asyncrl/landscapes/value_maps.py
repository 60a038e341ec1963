"""Values of two components of the action as heat maps: a row for each state where there are surrogates. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.landscapes.picture import MARK, RING, STAR, columns_for, map_on, name_axes, panels_of, png
from asyncrl.landscapes.value_marks import heading, numbers, optima, symbol
from asyncrl.landscapes.values import Q, ValueState

MOST_MAPS = 4
"""Maps of a state: Q, and the last of the surrogates."""
ROOM = 0.08
"""Of an axis, for a letter of the proposals' numbers."""
POINT: dict[str, Any] = {"marker": "o", "color": "white", "markeredgecolor": "black", "markersize": 4.5, **MARK}


def drawn(states: Sequence[ValueState], spec: EnvSpec, title: str) -> tuple[bytes, tuple[int, int]]:
    """(a PNG file, its width and height in pixels) of states that have two axes. Each map has its own scale of values."""
    names = shown_functions(list(states[0].surfaces))
    columns = len(names) if len(names) > 1 else columns_for(len(states))
    figure, panels = panels_of(len(states) * len(names), columns, one_height=True)
    for panel, (state, name) in zip(panels, ((state, name) for state in states for name in names)):
        _draw(figure, panel, state, name)
    name_axes(panels, columns, spec, states[0].axes, "")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    return png(figure, title)


def shown_functions(names: list[str]) -> list[str]:
    """The functions of which there are maps."""
    return names if len(names) <= MOST_MAPS else [names[0], *names[1 - MOST_MAPS :]]


def _draw(figure: Any, panel: Any, state: ValueState, name: str) -> None:
    values = state.surfaces[name]
    mesh = map_on(panel, state.lines, values, bool(np.ptp(values) > 0))
    figure.colorbar(mesh, ax=panel).ax.tick_params(labelsize=7)
    places = state.proposals[:, list(state.axes)]
    if len(places) > 1:
        panel.plot(*places.T, label="proposals", **POINT)
        middles, ranges = (np.array([of(line) for line in state.lines]) for of in (np.mean, np.ptp))
        numbered(panel, places, middles, ROOM * ranges)
    panel.plot(*state.best, label=f"largest Q of {values.size:,} points", **STAR)
    panel.plot(*state.chosen[list(state.axes)], label="chosen", **RING)
    count = optima(state.optima[name])
    panel.set_title(f"{heading(state)}; Q has {count}" if name == Q else f"{symbol(name)} has {count}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.locator_params(nbins=5)


def numbered(panel: Any, places: NDArray[np.float64], middles: NDArray[np.float64], room: NDArray[np.float64]) -> None:
    """The numbers of proposals at places [K, 2], on their sides that lie inwards; `middles` [2] of the axes; `room` [2]: of a letter."""
    from matplotlib.patheffects import withStroke

    for first, word in numbers(places, room):
        place = places[first]
        sides = [bool(at > middle) for at, middle in zip(place, middles)]
        panel.annotate(
            word,
            place,
            (-8 if sides[0] else 8, -8 if sides[1] else 8),
            textcoords="offset points",
            ha="right" if sides[0] else "left",
            va="top" if sides[1] else "bottom",
            fontsize=9,
            color="black",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=6,
        )
