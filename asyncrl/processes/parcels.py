"""How the user's functions travel to the processes of a run: as bytes, and with the shared memory of the tensors that they capture.

A function is pickled once, when a run begins, and unpickled many times: in every worker, in the evaluator, and in the successor of a
worker that has died. A descriptor from torch's own reductions (`torch.multiprocessing.reductions`) can be opened only once. So a parcel
records the open file of each shared tensor beside the bytes, each process is handed a duplicate when it starts, as it is for the run's
own memory, and what opens it there is torch's `rebuild_storage_fd`.

torch is never imported here: without it in `sys.modules`, the caller cannot have a tensor.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.context import assert_spawning
from typing import Any

import cloudpickle

from asyncrl.errors import UserError
from asyncrl.processes.refusals import REFUSALS, CannotTravel, told

DEVICES = ("cpu", "meta")
"""Where tensors may be that travel. CUDA's memory can be opened only while the sender keeps it, once for each time it is pickled."""


class SharedStorage:
    """The memory of a tensor that the user has shared, on its way into the processes of a run.

    Writers:  whoever the user says. asyncrl neither reads nor writes it.
    Readers:  the caller, and every process of the run.
    Torn:     as the user's code makes it. ``tensor += 1`` in two processes at once may lose one of the two.
    When full: nothing grows.
    Crash:    an open file descriptor without a name in any file system. What a dead process has written stays, its successor is
              handed the same memory, and the kernel frees it when the last process that has it is gone.
    """

    def __init__(self, descriptor: int, size: int):
        """Owns `descriptor`, and closes it; `size` in bytes."""
        self._descriptor, self._size = descriptor, size

    @classmethod
    def of(cls, storage: Any) -> SharedStorage:
        """That of a `torch.UntypedStorage` which was shared by torch's strategy file_descriptor."""
        from torch.multiprocessing import reductions

        descriptor, size = storage._share_fd_cpu_()
        shared = cls(os.dup(descriptor), size)
        # In this process, unpickling gives this very storage, and not a second view of the same memory.
        reductions.shared_cache[reductions.fd_id(descriptor)] = reductions.StorageWeakRef(storage)
        return shared

    def detach(self) -> int:
        """A duplicate of the descriptor, which the caller closes; of this name because `rebuild_storage_fd` asks for it."""
        return os.dup(self._descriptor)

    def open(self) -> Any:
        """The `torch.UntypedStorage` over this memory, in this process."""
        import torch
        from torch.multiprocessing import reductions

        return reductions.rebuild_storage_fd(torch.UntypedStorage, self, self._size)

    def __reduce__(self) -> tuple[Any, ...]:
        # Elsewhere DupFd would start a server thread that hands descriptors out.
        assert_spawning(self)
        return _receive, (reduction.DupFd(self._descriptor), self._size)

    def __del__(self) -> None:
        os.close(self._descriptor)


def _receive(duplicate: Any, size: int) -> SharedStorage:
    return SharedStorage(duplicate.detach(), size)


class NamedStorage:
    """As `SharedStorage`, in torch's sharing strategy file_system, where the memory has a name.

    That is the user's choice (and torch's default on macOS). The name lasts as long as the caller has the storage, which this keeps;
    torch's manager process takes it away then, also after a crash.
    """

    def __init__(self, manager: bytes, name: bytes, size: int, storage: Any = None):
        self._manager, self._name, self._size, self._kept = manager, name, size, storage

    @classmethod
    def of(cls, storage: Any) -> NamedStorage:
        """That of a `torch.UntypedStorage` which was shared by that strategy."""
        from torch.multiprocessing import reductions

        manager, name, size = storage._share_filename_cpu_()
        reductions.shared_cache[name] = reductions.StorageWeakRef(storage)
        return cls(manager, name, size, storage)

    def open(self) -> Any:
        """The `torch.UntypedStorage` over this memory, in this process."""
        import torch
        from torch.multiprocessing import reductions

        storage = reductions.rebuild_storage_filename(torch.UntypedStorage, self._manager, self._name, self._size)
        storage._shared_incref()  # torch counts one opening less, since its senders count one more; this one does not
        return storage

    def __reduce__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return NamedStorage, (self._manager, self._name, self._size)


class Parcel:
    """A value that was pickled by `pack`, for `unpack` in this process and in those that are handed the parcel when they start."""

    def __init__(self, data: bytes, storages: tuple[SharedStorage | NamedStorage, ...] = ()):
        self.data, self.storages = data, storages

    def unpack(self) -> Any:
        """A new copy of the value; its shared tensors are over the caller's memory.

        Executes code: only for parcels that this run's own processes made, never for a file.
        """
        return _Unpickler(self).load()


def pack(value: Any) -> Parcel:
    """Pickle a value with cloudpickle, functions of the user's script by value.

    A CPU tensor that the user has moved to shared memory (`share_memory_()`, for a network `share_memory()`) is shared with every
    process that unpacks it. Any other CPU tensor is copied: each process has its own, and the caller's is left as it is. There this
    differs from `torch.multiprocessing`, which moves a tensor to shared memory when it is sent: here several processes would then
    write what each believes to be its own, as the weights of a network that is captured.

    Raises CannotTravel for tensors on other devices, and what objects raise that cannot be pickled.
    """
    if "torch" not in sys.modules:
        return Parcel(cloudpickle.dumps(value))
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(value)
    return Parcel(buffer.getvalue(), tuple(pickler.storages))


def packed(function: Callable[..., Any], kind: str) -> Parcel:
    """The user's function as a parcel, see `pack`. `kind`: what it is, for the error.

    Raises UserError that names the variable or attribute which cannot travel.
    """
    try:
        return pack(function)
    except REFUSALS as refusal:
        name, what = getattr(function, "__qualname__", type(function).__name__), told(function, refusal, pack)
        raise UserError(f"{kind} {name!r} cannot be sent to a worker process: {what}; create it inside the function") from refusal


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's, which leaves out the memory of shared tensors and numbers it instead."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.storages: list[SharedStorage | NamedStorage] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> tuple[int, Any] | None:
        """(number, dtype) of a tensor's storage in shared memory, dtype None where it has none; None for everything else."""
        torch = sys.modules["torch"]
        kind = type(value)  # isinstance would also ask for `value.__class__`, which runs code of proxies
        typed = issubclass(kind, torch.storage.TypedStorage)
        if not typed and not issubclass(kind, torch.UntypedStorage):
            return None
        storage = value._untyped_storage if typed else value
        if storage.device.type not in DEVICES:
            raise CannotTravel(f"is on {storage.device}, and only tensors in the CPU's memory can be sent")
        if not storage.is_shared() or not storage.nbytes() or storage.filename is not None:  # the last: a file that is mapped
            return None
        number = self._numbers.setdefault(storage._cdata, len(self.storages))
        if number == len(self.storages):
            named = torch.multiprocessing.get_sharing_strategy() == "file_system"
            self.storages.append(NamedStorage.of(storage) if named else SharedStorage.of(storage))
        return number, value.dtype if typed else None


class _Unpickler(pickle.Unpickler):
    """Python's, which opens the memory of shared tensors by number."""

    def __init__(self, parcel: Parcel):
        super().__init__(io.BytesIO(parcel.data))
        self._storages = parcel.storages

    def persistent_load(self, pid: tuple[int, Any]) -> Any:
        """The storage that `_Pickler.persistent_id` has numbered."""
        from torch.multiprocessing import reductions

        number, dtype = pid
        storage = self._storages[number].open()
        return storage if dtype is None else reductions.rebuild_typed_storage(storage, dtype)
