"""The fork server: its children end with it, and when it is killed another one is started.

This adds three things to Python's own (`multiprocessing.forkserver`). Python reports a child as dead once its fork server is dead,
although it may still run; here it is killed and waited for first. A fork server that was inherited by a fork is recognised and replaced.
Daemonic processes, such as those of a pool, may have children.
"""

from __future__ import annotations

import contextlib
import ctypes
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
"""The process that imported this module. In a child that was forked from a fork server which had it loaded, that is the fork server."""

_own: Any = forkserver._forkserver  # type: ignore[attr-defined]


class Popen(popen_forkserver.Popen):
    """Python's handle of a forked process, except that a process with an exit code is dead even if its fork server was killed."""

    def __init__(self, process_obj: Any):
        self.lost = False
        self._seen: psutil.Process | None = None
        super().__init__(process_obj)
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            self._seen = psutil.Process(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while the process runs. If its fork server is dead, it is killed here and waited for."""
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
        """Kill the process and wait until it is dead.

        When a fork server dies, its pipe is closed a moment before the kernel kills its children (see `die_with_fork_server`). The
        words in shared memory that a child writes may be given to its successor only when it can no longer write them.
        """
        if self._seen is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.kill()
            while self._seen.is_running() and self._seen.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)


class Child(ForkServerProcess):
    """A process of a run. It may start processes itself, and a daemonic process may start it; it ends with its main process."""

    _popen: Any

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:
        return Popen(process_obj)

    def start(self) -> None:
        """Start it, as `multiprocessing.Process.start` does, but also in a daemonic process, where Python would refuse."""
        config = mp_process.current_process()._config  # type: ignore[attr-defined]
        daemon = config.pop("daemon", None)
        try:
            super().start()
        finally:
            if daemon is not None:
                config["daemon"] = daemon

    @property
    def lost(self) -> bool:
        """Whether it ended because its fork server was killed."""
        self.exitcode  # noqa: B018 - reading it polls the process, which sets `lost`
        return bool(self._popen.lost)


class Context(ForkServerContext):
    """How the processes of a run are started, with the caller's surroundings from when this was made (see `Surroundings`).

    It is the context of `torch.multiprocessing` as well, which is Python's own with torch's reductions of tensors registered for it:
    importing torch does that. So tensors among the arguments and messages of these processes travel by shared memory as soon as the
    program uses torch, and a program that does not use torch need not wait until it is imported.
    """

    def __init__(self) -> None:
        super().__init__()
        self.surroundings = Surroundings.of_caller()


def die_with_fork_server() -> None:
    """Let the kernel kill this process when its fork server is gone (Linux). To be called in a child.

    A thread that watches the main process (see `starting.settle_in`) needs the interpreter lock, which a simulator that hangs in C may
    never release. The fork server ends when nobody holds the other end of its pipe, so this child closes its copy.
    """
    if sys.platform != "linux":
        return
    alive = getattr(_own, "_forkserver_alive_fd", None)
    if alive is not None:
        os.close(alive)
        _own._forkserver_alive_fd = None
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if LOADED_BY not in (os.getppid(), os.getpid()):
        os._exit(1)  # the fork server had ended before the call


def _forget_that_of_the_parent() -> None:
    """Called in a process that was forked from one with a fork server: that one belongs to the parent, so this one starts its own."""
    if _own._forkserver_pid is not None:
        os.close(_own._forkserver_alive_fd)
        preloaded = _own._preload_modules
        _own.__init__()
        _own._preload_modules = preloaded


os.register_at_fork(after_in_child=_forget_that_of_the_parent)
