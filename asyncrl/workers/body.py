"""What all worker processes have in common: build, report, take over the slot, work; failures go to the launcher."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

from asyncrl.envs import seed_process
from asyncrl.errors import Hopeless, UserError
from asyncrl.processes.identity import Worker, introduce
from asyncrl.processes.last_words import say_by
from asyncrl.processes.starting import settle_in
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.line import Line
from asyncrl.workers.messages import Failed, Go, Note, Ready


class Working(Protocol):
    """A worker of any kind."""

    notes: list[str]

    @property
    def steps_done(self) -> int:
        """Steps that it has published."""

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""


def run_body(build: Callable[[], Working], core: int | None, connection: Connection | Line, key: tuple[int, ...], me: Worker) -> None:
    """Process body: `build()` makes the worker; `key` seeds the process's own generators (see `asyncrl.envs.generators`).

    `me`: what `asyncrl.worker` says here. At the end of a `Line` the worker is a virtual one, whose process is its host's.
    """
    introduce(me)
    if isinstance(connection, Line):
        _work(lambda: seed_process(*key), build, connection)
        return

    def tell(text: str) -> None:
        try:
            connection.send(Note(text))
        except OSError:
            to_stderr(text)

    def begin() -> None:
        settle_in(core)
        seed_process(*key)

    live(lambda: _work(begin, build, connection), tell)


def _work(begin: Callable[[], None], build: Callable[[], Working], connection: Connection | Line) -> int:
    """The exit code."""
    worker = None
    try:
        begin()
        worker = build()
        say_by(lambda text: connection.send(Failed(text, text, worker.steps_done, text, of_the_user=True)))
        connection.send(Ready(worker.notes))
        go = _await_go(connection)
        if go is None:
            return 1
        worker.work(go)
    except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the launcher
        steps = worker.steps_done if worker else 0
        cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ is not None else error
        place = traceback.extract_tb(cause.__traceback__)[-1]
        where = f"{type(cause).__name__} at {place.filename}:{place.lineno}"
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            said = str(error) or type(error).__name__
            connection.send(Failed(said, text, steps, where, isinstance(error, UserError), isinstance(error, Hopeless)))
        return 1
    return 0


def _await_go(connection: Connection | Line) -> Go | None:
    """None where the launcher has hung up: there is nobody to tell."""
    try:
        go: Go = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return go
