"""What the learner of a stream knows, and how it outlives the learner's process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.tables import attach_tables
from asyncrl.learners.updater import Updater
from asyncrl.shared.arrays import Layout, SharedArrays, prefixed
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.journal import Entry, Journal
from asyncrl.shared.rings import CONSUMED, WORDS
from asyncrl.shared.states import States
from asyncrl.shared.statistics import merge_one, standardise
from asyncrl.topologies.streams.plan import PublishedPolicy, observed_size, stream_policy, updater_of
from asyncrl.topologies.streams.streams import Streams, Unit
from asyncrl.trajectory import Trajectory
from asyncrl.workers.plan import Task

UNIT_FIELDS = ("observation", "action", "reward", "ended", "final_observation", "memory")

KEEP_SHARE = 0.02
"""Of the time, what keeping the learner's state may cost: it is kept as often as that allows, and units are remembered in between."""


class StreamState:
    """The algorithm's learner, and what is kept beside it."""

    def __init__(self, task: Task, store: Mapping[str, NDArray[Any]] | None = None, memory: SharedArrays | None = None):
        """`store`: the arrays of the updater's `layout`; `memory`: with the tables of the policy's head; without them it has its own."""
        policy, observed = stream_policy(task), observed_size(task)
        if memory is not None:
            attach_tables(policy.head, memory)
        self.updater: Updater = updater_of(task, policy, store)
        self.published = PublishedPolicy.empty(policy.size, observed)
        self._own = {
            "steps": np.zeros(1, np.int64),  # of all units taken
            "observed_count": np.zeros(1),
            "observed_mean": np.zeros(observed),
            "observed_square": np.zeros(observed),
        }

    @property
    def steps(self) -> int:
        """Steps of all units taken."""
        return int(self._own["steps"][0])

    def publish(self) -> NDArray[np.float32]:
        """The vector [N] that actors need now."""
        own, published = self._own, self.published
        self.updater.published(published.parameters)
        standardise(own["observed_count"][0], own["observed_mean"], own["observed_square"], published.shift, published.scale)
        published.uniform[0] = float(self.updater.explores(self.steps))
        published.steps[0] = self.steps
        return published.vector

    def take(self, unit: Unit) -> None:
        """Use up one unit. Its slot is read until the update that follows is done."""
        own, slot = self._own, unit.slot
        trajectory = Trajectory.over({name: slot[name] for name in UNIT_FIELDS})
        trajectory.version = unit.version
        self.updater.take(unit.actor, trajectory, slot["log_prob"], slot["fresh"])
        own["steps"] += trajectory.reward.size
        if own["observed_mean"].size:
            counts = own["observed_count"], own["observed_mean"], own["observed_square"]
            merge_one(*counts, float(slot["observed_count"]), slot["observed_mean"], slot["observed_square"])

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps."""
        return {**self._named(), **self.updater.state()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take it back."""
        self._take_own(arrays)
        self.updater.restore({name: array for name, array in arrays.items() if not name.startswith("own/")})

    def kept(self) -> dict[str, NDArray[Any]]:
        """What `recover` needs beside what lies in shared memory: arrays of fixed shapes."""
        return {**self._named(), **self.updater.kept()}

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        """Be as when `kept` was kept as number `number`, the newest."""
        self._take_own(kept)
        self.updater.recover({name: array for name, array in kept.items() if not name.startswith("own/")}, number)

    def _named(self) -> dict[str, NDArray[Any]]:
        return {f"own/{name}": array for name, array in self._own.items()}

    def _take_own(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self._own.items():
            array[...] = arrays[f"own/{name}"]


class Keeper:
    """Keeps the learner's state in shared memory, so that a successor has all that the learner knew.

    The state is kept now and then, in two copies of which the other is overwritten; every unit that is taken goes into a
    journal before its ring lets go of it. A successor takes the state that was kept last and makes again, from the same
    units, what was made since: every version that was announced, to the same bits, and the beginning of the one at hand.

    Writers:  the learner; after its confirmed death, its successor, or the main process where there will be none.
    Readers:  the same.
    Stale:    not applicable.
    When full: a journal that has no room for another update has the state kept, whatever that costs.
    Crash:    at any instruction. `kept` says which of the two copies is whole, and moves after it was written; which versions
              count is for `Snapshots` to say, and which units for the rings.
    """

    def __init__(self, state: StreamState, memory: SharedArrays, streams: Streams, at_once: int):
        """`memory`: of `layout`; `at_once`: units that an update may use."""
        self._state, self._streams, self._at_once = state, streams, at_once
        self._states, self._journal = States(memory.part("states")), Journal(memory.part("journal"))
        self._kept: NDArray[np.int64] = memory["kept"]  # how often the state was kept: its copy is that modulo 2
        self._cost, self._kept_at, self._version = 0.0, time.perf_counter(), 0

    @staticmethod
    def layout(state: Mapping[str, NDArray[Any]], slots: int, unit: Layout) -> Layout:
        """`state`: an example of `StreamState.kept`; `slots`: units of the journal."""
        fields = {**unit, "acted": ((), np.int64)}
        example = {**state, "version": np.zeros(1, np.int64)}
        return {
            **prefixed("states", States.layout(example)),
            **prefixed("journal", Journal.layout(slots, fields)),
            "kept": ((1,), np.int64),
        }

    @property
    def number(self) -> int:
        """How often the state was kept."""
        return load_acquire(self._kept, 0)

    def hold(self, unit: Unit) -> Unit:
        """The same unit in the journal: its ring may let go of it."""
        acted = {**unit.slot, "acted": np.array(unit.version)}
        turn = self._streams.snapshots.version + 1
        return self._unit(self._journal.hold(turn, unit.actor, unit.number, acted), turn)

    def note(self, updates: int) -> None:
        """The version at hand was made by so many updates. Before it is announced."""
        self._journal.note(self._streams.snapshots.version + 1, updates)

    def keep_if_due(self) -> None:
        """Between a version and the next: keep the state, if its share of the time allows it or the journal is full."""
        if self._journal.room < self._at_once or (time.perf_counter() - self._kept_at) * KEEP_SHARE >= self._cost:
            self.keep()

    def keep(self) -> None:
        """Keep the state, which is that of the newest version."""
        version = self._streams.snapshots.version
        if self.number and version == self._version:
            return
        began, number = time.perf_counter(), self.number + 1
        self._states.save(number, {**self._state.kept(), "version": np.array([version])})
        store_release(self._kept, 0, number)
        self._state.updater.keep(number)
        self._journal.restart()
        self._version, self._kept_at = version, time.perf_counter()
        self._cost = self._kept_at - began

    def recover(self, beat: Callable[[], None] = lambda: None) -> list[Unit]:
        """Bring the state to where the predecessor's was; returns the units that are taken for the version at hand."""
        number, announced = self.number, self._streams.snapshots.version
        kept = self._states.copies(number)
        self._version = int(kept.pop("version")[0])
        self._state.recover(kept, number)
        words = self._streams.rings.words
        entries = self._journal.recover(self._version, lambda ring: load_acquire(words, ring * WORDS + CONSUMED))
        for turn in range(self._version + 1, announced + 1):
            for entry in (entry for entry in entries if entry.turn == turn):
                self._state.take(self._unit(entry, turn))
            self._state.updater.update(turn - 1, self._state.steps, _so_often(self._journal.noted(turn), beat))
        held = [self._unit(entry, entry.turn) for entry in entries if entry.turn > announced]
        for unit in held:
            self._state.take(unit)
        if not held:  # else the predecessor had seen to it that there is room for this version's units
            self.keep()
        return held

    def _unit(self, entry: Entry, turn: int) -> Unit:
        version = int(entry.slot["acted"])
        return Unit(entry.ring, entry.number, version, turn - 1 - version, entry.slot)


def _so_often(count: int, beat: Callable[[], None]) -> Callable[[], bool]:
    """An answer to `goes_on` that says yes `count` times."""
    left = iter(range(count))

    def goes_on() -> bool:
        beat()
        return next(left, None) is not None

    return goes_on
