"""A warning of a search whose evaluations come too late."""

from __future__ import annotations

WASTE_UPDATES, WASTE_SHARE = 30, 0.25
"""After how many updates the warning is given, and above which share of evaluations that were left out."""


class Waste:
    """Tells, once, that much of the work is thrown away because it comes too late."""

    def __init__(self) -> None:
        self._updates = self._evaluations = self._dropped = 0

    def news(self, evaluations: int, figures: dict[str, float]) -> str | None:
        """Take in an update; one line after the first WASTE_UPDATES, if more than WASTE_SHARE of their evaluations were left out."""
        if self._updates >= WASTE_UPDATES:
            return None
        self._updates += 1
        self._evaluations += evaluations
        self._dropped += int(figures.get("late_dropped", 0.0))
        if self._updates < WASTE_UPDATES or self._dropped <= WASTE_SHARE * self._evaluations:
            return None
        return (
            f"{self._dropped:,} of the first {self._evaluations:,} evaluations came too late to be used: the parameters had moved too "
            "far. A smaller learning rate, --late as-is, a larger --max-lag or mode sync wastes less"
        )
