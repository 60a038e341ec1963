"""The evaluator: plays greedy episodes on snapshots of the parameters, in a process of its own."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Protocol

from asyncrl.envs import seed_process
from asyncrl.errors import UserError
from asyncrl.processes.identity import Worker, introduce
from asyncrl.processes.starting import settle_in
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.messages import Drawn, Failed, Ready
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer, Snapshot

MakePlayer = Callable[[Task, int], GreedyPlayer]
"""(task, seed) -> its player; a function at the top of a module, since it travels to the process."""



class Artist(Protocol):
    """Draws pictures of snapshots into the run's folder."""

    def draw(self, snapshot: Snapshot) -> list[str]:
        """Draw what there is to draw; returns what the user should know. Raises nothing for what cannot be drawn."""


MakeArtist = Callable[[Task, int], Artist]
"""(task, seed) -> what draws; as `MakePlayer`."""


def run_evaluator(
    make: MakePlayer, make_artist: MakeArtist | None, task: Task, seed: int, episodes: int, connection: Connection
) -> None:
    """Process body: evaluate every snapshot that comes, and draw it if there is an artist, until the connection ends."""
    introduce(Worker("evaluator", None, task.workers))
    live(lambda: _evaluate(make, make_artist, task, seed, episodes, connection), to_stderr)


def _evaluate(make: MakePlayer, make_artist: MakeArtist | None, task: Task, seed: int, episodes: int, connection: Connection) -> int:
    """The exit code."""
    try:
        settle_in(None)
        seed_process(seed)
        player = make(task, seed)
        artist = None if make_artist is None else make_artist(task, seed)
        connection.send(Ready([]))
        while (snapshot := _next(connection)) is not None:
            evaluation, alone = player.play(snapshot, episodes), player.play_alone(snapshot, episodes)
            told = replace(evaluation, processor_seconds=time.process_time())
            connection.send(told if alone is None else replace(told, alone=alone.mean))
            if artist is not None:
                notes = artist.draw(snapshot)
                connection.send(Drawn(notes, time.process_time()))
    except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the main process
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            connection.send(Failed(str(error) or type(error).__name__, text, 0, type(error).__name__, isinstance(error, UserError)))
        return 1
    return 0


def _next(connection: Connection) -> Snapshot | None:
    """The snapshot that comes next; None when the main process has hung up."""
    try:
        snapshot: Snapshot = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return snapshot
