"""The parts of a search on several machines, without Ray: what counts, who has which node, what is refused."""

from __future__ import annotations

import importlib.util
import json
import time

import numpy as np
import pytest
import torch
from test_generations import P, hands  # noqa: F401 - a fixture

import asyncrl
from asyncrl.cluster.bridge import Window
from asyncrl.cluster.engine import pickled
from asyncrl.cluster.lending import Lending
from asyncrl.cluster.on_ray import check_versions
from asyncrl.cluster.share import MOST_AHEAD, Share, sooner_there, stock
from asyncrl.cluster.words import SiteWords
from asyncrl.errors import UserError
from asyncrl.monitor.tables import sites_told
from asyncrl.processes.parcels import pack
from asyncrl.scheduler.pace import Books
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.parameters import Snapshots
from asyncrl.topologies.search.topology import of_so_many


@pytest.fixture
def lent(hands):  # noqa: F811
    """A search in which place 2 has lent the four tickets of a generation, and its lending."""
    made = hands()
    made.open("sync", 100)._set_limit()
    lending = Lending(made.ground, 2)
    assert [loan.version for loan in lending.claim(P)] == [0] * P
    return made, lending


def test_the_first_answer_counts_and_none_counts_twice(lent):
    made, lending = lent
    assert made.tickets.claim(0) == -1, "the place has them all"
    lending.give_up()  # the site is silent
    made.do(1)
    assert (lending.held, sorted(lending.strays)) == ({}, [0, 1, 2, 3])
    assert not lending.accept(0, 0), "another has done it"
    claimed = made.claim()
    assert not lending.accept(claimed.number, 0), "another is at it"
    assert lending.accept(2, 0), "it is free, and the answer counts"
    assert made.tickets.claim(0) == 3
    made.tickets.hand_in(2)
    lending.done(2)
    assert not lending.accept(2, 0)


def test_an_answer_of_an_earlier_attempt_does_not_count(lent):
    made, lending = lent
    lending.give_up()
    made.do(1)
    made.tickets.records["attempt"][0] = 1  # it had no finite return, and is issued again
    made.tickets.reissue(0)
    assert not lending.accept(0, 0)
    assert made.tickets.claim(0) == 0, "it is free as before"


def test_what_a_site_gives_back_is_done_by_another(lent):
    made, lending = lent
    lending.returned(np.array([1, 3]))
    assert sorted(lending.held) == [0, 2]
    assert [made.tickets.claim(0) for _ in range(3)] == [1, 3, -1]


def finished(left: int, more: int, has: int, workers: int, others: int, latency: float, each: float) -> float:
    """When all is done if the site takes `more` of `left` tickets: seconds, by the definition."""
    there = latency + (has + more) * each / workers if more else 0.0
    return max(there, (left - more + others / 2) * each / others)


@pytest.mark.parametrize("latency", [0.0, 0.004, 0.1])
@pytest.mark.parametrize(("left", "has", "workers", "others"), [(40, 0, 1, 3), (8, 2, 1, 3), (3, 0, 2, 2), (200, 9, 4, 2), (1, 0, 1, 7)])
def test_a_site_takes_what_ends_sooner_there(latency, left, has, workers, others):
    each = 0.003
    took = sooner_there(left, has, workers, others, latency, each)
    ends = [finished(left, more, has, workers, others, latency, each) for more in range(left + 1)]
    assert ends[took] <= min(ends) + each / others + 1e-9
    rest = (left - took + others / 2) * each / others
    assert not took or latency + (has + took) * each / workers <= rest + 1e-9, "nobody waits for it"


def test_tickets_on_their_way_hide_the_latency():
    assert stock(1, 0.005, 0.0) == (1, 2)
    assert stock(2, 0.005, 0.010) == (5, 9)
    assert stock(1, 0.008, 0.1) == (2, 3), "a part of a ticket is one: else the site's worker waits after each"
    assert stock(1, 0.005, 1e-6) == (1 + MOST_AHEAD, 1 + 2 * MOST_AHEAD), "not without end"


@pytest.fixture
def shared(hands, monkeypatch):  # noqa: F811
    """A share of a search of three workers, the last of which is the place of a site; and its clock, in seconds."""
    made = hands()
    made.open("sync", 100)._set_limit()
    memory = SharedArrays.allocate(SiteWords.layout(1))
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return made, Share(made.ground, SiteWords({name: memory[name] for name in memory}), 0), clock


def test_a_site_that_is_slower_than_everybody_else_is_tried_now_and_then(shared):
    made, share, clock = shared
    ledger = made.ground.ledger
    share.acknowledged(0.01)
    assert share.more(0, 1) == 2, "nothing is known of evaluations"
    books = Books(ledger, 0)
    books.add("rounds", P)
    books.add("act_seconds", P * 1e-4)
    ledger.publish(0, books.draft)
    assert share.more(0, 1) == 0, "others are done before it has heard of them"
    clock[0] = 1.5
    assert share.more(0, 1) == 1
    share.offered()
    assert share.more(0, 1) == 0
    books.add("rounds", P)
    books.add("act_seconds", P * 1.0)
    ledger.publish(0, books.draft)
    assert share.more(0, 1) > 0, "evaluations have grown longer"


def test_a_site_that_has_enough_is_offered_nothing(shared, monkeypatch):
    """A message costs more than a short evaluation: not one for each ticket that is done."""
    made, share, _ = shared
    books = Books(made.ground.ledger, 0)
    books.add("rounds", P)
    books.add("act_seconds", P * 0.02)
    made.ground.ledger.publish(0, books.draft)
    monkeypatch.setattr(made.ground.tickets, "free", lambda: 100)
    share.acknowledged(0.01)
    assert stock(1, 0.01, 0.02) == (3, 5)
    assert [share.more(has, 1) for has in (0, 3, 4, 5)] == [5, 2, 0, 0]


@pytest.fixture
def window(hands):  # noqa: F811
    """A site's window over the tickets of a search without processes."""
    made = hands()
    return made, Window(made.ground)


def test_a_site_does_what_was_offered_and_nothing_else(window):
    made, site = window
    tickets = made.tickets
    assert tickets.claim(0) == -1
    assert not len(site.put(np.array([[5, 0], [7, 2]])))
    assert [tickets.claim(0), tickets.claim(1), tickets.claim(0)] == [5, 7, -1]
    assert tickets.records["attempt"][tickets.slot(7)] == 2
    tickets.records["value"][tickets.slot(7)] = 3.0
    tickets.hand_in(7)
    assert site.has_news()
    numbers, records = site.collect()
    assert (numbers.tolist(), records["value"].tolist()) == ([7], [3.0])
    assert not site.has_news()
    assert not len(site.put(np.array([[2, 0]])))
    assert tickets.claim(1) == 2, "one that is older than all before"


def test_an_answer_waits_for_what_is_still_to_come(window):
    made, site = window
    assert site.is_done(), "nothing was offered"
    site.put(np.array([[0, 0], [1, 0]]))
    for number, all_of_it in ((made.tickets.claim(0), False), (made.tickets.claim(1), True)):
        made.tickets.hand_in(number)
        assert (site.has_news(), site.is_done()) == (True, all_of_it)
    site.collect()
    assert (site.has_news(), site.is_done()) == (False, True)


def test_what_was_begun_is_not_withdrawn(window):
    made, site = window
    site.put(np.array([[0, 0], [1, 0], [2, 0]]))
    assert made.tickets.claim(0) == 0
    assert site.withdraw().tolist() == [1, 2]
    assert made.tickets.claim(1) == -1
    made.tickets.hand_in(0)
    assert site.collect()[0].tolist() == [0]


def test_a_slot_that_a_worker_still_has_for_an_earlier_number_is_refused(window):
    made, site = window
    site.put(np.array([[1, 0]]))
    assert made.tickets.claim(0) == 1
    late = 1 + made.tickets.slots
    assert site.put(np.array([[late, 0], [late + 1, 0]])).tolist() == [late]
    assert made.tickets.claim(1) == late + 1


def test_what_a_dead_worker_held_and_nobody_waits_for_is_not_begun_again(window):
    made, site = window
    site.put(np.array([[0, 0], [1, 0]]))
    assert [made.tickets.claim(0), made.tickets.claim(0)] == [0, 1]
    site._outstanding.pop(0)
    made.tickets.release(0)
    site.forget_strays()
    assert [made.tickets.claim(1), made.tickets.claim(1)] == [1, -1]


def test_versions_are_passed_on_with_gaps_and_out_of_order():
    memory = SharedArrays.allocate(Snapshots.layout(3))
    snapshots, out = Snapshots({name: memory[name] for name in memory}), np.zeros(3, np.float32)
    for version in (0, 4, 9, 8):
        snapshots.pass_on(np.full(3, version, np.float32), version)
    assert (snapshots.version, snapshots.copy(out), out.tolist()) == (9, 9, [9.0] * 3)
    assert (snapshots.copy(out, 8), out.tolist()) == (8, [8.0] * 3)
    assert snapshots.copy(out, 4) is None


def test_a_node_has_one_site():
    memory = SharedArrays.allocate(SiteWords.layout(3))
    words = SiteWords({name: memory[name] for name in memory})
    assert words.take(0, "a") and not words.take(1, "a") and words.take(1, "b")
    words.take(0, "")
    assert words.take(2, "a")


def test_counts_of_sites_that_are_gone_are_kept():
    ledger = np.arange(12.0).reshape(6, 2)  # five workers, and the learner
    fewer = of_so_many(ledger, 3)
    assert fewer.tolist() == [[0.0, 1.0], [2 + 4 + 6 + 8, 3 + 5 + 7 + 9], [10.0, 11.0]]
    assert of_so_many(fewer, 4).tolist() == [*fewer[:2].tolist(), [0.0, 0.0], [10.0, 11.0]]
    assert of_so_many(ledger, 6).tolist() == ledger.tolist()


def test_other_versions_are_named():
    pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install '.[ray]'")
    with pytest.raises(UserError, match=r"node far has Python 3.9.1 \(3.* is needed\), asyncrl none \(.* is needed\): install the same"):
        check_versions("far", {"Python": "3.9.1", "ray": importlib.import_module("ray").__version__, "asyncrl": "none"})


@pytest.mark.parametrize(
    ("algo", "settings", "said"),
    [
        ("a3c", {"engine": "ray"}, "engine = ray cannot be used with a3c (allowed: local; algorithms with other engines: es, tres, ars,"),
        ("es", {"engine": "ray", "simulate": "constant:1"}, "engine = ray cannot be used with simulate"),
        ("es", {"sites": 2}, "sites = 2 says nothing with engine = local (allowed: with engine = ray)"),
        ("es", {"engine": "spark"}, "unknown engine 'spark' (allowed: local, ray)"),
        ("es", {"engine": "ray", "sites": 0}, "sites = 0 cannot be used"),
        ("es", {"engine": "ray", "address": "there"}, "address = 'there' cannot be used (allowed: auto, for the Ray of this machine"),
        ("es", {"engine": "ray", "address": "127.0.0.1:1"}, "address = '127.0.0.1:1' cannot be used: nobody answers there"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, monkeypatch, algo, settings, said):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "ray" else found(name))
    with pytest.raises(UserError) as refused:
        asyncrl.train(algo, "CartPole-v1", runs=str(tmp_path), quiet=True, **settings)
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"engine = ray needs the package ray: pip install 'asyncrl\[ray\]'"):
        asyncrl.minimize(lambda x: float(x @ x), np.zeros(2), "es", engine="ray")
    with pytest.raises(UserError, match="needs the package ray"):
        asyncrl.study({"experiment": {"algo": "es", "env": "CartPole-v1"}}, tmp_path / "study", quiet=True, engine="ray")


def test_a_tensor_that_is_shared_here_cannot_leave():
    def adds(x, seen=torch.zeros(3).share_memory_()):  # noqa: B008 - it is captured once
        return float(seen.add_(1).sum())

    with pytest.raises(UserError, match="engine = ray cannot be used: a tensor in shared memory cannot be sent to other machines"):
        pickled(pack(adds))


def test_sites_are_shown_together():
    report = {f"site/{i}/{name}": value for i in range(2) for name, value in (("up", 1 - i), ("latency_ms", 2.5), ("in_flight", 3))}
    report |= {f"site/{i}/{name}": value for i in range(2) for name, value in (("deaths", i), ("evaluations_per_second", 40))}
    assert sites_told(report) == ["1 of 2", "2.5 ms", "6 in flight", "1 lost", "80 evaluations/s"]
    assert sites_told(json.loads("{}")) == []
