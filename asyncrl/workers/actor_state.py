"""What only an acting process knows, on its way into a checkpoint and back: episodes under way, random streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncrl.actors.rollout import Actor
from asyncrl.envs import load_generators, load_state, save_generators, save_state, why_not
from asyncrl.errors import UserError
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.store.checkpoint import parts, read_part, write_part


def save_actor(
    actor: Actor, worker: int, folder: Path, beat: Callable[[], None] = lambda: None, copies: OldCopies | None = None
) -> None:
    """Write the actor's part of a checkpoint; `beat`: see `write_part`. Raises OSError."""
    arrays: dict[str, Any] = {f"actor/{name}": array for name, array in actor.arrays().items()}
    if copies is not None:
        arrays.update({f"copies/{name}": array for name, array in copies.arrays().items()})
    environments: list[Any] = []
    actor.stepping.settle()
    for e, environment in enumerate(actor.stepping.environments):
        saved = save_state(environment)
        environments.append({"missing": why_not(environment)} if saved is None else {"state": saved[0]})
        if saved is not None:
            arrays.update({f"environment-{e}/{name}": array for name, array in saved[1].items()})
    generators, numbers = save_generators()
    arrays.update({f"generators/{name}": array for name, array in numbers.items()})
    state = {
        "generators": generators,
        "generator": actor.generator.bit_generator.state,
        "episode_returns": [float(one) for one in actor.stepping.episode_returns],
        "episode_lengths": [int(one) for one in actor.stepping.episode_lengths],
        "environments": environments,
    }
    write_part(folder, f"worker-{worker}", state, arrays, beat)


def restore_actor(actor: Actor, worker: int, folder: Path, copies: OldCopies | None = None) -> tuple[list[bool], list[str]]:
    """Take the part back. Returns (which environments go on where they were, notes for the user)."""
    name = f"worker-{worker}"
    if name not in parts(folder):
        note = f"worker {worker} had no saved state; it begins with a new random stream and new episodes"
        return [False] * len(actor.stepping.environments), [note]
    state, arrays = read_part(folder, name)
    fresh = actor.rounds.raw[-1].copy()
    actor.generator.bit_generator.state = state["generator"]
    actor.restore(_part(arrays, "actor"))
    if copies is not None:
        copies.restore(_part(arrays, "copies"))
    goes_on, notes = [], []
    stepping = actor.stepping
    for e, (environment, saved) in enumerate(zip(stepping.environments, state["environments"])):
        problem = saved.get("missing")
        if problem is None:
            try:
                load_state(environment, saved["state"], _part(arrays, f"environment-{e}"))
            except UserError as error:
                problem = str(error)
        goes_on.append(problem is None)
        if problem is None:
            stepping.episode_returns[e], stepping.episode_lengths[e] = state["episode_returns"][e], state["episode_lengths"][e]
        else:
            actor.begin_afresh(e, fresh[e])
            notes.append(f"worker {worker}: environment {e} could not be restored ({problem}); it begins a new episode")
    stepping.adopt()
    if "generators" in state:  # checkpoints of older versions have none
        load_generators(state["generators"], _part(arrays, "generators"))
    return goes_on, notes


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix + "/"): array for name, array in arrays.items() if name.startswith(prefix + "/")}
