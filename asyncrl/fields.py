"""Which values a field of an experiment may have: by its type, since from Python anything can be given, and ranges of numbers.

A number's range stands in the field's annotation, as in ``gamma: Annotated[float, PROBABILITY] = 0.99``; for a tuple of numbers it
holds for each of them, and a field that may be None is not checked while it is. Of types only what an annotation says plainly is
checked; unions (a gymnasium id or a function) are left to whoever reads them.

`AlgorithmOptions` is the base of the options of every algorithm.
"""

from __future__ import annotations

import collections.abc
import math
import typing
from collections.abc import Collection
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, Self

from asyncrl.errors import UserError, unknown


class Range(NamedTuple):
    """Allowed numbers: from low to high, both included unless open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def allows(self, value: object) -> bool:
        """Whether a value is a finite number of the range; booleans are no numbers here."""
        if isinstance(value, bool) or not (_is_whole(value) if self.whole else _is_number(value)):
            return False
        try:
            number = float(typing.cast(Any, value))
        except (TypeError, ValueError, OverflowError):  # several numbers, or one beyond all that a computer counts with
            return False
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return math.isfinite(number) and above and below

    def __str__(self) -> str:
        limits = []
        if self.low > -math.inf:
            limits.append(f"{'above' if self.open_low else 'from'} {self._shown(self.low)}")
        if self.high < math.inf:
            limits.append(f"{'below' if self.open_high else 'to'} {self._shown(self.high)}")
        return " ".join(["whole numbers" if self.whole else "finite numbers", *limits])

    def _shown(self, limit: float) -> str:
        return f"{limit:,.0f}" if self.whole else f"{limit:g}"


COUNT = Range(1, whole=True)
COUNT_OR_ZERO = Range(0, whole=True)
FINITE = Range()
POSITIVE = Range(0, open_low=True)
NOT_NEGATIVE = Range(0)
PROBABILITY = Range(0, 1)
SHARE = Range(0, 1, open_low=True)
DECAY = Range(0, 1, open_high=True)
STEPS = Range(1, 10**15, whole=True)
"""Steps of a run: up to here floating-point numbers count every step, and so many updates beside them."""
Simulator = Literal["auto", "gymnasium", "compiled"]
"""What steps environments; see docs/simulators.md."""
Engine = Literal["local", "ray"]
"""What carries a run's workers; see docs/cluster.md."""
TICKETS = Range(0, 1_000_000, whole=True)
"""Evaluations of a generation, and generations of a history; far beyond what is of use, and what a list of them takes no time for."""


@dataclass(frozen=True)
class AlgorithmOptions:
    """Base of the options of every algorithm: what the rest of the package asks of options whose fields it does not know.

    A subclass that has an option of the name of one of these properties declares it as a field, which replaces the property.
    """

    @classmethod
    def has(cls, option: str) -> bool:
        """Whether users can set an option of this name."""
        return any(field.name == option for field in fields(cls))

    @property
    def least_steps(self) -> int:
        """Steps of the shortest run that is possible: those of one rollout of one environment."""
        return 1

    @property
    def learner_threads(self) -> int:
        """Threads of the learner's networks."""
        return 1

    def settled(self, steps: int, environments: int) -> tuple[Self, list[str]]:
        """These options without defaults that depend on the run's size, and a line for each that is not the usual one.

        `steps`: of the whole run; `environments`: of all workers.
        """
        return self, []

    def check_named(self, named: Collection[str]) -> None:
        """Raise UserError for options that contradict what the user has named; see `asyncrl.experiment.checks.check_named`."""


def range_of(kind: type, name: str) -> Range | None:
    """The range that is written in the annotation of a dataclass's field; None for a field that is no number."""
    return _marked(typing.get_type_hints(kind, include_extras=True)[name])[1]


def hints_of(kind: type) -> dict[str, tuple[Any, Range | None]]:
    """Of each of a dataclass's fields, by name: its type, and its range where it is a number."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: _marked(hints[field.name]) for field in fields(kind)}


def _marked(hint: Any) -> tuple[Any, Range | None]:
    """The type and the range of ``Annotated[type, range]``, or of another hint the hint itself and None."""
    if typing.get_origin(hint) is not Annotated:
        return hint, None
    return hint.__origin__, next((mark for mark in hint.__metadata__ if isinstance(mark, Range)), None)


DIGITS, DENOMINATORS = 11, 10_000
"""Of numbers that somebody has written, and of fractions that somebody has computed: no float is next to one of either kind."""


def written(number: float) -> Fraction:
    """The number that was meant by a finite float: products with it come out as they do on paper, where floats make 28.99... of 0.29 * 100.

    A float of up to DIGITS digits is that decimal number. One of more was likely computed, as 1/3 is: it is the fraction of a
    denominator up to DENOMINATORS that is this float, or where there is none the decimal number that Python shows for it.
    """
    number = float(number)
    shown = repr(number)
    if len(Decimal(shown).normalize().as_tuple().digits) > DIGITS:
        simple = Fraction(number).limit_denominator(DENOMINATORS)
        if float(simple) == number:
            return simple
    return Fraction(shown)


def check_kind(name: str, value: object, hint: Any, default: object) -> None:
    """Raise UserError for a value that its type does not allow; numbers are only counted. `default`: the example that a text is given."""
    inner = typing.get_args(hint)
    if len(inner) == 2 and type(None) in inner:
        if value is None:
            return
        hint = inner[0] if inner[1] is type(None) else inner[1]
    allowed = _allowed(value, hint, default)
    if allowed:
        raise UserError(f"{name} = {value!r} cannot be used (allowed: {allowed})")
    if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
        raise unknown(name, str(value), typing.get_args(hint))


def _allowed(value: object, hint: Any, default: object) -> str:
    """What is allowed instead of the value; nothing where its type fits."""
    if hint is bool:
        return "" if isinstance(value, bool) else "True, False"
    if hint is str:
        like = f", such as {default!r}" if isinstance(default, str) and default else ""
        return "" if isinstance(value, str) else f"text{like}"
    if typing.get_origin(hint) is collections.abc.Callable:
        return "" if callable(value) else "a function"
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, tuple | list):
            return "a list of numbers" if parts[-1] is Ellipsis else f"{len(parts)} numbers"
        return "" if parts[-1] is Ellipsis or len(value) == len(parts) else f"{len(parts)} numbers"
    return ""


def _is_whole(value: object) -> bool:
    return hasattr(value, "__index__")  # numpy's integers too


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or hasattr(value, "__float__")
