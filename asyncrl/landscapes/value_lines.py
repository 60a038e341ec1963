"""Values of one component of the action as lines, a panel for each state. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.landscapes.picture import RING, STAR, columns_for, name_axes, panels_of, png
from asyncrl.landscapes.value_marks import SEVERAL, counts, heading, numbers, style_of, symbol
from asyncrl.landscapes.values import ValueState

ROOM = 0.022
"""Of the axis, for a letter of the proposals' numbers."""
ENTRY_INCHES = 1.7
"""Of the legend."""


def drawn(states: Sequence[ValueState], spec: EnvSpec, title: str) -> tuple[bytes, tuple[int, int]]:
    """(a PNG file, its width and height in pixels) of states that have one axis. Each panel has its own scale of values."""
    columns = columns_for(len(states))
    figure, panels = panels_of(len(states), columns, one_height=False)
    for state, panel in zip(states, panels):
        _draw(panel, state)
    name_axes(panels, columns, spec, states[0].axes, "value")
    handles, labels = panels[0].get_legend_handles_labels()
    fitting = int(figure.get_figwidth() / ENTRY_INCHES)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), fitting), fontsize=9, frameon=False)
    return png(figure, title)


def _draw(panel: Any, state: ValueState) -> None:
    (x,), (axis,) = state.lines, state.axes
    for i, (name, values) in enumerate(state.surfaces.items()):
        panel.plot(x, values, label=symbol(name), linewidth=1.3 if i else 2.2, zorder=2 if i else 2.5, **style_of(i))
    _proposals(panel, state)
    panel.plot([state.best[0]], [state.best_value], label=f"largest of {len(x):,} points", **STAR)
    panel.plot([state.chosen[axis]], [state.chosen_value], label="chosen", **RING)
    panel.set_title(f"{heading(state)}\n{counts(state.optima)}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.locator_params(axis="x", nbins=5)
    panel.grid(alpha=0.3)


def _proposals(panel: Any, state: ValueState) -> None:
    """Each by a point at its Q, and below, in a strip that is left free for it, by its number."""
    (x,), (axis,) = state.lines, state.axes
    places = state.proposals[:, [axis]]
    for i, (place, value) in enumerate(zip(places[:, 0], state.proposal_values)):
        label = "proposals" if i == 0 and len(places) > 1 else None
        panel.plot([place], [value], marker="o", linestyle="none", markersize=5, color=style_of(i)["color"], zorder=4, label=label)
    low, high = panel.get_ylim()
    floor = low - 0.16 * (high - low)
    panel.set_ylim(floor, high + 0.04 * (high - low))
    for i, (place, value) in enumerate(zip(places[:, 0], state.proposal_values)):
        panel.vlines(place, floor, value, color=style_of(i)["color"], linewidth=1, linestyle=":")
    for first, word in numbers(places, np.array([ROOM * np.ptp(x)])):
        place, at_right = float(places[first, 0]), bool(places[first, 0] > x.mean())
        panel.annotate(
            word,
            (place, 0.02),
            (-3 if at_right else 3, 0),
            xycoords=panel.get_xaxis_transform(),
            textcoords="offset points",
            ha="right" if at_right else "left",
            fontsize=9,
            fontweight="bold",
            color=style_of(first)["color"] if word == str(first) else SEVERAL,
        )
