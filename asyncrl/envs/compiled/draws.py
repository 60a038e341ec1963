"""Random numbers of an environment's own generator in compiled code: numpy's C function is called on the generator's own state.

So a reset that is compiled draws what `reset` would have drawn, and leaves the generator where that would have left it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from asyncrl.shared.compiled import njit

NEXT, STATE, DRAWS = range(3)
"""Positions in `draws`: addresses of the generator's next_double and of its state."""


def addresses(generator: Any) -> tuple[int, int]:
    """What `draws` holds for a generator of numpy's, good for as long as the generator exists."""
    interface = generator.bit_generator.ctypes
    return int(ctypes.cast(interface.next_double, ctypes.c_void_p).value or 0), int(interface.state_address)


@intrinsic
def _next_double(typing_context, function, state):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, given):  # type: ignore[no-untyped-def]
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.DoubleType(), [pointer])
        return builder.call(builder.inttoptr(given[0], kind.as_pointer()), [builder.inttoptr(given[1], pointer)])

    return types.float64(types.int64, types.int64), generate


@njit(cache=True, nogil=True, error_model="numpy")
def uniform(draws, low, high):  # type: ignore[no-untyped-def]
    """A number from low to high, as the `uniform` of the generator of draws[DRAWS] gives it."""
    return low + (high - low) * _next_double(draws[NEXT], draws[STATE])  # type: ignore[call-arg]
