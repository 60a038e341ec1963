"""Arithmetic as numpy's scalars do it, to the last bit."""

from __future__ import annotations

import math

from numba import types
from numba.extending import intrinsic

from asyncrl.envs.compiled.simulator import simulating

TWO = 2.0
"""An exponent. It must come to compiled code from outside: of a constant the compiler makes x * x, which now and then is another number
than the C library's pow(x, 2), which is what numpy's scalars take."""


@simulating
def power(x, exponent):  # type: ignore[no-untyped-def]
    """x ** exponent of two numbers of one type, by the C library."""
    return math.pow(x, exponent)


@simulating
def clipped(x, low, high):  # type: ignore[no-untyped-def]
    """x within bounds, as numpy's clip has it: what is not a number stays so."""
    if x < low:
        return low
    return high if x > high else x


@intrinsic
def product_and_sum(typing_context, x, y, z):  # type: ignore[no-untyped-def]
    """x * y + z of float64, rounded once."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate
