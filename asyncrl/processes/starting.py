"""Starting and stopping the processes of a run. A fork server loads the heavy libraries once; each process runs one thread."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing import connection as mp_connection
from multiprocessing import forkserver, resource_tracker
from typing import Any

from asyncrl.errors import UserError, WorkerFailed
from asyncrl.processes.fork_server import Child, Context, die_with_fork_server
from asyncrl.processes.interrupts import ENDING, held, ignored_from_the_start
from asyncrl.processes.scratch import shorten_socket_names
from asyncrl.processes.surroundings import THREAD_CAPS, Surroundings

DISMISSAL = signal.SIGUSR2
"""The signal by which a process of a run is told to end; see `dismiss`."""
CLOSING_SECONDS = 5.0
"""How long a process may take to close its environments after it was told to end."""
DISMISSED_SECONDS = CLOSING_SECONDS + 0.5
"""How long to wait for a process that was told to end, before it is killed. While it is busy in C it does not react to the signal."""
TOO_MANY_FILES = (
    f"too many tensors in shared memory are captured: a process can be handed {forkserver.MAXFDS_TO_SEND - 5} open files, "  # type: ignore[attr-defined]
    "one for each tensor and two for each worker; use fewer tensors, as views of one, or fewer workers"
)
TRIES = 20
"""How many times to try starting a process when the fork server is killed meanwhile."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_numbers() -> list[int]:
    """The numbers of the cores that this process may use, in ascending order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def context(preloaded: Sequence[str] = ()) -> Context:
    """The context in which processes are started by a fork server, with the surroundings of the caller as they are now.

    `preloaded`: modules that the fork server imports. Without effect if this program has started its fork server already.
    """
    chosen = Context()
    chosen.set_forkserver_preload(list(preloaded))
    return chosen


def warm_up() -> None:
    """Start the fork server now, so that it imports its modules while the caller does something else."""
    with for_children():
        forkserver.ensure_running()


@contextlib.contextmanager
def for_children() -> Iterator[None]:
    """Within it a process can be started: thread limits are in the environment, and the caller's main module is hidden.

    The signals of ENDING are held back meanwhile (in this process by `held`, since threads of libraries may receive them), so that no
    process is left half-started. The fork server is started with these signals blocked, and so are its children until `settle_in`.
    The user's functions travel by value (see `parcels`), so a child need not import the user's script, and that script needs no
    ``if __name__ == "__main__"`` guard.
    """
    shorten_socket_names()
    before = {name: os.environ.get(name) for name in THREAD_CAPS}
    os.environ.update(dict.fromkeys(THREAD_CAPS, "1"))
    main = sys.modules["__main__"]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if getattr(main, name, None) is not None}
    for name in hidden:
        setattr(main, name, None)
    try:
        with held(), warnings.catch_warnings():
            # Children inherit Python's resource tracker. asyncrl registers nothing with it, so nothing is lost if it was killed.
            warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly")
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # again, because starting the tracker unblocks some of them
            yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def start(chosen: Context, target: Any, name: str, arguments: tuple[Any, ...]) -> tuple[Child, mp_connection.Connection]:
    """Start ``target(*arguments, connection)`` in a new process; returns the process and the caller's end of the connection.

    To be called within `held`, until the process is recorded where it will be stopped. If the fork server or the new process is killed
    meanwhile, it is started again. Raises WorkerFailed after TRIES attempts, and UserError if the arguments hold more open files than
    a fork server can be handed.
    """
    _kill_at_exit()
    for _ in range(TRIES):
        ours, theirs = chosen.Pipe(duplex=True)
        process = Child(target=_begin, name=name, args=(chosen.surroundings, target, (*arguments, theirs)), daemon=False)
        try:
            with for_children():
                process.start()
            return process, ours
        except (EOFError, ConnectionError):
            ours.close()
            time.sleep(0.05)  # until the kernel has reported the death
        except ValueError as error:
            if "too many fds" not in str(error):
                raise
            ours.close()
            raise UserError(TOO_MANY_FILES) from error
        finally:
            theirs.close()
    raise WorkerFailed(f"{name} could not be started: the process that was to fork it was killed {TRIES} times in a row")


def _begin(surroundings: Surroundings, target: Any, arguments: tuple[Any, ...]) -> None:
    surroundings.put_up()
    target(*arguments)


_exits: set[int] = set()
"""Ids of processes in which `_kill_what_is_left` is registered. A forked process inherits this set, but not the registration."""


def _kill_at_exit() -> None:
    if os.getpid() not in _exits:
        _exits.add(os.getpid())
        multiprocessing.util.Finalize(None, _kill_what_is_left, exitpriority=100)


def _kill_what_is_left() -> None:
    """Kill the processes that still run as Python exits, which would otherwise wait for them."""
    for process in multiprocessing.active_children():
        if process.name.startswith("asyncrl-"):
            process.kill()


def settle_in(core: int | None) -> None:
    """To be called first in a child: leave signals to the main process, end when it ends, and use one torch thread.

    `core`: the core that this process is pinned to, or None.
    """
    leave_signals_to_main()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
        die_with_fork_server()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def leave_signals_to_main() -> None:
    """Let the signals of ENDING have no effect in this child.

    SIGINT is ignored; the others get a handler that does nothing. Programs that an environment starts would inherit an ignored or
    blocked signal, but not a handler, so they can still be terminated.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDING:
        if number != signal.SIGINT and not ignored_from_the_start(number):
            signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _end_with(sentinel: int) -> None:
    mp_connection.wait([sentinel])
    os._exit(1)


def dismiss(process: Any) -> None:
    """Tell a process of a run to close its environments and end. A process that has no handler for DISMISSAL yet is ended by it."""
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, DISMISSAL)


def stop_all(processes: list[Any], seconds: float) -> None:
    """Wait `seconds`, for all of them together, until they have ended by themselves; then dismiss them, then kill them. Idempotent."""
    alive = [process for process in processes if process.is_alive()]
    try:
        _join(alive, seconds)
        for process in alive:
            dismiss(process)
        _join(alive, DISMISSED_SECONDS)
    finally:  # also after a second Ctrl-C
        for process in (process for process in alive if process.is_alive()):
            process.kill()
        _join(alive, 5.0)


def _join(processes: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
