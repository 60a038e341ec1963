"""Many arrays as one argument of a compiled function: where they lie and their shapes, in one array of words.

A call from Python takes some 0.06 microseconds for each array that it is given, and more to look up what types they have: with thirty of
them as long as a small network. A bundle is made once, and costs a call as much as one array.

    words [arrays, 1 + MOST_AXES]   of each array its address and its lengths

Writers:  `bundle`, once. The arrays stay where they are, and may change.
Readers:  compiled functions of this process, for as long as the Bundle exists, which keeps the arrays alive.
Crash:    it is this process's alone, and gone with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.shared.compiled import intrinsic, njit

MOST_AXES = 4

Kind = tuple[DTypeLike, int]
"""(dtype, number of axes) of an array."""


@dataclass(frozen=True)
class Bundle:
    """words [arrays, 1 + MOST_AXES], and the arrays that they describe."""

    words: NDArray[np.int64]
    arrays: tuple[NDArray[Any], ...]


def bundle(arrays: Sequence[NDArray[Any]], kinds: Sequence[Kind]) -> Bundle:
    """A Bundle with words [arrays, 1 + MOST_AXES] of C-contiguous arrays of these kinds.

    Raises TypeError for others, which compiled functions would misread.
    """
    words = np.zeros((len(kinds), 1 + MOST_AXES), np.int64)
    for place, (array, (dtype, axes)) in enumerate(zip(arrays, kinds, strict=True)):
        if array.dtype != dtype or array.ndim != axes or not array.flags.c_contiguous:
            said = f"array {place} of a bundle is {array.dtype} with {array.ndim} axes, contiguous: {array.flags.c_contiguous}"
            raise TypeError(f"{said} (allowed: {np.dtype(dtype)} with {axes}, contiguous)")
        words[place, 0], words[place, 1 : 1 + axes] = array.ctypes.data, array.shape
    return Bundle(words, tuple(arrays))


@intrinsic
def array_at(typing_context, address, shape, dtype):  # type: ignore[no-untyped-def]
    """The C-contiguous array of this shape, a tuple, and this dtype, whose numbers lie at an address. Nobody frees them."""
    from numba import types
    from numba.np.arrayobj import np_cfarray

    pointer, array = types.CPointer(dtype.dtype), types.Array(dtype.dtype, len(shape), "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = builder.inttoptr(arguments[0], context.get_value_type(pointer))
        return np_cfarray(context, builder, array(pointer, shape), (place, arguments[1]))

    return array(types.int64, shape, dtype), generate


@njit(cache=True)
def array1(words, place, dtype):  # type: ignore[no-untyped-def]
    """The array [n] of this dtype at a place of words[arrays, 1 + MOST_AXES]."""
    return array_at(words[place, 0], (words[place, 1],), dtype)


@njit(cache=True)
def array2(words, place, dtype):  # type: ignore[no-untyped-def]
    """The array [n, m] of this dtype at a place of words[arrays, 1 + MOST_AXES]."""
    return array_at(words[place, 0], (words[place, 1], words[place, 2]), dtype)


@njit(cache=True)
def array3(words, place, dtype):  # type: ignore[no-untyped-def]
    """The array [n, m, k] of this dtype at a place of words[arrays, 1 + MOST_AXES]."""
    return array_at(words[place, 0], (words[place, 1], words[place, 2], words[place, 3]), dtype)


@njit(cache=True)
def array4(words, place, dtype):  # type: ignore[no-untyped-def]
    """The array [n, m, k, l] of this dtype at a place of words[arrays, 1 + MOST_AXES]."""
    shape = (words[place, 1], words[place, 2], words[place, 3], words[place, 4])
    return array_at(words[place, 0], shape, dtype)
