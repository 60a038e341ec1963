"""How long the stages of a simulated run take: what ``--simulate`` says, and the numbers that are drawn for it.

    exponential:1.0                                                act; compute and apply take no time
    act=exponential:1.0,compute=constant:0.5,apply=constant:0.01   stage by stage
    lognormal:1.0:0.5,slow:0.1:10                                  the last tenth of the workers take ten times as long
    recorded:runs/mine                                             as in a real run that was recorded (``--record``)

All in virtual seconds, for one round of a worker (of a search: one evaluation), or for one version of a learner's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from asyncrl.errors import UserError, unknown
from asyncrl.fields import NOT_NEGATIVE, POSITIVE, PROBABILITY, Range
from asyncrl.shared.stages import STAGES
from asyncrl.store.array_files import mapped

BLOCK = 256
"""Rounds whose durations are drawn at once."""
_OWN = 0x64757261
"""Part of every key, so that these streams differ from others with the same numbers."""
RECORD = "durations.safetensors"
"""File of a run's folder: ``seconds`` [places, stages, RECORDED], of `RecordedStages`; of these ``rounds`` [places] are there; the first
``workers`` [1] places are workers."""

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]


class Kind(NamedTuple):
    """A distribution of durations."""

    usage: str
    numbers: tuple[Range, ...]
    """Of what stands after its name."""
    draw: Callable[..., Floats]
    """(generator, how many, *numbers) -> virtual seconds."""


def _constant(generator: np.random.Generator, count: int, seconds: float) -> Floats:
    return np.full(count, seconds)


def _exponential(generator: np.random.Generator, count: int, mean: float) -> Floats:
    return generator.exponential(mean, count)


def _lognormal(generator: np.random.Generator, count: int, mean: float, sigma: float) -> Floats:
    return generator.lognormal(math.log(mean) - sigma * sigma / 2, sigma, count)


def _pareto(generator: np.random.Generator, count: int, mean: float, shape: float) -> Floats:
    return mean * (shape - 1) / shape * (1.0 + generator.pareto(shape, count))


KINDS = {
    "constant": Kind("constant:SECONDS", (NOT_NEGATIVE,), _constant),
    "exponential": Kind("exponential:MEAN", (POSITIVE,), _exponential),
    "lognormal": Kind("lognormal:MEAN:SIGMA", (POSITIVE, NOT_NEGATIVE), _lognormal),
    "pareto": Kind("pareto:MEAN:SHAPE", (POSITIVE, Range(1, open_low=True)), _pareto),
}
"""The mean of lognormal and pareto is that of the durations themselves."""
USAGES = [*(kind.usage for kind in KINDS.values()), "slow:SHARE:FACTOR", "recorded:RUN"]


@dataclass(frozen=True)
class Durations:
    """How long each stage takes. A duration is a function of (seed, place, stage, round) alone."""

    stages: tuple[Draw, ...]
    """Of each of STAGES; without meaning where there is a record."""
    slow_share: float = 0.0
    """Of the workers, the last ones: rounded, but at least one."""
    slow_factor: float = 1.0
    """So many times as long do they take."""
    record: Path | None = None
    """The folder of the run that was recorded."""
    recorded: Recorded | None = None
    """What is in it."""

    @classmethod
    def parse(cls, text: str) -> Durations:
        """What ``--simulate`` says; see the module. A record is not read yet (`read`).

        Raises UserError: what was given, what is allowed, and the nearest.
        """
        given: dict[str, Draw] = {}
        slow, record = (0.0, 1.0), None
        for part in text.split(","):
            stage, equals, rest = part.strip().rpartition("=")
            word, _, numbers = rest.partition(":")
            if word == "recorded" and not equals:
                record = Path(numbers)
            elif word == "slow" and not equals:
                slow = tuple(_numbers(text, rest, "slow:SHARE:FACTOR", (PROBABILITY, POSITIVE), numbers))  # type: ignore[assignment]
            else:
                _put(given, text, stage or STAGES[0], word, numbers)
        if (record is None) == (not given):
            how = "by a distribution or by recorded:RUN"
            raise UserError(f"simulate = {text!r} cannot be used: how long acting takes is to be said once, {how}")
        stages = tuple(given.get(stage, partial(_constant, seconds=0.0)) for stage in STAGES)
        if record is None and not stages[0](np.random.default_rng(0), 1)[0] > 0:
            raise UserError(f"simulate = {text!r} cannot be used: acting must take time (allowed: numbers above 0, as in exponential:1.0)")
        return cls(stages, *slow, record)

    def read(self) -> Durations:
        """The same with what is in the record, if there is one. Raises UserError."""
        return self if self.record is None else replace(self, recorded=Recorded.read(self.record))

    def draws(self, seed: int, workers: int, place: int, stage: int, first: int) -> Iterator[float]:
        """Virtual seconds of a stage, from round `first` on. `place`: of a worker, or from `workers` on of a learner."""
        factor = self._factor(workers, place)
        block, skipped = divmod(first, BLOCK)
        while True:
            yield from (self._block(seed, workers, place, stage, block) * factor)[skipped:].tolist()
            block, skipped = block + 1, 0

    def _block(self, seed: int, workers: int, place: int, stage: int, block: int) -> Floats:
        if self.recorded is not None:  # the stages of a round are drawn together
            return self.recorded.block(np.random.default_rng((_OWN, seed, place, block)), workers, place, stage)
        return self.stages[stage](np.random.default_rng((_OWN, seed, place, block, 1 + stage)), BLOCK)

    def _factor(self, workers: int, place: int) -> float:
        slow = max(round(self.slow_share * workers), 1) if self.slow_share > 0 else 0
        return self.slow_factor if workers - slow <= place < workers else 1.0


@dataclass(frozen=True)
class Recorded:
    """The durations that a real run has recorded."""

    seconds: Floats
    """[places, stages, rounds]"""
    rounds: NDArray[np.int64]
    """[places]: of these rounds so many are there."""
    workers: int
    """The first places; a learner follows."""

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """Of a run's folder. Raises UserError where there is no record."""
        path, simulate = folder / RECORD, f"recorded:{folder}"
        try:
            arrays = mapped(path)
            seconds, rounds, workers = arrays["seconds"], arrays["rounds"], int(arrays["workers"][0])
        except FileNotFoundError:
            text = f"simulate = {simulate!r} cannot be used: there is no {str(path)!r}"
            raise UserError(f"{text} (allowed: the folder of a run with --record)") from None
        except (OSError, SafetensorError, KeyError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(f"simulate = {simulate!r} cannot be used: {str(path)!r} can't be read: {why}") from None
        if not rounds.min() > 0:
            idle = f"worker {int(rounds.argmin())} has completed no round after its first"
            raise UserError(f"simulate = {simulate!r} cannot be used: in that record {idle} (allowed: that of a longer run)")
        return cls(seconds.copy(), rounds.copy(), workers)

    def block(self, generator: np.random.Generator, workers: int, place: int, stage: int) -> Floats:
        """BLOCK durations of `place`, of a run of so many workers: those of a recorded worker, in turn, or of the learner."""
        learns = place >= workers
        if learns and len(self.seconds) == self.workers:
            return np.zeros(BLOCK)  # the run that was recorded had no learner
        of = self.workers if learns else place % self.workers
        return self.seconds[of, stage, generator.integers(0, self.rounds[of], BLOCK)]


def _put(given: dict[str, Draw], text: str, stage: str, word: str, numbers: str) -> None:
    """Enter a stage's distribution. Raises UserError."""
    if stage not in STAGES:
        raise unknown("stage of --simulate", stage, STAGES)
    if stage in given:
        raise UserError(f"simulate = {text!r} cannot be used: {stage} is given twice")
    if word not in KINDS:
        raise unknown("distribution of --simulate", word, [*KINDS, "slow", "recorded"])
    kind = KINDS[word]
    given[stage] = partial(_drawn, kind.draw, tuple(_numbers(text, f"{word}:{numbers}", kind.usage, kind.numbers, numbers)))


def _drawn(draw: Callable[..., Floats], numbers: tuple[float, ...], generator: np.random.Generator, count: int) -> Floats:
    return draw(generator, count, *numbers)


def _numbers(text: str, part: str, usage: str, ranges: tuple[Range, ...], numbers: str) -> list[float]:
    """The numbers after a word. Raises UserError."""
    words = numbers.split(":") if numbers else []
    try:
        found = [float(word) for word in words]
    except ValueError:
        found = []
    if len(found) != len(ranges) or not all(one.allows(number) for one, number in zip(ranges, found)):
        allowed = "; ".join(str(one) for one in ranges)
        raise UserError(f"simulate = {text!r} cannot be used: {part!r} should be {usage} with {allowed}")
    return found
