"""The settings of the calling process that each process of a run takes over: as they were at the call, not when the fork server started."""

from __future__ import annotations

import locale
import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle

THREAD_CAPS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that are 1 in the processes of a run, whatever they are in the caller: the processes share the cores."""
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


@dataclass(frozen=True)
class Surroundings:
    """Read in the caller by `of_caller`, applied in a child by `put_up` before any of the user's code is loaded there."""

    environment: Mapping[str, str]
    folder: str
    path: list[str]
    temporary_folder: str | None
    filters: bytes
    """Warning filters, pickled with cloudpickle because a category may be a class of the caller's script."""
    levels: Mapping[str, int]
    """Level of each logger that has one of its own, and of the root logger under the name ""."""
    logging_disabled: int
    umask: int
    limits: Mapping[int, tuple[int, int]]
    cores: frozenset[int]
    """The cores that the caller may use; empty if the system cannot say."""
    locale: str
    recursion_limit: int

    @classmethod
    def of_caller(cls) -> Surroundings:
        """The settings of this process as they are now."""
        umask = os.umask(0o077)
        os.umask(umask)
        loggers = logging.root.manager.loggerDict
        levels = {name: one.level for name, one in loggers.items() if isinstance(one, logging.Logger) and one.level}
        return cls(
            environment=dict(os.environ),
            folder=os.getcwd(),
            path=list(sys.path),
            temporary_folder=tempfile.tempdir,
            filters=cloudpickle.dumps(list(warnings.filters)),
            levels={**levels, "": logging.root.level},
            logging_disabled=logging.root.manager.disable,
            umask=umask,
            limits={limit: resource.getrlimit(limit) for limit in LIMITS},
            cores=frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset(),
            locale=locale.setlocale(locale.LC_ALL),
            recursion_limit=sys.getrecursionlimit(),
        )

    def put_up(self) -> None:
        """Apply them in this process, a child of the caller's fork server."""
        _set_environment({**self.environment, **dict.fromkeys(THREAD_CAPS, "1")})
        os.chdir(self.folder)
        sys.path[:] = self.path
        tempfile.tempdir = self.temporary_folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the module of a category may warn when it is imported, before its filter holds
            filters = cloudpickle.loads(self.filters)
        _set_filters(filters)
        logging.disable(self.logging_disabled)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
        os.umask(self.umask)
        for limit, wanted in self.limits.items():
            if resource.getrlimit(limit) != wanted:
                resource.setrlimit(limit, wanted)
        if self.cores and os.sched_getaffinity(0) != self.cores:
            os.sched_setaffinity(0, self.cores)
        if locale.setlocale(locale.LC_ALL) != self.locale:
            locale.setlocale(locale.LC_ALL, self.locale)
        sys.setrecursionlimit(self.recursion_limit)


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()


def _set_filters(filters: list[Any]) -> None:
    """Set warning filters by the public functions, which also clear the record of warnings that were shown once."""
    warnings.resetwarnings()
    for action, message, category, module, line in filters:
        texts = [getattr(one, "pattern", one) or "" for one in (message, module)]
        warnings.filterwarnings(action, texts[0], category, texts[1], line, append=True)
