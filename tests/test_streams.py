"""Streams: every interleaving of small steps in one process, then real processes, delayed and killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import wait_for

from asyncrl.scheduler.board import IN_PLACE
from asyncrl.scheduler.modes import UNBOUNDED, Bounded, Pipelined, Sync, parse_mode
from asyncrl.shared.arrays import WORDS_PER_LINE, SharedArrays, prefixed
from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.grid import Grid
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import Ring
from asyncrl.topologies.streams.actor_pace import ActorPace
from asyncrl.topologies.streams.board import ABSENT, CLOSING, EPOCH, GATE, NOBODY, OVER, WAIT, StreamBoard
from asyncrl.topologies.streams.learner_pace import LearnerPace
from asyncrl.topologies.streams.streams import Streams

SLOTS = 3
FIELDS = dict.fromkeys(("actor", "number", "version", "checksum"), ((), np.int64))
MODES = ["sync", "pipelined", "bounded:1", "bounded:2", "bounded:5", "async"]
IN_PLACE_0 = "bounded in place:0"  # not sync: nobody waits for everybody


def layout(actors, slots=SLOTS, size=4):
    return {
        **prefixed("board", StreamBoard.layout(actors, slots)),
        **prefixed("snapshots", Snapshots.layout(size, 2)),
        **prefixed("rings", Grid.layout(actors, 1, Ring.layout(slots, FIELDS))),
        **prefixed("parking", Parking.layout(actors + 1)),
    }


def part(arrays, name):
    return {key.removeprefix(f"{name}/"): arrays[key] for key in arrays if key.startswith(f"{name}/")}


def streams_over(arrays, parking, actors):
    grid = Grid(part(arrays, "rings"), actors, 1, lambda ring, actor, _: Ring(ring, "wait", parking, actor, actors))
    return Streams(StreamBoard(part(arrays, "board")), Snapshots(part(arrays, "snapshots")), grid, parking)


class AwakeParking(Parking):
    """Nobody sleeps: the model runs all sides in one thread and never waits."""

    def __init__(self, places):
        super().__init__(np.zeros(places * 8, np.int64), [])


def checksum(vector):
    return zlib.crc32(vector.tobytes())


def allowed_lags(mode, unit_version, first):
    """The lags that the mode promises for a unit of an epoch that began with version `first`."""
    if mode == Pipelined():
        return (0, 1) if unit_version == first else (1,)
    return range(mode.bound + 1)


# The model: actors and learner take one small step at a time, in any order.


class Actor:
    """One actor as a machine of small steps. `serial` numbers what it published over all its lives."""

    pace_type = ActorPace

    def __init__(self, world, index):
        self.world, self.index = world, index
        self.serial = 0
        self.local = np.zeros(4, np.float32)
        self.be_born()

    def be_born(self):
        self.pace = self.pace_type(self.world.streams, self.index)
        self.state = "arriving"

    def can_step(self):
        if self.state == "at the gate":
            return self.world.board.leads(EPOCH) > self.pace._orders[0]
        if self.state == "idle":
            return self.pace._permission() != WAIT
        return self.state not in ("dead", "home")

    def step(self):
        self.state = getattr(self, "when_" + self.state.replace(" ", "_"))()

    def when_arriving(self):
        self.pace.arrive()
        return "at the gate"

    def when_at_the_gate(self):
        return "idle" if self.pace._enter() else "home"

    def when_idle(self):
        self.round = self.pace._permission()
        return "arriving" if self.round == OVER else "idle" if self.round == WAIT else "permitted"

    def when_permitted(self):
        self.pace._announce(self.round)
        return "announced"

    def when_announced(self):
        return "confirmed" if self.pace._confirmed(self.round) else "refused"

    def when_refused(self):
        self.pace._withdraw()
        return "idle"

    def when_confirmed(self):
        self.version = self.pace._copy(self.round, self.local)
        assert (self.local == self.version).all()
        return "acting"

    def when_acting(self):
        slot = self.pace.ring.reserve()
        for name, value in (("actor", self.index), ("number", self.serial), ("version", self.version)):
            slot[name][...] = value
        return "filled"

    def when_filled(self):
        self.pace.finish_unit()
        self.serial += 1
        return "idle"

    def when_killed(self):
        self.world.streams.settle(self.index)
        return "settled"

    def when_settled(self):
        self.be_born()
        return self.state


class World:
    """All actors and the learner; every unit that is used is checked against the promises of the mode."""

    actor_type, learner_type = Actor, LearnerPace

    def __init__(self, actors, modes, count=1, kills=False):
        arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout(actors).items()}
        self.streams = streams_over(arrays, AwakeParking(actors + 1), actors)
        self.board, self.count, self.kills = self.streams.board, count, kills
        self.learner = self.learner_type(self.streams)
        self.actors = [self.actor_type(self, index) for index in range(actors)]
        self.modes = [Bounded(0) if mode == IN_PLACE_0 else parse_mode(mode) for mode in modes]
        self.used = [0] * actors
        self.lags, self.batch, self.history = [], [], []
        self.held = None
        self.ended = False
        self.open()

    def open(self):
        self.mode = self.modes.pop(0)
        self.learner.open(self.mode)
        self.first, self.closed_at = self.learner.version, None

    def look(self):
        return self.learner._due() if self.learner._closed else self.learner._choose(self.count)

    def learner_step(self):
        """Take a unit in hand; use it; close the round; publish; or pass the gate."""
        found = self.look()
        if self.held is not None:
            self.use()
        elif found >= 0:
            self.held = self.learner._unit(found)
            if self.mode.delay is None and not self.learner._closed:
                assert self.held.version == min(ring.front()["version"] for ring in self.learner._rings if len(ring)), "not the oldest"
        elif found == GATE:
            assert list(self.learner.units(self.count)) == [] and self.learner.at_gate
            self.pass_gate()
        elif self.learner._closed:
            self.publish()
        else:
            self.learner._close_round()

    def use(self):
        unit, self.held = self.held, None
        assert unit.actor == unit.slot["actor"] and unit.slot["version"] == unit.version
        assert unit.slot["number"] == unit.number == self.used[unit.actor], "lost, doubled or out of order"
        assert unit.lag == self.learner.version - unit.version
        assert unit.lag in allowed_lags(self.mode, unit.version, self.first), f"{self.mode}: lag {unit.lag}"
        self.learner._consume(unit.actor)
        self.used[unit.actor] += 1
        self.lags.append(unit.lag)
        self.batch.append(unit.actor)

    def publish(self):
        if self.mode.delay is not None and not self.kills:
            assert self.batch == list(range(len(self.actors))), "not one unit of each, in order"
        assert self.batch and (self.mode.delay is None or len(set(self.batch)) == len(self.batch))
        self.learner.publish(np.full(4, self.learner.version + 1, np.float32))
        self.history.append(tuple(self.batch))
        self.batch = []

    def pass_gate(self):
        assert self.used == [actor.pace.ring.published for actor in self.actors] == [actor.serial for actor in self.actors]
        assert all(actor.state in ("at the gate", "killed", "settled", "arriving") for actor in self.actors)
        if self.mode.delay is not None:
            assert self.learner.version == self.closed_at + 1 + self.mode.delay
        if self.modes:
            self.open()
        else:
            self.learner.stop()
            self.ended = True

    def close(self):
        if self.closed_at is None and not self.ended:
            self.closed_at = self.learner.version
            self.learner.close()

    def steps(self):
        """Everything that can happen now."""
        found = [actor.step for actor in self.actors if actor.can_step()]
        if not self.ended and (self.held is not None or self.look() != WAIT):
            found.append(self.learner_step)
        return found

    def kill(self, index):
        if self.actors[index].state not in ("home", "killed", "settled"):
            self.actors[index].state = "killed"

    def run(self, choices):
        """`choices`: whole numbers. Some close the epoch, kill somebody (`kills`), or put somebody to sleep; each chooses a step."""
        asleep = None
        for choice in choices:
            if choice % 307 == 306:
                self.close()
            if self.kills and choice % 29 == 28:
                self.kill(choice // 29 % len(self.actors))
            if choice % 17 == 16:
                asleep = (*self.actors, self, None, None)[choice // 17 % (len(self.actors) + 3)]
            possible = self.steps()
            assert possible or self.ended, "deadlock"
            possible = [step for step in possible if step.__self__ is not asleep] or possible
            if possible:
                possible[choice // 800 % len(possible)]()

    def turn(self, *without):
        """One step of everybody who can make one, except `without` (actors, or this world for the learner). How many did."""
        others = [step for step in self.steps() if step.__self__ not in without]
        for step in others:
            if step.__self__ is not self or step in self.steps():  # a step of another's may have changed the learner's mind
                step()
        return len(others)

    def finish(self):
        """Everybody in turn until the end of the last mode: it must come."""
        for _ in range(3000):
            if not self.turn():
                assert self.ended and all(actor.state == "home" for actor in self.actors), "deadlock"
                return
            if len(self.history) % 8 == 7:
                self.close()
        raise AssertionError("no end")


CHOICES = st.lists(st.integers(0, 800 * 12 - 1), max_size=400)
AT_LEISURE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def walk(seed, steps=1500):
    generator = random.Random(seed)
    return [generator.randrange(800 * 12) for _ in range(steps)]


@pytest.mark.parametrize("mode", [*MODES, "bounded:0", IN_PLACE_0])
@pytest.mark.parametrize("kills", [False, True])
@given(actors=st.integers(1, 4), count=st.integers(1, 5), choices=CHOICES, seed=st.integers(0, 1 << 30))
@AT_LEISURE
def test_any_interleaving(mode, kills, actors, count, choices, seed):
    world = World(actors, [mode, mode], count, kills)
    world.run(choices)
    world.run(walk(seed, 300))
    world.finish()


@given(modes=st.lists(st.sampled_from(MODES), min_size=2, max_size=6), kills=st.booleans(), choices=CHOICES, seed=st.integers(0, 1 << 30))
@AT_LEISURE
def test_any_changes_of_mode(modes, kills, choices, seed):
    world = World(3, modes, 2, kills)
    world.run(choices)
    world.run(walk(seed, 500))
    world.finish()


def test_the_walks_reach_the_bounds():
    """The promises would be empty if the walks never came near them."""
    for mode, highest in (("bounded:1", 1), ("bounded:2", 2), ("async", 3)):
        lags = set()
        for seed in range(5):
            world = World(4, [mode], 1)
            world.run(walk(seed))
            lags |= set(world.lags)
        assert max(lags) >= highest and min(lags) == 0


def test_a_very_slow_actor_holds_the_others_at_the_bound():
    world = World(3, ["bounded:2"])
    slow = world.actors[0]
    while slow.state != "acting":
        slow.step()
    bound = slow.version + 2
    while world.turn(slow):
        assert world.learner.version <= bound
    assert world.learner.version == bound
    assert all(actor.state == "idle" for actor in world.actors[1:]), "their rings are full"
    for _ in range(50):
        world.turn()
    assert max(world.lags) == 2 and world.learner.version > bound


class NeverLooksAgain(ActorPace):
    def _confirmed(self, round_):
        return True


class CopiesFirst(Actor):
    """Copies the parameters before it announces."""

    def when_permitted(self):
        self.pace._announce(self.round)
        self.pace._copy(self.round, self.local)
        self.version = int(self.local[0])
        self.pace._withdraw()
        return "copied"

    def when_copied(self):
        self.pace._announce(self.round)
        return "acting"


class PublishesWithoutLooking(LearnerPace):
    def _due(self):
        return NOBODY


class LooksBeforeItCloses(LearnerPace):
    """Scans the announcements, and only then closes the round: the scan is a step of its own."""

    def _close_round(self):
        if not getattr(self, "scanned", False):
            self.scanned = super()._due() == NOBODY
            return
        self.scanned = False
        super()._close_round()

    def _due(self):
        return NOBODY


BROKEN = [
    *[(NeverLooksAgain, mode) for mode in ("sync", "pipelined")],  # else the copy that follows the announcement is a second look
    *[(CopiesFirst, mode) for mode in ("sync", "pipelined", "bounded:1")],
    *[(PublishesWithoutLooking, mode) for mode in ("sync", "pipelined", "bounded:1")],
    *[(LooksBeforeItCloses, mode) for mode in ("sync", "pipelined", "bounded:1")],
]


@pytest.mark.parametrize(("broken", "mode"), BROKEN)
def test_the_walks_find_what_is_broken(broken, mode):
    """Each of these breaks a promise in some walk: the model can fail."""

    class BrokenActor(Actor):
        pace_type = broken if issubclass(broken, ActorPace) else ActorPace

    class BrokenWorld(World):
        actor_type = broken if issubclass(broken, Actor) else BrokenActor
        learner_type = broken if issubclass(broken, LearnerPace) else LearnerPace

    def breaks(seed):
        world = BrokenWorld(3, [mode] * 4, 1, kills=True)
        try:
            world.run(walk(seed))
            world.finish()
        except (AssertionError, RuntimeError):
            return True
        return False

    assert any(breaks(seed) for seed in range(300))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", ["arriving", "idle", "permitted", "announced", "confirmed", "acting", "filled"])
def test_the_dead_are_not_waited_for(mode, state):
    """Without any successor; and with one, that begins where the others are."""
    world = World(3, [mode], 2, kills=True)
    dead = world.actors[1]
    while dead.state != state or (state != "arriving" and len(world.history) < 4):
        world.turn()
    dead.state = "killed"
    dead.step()
    for _ in range(200):
        world.turn(dead)
    assert len(world.history) > 10
    used = world.used[1]
    for _ in range(200):
        world.turn()
    assert world.used[1] > used + 5
    world.finish()


def test_a_unit_with_which_the_loop_is_left_is_not_consumed():
    """The next call goes on from there."""
    world = World(2, ["async"])
    learner = world.learner
    while world.turn(world):
        continue  # the actors alone, until their rings are full
    assert [unit.actor for unit in learner.units(4)] == [0, 1, 0, 1]
    learner.publish(np.full(4, 1, np.float32))
    for unit in learner.units(2):
        assert unit.number == 2 and unit.lag == 1 - unit.version
        break  # not consumed
    assert [unit.actor for unit in learner.units(2)] == [0, 1]
    assert learner.publish(np.full(4, 2, np.float32)) == 2


def test_use_out_of_order_is_refused():
    world = World(2, ["async"])
    with pytest.raises(RuntimeError, match="publish before the units"):
        world.learner.publish(np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match="an epoch begins at the gate"):
        world.learner.open(Sync())


# Real processes.

LARGE = 20_000  # elements: a copy takes long enough to be overtaken
WORKERS = 3
SLOW = 10.0  # actor 0 is so much slower

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.topologies.streams.actor_pace"])


def act(arrays, carried, actor, seconds, seed, holds):
    """An actor: copies, dawdles, hands over what it has seen."""
    streams = streams_over(arrays, Parking(arrays["parking/sleeping"], carried.pipes), WORKERS)
    pace, local = ActorPace(streams, actor), np.zeros(LARGE, np.float32)
    dawdling = random.Random(seed)
    pace.arrive()
    while pace.enter():
        while (version := pace.start_unit(local)) is not None:
            slot = pace.ring.reserve(0.0)
            assert slot is not None
            time.sleep(dawdling.random() * seconds * (SLOW if actor == 0 else 1.0))
            if holds and actor == 0:
                wait_for_the_bound(streams, pace, version)
            for name, value in (("actor", actor), ("number", pace.ring.published), ("version", version), ("checksum", checksum(local))):
                slot[name][...] = value
            pace.finish_unit()
        pace.arrive()


def wait_for_the_bound(streams, pace, version):
    """bounded:K: keep a unit until the learner can make no further update without it."""
    _, delay, bound, _ = pace._orders
    while delay == IN_PLACE and bound < UNBOUNDED and streams.snapshots.version < version + bound:
        if streams.board.leads(CLOSING) >= streams.board.leads(EPOCH):
            return
        time.sleep(0.0005)


class Run:
    """Actors in processes of their own; learner and launcher are threads of this one."""

    def __init__(self, seconds=0.001, seed=0, holds=False):
        self.arrays = SharedArrays.allocate(layout(WORKERS, size=LARGE))
        self.parking = Parking.allocate(self.arrays["parking/sleeping"])
        self.streams = streams_over(self.arrays, self.parking, WORKERS)
        self.seconds, self.generator, self.holds = seconds, random.Random(seed), holds
        self.vector = np.arange(LARGE, dtype=np.float32)
        self.streams.snapshots.restore(self.vector, 0)
        self.checksums = {0: checksum(self.vector)}
        self.wished = False
        self.learner = LearnerPace(self.streams, lambda: self.wished)
        self.used = [0] * WORKERS
        self.lags, self.times = [], []
        self.processes = [self.start(actor) for actor in range(WORKERS)]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            if error[0] is not None:
                process.kill()
            process.join(10)
            assert error[0] is not None or process.exitcode == 0
        self.parking.close()

    def start(self, actor):
        arguments = (self.arrays, self.parking.carried(), actor, self.seconds, self.generator.random(), self.holds)
        process = context.Process(target=act, args=arguments, daemon=True)
        process.start()
        return process

    def wish_gate(self):
        """Ask the learner to close the epoch, as the launcher does."""
        self.wished = True
        self.parking.wake_all()

    def epoch(self, mode, updates, batch=2, close=None):
        """Run one mode for so many updates, then to the gate; checks every unit."""
        mode, learner = parse_mode(mode), self.learner
        self.wished = False
        learner.open(mode)
        first = learner.version
        while not learner.at_gate:
            taken = []
            for unit in learner.units(batch):
                assert unit.number == unit.slot["number"] == self.used[unit.actor]
                assert unit.version == unit.slot["version"] and unit.lag in allowed_lags(mode, unit.version, first)
                assert unit.slot["checksum"] == self.checksums[unit.version], "a torn copy, or that of another version"
                taken.append((unit.actor, unit.number))
                self.used[unit.actor] += 1
                self.lags.append(unit.lag)
            if learner.at_gate:
                break
            for actor, number in taken:
                self.vector += np.float32(1e-3 * (actor + 1)) * np.cos(self.vector * np.float32(number % 7))
            self.checksums[learner.version + 1] = checksum(self.vector)
            learner.publish(self.vector)
            self.times.append(time.monotonic())
            if learner.version == first + updates:
                (close or learner.close)()
        assert self.used == [ring.published for ring in learner._rings]
        return learner.version - first


def test_every_mode_in_one_run():
    with Run(holds=True) as run:
        for mode in [*MODES, "bounded:0", "bounded:inf", "sync"]:
            run.lags.clear()
            updates = run.epoch(mode, 20)
            if mode in ("sync", "bounded:0"):
                assert len(run.lags) == WORKERS * updates == WORKERS * 21
            if mode.startswith("bounded") and mode[8:] in "125":
                assert max(run.lags) == int(mode[8:]), "the slow actor should have reached the bound"
        run.learner.stop()


def test_same_bits_however_timed():
    """Closing an epoch included: it ends after the same update."""
    results = []
    for seed, seconds in ((1, 0.0), (2, 0.001)):
        with Run(seconds, seed) as run:
            after = []
            for mode in ("sync", "pipelined", "bounded:0", "pipelined"):
                run.epoch(mode, 30)
                after.append((mode, run.learner.version, run.vector.tobytes()))
            run.learner.stop()
        results.append(after)
    assert results[0] == results[1]


def keep_killing(run, kills, count):
    """The launcher: kill, settle, replace; one actor at least is always there. At last it wants the gate.

    It begins once the first update has been made, and ends after one that came after the last kill.
    """
    board = run.streams.board
    try:
        kill_and_replace(run, kills, count)
    finally:  # else the learner would go on for ever
        while board.leads(CLOSING) < board.leads(EPOCH):
            run.wish_gate()
            time.sleep(0.01)


def kill_and_replace(run, kills, count):
    board, chosen = run.streams.board, random.Random(count)
    wait_for(lambda: run.times)
    while len(kills) < count:
        time.sleep(chosen.random() * 0.05)
        present = [actor for actor in range(WORKERS) if not load_acquire(board.actors, actor * WORDS_PER_LINE + ABSENT)]
        if len(present) < 2:
            continue
        actor = chosen.choice(present)
        os.kill(run.processes[actor].pid, signal.SIGKILL)
        run.processes[actor].join()
        run.streams.settle(actor)
        kills.append(time.monotonic())
        try:
            if len(kills) % 2:  # the others do not need its successor: there is none until they have gone on
                made = len(run.times)
                wait_for(lambda goal=made + 3: len(run.times) >= goal)
        finally:
            run.processes[actor] = run.start(actor)
    wait_for(lambda: run.times[-1] > kills[-1])


@pytest.mark.stress
@pytest.mark.parametrize("count", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_kills(count):
    """Actors killed at any instruction: nobody stalls, nothing is lost or counted twice, and no lag passes the bound."""
    with Run(0.001) as run:
        for mode in ("sync", "pipelined", "bounded:1", "async"):
            run.epoch("sync", 2)  # everybody is up
            run.times.clear()
            kills = []
            launcher = threading.Thread(target=keep_killing, args=(run, kills, count))
            launcher.start()
            run.epoch(mode, -1)
            launcher.join()
            assert len(kills) == count and run.times[0] < kills[0] and run.times[-1] > kills[-1]
            assert np.median([next(at for at in run.times if at > kill) - kill for kill in kills]) < 0.5
        run.learner.stop()


def test_who_waits_uses_no_processor_and_is_woken_by_a_wish():
    with Run(0.05) as run:
        run.epoch("sync", 1)
        run.learner.wait_seconds = 0.0
        clock, processor = time.monotonic(), time.process_time()
        run.epoch("sync", 3)
        clock, processor = time.monotonic() - clock, time.process_time() - processor
        assert run.learner.wait_seconds > 0.5 * clock and processor < 0.25 * clock
        opened = run.streams.board.leads(EPOCH)

        def wish():
            wait_for(lambda: run.streams.board.leads(EPOCH) > opened)  # a wish for the epoch before would be lost
            time.sleep(0.3)
            run.wish_gate()

        threading.Thread(target=wish).start()
        assert run.epoch("async", -1, batch=1 << 40) == 1, "the one update that never filled has everything"
        run.learner.stop()
