"""From a run's checkpoint to a picture of what its policy prefers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import Replayed
from asyncrl.bench.more_wild.plot import check_plots
from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.roles import Role
from asyncrl.landscapes import drawing, value_lines, value_maps
from asyncrl.landscapes.cuts import Cut, check_points
from asyncrl.landscapes.looking import Look, check_states, looking
from asyncrl.landscapes.states import states_along
from asyncrl.landscapes.values import means, values_along
from asyncrl.learners.off_policy import OffPolicyLearner
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
    the first critic, and by each surrogate if there are any, with the proposals of all actors and the action that was chosen.

    Args:
        out: a .png file; None for landscape.png in the run's folder.
        seed: of the episode.
        points: of each continuous axis; None for 201 of one and 61 of two.
        axes: one or two components of the action, counted from 0, or none for the first two; others are held at the chosen action.
        checkpoint: steps of the checkpoint; None for the newest.
        env, network_function, trust: as for `asyncrl.evaluate`.

    Returns:
        file, head, steps (of the checkpoint), axes; of energies also energy (what it is) and states: a list of
        `asyncrl.landscapes.states.State`; of values algo, whole (whether the axes are all components), states: a list of
        `asyncrl.landscapes.values.ValueState`, and means: what `asyncrl.landscapes.values.means` tells of them.

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
        cut = Cut(look.task.spec, axes, points)
        drawn = _energies(look, states, cut) if look.learner is None else _values(look, look.learner, states, cut)
    write_file(file, [drawn.picture])
    add_image(folder / FOLDER, "landscape", drawn.picture, drawn.size, look.snapshot.steps)
    common = {"file": str(file), "head": look.player.head.name, "steps": look.snapshot.steps, "axes": list(cut.axes)}
    return {**common, **drawn.told}


class _Drawn(NamedTuple):
    picture: bytes
    """A PNG file."""
    size: tuple[int, int]
    """Its width and height in pixels."""
    told: dict[str, Any]
    """What the result says besides."""


def _energies(look: Look, states: int, cut: Cut) -> _Drawn:
    _check_head(look)
    energy, found = look.player.energy, states_along(look, states, cut)
    title = f"{_named(look)}, head {look.player.head.name}: {energy}, of which the least is chosen"
    return _Drawn(*drawing.drawn(found, look.task.spec, cut.axes, energy, title), {"energy": energy, "states": found})


def _values(look: Look, learner: OffPolicyLearner, states: int, cut: Cut) -> _Drawn:
    task, found = look.task, values_along(look, learner, states, cut)
    held = "" if cut.whole else "; other components are those of the chosen action"
    words = f"values of actions; the gap is that of the chosen action to the largest Q{held}"
    title = f"{_named(look)}, {task.algo} with head {look.player.head.name}\n{words}"
    draw = value_lines.drawn if len(cut.axes) == 1 else value_maps.drawn
    told = {"algo": task.algo, "whole": cut.whole, "states": found, "means": means(found)}
    return _Drawn(*draw(found, task.spec, title), told)


def _named(look: Look) -> str:
    return f"{look.folder.resolve().name} after {look.snapshot.steps:,} steps"


def _check_writable(*folders: Path) -> None:
    """Raise UserError before the work where the picture, or TensorBoard's image in the run's folder, cannot be written."""
    for folder in folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"folder {str(folder)!r} cannot be written to (allowed: a writable one)")


def _check_head(look: Look) -> None:
    """Raise UserError where the head has no energies in this family of algorithms; names those that have, and who has values."""
    if look.player.energy:
        return
    having = [name for name, head in HEADS.items() if head.energy]
    searched = [name for name in having if Role.SEARCH in HEADS[name].roles and not HEADS[name].decides]
    replayed = [name for name, entry in ALGORITHMS.items() if isinstance(entry, Replayed)]
    said = f"head {look.task.head!r} of {look.task.algo} has no energies of actions to draw"
    heads = f"heads that have: {', '.join(having)}; under black-box search {', '.join(searched)}"
    raise UserError(f"{said} ({heads}; of {', '.join(replayed)} values of Box actions are drawn)")
