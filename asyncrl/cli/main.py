"""The entry point of the command line: chooses the command, prints errors on one line and returns the exit code.

Exit codes: 0 completed, 2 the user's input cannot be used, 130 interrupted, 1 anything else.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from asyncrl.cli.arguments import EXIT_CODES
from asyncrl.cli.bench import heads, more_wild, queues, throughput
from asyncrl.cli.listing import list_parts
from asyncrl.cli.parsing import complain
from asyncrl.cli.replay import replay
from asyncrl.cli.runs import evaluate, export, landscape, play, resume
from asyncrl.cli.study import study
from asyncrl.cli.train import train
from asyncrl.errors import AsyncrlError, UserError, unknown
from asyncrl.processes.interrupts import Interrupts

SHORTAGES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""Errors of a system that lacks disk space, open files, memory or processes. They are printed without a traceback."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Errors that are meant for the user are one line on stderr."""
    interrupts = Interrupts(raises=True)
    try:
        with interrupts:
            code = _dispatch(COMMANDS, "asyncrl", list(sys.argv[1:] if args is None else args))
            interrupts.answered = True
        return EXIT_CODES["interrupted"] if interrupts.seen else code
    except KeyboardInterrupt:
        return _interrupted()
    except (Exception, SystemExit) as error:
        known = _interrupted() if interrupts.seen else _failed(error)  # a library may have turned the interruption into another error
        if known is None:
            raise
        return known


def _failed(error: Exception | SystemExit) -> int | None:
    """Print an expected error on one line of stderr and return its exit code; None for unexpected errors, which are raised."""
    if isinstance(error, AsyncrlError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of the output has ended (`asyncrl list | head`): redirect it, since flushing at exit would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        complain(f"the system has no more to give: {error}")
        return 1
    if isinstance(error, SystemExit) and not error.code:
        return 0  # --help
    return None


def _interrupted() -> int:
    complain("interrupted")
    return EXIT_CODES["interrupted"]


def bench(args: list[str]) -> int:
    """Measure on this machine: throughput ENV, queues, heads, more-wild."""
    return _dispatch(BENCHES, "asyncrl bench", args)


class Command(NamedTuple):
    """A command: the function that it calls, whose docstring is its line in `--help`, and its usage."""

    call: Callable[[list[str]], int]
    usage: str


COMMANDS = {
    "train": Command(train, "ALGO ENV"),
    "resume": Command(resume, "RUN"),
    "evaluate": Command(evaluate, "RUN"),
    "play": Command(play, "RUN"),
    "export": Command(export, "RUN FILE"),
    "landscape": Command(landscape, "RUN"),
    "replay": Command(replay, "RUN"),
    "study": Command(study, "FILE|NAME"),
    "bench": Command(bench, "NAME"),
    "list": Command(list_parts, ""),
}

BENCHES = {
    "throughput": Command(throughput, "ENV"),
    "queues": Command(queues, ""),
    "heads": Command(heads, ""),
    "more-wild": Command(more_wild, ""),
}


def _dispatch(commands: Mapping[str, Command], prog: str, args: list[str]) -> int:
    """Call the command that the first argument names, with the others."""
    if args and args[0] in commands:
        return commands[args[0]].call(args[1:])
    if args and args[0] in ("-h", "--help"):
        print(f"usage: {prog} COMMAND ... [OPTIONS]\n")
        for name, command in commands.items():
            print(f"  {f'{name} {command.usage}':<18}{command.call.__doc__}")
        print(f"\n{prog} COMMAND --help shows every option, with its default and unit.")
        return 0
    if args and args[0] in ("-V", "--version"):
        from asyncrl import __version__

        print(f"asyncrl {__version__}")
        return 0
    if not args:
        raise UserError(f"a command is missing (allowed: {', '.join(commands)}; see {prog} --help)")
    raise unknown("command", args[0], commands)
