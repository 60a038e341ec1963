"""Whether a run's environments are stepped by a compiled simulator, and why not."""

from __future__ import annotations

from dataclasses import replace

from numba.core.errors import NumbaError

from asyncrl.envs import EnvironmentFault, closed_environments, kept_generators, make_env, unship
from asyncrl.envs.compiled.check import first_difference
from asyncrl.envs.compiled.registry import known
from asyncrl.errors import UserError
from asyncrl.heads.policy import Policy
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.workers.plan import Task


def simulated(task: Task, policy: Policy | SearchPolicy, wanted: str) -> Task:
    """The task of `task_of`, with what `Task.simulated` and `not_simulated` should be; `wanted`: auto, gymnasium or compiled.

    Raises UserError where a compiled simulator is wanted and cannot be had.
    """
    if wanted == "gymnasium":
        return replace(task, not_simulated="")
    reason = task.not_simulated or policy.why_not_compiled() or _difference(task)
    if reason and wanted == "compiled":
        where = f"compiled for {', '.join(known())}, and for what has a simulator of its own: docs/simulators.md"
        raise UserError(f"simulator = compiled cannot be used: {reason} (allowed: auto, gymnasium; {where})")
    return replace(task, simulated=not reason, not_simulated=reason)


def _difference(task: Task) -> str:
    """Where the simulator differs from the environment; "" if nowhere."""
    source = unship(task.env)
    with kept_generators(), closed_environments():
        try:
            found = first_difference(make_env(source), make_env(source), task.spec)
        except (NumbaError, TypeError) as error:  # one of the user's own
            return f"its simulator cannot be compiled: {' '.join(str(error).split())[:300]}"
        except EnvironmentFault as fault:  # the run tells it as ever, if it comes again
            return f"the environment's {' '.join(str(fault).split())[:300]}"
    return "" if found is None else f"on this machine, or with these versions, it differs from the environment ({found})"
