"""Errors that are meant for the user.

    AsyncrlError                 base class; the command line prints the text on one line
    ├── UserError                the user's input cannot be used: exit code 2
    │   ├── SharedMemoryError    (asyncrl.shared.arrays) there is too little shared memory
    │   └── Hopeless             an error of a worker that its replacement would meet again
    └── WorkerFailed             a worker died or raised, and could not be replaced: exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AsyncrlError(Exception):
    """Base class of all errors that are meant for the user."""

    exit_code = 1


class UserError(AsyncrlError):
    """The input cannot be used. The text says what was given, what is allowed, and which allowed value is most similar."""

    exit_code = 2


class Hopeless(UserError):
    """Raised by a worker for an error that its replacement would meet again: the run ends at once."""


class WorkerFailed(AsyncrlError):
    """A worker failed for good; the text names the worker, its environment, seed and step, and ends with the traceback."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the most similar allowed word, or ``""`` if none is similar."""
    lower = {word.lower(): word for word in allowed}
    close = difflib.get_close_matches(given.lower(), lower, n=1, cutoff=0.5)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def unknown(kind: str, given: object, allowed: Iterable[str], most: int = 12) -> UserError:
    """The error for a name that is not in `allowed`. `kind`: what the name stands for, e.g. ``"algorithm"``; `most`: words to list."""
    words = list(allowed)
    listed = ", ".join(words[:most]) + (f", ... ({len(words)} in all)" if len(words) > most else "")
    return UserError(f"unknown {kind} {given!r}{nearest(str(given), words)} (allowed: {listed})")
