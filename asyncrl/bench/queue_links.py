"""What the queue benchmark sends messages through: each link opens, produces, consumes and finishes in its own way."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from queue import Empty, Full
from typing import Any, NamedTuple

import numpy as np

from asyncrl.bench.byte_rings import HEADER, ByteRing
from asyncrl.bench.fans import FanGrid
from asyncrl.shared.arrays import WORDS_PER_LINE, SharedArrays, prefixed
from asyncrl.shared.parking import Parking, PipesToCarry
from asyncrl.shared.rings import is_asleep

PAYLOAD = 256
"""Bytes of a message."""
BATCH = 100
"""Most messages that a consumer takes at once, where the queue can do that."""
BURST = 32
"""Messages that a producer of ours puts, one by one, before it turns to the next consumer: a wake-up per burst."""
RING_BYTES = 1 << 20
"""Buffer of one producer (ours: over all its rings) and, for faster-fifo, of the queue: per producer too."""


class Case(NamedTuple):
    """`share`: messages per producer, as a share of those of the first case."""

    producers: int
    consumers: int
    share: float

    @property
    def name(self) -> str:
        return f"{self.producers} to {self.consumers}"


class Rings:
    """A byte ring per pair. An empty message from each producer tells a consumer that it is done."""

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
        arrays, carried = common
        parking = Parking(arrays["parking/sleeping"], carried.pipes)

        def make(parts: dict[str, Any], producer: int, consumer: int) -> ByteRing:
            return ByteRing(parts, "wait", parking, producer, case.producers + consumer)

        _warm_up()
        return FanGrid(arrays.part("grid"), case.producers, case.consumers, make), parking

    @staticmethod
    def send(ring: ByteRing, message: bytes, burst: int) -> None:
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
    """The same, with a burst put at once and published once."""

    @staticmethod
    def send(ring: ByteRing, message: bytes, burst: int) -> None:
        ring.put_many([message] * burst)


def _warm_up() -> None:
    """Load the compiled kernels, which is start-up and not traffic."""
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


class LockedQueue:
    """One queue with a lock for everybody. When the producers are gone, a None per consumer ends it."""

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


class FasterFifo:
    """faster-fifo's queue, as its own benchmark uses it: put one, get up to a hundred."""

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
                    for _ in range(ends - 1):  # the ends of others
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
