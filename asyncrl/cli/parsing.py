"""Parsing of a command's arguments: tyro makes options from a dataclass, and an error becomes one line.

Fields of nested dataclasses become options without a prefix. Dashes and underscores are both accepted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from asyncrl.errors import UserError, nearest

Arguments = TypeVar("Arguments")


def parse(
    kind: type[Arguments], args: Sequence[str], prog: str, description: str = "", elsewhere: Mapping[str, str] | None = None
) -> Arguments:
    """Parse a command's arguments into the dataclass `kind`. `--help` prints the options and raises SystemExit(0).

    `elsewhere`: options such as ``--latent`` that others have, and for each the words that refuse it here.

    Raises:
        UserError: an unknown option, an invalid value, a missing or an unexpected argument.
    """
    _refuse_unknown_options(kind, args, prog, elsewhere or {})
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            parsed, left = tyro.cli(
                kind,
                prog=prog,
                description=description or None,
                args=list(args),
                config=(tyro.conf.OmitArgPrefixes,),
                registry=_registry(),
                return_unknown_args=True,
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise UserError(f"{without_box(captured.getvalue())} (see {prog} --help)") from None
    if left:
        raise UserError(f"unexpected argument {left[0]!r} (see {prog} --help)")
    return parsed


def option_names(kind: type) -> tuple[list[str], list[str]]:
    """The options such as ``--t-max`` and the names of positional arguments of a dataclass, including nested ones."""
    options, positional = ["--help"], []
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, marks = hints[field.name], getattr(hints[field.name], "__metadata__", ())
        plain = hint.__origin__ if marks else hint
        name = field.name.replace("_", "-")
        if tyro.conf.Positional in marks:
            positional.append(name)
        elif tyro.conf.Suppress in marks:
            continue
        elif dataclasses.is_dataclass(plain):
            options += option_names(typing.cast(type, plain))[0][1:]
        else:
            options += [f"--{name}", f"--no-{name}"] if plain is bool else [f"--{name}"]
    return options, positional


def _refuse_unknown_options(kind: type, args: Sequence[str], prog: str, elsewhere: Mapping[str, str]) -> None:
    """Raise UserError for an unknown option, before tyro parses: it would report a missing argument for a misspelt option."""
    options, positional = option_names(kind)
    for token in args:
        given = token.partition("=")[0]
        name = "--" + given.lstrip("-").replace("_", "-")
        if not re.match(r"--?[A-Za-z]", given) or given.lower() in ("-h", "-inf", "-nan") or (given.startswith("--") and name in options):
            continue
        if name[2:] in positional:
            usage = " ".join([prog, *(word.upper() for word in positional)])
            raise UserError(f"unknown option {given!r}: {name[2:]} is given by its place (usage: {usage} [OPTIONS])")
        if name in elsewhere:
            raise UserError(f"option {given!r} {elsewhere[name]}")
        raise UserError(f"unknown option {given!r}{nearest(name, [*options, *elsewhere])} (see {prog} --help)")


def without_box(printed: str) -> str:
    """The message in a box that tyro has printed, on one line and without further explanations.

    The message is the first section below the title. The title is in the upper border, or a section of its own if the
    terminal's encoding has no characters for borders.
    """
    sections: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines():
        text = line.strip(" │")
        if text and set(text) <= {"─", "-"}:
            sections.append([])
        elif text and text[0] not in "╭╰":
            sections[-1] += text.split()
    message = sections[0] if len(sections) == 1 or "╭" in printed else sections[1]
    return " ".join(message).removeprefix("Error parsing ").removesuffix(" (required)") or "the arguments cannot be understood"


def whole_number(text: str) -> int:
    """The integer written as ``"500000"``, ``"500_000"`` or ``"5e5"``. Raises ValueError for anything else."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError, OverflowError):
        if (value := float(text)) == int(value):
            return int(value)
    raise ValueError(f"{text!r} is not a whole number (such as 500000, 500_000 or 5e5)")


def number(text: str) -> float:
    """The number that `text` stands for. Raises ValueError with a readable text otherwise."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"unknown value {text!r}{nearest(text, allowed)} (allowed: {', '.join(allowed)})")
        return text

    return choose


@cache
def _registry() -> ConstructorRegistry:
    """The registry that parses numbers, choices, lists and "none" as this command line spells them."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_rule)
    return registry


_SINGLE: dict[Any, tuple[Callable[[str], Any], str]] = {int: (whole_number, "INT"), float: (number, "FLOAT"), str: (str, "TEXT")}


def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    inner = typing.get_args(info.type)
    if info.type in _SINGLE:
        return _single(*_SINGLE[info.type])
    if info.type_origin is Literal:
        return _single(_one_of(inner), "{" + ",".join(inner) + "}")
    if info.type_origin in (Union, types.UnionType) and inner[0] is str and typing.get_origin(inner[1]) is tuple:  # in Python also numbers
        return _single(*_SINGLE[str])
    if info.type_origin in (Union, types.UnionType) and len(inner) == 2 and inner[1] is type(None) and inner[0] in _SINGLE:
        convert, metavar = _SINGLE[inner[0]]
        return _single(lambda text: None if text.lower() == "none" else convert(text), metavar)
    if info.type_origin is tuple and len(inner) == 2 and inner[1] is Ellipsis and inner[0] in _SINGLE:
        return _several(*_SINGLE[inner[0]])
    return None


def _single(convert: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda given: convert(given[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


def _several(convert: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """A list, with blanks or commas between: ``--hidden 64 64`` or ``--hidden 64,64``."""
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{metavar} ...",
        instance_from_str=lambda given: tuple(convert(word) for words in given for word in words.split(",") if word),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(item) for item in value],
    )


def complain(text: str) -> None:
    """Print an error message as one line on stderr."""
    print(f"asyncrl: {text}", file=sys.stderr)
