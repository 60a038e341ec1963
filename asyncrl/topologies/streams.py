"""Actors -> rings -> learner: actors hand units of experience to one process that learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from asyncrl.actors.exploration import check_fit, check_use, label, parse_exploration
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import Streamed
from asyncrl.errors import UserError
from asyncrl.estates import StreamsEstate
from asyncrl.experiment import Experiment
from asyncrl.scheduler.modes import parse_modes
from asyncrl.topologies.actor_learner import actor_learner_task
from asyncrl.topologies.topology import Arrays, Seat, allocate
from asyncrl.workers.evaluator import Snapshot
from asyncrl.workers.stream_actor import run_stream_actor
from asyncrl.workers.stream_learner import StreamState, run_stream_learner
from asyncrl.workers.stream_plan import LEARNER_VECTORS, PublishedPolicy, StreamPlan, StreamTask, ground_of, memory_layout


class StreamTopology:
    """See `topology.Topology`."""

    settings = None

    def __init__(self, experiment: Experiment):
        entry = ALGORITHMS[experiment.algo]
        assert isinstance(entry, Streamed)
        check_stream(experiment, entry)
        self._experiment = experiment
        explore = experiment.explore or entry.default_explore
        self._explorations = parse_exploration(explore, experiment.workers, experiment.seed)
        self.labels = [label(one) for one in self._explorations]
        self.task = stream_task(experiment)
        self.spec = self.task.spec
        policy = self._policy = self.task.policy()
        check_fit(self._explorations, self.spec)
        check_use(self._explorations, entry.explorations, experiment.algo)
        self.task.check()
        self.size, self.head_name = policy.size, policy.name
        figures = self.task.updater_figures
        self.memory, parking = allocate(memory_layout(self.task, policy, figures), beside=4 * LEARNER_VECTORS * policy.size)
        self._pipes = parking.carried()
        self.ground = ground_of(self.task, figures, self.memory, self._pipes)
        self.estate = StreamsEstate(self.ground.streams, self.ground.board, self.ground.ledger)

    @property
    def steps(self) -> int:
        """See `Topology`."""
        return int(self.ground.ledger.total("steps"))

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        """See `Topology`."""
        learns = seat.worker == self.ground.learner
        plan = StreamPlan(
            task=self.task,
            worker=seat.worker,
            generation=seat.generation,
            exploration=() if learns else tuple(self._explorations[seat.worker]),
            memory=self.memory,
            pipes=self._pipes,
            core=seat.core,
            restore_from=seat.restore_from,
            run_folder=seat.run_folder,
        )
        return (run_stream_learner if learns else run_stream_actor), plan

    def begin(self) -> None:
        """See `Topology`."""
        # Only what actors need at first is made here: the learner makes its own state from the same seed. A replay's size
        # does not matter for that, nor does the device, which the learner alone may touch.
        options = self.task.options
        if hasattr(options, "replay"):
            options = dataclasses.replace(options, replay=options.batch, learner_device="cpu")
        state = StreamState(dataclasses.replace(self.task, options=options))
        self.ground.streams.snapshots.restore(state.publish(), 0)

    def restore(self, state: dict[str, Any], arrays: Arrays) -> None:
        """See `Topology`."""
        ledger, snapshots = self.ground.ledger, self.ground.streams.snapshots
        wanted = (PublishedPolicy.length(self.size, self.task.observed),)
        for name, shape in (("published", wanted), ("ledger", (ledger.workers, ledger.width))):
            if name not in arrays or arrays[name].shape != shape:
                given = arrays[name].shape if name in arrays else None
                raise UserError(f"the checkpoint does not fit: {name} has shape {given}, this run needs {shape}")
        snapshots.restore(arrays["published"], state["version"])
        ledger.restore(arrays["ledger"])

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        """See `Topology`."""
        published = PublishedPolicy.empty(self.size, self.task.observed)
        version = self.ground.streams.snapshots.copy(published.vector)
        snapshot = self.snapshot()
        arrays: Arrays = {
            "published": published.vector,
            "ledger": self.ground.ledger.read_all(),
            "parameters": snapshot.vector,
            "normaliser": snapshot.normaliser,
        }
        return {"version": version}, arrays

    def saved_bytes(self, steps: int) -> int:
        """See `Topology`."""
        return int(self.task.entry.updater_type().saved_bytes(self.task, steps))

    def beyond_the_end(self) -> dict[str, int]:
        """See `Topology`: nothing."""
        return {}

    def parts(self) -> list[int]:
        """See `Topology`."""
        return list(range(self._experiment.workers))

    def snapshot(self) -> Snapshot:
        """See `Topology`."""
        published = PublishedPolicy.empty(self.size, self.task.observed)
        self.ground.streams.snapshots.copy(published.vector)
        normaliser = np.zeros((3, self.spec.observation_size), np.float32)
        published.normaliser(normaliser)
        return Snapshot(published.parameters.copy(), normaliser, self.steps)


def stream_task(experiment: Experiment) -> StreamTask:
    """What is learned. Makes the environment once."""
    task = actor_learner_task(experiment)
    # The learner is one process more than there are workers, but it and the actors seldom all work at once.
    return StreamTask(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})


def check_stream(experiment: Experiment, entry: Streamed) -> None:
    """Raise UserError for modes in which the algorithm does not work."""
    for _, mode in parse_modes(experiment.mode):
        if str(mode).partition(":")[0] not in entry.modes:
            raise UserError(f"mode {str(mode)!r} cannot be used with {experiment.algo} (allowed: {', '.join(entry.modes)})")
