"""`asyncrl replay RUN`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncrl.cli.arguments import EXIT_CODES, Run, check_run, check_writable
from asyncrl.cli.parsing import parse
from asyncrl.cli.runs import Again

if TYPE_CHECKING:
    from asyncrl.session.replaying import Replayed


@dataclass(frozen=True)
class Replay:
    """Repeat an asynchronous run with --record in one process, update by update, and compare it with what the run came to."""

    run: Run
    """The run's folder."""
    until: int | None = None
    """Version of the parameters to stop at, as many updates; none for all that were recorded."""
    save: str | None = None
    """Safetensors file for what was repeated: parameters, the optimizer's statistics, the target network; nothing is written without it."""
    environment: Again = field(default_factory=Again)


def replay(args: list[str]) -> int:
    """Repeat a recorded asynchronous run, update by update."""
    given = parse(Replay, args, "asyncrl replay")
    check_writable(given.save)
    check_run(given.run)

    from asyncrl.session.replaying import replay as repeat

    result = repeat(given.run, given.until, given.save, **vars(given.environment))
    for note in result.notes:
        print(f"note: {note}")
    print(f"{given.run}: {result.version:,} of {result.last:,} recorded updates repeated, {result.steps:,} steps")
    print(_verdict(result))
    return EXIT_CODES["failed" if result.whole and result.exact is False else "completed"]


def _verdict(result: Replayed) -> str:
    """How what was repeated compares with the run."""
    if result.checkpoint is None:
        return "the run has no checkpoint of this version to compare with"
    if result.exact:
        return f"the same to the bit as {result.checkpoint}"
    apart = f"parameters differ from {result.checkpoint} by {result.drift:.3g} of their norm, the most by {result.largest:.3g}"
    if result.whole:
        return f"NOT the same: {apart} (another machine, other versions of libraries, or code that draws from something unseeded?)"
    return f"{apart}: updates were not whole (--whole), so the replay is their order in time and drifts"
