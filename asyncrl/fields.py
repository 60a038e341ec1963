"""Which values a field of an experiment may have by its type: from Python anything can be given. `validate` knows the ranges of numbers.

Only what an annotation says plainly is checked; unions (a gymnasium id or a function) are left to whoever reads them.
"""

from __future__ import annotations

import collections.abc
import typing
from typing import Any, Literal

from asyncrl.errors import UserError, unknown


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
