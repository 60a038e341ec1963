"""Acting: observation -> action -> trajectory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.exploration import Exploration
from asyncrl.envs.probe import checked_reset, observation_fault, reward_fault
from asyncrl.errors import UserError
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, RoundArrays
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import TERMINATED, TRUNCATED, Trajectory

BEAT_SECONDS = 0.25
"""How often an actor that is acting gives a sign of life, at most."""

NOTHING = -1
"""What an actor is committed to where it is not."""


class EnvironmentFault(UserError):
    """An environment raised, or gave something that can't be used; names the step."""


@njit(cache=True)
def _settle_rewards(rewards, scale, clip, out):  # type: ignore[no-untyped-def]
    """out[T, E] = clipped scaled rewards; False where one is not finite."""
    total = 0.0
    for t in range(out.shape[0]):
        for e in range(out.shape[1]):
            reward = rewards[t, e]
            total += reward - reward
            reward *= scale
            if clip > 0.0:
                reward = min(max(reward, -clip), clip)
            out[t, e] = reward
            total += out[t, e] - out[t, e]  # finite as float32 too
    return total == 0.0


class Actor:
    """Plays E environments with a policy and fills one trajectory a round. Nothing is allocated or logged per step.

    `on_episode(return, length)` is called at the end of each episode, with the undiscounted sum of the environment's own
    rewards and the number of steps. An actor that `commits` itself chooses the action after a round's last step at its end,
    and begins the next round with it; where an episode is truncated it chooses the action that would have followed.
    `beat()` is called now and then while it acts, between steps: a sign of life.
    """

    def __init__(
        self,
        environments: list[gymnasium.Env[Any, Any]],
        policy: Policy,
        vector: NDArray[np.float32],
        steps: int,
        exploration: list[Exploration],
        generator: np.random.Generator,
        reward_scale: float = 1.0,
        reward_clip: float = 0.0,
        on_episode: Callable[[float, int], None] = lambda episode_return, length: None,
        commits: bool = False,
        beat: Callable[[], None] = lambda: None,
    ):
        self.environments = environments
        self.policy = policy
        self.generator = generator
        self._vector, self.dense = vector, policy.dense(vector)
        self._exploration = exploration
        self._reward_scale, self._reward_clip = reward_scale, reward_clip
        self._on_episode, self._beat = on_episode, beat
        self._next_beat = 0.0
        envs = len(environments)
        self.rounds = policy.round_arrays(steps, envs, int(commits))
        self.trajectory = self._trajectory(steps, envs)
        if commits:
            self.trajectory.final_action = np.zeros((steps, envs, policy.head.components), policy.head.action_dtype)
        self._committed = np.full((envs, policy.head.components), NOTHING, np.int64) if commits else None
        self.exploration_memory = np.zeros((envs, policy.head.components))
        self.episode_returns = [0.0] * envs
        self.episode_lengths = [0] * envs
        self.environment_seconds = 0.0
        self.uniform = False
        """Act uniformly at random, whatever the exploration settings."""
        self._image = policy.spec.is_image
        self._steps = [environment.step for environment in environments]
        self._raw_rewards = np.zeros((steps, envs))
        self._raw_rows = [[self.rounds.raw[t, e] for e in range(envs)] for t in range(steps + 1)]
        self.act = self._acting(self.rounds)
        self._aside = self._one_observation() if commits else None

    def _trajectory(self, steps: int, envs: int) -> Trajectory:
        spec, head = self.policy.spec, self.policy.head
        observation = (spec.observation_shape, spec.observation_dtype)
        layout = Trajectory.layout(steps, envs, observation, (head.components, head.action_dtype), self.policy.memory_size)
        trajectory = Trajectory.empty(layout)
        trajectory.observation, trajectory.action = self.rounds.observation, self.rounds.action
        return trajectory

    def reset(self, seeds: list[int]) -> None:
        """Begin an episode in every environment. Raises EnvironmentFault."""
        if self._committed is not None:
            self._committed[:] = NOTHING
        self.exploration_memory[:] = 0.0
        for e, seed in enumerate(seeds):
            self._raw_rows[0][e][...] = self._first_observation(e, seed)
        self._raw_rows_to_last()

    def _raw_rows_to_last(self) -> None:
        # A round begins where the last one ended: at the end of the arrays.
        self.rounds.raw[-1] = self.rounds.raw[0]

    def _first_observation(self, e: int, seed: int | None) -> Any:
        try:
            return checked_reset(self.environments[e], self.policy.spec, seed)[0]
        except UserError as error:
            raise EnvironmentFault(str(error)) from error
        except Exception as error:
            raise EnvironmentFault(f"reset raised {type(error).__name__}: {error}") from error

    def collect(self, version: int, total_steps: float) -> Trajectory:
        """Act T steps in every environment on the present parameters; the result is overwritten by the next call."""
        rounds, trajectory = self.rounds, self.trajectory
        self.policy.expand(self._vector, self.dense)
        rounds.knobs[EPSILON] = 0.0
        for setting in self._exploration:
            setting.turn(rounds, total_steps, self.generator, self.exploration_memory)
        if self.uniform:
            rounds.knobs[EPSILON] = 1.0
        self.policy.head.draw(self.generator, rounds)
        rounds.raw[0] = rounds.raw[-1]
        trajectory.version = version
        trajectory.temperature, trajectory.epsilon = float(rounds.knobs[TEMPERATURE]), float(rounds.knobs[EPSILON])
        trajectory.ended[:] = 0
        for t in range(self._raw_rewards.shape[0]):
            if not self.act(t):
                self._raise_observation_fault(t)
            if t == 0 and self._committed is not None:
                np.copyto(rounds.action[0], self._committed, where=self._committed != NOTHING)
            began = time.perf_counter()
            for e in range(len(self._steps)):
                self._step(t, e)
            now = time.perf_counter()
            self.environment_seconds += now - began
            if now >= self._next_beat:
                self._next_beat = now + BEAT_SECONDS
                self._beat()
        self._observe_last()
        if self._committed is not None:
            self.act(len(trajectory.reward))
            self._committed[:] = rounds.action[-1]
        if not _settle_rewards(self._raw_rewards, self._reward_scale, self._reward_clip, trajectory.reward):
            self._raise_reward_fault()
        return trajectory

    def _step(self, t: int, e: int) -> None:
        action = self.policy.head.environment_action(self.rounds, t, e)
        try:
            observation, reward, terminated, truncated, _ = self._steps[e](action)
        except UserError:
            raise
        except Exception as error:
            raise EnvironmentFault(f"step raised {type(error).__name__}: {error}") from error
        row = self._raw_rows[t + 1][e]
        if getattr(observation, "shape", None) != row.shape or (self._image and observation.dtype != row.dtype):
            fault = observation_fault(observation, self.policy.spec)
            if fault:
                raise EnvironmentFault(f"step returned a wrong observation: {fault}")
        row[...] = observation
        try:
            number = float(reward)
        except (TypeError, ValueError) as error:
            raise EnvironmentFault(f"step returned a wrong reward: {reward_fault(reward)}") from error
        self._raw_rewards[t, e] = number
        self.episode_returns[e] += number
        self.episode_lengths[e] += 1
        if terminated or truncated:
            self._end_episode(t, e, bool(terminated))

    def _end_episode(self, t: int, e: int, terminated: bool) -> None:
        trajectory, row = self.trajectory, self._raw_rows[t + 1][e]
        trajectory.ended[t, e] = TERMINATED if terminated else TRUNCATED
        if not terminated:
            self._see(row, trajectory.final_observation[t, e])
            if trajectory.final_action is not None:
                trajectory.final_action[t, e] = self._would_follow(row)
        elif not np.isfinite(row).all():
            self._raise_observation_fault(t + 1)
        self._on_episode(self.episode_returns[e], self.episode_lengths[e])
        self.episode_returns[e], self.episode_lengths[e] = 0.0, 0
        row[...] = self._first_observation(e, None)
        self._forget(e)
        for setting in self._exploration:
            setting.episode_ended(self.rounds, t, e, self.exploration_memory)

    def _see(self, raw: NDArray[Any], out: NDArray[Any]) -> None:
        """One observation as the policy sees it."""
        if self.policy.spec.is_image:
            out[...] = raw
        elif not normalise(raw.reshape(1, -1), self.rounds.normaliser, out.reshape(1, -1)):
            raise EnvironmentFault(f"step returned a wrong observation: {observation_fault(raw, self.policy.spec)}")

    def _observe_last(self) -> None:
        rounds = self.rounds
        if not self.policy.spec.is_image and not normalise(rounds.raw[-1], rounds.normaliser, rounds.observation[-1]):
            self._raise_observation_fault(len(rounds.raw) - 1)

    def _raise_observation_fault(self, t: int) -> None:
        for raw in self.rounds.raw[t]:
            fault = observation_fault(raw, self.policy.spec)
            if fault:
                raise EnvironmentFault(f"step returned a wrong observation: {fault}")
        raise EnvironmentFault("step returned an observation that is not finite")

    def _raise_reward_fault(self) -> None:
        for reward in self._raw_rewards.flat:
            fault = reward_fault(reward)
            if fault:
                raise EnvironmentFault(f"step returned a wrong reward: {fault}")
        largest = float(np.abs(self._raw_rewards).max())
        raise EnvironmentFault(f"a reward of magnitude {largest:g} is not finite once multiplied by reward_scale {self._reward_scale:g}")

    # How a step's actions are chosen: one compiled call, or a torch forward and the head's compiled draw.

    def _acting(self, rounds: RoundArrays) -> Callable[[int], bool]:
        return self._light_act(rounds) if self.policy.light else self._torch_act(rounds)

    def _light_act(self, rounds: RoundArrays) -> Callable[[int], bool]:
        kernel, arguments = self.policy.head.light_kernel(self.policy.plan, self.dense, rounds)

        def act(t: int) -> bool:
            return kernel(*arguments, t)

        return act

    def _torch_act(self, rounds: RoundArrays) -> Callable[[int], bool]:
        import torch

        module, _ = self.policy.module(self.dense, None)
        image = self.policy.spec.is_image
        self._memory = torch.zeros((2, len(self.environments), self.policy.memory_size))
        recurrent = self.policy.memory_size > 0

        def act(t: int) -> bool:
            sound = image or normalise(rounds.raw[t], rounds.normaliser, rounds.observation[t])
            if recurrent and t == 0:
                self.trajectory.memory[:] = self._memory.numpy()
            with torch.inference_mode():
                observation = torch.from_numpy(rounds.observation[t])
                if recurrent:
                    output, _, self._memory = module.recur(observation, self._memory)
                else:
                    output, _ = module(observation)
                rounds.policy_output[:] = output.numpy()
            self.policy.head.choose(rounds, self.dense, t)
            return bool(sound)

        return act

    def _one_observation(self) -> tuple[RoundArrays, Callable[[int], bool]]:
        """Arrays for one observation, acted on as in the round, and what does so."""
        aside = self.policy.round_arrays(1, 1)
        aside.knobs, aside.normaliser = self.rounds.knobs, self.rounds.normaliser
        return aside, self._acting(aside)

    def _would_follow(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The action [C] that this policy draws at an observation, with random numbers of its own."""
        assert self._aside is not None
        aside, act = self._aside
        aside.raw[0, 0] = raw
        self.policy.head.draw(self.generator, aside)
        act(0)
        action: NDArray[Any] = aside.action[0, 0]
        return action

    def _forget(self, e: int) -> None:
        if self.policy.memory_size:
            self._memory = self._memory.clone()
            self._memory[:, e] = 0.0

    def forget_all(self) -> None:
        """Empty a recurrent policy's memory."""
        for e in range(len(self.environments)):
            self._forget(e)

    def begin_afresh(self, e: int, first_observation: NDArray[Any]) -> None:
        """Environment e has just been reset, and nothing is known of its past."""
        self.rounds.raw[-1][e] = first_observation
        self.exploration_memory[e] = 0.0
        if self._committed is not None:
            self._committed[e] = NOTHING
        self.episode_returns[e], self.episode_lengths[e] = 0.0, 0
        self._forget(e)

    # What a checkpoint keeps.

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of the arrays that the next round begins with."""
        kept = {"raw": self.rounds.raw[-1].copy(), "exploration_memory": self.exploration_memory.copy()}
        if self._committed is not None:
            kept["committed"] = self._committed.copy()
        if self.policy.memory_size:
            kept["memory"] = self._memory.numpy().copy()
        return kept

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take them back."""
        self.rounds.raw[-1] = arrays["raw"]
        self.exploration_memory[:] = arrays["exploration_memory"]
        if self._committed is not None:
            self._committed[:] = arrays["committed"]
        if self.policy.memory_size:
            import torch

            self._memory = torch.from_numpy(arrays["memory"].copy())
