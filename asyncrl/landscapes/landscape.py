"""From a run's checkpoint to a picture of what its policy prefers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncrl.bench.more_wild.plot import check_plots
from asyncrl.envs import closed_environments, kept_generators, make_env, seed_generators, unship
from asyncrl.envs.make import EnvSource
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.roles import Role
from asyncrl.landscapes.drawing import drawn
from asyncrl.landscapes.states import State, Watching, states_along
from asyncrl.monitor.images import add_image
from asyncrl.session.loading import load
from asyncrl.store.durable_files import write_file
from asyncrl.topologies.players import player_of
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer

POINTS_OF_ONE, POINTS_OF_TWO = 201, 61
"""Points of a continuous axis, where it is the only one and where there are two."""
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
) -> dict[str, Any]:
    """Draw the energies of actions at `states` states evenly along one greedy episode, of which the head takes the least.

    Args:
        out: a .png file; None for landscape.png in the run's folder.
        seed: of the episode.
        points: of each continuous axis; None for 201 of one and 61 of two.
        axes: one or two components of the action, counted from 0, or none for the first two; others are held at the chosen action.
        checkpoint: steps of the checkpoint; None for the newest.
        env, network_function: as for `asyncrl.evaluate`.

    Returns:
        file, head, energy (what it is), steps (of the checkpoint), axes, and states: a list of `asyncrl.landscapes.states.State`.

    Raises:
        UserError: matplotlib is missing, the head has no energies, an argument or the checkpoint cannot be used.
    """
    check_plots()
    folder, file = Path(run_folder), Path(run_folder, "landscape.png") if out is None else Path(out)
    _check(file, states, points)
    task, snapshot = load(folder, env, network_function, checkpoint)
    _check_writable(file.absolute().parent, folder)
    with kept_generators(), closed_environments():
        seed_generators(seed)
        watching = Watching(make_env(unship(task.env)))
        player = player_of(task, seed, environment=watching)
        _check_head(task, player)
        shown = _axes(task.spec, axes)
        count = points or (POINTS_OF_ONE if len(shown) == 1 else POINTS_OF_TWO)
        found = states_along(player, watching, snapshot, task.spec, states, shown, count)
    named = f"{folder.resolve().name} after {snapshot.steps:,} steps, head {player.head.name}"
    title = f"{named}: {player.energy}, of which the least is chosen"
    picture, size = drawn(found, task.spec, shown, player.energy, title)
    write_file(file, [picture])
    add_image(folder / FOLDER, "landscape", picture, size, snapshot.steps)
    return {
        "file": str(file),
        "head": player.head.name,
        "energy": player.energy,
        "steps": snapshot.steps,
        "axes": list(shown),
        "states": found,
    }


def line_of(result: dict[str, Any]) -> str:
    """What `landscape` has drawn, on one line."""
    found: list[State] = result["states"]
    steps = ", ".join(str(state.step) for state in found)
    return f"{result['file']}: {result['energy']} of head {result['head']} at steps {steps} of an episode"


def _check(file: Path, states: int, points: int | None) -> None:
    if file.suffix.lower() != ".png":
        raise UserError(f"out = {str(file)!r} cannot be used (allowed: a .png file)")
    if states < 1:
        raise UserError(f"states = {states} cannot be used (allowed: whole numbers from 1)")
    if points is not None and points < 2:
        raise UserError(f"points = {points} cannot be used (allowed: whole numbers from 2)")


def _check_writable(*folders: Path) -> None:
    """Raise UserError before the work where the picture, or TensorBoard's image in the run's folder, cannot be written."""
    for folder in folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"folder {str(folder)!r} cannot be written to (allowed: a writable one)")


def _check_head(task: Task, player: GreedyPlayer) -> None:
    """Raise UserError where the head has no energies in this family of algorithms; names those that have."""
    if player.energy:
        return
    having = [name for name, head in HEADS.items() if head.energy]
    searched = [name for name in having if Role.SEARCH in HEADS[name].roles and not HEADS[name].decides]
    said = f"head {task.head!r} of {task.algo} has no energies of actions to draw"
    raise UserError(f"{said} (heads that have: {', '.join(having)}; under black-box search {', '.join(searched)})")


def _axes(spec: EnvSpec, given: Sequence[int]) -> tuple[int, ...]:
    """The components that are drawn. Raises UserError for those that the action does not have."""
    components = spec.action_size
    axes = tuple(given) or tuple(range(min(components, 2)))
    if len(axes) > 2 or len(set(axes)) < len(axes) or not all(0 <= axis < components for axis in axes):
        words = ",".join(map(str, axes))
        there = "0, the only component" if components == 1 else f"one or two different components, 0 to {components - 1}"
        raise UserError(f"axes = {words} cannot be used (allowed: {there})")
    return axes
