"""Compiled functions that turn streams of steps into n-step transitions.

A stream is the sequence of steps of one environment. The newest n - 1 steps of each stream wait until their windows are
full or their episode ends: a window never extends past the end of an episode. If the episode terminated, its windows do not
bootstrap (discount 0); if it was truncated, they bootstrap from the final observation.
"""

from __future__ import annotations

from asyncrl.shared.atomics import fence, store_release
from asyncrl.shared.compiled import njit
from asyncrl.shared.sum_tree import set_leaf

WRITTEN, BEGUN, FIRST, STEPS, MARK, N_STEPS, WORDS = range(7)
"""Indices of a replay's words: how many transitions were written, and begun, so far; the oldest number there is; how many steps were
added so far; the checksum of the record's fields; n. The last is the count of words."""
GAMMA, LARGEST, NUMBERS = range(3)
"""Indices of a replay's numbers: the discount per step; the largest priority so far. The last is their count."""
NEXT_FIRST, NEXT_STOP, REWARD, DISCOUNT, PLACES = range(5)
"""Indices of a record's places: first and end byte of next_observation; the elements of reward and discount in the record as float32."""


@njit(cache=True, nogil=True, error_model="numpy")
def _emit(  # type: ignore[no-untyped-def]
    rows, floats, words, numbers, tree, places, undo, base, row, successor, sum_of_rewards, discount
):
    """Write one transition into the next slot. After a crash in between, `words` do not count it.

    undo[U, W], if U > 0, gets the previous content of the slots of transitions base[0], base[0] + 1, and so on.
    """
    slot = words[WRITTEN] % rows.shape[0]
    if undo.shape[0] > 0:
        back = words[WRITTEN] - base[0]
        for j in range(rows.shape[1]):
            undo[back, j] = rows[slot, j]
    store_release(words, BEGUN, words[WRITTEN] + 1)
    fence()  # BEGUN and the saved content must be visible before the first byte is overwritten
    if tree.size > 0:
        set_leaf(tree, slot, 0.0)
    for j in range(rows.shape[1]):
        rows[slot, j] = row[j]
    for j in range(places[NEXT_FIRST], places[NEXT_STOP]):
        rows[slot, j] = successor[j]
    floats[slot, places[REWARD]] = sum_of_rewards
    floats[slot, places[DISCOUNT]] = discount
    words[WRITTEN] += 1
    if tree.size > 0:
        set_leaf(tree, slot, numbers[LARGEST])


@njit(cache=True, nogil=True, error_model="numpy")
def _flush(rows, floats, words, numbers, tree, places, undo, base, waiting, marks, sums, terminated):  # type: ignore[no-untyped-def]
    """Emit the transitions of all waiting steps of one stream, with the newest step's successor."""
    first, count = marks[0], marks[1]
    n = waiting.shape[0]
    newest = (first + count - 1) % n
    for k in range(count):
        at = (first + k) % n
        discount = 0.0 if terminated else numbers[GAMMA] ** (count - k)
        _emit(rows, floats, words, numbers, tree, places, undo, base, waiting[at], waiting[newest], sums[at], discount)
    marks[0], marks[1] = 0, 0


@njit(cache=True, nogil=True, error_model="numpy")
def feed(  # type: ignore[no-untyped-def]
    rows, floats, words, numbers, tree, places, undo, base, waiting, marks, sums, steps, reward, ended, stream
):
    """Add steps[T, E, W], as record bytes, with reward[T, E] and ended[T, E], to the streams `stream` to `stream + E - 1`.

    waiting[S, n, W], marks[S, 2] = (oldest, count) and sums[S, n]: the waiting steps of S streams and their sums of rewards so
    far. rows[capacity, W] (and floats, the same as float32 [capacity, W / 4]), words[WORDS], numbers[NUMBERS], tree[2 P] or [0],
    places[PLACES], undo[U, W] and base[2]: the replay.
    """
    n = waiting.shape[1]
    gamma = numbers[GAMMA]
    for t in range(steps.shape[0]):
        for e in range(steps.shape[1]):
            s = stream + e
            newest = (marks[s, 0] + marks[s, 1]) % n
            for j in range(waiting.shape[2]):
                waiting[s, newest, j] = steps[t, e, j]
            sums[s, newest] = 0.0
            marks[s, 1] += 1
            count = marks[s, 1]
            for k in range(count):
                sums[s, (marks[s, 0] + k) % n] += gamma ** (count - 1 - k) * reward[t, e]
            words[STEPS] += 1
            if ended[t, e] != 0:
                _flush(rows, floats, words, numbers, tree, places, undo, base, waiting[s], marks[s], sums[s], ended[t, e] == 1)
            elif count == n:
                oldest = marks[s, 0]
                row, successor, discount = waiting[s, oldest], waiting[s, newest], gamma**n
                _emit(rows, floats, words, numbers, tree, places, undo, base, row, successor, sums[s, oldest], discount)
                marks[s, 0] = (oldest + 1) % n
                marks[s, 1] = n - 1


@njit(cache=True, nogil=True, error_model="numpy")
def cut(rows, floats, words, numbers, tree, places, undo, base, waiting, marks, sums, stream, count):  # type: ignore[no-untyped-def]
    """End the windows of the streams `stream` to `stream + count - 1` as by a truncation.

    The arrays, such as waiting[S, n, W], marks[S, 2] and sums[S, n], are those of `feed`.
    """
    for s in range(stream, stream + count):
        if marks[s, 1] > 0:
            _flush(rows, floats, words, numbers, tree, places, undo, base, waiting[s], marks[s], sums[s], False)
