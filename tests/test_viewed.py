"""Images of one's own environments, shrunk and stacked."""

from __future__ import annotations

import functools

import environments
import numpy as np
import pytest

from asyncrl.api import evaluate, resume, train
from asyncrl.envs import load_state, make_env, save_state, ship, spec_of, unship
from asyncrl.envs.viewed import View
from asyncrl.errors import UserError

CHANNELS_LAST = environments.ImageEnv
"""84x84x3."""


@pytest.mark.parametrize(("stack", "resize", "shape"), [(4, "", (12, 84, 84)), (1, "42x28", (3, 42, 28)), (2, "30x84", (6, 30, 84))])
def test_the_newest_images_are_seen_the_newest_last(stack, resize, shape):
    env, plain = make_env(unship(ship(View(CHANNELS_LAST, stack, resize)))), make_env(CHANNELS_LAST)
    assert spec_of(env).observation_shape == env.observation_space.shape == shape
    shrunk = functools.partial(by_areas, height=shape[1], width=shape[2])
    seen = [shrunk(plain.reset(seed=3)[0])] * stack
    np.testing.assert_allclose(env.reset(seed=3)[0], np.concatenate(seen), atol=0.5001)
    for _ in range(6):
        seen = [*seen[1:], shrunk(plain.step(0)[0])]
        np.testing.assert_allclose(env.step(0)[0], np.concatenate(seen), atol=0.5001)


def by_areas(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """image[C, H, W] by averages over areas, not rounded: each pixel is repeated until both sizes divide its sides."""
    channels, rows, columns = image.shape
    large = image.repeat(height, axis=1).repeat(width, axis=2).astype(float)
    return large.reshape(channels, height, rows, width, columns).mean(axis=(2, 4))


def test_it_is_saved_and_goes_on():
    env, other = (make_env(View(CHANNELS_LAST, 3, "20x20")) for _ in range(2))
    env.reset(seed=1)
    env.step(0)
    saved = save_state(env)
    assert saved is not None
    other.reset(seed=2)
    load_state(other, *saved)
    for _ in range(4):
        np.testing.assert_array_equal(env.step(0)[0], other.step(0)[0])


@pytest.mark.parametrize(("env", "stack", "resize", "told"), [
    ("CartPole-v1", 4, "", "frame_stack = 4 cannot be used: observations are no images"),
    ("CartPole-v1", 1, "84x84", "resize = '84x84' cannot be used: observations are no images"),
    (CHANNELS_LAST, 1, "96x84", "up to 84x84"),
    (CHANNELS_LAST, 1, "0x84", "HEIGHTxWIDTH"),
    (CHANNELS_LAST, 1, "84", "HEIGHTxWIDTH"),
    (CHANNELS_LAST, 0, "", "frame_stack = 0"),
])  # fmt: skip
def test_what_cannot_be_seen_so_is_refused(tmp_path, env, stack, resize, told):
    with pytest.raises(UserError, match=told) as caught:
        train("a3c", env, frame_stack=stack, resize=resize, runs=str(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_resumed_and_evaluated_with_the_same_view(tmp_path):
    settings = {"frame_stack": 2, "resize": "28x28", "workers": 1, "quiet": True, "evaluation_episodes": 0}
    first = train("a2c", CHANNELS_LAST, steps=40, runs=str(tmp_path), **settings)
    assert resume(first.folder, steps=80, env=CHANNELS_LAST, quiet=True).summary["steps"] == 80
    assert len(evaluate(first.folder, env=CHANNELS_LAST, episodes=2)["returns"]) == 2
