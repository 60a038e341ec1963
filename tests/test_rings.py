"""Rings against a deque, under stress with real processes, and with either side killed at any instruction."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncrl.bench.byte_rings import ByteRing
from asyncrl.bench.fans import FanGrid
from asyncrl.errors import UserError
from asyncrl.shared import parking as parking_module
from asyncrl.shared.arrays import SharedArrays, prefixed
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import Ring

FIELDS = {"position": ((), np.int64), "payload": ((64,), np.int64)}
LIMIT = 120.0
BUSY_SECONDS = 15.0
"""After so long a stress test has shown enough: where others hold the cores, every exchange costs a turn of the system's scheduler."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["asyncrl.shared.rings", "asyncrl.bench.fans"])


def private(layout):
    return {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}


def shared(slots, layout=None):
    layout = layout or Ring.layout(slots, FIELDS)
    arrays = SharedArrays.allocate({**prefixed("ring", layout), **prefixed("parking", Parking.layout(2)), "log": ((4_000_000,), np.int64)})
    parking = Parking.allocate(arrays["parking/sleeping"])
    return arrays, parking


def attached(arrays, carried, when_full):
    parking = Parking(arrays["parking/sleeping"], carried.pipes)
    return Ring(arrays.part("ring"), when_full, parking, 0, 1)


# Against a deque.


class RingAgainstDeque(RuleBasedStateMachine):
    """Every order of operations, either side replaced at any point between two of them."""

    @initialize(slots=st.integers(1, 4), when_full=st.sampled_from(["refuse", "drop_oldest"]))
    def start(self, slots, when_full):
        self.slots, self.when_full = slots, when_full
        self.arrays = private(Ring.layout(slots, FIELDS))
        self.replace_producer()
        self.replace_consumer()
        self.unread, self.sent, self.received, self.lost = deque(), 0, 0, 0
        self.reserved, self.held = None, None

    def ring(self):
        return Ring(self.arrays, self.when_full)

    @rule()
    def replace_producer(self):
        self.producer, self.reserved = self.ring(), None

    @rule()
    def replace_consumer(self):
        self.consumer, self.held = self.ring(), None

    @rule()
    def reserve(self):
        slot = self.producer.reserve()
        full = len(self.unread) == self.slots
        if full and self.when_full == "refuse":
            assert slot is None
            return
        if full:
            self.unread.popleft()
            self.lost += 1
        slot["position"][...] = self.sent
        slot["payload"][...] = self.sent
        self.reserved = slot

    @precondition(lambda self: self.reserved is not None)
    @rule()
    def publish(self):
        self.producer.publish()
        self.unread.append(self.sent)
        self.sent += 1
        self.reserved = None

    @rule(count=st.integers(1, 3))
    def send(self, count):
        for _ in range(count):
            self.reserve()
            if self.reserved is not None:
                self.publish()

    @rule()
    def front(self):
        slot = self.consumer.front()
        self.held = self.unread[0] if self.unread else None
        if not self.unread:
            assert slot is None
            return
        assert slot["position"] == self.held and (slot["payload"] == self.held).all()

    @precondition(lambda self: self.held is not None)
    @rule()
    def release(self):
        whole = bool(self.unread) and self.unread[0] == self.held
        assert self.consumer.release() == whole
        if whole:
            self.unread.popleft()
            self.received += 1
        self.held = None

    @rule()
    def pop(self):
        record = self.consumer.pop()
        self.held = None
        if not self.unread:
            assert record is None
            return
        assert record["position"] == self.unread.popleft() and (record["payload"] == record["position"]).all()
        self.received += 1

    @rule(limit=st.one_of(st.none(), st.integers(0, 5)))
    def drain(self, limit):
        records = self.consumer.drain(limit)
        self.held = None
        count = len(self.unread) if limit is None else min(limit, len(self.unread))
        expected = [self.unread.popleft() for _ in range(count)]
        assert records["position"].tolist() == expected and records["payload"].shape == (count, 64)
        assert (records["payload"] == records["position"][:, None]).all()
        self.received += count

    @invariant()
    def counts(self):
        if hasattr(self, "arrays"):
            watcher = self.ring()
            assert (watcher.published, watcher.consumed, watcher.dropped) == (self.sent, self.received, self.lost)
            assert len(watcher) == len(self.unread) == self.sent - self.received - self.lost


class ByteRingAgainstDeque(RuleBasedStateMachine):
    @initialize(capacity=st.integers(16, 200))
    def start(self, capacity):
        self.arrays = private(ByteRing.layout(capacity))
        self.unread = deque()
        self.replace_producer()
        self.replace_consumer()

    @rule()
    def replace_producer(self):
        self.producer = ByteRing(self.arrays, "refuse")

    @rule()
    def replace_consumer(self):
        self.consumer = ByteRing(self.arrays, "refuse")

    def occupied(self):
        return sum(8 + -(-len(message) // 8) * 8 for message in self.unread)

    @rule(message=st.binary(max_size=40))
    def put(self, message):
        size = 8 + -(-len(message) // 8) * 8
        if size > self.producer.capacity:
            with pytest.raises(UserError, match="longer than the ring"):
                self.producer.put(message)
            return
        fits = self.occupied() + size <= self.producer.capacity
        assert self.producer.put(message) == fits
        if fits:
            self.unread.append(message)

    @rule(messages=st.lists(st.binary(max_size=8), max_size=8))
    def put_many(self, messages):
        done = self.producer.put_many(messages)
        self.unread.extend(messages[:done])
        assert self.occupied() <= self.producer.capacity
        if done < len(messages):
            assert self.occupied() + 8 + -(-len(messages[done]) // 8) * 8 > self.producer.capacity

    @rule()
    def get(self):
        assert self.consumer.get() == (self.unread.popleft() if self.unread else None)

    @rule(limit=st.one_of(st.none(), st.integers(0, 5)))
    def get_many(self, limit):
        count = len(self.unread) if limit is None else min(limit, len(self.unread))
        assert self.consumer.get_many(limit) == [self.unread.popleft() for _ in range(count)]

    @invariant()
    def size(self):
        if hasattr(self, "arrays"):
            assert self.consumer.unread_bytes == self.occupied()


RingAgainstDeque.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
ByteRingAgainstDeque.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_ring_is_a_deque = RingAgainstDeque.TestCase
test_byte_ring_is_a_deque = ByteRingAgainstDeque.TestCase


# What it is made of.


def test_both_sides_see_the_same_memory():
    arrays = SharedArrays.allocate(Ring.layout(3, FIELDS))
    producer, consumer = Ring(arrays, "refuse"), Ring(arrays, "refuse")
    written = producer.reserve()
    producer.publish()
    read = consumer.front()
    for name in FIELDS:
        assert np.shares_memory(written[name], arrays[f"field/{name}"]) and np.shares_memory(read[name], written[name])
    written["payload"][5] = 7
    assert read["payload"][5] == 7


def test_the_two_sides_write_different_cache_lines():
    arrays = SharedArrays.allocate(Ring.layout(2, FIELDS))
    ring = Ring(arrays, "drop_oldest")
    before = ring.words.copy()
    for _ in range(5):
        ring.push(position=0, payload=0)
    assert (ring.words[8:] == before[8:]).all() and ring.words.ctypes.data % 64 == 0
    before = ring.words.copy()
    ring.drain()
    assert (ring.words[:8] == before[:8]).all() and (ring.words[8:] != before[8:]).any()


def test_misuse_is_told():
    ring = Ring(private(Ring.layout(2, FIELDS)), "refuse")
    with pytest.raises(RuntimeError, match="publish without reserve"):
        ring.publish()
    with pytest.raises(RuntimeError, match="release without front"):
        ring.release()
    with pytest.raises(ValueError, match="fields given"):
        ring.push(position=1)
    with pytest.raises(UserError, match="did you mean 'drop_oldest'"):
        Ring(private(Ring.layout(2, FIELDS)), "drop_oldes")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no place to sleep"):
        ring.wait(0.1)


def test_fans_take_turns_skip_the_full_and_find_the_unread():
    arrays = private(FanGrid.layout(2, 3, Ring.layout(2, FIELDS)))
    grid = FanGrid(arrays, 2, 3, lambda parts, n, m: Ring(parts, "refuse"))
    fan, other = grid.producer(1), grid.producer(0)
    chosen = []
    while (ring := fan.next()) is not None:
        chosen.append(fan.rings.index(ring))
        assert ring.push(position=len(chosen), payload=1)
    assert chosen == [0, 1, 2, 0, 1, 2]
    assert other.next() is other.rings[0], "the other producer has rings of its own"
    assert fan.next(2) is None
    readers = [grid.consumer(consumer) for consumer in range(3)]
    assert readers[2].next().pop()["position"] == 3
    assert fan.next() is fan.rings[2] and fan.next(2) is None
    for consumer, positions in enumerate(([1, 4], [2, 5], [6])):
        assert readers[consumer].next() is readers[consumer].rings[1]
        assert readers[consumer].next().drain()["position"].tolist() == positions
        assert readers[consumer].next() is None and not readers[consumer].any_unread()
    for producer in (other, fan):
        producer.rings[1].push(position=0, payload=producer is fan), producer.rings[1].push(position=1, payload=producer is fan)
    turns = [int(readers[1].next().pop()["payload"][0]) for _ in range(4)]
    assert turns in ([0, 1, 0, 1], [1, 0, 1, 0])


class Watched:
    """A buffer that calls back before every access, as the other side might look at any instant."""

    def __init__(self, buffer, look):
        self.buffer, self.look = buffer, look

    def __setitem__(self, place, value):
        self.look()
        self.buffer[place] = value

    def __getitem__(self, place):
        self.look()
        return self.buffer[place]


@pytest.mark.parametrize("length", [3, 50])
def test_byte_messages_are_copied_before_the_index_moves(length):
    arrays = private(ByteRing.layout(88))
    expected, looks = 0, []
    watcher = ByteRing(arrays, "refuse")
    producer, consumer = ByteRing(arrays, "refuse"), ByteRing(arrays, "refuse")
    for ring in (producer, consumer):
        ring._bytes = Watched(ring._bytes, lambda: looks.append(watcher.unread_bytes == expected))
        ring._lengths = Watched(ring._lengths, lambda: looks.append(watcher.unread_bytes == expected))
    for turn in range(9):  # wraps around
        message, expected = bytes([turn]) * length, 0
        assert producer.put(message) if turn % 2 else producer.put_many([message])
        expected = watcher.unread_bytes
        assert expected and consumer.get() == message
    assert len(looks) > 30 and all(looks)


def test_a_producer_that_dies_while_copying_leaves_nothing():
    arrays = private(ByteRing.layout(64))
    dying = ByteRing(arrays, "refuse")
    assert dying.put(b"before")
    with pytest.raises(TypeError):
        dying.put([1, 2])  # type: ignore[arg-type]
    heir = ByteRing(arrays, "refuse")
    assert heir.put(b"after") and ByteRing(arrays, "refuse").get_many() == [b"before", b"after"]


# Under stress.


def send(arrays, carried, when_full, count, gate, seconds=np.inf):
    """Push records until `count` were published, going on from what was published before. None: for ever. Or for so many seconds."""
    ring = attached(arrays, carried, when_full)
    if gate is not None:
        gate.wait(LIMIT)
    position, end = ring.published, time.monotonic() + seconds
    while (count is None or position < count) and time.monotonic() < end:
        slot = ring.reserve()
        slot["position"][...] = position
        slot["payload"][...] = position
        ring.publish()
        position += 1


def receive(arrays, carried, count, gate):
    """Count in the log every position that was read, before it is released; -1 for what was torn or out of order."""
    ring, log = attached(arrays, carried, "wait"), arrays["log"]
    if gate is not None:
        gate.wait(LIMIT)
    while ring.consumed < count:
        if not ring.wait(unless=lambda: arrays["log"][-1]):
            return  # no more will come
        slot, expected = ring.front(), ring.consumed
        whole = slot["position"] == expected and (slot["payload"] == expected).all()
        log[expected] += 1 if whole else 1_000_000
        ring.release()


def started(target, *arguments):
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def ended(process):
    process.join(LIMIT)
    code = process.exitcode
    process.kill()
    process.join()
    return code


@pytest.mark.stress
def test_three_slots_carry_every_record_once_and_in_order():
    count = 50_000
    arrays, parking = shared(3)
    gate = context.Barrier(2)
    receiver = started(receive, arrays, parking.carried(), count, gate)
    sender = started(send, arrays, parking.carried(), "wait", count, gate, BUSY_SECONDS)
    assert ended(sender) == 0
    arrays["log"][-1] = 1
    parking.wake(1)
    assert ended(receiver) == 0
    sent = Ring(arrays.part("ring"), "wait").published
    assert 1000 < sent <= count
    assert (arrays["log"][:sent] == 1).all() and not arrays["log"][sent:-1].any()


@pytest.mark.stress
@pytest.mark.parametrize("take", ["pop", "drain"])
def test_drop_oldest_tears_nothing_and_counts_every_drop(take):
    count = 60_000
    arrays, parking = shared(3)
    ring = Ring(arrays.part("ring"), "drop_oldest")
    gate = context.Barrier(2)
    sender = started(send, arrays, parking.carried(), "drop_oldest", count, gate)
    gate.wait(LIMIT)
    received, last = 0, -1
    deadline = time.monotonic() + LIMIT
    while ring.consumed + ring.dropped < count and time.monotonic() < deadline:
        if take == "pop":
            record = ring.pop()
            records = {name: value[None] for name, value in record.items()} if record else ring.drain(0)
        else:
            records = ring.drain()
        positions = records["position"]
        assert (records["payload"] == positions[:, None]).all()
        assert (np.diff(positions, prepend=last) > 0).all()
        last = positions[-1] if len(positions) else last
        received += len(positions)
    assert ended(sender) == 0
    assert last == count - 1 and ring.dropped > 0
    assert received == ring.consumed == count - ring.dropped


@pytest.mark.stress
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("when_full", ["wait", "drop_oldest"])
def test_killed_producers_lose_nothing_that_was_published(when_full, kills):
    arrays, parking = shared(3)
    ring = attached(arrays, parking.carried(), when_full)
    rng = random.Random(1)
    next_position, received = 0, 0
    for _ in range(kills):
        sender = started(send, arrays, parking.carried(), when_full, None, None)
        while ring.published == next_position:
            time.sleep(0.001)
        end = time.monotonic() + rng.random() * 0.02
        killed = False
        while True:
            if not killed and time.monotonic() > end:
                os.kill(sender.pid, signal.SIGKILL)
                sender.join()
                killed = True
            record = ring.pop()
            if record is None and killed:
                break
            if record is not None:
                assert (record["payload"] == record["position"]).all()
                assert record["position"] == next_position if when_full == "wait" else record["position"] >= next_position
                next_position, received = record["position"] + 1, received + 1
        next_position = ring.published
        assert received == ring.consumed == ring.published - ring.dropped
    assert received > kills


@pytest.mark.stress
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_consumers_lose_nothing(kills):
    arrays, parking = shared(3)
    ring = attached(arrays, parking.carried(), "wait")
    sender = started(send, arrays, parking.carried(), "wait", 4_000_000, None)
    rng = random.Random(2)
    for _ in range(kills):
        before = ring.consumed
        receiver = started(receive, arrays, parking.carried(), 4_000_000, None)
        while ring.consumed < before + 20 and receiver.is_alive():
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        os.kill(receiver.pid, signal.SIGKILL)
        receiver.join()
    sender.kill()
    sender.join()
    ring.drain()
    log, consumed = arrays["log"], ring.consumed
    assert consumed > kills * 10
    read = log[: consumed - 3]  # the last three may have been drained by this process
    assert (read >= 1).all() and (read <= 1 + kills).all() and (read > 1).sum() <= kills and log.max() < 1_000_000


def cross_send(arrays, carried, producer, count, gate):
    grid, parking = crossing(arrays, carried)
    fan = grid.producer(producer, parking, producer)
    gate.wait(LIMIT)
    for number in range(count):
        while (ring := fan.next()) is None:
            fan.wait()
        ring.push(position=number, payload=producer)
    arrays["sent"][producer] = 1
    parking.wake_all()


def crossing(arrays, carried):
    parking = Parking(arrays["parking/sleeping"], carried.pipes)
    return FanGrid(arrays.part("grid"), 3, 2, lambda parts, n, m: Ring(parts, "wait", parking, n, 3 + m)), parking


def cross_receive(arrays, carried, consumer, gate):
    grid, parking = crossing(arrays, carried)
    fan = grid.consumer(consumer, parking, 3 + consumer)
    log = arrays["log"][consumer]
    last = [-1, -1, -1]
    gate.wait(LIMIT)
    while fan.wait(LIMIT, unless=lambda: arrays["sent"].all()):  # nothing unread, and nothing will come
        ring = fan.next()
        record = ring.pop()
        producer, number = int(record["payload"][0]), int(record["position"])
        assert fan.rings.index(ring) == producer and number > last[producer]
        last[producer] = number
        log[producer, number] += 1


@pytest.mark.stress
def test_many_to_many_delivers_every_record_to_one_consumer():
    count = 3000
    layout = {
        **prefixed("grid", FanGrid.layout(3, 2, Ring.layout(3, FIELDS))),
        **prefixed("parking", Parking.layout(5)),
        "log": ((2, 3, count), np.int64),
        "sent": ((3,), np.int64),
    }
    arrays = SharedArrays.allocate(layout)
    parking = Parking.allocate(arrays["parking/sleeping"])
    gate = context.Barrier(5)
    processes = [started(cross_send, arrays, parking.carried(), producer, count, gate) for producer in range(3)]
    processes += [started(cross_receive, arrays, parking.carried(), consumer, gate) for consumer in range(2)]
    assert [ended(process) for process in processes] == [0] * 5
    assert (arrays["log"].sum(axis=0) == 1).all() and (arrays["log"].sum(axis=(1, 2)) > 0).all()


def byte_send(arrays, carried, seed, count, gate):
    ring = ByteRing(arrays.part("ring"), "wait", Parking(arrays["parking/sleeping"], carried.pipes), 0, 1)
    rng = random.Random(seed)
    gate.wait(LIMIT)
    for _ in range(count):
        ring.put(rng.randbytes(rng.randrange(90)))


@pytest.mark.stress
def test_byte_messages_of_all_lengths_arrive_whole():
    count = 30_000
    arrays, parking = shared(3, ByteRing.layout(256))
    ring = ByteRing(arrays.part("ring"), "wait", parking, 0, 1)
    gate = context.Barrier(2)
    sender = started(byte_send, arrays, parking.carried(), 5, count, gate)
    rng, received = random.Random(5), 0
    gate.wait(LIMIT)
    while received < count and ring.wait(10.0):
        for message in ring.get_many():
            assert message == rng.randbytes(rng.randrange(90))
            received += 1
    assert ended(sender) == 0 and received == count and ring.get() is None


# Waiting.


def sleep_on(arrays, carried, side):
    """Wait three times on one side; leave the processor seconds of it and the moment of each wake-up in the log."""
    parking_module.RECHECK_SECONDS = 10.0  # a lost wake-up cannot be taken for a slow one
    ring, seconds = attached(arrays, carried, "wait"), arrays["log"].view(np.float64)
    ring.reserve(0.0)
    ring.front()
    Parking(arrays["parking/sleeping"], carried.pipes).wait(0, lambda: False, 0.0)  # the kernels are loaded
    for turn in range(3):
        arrays["log"][20] = turn + 1
        spent = time.process_time()
        if side == "consumer":
            ring.wait()
            seconds[10 + turn] = time.monotonic()
            seconds[turn] = time.process_time() - spent
            ring.pop()
        else:
            ring.reserve()
            seconds[10 + turn] = time.monotonic()
            seconds[turn] = time.process_time() - spent
            ring.publish()


@pytest.mark.parametrize("side", ["consumer", "producer"])
def test_waiting_costs_no_processor_and_ends_at_once(side):
    arrays, parking = shared(2)
    ring = attached(arrays, parking.carried(), "wait")
    if side == "producer":
        ring.push(position=0, payload=0), ring.push(position=0, payload=0)
    sleeper = started(sleep_on, arrays, parking.carried(), side)
    seconds, moments = arrays["log"].view(np.float64), []
    for turn in range(3):
        while arrays["log"][20] != turn + 1:
            time.sleep(0.001)
        time.sleep(0.43)
        moments.append(time.monotonic())
        if side == "consumer":
            ring.push(position=0, payload=0)
        else:
            ring.pop()
    assert ended(sleeper) == 0
    assert np.median(seconds[:3]) < 0.1, "processor seconds of a wait of 0.43 s"
    assert np.median(seconds[10:13] - moments) < 0.2, "seconds from the progress to the wake-up"


def test_a_wait_ends_when_time_is_up_or_the_caller_gives_up():
    arrays, parking = shared(1)
    ring = attached(arrays, parking.carried(), "wait")
    assert ring.push(position=0, payload=0)
    before = time.monotonic()
    assert ring.reserve(0.15) is None and 0.1 < time.monotonic() - before < 20.0
    assert ring.reserve(unless=lambda: True) is None
    ring.pop()
    assert not ring.wait(0.0) and not ring.wait(unless=lambda: True)
    assert ring.reserve() is not None
