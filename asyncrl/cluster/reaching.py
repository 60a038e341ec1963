"""How a place gets a site, loses it, and gets another: in a thread, so that the place is never held up by a node that is slow to answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from asyncrl.cluster.engine import Engine, Node, Site, SiteLost, SitePlan, SiteTask, pickled
from asyncrl.cluster.probe import digest_of
from asyncrl.cluster.words import SiteWords
from asyncrl.errors import Hopeless, UserError
from asyncrl.heads.tables import copied_tables
from asyncrl.topologies.search.plan import SearchPlan

FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds until a node is looked for again; they double each time."""


class Reaching:
    """The site of a place, if it has one. All but the thread's work is done by the place's own thread."""

    def __init__(self, plan: SearchPlan, given: SitePlan, words: SiteWords, wake: Callable[[], None]):
        """`wake`: wakes the place, from any thread."""
        self._plan, self._given, self._words, self._wake = plan, given, words, wake
        self._engine: Engine = given.engine()
        self._news: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._number = 0
        self._refused: set[str] = set()
        self._rest, self._again = FIRST_REST, 0.0
        self._thread: threading.Thread | None = None
        self._task: bytes | None = None
        self._digest = ""
        self._said = ""
        words.take(given.site, "")  # of a predecessor, with which its site has ended
        words.put(given.site, "up", 0.0)
        self.site: Site | None = None
        self.workers = 1
        """Processes of the site."""

    def at_once(self) -> list[str]:
        """Get a site now; returns notes. Raises UserError for what is wrong with a node."""
        try:
            self._reached(self._open(self._number))
        except SiteLost as error:
            self._put_off()
            return [f"site {self._given.site}: {error}; it is looked for again"]
        return []

    def try_again(self) -> None:
        """Look for a site in a thread, if it is time."""
        if self._thread is None and time.monotonic() >= self._again:
            self._thread = threading.Thread(target=self._try, args=(self._number,), daemon=True)
            self._thread.start()

    def news(self) -> Iterator[tuple[str, Any]]:
        """What has come since, of the present site and of the search for one: ("reached" or "rests", text), (call, its outcome)."""
        while not self._news.empty():
            number, kind, outcome = self._news.get()
            if kind == "opened":
                self._thread = None
                yield from self._opened(outcome)
            elif kind == "rests" or (number == self._number and self.site is not None):
                yield kind, outcome

    def has_news(self) -> bool:
        """Whether there are any."""
        return not self._news.empty()

    def lost(self) -> None:
        """The site is gone; another is looked for after a rest."""
        self.close()
        self._put_off()

    def close(self) -> None:
        """End the site."""
        site, self.site = self.site, None
        self._number += 1
        self._words.take(self._given.site, "")
        if site is not None:
            try:
                site.close()
            except Exception as error:  # noqa: BLE001 - it may be gone, with its cluster
                self._news.put((self._number, "rests", f"it could not be ended: {error}"))

    def _put_off(self) -> None:
        self._again = time.monotonic() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)

    def _reached(self, site: Site) -> None:
        self.site, self._rest, self._said = site, FIRST_REST, ""
        self._words.put(self._given.site, "up", 1.0)
        self._words.put(self._given.site, "workers", self.workers)

    def _opened(self, outcome: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(outcome, Exception):
            self._reached(outcome)
            yield "reached", f"works on node {outcome.node.name}"
            return
        self._put_off()
        if str(outcome) != self._said:  # once, not at every try
            self._said = str(outcome)
            yield "rests", self._said

    def _try(self, number: int) -> None:
        try:
            outcome: Any = self._open(number)
        except Exception as error:  # noqa: BLE001 - told, and tried again
            outcome = error
        self._news.put((number, "opened", outcome))
        self._wake()

    def _open(self, number: int) -> Site:
        """A site on a node that has none. Raises SiteLost, and UserError for what is wrong with a node, which is not asked again."""
        nodes = self._engine.nodes()
        begin = self._given.site % len(nodes) if nodes else 0
        for node in nodes[begin:] + nodes[:begin]:
            if node.key not in self._refused and self._words.take(self._given.site, node.key):
                try:
                    return self._begun(node, number)
                except BaseException as error:
                    self._words.take(self._given.site, "")
                    if isinstance(error, UserError):
                        self._refused.add(node.key)
                    raise
        raise SiteLost("no node is free for it")

    def _begun(self, node: Node, number: int) -> Site:
        task, memory = self._plan.task, self._plan.memory
        if self._task is None:
            self._task = pickled(task)
        workers = self.workers = self._given.workers or node.cores
        told = SiteTask(self._task, workers, copied_tables(memory), self._given.max_failures)
        site = self._engine.start(node, told, lambda kind, outcome: self._tell(number, kind, outcome))
        self._digest = self._digest or digest_of(task, memory)
        if site.begun.digest != self._digest:
            differs = f"node {node.name} gives other bits than this machine (a probe episode differs: other processors or libraries)"
            if self._given.exact:
                site.close()
                raise Hopeless(f"{differs}: it cannot be used in sync and pipelined (bounded and async take it)")
            self._news.put((number, "rests", f"{differs}; results depend on who makes them"))
        return site

    def _tell(self, number: int, kind: str, outcome: Any) -> None:
        self._news.put((number, kind, outcome))
        self._wake()
