"""Parameters as flat vectors in shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

if TYPE_CHECKING:
    import torch

FLOATS_PER_LINE = 16


class SharedParameters:
    """Two buffers of parameters, optimizer statistics and (if there is one) target network; two gradient slots for each worker.

    Rounds modes read one buffer and write the other, so that an interrupted update can be repeated; in-place modes use the
    buffer of the last round and do not touch the other. The scheduler decides which buffer is current, and when the target
    network, a copy of the parameters at an earlier update, is refreshed.

    Writers:  in-place modes: every worker, anywhere in the current buffer, without locks (Hogwild).
              The target: the worker whose steps made its refresh due.
              Rounds modes: worker i writes its shard (`shard(i)`) of the other buffer, and its own gradient slots.
    Readers:  every worker, at any time.
    Torn:     in-place: a copy may mix several updates, and one of two concurrent updates of an element may be lost, as in
              Hogwild; the worker counts how many versions passed while it copied. Rounds modes: never, since no buffer is
              written while it may still be read.
    When full: not applicable, the size is fixed.
    Crash:    in-place: the last update of the dead worker may be in memory in part. Rounds modes: its shard is computed
              again from the unchanged buffer; its gradient slot has weight 0 unless it was published.
    """

    def __init__(self, size: int, arrays: Mapping[str, NDArray[np.float32]]):
        """`size`: N, the number of parameters; `arrays`: those of `layout`."""
        self.size = size
        self.vectors = arrays["vectors"]  # [2, N]
        self.statistics = arrays["statistics"]  # [2, S, N]
        self.targets = arrays["targets"]  # [2 or 0, N]
        self.own_statistics = arrays["own_statistics"]  # [W or 0, S, N]: worker i writes row i
        self.gradients = arrays["gradients"]  # [W, 2, N]: worker i writes row i
        self.workers = self.gradients.shape[0]

    @staticmethod
    def layout(size: int, statistics: int, workers: int, own_statistics: bool, target: bool = False) -> Layout:
        """Layout for N = `size` parameters.

        `statistics`: S, the vectors that the optimizer keeps; `own_statistics`: whether every worker has its own as well;
        `target`: whether there is a target network.
        """
        padded = -(-size // FLOATS_PER_LINE) * FLOATS_PER_LINE
        kept = max(statistics, 1)
        return {
            "vectors": ((2, padded), np.float32),
            "statistics": ((2, kept, padded), np.float32),
            "targets": ((2 if target else 0, padded), np.float32),
            "own_statistics": ((workers if own_statistics else 0, kept, padded), np.float32),
            "gradients": ((workers, 2, padded), np.float32),
        }

    def shard(self, worker: int) -> slice:
        """The elements that `worker` updates in rounds modes: an equal share of whole cache lines."""
        lines = self.vectors.shape[1] // FLOATS_PER_LINE
        start, stop = lines * worker // self.workers, lines * (worker + 1) // self.workers
        return slice(start * FLOATS_PER_LINE, stop * FLOATS_PER_LINE)

    def buffer(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(parameters [N], statistics [S, N]) of buffer `index` modulo 2."""
        return self.vectors[index & 1], self.statistics[index & 1]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The arrays as float32 torch tensors over the same memory, by name: nothing is copied, and a write is seen by all processes.

        vectors [2, N], statistics [2, S, N], targets [2 or 0, N], own_statistics [W or 0, S, N] and gradients [W, 2, N], with N
        rounded up to whole cache lines. Who may write where is said above, and holds for tensors too. The memory lives as long as
        a tensor over it. Imports torch.
        """
        import torch

        return {name: torch.from_numpy(getattr(self, name)) for name in self.layout(0, 0, 0, False)}


@njit(cache=True, nogil=True, error_model="numpy")
def _publish(versions, buffers, vector):  # type: ignore[no-untyped-def]
    version = versions[0] + 1
    store_release(versions, WORDS_PER_LINE, version)  # announces which version's buffer is written: its readers copy again
    fence()
    buffers[version % buffers.shape[0]] = vector
    store_release(versions, 0, version)
    return version


@njit(cache=True)
def _pass_on(versions, buffers, vector, version):  # type: ignore[no-untyped-def]
    newest, count = load_acquire(versions, 0), buffers.shape[0]
    if version > newest:
        store_release(versions, WORDS_PER_LINE, version)
        fence()
    if version > newest - count:
        buffers[version % count] = vector
    if version > newest:
        store_release(versions, 0, version)
    else:
        fence()


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(versions, buffers, wanted, out):  # type: ignore[no-untyped-def]
    count = buffers.shape[0]
    while True:
        version = load_acquire(versions, 0)
        if wanted >= 0:
            if wanted > version or wanted <= version - count:
                return -1
            version = wanted
        out[:] = buffers[version % count]
        fence()
        if load_acquire(versions, WORDS_PER_LINE) < version + count:
            return version
        if wanted >= 0:
            return -1  # its buffer is being overwritten, for good if the writer died at it


class Snapshots:
    """Versions of a parameter vector [N], from one writer to many readers (a sequence lock over several buffers).

    Writers:  one (the learner), which never waits. Word 0 holds the newest complete version, the word on the next cache
              line the version whose buffer is being written.
    Readers:  every process, at any time; `copy` repeats itself if the writer has reused the buffer meanwhile.
    Torn:     never. Stale: by what is published during the copy.
    When full: publishing overwrites the oldest of the buffers.
    Crash:    of the writer: the newest complete version remains, and a new writer continues from it.
    """

    def __init__(self, arrays: Mapping[str, NDArray]):
        """`arrays`: those of `layout`."""
        self._versions: NDArray[np.int64] = arrays["versions"]
        self._buffers: NDArray[Any] = arrays["buffers"]

    @staticmethod
    def layout(size: int, buffers: int = 4, dtype: DTypeLike = np.float32) -> Layout:
        """Layout for `buffers` vectors of N = `size` elements of type `dtype`."""
        return {"versions": ((2 * WORDS_PER_LINE,), np.int64), "buffers": ((buffers, size), dtype)}

    @property
    def version(self) -> int:
        """The newest complete version."""
        return load_acquire(self._versions, 0)

    def publish(self, vector: NDArray[Any]) -> int:
        """Publish vector[N] as the next version; returns its number (the first is 1; version 0 is the zeroed start)."""
        return _publish(self._versions, self._buffers, vector)

    def pass_on(self, vector: NDArray[Any], version: int) -> None:
        """Publish vector[N] as this version: by a writer that repeats what another has published, and may leave versions out.

        One that is older than the newest goes into its own buffer. Nobody may have been told of it, or have read it, before.
        """
        _pass_on(self._versions, self._buffers, vector, version)

    def restore(self, vector: NDArray[Any], version: int) -> None:
        """Set vector[N] as `version` (0 at the start), before any process reads."""
        self._buffers[version % len(self._buffers)] = vector
        store_release(self._versions, WORDS_PER_LINE, version)
        store_release(self._versions, 0, version)

    def copy(self, out: NDArray[Any], version: int | None = None) -> int | None:
        """Copy the newest version, or the one asked for, into out[N]; returns its number.

        Returns None if the version asked for was not published yet or is overwritten already.
        """
        copied = _copy(self._versions, self._buffers, -1 if version is None else version, out)
        return None if copied < 0 else copied

    def tensors(self) -> dict[str, torch.Tensor]:
        """The arrays as torch tensors over the same memory, by name: nothing is copied. Imports torch.

        versions [2 * WORDS_PER_LINE], int64; buffers [B, N], in the type of the layout, where version v is row v modulo B. To be
        read with the care that `copy` takes: a row may be overwritten meanwhile. Only the learner may write.
        """
        import torch

        return {"versions": torch.from_numpy(self._versions), "buffers": torch.from_numpy(self._buffers)}
