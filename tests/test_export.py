"""A learned policy as a file: it acts as `asyncrl.load` does, or there is none and one line says why."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from running import train
from torch import nn

import asyncrl
from asyncrl.cli.main import main
from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tower import TowerPolicy
from asyncrl.session import exporting
from asyncrl.session.learned import LearnedPolicy
from asyncrl.workers.player import Snapshot

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason="extra export is not installed"
)
SUFFIXES = (".pt2", pytest.param(".onnx", marks=needs_onnx))

CHOICE, CHOICES = spaces.Discrete(3, start=5), spaces.MultiDiscrete([3, 2, 4])
BOX = spaces.Box(np.float32([-2.0, 0.5]), np.float32([2.0, 0.75]), dtype=np.float32)
OPEN = spaces.Box(np.array([[-1.1], [-np.inf], [0.1]]), np.array([[0.7], [np.inf], [np.inf]]), dtype=np.float64)


def spec_of(space: Any, shape: tuple[int, ...] = (4,)) -> EnvSpec:
    return EnvSpec(shape, "float32" if len(shape) == 1 else "uint8", *_action(space), str(np.dtype(space.dtype)))


class Own(nn.Module):
    """A network of a user's own."""

    def __init__(self, spec: EnvSpec, outputs: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.GELU())
        self.policy, self.value = nn.Linear(8, outputs), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(x)
        return self.policy(features), self.value(features)[:, 0]


class Unreadable(Own):
    """One that decides by what it sees, which cannot be traced."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(-x if bool(x.sum() > 0) else x)


def hidden(**options: Any) -> NetworkOptions:
    return NetworkOptions(hidden=(8,), **options)


MADE = {
    "categorical": lambda: Policy(spec_of(CHOICE), "auto", hidden(trunk="shared", activation="relu")),
    "choices, toeplitz": lambda: Policy(spec_of(CHOICES), "toeplitz", NetworkOptions()),
    "gaussian, float64": lambda: Policy(spec_of(OPEN), "gaussian", NetworkOptions()),
    "gaussian, squashed": lambda: Policy(spec_of(BOX), "gaussian", hidden(squash=True)),
    "images": lambda: Policy(spec_of(CHOICE, (2, 36, 36)), "auto", NetworkOptions(hidden=(8,))),
    "own network": lambda: Policy(spec_of(BOX), "auto", NetworkOptions(), Own),
    "values": lambda: Policy(spec_of(CHOICE), "auto", hidden(), role=Role.ACTION_VALUES),
    "td3": lambda: TowerPolicy(spec_of(BOX), "deterministic", (8, 8)),
    "sac": lambda: TowerPolicy(spec_of(BOX), "squashed", (8,), role=Role.SOFT_REPLAY),
    "linear search": lambda: SearchPolicy(spec_of(CHOICE), "linear", NetworkOptions()),
    "search in bins": lambda: SearchPolicy(spec_of(BOX), "mlp", hidden(), action_bins=5),
}


def learned(policy: Any, normalises: bool = True) -> LearnedPolicy:
    """With numbers at which actions differ."""
    generator = np.random.default_rng(1)
    normaliser = np.zeros((3, policy.spec.observation_size), np.float32)
    if normalises:
        normaliser[:2] = generator.uniform(0.2, 2.0, normaliser[:2].shape)
        normaliser[2, 0] = 1.0
    vector = (0.5 * generator.standard_normal(policy.size)).astype(np.float32)
    return LearnedPolicy(policy, Snapshot(vector, normaliser, 700, tables=dict(policy.head.tables)), [])


@pytest.fixture
def loaded(monkeypatch):
    """What stands for the policy of any run's folder."""

    def stand(policy: LearnedPolicy) -> LearnedPolicy:
        monkeypatch.setattr(exporting, "load", lambda *arguments, **named: policy)
        return policy

    return stand


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", MADE)
def test_it_acts_as_the_policy_does(loaded, tmp_path, name, suffix):
    """Whatever number of observations it is given, to 1e-5, and of the space's own type."""
    policy = loaded(learned(MADE[name]()))
    path = tmp_path / f"policy{suffix}"
    made = asyncrl.export("run", path)
    runs = exporting.KINDS[suffix].read(path)
    generator = np.random.default_rng(2)
    for count in (1, 7):
        shape = (count, *policy.spec.observation_shape)
        seen = generator.integers(0, 256, shape, np.uint8) if policy.spec.is_image else generator.standard_normal(shape, np.float32)
        given, wanted = runs(seen), policy.act(seen)
        assert given.dtype == wanted.dtype and given.shape == wanted.shape
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-5)
    assert made.file == path and made.steps == 700 and made.difference <= 1e-5
    assert len(np.unique(policy.act(exporting._observations(policy)).reshape(exporting.OBSERVATIONS, -1), axis=0)) > 1
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "nothing else is left"


REFUSED = {
    "itt": (lambda: Policy(spec_of(CHOICE), "itt", NetworkOptions()), "head 'itt' cannot be exported: its greedy action is more than"),
    "savo": (lambda: TowerPolicy(spec_of(BOX), "savo", (8,)), "head 'savo' cannot be exported"),
    "recurrent": (lambda: Policy(spec_of(BOX), "auto", NetworkOptions(recurrent=4)), "a recurrent policy .recurrent = 4. cannot be"),
    "unreadable": (lambda: Policy(spec_of(BOX), "auto", NetworkOptions(), Unreadable), "the network cannot be exported: torch.export says"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_one_line(loaded, tmp_path, name):
    make, message = REFUSED[name]
    loaded(learned(make()))
    with pytest.raises(UserError, match=f"^{message}") as caught:
        asyncrl.export("run", tmp_path / "policy.pt2")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["categorical", "gaussian, float64"])
def test_what_acts_differently_gets_no_name(loaded, tmp_path, monkeypatch, name):
    """The check is the file's own actions against the policy's: here the file's are another policy's."""
    policy, other = learned(MADE[name]()), learned(MADE[name](), normalises=False)
    loaded(policy)
    monkeypatch.setattr(policy, "act", other.act)
    (tmp_path / "policy.pt2").write_text("what was there before")
    with pytest.raises(UserError, match=r"^the policy cannot be exported: what was written does not act as it does"):
        asyncrl.export("run", tmp_path / "policy.pt2")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["what was there before"]


def test_two_choices_that_are_as_good_are_no_difference(loaded):
    """Of scores that differ by less than 1e-5 either may be the best."""
    policy = learned(MADE["linear search"](), normalises=False)
    weights = policy.snapshot.vector.reshape(4, 3)
    weights[:, 1] = weights[:, 0] + 1e-7
    weights[:, 2] = -100.0
    module = exporting._traced(policy)[1]
    first = np.ones(4, np.float32)
    assert exporting._close_call(module, first)
    weights[:, 1] = weights[:, 0] + 1e-3
    assert not exporting._close_call(exporting._traced(policy)[1], first)


def test_slips(tmp_path, monkeypatch, capsys):
    assert main(["export", "nowhere", str(tmp_path / "policy.onx")]) == 2
    said = capsys.readouterr().err
    assert "did you mean '.onnx'? (allowed: files that end in .onnx or .pt2)" in said and said.count("\n") == 1
    assert main(["export", "nowhere", str(tmp_path / "policy.pt2")]) == 2
    assert capsys.readouterr().err == "asyncrl: 'nowhere' is not a run's folder: there is no experiment.json in it\n"
    assert main(["export", "nowhere", str(tmp_path / "no" / "policy.pt2")]) == 2
    assert "cannot be written (allowed: a file in a writable folder)" in capsys.readouterr().err
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert main(["export", "nowhere", str(tmp_path / "policy.onnx")]) == 2
    assert capsys.readouterr().err.endswith("needs onnxruntime; install it with: pip install 'asyncrl[export]' (or write a .pt2)\n")
    assert list(tmp_path.iterdir()) == []


def test_from_a_run_to_a_file(tmp_path, capsys):
    folder: Path = train(tmp_path, "CartPole-v1", mode="sync", workers=1, steps=300).folder
    path = tmp_path / "policy.pt2"
    assert main(["export", str(folder), str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("policy.pt2: observation [batch, 4] float32 -> action [batch] int64, of the checkpoint at step 300")
    assert second == "checked at 300 observations: actions differ by 0 at most"
    seen = np.random.default_rng(3).standard_normal((20, 4), np.float32)
    np.testing.assert_array_equal(torch.export.load(path).module()(torch.from_numpy(seen)).numpy(), asyncrl.load(folder).act(seen))
    steps = json.loads((folder / "summary.json").read_text())["steps"]
    assert main(["export", str(folder), str(path), "--checkpoint", str(steps + 1)]) == 2
    assert "(allowed: 300, the steps of this run's)" in capsys.readouterr().err
