"""States of an episode as one picture, a panel for each. Needs matplotlib (``pip install 'asyncrl[plots]'``)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.landscapes.states import State

COLUMNS, PANEL_INCHES, DPI = 3, (3.2, 2.7), 130
MOST_SHOWN = 2000
"""Actions of a set of which each is drawn."""
SET = "the set"
CHOSEN, CHOSEN_BAR, BAR, LINE = "#e8453c", "#f0a39d", "#8fb3cf", "#2f6690"
_MARK: dict[str, Any] = {"linestyle": "none", "clip_on": False, "zorder": 5}
RING: dict[str, Any] = {"marker": "o", "color": "none", "markeredgecolor": CHOSEN, "markersize": 13, "markeredgewidth": 2, **_MARK}
STAR: dict[str, Any] = {"marker": "*", "color": "white", "markeredgecolor": "black", "markersize": 11, **_MARK}
DOT: dict[str, Any] = {"marker": ".", "color": "black", "markersize": 1.2, "alpha": 0.45, "linestyle": "none"}
TICK: dict[str, Any] = {"marker": "|", "color": "black", "markersize": 5, "alpha": 0.3, "linestyle": "none"}
"""Colours, and how the chosen action, the best of the set and the others are marked."""


def drawn(states: Sequence[State], spec: EnvSpec, axes: Sequence[int], energy: str, title: str) -> tuple[bytes, tuple[int, int]]:
    """(a PNG file, its width and height in pixels) of states that have one or two `axes`; all panels have one scale of energies."""
    from matplotlib.figure import Figure

    columns = 2 if len(states) == 4 else min(COLUMNS, len(states))
    rows = math.ceil(len(states) / columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * max(columns, 2) + 0.8, PANEL_INCHES[1] * rows + 1.1), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for panel in panels[len(states) :]:
        panel.set_axis_off()
    scale = _scale(states)
    for state, panel in zip(states, panels):
        _draw(panel, state, spec, axes, scale)
    _name_axes(panels[: len(states)], columns, spec, axes, energy)
    if len(axes) == 2:
        bar = figure.colorbar(panels[0].collections[0], ax=panels.tolist(), shrink=0.9)
        bar.set_label(energy, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    for mark, label in zip(legend.legend_handles, labels):
        if mark is not None and label == SET:
            mark.set(markersize=8, alpha=1.0)  # which are too small to be told there
    figure.suptitle(title, fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    width, height = figure.canvas.get_width_height()
    return file.getvalue(), (int(width), int(height))


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


def _name_axes(panels: Any, columns: int, spec: EnvSpec, axes: Sequence[int], energy: str) -> None:
    """Words at the left, and below the last panel of each column."""
    for i, panel in enumerate(panels):
        if i + columns >= len(panels):
            panel.tick_params(labelbottom=True)
            panel.set_xlabel(f"action, component {axes[0]}" if spec.action_size > 1 else "action", fontsize=9)
        if i % columns == 0:
            panel.set_ylabel(f"action, component {axes[1]}" if len(axes) == 2 else energy, fontsize=9)


def _scale(states: Sequence[State]) -> tuple[float, float]:
    """The least and the largest energy of all panels; infinite ones are left out."""
    marked = [energy for state in states for energy in (state.chosen_energy, state.energies.min(initial=np.inf))]
    shown = np.concatenate([*(state.surface.reshape(-1) for state in states), marked])
    shown = shown[np.isfinite(shown)]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _plane(panel: Any, state: State, spec: EnvSpec, axes: Sequence[int], scale: tuple[float, float]) -> None:
    x, y = state.lines
    panel.pcolormesh(x, y, state.surface, cmap="viridis", vmin=scale[0], vmax=scale[1], shading="nearest", rasterized=True)
    if spec.action_kind == "box" and np.ptp(state.surface) > 0:
        panel.contour(x, y, state.surface, levels=8, colors="white", linestyles="solid", linewidths=0.4, alpha=0.5)
    if len(axes) == spec.action_size and spec.action_kind == "box" and 0 < len(state.actions) <= MOST_SHOWN:
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
