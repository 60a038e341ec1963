"""Where files go that nobody keeps, on machines that have no room in the usual places: sockets, and Numba's compiled code.

Imported by `asyncrl` itself, before anything heavy.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from multiprocessing import util
from pathlib import Path

from asyncrl.errors import UserError

LONGEST_FOLDER = 70
"""Bytes of a folder in which multiprocessing can make a socket: the system allows 103 to 107 in all, and 32 are its own."""


def shorten_socket_names() -> None:
    """Have multiprocessing make its sockets, the fork server's among them, in another folder where TMPDIR's name is too long for that.

    Raises UserError where there is none.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if _takes_files(Path(folder)):
            before, tempfile.tempdir = tempfile.tempdir, folder
            try:
                util.get_temp_dir()  # once made, it stays, and multiprocessing removes it
            finally:
                tempfile.tempdir = before
            return
    raise UserError(f"TMPDIR = {usual!r} cannot be used: sockets need a name of at most {LONGEST_FOLDER} bytes, and /tmp is not writable")


def find_numba_cache() -> None:
    """Where Numba could keep compiled code neither beside our sources nor in the user's cache, name it a folder among temporary files.

    Without any it refuses to compile. To be called before our modules are that it compiles.
    """
    beside = Path(__file__).parent / "shared" / "__pycache__"
    if os.environ.get("NUMBA_CACHE_DIR") or _takes_files(beside) or _takes_files(_users_cache()):
        return
    os.environ["NUMBA_CACHE_DIR"] = folder = _own_folder()
    if "numba.core.config" in sys.modules:  # it has read its environment already
        sys.modules["numba.core.config"].CACHE_DIR = folder  # type: ignore[attr-defined]


def _own_folder() -> str:
    """The same for all runs of this user where that is safe: compiled code from a folder that others can write to would be theirs."""
    folder = os.path.join(tempfile.gettempdir(), f"asyncrl-numba-{os.getuid() if hasattr(os, 'getuid') else ''}")
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        if stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)):
            return folder
    return util.get_temp_dir()


def _users_cache() -> Path:
    """As Numba finds it."""
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/numba"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "numba"


def _takes_files(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is missing. Tried: permissions do not tell of a read-only disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
