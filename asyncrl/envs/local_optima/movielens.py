"""Reading MovieLens-100K: a user's own copy, as GroupLens or as recbole ships it. Its terms forbid passing it on, so it is not here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, unknown

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror",
    "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
OCCUPATIONS = (
    "administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive", "healthcare", "homemaker", "lawyer",
    "librarian", "marketing", "none", "other", "programmer", "retired", "salesman", "scientist", "student", "technician", "writer",
)
USER_SIZE = 3 + len(OCCUPATIONS)


@dataclass(frozen=True)
class Log:
    """Who rated what, in order of time.

    user, item  [R] numbers from 0, of rows of `users` and `genres`
    rating      [R] 1 to 5
    genres      [I, 18] 0 or 1
    users       [U, 24] a hundredth of the age; F, M; one-hot occupation
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.int64]
    genres: NDArray[np.float32]
    users: NDArray[np.float32]


class Format(NamedTuple):
    """How one set of files looks: their names, what stands between the columns, and whether the first line is a heading."""

    ratings: str
    items: str
    people: str
    separators: tuple[str, str, str]
    heading: bool


FORMATS = (
    Format("u.data", "u.item", "u.user", ("\t", "|", "|"), False),
    Format("ml-100k.inter", "ml-100k.item", "ml-100k.user", ("\t", "\t", "\t"), True),
)


def files_of(folder: str) -> tuple[Format, list[Path]]:
    """The format and the three files in a folder. Raises UserError that names what is missing."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise UserError(f"MovieLens folder {folder!r} is not there")
    for form in FORMATS:
        paths = [place / name for name in form[:3]]
        if paths[0].is_file():
            missing = [path.name for path in paths if not path.is_file()]
            if missing:
                raise UserError(f"MovieLens folder {folder!r} has no {missing[0]}")
            return form, paths
    raise UserError(f"MovieLens folder {folder!r} has neither {FORMATS[0].ratings} nor {FORMATS[1].ratings}")


def summary_of(folder: str) -> tuple[str, int, int]:
    """A checksum of the three files' contents, and how many items and users they have. Raises UserError."""
    form, paths = files_of(folder)
    texts = [_text(path) for path in paths]
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
    items, users = (len(text.splitlines()) - form.heading for text in texts[1:])
    return digest, items, users


def read_movielens(folder: str) -> Log:
    """The log in a folder. Raises UserError that says which file is missing or malformed, and in which line."""
    form, (ratings, items, people) = files_of(folder)
    places: dict[str, int] = {}
    genres = [_genres(row, form) for row in _rows(items, form.separators[1], form.heading, places)]
    users_places: dict[str, int] = {}
    users = [_user(row) for row in _rows(people, form.separators[2], form.heading, users_places)]
    found = np.array([_rating(row, users_places, places) for row in _rows(ratings, form.separators[0], form.heading)], np.int64)
    if not len(found):
        raise UserError(f"{ratings}: there are no ratings in it")
    user, item, rating, _ = found[np.argsort(found[:, 3], kind="stable")].T.copy()
    return Log(user, item, rating, np.array(genres, np.float32), np.array(users, np.float32))


class _Row(NamedTuple):
    """One line of a file."""

    where: str
    columns: Sequence[str]

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.where}: {what}")

    def whole(self, column: int, low: int, high: int) -> int:
        """A whole number of a column, from low to high."""
        text = self.columns[column]
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not (number.is_integer() and low <= number <= high):
            raise self.wrong(f"{text!r} cannot be used (allowed: whole numbers from {low} to {high})")
        return int(number)


def _rows(path: Path, separator: str, heading: bool, places: dict[str, int] | None = None) -> Iterator[_Row]:
    """The lines of a file, the heading left out. `places` is given the row of each first column, which must not come twice."""
    for number, line in enumerate(_text(path).splitlines()[heading:], 1 + heading):
        row = _Row(f"{path}, line {number}", line.split(separator))
        if len(row.columns) < 4:
            raise row.wrong(f"{len(row.columns)} columns cannot be used (allowed: from 4)")
        if places is not None:
            if row.columns[0] in places:
                raise row.wrong(f"number {row.columns[0]} comes twice")
            places[row.columns[0]] = len(places)
        yield row


def _text(path: Path) -> str:
    try:
        return path.read_text("latin-1")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _genres(row: _Row, form: Format) -> list[float]:
    if form.heading:  # words, separated by spaces
        words = row.columns[3].split()
        return [float(genre in words) for genre in GENRES]
    if len(row.columns) != 6 + len(GENRES):
        raise row.wrong(f"{len(row.columns)} columns cannot be used (allowed: {6 + len(GENRES)})")
    return [float(row.whole(6 + place, 0, 1)) for place in range(len(GENRES))]  # column 5 is "unknown"


def _user(row: _Row) -> list[float]:
    age, sex, occupation = row.whole(1, 0, 150), row.columns[2], row.columns[3]
    if sex not in ("F", "M"):
        raise row.wrong(f"{sex!r} cannot be used (allowed: F, M)")
    if occupation not in OCCUPATIONS:
        raise row.wrong(str(unknown("occupation", occupation, OCCUPATIONS)))
    return [age / 100.0, float(sex == "F"), float(sex == "M"), *(float(occupation == one) for one in OCCUPATIONS)]


def _rating(row: _Row, users: dict[str, int], items: dict[str, int]) -> tuple[int, int, int, int]:
    user, item = row.columns[:2]
    if user not in users:
        raise row.wrong(f"there is no user {user!r}")
    if item not in items:
        raise row.wrong(f"there is no item {item!r}")
    return users[user], items[item], row.whole(2, 1, 5), row.whole(3, 0, 2**53)
