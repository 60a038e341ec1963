"""Summaries of lists of proposals in torch, for n networks of one shape at once: see `asyncrl.heads.networks.summarising`.

A summary is made of the layers that `summary_shapes` names, each the weights [n, in, out] and biases [n, 1, out] of all n; of
observation [B, S]; of given[L, B, A], of which each of the n is told as many from the first on as its row of shares[n, L] says: 1 / their
number, and 0 for what is not in its list. It is z [n, B, Z].
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from asyncrl.heads.networks.summarising import EPSILON, LAYERS

Layer = tuple[torch.Tensor, torch.Tensor]
Summary = Callable[[list[Layer], torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def linear(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """x[n, R, in] by weight [n, in, out] and bias [n, 1, out]. Batched products are slow for one matrix, and for one output."""
    weight, bias = layer
    if len(weight) == 1:
        return torch.addmm(bias.view(-1), x.squeeze(0), weight.squeeze(0))[None]
    if weight.shape[2] == 1:
        return (x * weight.mT).sum(2, keepdim=True) + bias
    return torch.baddbmm(bias, x, weight)


def by_mean(layers: list[Layer], observation: torch.Tensor, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """z [n, B, Z] by a DeepSet with means: the linear layer before the pooling is taken after it, where it has fewer rows."""
    x = linear(layers[1], (_elements(layers[0], observation, given, len(shares)) * shares[:, :, None, None]).sum(1))
    return linear(layers[3], linear(layers[2], x).relu_())


def by_largest(layers: list[Layer], observation: torch.Tensor, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """z [n, B, Z] by a DeepSet with the largest of each number."""
    x = _elements(layers[0], observation, given, len(shares))
    x = linear(layers[1], x.flatten(1, 2)).view(x.shape)
    x = x.masked_fill(shares[:, :, None, None] == 0, -torch.inf).amax(1)
    return linear(layers[3], linear(layers[2], x).relu_())


def _elements(layer: Layer, observation: torch.Tensor, given: torch.Tensor, n: int) -> torch.Tensor:
    """relu of the first layer at every element, [n, L, B, H]; what the observation adds is the same for all L."""
    (length, rows, actions), (weight, bias), s = given.shape, layer, observation.shape[1]
    state = torch.baddbmm(bias, observation.expand(n, -1, -1), weight[:, :s])
    taken = torch.bmm(given.reshape(1, length * rows, actions).expand(n, -1, -1), weight[:, s:])
    return (taken.view(n, length, rows, -1) + state[:, None]).relu_()


def by_lstm(layers: list[Layer], observation: torch.Tensor, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """z [n, B, Z] by two layers of an LSTM in both directions. What is not in a list is forgotten before what is, on the way back."""
    n, (length, rows, _) = len(shares), given.shape
    x = linear(layers[1], _elements(layers[0], observation, given, n).flatten(1, 2))
    inside = (shares > 0).to(x.dtype)[:, :, None, None]
    for layer in range(LAYERS):
        forth_in, forth_on, back_in, back_on = layers[2 + 4 * layer : 6 + 4 * layer]
        forth = _directed(forth_in, forth_on, x, (length, rows), inside, False)
        back = _directed(back_in, back_on, x, (length, rows), inside, True)
        x = torch.cat([forth, back], -1).flatten(1, 2)
    forth, back = (x.view(n, length, rows, -1) * shares[:, :, None, None]).sum(1).chunk(2, -1)
    return linear(layers[-1], linear(layers[-2], 0.5 * (forth + back)).relu_())


def _directed(
    first: Layer, second: Layer, x: torch.Tensor, lists: tuple[int, int], inside: torch.Tensor, backwards: bool
) -> torch.Tensor:
    """What one direction says [n, L, B, H] along x[n, L * B, in]; inside[n, L, 1, 1]: 1 for what is in a list, 0 for others."""
    n, (length, rows) = len(x), lists
    gates = linear(first, x).view(n, length, rows, -1)
    said = kept = x.new_zeros(n, rows, gates.shape[-1] // 4)
    found = {}
    for j in reversed(range(length)) if backwards else range(length):
        into, forget, new, out = (gates[:, j] + linear(second, said)).chunk(4, -1)
        kept = (forget.sigmoid() * kept + into.sigmoid() * new.tanh()) * inside[:, j]
        found[j] = said = out.sigmoid() * kept.tanh()
    return torch.stack([found[j] for j in range(length)], 1)


def by_transformer(layers: list[Layer], observation: torch.Tensor, given: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """z [n, B, Z] by two layers of attention with one head, and linear layers; what is not in a list is attended to by nobody."""
    n, (length, rows, _) = len(shares), given.shape
    x = torch.cat([observation.expand(length, -1, -1), given], -1).flatten(0, 1).expand(n, -1, -1)
    outside = (shares == 0)[:, None, None]
    for layer in range(LAYERS):
        asking, answer, scale, shift, up, down, last_scale, last_shift = layers[8 * layer : 8 * layer + 8]
        query, key, value = (part.unflatten(1, (length, rows)).transpose(1, 2) for part in linear(asking, x).chunk(3, -1))
        weights = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(outside, -torch.inf).softmax(-1)
        x = _normalised(scale, shift, x + linear(answer, (weights @ value).transpose(1, 2).flatten(1, 2)))
        x = _normalised(last_scale, last_shift, x + linear(down, linear(up, x).relu_()))
    mean = (x.unflatten(1, (length, rows)) * shares[:, :, None, None]).sum(1)
    return linear(layers[-1], linear(layers[-2], mean).relu_())


def _normalised(scale: Layer, shift: Layer, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1.0 + scale[1]) + shift[1]


SUMMARIES: dict[str, Summary] = {"mean": by_mean, "max": by_largest, "lstm": by_lstm, "transformer": by_transformer}
