"""The epochs of a run: the mode after a number of steps, and the step at which the next epoch ends."""

from __future__ import annotations

from asyncrl.scheduler.modes import Mode, parse_modes


class Stages:
    """The steps at which a run's epochs end, from its modes, its number of steps and its checkpoints."""

    def __init__(self, mode: str, steps: int, checkpoint_every: int):
        """`mode`: as users write it, with the steps at which it changes; `steps`: of the whole run; `checkpoint_every`: 0 for none."""
        self._modes = parse_modes(mode)
        self._steps, self._every = steps, checkpoint_every

    def at(self, steps: int) -> tuple[Mode, int]:
        """The mode after `steps` steps, and the step at which the epoch that begins there ends."""
        marks = [self._steps] + [step for step, _ in self._modes if step > steps]
        if self._every:
            marks.append((steps // self._every + 1) * self._every)
        return [mode for step, mode in self._modes if step <= steps][-1], min(marks)

    def next_change(self, steps: int) -> int:
        """The step after `steps` from which on another mode holds; 0 if there is none."""
        return next((step for step, _ in self._modes if step > steps), 0)

    def checkpoint_due(self, steps: int, saved: int) -> bool:
        """Whether a multiple of the interval was passed since `saved`, the step of the newest checkpoint."""
        return bool(self._every) and steps // self._every > saved // self._every
