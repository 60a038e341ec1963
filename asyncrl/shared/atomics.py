"""Atomic operations on int64 numpy arrays that live in shared memory.

numpy's own loads and stores have no memory order, and ``array[i] += 1`` is a separate load and store.
These functions compile (numba, LLVM) to the machine's atomic instructions, so they are correct on ARM as well. A call
from Python takes about 0.2 microseconds; within other compiled functions they are inlined.

The array must be a C-contiguous, writable, one-dimensional int64 array; the index is not checked.
Publishing: write the payload first, then a word by `store_release`. A process that reads the new word by `load_acquire`
also sees the payload. Neither of them orders a store before a later load; `fence` does (Dekker's pattern, used in `parking`).
"""

from __future__ import annotations

from typing import Any

from asyncrl.shared.compiled import intrinsic, njit

_INT64_BYTES = 8


def _word_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element `index` of a one-dimensional C-contiguous array."""
    from numba.core import cgutils

    structure = context.make_array(array_type)(context, builder, array)
    return cgutils.gep(builder, structure.data, index)


def _check(array: Any) -> None:
    from numba import types

    if not (isinstance(array, types.Array) and array.dtype == types.int64 and array.ndim == 1 and array.layout == "C"):
        raise TypeError(f"atomics need a one-dimensional contiguous int64 array, not {array}")


@intrinsic
def _load(typing_context, array, index):  # type: ignore[no-untyped-def]
    from numba import types

    _check(array)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _word_pointer(context, builder, array, arguments[0], arguments[1])
        return builder.load_atomic(pointer, "acquire", _INT64_BYTES)

    return types.int64(array, types.intp), generate


@intrinsic
def _store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    from numba import types

    _check(array)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _word_pointer(context, builder, array, arguments[0], arguments[1])
        builder.store_atomic(arguments[2], pointer, "release", _INT64_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@intrinsic
def _add(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    from numba import types

    _check(array)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _word_pointer(context, builder, array, arguments[0], arguments[1])
        return builder.atomic_rmw("add", pointer, arguments[2], "acq_rel")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def _swap_if(typing_context, array, index, expected, value):  # type: ignore[no-untyped-def]
    from numba import types

    _check(array)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _word_pointer(context, builder, array, arguments[0], arguments[1])
        pair = builder.cmpxchg(pointer, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 0)

    return types.int64(array, types.intp, types.int64, types.int64), generate


@intrinsic
def _fence(typing_context):  # type: ignore[no-untyped-def]
    from numba import types

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@njit(cache=True)
def load_acquire(array, index):  # type: ignore[no-untyped-def]
    """Load word `index` of array[N] with acquire order: what its writer stored before `store_release` is visible afterwards."""
    return _load(array, index)


@njit(cache=True)
def store_release(array, index, value):  # type: ignore[no-untyped-def]
    """Store `value` in word `index` of array[N] with release order: earlier stores of this process become visible first."""
    _store(array, index, value)


@njit(cache=True)
def fetch_add(array, index, value):  # type: ignore[no-untyped-def]
    """Add `value` to word `index` of array[N] atomically; returns the value before."""
    return _add(array, index, value)


@njit(cache=True)
def compare_and_swap(array, index, expected, value):  # type: ignore[no-untyped-def]
    """Store `value` in word `index` of array[N] if it holds `expected`, atomically; returns the value before."""
    return _swap_if(array, index, expected, value)


@njit(cache=True)
def fence():  # type: ignore[no-untyped-def]
    """Full barrier: every store before it is visible before any load after it is made."""
    _fence()

