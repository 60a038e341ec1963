"""What picks an action among N: the contract of every kind of selection, and its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.fields import COUNT, POSITIVE, Range, check_kind, hints_of
from asyncrl.shared.arrays import Layout, offsets_of

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of an index by name, in this process's memory or in a shared segment."""

BITS = Range(0, 20, whole=True)


@dataclass(frozen=True)
class SelectionOptions:
    """Options of the ways to select an action; each way reads its own."""

    temperature: Annotated[float, POSITIVE] = 1.0
    """Draws are from the softmax of the scores divided by this."""
    scanned: Annotated[int, COUNT] = 2048
    """Actions whose scores are computed, at least, in each choice of an approximate selection (if there are so many)."""
    bits: Annotated[int, BITS] = 0
    """Projections: bits of a bucket's key; 0 for as many as give about 64 actions to a bucket."""
    order: Literal["margins", "hamming"] = "margins"
    """Projections: buckets in the order of the projections that would have to change sign, or of Hamming distance (the paper's)."""
    thresholds: Literal["centred", "median"] = "centred"
    """Projections: the latents' mean is subtracted from each, or each projection's median (the paper's)."""
    features: Annotated[int, COUNT] = 256
    """Feature tree: random features of a node."""
    moments: Annotated[int, Range(1, 2, whole=True)] = 2
    """Principal tree: draws know each node's mean (1), or its mean and covariance (2)."""

    def __post_init__(self) -> None:
        for name, (hint, allowed) in hints_of(type(self)).items():
            value = getattr(self, name)
            check_kind(name, value, hint, None)
            if allowed is not None and not allowed.allows(value):
                raise UserError(f"{name} = {value!r} cannot be used (allowed: {allowed})")


class Selection(ABC):
    """Picks one of N actions by the dot products of their latents [N, d] with a query [d], the state's latent.

    The index is a set of arrays with a declared layout, which depends on N, d and the options alone, so that it can lie in shared
    memory: one process fills it, all read it.

    Writers:  the processes that call `fill`. Several may do so at once, for the same latents, also while others select by what the first
              of them has written: `fill` writes to the arrays nothing but the result.
    Readers:  any number of processes, each with a Selection of its own over the same arrays; not thread-safe, since each has scratch.
    Stale:    an index holds copies of the latents; it is filled anew when they change.
    When full: the size is fixed.
    Crash:    an index whose writer died in `fill` is filled anew.

    Ties: of equal scores, among those that are computed, the action with the lowest number. A query with NaN gets some action.
    """

    arguments: tuple[Any, ...]
    """What its compiled search takes beside the query: the index and the scratch. Only of selections that heads use."""

    name: ClassVar[str]
    description: ClassVar[str]
    draws: ClassVar[bool] = False
    """Whether `draw` is offered."""

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        """`arrays`: of `layout`, as `fill` has written them."""
        self.arrays, self.options = arrays, options

    @classmethod
    @abstractmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        """The index's arrays for so many actions with latents of `size` numbers."""

    @classmethod
    @abstractmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        """Write the index of latents [N, d] (float32, C-contiguous, only read) into arrays of its layout.

        The same latents, options and state of the generator give the same bits, and nothing else is written to the arrays meanwhile.
        """

    @classmethod
    def build(
        cls, latents: NDArray[np.float32], options: SelectionOptions, generator: np.random.Generator, arrays: Arrays | None = None
    ) -> Self:
        """A selection among latents [N, d]; its index is written into `arrays`, or into this process's own memory.

        Raises UserError if there are no actions, or a latent is not finite.
        """
        latents = np.ascontiguousarray(latents, np.float32)
        if latents.ndim != 2 or not latents.size:
            raise UserError(f"latents of shape {latents.shape} hold no action (allowed: [actions, numbers], at least 1 of each)")
        if not np.isfinite(latents).all():
            raise UserError("latents contain numbers that are not finite")
        if arrays is None:
            layout = cls.layout(latents.shape[0], latents.shape[1], options)
            arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}
        cls.fill(latents, arrays, options, generator)
        return cls(arrays, options)

    @classmethod
    def bytes(cls, actions: int, size: int, options: SelectionOptions) -> int:
        """Bytes of the index in a segment of its own."""
        return offsets_of(cls.layout(actions, size, options))[1]

    @abstractmethod
    def best(self, query: NDArray[np.float32]) -> int:
        """The number of an action whose dot product with query [d] is the highest, or near it where the selection is approximate."""

    def draw(self, query: NDArray[np.float32], uniform: float) -> int:
        """The number of an action, drawn by `uniform` in [0, 1) from the softmax of the dot products with query [d] over temperature."""
        raise NotImplementedError(f"{self.name} does not draw")
