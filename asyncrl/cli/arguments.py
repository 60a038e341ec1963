"""Shared by several commands: positional arguments, checks of numbers and files, exit codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import tyro

from asyncrl.errors import UserError

EXIT_CODES = {"completed": 0, "interrupted": 130, "failed": 1}

Run = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
File = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Env = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")]


def check_at_least_one(**counts: int | None) -> None:
    """Raise UserError if one of the named numbers is below 1; None is accepted."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name} = {count} cannot be used (allowed: whole numbers from 1)")


def check_seed(seed: int) -> None:
    """Raise UserError if a seed is negative."""
    if seed < 0:
        raise UserError(f"seed = {seed} cannot be used (allowed: whole numbers from 0)")


def check_run(folder: str) -> None:
    """Raise UserError for what is no run's folder, before anything is loaded that reads one."""
    from asyncrl.session.folder import check_folder

    check_folder(folder)


def check_writable(file: str | None) -> None:
    """Raise UserError if `file` cannot be written, to be called before a command does its work. None is accepted."""
    if file is not None and (Path(file).is_dir() or not os.access(Path(file).absolute().parent, os.W_OK)):
        raise UserError(f"{file!r} cannot be written (allowed: a file in a writable folder)")


def write_json(file: str | None, result: Any) -> None:
    """Write `result` as standard JSON, if a file is given."""
    if file is not None:
        from asyncrl.store.json_files import write_json_atomically

        write_json_atomically(file, result)
