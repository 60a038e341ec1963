"""`asyncrl train ALGO ENV`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import tyro

from asyncrl.cli.arguments import EXIT_CODES, Env
from asyncrl.cli.parsing import parse
from asyncrl.errors import UserError, unknown


def train(args: list[str]) -> int:
    """Train, with a live table, and write a run's folder."""
    from asyncrl.experiment.checks import check_experiment, check_named
    from asyncrl.experiment.experiment import Experiment

    algo, rest = _algorithm(args)
    given = parse(experiment_type(algo), rest, f"asyncrl train {algo}", _train_description(algo))
    experiment = Experiment(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Experiment)})
    check_named(experiment.options, [word[2:].partition("=")[0].replace("-", "_") for word in rest if word.startswith("--")])
    check_experiment(experiment)

    from asyncrl.api import run

    return EXIT_CODES[run(experiment).status]


def _algorithm(args: list[str]) -> tuple[str, list[str]]:
    """The algorithm, which determines the options, and the other arguments."""
    from asyncrl.algos import ALGORITHMS

    if args and not args[0].startswith("-"):
        if args[0] not in ALGORITHMS:
            raise unknown("algorithm", args[0], ALGORITHMS)
        return args[0], args[1:]
    if "-h" in args or "--help" in args:
        return next(iter(ALGORITHMS)), ["--help"]
    for place, word in enumerate(args):
        if word in ALGORITHMS:
            return word, args[:place] + args[place + 1 :]
    raise UserError(f"an algorithm and an environment are missing (usage: asyncrl train ALGO ENV; algorithms: {', '.join(ALGORITHMS)})")


def _train_description(algo: str) -> str:
    from asyncrl.algos import ALGORITHMS

    others = ", ".join(name for name in ALGORITHMS if name != algo)
    return f"{algo}: {ALGORITHMS[algo].description}.\nOther algorithms: {others} (asyncrl train ALGO --help)."


def experiment_type(algo: str) -> type[Any]:
    """A subclass of Experiment for the command line: `env` is positional, with the algorithm's options and its default mode."""
    from asyncrl.algos import ALGORITHMS
    from asyncrl.experiment.experiment import Experiment

    entry = ALGORITHMS[algo]
    options = Annotated[entry.options_type, tyro.conf.arg(name=algo)]  # type: ignore[name-defined]
    fields = [
        ("algo", Annotated[str, tyro.conf.Suppress], dataclasses.field(default=algo, kw_only=True)),
        ("env", Annotated[Env, tyro.conf.arg(metavar="ENV", help="Environment: an id of gymnasium's.")], dataclasses.field(kw_only=True)),
        ("mode", str, dataclasses.field(default=entry.default_mode)),
        ("explore", Annotated[str, tyro.conf.arg(help=_explore_help(algo))], dataclasses.field(default="")),
        ("options", options, dataclasses.field(default_factory=entry.options_type)),
    ]
    return dataclasses.make_dataclass("Train", fields, bases=(Experiment,), frozen=True)


def _explore_help(algo: str) -> str:
    """The help text of `--explore`, which depends on the algorithm."""
    from asyncrl.algos import ALGORITHMS
    from asyncrl.algos.entries import BlackBox

    entry = ALGORITHMS[algo]
    if isinstance(entry, BlackBox):
        example = "sigma:0.02,0.1 or sigma:0.02..0.1/5+directions:gaussian,orthogonal"
        return f"Exploration per direction, for example {example} (see `asyncrl list`)."
    kinds = getattr(entry, "explorations", None)
    if kinds is None:
        return (
            "Exploration per worker, for example entropy:0.01 or epsilon:0.1,0.01,0.5 (see `asyncrl list`). A worker learns for the "
            "policy that it acts with: temperature is part of it, uniform actions teach it nothing, noise is the environment's."
        )
    if not kinds:
        return f"Exploration per worker; {algo} has none."
    usual = getattr(entry, "default_explore", "")
    without = f"; without it {usual}" if usual else ""
    return f"Exploration per worker, of {', '.join(kinds)}, for example {kinds[0]}:0.1 or {kinds[0]}:0.1,0.3 (see `asyncrl list`){without}."
