"""Names, colours and words of values in pictures, and the numbers beside proposals."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.landscapes.values import Judged

FIRST, COLOURS, DASHES = "#000000", ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#b8a800"), ("-", "--", ":")
"""Of Q, and of the others in their order: what follows the last colour begins anew in another dash."""
SEVERAL = "#555555"
"""Of a word that stands for several proposals."""
LETTERS = {"q": "Q", "psi": "\\Psi"}


def style_of(number: int) -> dict[str, Any]:
    """How the line of a function is drawn, and what belongs to the actor that climbs it; both counted from 0."""
    if number == 0:
        return {"color": FIRST, "linestyle": "-"}
    turn, place = divmod(number - 1, len(COLOURS))
    return {"color": COLOURS[place], "linestyle": DASHES[turn % len(DASHES)]}


def symbol(name: str) -> str:
    """A function's name as it is printed: `psi_1` is a Psi with an index."""
    letter, _, index = name.partition("_")
    return f"${LETTERS.get(letter, letter)}{f'_{{{index}}}' if index else ''}$"


def optima(count: int) -> str:
    """So many of them, in words."""
    return f"{count} {'optimum' if count == 1 else 'optima'}"


def counts(found: Mapping[str, int]) -> str:
    """Local optima by function, of many the first two and the last."""
    words = [f"{symbol(name)} {count}" for name, count in found.items()]
    return f"local optima: {', '.join(words) if len(words) <= 4 else f'{words[0]}, {words[1]} .. {words[-1]}'}"


def heading(state: Judged) -> str:
    """What is said of a state above its panel."""
    alone = len(state.proposals) == 1
    chosen = "chosen" if alone or state.picked is None else f"proposal {state.picked} is chosen"
    first = "" if alone else f", of proposal 0 {state.first_gap:.2g}"
    return f"step {state.step}: {chosen}, Q = {state.chosen_value:.4g}\ngap {state.gap:.2g}{first}"


def numbers(places: NDArray[np.float64], room: NDArray[np.float64]) -> list[tuple[int, str]]:
    """Where the numbers of proposals at places [K, axes] are written, and which: what lies near together has one word, such as 0,2-5.

    `room`: what a letter needs on each axis; words are written along the first. A word stands at the first of its proposals, whose
    number comes with it.
    """
    lengths = np.full(places.shape[1], 2)
    groups: list[list[int]] = []
    for number, place in enumerate(places):
        for group in groups:
            lengths[0] = len(_counted(group)) + 1
            if (np.abs(places[group[0]] - place) <= lengths * room).all():
                group.append(number)
                break
        else:
            groups.append([number])
    return [(group[0], _counted(group)) for group in groups]


def _counted(group: list[int]) -> str:
    """Numbers in rising order as words: 0,2-5."""
    words = []
    for _, run in groupby(enumerate(group), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        words.append(f"{found[0]}-{found[-1]}" if len(found) > 2 else ",".join(map(str, found)))
    return ",".join(words)
