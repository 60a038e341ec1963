"""Acting: observation -> action -> trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.choosing import Memory, chooser, choosing
from asyncrl.actors.commitment import NOTHING, Commitment
from asyncrl.actors.exploration import Exploration
from asyncrl.actors.rewards import RewardRule
from asyncrl.envs.stepping import StepArrays, Stepping
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, RoundArrays
from asyncrl.trajectory import TRUNCATED, Trajectory


class Actor:
    """Plays E environments with a policy and fills one trajectory a round. Nothing is allocated or logged per step.

    stepping             the environments, bound to the actor's arrays
    rounds               what the policy reads and writes while it acts
    trajectory           the round's result, which the next round overwrites
    exploration_memory   [E, M] of the exploration settings, kept between rounds; M: `Head.noises`
    uniform              whether to act uniformly at random, whatever the exploration settings
    act                  chooses the actions of step t: see `asyncrl.actors.choosing`
    outputs              [T, E, P] the policy's outputs at every step, where they are kept; [0, E, P] otherwise
    """

    def __init__(
        self,
        stepping: Stepping,
        policy: Policy,
        vector: NDArray[np.float32],
        steps: int,
        exploration: list[Exploration],
        generator: np.random.Generator,
        rewards: RewardRule = RewardRule(),  # noqa: B008 - it cannot be changed
        commits: bool = False,
        keeps_outputs: bool = False,
    ):
        """A round is of so many steps in each environment, on the parameters vector [N].

        `commits`: the action after a round's last step is chosen at its end, and the next round begins with it; where an episode is
        truncated, the action that would have followed is chosen too. `keeps_outputs`: in `outputs`, what actions were drawn from.
        """
        envs = len(stepping.environments)
        self.stepping, self.policy, self.generator = stepping, policy, generator
        self._vector, self.dense = vector, policy.dense(vector)
        self._exploration, self._rewards = exploration, rewards
        self.rounds = policy.round_arrays(steps, envs, int(commits))
        self.trajectory = _trajectory(policy, self.rounds, commits)
        self.arrays_stepped = StepArrays(self.rounds.raw, np.zeros((steps, envs)), self.trajectory.ended, self.trajectory.final_observation)
        self.exploration_memory = np.zeros((envs, policy.head.noises))
        self.uniform = False
        self.memory = Memory(envs, policy.memory_size) if policy.memory_size else None
        self.act = choosing(policy, self.dense, self.rounds, self.memory, self.trajectory.memory)
        self.outputs = np.zeros((steps if keeps_outputs else 0, *self.rounds.policy_output.shape), np.float32)
        chosen = chooser(policy, self.act, self.rounds, self.outputs)
        chosen.heeds_ends = self.memory is not None or any(setting.heeds_ends for setting in exploration)
        stepping.bind(self.arrays_stepped, chosen)
        self._commitment = Commitment(policy, self.dense, self.rounds, generator) if commits else None

    def reset(self, seeds: list[int]) -> None:
        """Begin an episode in every environment, by seeds [E]. Raises EnvironmentFault."""
        if self._commitment is not None:
            self._commitment.action[:] = NOTHING
        self.exploration_memory[:] = 0.0
        self.stepping.reset(seeds)

    def collect(self, version: int, total_steps: float) -> Trajectory:
        """Act T steps in every environment on the present parameters; the result is overwritten by the next call."""
        trajectory, commitment, play = self.trajectory, self._commitment, self.stepping.play
        self._begin_round(version, total_steps)
        t, steps, acted = 0, len(trajectory.reward), commitment is not None
        if commitment is not None:
            if not self.act(0):
                self.stepping.raise_observation_fault(0)
            commitment.begin_round()
        while t < steps:
            t, over = play(t, acted)
            acted = False
            for e in over:
                self._episode_ended(t - 1, e)
        self._observe_last()
        if commitment is not None:
            self.act(steps)
            commitment.end_round()
        self._rewards(self.arrays_stepped.reward, trajectory.reward)
        return trajectory

    def _begin_round(self, version: int, total_steps: float) -> None:
        rounds, trajectory = self.rounds, self.trajectory
        self.policy.expand(self._vector, self.dense)
        self.policy.head.announce(self.dense)
        rounds.knobs[EPSILON] = 0.0
        for setting in self._exploration:
            setting.turn(rounds, total_steps, self.generator, self.exploration_memory)
        if self.uniform:
            rounds.knobs[EPSILON] = 1.0
        self.policy.head.draw(self.generator, rounds)
        self.stepping.begin_round()
        trajectory.version = version
        trajectory.temperature, trajectory.epsilon = float(rounds.knobs[TEMPERATURE]), float(rounds.knobs[EPSILON])

    def _episode_ended(self, t: int, e: int) -> None:
        if self.trajectory.ended[t, e] == TRUNCATED:
            self._truncated(t, e)
        self._forget(e)
        for setting in self._exploration:
            setting.episode_ended(self.rounds, t, e, self.exploration_memory)

    def _truncated(self, t: int, e: int) -> None:
        """Choose the action that would have followed, and normalise the final observation, which is as the environment gave it."""
        trajectory, final = self.trajectory, self.trajectory.final_observation[t, e]
        if self._commitment is not None and trajectory.final_action is not None:
            trajectory.final_action[t, e] = self._commitment.would_follow(final)
        if not self.policy.spec.is_image:
            seen = final.reshape(1, -1)
            normalise(seen, self.rounds.normaliser, seen)

    def _observe_last(self) -> None:
        rounds = self.rounds
        if not self.policy.spec.is_image and not normalise(rounds.raw[-1], rounds.normaliser, rounds.observation[-1]):
            self.stepping.raise_observation_fault(len(rounds.raw) - 1)

    def _forget(self, e: int) -> None:
        if self.memory is not None:
            self.memory.forget(e)

    def forget_all(self) -> None:
        """Empty a recurrent policy's memory."""
        for e in range(len(self.stepping.environments)):
            self._forget(e)

    def begin_afresh(self, e: int, first_observation: NDArray[Any]) -> None:
        """Environment e has just been reset, and nothing is known of its past. first_observation [*shape] is as it gave it."""
        self.rounds.raw[-1][e] = first_observation
        self.exploration_memory[e] = 0.0
        if self._commitment is not None:
            self._commitment.action[e] = NOTHING
        self.stepping.episode_returns[e], self.stepping.episode_lengths[e] = 0.0, 0
        self._forget(e)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of the arrays that the next round begins with, for a checkpoint."""
        kept = {"raw": self.rounds.raw[-1].copy(), "exploration_memory": self.exploration_memory.copy()}
        if self._commitment is not None:
            kept["committed"] = self._commitment.action.copy()
        if self.memory is not None:
            kept["memory"] = self.memory.array()
        return kept

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take back what `arrays` gave."""
        self.rounds.raw[-1] = arrays["raw"]
        self.exploration_memory[:] = arrays["exploration_memory"]
        if self._commitment is not None:
            self._commitment.action[:] = arrays["committed"]
        if self.memory is not None:
            self.memory.restore(arrays["memory"])


def _trajectory(policy: Policy, rounds: RoundArrays, commits: bool) -> Trajectory:
    """A trajectory that shares the observations and actions of the round."""
    (steps, envs), spec, head = rounds.raw[1:].shape[:2], policy.spec, policy.head
    observation = (spec.observation_shape, spec.observation_dtype)
    layout = Trajectory.layout(steps, envs, observation, (head.stored, head.action_dtype), policy.memory_size)
    trajectory = Trajectory.empty(layout)
    trajectory.observation, trajectory.action = rounds.observation, rounds.action
    if commits:
        trajectory.final_action = np.zeros((steps, envs, head.stored), head.action_dtype)
    return trajectory
