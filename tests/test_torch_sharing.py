"""Tensors of the user's own in shared memory, and the shared parameters as tensors."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from environments import CountingEnv
from running import Run, check_nothing_left, kill, train, wait_for
from torch import multiprocessing as torch_processes

import asyncrl
from asyncrl.errors import UserError
from asyncrl.processes import parcels
from asyncrl.processes.parcels import pack, packed
from asyncrl.processes.starting import start
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.atomics import fetch_add
from asyncrl.shared.parameters import SharedParameters, Snapshots
from asyncrl.topologies import run_context

TESTS = str(Path(__file__).parent)
STEPS, MADE = 0, 1


def counter(size: int = 2) -> torch.Tensor:
    """Words of int64 in shared memory: steps of environments, and environments made."""
    return torch.zeros(size, dtype=torch.int64).share_memory_()


def count(counts: torch.Tensor, index: int = STEPS) -> None:
    """Add one, losing nothing to other processes."""
    fetch_add(counts.numpy(), index, 1)


class Counted(CountingEnv):
    """Counts its steps in a tensor."""

    def __init__(self, counts: torch.Tensor) -> None:
        super().__init__()
        self.counts = counts
        count(counts, MADE)

    def step(self, action: Any) -> Any:
        count(self.counts)
        return super().step(action)


class ActorCritic(torch.nn.Module):
    """Two linear maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.policy, self.value = torch.nn.Linear(inputs, outputs), torch.nn.Linear(inputs, 1)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.policy(observations), self.value(observations).squeeze(-1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No named segment, and no open file, is left by a test."""
    shared = set(os.listdir("/dev/shm"))
    yield
    gc.collect()
    check_nothing_left(shared)


RUNS: dict[str, dict[str, Any]] = {
    "a3c": {"steps": 400},
    "impala": {"steps": 400},
    "es": {"steps": 400, "population": 4},
}


@pytest.mark.parametrize("algo", RUNS)
def test_environments_count_up_a_shared_tensor(tmp_path, algo):
    """The caller sees each step of each worker."""
    counts = counter()
    run = train(tmp_path, lambda: Counted(counts), algo=algo, mode="sync", workers=2, **RUNS[algo])
    assert run.summary["steps"] >= 400
    assert counts[STEPS] == run.summary["steps"]
    assert counts[MADE] == 1 + 2  # the caller makes one to look at it


def test_a_function_that_is_minimized_counts_up_a_shared_tensor():
    counts = counter()

    def function(x: np.ndarray) -> float:
        count(counts)
        return float(x @ x)

    minimum = asyncrl.minimize(function, np.ones(3), evaluations=60, workers=2, population=6)
    assert counts[STEPS] == minimum.evaluations == 60


@pytest.mark.parametrize("algo", ["a3c", "impala"])
def test_a_network_counts_up_a_shared_tensor(tmp_path, algo):
    """Its function is called in the caller and in each process; all count in the same tensor."""
    counts, caller = counter(), os.getpid()

    def network(spec: Any, outputs: int) -> torch.nn.Module:
        count(counts, int(os.getpid() != caller))
        return ActorCritic(spec.observation_shape[0], outputs)

    run = train(tmp_path, CountingEnv, algo=algo, mode="sync", workers=2, steps=200, network_function=network)
    assert run.summary["steps"] >= 200
    assert counts[0] >= 1 and counts[1] >= 2


def test_a_replaced_worker_has_the_same_tensor(tmp_path):
    counts = counter()

    def beside(run: Run) -> None:
        wait_for(lambda: counts[STEPS] > 200)
        kill(run.pids()[0])
        wait_for(lambda: counts[MADE] == 1 + 2 + 1)
        before = int(counts[STEPS])
        wait_for(lambda: counts[STEPS] > before + 200)
        wait_for(lambda: run.launcher.slots[0].granted)  # type: ignore[union-attr]
        os.kill(os.getpid(), 2)

    run = train(tmp_path, lambda: Counted(counts), beside, workers=2, steps=10**9)
    assert run.summary["restarts"] == 1
    assert run.summary["steps"] <= counts[STEPS] <= run.summary["steps"] + 3 * 2 * 20  # what the dead had not told, and unfinished rounds


def test_an_evaluator_shares_and_one_process_unpacks_twice(tmp_path):
    """A search with virtual batch normalisation makes two environments in the evaluator and two in each player."""
    counts = counter()
    settings = {"population": 4, "virtual_batch": 4, "head": "mlp", "evaluation_episodes": 2}
    run = train(tmp_path, lambda: Counted(counts), algo="es", mode="sync", workers=1, steps=100, **settings)
    assert run.summary["evaluation_return"] is not None
    assert counts[MADE] == 1 + 1 + 2
    assert counts[STEPS] > run.summary["steps"]


def test_a_tensor_that_is_not_shared_is_copied(tmp_path):
    counts = torch.zeros(2, dtype=torch.int64)
    run = train(tmp_path, lambda: Counted(counts), workers=2, steps=100)
    assert run.summary["steps"] >= 100
    assert counts.tolist() == [0, 1]  # the caller's own environment
    assert not counts.is_shared()


def test_a_module_in_shared_memory_keeps_its_shape():
    """Parameters, views and a tensor that is captured twice; two names for one memory travel as one."""
    module = torch.nn.Linear(3, 2).share_memory()
    base = torch.arange(12.0).share_memory_()
    values = {"module": module, "view": base[2:10:2], "matrix": base.view(3, 4).T, "again": base, "own": torch.ones(2)}
    parcel = pack(values)
    assert len(parcel.storages) == 3
    for _ in range(2):
        copy = parcel.unpack()
        assert isinstance(copy["module"].weight, torch.nn.Parameter) and copy["module"].weight.requires_grad
        for name in ("view", "matrix", "again"):
            assert copy[name].stride() == values[name].stride() and torch.equal(copy[name], values[name])
        with torch.no_grad():
            copy["module"].weight[0, 0] += 1.0
        copy["view"][0] += 1.0
        copy["own"] += 1.0
        assert torch.equal(copy["module"].weight, module.weight)
        assert torch.equal(copy["again"], base)
    assert base[2] == 4.0 and values["own"].tolist() == [1.0, 1.0]


def test_files_and_nothing_are_copied(tmp_path):
    """A tensor over a file or without elements has no shared memory that could be handed on."""
    np.arange(4.0, dtype=np.float32).tofile(tmp_path / "numbers")
    mapped = torch.from_file(str(tmp_path / "numbers"), shared=True, size=4)
    parcel = pack([mapped, torch.zeros(0).share_memory_(), torch.zeros(3, device="meta")])
    assert parcel.storages == ()
    assert parcel.unpack()[0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_what_a_parcel_has_open_is_closed_with_it():
    shared = counter()
    gc.collect()
    before = os.listdir("/proc/self/fd")
    parcel = pack(shared)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del parcel
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_tensor_on_another_device_is_refused(monkeypatch):
    """Here every device but "meta" counts as another: the machine may have no accelerator."""
    monkeypatch.setattr(parcels, "DEVICES", ("meta",))
    weights = {"first": torch.zeros(2)}
    with pytest.raises(UserError) as caught:
        packed(lambda: Counted(weights["first"]), "environment function")
    message = str(caught.value)
    assert "\n" not in message
    assert "entry 'first' of variable 'weights' (of type Tensor) is on cpu, and only tensors in the CPU's memory" in message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_cuda_tensor_is_refused(tmp_path):
    counts = torch.zeros(2, dtype=torch.int64, device="cuda")
    with pytest.raises(UserError, match=r"variable 'counts' .* is on cuda:0"):
        asyncrl.train("a3c", lambda: CountingEnv(int(counts[0])), steps=40, quiet=True, runs=str(tmp_path))


def test_too_many_shared_tensors_are_one_line(tmp_path):
    many = [counter(1) for _ in range(260)]
    run = train(tmp_path, lambda: CountingEnv(5 + 0 * len(many)), workers=1, steps=40)
    assert isinstance(run.error, UserError)
    assert "too many tensors in shared memory" in str(run.error) and "\n" not in str(run.error)


SCRIPT = """
import os, sys
import asyncrl, gymnasium, torch, torch.multiprocessing
torch.multiprocessing.set_sharing_strategy({strategy!r})
counts = torch.zeros(1, dtype=torch.int64).share_memory_()
class Counted(gymnasium.Wrapper):
    def step(self, action):
        global counts
        counts += 1
        return super().step(action)
if {endless}:
    print(os.getpid(), flush=True)
result = asyncrl.train("a3c", lambda: Counted(gymnasium.make("CartPole-v1")), workers=1, steps={steps}, quiet=True, runs={runs!r},
                       evaluation_episodes=0, report_seconds=0.1)
print(int(counts), result.summary["steps"])
"""


def script(folder: Path, strategy: str = "file_descriptor", steps: int = 200) -> list[str]:
    """A program whose environments count in a global variable of its own."""
    values = {"strategy": strategy, "steps": steps, "runs": str(folder), "endless": steps > 10**6}
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT.format(**values)))
    return [sys.executable, str(folder / "script.py")]


@pytest.mark.parametrize("strategy", [pytest.param(one, marks=pytest.mark.slow) for one in ("file_descriptor", "file_system")])
def test_a_script_with_either_sharing_strategy(tmp_path, strategy):
    done = subprocess.run(script(tmp_path, strategy), capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["200", "200"], (done.stdout, done.stderr)
    assert "leaked" not in done.stderr


@pytest.mark.slow
def test_nothing_is_left_of_a_program_that_was_killed(tmp_path):
    shared = set(os.listdir("/dev/shm"))
    process = subprocess.Popen(script(tmp_path, steps=10**9), stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(metrics.stat().st_size for metrics in tmp_path.glob("*/metrics.jsonl")), 120.0)
        assert {name for name in set(os.listdir("/dev/shm")) - shared if "torch" in name or "asyncrl" in name} == set()
    finally:
        process.kill()
        process.communicate()
    check_nothing_left(shared)


def test_a_program_without_torch_does_not_import_it(tmp_path):
    code = (
        "import sys, asyncrl, gymnasium\n"
        "from asyncrl.envs import ship, unship\n"
        "unship(ship(lambda: gymnasium.make('CartPole-v1')))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def add_one(tensor: torch.Tensor, connection: Any) -> None:
    tensor += 1
    connection.send(tensor)


def test_contexts_are_those_of_torch():
    """A tensor among the arguments of a process of ours is shared with it by torch's own reductions."""
    context = run_context()
    assert isinstance(context, type(torch_processes.get_context("forkserver")))
    tensor = torch.zeros(3)
    process, connection = start(context, add_one, "asyncrl-probe", (tensor,))
    process.join(60)
    assert tensor.tolist() == [1.0, 1.0, 1.0] and tensor.is_shared()
    connection.close()


def changes(array: np.ndarray, tensor: torch.Tensor) -> bool:
    """Whether a write through one is seen through the other, and back."""
    array.flat[0] = 3
    seen = tensor.flatten()[0] == 3
    tensor.view(-1)[0] = 4
    return bool(seen) and array.flat[0] == 4


def test_shared_parameters_as_tensors():
    layout = SharedParameters.layout(20, 2, 3, own_statistics=True, target=True)
    memory = SharedArrays.allocate(layout)
    parameters = SharedParameters(20, memory._arrays)
    tensors = parameters.tensors()
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {name: shape for name, (shape, _) in layout.items()}
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert changes(getattr(parameters, name), tensor), name
    assert SharedParameters(20, {**memory._arrays, "targets": np.zeros((0, 32), np.float32)}).tensors()["targets"].shape == (0, 32)
    memory.close()
    assert tensors["vectors"][0, 0] == 4  # the memory lives on


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_snapshots_as_tensors(dtype):
    memory = SharedArrays.allocate(Snapshots.layout(5, 3, dtype))
    snapshots = Snapshots(memory._arrays)
    tensors = snapshots.tensors()
    assert snapshots.publish(np.arange(5, dtype=dtype)) == 1
    assert tensors["versions"][0] == 1
    assert tensors["buffers"].shape == (3, 5) and tensors["buffers"][1].tolist() == [0, 1, 2, 3, 4]
    assert changes(memory["buffers"], tensors["buffers"]) and changes(memory["versions"], tensors["versions"])
    memory.close()


def scale(memory: SharedArrays, connection: Any) -> None:
    SharedParameters(20, memory._arrays).tensors()["vectors"].mul_(2.0)
    connection.send(None)


def test_another_process_writes_through_tensors():
    memory = SharedArrays.allocate(SharedParameters.layout(20, 1, 1, own_statistics=False))
    parameters = SharedParameters(20, memory._arrays)
    parameters.vectors[:] = 1.5
    process, connection = start(run_context(), scale, "asyncrl-probe", (memory,))
    process.join(60)
    assert (parameters.tensors()["vectors"] == 3.0).all() and (parameters.vectors == 3.0).all()
    connection.close()
    memory.close()
