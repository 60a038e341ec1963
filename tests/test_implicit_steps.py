"""Whole steps of implicit heads as one compiled call: equal to the plain reference, never by latents or an index of others."""

from __future__ import annotations

import numpy as np
import pytest
from test_implicit_heads import box, gradient_policy

from asyncrl.heads.implicit import stepping
from asyncrl.heads.implicit.acting import GIVEN_AWAY, OTHERWISE, UNKNOWN
from asyncrl.heads.implicit.index import KINDS, SEED
from asyncrl.heads.implicit.selection.selection import SelectionOptions
from asyncrl.heads.implicit.table import SLOTS
from asyncrl.heads.policy import round_arrays
from asyncrl.heads.rounds import EPSILON, TEMPERATURE

STEPS, ENVS, SCANNED = 3, 5, 128


class Acting:
    """A head among 3,000 actions with arrays for a few steps in a few environments; greedy."""

    def __init__(self, selection, like=None):
        """`like`: another one, whose table and caches are used."""
        self.policy = policy = gradient_policy("itt", box(3, 2.0), selection=selection, latent=6, set_size=3000, scanned=SCANNED)
        if like is not None:
            policy.head.attach(like.policy.head.tables)
            policy.head.attach_caches(like.policy.head.caches)
        self.selection, self.vector = selection, policy.initial(1)
        self.rounds = round_arrays(policy.spec, policy.head, policy.plan, (STEPS, ENVS))
        self.rounds.raw[:] = np.random.default_rng(4).standard_normal(self.rounds.raw.shape)
        self.rounds.knobs[TEMPERATURE] = 0.0
        self.step, self.arguments = policy.head.light_kernel(policy.plan, self.vector, self.rounds)

    def use(self, seed, announced=True):
        """Take on other parameters, in place as workers do."""
        self.vector[:] = self.policy.initial(seed)
        if announced:
            self.policy.head.announce(self.vector)

    def check(self, t=0):
        """A step gives every environment the action that the selection alone picks among latents of their own."""
        self.rounds.action[t], self.rounds.bounded[t] = -1, np.nan
        assert self.step(*self.arguments, t)
        index = KINDS[self.selection].build(self.latents(), SelectionOptions(scanned=SCANNED, moments=1), np.random.default_rng(SEED))
        wanted = [index.best(output) for output in self.rounds.policy_output]
        np.testing.assert_array_equal(self.rounds.action[t, :, 0], wanted)
        np.testing.assert_array_equal(self.rounds.bounded[t], self.policy.head.tables["values"][wanted])

    def latents(self):
        """[N, d] of the vector, by numpy."""
        head = self.policy.head
        own, at = self.vector[self.vector.size - head.extra_size :], 0
        x = head.tables["features"]
        for inputs, outputs in head._matrices:
            x = np.maximum(x, 0.0) if at else x
            x, at = x @ own[at : at + inputs * outputs].reshape(inputs, outputs), at + inputs * outputs
        exact = head._latents.of(own)
        np.testing.assert_allclose(x, exact, atol=1e-4)
        return exact.copy()


def calls_of(acting, monkeypatch):
    """Counts how often something is bound anew."""
    count, bound = [], stepping.Stepping.bound
    monkeypatch.setattr(stepping.Stepping, "bound", lambda self, alone: count.append(alone) or bound(self, alone))
    return count


@pytest.mark.parametrize("selection", KINDS)
def test_a_step_is_the_plain_selection_and_one_call(selection, monkeypatch):
    acting = Acting(selection)
    bound = calls_of(acting, monkeypatch)
    for seed, announced in ((1, True), (2, False), (3, True)):
        acting.use(seed, announced)
        before = len(bound)
        for t in (0, 1, 2, 0, 1):
            acting.check(t)
        assert bound[before:] == [False]  # once for new parameters, never again


@pytest.mark.parametrize("selection", KINDS)
def test_what_others_ask_of_the_table_between_steps_changes_nothing(selection):
    """Learning asks the same object for the latents of other parameters, in the table and in its own memory."""
    acting, other = Acting(selection), Acting(selection).policy.initial(9)
    own = other[other.size - acting.policy.head.extra_size :]
    latents = acting.policy.head._latents
    for announced in (True, False):
        acting.use(2, announced)
        acting.check()
        for ask in (latents.of, latents.alone):
            ask(own)
            acting.check()
        latents.forget()
        acting.check()


@pytest.mark.parametrize("selection", KINDS)
def test_a_slot_that_was_given_away_is_not_read(selection):
    acting = Acting(selection)
    acting.policy.head.attach_caches({name: np.zeros(shape, dtype) for name, (shape, dtype) in acting.policy.head.cache_layout().items()})
    acting.step, acting.arguments = acting.policy.head.light_kernel(acting.policy.plan, acting.vector, acting.rounds)
    taker = Acting(selection, acting)
    acting.use(2)
    acting.check()
    for seed in range(3, 4 + SLOTS):
        taker.use(seed)
        taker.check()
        acting.check()


@pytest.mark.parametrize("selection", KINDS)
def test_draws_and_greedy_steps_in_turn(selection):
    """The same step looks at all latents where it draws, with the random numbers of the round and of epsilon."""
    acting, brute = Acting(selection), Acting("brute")
    for one in (acting, brute):
        one.use(2)
        one.rounds.noise[:] = np.random.default_rng(5).random(one.rounds.noise.shape)
    for t in range(STEPS):
        acting.check(t)
        for one in (acting, brute):
            one.rounds.knobs[TEMPERATURE], one.rounds.knobs[EPSILON] = 0.5, 0.3
            assert one.step(*one.arguments, t)
            one.rounds.knobs[TEMPERATURE], one.rounds.knobs[EPSILON] = 0.0, 0.0
        np.testing.assert_array_equal(acting.rounds.action[t], brute.rounds.action[t])
    assert len(np.unique(acting.rounds.action)) > 8


def test_observations_that_are_not_finite_are_told():
    acting = Acting("brute")
    acting.check()
    acting.rounds.raw[0, 2, 1] = np.nan
    assert not acting.step(*acting.arguments, 0)


@pytest.mark.parametrize(
    ("returned", "tape"),
    [
        ([1], [False]),
        ([0], [False]),
        ([GIVEN_AWAY, 1], [False, True]),
        ([UNKNOWN, 1], [False, True]),
        ([1, UNKNOWN, 1], [False, False]),
        ([1, OTHERWISE, 1], [False, False]),
        ([1, GIVEN_AWAY, 1], [False, True]),
    ],
)
def test_what_is_bound_after_what_a_kernel_returned(returned, tape):
    """Once more by the table, and where that is given away meanwhile by memory that nobody takes away."""
    seen, rest = [], list(returned)

    class Bound:
        words = None

    class Binding:
        def bound(self, alone):
            seen.append(alone)
            return lambda words, raw, t: rest.pop(0), Bound

    step = stepping.whole_step(Binding(), None)
    while rest:
        assert step(0) == (returned[-1] == 1)
    assert seen == tape
