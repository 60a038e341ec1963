"""From a run's checkpoint to a picture of what its policy prefers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncrl.bench.more_wild.plot import check_plots
from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.landscapes.composing import draw
from asyncrl.landscapes.cuts import check_points
from asyncrl.landscapes.looking import check_states, looking
from asyncrl.monitor.images import add_image
from asyncrl.store.durable_files import write_file

FOLDER = "landscape"
"""Where TensorBoard's image lies in the run's folder: apart, since a run that is going on is the one writer of the files beside it."""


def landscape(
    run_folder: str | Path,
    out: str | Path | None = None,
    states: int = 6,
    seed: int = 0,
    points: int | None = None,
    axes: Sequence[int] = (),
    checkpoint: int | None = None,
    env: EnvSource | None = None,
    network_function: Any = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Draw what the policy prefers at `states` states evenly along one greedy episode.

    Of a head that chooses by energies these are drawn: it takes the least. Of an algorithm with a replay it is the value of actions by
    the first critic, and by each surrogate if there are any, with the proposals of all actors and the action that was chosen: of Box
    actions, or of items, the choices of a Discrete space with features.

    Args:
        out: a .png file; None for landscape.png in the run's folder.
        seed: of the episode.
        points: of each continuous axis; None for 201 of one and 61 of two.
        axes: one or two components of the action, counted from 0, or none for the first two; others are held at the chosen action. Items
            have none.
        checkpoint: steps of the checkpoint; None for the newest.
        env, network_function, trust: as for `asyncrl.evaluate`.

    Returns:
        file, head, steps (of the checkpoint); of energies also axes, energy (what it is) and states: a list of
        `asyncrl.landscapes.states.State`; of values algo, states and means: what `asyncrl.landscapes.values.means` tells of them. Of Box
        actions also axes and whole (whether they are all components), and states are `asyncrl.landscapes.values.ValueState`s; of items
        also items, how many there are, and states are `asyncrl.landscapes.items.ItemState`s.

    Raises:
        UserError: matplotlib is missing, there are neither energies nor values, an argument or the checkpoint cannot be used.
    """
    check_plots()
    folder, file = Path(run_folder), Path(run_folder, "landscape.png") if out is None else Path(out)
    if file.suffix.lower() != ".png":
        raise UserError(f"out = {str(file)!r} cannot be used (allowed: a .png file)")
    check_states(states)
    check_points(points)
    with looking(folder, env, network_function, checkpoint, seed, trust) as look:
        _check_writable(file.absolute().parent, folder)
        drawn = draw(look, states, axes, points)
    write_file(file, [drawn.picture])
    add_image(folder / FOLDER, "landscape", drawn.picture, drawn.size, look.snapshot.steps)
    common = {"file": str(file), "head": look.player.head.name, "steps": look.snapshot.steps}
    return {**common, **drawn.told}


def _check_writable(*folders: Path) -> None:
    """Raise UserError before the work where the picture, or TensorBoard's image in the run's folder, cannot be written."""
    for folder in folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"folder {str(folder)!r} cannot be written to (allowed: a writable one)")
