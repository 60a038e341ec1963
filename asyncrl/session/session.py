"""A session: one run from its experiment to its summary. This is where the parts are put together."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from asyncrl.cluster.topology import topology_on
from asyncrl.envs.statistics import advice
from asyncrl.errors import AsyncrlError
from asyncrl.experiment.checks import check_experiment
from asyncrl.experiment.defaults import settled
from asyncrl.experiment.experiment import Experiment, Result, usable_cores
from asyncrl.launcher import Launcher, Watch
from asyncrl.processes.interrupts import Interrupts
from asyncrl.processes.starting import core_numbers, warm_up
from asyncrl.scheduler.modes import Stages
from asyncrl.session.evaluations import Evaluations
from asyncrl.session.folder import check_room, make_folder, other_environment, write_experiment
from asyncrl.session.reports import Reports
from asyncrl.session.state import RunState
from asyncrl.session.virtual import crew_of, durations_of, write_record
from asyncrl.store.checkpoint import read_part
from asyncrl.store.json_files import write_json_atomically
from asyncrl.topologies import essential_part, run_context
from asyncrl.topologies.topology import Seat
from asyncrl.workers.evaluator import Artist
from asyncrl.workers.plan import Task
from asyncrl.workers.player import Evaluation

GATE_SECONDS = 2.0
"""Seconds that workers may take to finish their round after an interruption; the learner of a stream may take longer."""


def core_of(worker: int, workers: int, cores: list[int]) -> int | None:
    """The core that a process is pinned to: worker i to core i modulo their number; the learner, which follows the workers, to the next.

    None for the learner if every core has a worker: it is not pinned, since it would slow down the one worker of that core.
    """
    return None if worker == workers >= len(cores) else cores[worker % len(cores)]


class Session:
    """Builds all parts of a run, drives it epoch by epoch, and ends all processes however it ends."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None = None,
        checkpoint: Path | None = None,
        artist: Callable[[Path, Task, int], Artist] | None = None,
    ):
        """`folder` and `checkpoint`: of a run that is resumed; None for a new one. `artist`: (the run's folder, task, seed) -> what draws
        pictures with evaluations, a function at the top of a module, in a layer above this one; None for a caller that has no pictures.
        """
        check_experiment(experiment, new=folder is None)
        self._durations = durations_of(experiment)
        self._began = time.monotonic()
        self._experiment, self._notes = settled(experiment) if folder is None else (experiment, [])
        self._artist = artist if experiment.run.pictures else None
        self._new, self._folder, self._checkpoint = folder is None, folder, checkpoint
        self._launcher: Launcher | None = None
        self._reports: Reports | None = None
        self._evaluations: Evaluations | None = None
        self._interrupts = Interrupts(self._wake)

    def _build(self) -> None:
        experiment, checkpoint = self._experiment, self._checkpoint
        self._stages = Stages(experiment.modes, experiment.steps, experiment.run.checkpoint_every)
        self._context = run_context()
        warm_up()
        self._topology = topology_on(experiment, self._context)
        self._parking = self._topology.ground.parking
        try:
            self._begin_or_go_on(experiment, checkpoint)
        except BaseException:
            self._close()
            raise

    def _begin_or_go_on(self, experiment: Experiment, checkpoint: Path | None) -> None:
        """Write the first state into shared memory, or that of the checkpoint. Raises UserError where it does not fit."""
        if self._folder is not None and checkpoint is not None:
            self._notes += other_environment(self._folder, checkpoint, experiment, self._topology.spec)
        check_room(self._folder or Path(experiment.run.runs), experiment, self._topology.saved_bytes, checkpoint)
        self.state = RunState(self._topology, experiment.steps)
        saved = read_part(checkpoint, "run") if checkpoint is not None else None
        if saved is None or checkpoint is None:
            self._topology.begin()
        else:
            self.state.restore(*saved, checkpoint)
        self._saved_report = None if saved is None else saved[0].get("monitor")

    @property
    def folder(self) -> Path:
        """The run's folder, which is made when the run begins."""
        assert self._folder is not None
        return self._folder

    # The run.

    def run(self) -> Result:
        """Train until the end, an interruption or a failure; in any case all processes are ended and the folder's files are complete.

        Raises UserError, WorkerFailed or AsyncrlError for a failure. A new folder is removed if nothing was learned.
        """
        with self._interrupts:
            self._build()
            try:
                try:
                    result = self._run()
                finally:
                    self._tidy_up()
            except BaseException:
                if self._new and self._folder is not None and self.state.steps == 0:
                    shutil.rmtree(self.folder, ignore_errors=True)  # nothing was learned
                raise
            finally:
                self._close()
            self._interrupts.answered |= result.status == "interrupted"
        return result

    def _close(self) -> None:
        """Close the topology's pipes and shared memory."""
        self._launcher = None  # a signal that arrives now must not wake it
        self._topology.close()

    def _tidy_up(self) -> None:
        """End all processes, in whatever state the run is, also if ending one of them raises."""
        with contextlib.ExitStack() as last_to_first:
            if self._reports is not None:
                last_to_first.callback(self._reports.close, "failed")
            if self._evaluations is not None:
                last_to_first.callback(self._evaluations.close)
            if self._launcher is not None:
                last_to_first.callback(self._launcher.stop)

    def _run(self) -> Result:
        experiment, topology = self._experiment, self._topology
        self._interrupts.check()
        if self._folder is None:
            self._folder = make_folder(experiment)
            spec = None if topology.spec is None else topology.spec.described()
            write_experiment(self.folder, experiment, {"spec": spec, "parameters": topology.size})
        updates, resumes = topology.estate.updates(), self._checkpoint is not None
        self._reports = Reports(self._context, self.folder, experiment, topology, updates, self._title(), resumes)
        if self._saved_report is not None:
            self._reports.aggregate.returns.restore(self._saved_report)
        for note in self._notes:
            self._reports.note(note)
        if topology.task.not_simulated:
            self._reports.say(f"environments are stepped by gymnasium: {topology.task.not_simulated}")
        self._warn_of_cores()
        if topology.spec is not None and (warning := advice(topology.spec.statistics, experiment.options)):
            self._reports.note(warning)
        artist = None if self._artist is None else partial(self._artist, self.folder)
        self._evaluations = Evaluations(self._context, topology.task, experiment.run.evaluation_episodes, experiment.seed, artist)
        watch = Watch(
            1 if experiment.run.simulate else experiment.run.max_failures,
            experiment.run.hang_seconds,
            experiment.run.replace_hung,
            self._reports.note,
            self._reports.say,
            lambda worker: f"{self._name_of(worker)} ({experiment.env_name}, seed {experiment.seed})",
        )
        crew = crew_of(experiment, topology, self._durations)
        self._launcher = Launcher(self._context, topology.ground, topology.estate, self._body_of, watch, crew)
        status = "completed"
        try:
            self._launcher.start(self._interrupts.check)
            self._startup_seconds = time.monotonic() - self._began
            self._train()
            status = "interrupted" if self._interrupts.seen else "completed"
        except AsyncrlError:
            if self.state.steps == 0:
                raise
            self._finish("failed")
            raise
        return self._finish(status)

    def _title(self) -> str:
        e = self._experiment
        return f"{e.algo} on {e.env_name}, {e.mode}, {e.workers} worker{'s' * (e.workers > 1)}, seed {e.seed}"

    def _name_of(self, worker: int) -> str:
        return self._topology.name_of(worker)

    def _body_of(self, worker: int, generation: int) -> tuple[Any, Any]:
        seat = Seat(
            worker=worker,
            # The random streams of a resumed run's replacements must differ from those of earlier sessions.
            generation=generation + self.state.generations,
            core=core_of(worker, self._experiment.workers, core_numbers()) if self._experiment.run.pin_cores else None,
            restore_from=self._checkpoint if generation == 0 else None,
            run_folder=self.folder,
        )
        return self._topology.body_of(seat)

    def _warn_of_cores(self) -> None:
        cores, workers = usable_cores(), self._experiment.workers
        if self._experiment.run.simulate:
            return
        learns = essential_part(self._experiment.algo) is not None  # not a search's learner, which works little, or while workers wait
        if workers + learns > cores and self._reports is not None:
            self._reports.note(f"{workers} workers{' and the learner' * learns}, of one thread each, share {cores} cores")

    def _train(self) -> None:
        """Train epoch by epoch; an epoch has one mode and lasts until the next change of mode, checkpoint or the end."""
        assert self._launcher is not None and self._reports is not None
        experiment = self._experiment
        self._deadline = None if experiment.seconds is None else self._now() + experiment.seconds
        self._reports.start()
        while not self._over():
            steps = self.state.steps
            self._launcher.open_gate(*self._stages.at(steps), drain=self._stages.next_change(steps))
            if not self._await_gate():
                self._reports.note("not every worker finished its round in time; the run ends without waiting for it")
                break
            self._launcher.close_epoch()
            self._reports.drain()  # while the order of its episodes is this mode's
            if self._over() or self._stages.checkpoint_due(self.state.steps, self.state.saved_steps):
                self._save()

    def _over(self) -> bool:
        late = self._deadline is not None and self._now() >= self._deadline
        return self._interrupts.seen or late or self.state.steps >= self._experiment.steps

    def _now(self) -> float:
        """Seconds by which `seconds` of the experiment are counted: of a simulated run virtual ones."""
        now = self._topology.virtual_seconds
        return time.monotonic() if now is None else now

    def _await_gate(self) -> bool:
        """Run the launcher until all workers are at the gate; False if they do not arrive in time after an interruption or the deadline."""
        assert self._launcher is not None and self._reports is not None
        asked = interrupted = math.inf
        while not self._launcher.all_at_gate():
            now = time.monotonic()
            if asked == math.inf and (self._interrupts.seen or (self._deadline is not None and self._now() >= self._deadline)):
                self._launcher.request_gate()
                asked = now
            if self._interrupts.seen:
                interrupted = min(interrupted, now)
            late = now >= interrupted + GATE_SECONDS or now >= asked + self._experiment.run.hang_seconds
            if late and not self._launcher.waits_on():
                return False
            wait = self._reports.tick(self._launcher.updates(), [slot.restarts for slot in self._launcher.slots])
            assert self._evaluations is not None
            self._evaluations.tick(self._experiment.run.evaluate_every, self._topology, self._reports)
            self._launcher.turn(min(wait, 0.1) if asked < math.inf or self._deadline else wait)
        return True

    def _save(self) -> None:
        """Write a checkpoint. If the disk is full, the user gets a warning and the older checkpoints remain."""
        assert self._launcher is not None and self._reports is not None
        self._reports.drain()
        monitor = self._reports.aggregate
        try:
            lacks = self.state.save(self.folder, self._launcher, monitor, self._manifest(), self._experiment.run.keep_checkpoints)
        except OSError as error:
            lacks = f"could not be written: {error.strerror}"
        if lacks:
            self._reports.note(f"the checkpoint at step {self.state.steps} {lacks}")

    def _manifest(self) -> dict[str, Any]:
        return {"algo": self._experiment.algo, "env": self._experiment.env_name}

    def _finish(self, status: str) -> Result:
        """Stop the workers, make the last evaluation, and write the summary."""
        assert self._launcher is not None and self._reports is not None
        experiment, launcher, reports = self._experiment, self._launcher, self._reports
        launcher.stop()
        if experiment.run.record:
            self._record()
        if self.state.saved_steps < self.state.steps:  # if workers were not waited for, or have failed
            self._save()
        reports.tick(launcher.updates(), [slot.restarts for slot in launcher.slots], last=True)
        evaluation = self._last_evaluation(status)
        figures = reports.summary(launcher.updates())
        for name, count in (self._topology.beyond_the_end() if status == "completed" else {}).items():
            figures[name] -= count
        summary = {
            "status": status,
            "algo": experiment.algo,
            "env": experiment.env_name,
            "mode": experiment.mode,
            "head": self._topology.head_name,
            "workers": experiment.workers,
            "seed": experiment.seed,
            **figures,
            **self._topology.head_figures(),
            "simulator": "compiled" if self._topology.task.simulated else "gymnasium",
            "startup_seconds": getattr(self, "_startup_seconds", None),
            "evaluation_return": None if evaluation is None else evaluation.mean,
            "evaluation_steps": None if evaluation is None else evaluation.steps,
            **({} if evaluation is None or evaluation.alone is None else {"first_proposal_return": evaluation.alone}),
            "restarts": sum(slot.restarts for slot in launcher.slots),
            **({"sites": sites} if (sites := self._topology.site_summary()) else {}),
        }
        reports.close(status)
        reports.print_summary(summary, self.folder)
        try:
            write_json_atomically(self.folder / "summary.json", summary)
        except OSError as error:
            raise AsyncrlError(f"{str(self.folder / 'summary.json')!r} could not be written: {error.strerror}") from error
        if status == "completed" and self.state.saved_steps < self.state.steps:
            raise AsyncrlError("the run came to its end, but what it learned could not be saved (see the warnings)")
        return Result(status, self.folder, summary)

    def _record(self) -> None:
        assert self._reports is not None
        try:
            write_record(self.folder, self._topology, self._experiment.workers)
            lacks = self._topology.record_lacks(self.folder)
        except OSError as error:
            lacks = f"could not be written: {error.strerror}"
        if lacks:
            self._reports.note(f"the record of the run's rounds {lacks}")

    def _last_evaluation(self, status: str) -> Evaluation | None:
        assert self._evaluations is not None and self._reports is not None
        if status == "completed":
            try:
                self._evaluations.final(self._topology, self._reports)
            except KeyboardInterrupt:
                self._interrupts.answered = True
                self._reports.note("the last evaluation was interrupted")
        newest = self._evaluations.newest
        self._evaluations.close()
        return newest

    def _wake(self) -> None:
        """Wake the main process, if it sleeps, after a signal."""
        if self._launcher is not None:
            self._parking.wake(self._topology.ground.board.workers)
