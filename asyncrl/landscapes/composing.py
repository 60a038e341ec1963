"""What is seen along an episode as one picture: of energies, or of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import Replayed
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.proposing.items import Items
from asyncrl.heads.roles import Role
from asyncrl.landscapes import drawing, item_maps, value_lines, value_maps
from asyncrl.landscapes.cuts import Cut
from asyncrl.landscapes.items import items_along, items_of, places_of
from asyncrl.landscapes.looking import Look
from asyncrl.landscapes.states import states_along
from asyncrl.landscapes.values import means, values_along
from asyncrl.learners.off_policy import OffPolicyLearner


class Drawn(NamedTuple):
    """A picture, and what is told with it."""

    picture: bytes
    """A PNG file."""
    size: tuple[int, int]
    """Its width and height in pixels."""
    told: dict[str, Any]
    """What the result says besides."""


def draw(look: Look, states: int, axes: Sequence[int] = (), points: int | None = None) -> Drawn:
    """`states` states evenly along one episode; axes [1 or 2], `points`: as `Cut` takes them, which items have no use for.

    Raises UserError where there are neither energies nor values, or for axes that the action does not have.
    """
    if look.learner is None:
        return _energies(look, states, Cut(look.task.spec, axes, points))
    items = items_of(look)
    if items is None:
        return _values(look, look.learner, states, Cut(look.task.spec, axes, points))
    return _items(look, look.learner, states, items)


def _energies(look: Look, states: int, cut: Cut) -> Drawn:
    _check_head(look)
    energy, found = look.player.energy, states_along(look, states, cut)
    title = f"{_named(look)}, head {look.player.head.name}: {energy}, of which the least is chosen"
    told = {"energy": energy, "axes": list(cut.axes), "states": found}
    return Drawn(*drawing.drawn(found, look.task.spec, cut.axes, energy, title), told)


def _values(look: Look, learner: OffPolicyLearner, states: int, cut: Cut) -> Drawn:
    task, found = look.task, values_along(look, learner, states, cut)
    held = "" if cut.whole else "; other components are those of the chosen action"
    words = f"values of actions; the gap is that of the chosen action to the largest Q{held}"
    title = f"{_named(look)}, {task.algo} with head {look.player.head.name}\n{words}"
    draw = value_lines.drawn if len(cut.axes) == 1 else value_maps.drawn
    told = {"algo": task.algo, "axes": list(cut.axes), "whole": cut.whole, "states": found, "means": means(found)}
    return Drawn(*draw(found, task.spec, title), told)


def _items(look: Look, learner: OffPolicyLearner, states: int, items: Items) -> Drawn:
    task, found = look.task, items_along(look, learner, items, states)
    places, share = places_of(items, found[0].items)
    words = f"values of items; the first two principal components of their features have {share:.0%} of the variance"
    title = f"{_named(look)}, {task.algo} with head {look.player.head.name}\n{words}"
    told = {"algo": task.algo, "items": len(items.features), "states": found, "means": means(found)}
    return Drawn(*item_maps.drawn(found, places, title), told)


def _named(look: Look) -> str:
    return f"{look.folder.resolve().name} after {look.snapshot.steps:,} steps"


def _check_head(look: Look) -> None:
    """Raise UserError where the head has no energies in this family of algorithms; names those that have, and who has values."""
    if look.player.energy:
        return
    having = [name for name, head in HEADS.items() if head.energy]
    searched = [name for name in having if Role.SEARCH in HEADS[name].roles and not HEADS[name].decides]
    replayed = [name for name, entry in ALGORITHMS.items() if isinstance(entry, Replayed)]
    said = f"head {look.task.head!r} of {look.task.algo} has no energies of actions to draw"
    heads = f"heads that have: {', '.join(having)}; under black-box search {', '.join(searched)}"
    raise UserError(f"{said} ({heads}; of {', '.join(replayed)} values of items and of Box actions are drawn)")
