"""Resets of networks that learn from a replay: what begins anew, with which numbers, and the same bits in a resumed run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from running import resume
from test_off_policy import batch as plain_batch
from test_savo import HIDDEN, A, K, S, savo
from test_savo import batch as savo_batch
from test_stream_runs import learned, stream

from asyncrl.algos.ddpg import Ddpg, DdpgOptions
from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.learners.off_policy import OffPolicyOptions
from asyncrl.learners.resets import Resets

LAST = HIDDEN[-1] + 1
"""Numbers of an output layer, for each output."""
KINDS = {
    "ddpg": (lambda seed: Ddpg(S, A, DdpgOptions(), seed, HIDDEN), 1, A, plain_batch, 1),
    "td3": (lambda seed: Td3(S, A, Td3Options(), seed, HIDDEN), 1, A, plain_batch, 2),
    "sac": (lambda seed: Sac(S, A, SacOptions(), seed, HIDDEN), 1, 2 * A, plain_batch, 2),
    "savo": (savo, K, A, savo_batch, 2),
}
"""(a learner of a seed, its actors, their outputs, what it learns from, its critics)."""


def after_updates(name, seed=0, count=3):
    make, *_, batch, _ = KINDS[name]
    learner = make(seed)
    for number in range(count):
        learner.update(batch(number))
    return learner, make, batch


def copied(learner):
    return {name: array.copy() for name, array in learner.state.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_full_reset_is_a_fresh_learner(name):
    learner, make, batch = after_updates(name)
    fresh = make(7)
    learner.renew(make(7), True)
    for number in range(4):
        ours, theirs = learner.state, fresh.state
        assert [key for key in theirs if not np.array_equal(ours[key], theirs[key])] == []
        assert learner.update(batch(number)) == fresh.update(batch(number))


@pytest.mark.parametrize("name", KINDS)
def test_a_reset_of_last_layers_touches_nothing_else(name):
    _, actors, outputs, _, critics = KINDS[name]
    learner, make, batch = after_updates(name)
    before, fresh = copied(learner), make(7)
    learner.renew(fresh, False)
    after, new = copied(learner), fresh.state
    changed = {key: np.flatnonzero(after[key] != before[key]) for key in after}
    parts = {"policy", "policy_target", "critics", "critics_target"} & after.keys()  # the policy of sac has no target
    assert {key for key, places in changed.items() if places.size} == parts
    sizes = {"policy": actors * outputs * LAST, "critics": critics * LAST}
    for key, places in changed.items():
        if places.size:
            assert len(places) == sizes[key.removesuffix("_target")]
            np.testing.assert_array_equal(after[key][places], new[key][places])
    for key in parts:
        np.testing.assert_array_equal(changed[key], changed[key.removesuffix("_target")])
    assert changed["critics"][-1] == before["critics"].size - 1
    learner.update(batch(5))


@pytest.mark.parametrize("reset", ["full", "last-layer"])
def test_the_seed_of_a_learner_that_goes_on(reset):
    """A successor is told how many updates were made, and has the seed that its predecessor had."""
    learner = SimpleNamespace(seed=5, renewed=0)

    def renew(fresh, wholly):
        learner.renewed += 1
        learner.seed = fresh.seed if wholly else learner.seed

    learner.renew = renew
    resets = Resets(OffPolicyOptions(reset_every=4, reset=reset), 5, lambda seed: SimpleNamespace(seed=seed))
    seeds = []
    for update in range(13):
        assert resets.seed_after(update) == learner.seed
        resets.before(update, learner)
        seeds.append(learner.seed)
    assert learner.renewed == 3
    assert len(set(seeds)) == (4 if reset == "full" else 1)
    assert seeds[:4] == [5] * 4
    never = Resets(OffPolicyOptions(), 5, lambda seed: pytest.fail("nothing is due"))
    never.before(8, learner)
    assert never.seed_after(8) == 5


@pytest.mark.parametrize("reset", ["full", pytest.param("last-layer", marks=pytest.mark.slow)])
def test_a_resumed_run_resets_with_the_same_bits(tmp_path, reset):
    settings = {"reset_every": 60, "reset": reset}
    whole, half = (stream(tmp_path, "td3", steps=steps, **settings) for steps in (300, 170))
    second = resume(half.folder, steps=300)
    assert learned(second) == learned(whole)
    assert learned(whole) != learned(stream(tmp_path, "td3", steps=300))
