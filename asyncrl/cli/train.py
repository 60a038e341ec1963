"""`asyncrl train ALGO ENV`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from asyncrl.cli.arguments import EXIT_CODES, Env
from asyncrl.cli.parsing import option_names, parse
from asyncrl.errors import UserError

if TYPE_CHECKING:
    from asyncrl.heads.options import HeadOptions

ENV_HELP = (
    "Environment: an id of gymnasium's, or with its module in front, module:Id-v0; dm_control/fish-swim-v0 by the extra dmc, ALE/Pong-v5 "
    "by atari; or what makes one, my_env.py:function or package.module:function."
)
KWARGS_HELP = "Arguments of the environment, such as size=5 render=false: literals of Python's, else text."


def train(args: list[str]) -> int:
    """Train, with a live table, and write a run's folder."""
    from asyncrl.envs.ids import check_id
    from asyncrl.experiment.checks import check_experiment, check_named
    from asyncrl.experiment.experiment import Experiment
    from asyncrl.heads.options import NetworkOptions
    from asyncrl.sources import arguments_of

    algo, rest = _algorithm(args)
    head = (_words_after(rest, "--head") or ["auto"])[-1]
    given = parse(experiment_type(algo, head), rest, f"asyncrl train {algo}", _train_description(algo), _refused(algo, head))
    settings = {field.name: getattr(given, field.name) for field in dataclasses.fields(Experiment)}
    experiment = Experiment(**{**settings, "env_kwargs": arguments_of(given.env_kwargs)})
    experiment = dataclasses.replace(experiment, network=_plain(NetworkOptions, experiment.network))
    check_named(experiment.options, [word[2:].partition("=")[0].replace("-", "_") for word in rest if word.startswith("--")])
    check_experiment(experiment)
    check_id(experiment.env)

    from asyncrl.api import run

    return EXIT_CODES[run(experiment).status]


def _algorithm(args: list[str]) -> tuple[str, list[str]]:
    """The algorithm, which determines the options, and the other arguments."""
    from asyncrl.algos import ALGORITHMS, unknown_algorithm

    if args and not args[0].startswith("-"):
        if args[0] not in ALGORITHMS:
            given_later = [word for before, word in itertools.pairwise(args) if word in ALGORITHMS and before != "--name"]
            raise unknown_algorithm(args[0], given_later[0] if given_later else None)
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


def _refused(algo: str, head: str) -> dict[str, str]:
    """The options that mean something elsewhere, and for each the words that refuse it: of other heads, or of no use under `algo`."""
    others = [f"--{negated}{name.replace('_', '-')}" for name in _without_use(algo) for negated in ("", "no-")]
    return {**dict.fromkeys(others, f"cannot be used with {algo}, for which it says nothing"), **_of_other_heads(algo, head)}


def _of_other_heads(algo: str, head: str) -> dict[str, str]:
    """The options that other heads have and `head` has not, and for each the words that refuse it."""
    from asyncrl.algos import head_named
    from asyncrl.heads import HEADS
    from asyncrl.heads.choice import heads_with_options, of_other_heads, options_type_of

    own, having = option_names(options_type_of(head_named(algo, head)))[0], heads_with_options()
    options = dict.fromkeys(option for one in HEADS.values() for option in option_names(one.options_type)[0] if option not in own)
    fields = {option: option.removeprefix("--").replace("-", "_") for option in options}
    return {option: of_other_heads(name if name in having else name.removeprefix("no_"), head) for option, name in fields.items()}


def experiment_type(algo: str, head: str = "auto") -> type[Any]:
    """A subclass of Experiment for the command line: `env` is positional, with the algorithm's options and its default mode.

    `head`: as it is named; its own options are among those of the network.
    """
    from asyncrl.algos import ALGORITHMS, head_named
    from asyncrl.experiment.experiment import Experiment
    from asyncrl.heads.choice import options_type_of
    from asyncrl.heads.options import NetworkOptions

    entry, named = ALGORITHMS[algo], head_named(algo, head)
    of_head = options_type_of(named)
    shown = Annotated[of_head, tyro.conf.arg(name=f"head {named}", prefix_name=False, help=of_head.__doc__)]  # type: ignore[valid-type]
    own = [("head_options", shown, dataclasses.field(default_factory=of_head)), *_left_out(NetworkOptions, _without_use(algo))]
    network = dataclasses.make_dataclass("Network", own, bases=(NetworkOptions,), frozen=True)
    network.__doc__ = NetworkOptions.__doc__
    options = Annotated[entry.options_type, tyro.conf.arg(name=algo)]  # type: ignore[name-defined]
    fields = [
        ("algo", Annotated[str, tyro.conf.Suppress], dataclasses.field(default=algo, kw_only=True)),
        ("env", Annotated[Env, tyro.conf.arg(metavar="ENV", help=ENV_HELP)], dataclasses.field(kw_only=True)),
        ("env_kwargs", Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE", help=KWARGS_HELP)], dataclasses.field(default=())),
        ("mode", str, dataclasses.field(default=entry.default_mode)),
        ("explore", Annotated[str, tyro.conf.arg(help=_explore_help(algo, of_head))], dataclasses.field(default="")),
        ("head", Annotated[str, tyro.conf.arg(help=_head_help())], dataclasses.field(default="auto")),
        *_left_out(Experiment, ("network_function", *_without_use(algo))),
        ("options", options, dataclasses.field(default_factory=entry.options_type)),
        ("network", network, dataclasses.field(default_factory=network)),
    ]
    return dataclasses.make_dataclass("Train", fields, bases=(Experiment,), frozen=True)


def _left_out(kind: type[Any], names: Collection[str]) -> list[tuple[str, Any, Any]]:
    """These fields of a dataclass for one that is made of it, which the command line does not have.

    They keep their types: tyro remembers what it makes of a type and a default, and takes False and 0.0 for one default.
    """
    fields, types = [one for one in dataclasses.fields(kind) if one.name in names], get_type_hints(kind)
    return [(one.name, Annotated[types[one.name], tyro.conf.Suppress], dataclasses.field(default=one.default)) for one in fields]


def _without_use(algo: str) -> tuple[str, ...]:
    """The options that say nothing under an algorithm, or of which it allows one value: names of fields of network and experiment."""
    from asyncrl.algos import ALGORITHMS
    from asyncrl.heads.choice import role_under
    from asyncrl.heads.options import UNUSED

    entry = ALGORITHMS[algo]
    unused = UNUSED[role_under(entry.head, entry.searches, entry.learns_values)]
    return (*unused, "envs_per_worker", "staleness") if entry.searches else unused


def _head_help() -> str:
    """The help text of `--head`, which names the heads that have options of their own."""
    from asyncrl.heads import HEADS

    names = [name for name, head in HEADS.items() if dataclasses.fields(head.options_type)]
    example = f"asyncrl train ALGO --head {names[0]} --help"
    return f"Policy head; auto picks the one that fits the action space. Heads with options of their own: {', '.join(names)} ({example})."


def _explore_help(algo: str, of_head: type[HeadOptions]) -> str:
    """The help text of `--explore`, which depends on the algorithm, and on the head, whose options are an `of_head`."""
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
    usual = of_head().explore(entry.default_explore)
    without = f"; without it {usual}" if usual else ""
    return f"Exploration per worker, of {', '.join(kinds)}, for example {kinds[0]}:0.1 or {kinds[0]}:0.1,0.3 (see `asyncrl list`){without}."
