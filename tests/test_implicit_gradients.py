"""Implicit heads under gradients: what is written out is what torch computes, for the whole policy, of a real rollout."""

from __future__ import annotations

import numpy as np
import pytest
from environments import FollowEnv

from asyncrl.actors.rollout import Actor
from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.algos.nq import Nq, NqOptions
from asyncrl.envs import GymnasiumStepping
from asyncrl.envs.spec import spec_of
from asyncrl.heads import HEADS
from asyncrl.heads.networks.compact import GAINS
from asyncrl.heads.networks.kernels import layer_sizes
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.learners.gradients import AutogradGradient, WrittenGradient
from asyncrl.learners.value_gradients import AutogradValueGradient, WrittenValueGradient

STEPS = 12
PARTS = [{"resample": "subset", "subset": 6}, {"resample": "rollout", "subset": 6}]
DRAWN = [{}, *PARTS, {"resample": "iteration"}, {"resample": "transition"}]


def rolled(head, role, trunk="separate", **options):
    """(policy, vector [N], a rollout of STEPS steps that it has acted)"""
    environment = FollowEnv()
    head_options = HEADS[head].options_type(latent=3, set_size=20, **options)
    policy = Policy(spec_of(environment), head, NetworkOptions(trunk=trunk, head_options=head_options), role=role)
    policy.fill_tables(0)
    vector = (policy.initial(0) + 0.3 * np.random.default_rng(1).standard_normal(policy.size)).astype(np.float32)
    actor = Actor(GymnasiumStepping([environment], policy.spec), policy, vector, STEPS, [], np.random.default_rng(2))
    actor.reset([0])
    return policy, vector, actor.collect(0, 0.0)


@pytest.mark.parametrize("options", DRAWN, ids=lambda options: options.get("resample", "never"))
@pytest.mark.parametrize(("head", "trunk"), [("itt", "separate"), ("itt", "shared"), ("iot", "separate")])
def test_an_actor_critics_gradient_is_that_of_torch(head, trunk, options):
    policy, vector, trajectory = rolled(head, Role.ACTOR_CRITIC, trunk, **options)
    kinds = [kind(policy, vector, STEPS, 1, A3COptions(t_max=STEPS), A3C) for kind in (WrittenGradient, AutogradGradient)]
    losses = [kind(trajectory, 0.1) for kind in kinds]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)
    largest = np.abs(kinds[1].gradient).max()
    np.testing.assert_allclose(kinds[0].gradient, kinds[1].gradient, rtol=1e-3, atol=1e-4 * largest)
    assert kinds[0].gradient[-policy.head.extra_size :].any()


@pytest.mark.parametrize("head", ["itt", "iot"])
def test_layers_begin_orthogonal(head):
    """Columns of norm sqrt(2), as searches begin with, would make a first layer of 4 inputs 6 times as steep: v(s) then diverges."""
    policy = Policy(spec_of(FollowEnv()), head, NetworkOptions())
    vector = policy.initial(0)
    dense = policy.dense(vector)
    policy.expand(vector, dense)
    at = 0
    for name, inputs, outputs in layer_sizes(policy.plan):
        weight = dense[at : at + inputs * outputs].reshape(inputs, outputs)
        assert np.linalg.norm(weight, 2) == pytest.approx(GAINS.get(name, 2.0**0.5), rel=1e-5), name
        at += (inputs + 1) * outputs


@pytest.mark.parametrize("energy", ["dot", "angular"])
@pytest.mark.parametrize("double", [False, True])
def test_a_value_gradient_is_that_of_torch(double, energy):
    """Also for a box: of action values the set may be any."""
    policy, vector, trajectory = rolled("itt", Role.ACTION_VALUES, energy=energy)
    target = policy.initial(5)
    options = NqOptions(t_max=STEPS, double=double)
    kinds = [kind(policy, vector, target, (STEPS, 1), options, Nq) for kind in (WrittenValueGradient, AutogradValueGradient)]
    losses = [kind(trajectory, 0.0) for kind in kinds]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)
    largest = np.abs(kinds[1].gradient).max()
    np.testing.assert_allclose(kinds[0].gradient, kinds[1].gradient, rtol=1e-3, atol=1e-4 * largest)
    assert kinds[0].gradient[-policy.head.extra_size :].any()
