"""What the processes of an actor-learner run share: the columns of their ledger, and the memory that they work on."""

from __future__ import annotations

from asyncrl.algos import ALGORITHMS
from asyncrl.heads.policy import Policy
from asyncrl.heads.tables import tables_layout
from asyncrl.learners.gradients import POLICY_FIGURES
from asyncrl.learners.return_scale import SharedReturnScale
from asyncrl.learners.rules import linear_or_constant, optimizer_of, rate_by_lag
from asyncrl.learners.value_gradients import VALUE_FIGURES
from asyncrl.progress import COLUMNS, DIAGNOSES, NORMS, figure_columns, sample_columns
from asyncrl.scheduler.board import SCHEDULER_COLUMNS, Board
from asyncrl.scheduler.pace import Ground, UpdateRule
from asyncrl.shared.arrays import Layout, SharedArrays, prefixed
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import SharedParameters
from asyncrl.shared.parking import PipesToCarry
from asyncrl.shared.whole import WholeParameters
from asyncrl.workers.plan import Task, common_layout, parking_of


def ledger_columns(task: Task) -> dict[str, int]:
    """Columns of the workers' ledger: progress, the scheduler's, what the algorithm tells of its rounds (`figures`) and updates, and
    the observations' statistics where they are kept."""
    size = task.spec.observation_size if normalises(task) else 0
    statistics = {"observation_count": 1, "observation_mean": size, "observation_square": size} if size else {}
    returns = SharedReturnScale.columns(task.envs_per_worker) if scales_returns(task) else {}
    samples = sample_columns(DIAGNOSES if task.diagnose else ())
    return {**COLUMNS, **SCHEDULER_COLUMNS, **figure_columns((*figures(task), *NORMS)), **statistics, **returns, **samples}


def figures(task: Task) -> tuple[str, ...]:
    """Names of what the algorithm's gradient tells of each rollout; an algorithm has no column for what it does not have."""
    return VALUE_FIGURES if ALGORITHMS[task.algo].learns_values else POLICY_FIGURES


def normalises(task: Task) -> bool:
    """Whether observations are shifted and scaled (never images)."""
    return task.options.normalize_observations and not task.spec.is_image


def scales_returns(task: Task) -> bool:
    """Whether rewards are divided by the scale of returns."""
    return bool(task.options.normalize_returns)


def target_every(task: Task) -> int:
    """Steps between refreshments of the target network; 0 where there is none."""
    return int(task.options.target_every)


def memory_layout(task: Task, policy: Policy) -> Layout:
    """Everything that the workers of a run share."""
    private = task.options.statistics == "private"
    kept = optimizer_of(task.options, policy).statistics
    target = target_every(task) > 0
    return {
        **common_layout(ledger_columns(task), task.workers, task.workers),
        **prefixed("parameters", SharedParameters.layout(policy.size, kept, task.workers, private, target)),
        **(prefixed("whole", WholeParameters.layout(policy.size, kept, task.workers, target)) if task.whole else {}),
        **tables_layout(policy.head),
    }


def ground_of(task: Task, policy: Policy, memory: SharedArrays, pipes: PipesToCarry) -> Ground:
    """The shared parts over that memory, the same in every process."""
    options = task.options
    rate, each = linear_or_constant(options, task.target_steps), options.round_updates == "each"
    return Ground(
        board=Board(memory.part("board")),
        ledger=Ledger(ledger_columns(task), memory.part("ledger")),
        parameters=SharedParameters(policy.size, memory.part("parameters")),
        parking=parking_of(memory, pipes, task.a_core_each),
        rule=UpdateRule(
            optimizer_of(options, policy), rate, options.max_gradient_norm, target_every(task), rate_by_lag(options), each
        ),
        whole=WholeParameters(memory.part("whole"), target_every(task) > 0) if task.whole else None,
    )
