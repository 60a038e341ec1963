"""Whether a run's environments are stepped by a compiled simulator, and why not."""

from __future__ import annotations

from dataclasses import replace

from asyncrl.envs import closed_environments, kept_generators, make_env, unship
from asyncrl.envs.compiled.check import first_difference
from asyncrl.envs.compiled.registry import why_not
from asyncrl.errors import UserError
from asyncrl.heads.policy import Policy
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.workers.plan import Task


def simulated(task: Task, policy: Policy | SearchPolicy, wanted: str) -> Task:
    """The task, with what `Task.simulated` and `Task.not_simulated` should be; `wanted`: auto, gymnasium or compiled.

    Raises UserError where a compiled simulator is wanted and cannot be had.
    """
    if wanted == "gymnasium":
        return task
    reason = _reason(task, policy)
    if reason is not None and wanted == "compiled":
        raise UserError(f"simulator = compiled cannot be used: {reason} (allowed: auto, gymnasium; docs/simulators.md)")
    return replace(task, simulated=reason is None, not_simulated=reason or "")


def _reason(task: Task, policy: Policy | SearchPolicy) -> str | None:
    """Why there can be no simulator; None if there can."""
    slow = policy.why_not_compiled()
    source = unship(task.env)
    with kept_generators(), closed_environments():
        one = make_env(source)
        reason = why_not(one) or slow
        if reason is not None:
            return reason
        differs = first_difference(one, make_env(source), task.spec)
    return None if differs is None else f"on this machine, or with these versions, it differs from the environment ({differs})"
