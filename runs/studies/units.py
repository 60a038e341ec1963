"""CartPole's rewards in other units: wrappers for learning-cartpole-units.toml."""

from gymnasium import Env
from gymnasium.wrappers import TransformReward


def hundredth(env: Env) -> Env:
    """All rewards x 0.01."""
    return TransformReward(env, lambda reward: 0.01 * float(reward))


def hundredfold(env: Env) -> Env:
    """All rewards x 100."""
    return TransformReward(env, lambda reward: 100.0 * float(reward))
