"""What all pictures of states have in common: panels, words beside them, marks, and the PNG. Needs matplotlib.

Colours are those of Okabe and Ito (2008) and matplotlib's viridis, which colour-blind people tell apart too.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec

COLUMNS, PANEL_INCHES, DPI = 3, (3.2, 2.7), 130
LETTERS_PER_INCH = 11
"""Of a title."""
CHOSEN = "#e8453c"
MARK: dict[str, Any] = {"linestyle": "none", "clip_on": False, "zorder": 5}
RING: dict[str, Any] = {"marker": "o", "color": "none", "markeredgecolor": CHOSEN, "markersize": 13, "markeredgewidth": 2, **MARK}
STAR: dict[str, Any] = {"marker": "*", "color": "white", "markeredgecolor": "black", "markersize": 11, **MARK}
"""How the chosen action and the best one are marked."""


def columns_for(panels: int) -> int:
    """Columns of so many panels of equal rank."""
    return 2 if panels == 4 else min(COLUMNS, panels)


def panels_of(count: int, columns: int, one_height: bool) -> tuple[Any, Any]:
    """(a figure, its panels [count] in rows of so many). They have one first axis; `one_height`: and one second axis."""
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * max(columns, 2) + 0.8, PANEL_INCHES[1] * rows + 1.1), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=one_height, squeeze=False).reshape(-1)
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def name_axes(panels: Any, columns: int, spec: EnvSpec, axes: Sequence[int], height: str) -> None:
    """Words at the left, and below the last panel of each column. `height`: what the second direction is where there is one axis."""
    for i, panel in enumerate(panels):
        if i + columns >= len(panels):
            panel.tick_params(labelbottom=True)
            panel.set_xlabel(f"action, component {axes[0]}" if spec.action_size > 1 else "action", fontsize=9)
        if i % columns == 0:
            panel.set_ylabel(f"action, component {axes[1]}" if len(axes) == 2 else height, fontsize=9)


def map_on(panel: Any, lines: Sequence[NDArray[Any]], surface: NDArray[Any], smooth: bool, **scale: float) -> Any:
    """A heat map of surface [m, n] over lines [n] and [m], with lines of equal height where it is `smooth`. Returns the mesh, for a bar."""
    x, y = lines
    mesh = panel.pcolormesh(x, y, surface, cmap="viridis", shading="nearest", rasterized=True, **scale)
    if smooth:
        panel.contour(x, y, surface, levels=8, colors="white", linestyles="solid", linewidths=0.4, alpha=0.5)
    return mesh


def png(figure: Any, title: str) -> tuple[bytes, tuple[int, int]]:
    """(the figure with a title above it as a PNG file, its width and height in pixels). Long lines of the title are broken."""
    broken = [textwrap.fill(line, int(LETTERS_PER_INCH * figure.get_figwidth())) for line in title.splitlines()]
    figure.suptitle("\n".join(broken), fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    width, height = figure.canvas.get_width_height()
    return file.getvalue(), (int(width), int(height))
