"""What algorithms that learn from a replay share: options, and what their learners look like. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asyncrl.heads.networks.towers import Towers
    from asyncrl.replay.records import Batch


HIDDEN = (256, 256)
"""Units of each hidden layer (relu) of policy and critics, where the user does not say."""


@dataclass(frozen=True)
class OffPolicyOptions:
    """Options of every algorithm with a replay. Actions live in [-1, 1]; the environment's bounds are applied outside."""

    t_max: int = 1
    """Steps of each environment in a unit that is handed to the learner. 1 in `sync` with one actor is the classic algorithm:
    a step, an update."""
    gamma: float = 0.99
    """Discount per step."""
    n_step: int = 1
    """Steps of a return before it bootstraps."""
    replay: int = 1_000_000
    """Transitions that are kept."""
    replay_ratio: float = 1.0
    """Updates per step of the environments, counted from the end of the warm-up (those due before a batch is there follow then).
    Any number above 0 is held in every mode: whenever the learner publishes, it has made floor(ratio * steps) updates for the
    steps that it has taken, and actors wait for it where it is behind. (In bounded and async an end that is asked for leaves the
    rest to the resumed run.) Refused where a whole run would come to no update."""
    batch: int = 256
    """Transitions of an update."""
    warm_up: int | None = None
    """Steps with uniform actions before the first update; none for 10,000, or for a tenth of a run that would then come to no update."""
    tau: float = 0.005
    """Share by which target networks follow at each update (of the policy, where that is delayed)."""
    priority_alpha: float = 0.0
    """Exponent of priorities (Schaul and others 2016); 0 draws uniformly."""
    priority_beta: float = 0.4
    """Exponent of the weights that undo the priorities at the start; it rises to 1 by the last step."""
    learner_threads: int = 1
    """Threads of the learner's networks; more than there are free cores makes it far slower."""
    learner_device: str = "cpu"
    """Where the learner's networks live: cpu | cuda | cuda:1 | mps. Actors and replay stay on the processor; batches are copied.
    Checkpoints are the same for all."""
    max_gradient_norm: float = 0.0
    """Gradients of each kind of network are scaled down to this Euclidean norm; 0 for no limit."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own)."""

    @property
    def usual_warm_up(self) -> int:
        """Steps of the warm-up where nobody names another and the run is long enough."""
        return 10_000

    def warm_up_for(self, steps: int) -> int:
        """The warm-up of a run of so many steps."""
        if self.warm_up is not None:
            return self.warm_up
        return self.usual_warm_up if (steps - self.usual_warm_up) * self.replay_ratio >= 1 else steps // 10


class OffPolicyLearner(Protocol):
    """One algorithm's networks and its update; constructed as (observation size, action size, options, seed, hidden).

    A sixth argument, an `asyncrl.heads.networks.devices.Place`, stands in for the one that `learner_device` names.

    published_size   numbers of the policy, which actors need
    critics          all critics; those of heads that act with one are published the first
    errors           [B] float32, |temporal-difference error| of the last batch: its new priorities
    """

    published_size: int
    critics: Towers
    errors: NDArray[np.float32]

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All it remembers between updates: arrays of names, shapes and types that do not depend on the device.

        On the host they are the learner's own, without a copy; from another device they are copied each time.
        """

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave, of any device.

        On the same device what follows is the same to the bit: the noise of update u depends on (seed, u) alone.
        """

    def published(self, out: NDArray[np.float32]) -> None:
        """Write the policy [published_size], in the layout of `heads.tower.TowerPolicy`."""

    def update(self, batch: Batch) -> dict[str, float]:
        """One update; returns figures to log. `skipped` is 1 where a gradient was not finite and was left out."""
