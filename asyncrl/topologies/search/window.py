"""The window of tickets between updates and between epochs: what is freed, what is kept, what is done over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.tickets import DONE, FREE, STRIDE, Tickets


def use_up(tickets: Tickets, numbers: NDArray[np.int64]) -> None:
    """Free the slots of the tickets numbers [n], which have been used."""
    tickets.records["attempt"][numbers % tickets.slots] = 0
    tickets.use_up(numbers)


def finish_using(tickets: Tickets, used: NDArray[np.int64]) -> None:
    """A learner may have been killed between making a version and freeing the tickets that it is made from, used [n]: free them.

    -1 stands for none. By the learner's successor, or while everybody is at the gate or dead.
    """
    numbers = np.sort(used[used >= 0])
    done = tickets.states[numbers % tickets.slots] == numbers * STRIDE + DONE
    use_up(tickets, numbers[done])  # none at all still moves FIRST on, which comes last


def take_over(tickets: Tickets, version: int, population: int, delay: int | None) -> bool:
    """Make the window one that a mode can begin with which takes whole generations in the order of dispatch.

    Usually it is one, since everything was used up before another mode. But an interruption may come before that, and what a
    resumed run finds is past the change of mode. Then evaluations are done over that have acted on another version than this
    mode's (`delay`; None: any will do), and tickets that were used before their turn. Returns whether there were any.
    To be called while everybody is at the gate or dead.
    """
    first = version * population
    numbers = first + (np.arange(tickets.slots) - first) % tickets.slots
    holders = tickets.states - numbers * STRIDE
    usable = holders == DONE
    if delay is not None:
        generation = numbers // population
        usable &= (generation <= version + delay) & (tickets.records["version"] == np.maximum(generation - delay, 0))
    kept = usable | (holders == FREE)
    if kept.all() and tickets.first == first:
        return False
    tickets.records["attempt"][~kept] = 0
    tickets.states[~kept] = numbers[~kept] * STRIDE + FREE
    tickets.begin_at(first)
    return True
