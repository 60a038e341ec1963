"""The evaluator: plays greedy episodes on snapshots of the parameters, in a process of its own."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from asyncrl.envs import seed_process
from asyncrl.errors import UserError
from asyncrl.processes.identity import Worker, introduce
from asyncrl.processes.starting import settle_in
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.messages import Failed, Ready
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer, Snapshot

MakePlayer = Callable[[Task, int], GreedyPlayer]
"""(task, seed) -> its player; a function at the top of a module, since it travels to the process."""


def run_evaluator(make: MakePlayer, task: Task, seed: int, episodes: int, connection: Connection) -> None:
    """Process body: evaluate every snapshot that comes, until the connection ends."""
    introduce(Worker("evaluator", None, task.workers))
    live(lambda: _evaluate(make, task, seed, episodes, connection), to_stderr)


def _evaluate(make: MakePlayer, task: Task, seed: int, episodes: int, connection: Connection) -> int:
    """The exit code."""
    try:
        settle_in(None)
        seed_process(seed)
        player = make(task, seed)
        connection.send(Ready([]))
        while (snapshot := _next(connection)) is not None:
            evaluation, alone = player.play(snapshot, episodes), player.play_alone(snapshot, episodes)
            told = replace(evaluation, processor_seconds=time.process_time())
            connection.send(told if alone is None else replace(told, alone=alone.mean))
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
