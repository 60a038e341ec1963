"""How many tickets a site takes: enough that it need not wait for more, and none that others would have done sooner."""

from __future__ import annotations

import math
import time

from asyncrl.cluster.words import SiteWords
from asyncrl.topologies.search.generations import SearchGround

FIRST_LATENCY = 0.01
"""The first offer to a site takes longer than all that follow: what is used there for the first time is loaded."""
GATHER = 4.0
"""Latencies for which what is done on a site gathers before it is sent: a message costs both ends more than a short evaluation does."""
MOST_AHEAD = 64
"""Tickets that wait on a site for each of its workers, at most."""
TRIAL_SECONDS = 1.0
"""After so long without an offer a site takes a ticket in any case, so that what is known of it stays true."""


def stock(workers: int, latency: float, each: float) -> tuple[int, int]:
    """Tickets (least, most) that a site should have: it is offered more once it has no more than the least, and then as many as the most.

    The least is one for each of its workers, and what they do while an answer and an offer are on their way: half a latency each, and two
    more for what jitters. A part of a ticket counts as a whole one: without it a worker would be idle after every evaluation, however
    long. The most is what they do beside that while an answer gathers.
    `latency`: seconds from an offer until its acknowledgement; `each`: seconds of an evaluation, 0 where that is not known.
    """
    if not each:
        return workers, workers + 1
    least, more = (min(math.ceil(workers * latencies * latency / each), MOST_AHEAD * workers) for latencies in (3.0, GATHER))
    return workers + least, workers + least + more


def sooner_there(left: int, has: int, workers: int, others: int, latency: float, each: float) -> int:
    """Of `left` tickets that nobody has, how many more a site with `workers` processes and `has` tickets ends before all else is done.

    Its k-th more is done after latency + (has + k) each / workers seconds, and the rest, by `others` processes, after
    (left - k) each / others, and half an evaluation for what they are at. Where learning waits for all of a generation, tickets beyond
    this k would keep everybody waiting.
    """
    if not each:
        return left
    most = (left / max(others, 1) + 0.5 - latency / each - has / workers) / (1 / workers + 1 / max(others, 1))
    return min(max(math.floor(most), 0), left)


class Share:
    """What the process of one place knows of its site's pace and of everybody else's."""

    def __init__(self, ground: SearchGround, words: SiteWords, site: int):
        self._ground, self._words, self._site = ground, words, site
        self._seconds = self._count = 0.0
        self._each = 0.0
        self.begin_anew()

    def begin_anew(self) -> None:
        """With a new site."""
        self._latency, self._offered = 0.0, time.monotonic()

    @property
    def gather(self) -> float:
        """Seconds for which what is done there may wait for more."""
        return GATHER * self._latency

    def offered(self) -> None:
        """Tickets are on their way to the site."""
        self._offered = time.monotonic()

    def acknowledged(self, seconds: float) -> None:
        """So long after they were offered the site said that it has them."""
        self._latency = 0.8 * self._latency + 0.2 * seconds if self._latency else min(seconds, FIRST_LATENCY)
        self._words.put(self._site, "latency", self._latency)

    def more(self, has: int, workers: int) -> int:
        """How many tickets to claim for a site with so many processes, which has so many."""
        left = self._ground.tickets.free()
        if not left:
            return 0
        each = self._seconds_each()
        least, most = stock(workers, self._latency, each)
        if has > least:
            return 0
        found = min(most - has, sooner_there(left, has, workers, self._others(), self._latency, each))
        tries = not has and time.monotonic() > self._offered + TRIAL_SECONDS
        return max(found, int(tries))

    def _others(self) -> int:
        words, mine = self._words, self._site
        local = self._ground.board.workers - 1 - words.sites
        return local + sum(int(words.get(site, "workers")) for site in range(words.sites) if site != mine and words.get(site, "up"))

    def _seconds_each(self) -> float:
        """Of an evaluation, by anybody, over the last generation or more: episodes grow longer as a policy learns."""
        ledger = self._ground.ledger
        rows = ledger.read_all()[:-1]
        count = float(ledger.column(rows, "rounds").sum())
        if count >= self._count + self._ground.population:
            seconds = sum(float(ledger.column(rows, f"{name}_seconds").sum()) for name in ("environment", "act"))
            self._each = (seconds - self._seconds) / (count - self._count)
            self._seconds, self._count = seconds, count
        return self._each
