"""Where a learner's numbers live: on the host, where torch works on numpy's memory, or on a device such as a GPU.

    Host      arrays as they are; Adam is ours, one compiled pass over the flat vectors
    Device    tensors of its own; every batch is copied there, Adam is a few operations of torch on the same flat vectors

Both do the same arithmetic, up to rounding. `names_here` and `check_device` ask what there is without touching it: no CUDA
context is made before a learner makes its `Device`, in its own process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asyncrl.errors import Hopeless, UserError, nearest
from asyncrl.shared.optimizers import Adam, clip_scale, norm

ADAM = Adam()
STEEPEST = 1e19
"""Gradients beyond this norm are left out like those that are not finite: their squares, which Adam keeps, would be infinite."""
FloatArray = NDArray[np.float32]


class HostNumbers:
    """Vector, target, gradient [N] and statistics [2, N] as arrays; `tensors` are the first three as torch sees them."""

    def __init__(self, vector: FloatArray):
        self.vector, self.target, self.gradient = vector, vector.copy(), np.zeros_like(vector)
        self.statistics = np.zeros((2, vector.size), np.float32)
        self.tensors = (torch.from_numpy(self.vector), torch.from_numpy(self.target), torch.from_numpy(self.gradient))

    def clear(self) -> None:
        """gradient = 0"""
        self.gradient[:] = 0.0

    def descend(self, rate: float, count: int, longest: float) -> float:
        """The count-th Adam step, down the gradient; returns its norm, before it is clipped to `longest` (0: it is not).

        A gradient that is not finite is left out: returns infinity, and nothing has changed.
        """
        length = float(norm(self.gradient))
        if not length < STEEPEST:
            return math.inf
        place = (self.vector, self.statistics)
        ADAM.step(place, self.gradient, slice(0, self.vector.size), clip_scale(length, longest), rate, count)
        return length

    def follow(self, tau: float) -> None:
        """target += tau * (vector - target)"""
        self.tensors[1].lerp_(self.tensors[0], tau)

    def copy_to(self, out: FloatArray) -> None:
        """out[n] = the first n numbers of vector [N]"""
        out[:] = self.vector[: out.size]


class DeviceNumbers:
    """The same as tensors on a device: vector, target, gradient [N] and statistics [2, N], with the methods of `HostNumbers`."""

    def __init__(self, vector: torch.Tensor):
        self.vector = vector
        self.target, self.gradient = vector.clone(), torch.zeros_like(vector)
        self.statistics = vector.new_zeros((2, len(vector)))
        self.tensors = (self.vector, self.target, self.gradient)

    def clear(self) -> None:
        """gradient = 0"""
        self.gradient.zero_()

    @torch.no_grad()
    def descend(self, rate: float, count: int, longest: float) -> float:
        """As `HostNumbers.descend`. Waits for the device once, for the norm; Adam then runs there while we go on."""
        length = torch.linalg.vector_norm(self.gradient)
        told = float(length)
        if not told < STEEPEST:
            return math.inf
        if longest > 0:
            self.gradient.mul_((longest / (length + 1e-6)).clamp_(max=1.0))
        mean, square = self.statistics
        beta1, beta2 = ADAM.betas
        mean.mul_(beta1).add_(self.gradient, alpha=1.0 - beta1)
        square.mul_(beta2).addcmul_(self.gradient, self.gradient, value=1.0 - beta2)
        root = float(np.sqrt(1.0 - beta2**count))
        self.vector.addcdiv_(mean, square.sqrt().div_(root).add_(ADAM.epsilon), value=-rate / (1.0 - beta1**count))
        return told

    def follow(self, tau: float) -> None:
        """target += tau * (vector - target)"""
        self.target.lerp_(self.vector, tau)

    def copy_to(self, out: FloatArray) -> None:
        """out[n] = the first n numbers of vector [N], copied to the host"""
        torch.from_numpy(out).copy_(self.vector[: out.size])


class Host:
    """This processor."""

    def numbers(self, vector: FloatArray) -> HostNumbers:
        """A tower's, from its parameters [N]."""
        return HostNumbers(vector)

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        """The array as a tensor of the same shape [...], over the same memory."""
        return torch.from_numpy(array)

    def array(self, tensor: torch.Tensor) -> NDArray[Any]:
        """The tensor as an array of the same shape [...], over the same memory."""
        return tensor.numpy()


class Device:
    """A device of torch's. Made only in the process that learns: it is the first to touch the device."""

    def __init__(self, device: torch.device):
        """Raises Hopeless where torch cannot use it after all."""
        self.device = device
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:  # torch raises either
            raise Hopeless(f"learner_device = {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error

    def numbers(self, vector: FloatArray) -> DeviceNumbers:
        """A tower's, from its parameters [N], which are copied to the device."""
        return DeviceNumbers(self.tensor(vector))

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        """A copy of the array on the device, of the same shape [...]."""
        return torch.from_numpy(array).to(self.device, copy=True)

    def array(self, tensor: torch.Tensor) -> NDArray[Any]:
        """A copy of the tensor on the host, of the same shape [...]."""
        return tensor.to("cpu", copy=True).numpy()


Place = Host | Device
HOST = Host()


def place_of(name: str) -> Place:
    """Of the option `learner_device`."""
    return HOST if name == "cpu" else Device(torch.device(name))


def saved(kept: Mapping[str, NDArray[Any] | torch.Tensor]) -> dict[str, NDArray[Any]]:
    """What a learner keeps, as arrays of the same shapes: arrays on the host are not copied, tensors are."""
    return {name: one.to("cpu", copy=True).numpy() if isinstance(one, torch.Tensor) else one for name, one in kept.items()}


def put_back(kept: Mapping[str, NDArray[Any] | torch.Tensor], state: Mapping[str, NDArray[Any]]) -> None:
    """Overwrite what a learner keeps, on the host or a device, with the arrays of the same names and shapes in `state`."""
    for name, one in kept.items():
        if isinstance(one, torch.Tensor):
            one.copy_(torch.tensor(state[name]))
        else:
            one[...] = state[name]


def names_here() -> list[str]:
    """Of the devices that torch can learn on, on this machine: ``cpu``, ``cuda:0``, ..., ``mps``."""
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def check_device(name: str) -> None:
    """Raise UserError for a `learner_device` that is none, or that this machine does not have; makes no CUDA context."""
    if name == "cpu":
        return
    here = names_here()
    names = [*here, "cuda"] if "cuda:0" in here else here
    if name in names:
        return
    has = f"this machine has: {', '.join(here)}"
    if not re.fullmatch(r"mps|cuda(:\d+)?", name):
        allowed = ("cpu", "cuda", "cuda:1", "mps")
        raise UserError(f"unknown learner_device {name!r}{nearest(name, allowed)} (allowed: {', '.join(allowed)}; {has})")
    lacking = "" if torch.backends.cuda.is_built() or name == "mps" else "torch was built without CUDA; "
    raise UserError(f"learner_device = {name!r} cannot be used{nearest(name, names) if len(names) > 1 else ''} ({lacking}{has})")
