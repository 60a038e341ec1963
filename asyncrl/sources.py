"""How an environment is named and described: by an id, by a function in a file or a module, with arguments and wrappers.

    CartPole-v1, module:Id-v0          ids that gymnasium knows, the second after its module has been imported
    ./my_env.py:make                   a function (or class) in a file, by which the environment is made
    package.module:make                one in a module that can be imported
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from asyncrl.errors import UserError, nearest

LITERALS = {"true": True, "false": False, "none": None}
"""How these may be written on a command line besides."""


@dataclass(frozen=True)
class Described:
    """An environment by its name or function, the arguments of that, and wrappers by their names, the innermost first."""

    source: str | Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()


def described(source: Any, arguments: dict[str, Any], wrappers: Iterable[str]) -> Any:
    """The source itself, or with arguments or wrappers a `Described`."""
    wrappers = tuple(wrappers)
    return Described(source, dict(arguments), wrappers) if arguments or wrappers else source


def name_of(source: Any) -> str:
    """What an environment is called in messages and the names of folders: its id, or its function with the file's or module's name."""
    if isinstance(source, Described):
        return name_of(source.source)
    if isinstance(source, str):
        place, colon, name = source.rpartition(":")
        return f"{Path(place).stem}{colon}{name}" if place.endswith(".py") else source
    return getattr(source, "__qualname__", type(source).__name__)


def names_code(source: Any) -> bool:
    """Whether making an environment of this name imports a file or a module that the name says."""
    return isinstance(source, str) and ":" in source


def absolute(source: Any) -> Any:
    """The same name with its file's whole path, so that it means the same in every folder."""
    place, colon, name = source.rpartition(":") if isinstance(source, str) else ("", "", "")
    return f"{Path(place).expanduser().absolute()}{colon}{name}" if place.endswith(".py") else source


def function_named(name: str, what: str = "environment") -> Callable[..., Any] | None:
    """The function of a name ``file.py:function`` or ``module:function``; None for an id.

    Raises UserError where file, module or function are not there; an exception of the file's own is raised as it is.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon:
        return None
    in_file = place.endswith(".py")
    if not in_file and not all(part.isidentifier() for part in place.split(".")):
        return None
    if not in_file and not attribute.isidentifier():
        return None  # such as module:Id-v0
    module = _of_file(Path(place), name, what) if in_file else _imported(place, name, what)
    found = getattr(module, attribute, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    if not in_file and found is None and what == "environment":
        return None  # an id without a version
    known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
    raise UserError(f"{what} {name!r}: {place} has no function {attribute!r}{nearest(attribute, known)}")


def wrapper_named(name: str) -> Callable[..., Any]:
    """The wrapper of a name ``file.py:class`` or ``module:class``. Raises UserError for any other."""
    found = function_named(name, "wrapper")
    if found is None:
        allowed = "module:class or file.py:class, such as gymnasium.wrappers:FlattenObservation"
        raise UserError(f"wrapper {name!r} cannot be used (allowed: {allowed})")
    return found


def _imported(place: str, name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as problem:
        if problem.name is not None and (place == problem.name or place.startswith(problem.name + ".")):
            raise UserError(f"{what} {name!r}: there is no module named {problem.name!r}") from problem
        raise


def _of_file(path: Path, name: str, what: str) -> ModuleType:
    """The module of a file, loaded once in a process. Its folder can be imported from, as if the file were run."""
    path = path.expanduser().absolute()
    loaded = next((module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == str(path)), None)
    if loaded is not None:
        return loaded
    known = f"asyncrl_file_{path.stem}_{zlib.crc32(str(path).encode()):x}"  # the same in every process
    if not path.is_file():
        raise UserError(f"{what} {name!r}: there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


def arguments_of(words: Iterable[str], option: str = "env_kwargs") -> dict[str, Any]:
    """Arguments of words such as ``size=5``: values are literals of Python's, or true, false and none, or else text.

    `option`: what they are given for, in messages.

    Raises UserError for a word that is not name=value.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"{option} = {word!r} cannot be read (allowed: name=value, such as size=5 render=false)")
        if name in found:
            raise UserError(f"{option} has {name!r} twice")
        found[name] = _literal(value)
    return found


def _literal(text: str) -> Any:
    if text.lower() in LITERALS:
        return LITERALS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_arguments(function: Callable[..., Any], arguments: dict[str, Any], name: str, more: frozenset[str] | None = None) -> None:
    """Raise UserError for arguments that a function does not take, and for those that it needs and is not given.

    `more`: what others take beside it, who may give it some too: then it needs nothing.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return
    takes = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for given in arguments:
            if given not in takes and given not in (more or ()):
                raise UserError(
                    f"environment {name!r} does not take {given!r}{nearest(given, takes)} (allowed: {', '.join(takes) or 'no argument'})"
                )
    needed = [one.name for one in parameters if one.name in takes and one.default is one.empty and one.name not in arguments]
    if needed and more is None:
        given = f"--env-kwargs {needed[0]}=..., from Python env_kwargs={{{needed[0]!r}: ...}}"
        raise UserError(f"environment {name!r} needs {needed[0]!r}{_defined(function)}: give it with {given}")


def _defined(function: Callable[..., Any]) -> str:
    """The file and line where a function, or a class's `__init__`, is written, in parentheses; "" where that is not known."""
    code = getattr(function, "__code__", None) or getattr(getattr(function, "__init__", None), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
