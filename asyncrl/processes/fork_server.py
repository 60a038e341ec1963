"""The fork server of a process: what it has forked ends with it, and another one follows when it was killed.

Built on Python's own (`multiprocessing.forkserver`), which takes a child whose server died for dead while it may still run, does not
notice that it was inherited by a fork, and refuses children to processes of a pool.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from multiprocessing import connection as mp_connection
from multiprocessing import forkserver, popen_forkserver
from multiprocessing import process as mp_process
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import psutil

from asyncrl.processes.surroundings import Surroundings

PR_SET_PDEATHSIG = 1
LOADED_BY = os.getpid()
"""The process that imported this module: in a forked process that uses it, its fork server."""

_own: Any = forkserver._forkserver  # type: ignore[attr-defined]


class Popen(popen_forkserver.Popen):
    """As Python's, but one that has an exit code is dead, also where its fork server was killed."""

    def __init__(self, process_obj: Any):
        self.lost = False
        self._seen: psutil.Process | None = None
        super().__init__(process_obj)
        with contextlib.suppress(psutil.NoSuchProcess):  # else it has come and gone
            self._seen = psutil.Process(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while it runs. One whose fork server is dead is ended here, and waited for."""
        if self.returncode is None:
            if not mp_connection.wait([self.sentinel], 0 if flag == os.WNOHANG else None):
                return None
            try:
                self.returncode = forkserver.read_signed(self.sentinel)  # type: ignore[attr-defined]
            except (OSError, EOFError):
                self._end_for_sure()
                self.lost, self.returncode = True, -signal.SIGKILL
        return self.returncode

    def _end_for_sure(self) -> None:
        """Its pipe from the fork server is closed before the kernel ends it (see `die_with_fork_server`), and words in shared memory
        are given to others only when nobody writes them any more."""
        if self._seen is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.kill()
            while self._seen.is_running() and self._seen.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)


class Child(ForkServerProcess):
    """A process of ours. It may start processes itself, and may be started by one that is a daemon: it ends with its main process."""

    _popen: Any

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:
        return Popen(process_obj)

    def start(self) -> None:
        """See `multiprocessing.Process`."""
        config = mp_process.current_process()._config  # type: ignore[attr-defined]
        daemon = config.pop("daemon", None)
        try:
            super().start()
        finally:
            if daemon is not None:
                config["daemon"] = daemon

    @property
    def lost(self) -> bool:
        """Whether it ended because its fork server did."""
        self.exitcode  # noqa: B018 - asks
        return bool(self._popen.lost)


class Context(ForkServerContext):
    """How processes of ours start, and what surrounds them: what held in the caller when this was made.

    It is the context of `torch.multiprocessing` as well, which is Python's own with torch's reductions of tensors registered for it:
    importing torch does that. So tensors among the arguments and messages of these processes travel by shared memory as soon as the
    program uses torch, and a program that does not use torch need not wait until it is imported.
    """

    def __init__(self) -> None:
        super().__init__()
        self.surroundings = Surroundings.of_caller()


def die_with_fork_server() -> None:
    """Let the kernel kill this process when the one that forked it is gone (Linux). To be called in a child.

    A thread that watches the main process needs the interpreter; a simulator that hangs in C without giving it free would survive.
    The fork server ends when nobody holds the other end of its pipe, so this child must not.
    """
    if sys.platform != "linux":
        return
    import ctypes

    alive = getattr(_own, "_forkserver_alive_fd", None)
    if alive is not None:
        os.close(alive)
        _own._forkserver_alive_fd = None
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if LOADED_BY not in (os.getppid(), os.getpid()):
        os._exit(1)  # it was gone before the kernel could be asked


def _forget_that_of_the_parent() -> None:
    """In a forked process: the fork server is its parent's. It gets one of its own, which ends with it."""
    if _own._forkserver_pid is not None:
        os.close(_own._forkserver_alive_fd)
        preloaded = _own._preload_modules
        _own.__init__()
        _own._preload_modules = preloaded


os.register_at_fork(after_in_child=_forget_that_of_the_parent)
