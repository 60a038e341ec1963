"""Networks that are told what others before them have proposed, for learners: see `asyncrl.algos.savo`.

A *cell* is an MLP whose hidden layers are modulated by a summary of a list of actions a_0 .. a_(i-1) (FiLM, Perez and others 2018):

    z    = E([s, a_0], .., [s, a_(i-1)])                            a summary of the list
    x_l  = relu(W_l x_(l-1) + b_l) * (1 + gamma_l(z)) + beta_l(z)     for every hidden layer, after its relu; both linear in z

What E may be, `asyncrl.heads.networks.summaries` tells. The `1 +` keeps what a layer says where the summary says nothing. Other cells
have the summary in the MLP's input instead, or are not told at all (`TELLING`). A stack of n cells of one shape is computed at once, by
products of n matrices. `CellSizes.shapes` are its layers: the MLP, the modulation (Z -> all gammas, all betas) and those of E.
`asyncrl.heads.networks.following` runs actors' cells compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from asyncrl.heads.networks.devices import HOST, Place
from asyncrl.heads.networks.following import CellSizes
from asyncrl.heads.networks.summaries import SUMMARIES, linear
from asyncrl.heads.networks.towers import Layers, Learned, forward, fresh, views


class Stack:
    """n cells of one shape over flat [n * N]: of each layer the weights [n, in, out] of all cells, then their biases [n, 1, out]."""

    def __init__(self, flat: torch.Tensor, count: int, sizes: CellSizes, place: Place):
        """`count`: n."""
        self.sizes = sizes
        self.layers = _stacked(flat, count, sizes.shapes)
        depth = len(sizes.hidden) + 1
        self._mlp, more = self.layers[:depth], self.layers[depth:]
        modulates = sizes.told == "modulation"
        self._modulation, self._summary = more[: int(modulates)], more[int(modulates) :]
        self._summarise = SUMMARIES[sizes.summarising]
        ones = np.zeros(2 * sum(sizes.hidden), np.float32)
        ones[: sum(sizes.hidden)] = 1.0
        self._one = place.tensor(ones)  # added to gamma's bias, which is cheaper than to gamma of every row

    @property
    def output(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(weights, biases) of the output layers."""
        return self._mlp[-1]

    def run(self, observation: torch.Tensor, x: torch.Tensor, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Outputs [n, P, B, out] of x[n, P, B, inputs]: P points for each of B lists of actions given[j, B, A], one list a row.

        shares[n, j]: of each element in a cell's list, 1 / its length; 0 for what is not in it. observation: [B, S].
        """
        if self.sizes.told == "modulation":
            return self._modulated(x, self._summarise(self._summary, observation, given, shares))
        if self.sizes.told == "input":
            summary = self._summarise(self._summary, observation, given, shares)[:, None]
            x = torch.cat([x, summary.expand(-1, x.shape[1], -1, -1)], -1)
        (n, points, rows, _) = x.shape
        x = x.reshape(n, points * rows, -1)
        for layer in self._mlp[:-1]:
            x = linear(layer, x).relu_()
        return linear(self._mlp[-1], x).view(n, points, rows, -1)

    def _modulated(self, x: torch.Tensor, summary: torch.Tensor) -> torch.Tensor:
        """Outputs [n, P, B, out] of x[n, P, B, inputs], with hidden layers modulated by summary [n, B, Z]."""
        (n, points, rows, _), hidden = x.shape, self.sizes.hidden
        ((weight, bias),) = self._modulation
        film = linear((weight, bias + self._one), summary)[:, None]
        scales, shifts = (part.split(hidden, -1) for part in film.split(sum(hidden), -1))
        for layer, scale, shift in zip(self._mlp[:-1], scales, shifts):
            y = linear(layer, x.reshape(n, points * rows, -1)).relu_().view(n, points, rows, -1)
            x = torch.addcmul(shift, y, scale)
        return linear(self._mlp[-1], x.reshape(n, points * rows, -1)).view(n, points, rows, -1)


class Actors(Learned):
    """K actors, each told what those before it propose: an MLP, and K - 1 cells. All actions are within [-1, 1], by tanh.

    An actor's proposal is tanh of the first A of its O outputs; O is A, or more where it says more of its action.

    vector [N]   the first actor's layers, as of `Towers`; then the cells, one after another
    """

    def __init__(self, sizes: CellSizes, actors: int, generator: np.random.Generator, place: Place = HOST):
        """`sizes`: of the cells; `actors`: K, at least 1."""
        first, self._actions = list(pairwise([sizes.inputs, *sizes.hidden, sizes.outputs])), sizes.action
        super().__init__(np.concatenate([fresh(first, generator), *(fresh(sizes.shapes, generator) for _ in range(actors - 1))]), place)
        at = self.size - (actors - 1) * sizes.size
        layers = [(views(flat[:at], first), _cells(flat[at:], sizes, place)) for flat in self.numbers.tensors]
        (self.first, self.cells), (self._target_first, self._target_cells), (slopes, cell_slopes) = layers
        self.learn(self.first, slopes)
        for cell, slope in zip(self.cells, cell_slopes):
            self.learn(cell.layers, slope.layers)
        self.outputs = [*self._outputs(self.first, self.cells), *self._outputs(self._target_first, self._target_cells)]
        self._shares = [place.tensor(np.full((1, length), 1.0 / length, np.float32)) for length in range(1, actors)]

    @staticmethod
    def _outputs(first: Layers, cells: list[Stack]) -> Layers:
        return [first[-1], *(cell.output for cell in cells)]

    def run(self, observation: torch.Tensor) -> list[torch.Tensor]:
        """Every actor's proposal [B, A] at observation [B, S]; gradients flow to that actor alone, and not by what it was told."""
        return self._propose(self.first, self.cells, observation)[1]

    def run_outputs(self, observation: torch.Tensor) -> torch.Tensor:
        """Every actor's outputs [K, B, O] at observation [B, S]; gradients flow as in `run`."""
        return torch.stack(self._propose(self.first, self.cells, observation)[0])

    def run_targets(self, observation: torch.Tensor) -> list[torch.Tensor]:
        """Those of the copies that follow; without gradients."""
        return self._propose(self._target_first, self._target_cells, observation)[1]

    def _propose(self, first: Layers, cells: list[Stack], observation: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(outputs [B, O] of every actor, its proposal [B, A])."""
        outputs = [forward(first, observation)]
        proposals = [outputs[0][:, : self._actions].tanh()]
        for cell, shares in zip(cells, self._shares):
            given = torch.stack([one.detach() for one in proposals])
            outputs.append(cell.run(observation, observation[None, None], given, shares)[0, 0])
            proposals.append(outputs[-1][:, : self._actions].tanh())
        return outputs, proposals


class Surrogates(Learned):
    """n value functions of (observation, action), the i-th told the first i proposals; computed at once. Before them, where `alone`, one
    that is told nothing.

    vector [N]   the layers of the one that is alone, as of `Towers`; then all cells, as of a `Stack`
    """

    def __init__(self, sizes: CellSizes, count: int, generator: np.random.Generator, place: Place = HOST, alone: bool = False):
        """`count`: n; with `alone` at least 0, otherwise 1."""
        first = list(pairwise([sizes.inputs, *sizes.hidden, sizes.outputs])) if alone else []
        numbers = [fresh(first, generator)] if alone else []
        super().__init__(np.concatenate([*numbers, *([_fresh_stack(sizes, count, generator)] if count else [])]), place)
        at = self.size - count * sizes.size
        self.count = count + int(alone)
        self._alone, alone_slopes, self._stack = [], [], None
        if alone:
            (self._alone, _, alone_slopes) = (views(flat[:at], first) for flat in self.numbers.tensors)
            self.learn(self._alone, alone_slopes)
        if count:
            self._stack, _, slopes = (Stack(flat[at:], count, sizes, place) for flat in self.numbers.tensors)
            self.learn(self._stack.layers, slopes.layers)
        self.outputs = []  # surrogates begin anew as a whole, or not
        self._shares = place.tensor((np.tri(count) / np.arange(1, count + 1)[:, None]).astype(np.float32))

    def run(self, observation: torch.Tensor, action: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Values [m, P, B] of all m at observation [B, S] and action [m, P, B, A]; given[n, B, A]: what the first 1, 2, .., n are told."""
        points = action.shape[1]
        pair = torch.cat([observation.expand(self.count, points, -1, -1), action], -1)
        parts = [forward(self._alone, pair[0].flatten(0, 1)).view(1, points, -1)] if self._alone else []
        if self._stack is not None:
            parts.append(self._stack.run(observation, pair[len(parts) :], given, self._shares)[..., 0])
        return torch.cat(parts)


def _stacked(flat: torch.Tensor, count: int, shapes: Sequence[tuple[int, int]]) -> Layers:
    """(weight [n, in, out], bias [n, 1, out]) of each layer, over flat [n * N] as a `Stack` has it."""
    position, layers = 0, []
    for inputs, outputs in shapes:
        between = position + count * inputs * outputs
        after = between + count * outputs
        layers.append((flat[position:between].view(count, inputs, outputs), flat[between:after].view(count, 1, outputs)))
        position = after
    return layers


def _fresh_stack(sizes: CellSizes, count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """The numbers of as many fresh cells, as a `Stack` has them."""
    cells = [views(torch.from_numpy(fresh(sizes.shapes, generator)), sizes.shapes) for _ in range(count)]
    return np.concatenate([np.stack([part.numpy() for part in parts]).reshape(-1) for layers in zip(*cells) for parts in zip(*layers)])


def _cells(flat: torch.Tensor, sizes: CellSizes, place: Place) -> list[Stack]:
    """Each cell as a stack of one, since each needs what the one before it proposes."""
    return [Stack(row, 1, sizes, place) for row in flat.view(len(flat) // sizes.size, sizes.size)]
