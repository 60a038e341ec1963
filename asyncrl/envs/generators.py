"""The global random generators of a process: those of numpy, torch and Python's `random`.

Environments, networks and functions of the user's may draw from them. All new processes have the same ones, so they are seeded
before the user's code runs; in the caller's own process their states are restored afterwards.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.random import mtrand
from numpy.typing import NDArray

_OWN = 0x61726C
"""Part of every key, so that these seeds differ from streams that are seeded by the same numbers elsewhere."""


def seed_generators(*key: int) -> None:
    """Seed all of them from `key`, integers from 0; torch's only if torch is loaded. Takes about 25 microseconds."""
    numpy_seed, *words = _words(key)
    if not isinstance(mtrand.get_bit_generator(), np.random.MT19937):  # the user's code has set another kind, which has no `seed`
        mtrand.set_bit_generator(np.random.MT19937())
    np.random.seed(numpy_seed)
    random.seed(words[0] << 32 | words[1])
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(words[2] << 31 | words[3])
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(words[2] << 31 | words[3])


def seed_process(*key: int) -> None:
    """As `seed_generators`, at the start of a process: torch is imported, and its generators for GPUs are seeded too."""
    import torch

    torch.manual_seed(_words(key)[-1])
    seed_generators(*key)


def _words(key: tuple[int, ...]) -> list[int]:
    # The length is part of the entropy, since SeedSequence does not distinguish 1 from 1, 0, 0.
    words: list[int] = np.random.SeedSequence((len(key), *key), spawn_key=(_OWN,)).generate_state(5).tolist()
    return words


def save_generators() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The generators' states: values for JSON, and arrays by name. Without those of GPUs, and numpy's if it is not an MT19937."""
    version, numbers, next_gauss = random.getstate()
    state: dict[str, Any] = {"random": [version, next_gauss]}
    arrays: dict[str, NDArray[Any]] = {"random": np.array(numbers, np.uint32)}
    known = np.random.get_state(legacy=False)
    if known["bit_generator"] == "MT19937":
        state["numpy"] = [int(known["state"]["pos"]), int(known["has_gauss"]), float(known["gauss"])]
        arrays["numpy"] = np.array(known["state"]["key"])
    if (torch := sys.modules.get("torch")) is not None:
        arrays["torch"] = torch.default_generator.get_state().numpy().copy()
    return state, arrays


def load_generators(state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Restore the states that `save_generators` returned."""
    version, next_gauss = state["random"]
    random.setstate((version, tuple(arrays["random"].tolist()), next_gauss))
    if "numpy" in state:
        np.random.set_state(("MT19937", np.array(arrays["numpy"]), *state["numpy"]))
    if "torch" in arrays:
        import torch

        torch.default_generator.set_state(torch.from_numpy(np.array(arrays["torch"])))


def own_generators() -> tuple[Any, ...]:
    """The states as they are, for `take_generators` in the same process. Without those of GPUs."""
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(legacy=False), None if torch is None else torch.default_generator.get_state()


def take_generators(states: tuple[Any, ...]) -> None:
    """Take back what `own_generators` returned."""
    own, of_numpy, of_torch = states
    random.setstate(own)
    np.random.set_state(of_numpy)
    if of_torch is not None:
        sys.modules["torch"].default_generator.set_state(of_torch)


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Restore the generators' states when the block ends, so that the block may seed them and draw from them."""
    bits, numpy_state = mtrand.get_bit_generator(), np.random.get_state(legacy=False)
    state, arrays = save_generators()
    on_gpu = sys.modules["torch"].cuda.get_rng_state_all() if _uses_gpu() else None
    try:
        yield
    finally:
        if mtrand.get_bit_generator() is not bits:
            mtrand.set_bit_generator(bits)
        np.random.set_state(numpy_state)
        load_generators(state, arrays)
        if (torch := sys.modules.get("torch")) is not None:
            if "torch" not in arrays:  # torch was imported meanwhile: set the state of a new generator
                torch.default_generator.set_state(torch.Generator().get_state())
            if on_gpu is not None:
                torch.cuda.set_rng_state_all(on_gpu)


def _uses_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()
