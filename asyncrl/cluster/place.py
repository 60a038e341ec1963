"""The process that holds a place for a site: it claims tickets as any worker does, has the site do them, and hands in what comes back.

It is the one writer of the place's words here, so nothing of the run is written from elsewhere. A site that is lost is no death of this
process: it gives the tickets back, rests, and looks for a node again. When the process itself is killed, the launcher frees its tickets
and replaces it, as it does with every worker, and Ray ends the actor with it.
"""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from asyncrl.blackbox.search import Search
from asyncrl.cluster.engine import Answer, Offer, Site, SiteLost, SitePlan
from asyncrl.cluster.lending import Lending
from asyncrl.cluster.reaching import Reaching
from asyncrl.cluster.results import Results
from asyncrl.cluster.share import Share
from asyncrl.cluster.words import SiteWords
from asyncrl.errors import Hopeless
from asyncrl.scheduler.board import HEARTBEAT, OPENED, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.topologies.search.plan import Published, SearchPlan, ground_of
from asyncrl.topologies.search.worker_pace import WorkerPace
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go, Note

SILENT_SECONDS = 3.0
"""A site that has answered nothing for so long has its tickets done by others. It is asked at least four times a second."""
POLL_SECONDS = 0.25
WAITING, ACTING = PHASES.index("waiting"), PHASES.index("acting")


class SitePlace:
    """One place, as `workers.body.Working`."""

    def __init__(self, plan: SearchPlan, site: SitePlan, connection: Connection):
        task = plan.task
        self._index, self._connection, self._site_index = plan.worker, connection, site.site
        self._search: Search = task.search(task.size)
        self._ground = ground_of(task, self._search, plan.memory, plan.pipes)
        self._words = SiteWords(plan.memory.part("sites"))
        self._published = Published.empty(task, self._search)
        self._lending = Lending(self._ground, plan.worker)
        self._results = Results(plan, site.site, self._ground, self._search, self._lending)
        self._share = Share(self._ground, self._words, site.site)
        self._calls: dict[str, float] = {}
        self._heard = 0.0
        self._silent = False
        self._mode, self._sent, self._newest = "", set[int](), -1
        self._wants, self._withdrawn, self._seen_over = False, False, False
        self._since = time.monotonic()
        self.notes: list[str] = []
        self._reaching = Reaching(plan, site, self._words, lambda: self._ground.parking.wake(self._index))
        if self._ground.board.order(OPENED) == 0:  # before a run begins, what is wrong with a node is told instead of it
            self.notes += self._reaching.at_once()

    @property
    def steps_done(self) -> int:
        """Steps that it has published."""
        return self._results.steps

    @property
    def _site(self) -> Site | None:
        return self._reaching.site

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._index
        books = self._results.books = Books(ground.ledger, index)
        try:
            for _ in Gate(ground.board, ground.parking, index).epochs(go.epoch_runs):
                self._epoch(WorkerPace(ground, index, books), books)
        finally:
            self._words.put(self._site_index, "up", 0.0)
            self._reaching.close()

    def _epoch(self, pace: WorkerPace, books: Books) -> None:
        ground = self._ground
        if books["started"] == 0.0:
            books.put("started", time.monotonic())
        mode, self._withdrawn, self._since = str(ground.board.mode()), False, time.monotonic()
        while True:
            self._take_in(pace)
            over = ground.is_over()
            if self._site is None:
                if over:
                    break
                self._reaching.try_again()
            elif not self._is_silent() and self._is_ready(mode):
                self._hand_over(over)
            if over and not self._lending.held:
                break
            self._stand()
            self._seen_over = over
            ground.parking.wait(self._index, self._is_due, POLL_SECONDS)
        ground.board.stand(self._index, PHASE, WAITING)

    # What is sent.

    def _is_ready(self, mode: str) -> bool:
        """Whether the site works in this mode; asks it to."""
        if self._mode == mode:
            return True
        if not self._calls:
            self._call("begin", mode)
        return False

    def _hand_over(self, over: bool) -> None:
        """Offer tickets, or take them back where the epoch is over; and ask for what is done."""
        if over:
            if self._lending.held and not self._withdrawn and "offer" not in self._calls:
                self._withdrawn = True
                self._call("withdraw")
        elif "offer" not in self._calls:
            self._offer()
        if len(self._lending) and "records" not in self._calls:
            self._call("records", POLL_SECONDS, self._share.gather)
        self._wants = not over and "offer" not in self._calls

    def _offer(self) -> None:
        lending = self._lending
        forget = np.fromiter(lending.strays, np.int64, len(lending.strays))
        loans = lending.claim(self._more())
        if not loans:
            return
        self._share.offered()
        offer = Offer(np.array([loan[:2] for loan in loans], np.int64), self._vectors({loan.version for loan in loans}), forget)
        sent = offer.tickets.nbytes + sum(vector.nbytes for _, vector in offer.vectors)
        self._words.add(self._site_index, "bytes", sent)
        self._call("offer", offer)

    def _vectors(self, wanted: set[int | None]) -> tuple[tuple[int, Any], ...]:
        """Of these versions, None for the newest, what the site does not have yet."""
        snapshots, found = self._ground.snapshots, []
        for version in sorted(wanted, key=lambda one: -1 if one is None else one):
            if version in self._sent or (version is None and snapshots.version == self._newest):
                continue
            copied = snapshots.copy(self._published.vector, version)
            if copied is None:
                raise RuntimeError(f"the parameters of version {version} are gone: the learner did not wait for this place")
            found.append((copied, self._published.vector.copy()))
            self._newest = max(self._newest, copied)
            self._sent = {one for one in {*self._sent, copied} if one > self._newest - 3}  # a site keeps four
        return tuple(found)

    def _more(self) -> int:
        return self._share.more(len(self._lending), self._reaching.workers)

    def _call(self, kind: str, *arguments: Any) -> None:
        site = self._site
        assert site is not None
        now = time.monotonic()
        if not self._calls:
            self._heard = now
        self._calls[kind] = now
        getattr(site, kind)(*arguments)

    # What comes back.

    def _take_in(self, pace: WorkerPace) -> None:
        for kind, outcome in self._reaching.news():
            if kind == "reached":
                self._begin_anew()
                self._tell(outcome)
            elif kind == "rests":
                self._tell(outcome)
            elif isinstance(outcome, Answer):
                self._answered(pace, kind, outcome)
            else:
                self._lose(outcome)

    def _answered(self, pace: WorkerPace, kind: str, answer: Answer) -> None:
        now = time.monotonic()
        began = self._calls.pop(kind, now)
        self._heard, self._silent = now, False
        if kind == "begin":
            self._mode = str(self._ground.board.mode())
        elif kind == "offer":
            self._share.acknowledged(now - began)
        self._lending.returned(answer.dropped)
        if len(answer.numbers):
            self._results.hand_in(pace, answer)
        self._ground.board.stand(self._index, HEARTBEAT, int((now - answer.idle) * 1e9))
        for note in answer.notes:
            self._tell(note)
        self._results.best(answer)
        if answer.problem is not None:
            self._end_by(answer)

    def _end_by(self, answer: Answer) -> None:
        problem, site = answer.problem, self._site
        assert problem is not None and site is not None
        if problem.hopeless:
            raise Hopeless(f"node {site.node.name}: {problem.text}")
        self._lose(SiteLost(problem.text))

    # Silence and loss.

    def _is_silent(self) -> bool:
        """Whether the site has answered nothing for too long: what it has is given to others, and nothing new is offered."""
        if self._calls and not self._silent and time.monotonic() > self._heard + SILENT_SECONDS and "begin" not in self._calls:
            self._silent = True
            if self._lending.held:
                self._words.add(self._site_index, "silences", 1)
            self._lending.give_up()
        self._wants = self._wants and not self._silent
        return self._silent

    def _lose(self, error: BaseException) -> None:
        site = self._site
        if site is None:
            return
        if not isinstance(error, SiteLost):
            raise error
        self._lending.forget()
        self._words.add(self._site_index, "deaths", 1)
        self._words.put(self._site_index, "up", 0.0)
        self._calls, self._wants = {}, False
        self._tell(f"the site on node {site.node.name} is lost ({error}); others do its tickets, and it is looked for again")
        self._reaching.lost()

    def _begin_anew(self) -> None:
        """With a new site."""
        self._calls, self._silent, self._mode, self._sent, self._newest = {}, False, "", set(), -1
        self._share.begin_anew()
        self._results.begin_anew()

    def _tell(self, text: str) -> None:
        self._connection.send(Note(f"site {self._site_index}: {text}"))

    def _is_due(self) -> bool:
        """Whether there is something to do."""
        over = self._ground.is_over() != self._seen_over
        return over or self._reaching.has_news() or (self._wants and self._more() > 0)

    def _stand(self) -> None:
        now, words = time.monotonic(), self._words
        if self._site is not None and not len(self._lending):
            words.add(self._site_index, "waiting", now - self._since)
        self._since = now
        words.put(self._site_index, "in_flight", len(self._lending))
        self._ground.board.stand(self._index, PHASE, ACTING if self._lending.held else WAITING)


def run_site_place(plans: tuple[SearchPlan, SitePlan], connection: Connection) -> None:
    """Process body of a place that has a site."""
    plan, site = plans
    run_body(lambda: SitePlace(plan, site, connection), None, connection, (plan.task.common.seed,), plan.identity)
