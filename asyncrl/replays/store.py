"""The replay buffer: a flat array of n-step transitions that one process, the learner, fills and samples from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.errors import UserError
from asyncrl.replays.records import OWN_FIELDS, Batch, Record, gather
from asyncrl.replays.windows import BEGUN, FIRST, GAMMA, LARGEST, MARK, N_STEPS, NUMBERS, PLACES, STEPS, WORDS, WRITTEN, cut, feed
from asyncrl.shared.arrays import Layout, SharedArrays
from asyncrl.shared.sum_tree import SumTree
from asyncrl.trajectory import TRUNCATED, Trajectory

Arrays = SharedArrays | Mapping[str, NDArray[Any]]
"""The arrays of `Replay.layout`, by name."""

ROWS_AT_A_TIME = 4096
"""How many rows of a saved replay are copied at a time, since each copy needs a temporary array."""


class Replay:
    """The newest `capacity` transitions of all streams.

    Writers:  the learner, which copies trajectories from the actors' rings; after its death its replacement. Actors have
              no access.
    Readers:  the learner.
    Stale:    every batch has the versions that its transitions were acted by, and how long ago that was (`ages`).
    When full: the oldest transition is overwritten. The size is fixed by `layout`.
    Crash:    a dead learner's replacement makes a Replay over the same arrays. If it was laid out with `ahead`, `recover`
              restores what it was when `state` was saved last, including transitions that were overwritten since and the
              priorities. Otherwise transitions are complete or absent; steps that were waiting for their window may be lost
              or occur twice, so call `cut` for every stream before adding more.
    """

    def __init__(self, arrays: Arrays, fields: Layout, gamma: float, n_steps: int = 1, alpha: float = 0.0, epsilon: float = 1e-6):
        """`arrays`: of `layout(...)`, zeroed or those of a predecessor; `gamma`: discount per step; `n_steps`: of a transition.

        `alpha`: exponent of priorities, 0 for uniform sampling; `epsilon` is added to every error, so that every transition
        keeps a positive priority (Schaul and others 2016, section 3.3).
        """
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
        self._base = np.zeros(2, np.int64)  # transitions written and steps added when `state` was saved
        self._touched: list[NDArray[np.int64]] | None = None  # leaves set since then; None: unknown, possibly all
        store = (self._rows, self._rows.view(np.float32), self._words, self._numbers, arrays["tree"])
        self._store = (*store, places, self._undo, self._base)
        self._waiting = (arrays["waiting"], arrays["marks"], arrays["sums"])
        self._ahead = len(self._undo) - arrays["sums"].size  # the rest is for steps that may have been waiting
        self._steps: dict[tuple[int, int], tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]] = {}
        self._drawn: dict[int, tuple[NDArray[Any], Batch]] = {}

    @staticmethod
    def layout(
        capacity: int, fields: Layout, streams: int = 1, n_steps: int = 1, prioritised: bool = False, ahead: int = 0
    ) -> Layout:
        """Layout for `capacity` transitions of `fields` (from `records.fields_of`).

        `streams`: the number of environments of all actors; `prioritised`: whether priorities are kept; `ahead`: the largest number
        of steps added between two calls of `keep`, 0 for a replay that cannot `recover`. Raises UserError for sizes below 1.
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
            "synced": ((1,), np.int64),  # the number of the saved `state` that kept_weights belong to
        }
        return layout

    @classmethod
    def private(cls, capacity: int, fields: Layout, gamma: float, streams: int = 1, n_steps: int = 1, alpha: float = 0.0) -> Replay:
        """A replay in this process's own memory, whose pages are allocated when they are first written."""
        layout = cls.layout(capacity, fields, streams, n_steps, alpha > 0)
        return cls({name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}, fields, gamma, n_steps, alpha)

    # Filling.

    @property
    def written(self) -> int:
        """How many transitions were stored so far."""
        return int(self._words[WRITTEN])

    @property
    def steps(self) -> int:
        """How many steps were added so far."""
        return int(self._words[STEPS])

    def __len__(self) -> int:
        """How many transitions can be sampled."""
        return int(self._words[WRITTEN]) - self._oldest()

    def _oldest(self) -> int:
        return max(int(self._words[BEGUN]) - self.capacity, int(self._words[FIRST]))

    def add(self, trajectory: Trajectory, stream: int = 0, extras: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Add T steps of E environments to the streams `stream` to `stream + E - 1`; `extras`: name -> [T, E, *shape].

        A trajectory must continue the stream's previous one; if it does not, call `cut` first. Raises RuntimeError if more steps
        were added since `keep` than the replay was laid out for.
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
        """End the windows of `count` streams as by a truncation, since their next steps do not continue the last ones."""
        cut(*self._store, *self._waiting, stream, count)

    def _scratch(self, steps: int, envs: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        if (steps, envs) not in self._steps:
            rows = np.zeros((steps, envs, self.record.size), np.uint8)
            self._steps[steps, envs] = rows, self.record.views(rows)
        return self._steps[steps, envs]

    # Drawing.

    def draw(self, generator: np.random.Generator, count: int, beta: float = 1.0) -> Batch:
        """Sample `count` transitions with replacement. The next call with the same count overwrites the returned batch.

        With priorities p, stratified with P(i) = p_i^alpha / sum, and with weights (N P(i))^-beta divided by the largest in the
        batch (equation 1 and section 3.4 of Schaul and others 2016; they divide by the largest of the whole replay, which would need
        another tree). Raises UserError if the replay is empty.
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
        """Set the priorities of the sampled transitions position[B] to |error[B]|.

        Transitions that were overwritten since, and errors that are not finite, are left out. Without priorities nothing happens.
        """
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
        """Mean and largest age of a batch, in versions of the parameters (`version`: the current one) and in steps added since."""
        versions, steps = version - batch.version, self.steps - batch.step
        return {
            "age_versions": float(versions.mean()),
            "age_versions_max": float(versions.max()),
            "age_steps": float(steps.mean()),
            "age_steps_max": float(steps.max()),
        }

    # Recovery from the learner's death, for a replay laid out with `ahead`.

    def state(self) -> dict[str, NDArray[Any]]:
        """Views of the arrays that the caller must save for `recover`, beside those that stay in shared memory."""
        return {name: self._arrays[name] for name in ("words", "numbers", "waiting", "marks", "sums")}

    def keep(self, number: int) -> None:
        """Declare that `state` was saved as `number` (one more than before): `recover` now restores that state."""
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
        """Restore the replay to when `state` was saved as `kept`, the newest, with this number.

        If this process is killed meanwhile, the next replacement can call it again.
        """
        begun, written = int(self._words[BEGUN]), int(kept["words"][WRITTEN])
        for position in range(begun - 1, written - 1, -1):  # backwards, since a slot may have been overwritten twice
            self._rows[position % self.capacity] = self._undo[position - written]
        saved, weights = self._arrays["kept_weights"], self._tree.weights
        if saved.size and self._arrays["synced"][0] == number:
            weights[:] = saved
        elif saved.size:  # the predecessor was killed within `keep`: the tree still belongs to `number`
            saved[:] = weights
        self._arrays["synced"][0] = number
        self._tree.rebuild()
        for name, array in self.state().items():  # last, since BEGUN is one of these words
            array[...] = kept[name]
        self._begin_undo()

    def _begin_undo(self) -> None:
        self._base[:] = self.written, self.steps
        self._touched = []

    # Checkpoints.

    def saved(self) -> dict[str, NDArray[Any]]:
        """The arrays for a checkpoint. Some are views: they must be written out before more steps are added."""
        filled = min(self.written, self.capacity)
        words = self._words.copy()
        words[FIRST], words[BEGUN] = self._oldest(), self.written
        kept = {name: self._arrays[name] for name in ("numbers", "waiting", "marks", "sums")}
        return {**kept, "words": words, "rows": self._rows[:filled], "weights": self._tree.weights[:filled]}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Load the arrays of `saved`. A smaller replay gets the newest transitions; one of the same capacity samples the same batches.

        Raises UserError if the saved transitions have other fields, another n or gamma, or another number of streams.
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
