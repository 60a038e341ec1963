"""The queues of the queue benchmark, behind one interface (`Link`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from queue import Empty, Full
from typing import Any, NamedTuple, Protocol

import numpy as np

from asyncrl.bench.byte_rings import HEADER, ByteRing
from asyncrl.bench.fans import FanGrid
from asyncrl.shared.arrays import WORDS_PER_LINE, SharedArrays, prefixed
from asyncrl.shared.parking import Parking, PipesToCarry
from asyncrl.shared.rings import is_asleep

PAYLOAD = 256
"""Bytes of a message."""
BATCH = 100
"""The most messages that a consumer takes in one call, for queues that can do that."""
BURST = 32
"""Messages that a producer of `Rings` puts before it turns to the next consumer, so that there is one wake-up per burst."""
RING_BYTES = 1 << 20
"""Bytes of buffer per producer: of all its rings together, or its part of faster-fifo's queue."""


class Case(NamedTuple):
    """A case of the benchmark: the numbers of producers and consumers."""

    producers: int
    consumers: int
    share: float
    """Messages per producer, as a share of those in the first case."""

    @property
    def name(self) -> str:
        """Such as ``"3 to 20"``."""
        return f"{self.producers} to {self.consumers}"


class Link(Protocol):
    """A kind of queue between the producers and consumers of a case. Subclasses are used as they are, without instances."""

    @classmethod
    def open(cls, context: ForkServerContext, case: Case) -> tuple[type, Any]:
        """Allocate the queue in the main process; returns the link's class and the object that all processes get as `common`."""
        raise NotImplementedError

    @classmethod
    def produce(cls, common: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        """The work of producer `index`, which sends `count` messages of PAYLOAD bytes and returns how many it has sent."""
        raise NotImplementedError

    @classmethod
    def consume(cls, common: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        """The work of consumer `index`, which receives messages until all producers are done and returns how many it has received."""
        raise NotImplementedError

    @classmethod
    def finish(cls, common: Any, case: Case) -> None:
        """Called in the main process when the producers have ended, to end the consumers."""
        raise NotImplementedError


class Rings(Link):
    """One byte ring per pair. An empty message from each producer tells a consumer that this producer is done."""

    @classmethod
    def open(cls, context: ForkServerContext, case: Case) -> tuple[type, Any]:
        layout = ByteRing.layout(max(RING_BYTES // case.consumers, 64 * PAYLOAD))
        arrays = SharedArrays.allocate(
            {
                **prefixed("grid", FanGrid.layout(case.producers, case.consumers, layout)),
                **prefixed("parking", Parking.layout(case.producers + case.consumers)),
            }
        )
        return cls, (arrays, Parking.allocate(arrays["parking/sleeping"]).carried())

    @staticmethod
    def grid(common: tuple[SharedArrays, PipesToCarry], case: Case) -> tuple[FanGrid[ByteRing], Parking]:
        """The rings and the parking, attached in this process."""
        arrays, carried = common
        parking = Parking(arrays["parking/sleeping"], carried.pipes)

        def make(parts: dict[str, Any], producer: int, consumer: int) -> ByteRing:
            return ByteRing(parts, "wait", parking, producer, case.producers + consumer)

        _warm_up()
        return FanGrid(arrays.part("grid"), case.producers, case.consumers, make), parking

    @staticmethod
    def send(ring: ByteRing, message: bytes, burst: int) -> None:
        """Send `burst` copies of a message."""
        for _ in range(burst):
            ring.put(message)

    @classmethod
    def produce(cls, common: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        grid, parking = Rings.grid(common, case)
        fan = grid.producer(index, parking, index)
        message = bytes(PAYLOAD)

        def run() -> int:
            left = count
            while left:
                burst = min(BURST, left)
                ring = fan.next(burst * (PAYLOAD + HEADER))
                if ring is None:
                    fan.wait(burst * (PAYLOAD + HEADER))
                    continue
                cls.send(ring, message, burst)
                left -= burst
            for ring in fan.rings:
                ring.put(b"")
            return count

        return run

    @staticmethod
    def consume(common: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        grid, parking = Rings.grid(common, case)
        fan = grid.consumer(index, parking, case.producers + index)

        def run() -> int:
            received = done = 0
            while done < case.producers:
                ring = fan.next()
                if ring is None:
                    fan.wait()
                    continue
                messages = ring.get_many(BATCH)
                received += len(messages)
                if not messages[-1]:
                    done += 1
                    received -= 1
            return received

        return run

    @staticmethod
    def finish(common: Any, case: Case) -> None:
        return


class RingsInBursts(Rings):
    """As `Rings`, but each burst is put and published by one call."""

    @staticmethod
    def send(ring: ByteRing, message: bytes, burst: int) -> None:
        ring.put_many([message] * burst)


def _warm_up() -> None:
    """Load the compiled functions before the time is measured."""
    grid: FanGrid[ByteRing] = FanGrid(
        SharedArrays.allocate(FanGrid.layout(1, 1, ByteRing.layout(PAYLOAD))), 1, 1, lambda parts, *_: ByteRing(parts, "refuse")
    )
    fan_out, fan_in = grid.producer(0), grid.consumer(0)
    if (ring := fan_out.next()) is not None and ring.put(b""):
        assert fan_in.next() is not None and fan_in.rings[0].get() == b""
    is_asleep(np.zeros(WORDS_PER_LINE, np.int64), 0)
    parking = Parking.allocate(np.zeros(WORDS_PER_LINE, np.int64))
    parking.wait(0, lambda: False, 0.0)
    parking.close()


class LockedQueue(Link):
    """`multiprocessing.Queue`, which all processes share. When the producers have ended, each consumer gets a None."""

    @staticmethod
    def open(context: ForkServerContext, case: Case) -> tuple[type, Any]:
        return LockedQueue, context.Queue()

    @staticmethod
    def produce(queue: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        message = bytes(PAYLOAD)

        def run() -> int:
            for _ in range(count):
                queue.put(message)
            return count

        return run

    @staticmethod
    def consume(queue: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        def run() -> int:
            received = 0
            while queue.get() is not None:
                received += 1
            return received

        return run

    @staticmethod
    def finish(queue: Any, case: Case) -> None:
        for _ in range(case.consumers):
            queue.put(None)


class FasterFifo(Link):
    """The queue of the package faster-fifo, used as in its own benchmark: put one message, get up to a hundred."""

    @staticmethod
    def open(context: ForkServerContext, case: Case) -> tuple[type, Any]:
        return FasterFifo, importlib.import_module("faster_fifo").Queue(RING_BYTES * case.producers)

    @staticmethod
    def produce(queue: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        message = bytes(PAYLOAD)

        def run() -> int:
            for _ in range(count):
                while True:
                    try:
                        queue.put(message, timeout=1.0)
                        break
                    except Full:
                        continue
            return count

        return run

    @staticmethod
    def consume(queue: Any, case: Case, index: int, count: int) -> Callable[[], int]:
        def run() -> int:
            received = 0
            while True:
                try:
                    messages = queue.get_many(max_messages_to_get=BATCH, timeout=1.0)
                except Empty:
                    continue
                ends = sum(message is None for message in messages)
                received += len(messages) - ends
                if ends:
                    for _ in range(ends - 1):  # these were meant for other consumers
                        queue.put(None)
                    return received

        return run

    @staticmethod
    def finish(queue: Any, case: Case) -> None:
        for _ in range(case.consumers):
            queue.put(None)


OPENERS: dict[str, Callable[[ForkServerContext, Case], tuple[Any, Any]]] = {
    "asyncrl": Rings.open,
    "asyncrl_put_many": RingsInBursts.open,
    "multiprocessing": LockedQueue.open,
    "faster_fifo": FasterFifo.open,
}
