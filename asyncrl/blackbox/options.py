"""Options that all black-box searches share. It imports nothing heavy, since the command line reads it for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class SearchOptions:
    """How candidates are drawn and evaluated."""

    population: int = 64
    """Evaluations of a generation; antithetic pairs count twice."""
    sigma: float = 0.05
    """Deviation of each component of a perturbation (exploration settings may override it per direction)."""
    directions: Literal["gaussian", "orthogonal", "orthogonal-fixed", "hadamard", "discrete"] = "gaussian"
    """Kind of perturbations (exploration settings may override it per direction)."""
    shaping: Literal["centered-ranks", "standardized", "none"] = "centered-ranks"
    """What returns are turned into before they weigh directions."""
    account: Literal["dispatch", "arrival"] = "dispatch"
    """Mode async: an update takes a whole generation in the order of dispatch (no bias towards short episodes), or the
    first evaluations that arrive. Other modes have dispatch alone."""
    late: Literal["ratio", "as-is", "drop"] = "ratio"
    """Modes pipelined, bounded and async: evaluations of older parameters are corrected per dimension by the ratio of normal densities
    (gaussian and orthogonal directions; others have no such ratio and count as they are while the parameters have moved little), used
    as they are, or left out."""
    max_lag: int = 4
    """Evaluations that are older than this many updates are left out (and counted)."""
    episodes: int = 1
    """Episodes of an evaluation (of a function: calls); its return is their mean."""
    episode_limit: str = "none"
    """Steps after which a training episode is cut: a number, none, or adaptive:START,SHARE,FACTOR: the limit begins at
    START and grows by FACTOR whenever SHARE of a generation's episodes reach it. Evaluations are cut after ten times as many
    steps, and at least 10,000."""
    survival_bonus: float = 0.0
    """Reward per step that is subtracted in training (not in evaluation), for environments that pay for staying alive."""
    normalize_observations: bool = True
    """Shift and scale observations by a running mean and deviation of all training steps."""
    common_seeds: Literal["pair", "generation", "none"] = "pair"
    """Which evaluations begin their episodes with the same environment seed: mirror images, whole generations, or none."""
    action_bins: int = 0
    """Box actions: each component takes one of so many values, evenly spaced, with a score for each; 0 for none."""

    of_episodes: ClassVar[tuple[str, ...]] = ("episode_limit", "survival_bonus", "normalize_observations", "common_seeds", "action_bins")
    """Options that do not apply to a function of the user's (`asyncrl.minimize`)."""

    def __post_init__(self) -> None:
        if isinstance(self.episode_limit, int) and not isinstance(self.episode_limit, bool):  # a number is accepted in Python
            object.__setattr__(self, "episode_limit", str(self.episode_limit))

    @classmethod
    def for_functions(cls, sigma: float) -> dict[str, Any]:
        """Defaults that differ in `asyncrl.minimize`: the step size is in units of sigma, whatever the units of the parameters."""
        return {}

    @property
    def modes(self) -> tuple[str, ...] | None:
        """Update modes that these options allow; None for all modes of the algorithm."""
        return None
