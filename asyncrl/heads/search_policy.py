"""Deterministic policies for black-box search: a vector of parameters in, actions out, one compiled call a step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.choice import made, searched_head
from asyncrl.heads.networks.compact import Shape, check_network, searched, shape_of
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import OWN_PARAMETERS
from asyncrl.heads.roles import Role
from asyncrl.heads.search_player import Player, is_wide


class SearchPolicy:
    """What every process knows of a deterministic policy: sizes and layout. The numbers are in a vector that is passed in.

    head           a name of layers: linear: no hidden layers and no biases, as in ARS and TRES; mlp: biases everywhere; compact
                   layers: biases in hidden layers only; or a head of the role SEARCH, over the layers that it wants (`Head.network`)
    action_bins    b > 0: each component of a Box action has b scores and takes the value of the best one, among b evenly
                   spaced from bound to bound

    Actions are the modes of the stochastic heads: a bounded component is the output clipped to [-1, 1] (or its tanh under
    `squash`), scaled to the bounds; a choice is the best score's, of equal ones the first. The vector [size] holds the layers, and
    then the parameters of a head whose greedy action depends on them (of those by `asyncrl.heads.decisions` it does not).

    Raises UserError: an unknown head, images, options that the head has no use for, bins without finite bounds.
    """

    def __init__(self, spec: EnvSpec, head: str, options: NetworkOptions, action_bins: int = 0):
        own = searched_head(head, spec)
        check_network(spec, head, options)
        self.spec, self.options, self.head_name, self.action_bins = spec, options, head, action_bins
        self.head = made(own, spec, options, Role.SEARCH)
        self.shape = self.head.network(shape_of(head, options))
        _check(spec, head, options, self.shape, action_bins)
        if action_bins and not self.head.decides:
            raise UserError(f"action_bins = {action_bins} cannot be used with head {head!r} (allowed: 0)")
        self.outputs = self.head.policy_outputs * max(action_bins, 1)
        self.plan = make_plan(spec.observation_size, self.shape.hidden, self.outputs, self.shape.activation, POLICY_ALONE)
        self.network = searched(spec.observation_size, self.outputs, self.shape)
        self.extra_size = 0 if self.head.decides else self.head.extra_size
        self.size = self.network.size + self.extra_size

    def initial(self, seed: int) -> NDArray[np.float32]:
        """A fresh vector [size]: of the layers as `Shape.start` says, biases of scaled ones are zero; then the head's own start."""
        network, generator = np.zeros(self.network.size, np.float32), np.random.default_rng(seed)
        if self.shape.start == "scaled":
            network = self.network.initial(generator)
        elif self.shape.start == "normal":
            network = generator.standard_normal(self.network.size, np.float32)
        if not self.extra_size:
            return network
        return np.concatenate([network, self.head.initial(np.random.default_rng((seed, OWN_PARAMETERS)))])

    def why_not_compiled(self) -> str | None:
        """Why acting is more than one compiled call, as a compiled simulator asks for; None if it is one."""
        one_call = self.spec.action_kind != "multidiscrete" if self.head.decides else self.head.one_greedy_call
        if not one_call:
            return f"head {self.head_name!r} does more than one compiled call a step"
        return "layers are so wide that each is a call" if is_wide(self) else None

    def fill_tables(self, seed: int) -> None:
        """Write the first contents of the head's tables; see `Head.fill`."""
        self.head.fill(np.random.default_rng((seed, OWN_PARAMETERS, 1)))

    def expand(self, vector: NDArray[Any], dense: NDArray[np.float32]) -> None:
        """Write dense[network.dense_size + extra_size], what the kernels work on, of vector[size]."""
        self.network.expand(vector[: self.network.size], dense[: self.network.dense_size])
        dense[self.network.dense_size :] = vector[self.network.size :]

    def player(self) -> Player:
        """What acts, with arrays of its own."""
        return Player(self)


def _check(spec: EnvSpec, head: str, options: NetworkOptions, shape: Shape, bins: int) -> None:
    if options.virtual_batch and not shape.hidden:
        raise UserError(f"virtual_batch = {options.virtual_batch} cannot be used: head {head!r} has no hidden layers to normalise")
    if not bins:
        return
    if spec.action_kind != "box":
        raise UserError(
            f"action_bins = {bins} cannot be used: it is for Box actions, this environment's are {spec.action_kind} (allowed: 0)"
        )
    if bins < 2:
        raise UserError(f"action_bins = {bins} cannot be used (allowed: 0 for none, whole numbers from 2)")
    if not np.isfinite([spec.action_low, spec.action_high]).all():
        raise UserError(f"action_bins = {bins} cannot be used: this environment's actions have no finite bounds (allowed: 0)")
