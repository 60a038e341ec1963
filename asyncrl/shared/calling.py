"""Calls of one compiled function by another that does not know it: by its address.

What plays a round calls a head's kernel and an environment's step, whichever they are. If these were compiled into it, there would be
one more to compile for every pair of them.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

STEPPED = types.Tuple((types.float64, types.boolean))
"""(reward, whether the episode has ended)."""
PAIR = types.UniTuple(types.float64, 2)
"""Two numbers."""


def address_of(function: Any, arguments: tuple[Any, ...], returned: Any) -> int:
    """The address of a compiled function for arguments of the types of these; `returned`: the type of its result.

    It is compiled, or loaded, if it is not yet. The address is good for as long as the function exists. Raises TypeError for a result
    of another type, which the caller would misread.
    """
    compiled, found = _compiled(function, arguments)
    if found != returned:
        raise TypeError(f"{function.__name__} returns {found} (allowed: {returned})")
    address: int = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return address


def returned_by(function: Any, arguments: tuple[Any, ...]) -> Any:
    """The type of what a compiled function returns for arguments of the types of these. It is compiled, or loaded, if it is not yet."""
    return _compiled(function, arguments)[1]


def _compiled(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """(what numba has made of it for these types, the type of its result)"""
    signature = tuple(numba.typeof(one) for one in arguments)
    function.compile(signature)
    compiled = function.overloads[signature]
    return compiled, types.unliteral(compiled.signature.return_type)  # a constant has a type of its own, in memory it is the same


def _caller(returned: Any) -> Any:
    """What calls the function at an address with a tuple of arguments, of the types for which the address was asked."""

    @intrinsic
    def call(typing_context, address, arguments):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
            kinds, convention = tuple(arguments.types), context.call_conv
            values = [builder.extract_value(given[1], place) for place in range(len(kinds))]
            function = builder.inttoptr(given[0], convention.get_function_type(returned, kinds).as_pointer())
            status, result = convention.call_function(builder, function, returned, kinds, values)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return result

        return returned(types.int64, arguments), generate

    return call


says_whether = _caller(types.boolean)
"""(address, arguments) -> bool, in a compiled function."""
says_number = _caller(types.int64)
"""(address, arguments) -> int64."""
steps = _caller(STEPPED)
"""(address, arguments) -> (reward, whether the episode has ended)."""
says_pair = _caller(PAIR)
"""(address, arguments) -> two float64."""
