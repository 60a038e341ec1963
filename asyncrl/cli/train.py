"""`asyncrl train ALGO ENV`."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any

import tyro

from asyncrl.cli.arguments import EXIT_CODES, Env
from asyncrl.cli.parsing import parse
from asyncrl.errors import UserError, unknown

ENV_HELP = "Environment: an id of gymnasium's, or with its module in front, module:Id-v0; dm_control/fish-swim-v0 by the extra dmc."
HEAD_HELP = (
    "Policy head; auto picks the one that fits the action space. itt, iot and explicit have options of their own: "
    "asyncrl train ALGO --head itt --help."
)


def train(args: list[str]) -> int:
    """Train, with a live table, and write a run's folder."""
    from asyncrl.experiment.checks import check_experiment, check_named
    from asyncrl.experiment.experiment import Experiment
    from asyncrl.heads.options import NetworkOptions

    algo, rest = _algorithm(args)
    implicit = _names_implicit_head(rest)
    if not implicit:
        _refuse_implicit_options(rest)
    given = parse(experiment_type(algo, implicit), rest, f"asyncrl train {algo}", _train_description(algo))
    experiment = Experiment(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Experiment)})
    experiment = dataclasses.replace(experiment, network=_plain(NetworkOptions, experiment.network))
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


def _plain(kind: type[Any], given: Any) -> Any:
    """The same settings as a `kind`, which is known where it is sent to: the command line has subclasses of its own."""
    return kind(**{field.name: getattr(given, field.name) for field in dataclasses.fields(kind)})


def _words_after(args: list[str], option: str) -> list[str]:
    """What is given for an option, wherever it stands."""
    after = [following for word, following in itertools.pairwise(args) if word == option]
    return after + [word.partition("=")[2] for word in args if word.startswith(f"{option}=")]


def _names_implicit_head(args: list[str]) -> bool:
    """Whether a head is named that has options of its own, which other heads' help leaves out."""
    from asyncrl.heads.implicit.options import IMPLICIT_HEADS

    return any(word in IMPLICIT_HEADS for word in _words_after(args, "--head"))


def _refuse_implicit_options(args: list[str]) -> None:
    """Raise UserError for an option of implicit heads where none of them is named."""
    from asyncrl.heads.implicit.options import IMPLICIT_HEADS, ImplicitOptions

    own = {field.name for field in dataclasses.fields(ImplicitOptions)}
    for word in args:
        if word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in own:
            raise UserError(f"option {word.partition('=')[0]!r} needs a head that has it (--head {', '.join(IMPLICIT_HEADS)})")


def experiment_type(algo: str, implicit: bool = False) -> type[Any]:
    """A subclass of Experiment for the command line: `env` is positional, with the algorithm's options and its default mode.

    `implicit`: with the options of the heads itt, iot and explicit.
    """
    from asyncrl.algos import ALGORITHMS
    from asyncrl.experiment.experiment import Experiment
    from asyncrl.heads.implicit.options import ImplicitOptions
    from asyncrl.heads.options import NetworkOptions

    entry = ALGORITHMS[algo]
    shown = ImplicitOptions if implicit else Annotated[ImplicitOptions, tyro.conf.Suppress]
    network = dataclasses.make_dataclass(
        "Network", [("implicit", shown, dataclasses.field(default=ImplicitOptions()))], bases=(NetworkOptions,), frozen=True
    )
    network.__doc__ = NetworkOptions.__doc__
    options = Annotated[entry.options_type, tyro.conf.arg(name=algo)]  # type: ignore[name-defined]
    fields = [
        ("algo", Annotated[str, tyro.conf.Suppress], dataclasses.field(default=algo, kw_only=True)),
        ("env", Annotated[Env, tyro.conf.arg(metavar="ENV", help=ENV_HELP)], dataclasses.field(kw_only=True)),
        ("mode", str, dataclasses.field(default=entry.default_mode)),
        ("explore", Annotated[str, tyro.conf.arg(help=_explore_help(algo))], dataclasses.field(default="")),
        ("head", Annotated[str, tyro.conf.arg(help=HEAD_HELP)], dataclasses.field(default="auto")),
        ("options", options, dataclasses.field(default_factory=entry.options_type)),
        ("network", network, dataclasses.field(default_factory=network)),
    ]
    return dataclasses.make_dataclass("Train", fields, bases=(Experiment,), frozen=True)


def _explore_help(algo: str) -> str:
    """The help text of `--explore`, which depends on the algorithm."""
    from asyncrl.algos import ALGORITHMS

    entry = ALGORITHMS[algo]
    if entry.searches:
        example = "sigma:0.02,0.1 or sigma:0.02..0.1/5+directions:gaussian,orthogonal"
        return f"Exploration per direction, for example {example} (see `asyncrl list`)."
    kinds = entry.explorations
    if kinds is None:
        return (
            "Exploration per worker, for example entropy:0.01 or epsilon:0.1,0.01,0.5 (see `asyncrl list`). A worker learns for the "
            "policy that it acts with: temperature is part of it, uniform actions teach it nothing, noise is the environment's."
        )
    if not kinds:
        return f"Exploration per worker; {algo} has none."
    without = f"; without it {entry.default_explore}" if entry.default_explore else ""
    return f"Exploration per worker, of {', '.join(kinds)}, for example {kinds[0]}:0.1 or {kinds[0]}:0.1,0.3 (see `asyncrl list`){without}."
