"""Implicit one-tower head: a network of state and action together scores each action of a set.

Seed 000, section 2.1: -E(s, a) = network([s, a]). Its first layer is W_s s + W_a a: W_s is the network below the head, so that the state
is never repeated for each action; W_a and the layers after it are the head's own parameters. What W_a makes of a fixed set is kept
like the latents of two towers; the layers after it must be computed for every action at every state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats
from asyncrl.heads.implicit.acting import NETWORK, observe
from asyncrl.heads.implicit.action_sets import values_of
from asyncrl.heads.implicit.choosing import BASE, COUNT
from asyncrl.heads.implicit.head import ImplicitHead
from asyncrl.heads.implicit.refining import Refining, write_refined
from asyncrl.heads.implicit.sizes import Towers
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.rounds import TEMPERATURE, RoundArrays
from asyncrl.shared.bundles import bundle

DEFAULT_LAYERS = 3


class OneTowerHead(ImplicitHead):
    """The score is a network's one output. Own parameters: W_a [F, d], further layers [d, d], and the output's weights [d].

    Under gradients v(s) is linear: the hidden layers are the head's.
    """

    name: ClassVar[str] = "iot"
    description: ClassVar[str] = "implicit, one tower: the best action of a set by a network of state and action"
    selections: ClassVar[tuple[str, ...]] = ("brute", "refine")

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        refines = self.chosen_options.selection == "refine"
        self._refining = Refining(self.form, self._scratch[1], self.bounds) if refines else None

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        """As `Head.choose`. A greedy action that is refined is in no set: bounded[t] [E, C] is all that tells it, action[t] is 0."""
        r, refining = rounds, self._refining
        if refining is None or r.knobs[TEMPERATURE] != 0.0:
            super().choose(rounds, vector, t)
            return
        own, features = self._own(vector), self._latents.features
        for e, state in enumerate(r.policy_output):
            self._turns[COUNT] += 1
            found = refining.best(own, state, features, self._turns[BASE], self._turns[COUNT])
            write_refined(found, self.bounds, r.extra_noise[t, e], r.bounded[t, e])
        r.action[t] = 0

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        step, arguments = super().light_kernel(plan, vector, r)
        net = bundle((plan, vector, r.work, r.normaliser, r.observation, r.policy_output), NETWORK)

        def refined(t: int) -> bool:
            if r.knobs[TEMPERATURE] != 0.0:
                return bool(step(t))
            sound = bool(observe(net.words, r.raw, t))
            self.choose(r, vector, t)
            return sound

        return (refined if self._refining else step), arguments

    @property
    def one_greedy_call(self) -> bool:
        """Not where it refines: that is a search of many calls."""
        return super().one_greedy_call and self._refining is None

    def _newest_set(self) -> tuple[Floats, NDArray[Any]]:
        """As of any implicit head; where it refines, what it has refined at last."""
        if self._refining is None:
            return super()._newest_set()
        return self._refining.samples, values_of(self._refining.samples, self.bounds)

    def towers(self) -> Towers:
        given, preset = self.chosen_options, self.sizes_of.preset
        layers = given.action_layers or (preset.iot_layers if preset else DEFAULT_LAYERS)
        if layers < 2:
            raise UserError(f"action_layers = {layers} cannot be used with head 'iot' (allowed: whole numbers from 2: first and last)")
        return Towers("one-tower", 1, layers - 2)

    def network(self, given: Shape) -> Shape:
        """One linear layer, W_s."""
        if (self.chosen_options.state_layers or 1) > 1:
            raise UserError("state_layers cannot be used with head 'iot' (its layers are action_layers, with latent units between them)")
        return self.sizes_of.shape(replace(given, hidden=()), self.options.hidden, 1)
