"""Folders for sockets and for Numba's compiled code, on machines where the usual ones cannot be used.

`asyncrl/__init__.py` imports this before any heavy library.
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
"""The longest folder name, in bytes, in which multiprocessing can make a socket: a socket's path may have 103 to 107 bytes, depending on
the system, and multiprocessing adds 32 of them."""


def shorten_socket_names() -> None:
    """If the name of TMPDIR is too long for sockets, let multiprocessing make them (the fork server's too) in another folder.

    Raises UserError if no other folder is writable.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if _takes_files(Path(folder)):
            before, tempfile.tempdir = tempfile.tempdir, folder
            try:
                util.get_temp_dir()  # multiprocessing goes on using this folder, and removes it at the end
            finally:
                tempfile.tempdir = before
            return
    raise UserError(f"TMPDIR = {usual!r} cannot be used: sockets need a name of at most {LONGEST_FOLDER} bytes, and /tmp is not writable")


def find_numba_cache() -> None:
    """If Numba can write neither beside asyncrl's sources nor to the user's cache, give it a folder among temporary files.

    Without any folder for its cache Numba refuses to compile. To be called before modules with compiled functions are imported.
    """
    beside = Path(__file__).parent.parent / "shared" / "__pycache__"
    if os.environ.get("NUMBA_CACHE_DIR") or _takes_files(beside) or _takes_files(_users_cache()):
        return
    os.environ["NUMBA_CACHE_DIR"] = folder = _own_folder()
    if "numba.core.config" in sys.modules:  # it has read its environment already
        sys.modules["numba.core.config"].CACHE_DIR = folder  # type: ignore[attr-defined]


def _own_folder() -> str:
    """A folder that all runs of this user share; one for this process alone if that one could be written by other users.

    Compiled code is executed, so it must not come from a folder in which somebody else can put files.
    """
    folder = os.path.join(tempfile.gettempdir(), f"asyncrl-numba-{os.getuid() if hasattr(os, 'getuid') else ''}")
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        if stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)):
            return folder
    return util.get_temp_dir()


def _users_cache() -> Path:
    """The user's cache folder, chosen as Numba chooses it."""
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/numba"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "numba"


def _takes_files(folder: Path) -> bool:
    """Whether files can be created in a folder, which is created if it is missing.

    A file is created to find out, because permissions do not show that a disk is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
