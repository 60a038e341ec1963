"""The replay: a flat store of n-step transitions that one process, the learner, fills and draws from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.errors import UserError
from asyncrl.replay.records import OWN_FIELDS, Batch, Record, gather
from asyncrl.replay.windows import BEGUN, FIRST, GAMMA, LARGEST, MARK, N_STEPS, NUMBERS, PLACES, STEPS, WORDS, WRITTEN, cut, feed
from asyncrl.shared.arrays import Layout, SharedArrays
from asyncrl.shared.sum_tree import SumTree
from asyncrl.trajectory import TRUNCATED, Trajectory

Arrays = SharedArrays | Mapping[str, NDArray[Any]]
"""What `Replay.layout` describes."""

ROWS_AT_A_TIME = 4096
"""Of another replay's rows, how many are copied at a time: each time through a copy."""


class Replay:
    """The newest `capacity` transitions of all streams.

    Writers:  the learner, who moves trajectories from the actors' rings into it, and after its death its successor. Actors never
              see it.
    Readers:  the learner. Whoever wants to look at a checkpoint's copy makes a Replay of its own.
    Stale:    every draw says by which version its transitions were acted, and how long ago (`ages`).
    When full: the oldest transition is overwritten. The bytes are fixed by `layout`: nothing grows.
    Crash:    a dead learner's successor makes a Replay over the same arrays. Laid out with `ahead` it can go back to where
              it was when `state` was kept last (`recover`), with the transitions that were overwritten since and the same
              priorities. Else transitions are whole or absent; steps that waited for their window may be lost or doubled,
              so call `cut` for every stream before feeding on.
    """

    def __init__(self, arrays: Arrays, fields: Layout, gamma: float, n_steps: int = 1, alpha: float = 0.0, epsilon: float = 1e-6):
        """Over arrays of `layout(...)`, zeroed or a predecessor's. `alpha`: exponent of priorities, 0 for uniform draws;
        `epsilon` is added to every error, so that no transition is lost to sight (Schaul and others 2016, section 3.3)."""
        self.record = Record(fields)
        self.alpha, self.epsilon = alpha, epsilon
        self._arrays = arrays
        self._rows: NDArray[np.uint8] = arrays["rows"]
        self.capacity = self._rows.shape[0]
        self._words, self._numbers = arrays["words"], arrays["numbers"]
        self._words[MARK], self._words[N_STEPS] = self.record.mark, n_steps
        self._numbers[GAMMA], self._numbers[LARGEST] = gamma, max(self._numbers[LARGEST], 1.0 if self._words[WRITTEN] == 0 else 0.0)
        self._tree = SumTree(arrays["tree"], self.capacity)
        self._tree.rebuild()
        place = self.record.place
        places = np.zeros(PLACES, np.int64)
        places[:] = place["next_observation"][0], sum(place["next_observation"]), place["reward"][0] // 4, place["discount"][0] // 4
        table, unit = self.record.table()
        self._table, self._gathered = table, self._rows.view(np.uint32) if unit == 4 else self._rows
        self._undo: NDArray[np.uint8] = arrays["undo"]
        self._base = np.zeros(2, np.int64)  # transitions that were written, and steps fed, when `state` was kept
        self._touched: list[NDArray[np.int64]] | None = None  # leaves set since then; None: perhaps all
        store = (self._rows, self._rows.view(np.float32), self._words, self._numbers, arrays["tree"])
        self._store = (*store, places, self._undo, self._base)
        self._waiting = (arrays["waiting"], arrays["marks"], arrays["sums"])
        self._ahead = len(self._undo) - arrays["sums"].size  # as many steps more may have been waiting
        self._steps: dict[tuple[int, int], tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]] = {}
        self._drawn: dict[int, tuple[NDArray[Any], Batch]] = {}

    @staticmethod
    def layout(
        capacity: int, fields: Layout, streams: int = 1, n_steps: int = 1, prioritised: bool = False, ahead: int = 0
    ) -> Layout:
        """`capacity` transitions of `fields` (see `records.fields_of`) from so many streams (environments of all actors).

        `ahead`: steps that are fed at most between two calls of `keep`; 0 for a replay that cannot `recover`.
        """
        if min(capacity, streams, n_steps) < 1:
            raise UserError(f"a replay needs at least 1 transition, stream and step, got {capacity}, {streams} and {n_steps}")
        size = Record(fields).size
        layout: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
            "words": ((WORDS,), np.int64),
            "numbers": ((NUMBERS,), np.float64),
            "waiting": ((streams, n_steps, size), np.uint8),
            "marks": ((streams, 2), np.int64),
            "sums": ((streams, n_steps), np.float64),
            "tree": SumTree.layout(capacity)["tree"] if prioritised else ((0,), np.float64),
            "rows": ((capacity, size), np.uint8),
            "undo": ((ahead + streams * n_steps if ahead else 0, size), np.uint8),
            "kept_weights": ((capacity if ahead and prioritised else 0,), np.float64),
            "synced": ((1,), np.int64),  # the number of `state` that kept_weights belong to
        }
        return layout

    @classmethod
    def private(cls, capacity: int, fields: Layout, gamma: float, streams: int = 1, n_steps: int = 1, alpha: float = 0.0) -> Replay:
        """One in this process's own memory, whose pages are taken when they are first written."""
        layout = cls.layout(capacity, fields, streams, n_steps, alpha > 0)
        return cls({name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}, fields, gamma, n_steps, alpha)

    # Filling.

    @property
    def written(self) -> int:
        """Transitions that were ever stored."""
        return int(self._words[WRITTEN])

    @property
    def steps(self) -> int:
        """Steps that were ever fed."""
        return int(self._words[STEPS])

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return int(self._words[WRITTEN]) - self._oldest()

    def _oldest(self) -> int:
        return max(int(self._words[BEGUN]) - self.capacity, int(self._words[FIRST]))

    def add(self, trajectory: Trajectory, stream: int = 0, extras: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Feed T steps of E environments to the streams `stream` .. `stream + E - 1`; `extras`: name -> [T, E, *shape].

        A trajectory goes on where the stream's last one stopped; where it does not, call `cut` first.
        """
        steps, envs = trajectory.reward.shape
        if len(self._undo) and self.steps - int(self._base[1]) + steps * envs > self._ahead:
            raise RuntimeError("more steps are fed than the replay was laid out to take back: `keep` comes too late")
        rows, views = self._scratch(steps, envs)
        views["observation"][...] = trajectory.observation[:-1]
        views["next_observation"][...] = trajectory.observation[1:]
        truncated = trajectory.ended == TRUNCATED
        if truncated.any():
            views["next_observation"][truncated] = trajectory.final_observation[truncated]
        views["action"][...] = trajectory.action
        views["version"][...] = trajectory.version
        views["step"][...] = self.steps + np.arange(steps * envs).reshape(steps, envs)
        for name, values in (extras or {}).items():
            views[name][...] = values
        feed(*self._store, *self._waiting, rows, trajectory.reward, trajectory.ended, stream)

    def cut(self, stream: int = 0, count: int = 1) -> None:
        """The streams' next steps do not follow on their last: end their windows there, as by truncation."""
        cut(*self._store, *self._waiting, stream, count)

    def _scratch(self, steps: int, envs: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        if (steps, envs) not in self._steps:
            rows = np.zeros((steps, envs, self.record.size), np.uint8)
            self._steps[steps, envs] = rows, self.record.views(rows)
        return self._steps[steps, envs]

    # Drawing.

    def draw(self, generator: np.random.Generator, count: int, beta: float = 1.0) -> Batch:
        """`count` transitions, with replacement, by this generator alone. The next draw of as many overwrites them.

        With priorities p: P(i) = p_i^alpha / sum, in strata, and weights (N P(i))^-beta over the batch's largest (equation 1
        and section 3.4 of Schaul and others 2016; there the largest of all, which would need another tree).
        """
        if len(self) == 0:
            raise UserError("nothing can be drawn from an empty replay")
        out, batch = self._batch(count)
        if self.alpha > 0:
            slots, weights = self._tree.draw(generator, count)
            newest = self.written - 1
            batch.position[:] = newest - (newest - slots) % self.capacity
            batch.weight[:] = (weights / weights.min()) ** -beta
        else:
            batch.position[:] = generator.integers(self._oldest(), self.written, size=count)
            slots = batch.position % self.capacity
        gather(self._gathered, slots, self._table, out)
        return batch

    def _batch(self, count: int) -> tuple[NDArray[Any], Batch]:
        if count not in self._drawn:
            flat = np.zeros(count * self.record.size, np.uint8)
            columns: dict[str, Any] = self.record.columns(flat, count)
            own = {name: columns[name] for name in OWN_FIELDS}
            extras = {name: column for name, column in columns.items() if name not in OWN_FIELDS}
            batch = Batch(**own, weight=np.ones(count, np.float32), position=np.zeros(count, np.int64), extras=extras)
            self._drawn[count] = flat.view(self._gathered.dtype), batch
        return self._drawn[count]

    def reprioritise(self, position: NDArray[np.int64], error: NDArray[np.floating]) -> None:
        """Set the priorities of transitions that were drawn to |error|; those overwritten since, or not finite, are left out."""
        if self.alpha <= 0:
            return
        there = (position >= self._oldest()) & np.isfinite(error)
        priority = (np.abs(error[there].astype(np.float64)) + self.epsilon) ** self.alpha
        leaves = position[there] % self.capacity
        self._tree.set(leaves, priority)
        if self._touched is not None:
            self._touched.append(leaves)
        self._numbers[LARGEST] = max(self._numbers[LARGEST], priority.max(initial=0.0))

    def ages(self, batch: Batch, version: int) -> dict[str, float]:
        """How old a batch is: in versions since its actions, and in steps that were fed since."""
        versions, steps = version - batch.version, self.steps - batch.step
        return {
            "age_versions": float(versions.mean()),
            "age_versions_max": float(versions.max()),
            "age_steps": float(steps.mean()),
            "age_steps_max": float(steps.max()),
        }

    # What a successor goes on from. Only where it was laid out with `ahead`.

    def state(self) -> dict[str, NDArray[Any]]:
        """What `recover` needs beside what lies in the arrays: views, to be copied."""
        return {name: self._arrays[name] for name in ("words", "numbers", "waiting", "marks", "sums")}

    def keep(self, number: int) -> None:
        """What `state` gave is kept, as number `number` (each the next): from here on `recover` goes back to it, and no further."""
        kept, weights = self._arrays["kept_weights"], self._tree.weights
        if kept.size and self._touched is not None:
            written = np.arange(int(self._base[0]), self.written) % self.capacity
            leaves = np.concatenate([written, *self._touched])
            kept[leaves] = weights[leaves]
        elif kept.size:
            kept[:] = weights
        self._arrays["synced"][0] = number
        self._begin_undo()

    def recover(self, kept: Mapping[str, NDArray[Any]], number: int) -> None:
        """Be as when `state` was kept as `kept`, number `number`, the newest. Whoever is killed here leaves it to the next."""
        begun, written = int(self._words[BEGUN]), int(kept["words"][WRITTEN])
        for position in range(begun - 1, written - 1, -1):  # backwards: a slot may have been overwritten twice
            self._rows[position % self.capacity] = self._undo[position - written]
        saved, weights = self._arrays["kept_weights"], self._tree.weights
        if saved.size and self._arrays["synced"][0] == number:
            weights[:] = saved
        elif saved.size:  # it was killed within `keep`: the tree itself is still that of `number`
            saved[:] = weights
        self._arrays["synced"][0] = number
        self._tree.rebuild()
        for name, array in self.state().items():  # BEGUN among them, so only now
            array[...] = kept[name]
        self._begin_undo()

    def _begin_undo(self) -> None:
        self._base[:] = self.written, self.steps
        self._touched = []

    # What a checkpoint keeps.

    def saved(self) -> dict[str, NDArray[Any]]:
        """What there is, views where nothing need be copied: write them out before feeding on."""
        filled = min(self.written, self.capacity)
        words = self._words.copy()
        words[FIRST], words[BEGUN] = self._oldest(), self.written
        kept = {name: self._arrays[name] for name in ("numbers", "waiting", "marks", "sums")}
        return {**kept, "words": words, "rows": self._rows[:filled], "weights": self._tree.weights[:filled]}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `saved` gave. A smaller replay keeps the newest; the same capacity draws the same batches.

        Raises UserError where the transitions are of another kind, or other returns.
        """
        self._check_fit(saved)
        for name in ("words", "numbers", "waiting", "marks", "sums"):
            self._arrays[name][...] = saved[name]
        filled, written = len(saved["rows"]), self.written
        self._words[FIRST] = first = max(int(self._words[FIRST]), written - self.capacity)
        before, now = (np.arange(first, written) % size for size in (max(filled, 1), self.capacity))
        if np.array_equal(before, now):
            part = slice(now.min(initial=0), now.max(initial=-1) + 1)
            self._rows[part] = saved["rows"][part]
        else:
            for some in range(0, len(now), ROWS_AT_A_TIME):
                part = slice(some, some + ROWS_AT_A_TIME)
                self._rows[now[part]] = saved["rows"][before[part]]
        self._restore_weights(saved["weights"], before, now)

    def _check_fit(self, saved: Mapping[str, NDArray[Any]]) -> None:
        words, gamma = saved["words"], saved["numbers"][GAMMA]
        if words[MARK] != self._words[MARK]:
            raise UserError("the saved replay holds other observations, actions or fields than this experiment's")
        if words[N_STEPS] != self._words[N_STEPS] or gamma != self._numbers[GAMMA]:
            ours = f"{self._words[N_STEPS]} steps and gamma {self._numbers[GAMMA]:g}"
            raise UserError(f"the saved replay holds returns of {words[N_STEPS]} steps and gamma {gamma:g}; this experiment needs {ours}")
        if saved["marks"].shape != self._arrays["marks"].shape:
            raise UserError(f"the saved replay was fed by {len(saved['marks'])} environments, not {len(self._arrays['marks'])}")

    def _restore_weights(self, weights: NDArray[np.float64], before: NDArray[np.int64], now: NDArray[np.int64]) -> None:
        if self.alpha <= 0:
            return
        self._tree.array[:] = 0.0
        self._tree.weights[now] = weights[before] if weights.size else self._numbers[LARGEST]
        self._tree.rebuild()
