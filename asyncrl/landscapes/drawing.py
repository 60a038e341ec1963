"""States of an episode with the energies of actions as one picture, a panel for each. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.landscapes.picture import RING, STAR, columns_for, map_on, name_axes, panels_of, png
from asyncrl.landscapes.states import State

MOST_SHOWN = 2000
"""Actions of a set of which each is drawn."""
SET = "the set"
CHOSEN_BAR, BAR, LINE = "#f0a39d", "#8fb3cf", "#2f6690"
DOT: dict[str, Any] = {"marker": ".", "color": "black", "markersize": 1.2, "alpha": 0.45, "linestyle": "none"}
TICK: dict[str, Any] = {"marker": "|", "color": "black", "markersize": 5, "alpha": 0.3, "linestyle": "none"}
"""Colours, and how the actions of a set are marked."""


def drawn(states: Sequence[State], spec: EnvSpec, axes: Sequence[int], energy: str, title: str) -> tuple[bytes, tuple[int, int]]:
    """(a PNG file, its width and height in pixels) of states that have one or two `axes`; all panels have one scale of energies."""
    columns, scale = columns_for(len(states)), _scale(states)
    figure, panels = panels_of(len(states), columns, one_height=True)
    for state, panel in zip(states, panels):
        _draw(panel, state, spec, axes, scale)
    name_axes(panels, columns, spec, axes, energy)
    if len(axes) == 2:
        bar = figure.colorbar(panels[0].collections[0], ax=panels.tolist(), shrink=0.9)
        bar.set_label(energy, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    for mark, label in zip(legend.legend_handles, labels):
        if mark is not None and label == SET:
            mark.set(markersize=8, alpha=1.0)  # which are too small to be told there
    return png(figure, title)


def _draw(panel: Any, state: State, spec: EnvSpec, axes: Sequence[int], scale: tuple[float, float]) -> None:
    if len(axes) == 2:
        _plane(panel, state, spec, axes, scale)
    else:
        _line(panel, state, spec, axes[0], scale)
    value = "" if state.value is None else f", v(s) = {state.value:.3g}"
    action = f" {_numbers(state.chosen)}," if len(state.chosen) <= 2 else ""
    panel.set_title(f"step {state.step}{value}\nchosen:{action} energy {state.chosen_energy:.3g}", fontsize=9)
    panel.tick_params(labelsize=8)
    if spec.action_kind == "box":
        panel.locator_params(axis="x", nbins=5)


def _scale(states: Sequence[State]) -> tuple[float, float]:
    """The least and the largest energy of all panels; infinite ones are left out."""
    marked = [energy for state in states for energy in (state.chosen_energy, state.energies.min(initial=np.inf))]
    shown = np.concatenate([*(state.surface.reshape(-1) for state in states), marked])
    shown = shown[np.isfinite(shown)]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _plane(panel: Any, state: State, spec: EnvSpec, axes: Sequence[int], scale: tuple[float, float]) -> None:
    box = spec.action_kind == "box"
    map_on(panel, state.lines, state.surface, box and bool(np.ptp(state.surface) > 0), vmin=scale[0], vmax=scale[1])
    if len(axes) == spec.action_size and box and 0 < len(state.actions) <= MOST_SHOWN:
        panel.plot(*state.actions[:, axes].T, label=SET, **DOT)
    if state.best is not None:
        panel.plot(*state.actions[state.best, axes], label=_best(state), **STAR)
    panel.plot(*state.chosen[list(axes)], label="chosen", **RING)


def _line(panel: Any, state: State, spec: EnvSpec, axis: int, scale: tuple[float, float]) -> None:
    x, margin = state.lines[0], 0.06 * (scale[1] - scale[0])
    floor = scale[0] - margin
    if spec.action_kind == "box":
        panel.plot(x, state.surface, color=LINE, linewidth=1.5)
        if spec.action_size == 1 and 0 < len(state.actions) <= MOST_SHOWN:
            panel.plot(state.actions[:, 0], np.full(len(state.actions), floor), label=SET, **TICK)
    else:
        colours = [CHOSEN_BAR if choice == state.chosen[axis] else BAR for choice in x]
        panel.bar(x, state.surface - floor, bottom=floor, width=0.8, color=colours)
        panel.set_xticks(x[:: max(1, len(x) // 8)])
    if state.best is not None:
        panel.plot([state.actions[state.best, axis]], [state.energies[state.best]], label=_best(state), **STAR)
    panel.plot([state.chosen[axis]], [state.chosen_energy], label="chosen", **RING)
    panel.set_ylim(floor - margin, scale[1] + 2 * margin)
    panel.grid(alpha=0.3)


def _best(state: State) -> str:
    return f"best of {len(state.actions):,}"


def _numbers(action: NDArray[np.float64]) -> str:
    words = [f"{number:.2f}".rstrip("0").rstrip(".") for number in action]
    return f"({', '.join(words)})" if len(words) > 1 else words[0]
