"""The seam between actors and environments: gymnasium behind it is equal to a plain loop over gymnasium environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from environments import CountingEnv, ImageEnv, NaNEnv, RaisingEnv, WrongShapeEnv
from tables import Table, arrays_of

from asyncrl.envs import CheckedEnvironment, EnvironmentFault, GymnasiumStepping, make_env, save_state, spec_of
from asyncrl.envs.compiled.stepping import CompiledStepping
from asyncrl.envs.stepping import BEAT_SECONDS, StepArrays, Stepping
from asyncrl.errors import UserError
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

STEPS = 7

IMPLEMENTATIONS: dict[str, type[Stepping]] = {"gymnasium": GymnasiumStepping, "compiled": CompiledStepping}
"""What stands behind the seam; each is held to the same contract."""


def made(sources: list[Any], kind: str = "gymnasium", **callbacks: Any) -> tuple[Stepping, StepArrays]:
    environments = [make_env(source if isinstance(source, str) else lambda source=source: source) for source in sources]  # type: ignore[misc]
    spec = spec_of(environments[0])
    stepping = IMPLEMENTATIONS[kind](environments, spec, **callbacks)
    arrays = arrays_of(spec, STEPS, len(environments), filled=77)
    stepping.given = Table(spec, STEPS, len(environments))  # type: ignore[attr-defined]
    stepping.bind(arrays, stepping.given.chooser)  # type: ignore[attr-defined]
    return stepping, arrays


def step(stepping: Any, t: int, action_for: Any) -> tuple[int, ...]:
    """One step of gymnasium's."""
    stepping.given.action_for = action_for
    following, over = stepping.play(t, False)
    assert following == t + 1
    return over


def actions_of(spec: Any, rounds: int, envs: int) -> Any:
    """Actions [rounds, STEPS, E] of the space's own kind, the same for whoever asks."""
    generator = np.random.default_rng(3)
    if spec.action_kind == "discrete":
        return generator.integers(spec.action_sizes[0], size=(rounds, STEPS, envs))
    return generator.uniform(spec.action_low, spec.action_high, (rounds, STEPS, envs, spec.action_size)).astype(np.float32)


def zero(t: int, e: int) -> int:
    """An action."""
    return 0


class PlainLoop:
    """What stepping is to do, written down plainly: lists over time of one gymnasium environment."""

    def __init__(self, source: Any, seed: int) -> None:
        self.environment = make_env(source)
        self.observation = [self.environment.reset(seed=seed)[0]]
        self.reward: list[float] = []
        self.ended: list[int] = []
        self.final: list[Any] = []
        self.episodes: list[tuple[float, int]] = []
        self.total, self.length = 0.0, 0

    def step(self, action: Any) -> None:
        observation, reward, terminated, truncated, _ = self.environment.step(action)
        self.total, self.length = self.total + float(reward), self.length + 1
        self.reward.append(float(reward))
        self.ended.append(TERMINATED if terminated else TRUNCATED if truncated else GOES_ON)
        self.final.append(np.array(observation))
        if terminated or truncated:
            self.episodes.append((self.total, self.length))
            self.total, self.length = 0.0, 0
            observation = self.environment.reset()[0]
        self.observation.append(np.array(observation))


# Equal to a plain loop.


@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@pytest.mark.parametrize(("source", "ends"), [("CartPole-v1", TERMINATED), ("Pendulum-v1", TRUNCATED), ("MountainCar-v0", TRUNCATED)])
def test_it_is_a_plain_loop_over_gymnasium_environments(kind, source, ends):
    """Observations, rewards, flags, final observations and episodes, over rounds whose ends are no ends of episodes."""
    envs, rounds, seeds = 3, 60, [11, 12, 13]
    episodes: list[tuple[float, int]] = []
    stepping, arrays = made([source] * envs, kind, on_episode=lambda *episode: episodes.append(episode))
    plain, spec = [PlainLoop(source, seed) for seed in seeds], stepping.spec
    stepping.reset(seeds)
    np.testing.assert_array_equal(arrays.observation[0], arrays.observation[-1])
    for number, actions in enumerate(actions_of(spec, rounds, envs)):
        stepping.begin_round()
        assert (arrays.ended == GOES_ON).all()
        stepping.given.actions[:] = actions.reshape(STEPS, envs, -1)  # type: ignore[attr-defined]
        t = 0
        while t < STEPS:
            following, over = stepping.play(t, False)
            for now in range(t, following):
                for one, action in zip(plain, actions[now]):
                    one.step(action)
                assert list(over if now == following - 1 else ()) == [e for e in range(envs) if plain[e].ended[-1]]
            t = following
        first = number * STEPS
        for e, one in enumerate(plain):
            np.testing.assert_array_equal(arrays.observation[:, e], np.array(one.observation[first:], spec.observation_dtype))
            np.testing.assert_array_equal(arrays.reward[:, e], one.reward[first:])
            np.testing.assert_array_equal(arrays.ended[:, e], one.ended[first:])
            for t in np.flatnonzero(arrays.ended[:, e] == TRUNCATED):
                np.testing.assert_array_equal(arrays.final_observation[t, e], one.final[first + t].astype(spec.observation_dtype))
    assert sorted(episodes) == sorted(episode for one in plain for episode in one.episodes)
    assert len(episodes) >= envs and {code for one in plain for code in one.ended} == {GOES_ON, ends}
    assert list(stepping.episode_returns) == [one.total for one in plain]
    assert list(stepping.episode_lengths) == [one.length for one in plain]
    stepping.settle()
    for one, environment in zip(plain, stepping.environments):
        mine, its = save_state(environment), save_state(one.environment)
        assert mine is not None and its is not None and mine[0] == its[0]
        assert all(np.array_equal(mine[1][name], its[1][name]) for name in its[1])


def test_environments_take_their_turns_in_order():
    """Each is stepped and, at an end, reset before the next is stepped: they may draw from the generators of the process."""
    tape: list[str] = []

    class Taped(CountingEnv):
        def __init__(self, name: str, length: int) -> None:
            super().__init__(length)
            self.name = name

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            tape.append(f"reset {self.name}")
            return super().reset(seed=seed, options=options)

        def step(self, action: Any) -> Any:
            tape.append(f"step {self.name} {action}")
            return super().step(action)

    stepping, _ = made([Taped("a", 1), Taped("b", 2)], on_episode=lambda *episode: tape.append(f"episode {episode}"))
    stepping.reset([0, 1])
    tape.clear()
    stepping.begin_round()
    assert step(stepping, 0, lambda t, e: e) == (0,)
    assert tape == ["step a 0", "episode (1.0, 1)", "reset a", "step b 1"]


# Ends of episodes.


class Ending(CountingEnv):
    """Ends at its third step with these flags."""

    def __init__(self, terminated: Any, truncated: Any) -> None:
        super().__init__(length=10)
        self.flags = terminated, truncated

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, *(self.flags if self.count == 3 else (False, False)), info


@pytest.mark.parametrize(
    ("flags", "code"),
    [((True, False), TERMINATED), ((False, True), TRUNCATED), ((True, True), TERMINATED), ((np.bool_(False), np.True_), TRUNCATED)],
)
def test_an_end_is_terminated_or_truncated_and_only_then_has_a_final_observation(flags, code):
    episodes: list[tuple[float, int]] = []
    stepping, arrays = made([Ending(*flags)], on_episode=lambda *episode: episodes.append(episode))
    stepping.reset([0])
    stepping.begin_round()
    over = [step(stepping, t, zero) for t in range(STEPS)]
    assert over == [(), (), (0,), (), (), (0,), ()]
    assert arrays.ended[:, 0].tolist() == [0, 0, code, 0, 0, code, 0]
    # CountingEnv's observation is (episode, step of the episode, step in all).
    assert arrays.observation[:, 0, 1].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert arrays.final_observation[:, 0, 1].tolist() == [
        77,
        77,
        3 if code == TRUNCATED else 77,
        77,
        77,
        3 if code == TRUNCATED else 77,
        77,
    ]
    assert episodes == [(3.0, 3)] * 2
    assert stepping.episode_returns == [1.0] and stepping.episode_lengths == [1]


def test_a_round_begins_where_the_one_before_ended():
    stepping, arrays = made([CountingEnv(100), CountingEnv(5)])
    stepping.reset([0, 0])
    for number in range(3):
        stepping.begin_round()
        for t in range(STEPS):
            step(stepping, t, zero)
        assert arrays.observation[:, 0, 2].tolist() == list(range(number * STEPS, (number + 1) * STEPS + 1))
    assert stepping.episode_lengths == [21, 1]


def test_what_is_bound_is_written_to_and_nothing_else():
    stepping, arrays = made([CountingEnv(5)])
    stepping.reset([0])
    stepping.begin_round()
    step(stepping, 0, zero)
    kept = {name: array.copy() for name, array in vars(arrays).items()}
    other = arrays_of(stepping.spec, 3, 1, filled=77)
    stepping.bind(other, stepping.given.chooser)  # type: ignore[attr-defined]
    other.observation[-1] = arrays.observation[1]
    stepping.begin_round()
    step(stepping, 0, zero)
    assert other.observation[:2, 0, 1].tolist() == [1, 2] and other.reward[0, 0] == 1.0
    for name, array in kept.items():
        np.testing.assert_array_equal(getattr(arrays, name), array)


def test_an_environment_may_reuse_its_array_and_give_lists_and_numbers_of_any_type():
    class Odd(CountingEnv):
        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            kinds: list[Any] = [observation, observation.astype(np.float64), observation.tolist(), tuple(observation.tolist())]
            return kinds[self.total % 4], [np.float16(0.1), np.array(2.0), True, 3][self.total % 4], *rest

    stepping, arrays = made([Odd(100)])
    stepping.reset([0])
    stepping.begin_round()
    for t in range(STEPS):
        step(stepping, t, zero)
    assert arrays.observation[:, 0, 1].tolist() == list(range(STEPS + 1))
    assert arrays.reward[:4, 0].tolist() == [2.0, 1.0, 3.0, float(np.float16(0.1))]


def test_images_are_bytes():
    stepping, arrays = made([ImageEnv(True, 3)])
    stepping.reset([0])
    stepping.begin_round()
    for t in range(STEPS):
        step(stepping, t, zero)
    assert arrays.observation.dtype == np.uint8
    assert arrays.observation[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_it_beats_now_and_then_and_counts_its_seconds(monkeypatch):
    clock = iter(np.arange(1000) * 0.1)
    monkeypatch.setattr("asyncrl.envs.stepping.time.perf_counter", lambda: float(next(clock)))
    beats: list[int] = []
    stepping, _ = made([CountingEnv(5)], beat=lambda: beats.append(1))
    stepping.reset([0])
    stepping.begin_round()
    for t in range(STEPS):
        step(stepping, t, zero)
    assert stepping.seconds == pytest.approx(STEPS * 0.1)
    assert 1 < len(beats) <= 1 + STEPS * 0.2 / BEAT_SECONDS


# Faults, each with its whole message.


class Bad(CountingEnv):
    """At its third step it does what it is told to."""

    def __init__(self, does: Any, length: int = 10, truncate: bool = False) -> None:
        super().__init__(length, truncate)
        self.does = does

    def step(self, action: Any) -> Any:
        result = super().step(action)
        return self.does(*result) if self.total == 3 else result


def refuse(*result: Any) -> Any:
    raise UserError("the environment cannot be filmed")


FAULTS: dict[str, tuple[Any, str]] = {
    "an exception": (lambda: RaisingEnv(3), "step raised RuntimeError: raised at step 3, as asked"),
    "an error that is told already": (lambda: Bad(refuse), "the environment cannot be filmed"),
    "four values": (lambda: Bad(lambda *r: r[:4]), "step raised ValueError: not enough values to unpack (expected 5, got 4)"),
    "a wrong shape": (lambda: WrongShapeEnv(3), "step returned a wrong observation: observation has shape (4,), declared is (3,)"),
    "a text": (
        lambda: Bad(lambda o, *r: ("text", *r)),
        "step returned a wrong observation: observation has dtype <U4 (type str), which is not a number",
    ),
    "nothing": (
        lambda: Bad(lambda o, *r: (None, *r)),
        "step returned a wrong observation: observation has dtype object (type NoneType), which is not a number",
    ),
    "an end that is not finite": (
        lambda: Bad(lambda o, *r: (np.float32([1, np.inf, 2]), *r), length=3),
        "step returned a wrong observation: observation is not finite: inf at index 1 of 3",
    ),
    "a cut that is not finite": (
        lambda: Bad(lambda o, *r: (np.float32([1, 2, np.nan]), *r), length=3, truncate=True),
        "step returned a wrong observation: observation is not finite: nan at index 2 of 3",
    ),
    "no reward": (lambda: Bad(lambda o, r, *f: (o, None, *f)), "step returned a wrong reward: reward of type NoneType is not a number"),
    "a reward in words": (
        lambda: Bad(lambda o, r, *f: (o, "much", *f)),
        "step returned a wrong reward: reward of type str is not a number",
    ),
    "an exception in a later reset": (
        lambda: RaisingEnv(3, in_reset=True, length=3),
        "reset raised RuntimeError: raised in reset after 3 steps, as asked",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("others", [0, 2])
def test_a_fault_is_told(fault, others):
    make, message = FAULTS[fault]
    stepping, _ = made([CountingEnv()] * others + [make()])
    stepping.reset(list(range(others + 1)))
    stepping.begin_round()
    for t in range(2):
        step(stepping, t, zero)
    with pytest.raises(UserError) as caught:
        step(stepping, 2, zero)
    assert str(caught.value) == message
    if fault != "an error that is told already":
        assert type(caught.value) is EnvironmentFault
    if "raised" in message:
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RaisingEnv(0, in_reset=True), "reset raised RuntimeError: raised in reset after 0 steps, as asked"),
        (lambda: NaNEnv(0), "{} returned a wrong observation from reset: observation is not finite: nan at index 1 of 3"),
        (lambda: WrongShapeEnv(0), "{} returned a wrong observation from reset: observation has shape (4,), declared is (3,)"),
    ],
)
def test_a_fault_of_the_first_reset_is_told(make, message):
    stepping, _ = made([make()])
    with pytest.raises(EnvironmentFault) as caught:
        stepping.reset([0])
    assert str(caught.value) == message.format(stepping.environments[0])


def test_an_observation_on_the_way_that_is_not_finite_is_told_when_its_reader_asks():
    stepping, arrays = made([CountingEnv(), NaNEnv(2)])
    stepping.reset([0, 1])
    stepping.begin_round()
    for t in range(4):
        step(stepping, t, zero)
    assert np.isnan(arrays.observation[2, 1, 1])
    with pytest.raises(EnvironmentFault, match=r"^step returned a wrong observation: observation is not finite: nan at index 1 of 3$"):
        stepping.raise_observation_fault(2)


def test_a_reward_that_is_not_finite_is_left_to_its_reader():
    stepping, arrays = made([Bad(lambda o, r, *f: (o, np.nan, *f))])
    stepping.reset([0])
    stepping.begin_round()
    for t in range(4):
        step(stepping, t, zero)
    assert np.isnan(arrays.reward[:4, 0]).tolist() == [False, False, True, False]


# One environment alone.


def checked(environment: gymnasium.Env[Any, Any]) -> CheckedEnvironment:
    return CheckedEnvironment(environment, spec_of(environment))


def test_one_environment_gives_what_gymnasium_gives():
    mine, other = checked(make_env("CartPole-v1")), make_env("CartPole-v1")
    np.testing.assert_array_equal(mine.reset(5), other.reset(seed=5)[0])
    codes = []
    for _ in range(200):
        observation, reward, ended = mine.step(1)
        expected, number, terminated, truncated, _ = other.step(1)
        np.testing.assert_array_equal(observation, expected)
        assert type(reward) is float and reward == number
        assert ended == (TERMINATED if terminated else TRUNCATED if truncated else GOES_ON)
        codes.append(ended)
        if ended:
            np.testing.assert_array_equal(mine.reset(None), other.reset()[0])
    assert TERMINATED in codes


def test_an_observation_becomes_an_array_or_is_a_fault():
    one = checked(CountingEnv())
    array = one.array([1, 2, np.nan])
    assert array.dtype == np.float32 and array.shape == (3,) and np.isnan(array[2])
    for wrong, why in (([1, 2], r"shape \(2,\), declared is \(3,\)"), ("text", "not a number"), ([[1], [2, 3]], "no array of numbers")):
        with pytest.raises(EnvironmentFault, match=rf"^step returned a wrong observation: .*{why}"):
            one.array(wrong)
