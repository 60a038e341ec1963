"""Processes of ours: started by a fork server that has loaded everything heavy once, with one thread each."""

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
"""The signal that ends a process of ours; see `dismiss`."""
CLOSING_SECONDS = 5.0
"""How long a process may take to close what it has opened."""
DISMISSED_SECONDS = CLOSING_SECONDS + 0.5
"""How long one is waited for that was dismissed, before it is killed: one that does not get to Python code does not hear."""
TOO_MANY_FILES = (
    f"too many tensors in shared memory are captured: a process can be handed {forkserver.MAXFDS_TO_SEND - 5} open files, "  # type: ignore[attr-defined]
    "one for each tensor and two for each worker; use fewer tensors, as views of one, or fewer workers"
)
TRIES = 20
"""How often a process is tried to be started, where what should fork it is killed meanwhile."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_numbers() -> list[int]:
    """The numbers of those cores."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def context(preloaded: Sequence[str] = ()) -> Context:
    """How processes are started: by a fork server, and with what surrounds the caller now.

    `preloaded`: modules that the fork server imports, if this program has not started it yet.
    """
    chosen = Context()
    chosen.set_forkserver_preload(list(preloaded))
    return chosen


def warm_up() -> None:
    """Start the fork server now, so that it loads while the caller goes on with something else."""
    with for_children():
        forkserver.ensure_running()


@contextlib.contextmanager
def for_children() -> Iterator[None]:
    """While a process is being started: thread caps in the environment, and a main module that is not imported again.

    The signals of ENDING are held back meanwhile, in this process by `held` (other threads of libraries take them in any case). So no
    process is left half-started, and the fork server is born with them blocked, as are all of its children, until they have settled in.
    Environments and networks travel by cloudpickle, functions of the user's script by value. So a child need not run
    that script once more, and the script needs no ``if __name__ == "__main__"`` guard.
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
            # Python's resource tracker, which children inherit: nothing of ours is in it, so its death loses nothing.
            warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly")
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # once more: starting it unblocks some of them
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
    """Start ``target(*arguments, connection)``; returns (process, our end of its connection). To be called and kept under `held`.

    Where the fork server or the new process is killed meanwhile, another is started. Raises WorkerFailed where that never ends,
    UserError where the arguments have more open files than a fork server can be handed.
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
            time.sleep(0.05)  # until the kernel has told that it is dead
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
"""Processes that will do `_kill_what_is_left`: a forked one forgets what its parent would do at its end, but not this."""


def _kill_at_exit() -> None:
    if os.getpid() not in _exits:
        _exits.add(os.getpid())
        multiprocessing.util.Finalize(None, _kill_what_is_left, exitpriority=100)


def _kill_what_is_left() -> None:
    """As Python exits: it would wait for them."""
    for process in multiprocessing.active_children():
        if process.name.startswith("asyncrl-"):
            process.kill()


def settle_in(core: int | None) -> None:
    """First thing in a child: leave signals to the main process, end with it, one torch thread, perhaps one core."""
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
    """Let the signals of ENDING pass without effect in this child.

    All but SIGINT have a handler that does nothing: unlike an ignored or a blocked one, that is not handed on to programs which an
    environment starts, so those can be terminated.
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
    """Tell a process of ours to close what it has opened, and to end: see `asyncrl.workers.leaving`. Others are ended by the signal."""
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, DISMISSAL)


def stop_all(processes: list[Any], seconds: float) -> None:
    """One deadline for all: wait for them to end by themselves, then dismiss them, then kill. Idempotent."""
    alive = [process for process in processes if process.is_alive()]
    try:
        _join(alive, seconds)
        for process in alive:
            dismiss(process)
        _join(alive, DISMISSED_SECONDS)
    finally:  # a second Ctrl-C waits for nobody
        for process in (process for process in alive if process.is_alive()):
            process.kill()
        _join(alive, 5.0)


def _join(processes: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
