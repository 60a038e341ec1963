"""A record of rounds (`record`) as it is read: every round of every worker, in the order in which they became versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.topologies.actor_learner.record import AT, BASE, FOLDER, FORMAT, HEAD, MARK, READ, READ_AT, USED, columns_of, path_of
from asyncrl.workers.plan import Task

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Story:
    """What happened, in the words of the record."""

    rows: list[Rows]
    """Of each worker [rounds, columns]: see `record`. Of a run whose updates were not whole, versions are those of the order of times."""
    order: Rows
    """[rounds of all, 2]: (worker, its round), as they are to be repeated."""
    last: int
    """The version with which it ends."""
    whole: bool
    """Whether updates were whole, so that the story is exact."""
    notes: list[str]
    """What the user should know: what the record lacks."""


def read_story(folder: Path, task: Task) -> Story:
    """The story of a run's `folder`, which learned `task`. Raises UserError for what is no record, or none that can be repeated."""
    check_files(folder, task)
    notes: list[str] = []
    rows = [_read(path_of(folder, worker, 0), task, notes) for worker in range(task.workers)]
    if not task.whole:
        rows = _by_time(rows)
    _check_sense(folder, rows)
    last = _contiguous(rows)
    made = sum(int(one[:, USED].sum()) for one in rows)
    if last < made:
        notes.append(f"version {last + 1:,} is missing in the record, as of a process that was killed: it is repeated as far as that")
    return Story(rows, _order(rows, last), last, task.whole, notes)


def check_files(folder: Path, task: Task) -> None:
    """Raise UserError where a process was replaced, the run was resumed, or there is no record."""
    names = sorted(path.name for path in (folder / FOLDER).glob("*.rounds"))
    if not names:
        raise UserError(f"run {str(folder)!r} has no record of its rounds (allowed: the folder of a run with --record)")
    later = [name.partition("-")[0] for name in names if not name.endswith("-0.rounds")]
    if len(set(later)) == task.workers:
        raise UserError(f"run {str(folder)!r} can't be repeated: it was resumed (allowed: a run of one session)")
    if later:
        raise UserError(f"run {str(folder)!r} can't be repeated: worker {later[0]} was replaced (allowed: a run in which nobody died)")


def _read(path: Path, task: Task, notes: list[str]) -> Rows:
    """The rows of one file. Raises UserError."""
    try:
        numbers = np.fromfile(path, np.int64)
        odd = path.stat().st_size % 8
    except OSError as error:
        raise UserError(f"record {str(path)!r} can't be read: {error.strerror}") from None
    width = columns_of(task)[2]
    if len(numbers) < len(HEAD) or numbers[0] != MARK:
        raise UserError(f"record {str(path)!r} can't be read: it does not begin as one")
    head = dict(zip(HEAD, numbers.tolist()))
    if head["format"] != FORMAT:
        raise UserError(f"record {str(path)!r} is of format {head['format']} (allowed: {FORMAT}, which this version of asyncrl writes)")
    if (head["columns"], head["workers"], head["whole"]) != (width, task.workers, task.whole):
        raise UserError(f"record {str(path)!r} can't be read: it is of another run than {str(path.parent.parent / 'experiment.json')!r}")
    body = numbers[len(HEAD) :]
    if odd or body.size % width:
        notes.append(f"the last row of {path.name} was written in part and is left out")
    rows: Rows = body[: body.size // width * width].reshape(-1, width)
    return rows


def _by_time(rows: list[Rows]) -> list[Rows]:
    """The same rows, with the versions that the times of the updates say: nobody counted them exactly."""
    times = np.sort(np.concatenate([one[one[:, USED] == 1, AT] for one in rows]))
    for one in rows:
        one[:, READ] = np.searchsorted(times, one[:, READ_AT], "right")
        one[:, BASE] = np.searchsorted(times, one[:, AT], "left")
    return rows


def _check_sense(folder: Path, rows: list[Rows]) -> None:
    """Raise UserError where a round used what was not there yet: a record that somebody has changed."""
    for worker, one in enumerate(rows):
        after = one[:, BASE] + one[:, USED]
        wrong = (one[:, READ] < 0) | (one[:, READ] > one[:, BASE]) | (one[:, READ] < np.concatenate([[0], after])[:-1])
        if wrong.any():
            where = f"round {int(wrong.argmax()):,} of worker {worker}"
            raise UserError(f"the record of run {str(folder)!r} contradicts itself: {where} is not of the version that it says")


def _contiguous(rows: list[Rows]) -> int:
    """The last version up to which there is every one, once."""
    versions = np.sort(np.concatenate([one[one[:, USED] == 1, BASE] for one in rows]))
    wrong = versions != np.arange(len(versions))
    return int(wrong.argmax()) if wrong.any() else len(versions)


def _order(rows: list[Rows], last: int) -> Rows:
    """(worker, round) of what becomes versions up to `last`; what was not used follows on the version that it was not applied to."""
    places = np.concatenate([np.stack([np.full(len(one), worker), np.arange(len(one))], 1) for worker, one in enumerate(rows)])
    base, used, at = (np.concatenate([one[:, column] for one in rows]) for column in (BASE, USED, AT))
    order = np.lexsort((at, used, base))
    return places[order[(base + used)[order] <= last]]
