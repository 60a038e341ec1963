"""Which numbers of a policy's vector v(s) alone depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.networks.compact import CompactNetwork
from asyncrl.heads.networks.kernels import layer_sizes


def of_layers(plan: NDArray[np.int64], compact: CompactNetwork | None) -> list[slice]:
    """Those of the network of plan[4 + hidden layers]; `compact`: its layers, where the vector does not hold them dense."""
    layers = layer_sizes(plan)
    counts = [inputs * outputs + outputs for _, inputs, outputs in layers] if compact is None else compact.counts
    return _joined((name.startswith("value."), count) for (name, _, _), count in zip(layers, counts))


def of_module(module: Any, spec: EnvSpec) -> list[slice]:
    """Those of a torch module, from the graph of one forward pass: what v(s) uses, and the policy's outputs do not.

    The module may draw from its process's generators.
    """
    import torch

    from asyncrl.heads.networks.modules import trial

    observation, memory = trial(spec), getattr(module, "memory_size", 0)
    results = module.recur(observation, torch.zeros(2, len(observation), memory)) if memory else module(observation)
    parameters = list(module.parameters())
    of_policy, of_value = (_used(result, parameters) for result in results[:2])
    return _joined((value and not policy, one.numel()) for one, policy, value in zip(parameters, of_policy, of_value))


def _used(result: Any, parameters: list[Any]) -> list[bool]:
    """Whether `result` depends on each."""
    import torch

    learned = [one for one in parameters if one.requires_grad]
    if not result.requires_grad or not learned:
        return [False] * len(parameters)
    slopes = dict(zip(map(id, learned), torch.autograd.grad(result.sum(), learned, retain_graph=True, allow_unused=True)))
    return [slopes.get(id(one)) is not None for one in parameters]


def _joined(pieces: Iterable[tuple[bool, int]]) -> list[slice]:
    """Slices of the pieces that are wanted, of (wanted, size) of all, one after another; neighbours become one slice."""
    parts: list[slice] = []
    at = 0
    for wanted, size in pieces:
        if wanted and parts and parts[-1].stop == at:
            parts[-1] = slice(parts[-1].start, at + size)
        elif wanted:
            parts.append(slice(at, at + size))
        at += size
    return parts
