"""Learners on a device beside those on the host. There need not be one: the device's code runs on the processor too.

Where there is a GPU, what is asked of learners is asked of it as well, and a run with it is made and resumed.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from running import resume, train
from test_off_policy import HIDDEN, LEARNERS, A, S, batch, require_left_out
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asyncrl.algos.ddpg import Ddpg, DdpgOptions
from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.errors import Hopeless, UserError
from asyncrl.heads.networks import devices
from asyncrl.heads.networks.devices import Device, check_device
from asyncrl.store.checkpoint import newest, read_part

KINDS = {"ddpg": (Ddpg, DdpgOptions), "td3": (Td3, Td3Options), "sac": (Sac, SacOptions)}
EXTRA = {"priority_alpha": 0.6, "max_gradient_norm": 0.3, "policy_learning_rate": 2e-3, "critic_learning_rate": 2e-3}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


on_every_device = pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.device_count() else ["cpu"])


def on_device(name, place, seed=0, **more):
    kind, options = KINDS[name]
    return kind(S, A, options(tau=0.05, **more), seed, HIDDEN, place)


def copied(state):
    return {name: array.copy() for name, array in state.items()}


def assert_close(ours, theirs, since=None):
    """Each vector differs in the mean by less than a thousandth of how far it has come; Adam makes much of single tiny slopes."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (array.shape, array.dtype)
        way = np.abs(array - since[name]) if since else np.abs(array)
        difference = np.abs(ours[name] - array)
        assert (difference.mean(-1) <= 1e-3 * way.mean(-1)).all(), name


@on_every_device
@pytest.mark.parametrize("name", KINDS)
def test_a_device_learns_what_the_host_learns(name, device):
    ours, theirs = on_device(name, Device(torch.device(device)), **EXTRA), LEARNERS[name](**EXTRA)
    start = copied(theirs.state)
    for key, array in ours.state.items():
        np.testing.assert_array_equal(array, start[key])
    for seed in range(20):
        figures, expected = ours.update(batch(seed)), theirs.update(batch(seed))
        assert figures == pytest.approx(expected, rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(ours.errors, theirs.errors, atol=1e-3)
        assert ours.errors.dtype == np.float32
    assert_close(ours.state, theirs.state, start)
    assert all(np.abs(array - start[key]).max() > 0.01 for key, array in ours.state.items() if key in ("policy", "critics"))
    published = np.zeros((2, ours.published_size), np.float32)
    ours.published(published[0])
    theirs.published(published[1])
    np.testing.assert_array_equal(published[1], theirs.state["policy"])
    np.testing.assert_array_equal(published[0], ours.state["policy"])


@on_every_device
@pytest.mark.parametrize("reward", [np.nan, 1e30])
@pytest.mark.parametrize("name", KINDS)
def test_a_gradient_that_is_not_finite_is_left_out_there_too(name, reward, device):
    require_left_out(on_device(name, Device(torch.device(device))), reward)


@on_every_device
@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_of_one_continues_in_the_other(name, device):
    place = Device(torch.device(device))
    makers = (lambda seed: LEARNERS[name](seed), lambda seed: on_device(name, place, seed))
    for first, second in (makers, makers[::-1]):
        straight, other = first(0), second(0)
        for seed in range(5):
            straight.update(batch(seed))
        kept = copied(straight.state)
        for seed in range(5):
            other.update(batch(seed + 100))  # somewhere else
        other.restore(kept)
        for key, array in other.state.items():
            np.testing.assert_array_equal(array, kept[key])
        for seed in range(5, 10):
            straight.update(batch(seed))
            other.update(batch(seed))
        assert_close(other.state, straight.state)


@on_every_device
@pytest.mark.parametrize("name", KINDS)
def test_a_devices_state_is_a_copy_and_restored_to_the_bit(name, device):
    place = Device(torch.device(device))
    learner, twin = on_device(name, place), on_device(name, place)
    learner.update(batch(0))
    kept = learner.state
    before = copied({key: array for key, array in kept.items() if key not in ("counts", "temperature")})
    twin.restore(copied(kept))
    learner.update(batch(1))
    twin.update(batch(1))
    assert all((kept[key] == array).all() for key, array in before.items())
    for key, array in learner.state.items():
        np.testing.assert_array_equal(twin.state[key], array)


class Apart(TorchDispatchMode):
    """Knows which tensors live on the device, and lets no operation take some from it and some from elsewhere, as a GPU would not."""

    COPIES = (torch.ops.aten.copy_, torch.ops.aten._to_copy)

    def __init__(self):
        super().__init__()
        self.there = {}

    def claim(self, tensor):
        self.there[tensor.untyped_storage()._cdata] = tensor.untyped_storage()  # kept, so that no other has its address
        return tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        there = [one.untyped_storage()._cdata in self.there for one in given]
        result = func(*args, **(kwargs or {}))
        converts = func.overloadpacket is torch.ops.aten._to_copy and "device" not in (kwargs or {})  # to another type, there
        if any(there) and (func.overloadpacket not in self.COPIES or converts):
            strangers = [one for one, is_there in zip(given, there) if not is_there and one.dim()]
            if strangers:
                raise RuntimeError(f"{func} of tensors here and there")
            for one in tree_leaves(result):
                if isinstance(one, torch.Tensor):
                    self.claim(one)
        return result


class Distant(Device):
    """A device whose tensors `Apart` watches."""

    def __init__(self, apart):
        super().__init__(torch.device("cpu"))
        self.apart = apart

    def tensor(self, array):
        return self.apart.claim(super().tensor(array))

    def array(self, tensor):
        assert tensor.untyped_storage()._cdata in self.apart.there, "brought from the device"
        return super().array(tensor)


@pytest.mark.parametrize("name", KINDS)
def test_no_operation_mixes_tensors_of_the_device_with_others(name):
    with Apart() as apart:
        learner = on_device(name, Distant(apart), **EXTRA)
        for seed in range(2):
            learner.update(batch(seed))
        learner.restore(copied(learner.state))
        learner.published(np.zeros(learner.published_size, np.float32))
        with pytest.raises(RuntimeError, match="here and there"):
            learner.policy.run(torch.zeros(4, S))


# Which devices there are.


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs; asking in a way that may make a context there is a failure."""

    def with_devices(cuda, mps):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        for name in ("is_available", "init", "_lazy_init", "current_device", "get_device_name", "get_device_properties"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("this touches the device"))

    return with_devices


@pytest.mark.parametrize(
    ("name", "here", "parts"),
    [
        ("gpu", 0, ["unknown learner_device 'gpu'", "allowed: cpu, cuda, cuda:1, mps", "this machine has: cpu)"]),
        ("cudaa", 2, ["unknown learner_device 'cudaa'; did you mean 'cuda'", "this machine has: cpu, cuda:0, cuda:1"]),
        ("cuda:x", 2, ["unknown learner_device 'cuda:x'"]),
        ("", 0, ["unknown learner_device ''"]),
        ("cuda", 0, ["learner_device = 'cuda' cannot be used", "this machine has: cpu)"]),
        ("cuda:2", 2, ["learner_device = 'cuda:2' cannot be used; did you mean 'cuda:", "this machine has: cpu, cuda:0, cuda:1)"]),
        ("mps", 1, ["learner_device = 'mps' cannot be used", "this machine has: cpu, cuda:0"]),
    ],
)
def test_a_device_that_is_not_there_takes_one_line(machine, name, here, parts):
    machine(here, mps=False)
    with pytest.raises(UserError) as caught:
        check_device(name)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_devices_that_are_there_are_taken(machine):
    machine(2, mps=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        check_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_a_device_that_fails_when_it_is_touched_ends_the_run_with_one_line():
    with pytest.raises(Hopeless, match="learner_device = 'cuda' cannot be used: ") as caught:
        devices.place_of("cuda")
    assert "\n" not in str(caught.value)


def test_algorithms_without_a_replay_have_no_such_option():
    from asyncrl.algos import ALGORITHMS

    assert {name for name, entry in ALGORITHMS.items() if hasattr(entry.options_type, "learner_device")} == set(KINDS)


# Whole runs.

TINY = {"algo": "td3", "hidden": (16, 16), "batch": 16, "warm_up": 40, "replay": 1000, "workers": 1, "mode": "sync"}


def test_only_the_learner_touches_the_device(tmp_path, monkeypatch):  # shows nothing after other tests of this process on a GPU
    """The main process goes as far as starting workers with a device that does not work, and fails there alone."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(devices, "Device", lambda device: pytest.fail("the main process has made a device"))
    before = torch.cuda.is_initialized()
    run = train(tmp_path, "Pendulum-v1", steps=100, learner_device="cuda", **TINY)
    if not torch.cuda.is_available():
        assert "learner_device = 'cuda' cannot be used" in str(run.error)
    assert torch.cuda.is_initialized() == before


def test_a_run_of_another_machines_device_can_be_looked_at_and_continued_here(tmp_path, capsys):
    from asyncrl.api import evaluate
    from asyncrl.cli.main import main

    whole = train(tmp_path, "Pendulum-v1", steps=120, **TINY)
    file = whole.folder / "experiment.json"
    data = json.loads(file.read_text())
    data["settings"]["options"]["learner_device"] = "cuda:7"
    file.write_text(json.dumps(data))
    assert evaluate(whole.folder, episodes=1)["steps"] == whole.summary["steps"]
    assert main(["resume", str(whole.folder), "--steps", "150"]) == 2
    assert "learner_device = 'cuda:7' cannot be used" in capsys.readouterr().err
    second = resume(whole.folder, steps=150, learner_device="cpu")
    arrays = read_part(newest(second.folder), "learner")[1]
    assert arrays["updates"][0] == arrays["own/steps"][0] - 40 >= 110
    data["settings"].update(algo="a2c", options={})
    file.write_text(json.dumps(data))
    assert main(["resume", str(whole.folder), "--learner-device", "cpu"]) == 2


@pytest.mark.skipif(not torch.cuda.device_count(), reason="needs a GPU")
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", KINDS)
def test_a_run_on_a_gpu_is_resumed_there_and_on_the_host(tmp_path, name, mode):
    before = torch.cuda.is_initialized()
    tiny = {**TINY, "algo": name, "mode": mode}
    whole = train(tmp_path, "Pendulum-v1", steps=200, learner_device="cuda", **tiny)
    assert whole.error is None and whole.summary["updates"] > 100
    further = resume(whole.folder, steps=300)
    home = resume(further.folder, steps=400, learner_device="cpu")
    arrays = read_part(newest(home.folder), "learner")[1]
    assert home.error is None and arrays["own/steps"][0] >= 400 and np.isfinite(arrays["learner/policy"]).all()
    assert torch.cuda.is_initialized() == before, "the main process has touched the device"
