"""What a picture shows, in words for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncrl.landscapes.states import State
from asyncrl.landscapes.values import Judged


def told(result: Mapping[str, Any]) -> str:
    """What `landscape` has drawn: a line, and of values one more for each state and one for their means."""
    if "means" in result:
        alone = len(result["states"][0].proposals) == 1
        return "\n".join([_drawn(result), *map(_state, result["states"]), _means(result["means"], alone)])
    found: list[State] = result["states"]
    steps = ", ".join(str(state.step) for state in found)
    return f"{result['file']}: {result['energy']} of head {result['head']} at steps {steps} of an episode"


def _drawn(result: Mapping[str, Any]) -> str:
    found: list[Judged] = result["states"]
    functions, states = ", ".join(found[0].surfaces), "1 state" if len(found) == 1 else f"{len(found)} states"
    points = found[0].surfaces["q"].size
    if "items" in result:
        many = f"{points:,} of {result['items']:,} items" if points < result["items"] else f"{points:,} items"
        return f"{result['file']}: {functions} of {result['algo']}, head {result['head']}, of {many} at {states}"
    where = "" if result["whole"] else f" on a cut through the chosen action, components {','.join(map(str, result['axes']))},"
    return f"{result['file']}: {functions} of {result['algo']}, head {result['head']},{where} at {points:,} points of {states}"


def _state(state: Judged) -> str:
    alone = len(state.proposals) == 1
    picked = "" if alone or state.picked is None else f" proposal {state.picked}"
    gaps = _gaps(state.gap, None if alone else state.first_gap)
    return f"step {state.step}: chosen{picked}, q {state.chosen_value:.4g}; {gaps}{_optima(state.optima)}"


def _means(means: Mapping[str, Any], alone: bool) -> str:
    words = f"mean: {_gaps(means['gap'], None if alone else means['first_gap'])}{_optima(means['optima'])}"
    return words if alone else f"{words}; chosen above proposal 0 in {means['better_than_first']:.0%} of states"


def _gaps(gap: float, first: float | None) -> str:
    """`first`: that of the first proposal, where there are more."""
    return f"gap to the largest q {gap:.3g}" + ("" if first is None else f", of proposal 0 {first:.3g}")


def _optima(counts: Mapping[str, float]) -> str:
    words = ", ".join(f"{name} {count:.3g}" for name, count in counts.items())
    return f"; local optima {words}" if counts else ""
