"""The processes in which a study's runs are made. Each loads the libraries once and makes one run after another.

A lane is a program of its own, begun by ``python -m asyncrl.studies.lanes FD``: it reads runs from the connection at that file
descriptor and answers how each ended. It has a session of its own, so Ctrl-C in a terminal reaches the study alone, which passes it on.
When the study is killed, its end of the connection closes, and the lane interrupts its run and ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import cloudpickle

from asyncrl.api import run
from asyncrl.errors import AsyncrlError
from asyncrl.processes.interrupts import Interrupts
from asyncrl.processes.surroundings import Surroundings

PATIENCE = 10.0
"""Seconds that a lane may take to end after it was told to: as long as a run takes to save itself and stop its processes."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: str
    """completed | interrupted | failed"""
    problem: str = ""
    """Why it failed: a line of ours, or a traceback."""


class Lane:
    """The study's side of one such process."""

    def __init__(self, log: Path, program: Sequence[str] = ("asyncrl.studies.lanes",)):
        """`log`: the file to which its output goes; `program`: the module that it runs, and its arguments before FD."""
        self.connection, theirs = Pipe()
        with log.open("ab") as output, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.busy: Any = None
        """What it is working at; None: nothing."""

    def begin(self, experiment: Any, work: Any) -> None:
        """Have it run an experiment. `work`: what `busy` is meanwhile."""
        self.busy = work
        with contextlib.suppress(OSError):  # it has just died, which `outcome` reports
            self.connection.send_bytes(cloudpickle.dumps((Surroundings.of_caller(), cloudpickle.dumps(experiment))))

    def outcome(self) -> Outcome:
        """How the run that it was given ended; waits for it. It is free afterwards, or dead."""
        self.busy = None
        try:
            return Outcome(*self.connection.recv())
        except (EOFError, ConnectionResetError):
            code = self._process.wait()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return Outcome("failed", f"its process ended ({how}); see the study's log")

    @property
    def alive(self) -> bool:
        """Whether it can be given another run."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Have it end the run that it is working at, as Ctrl-C does."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, and wait for that. Idempotent."""
        self.connection.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def first_ready(lanes: Sequence[Lane], seconds: float) -> list[Lane]:
    """The busy lanes whose runs have ended, after at most so many seconds."""
    busy = {lane.connection: lane for lane in lanes if lane.busy is not None}
    return [busy[ready] for ready in mp_connection.wait(list(busy), seconds)]  # type: ignore[index]


def attempt(surroundings: Surroundings, experiment: bytes) -> Outcome:
    """Run a pickled experiment in this process, which is a lane's."""
    try:
        surroundings.put_up()  # so that modules of the caller's are found, of which the experiment may have functions
        return Outcome(run(cloudpickle.loads(experiment)).status)
    except AsyncrlError as error:
        return Outcome("failed", str(error))
    except KeyboardInterrupt:
        return Outcome("interrupted")
    except Exception:  # noqa: BLE001  # whatever it is, the other runs go on, and the study names this one
        return Outcome("failed", traceback.format_exc())


def _serve(requests: Connection, answers: Connection, work: Callable[[Surroundings, bytes], Outcome]) -> None:
    """Make the runs that are asked for until the study closes its end."""
    while True:
        try:
            outcome = work(*cloudpickle.loads(requests.recv_bytes()))
            answers.send((outcome.status, outcome.problem))
        except (EOFError, OSError):
            return


def _interrupt_at_end_of(source: Connection, requests: Connection) -> None:
    """Pass on what the study sends; when it has ended, interrupt this process's run."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            requests.send_bytes(source.recv_bytes())
    requests.close()
    os.kill(os.getpid(), signal.SIGTERM)


def main(descriptor: int, work: Callable[[Surroundings, bytes], Outcome] = attempt) -> None:
    """The life of a lane; `work`: makes a run of the caller's surroundings and a pickled experiment."""
    with Interrupts() as interrupts:  # a run begins with the signal that has come before it
        study = Connection(descriptor)
        ours, theirs = Pipe(duplex=False)
        threading.Thread(target=_interrupt_at_end_of, args=(study, theirs), daemon=True).start()
        _serve(ours, study, work)
        interrupts.answered = True


if __name__ == "__main__":
    main(int(sys.argv[1]))
