"""The learner of a stream dies at any line of its code, and its successors go on: the same bits in sync, exact books everywhere.

The real actors, learner, rings and shared memory, in one process: each is a thread, and the learner's ends where a trace of its
lines says so. What a SIGKILL cuts in two within a line, in compiled code, is in test_replay; whole runs are in test_stream_runs.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from running import files_are_closed, parkings
from test_stream_runs import check_replay

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.experiment.experiment import Experiment
from asyncrl.fields import written
from asyncrl.heads.networks import devices
from asyncrl.heads.networks.devices import Device
from asyncrl.heads.options import NetworkOptions
from asyncrl.learners.replays import updates_due
from asyncrl.scheduler.board import ARRIVED, COMMAND, MARK, OBEYED, OPENED, REQUEST, STOP
from asyncrl.scheduler.modes import parse_mode
from asyncrl.store.checkpoint import read_part
from asyncrl.topologies.streams import learner_state as stream_state
from asyncrl.topologies.streams import plan as stream_plan
from asyncrl.topologies.streams.actor import StreamActor
from asyncrl.topologies.streams.learner import StreamLearner
from asyncrl.topologies.streams.topology import StreamTopology
from asyncrl.topologies.topology import Seat
from asyncrl.workers.messages import Go

OWN = str(Path(asyncrl.__file__).parent)
STEPS = 400
REPLAY = {"batch": 8, "warm_up": 20, "replay": 150, "n_step": 3, "t_max": 4}  # the replay is soon full
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "impala": ("impala", "CartPole-v1", {"t_max": 5, "normalize_observations": True}),
    "appo": ("appo", "Pendulum-v1", {"t_max": 5}),
    "ppo": ("ppo", "Pendulum-v1", {"t_max": 10, "minibatch": 8, "epochs": 2}),
    "npg": ("npg", "CartPole-v1", {"t_max": 10, "value_epochs": 2}),
    "ddpg": ("ddpg", "Pendulum-v1", REPLAY),
    "td3": ("td3", "Pendulum-v1", {**REPLAY, "priority_alpha": 0.6, "replay_ratio": 1.3}),
    "sac": ("sac", "Pendulum-v1", {**REPLAY, "replay_ratio": 0.4}),
}
TIMES = ("seconds", "started", "ended")
"""In the names of columns that tell the time."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


__all__ = ["files_are_closed"]
pytestmark = pytest.mark.usefixtures("files_are_closed")


class Killed(BaseException):
    """SIGKILL: nothing of ours may catch it."""


class Death:
    """Ends a thread at the n-th line of the package that it executes from a version on, anywhere or within a function."""

    def __init__(self, lines: int, version: int = 0, inside: str = ""):
        """`inside`: qualified name of the function, with what it calls; where it returns before, nobody dies."""
        self.left, self.version, self.inside, self.at = lines, version, inside, ""
        self.newest: Any = None  # () -> version
        self._entered: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OWN):
            return None
        if self._entered is None and (not self.inside or frame.f_code.co_qualname == self.inside) and self.newest() >= self.version:
            self._entered = frame
        if event == "line" and self._entered is not None:
            self.left -= 1
            if self.left == 0:
                self.at = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise Killed
        if event == "return" and self.inside and frame is self._entered:
            self.left = 0
        return self


class Stage:
    """A stream whose processes are threads; this one is the launcher."""

    def __init__(self, folder: Path, kind: str, mode: str, deaths: list[Death]):
        """`deaths`: of the first learner, of its successor, ..."""
        algo, env, options = KINDS[kind]
        made, network = ALGORITHMS[algo].options_type(**options), NetworkOptions(hidden=(8, 8))
        self.experiment = Experiment(algo, env, mode=mode, workers=2, steps=STEPS, options=made, network=network)
        self.topology = StreamTopology(self.experiment)
        parkings.append(self.topology.ground.parking)
        self.topology.begin()
        self.folder, self.ground, self.deaths = folder, self.topology.ground, list(deaths)
        self.died_at: list[str] = []
        self.errors: list[BaseException] = []
        self.learner: StreamLearner | None = None
        self.threads = [self.start(worker, Go(False)) for worker in range(3)]

    def start(self, worker: int, go: Go) -> threading.Thread:
        _, plan = self.topology.body_of(Seat(worker, 0, None, None, self.folder))
        death = self.deaths.pop(0) if worker == 2 and self.deaths else None
        if death is not None:
            death.newest = lambda: self.ground.streams.snapshots.version

        def body() -> None:
            try:
                one = StreamActor(plan) if worker < 2 else StreamLearner(plan)
                if isinstance(one, StreamLearner):
                    self.learner = one
                sys.settrace(death)
                one.work(go)
            except Killed:
                assert death is not None
                self.died_at.append(death.at)
            except BaseException as error:  # noqa: BLE001 - the test is to see it
                self.errors.append(error)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread

    def at_gate(self) -> bool:
        board = self.ground.board
        return all(board.stands(worker, ARRIVED) > board.order(OPENED) for worker in range(3))

    def until_gate(self, epoch_runs: bool) -> None:
        """Replace the learner as often as it dies, as the crew does, until everybody is at the gate."""
        board, deadline = self.ground.board, time.monotonic() + 100
        while not (self.threads[2].is_alive() and self.at_gate()):
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, f"no end; it died at {self.died_at}"
            if not self.threads[2].is_alive():
                self.topology.estate.bury(2, epoch_runs)
                self.ground.parking.arise(2)
                board.stand(2, ARRIVED, board.order(OPENED))
                board.stand(2, OBEYED, board.order(COMMAND))
                self.threads[2] = self.start(2, Go(epoch_runs))
                self.ground.parking.wake_all()
            time.sleep(0.0005)

    def open(self, mark: int = 0, stop: bool = False) -> None:
        board = self.ground.board
        mode = parse_mode(self.experiment.mode)
        board.set_mode(mode)
        board.set_order(MARK, mark)
        board.set_order(STOP, int(stop))
        self.topology.estate.open(mode, [True] * 3)
        board.set_order(REQUEST, board.order(OPENED) + 1)
        board.set_order(OPENED, board.order(OPENED) + 1)
        self.ground.parking.wake_all()

    def play(self) -> Stage:
        """Two epochs, and the end."""
        self.until_gate(False)
        for mark in (STEPS // 2, STEPS):
            self.open(mark)
            self.until_gate(True)
        self.topology.complete(self.folder)
        self.part = read_part(self.folder, "learner")[1]
        assert self.learner is not None
        own = self.learner._state.state()
        assert [name for name in own if own[name].tobytes() != self.part[name].tobytes()] == [], "the main process tells another state"
        self.open(stop=True)
        for thread in self.threads:
            thread.join(60)
        assert not self.errors, self.errors
        return self

    def told(self) -> dict[str, bytes]:
        """Everything that the same bits are asked of: what was learned, what actors were given, what the books say but for times."""
        ledger, learned = self.ground.ledger, {name: array.tobytes() for name, array in self.part.items()}
        record = ledger.read(2)
        books = {name: ledger.column(record, name).tobytes() for name in ledger.columns if not any(word in name for word in TIMES)}
        return {**learned, **books, "published": self.topology.gather()[1]["published"].tobytes()}

    def check_books(self) -> None:
        """What was acted is learned from, once; the updates are those that are due, and as many as are told."""
        ledger, streams = self.ground.ledger, self.ground.streams
        record, units = ledger.read(2), [streams.rings.ring(actor, 0).published for actor in range(2)]
        assert int(self.part["own/steps"][0]) == ledger.total("steps") == self.topology.steps
        assert ledger.column(record, "lag_counts").tolist() == units
        assert ledger.column(record, "rounds")[0] == streams.snapshots.version
        options, updates = self.experiment.options, int(ledger.total("updates"))
        if "updates" in self.part:
            due = updates_due(written(options.replay_ratio), self.topology.steps, options.warm_up)
            assert int(self.part["updates"][0]) == updates == due > 0
            check_replay(self.part)


def lives(seed: int, count: int, versions: int) -> list[Death]:
    """Deaths spread over so many versions: some come as a learner takes over, some while it makes one of the versions after."""
    chosen = random.Random(seed)
    return [Death(chosen.randrange(1, chosen.choice((60, 400, 1500))), 1 + i * versions // count) for i in range(count)]


def keep(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The state is kept after every version, or only when the journal is full, which then has little room."""
    monkeypatch.setattr(stream_state, "KEEP_SHARE", {"always": 1e9, "seldom": 0.0}[how])
    monkeypatch.setattr(stream_plan, "JOURNAL_UNITS", {"always": 0, "seldom": 17}[how])


CASES = [
    *((kind, "sync", "seldom") for kind in KINDS),
    *((kind, "pipelined", how) for kind in ("impala", "td3") for how in ("always", "seldom")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode", "how"), CASES)
def test_learners_that_die_leave_the_same_bits(tmp_path, monkeypatch, kind, mode, how):
    keep(monkeypatch, how)
    (tmp_path / "whole").mkdir()
    whole = Stage(tmp_path / "whole", kind, mode, []).play()
    expected = whole.told()
    versions = whole.ground.streams.snapshots.version
    (tmp_path / "cut").mkdir()
    stage = Stage(tmp_path / "cut", kind, mode, lives(len(kind) + len(mode), 12, versions - 5)).play()
    print(f"{kind} {mode} {how}: died at {', '.join(stage.died_at)}")
    assert len(stage.died_at) == 12
    told = stage.told()
    assert [name for name in expected if told[name] != expected[name]] == []
    stage.check_books()


@pytest.mark.parametrize("kind", ["td3", "sac"])
def test_a_learner_on_a_device_is_succeeded_by_another(tmp_path, monkeypatch, kind):
    """The device's code, on the processor: there too the same bits."""
    monkeypatch.setattr(devices, "place_of", lambda name: Device(torch.device("cpu")))
    test_learners_that_die_leave_the_same_bits(tmp_path, monkeypatch, kind, "sync", "seldom")


@pytest.mark.parametrize(
    ("kind", "mode"), [*((kind, "async") for kind in KINDS if kind != "npg"), ("impala", "bounded:1"), ("td3", "bounded:1")]
)
def test_learners_that_die_leave_exact_books(tmp_path, monkeypatch, kind, mode):
    keep(monkeypatch, "seldom")
    stage = Stage(tmp_path, kind, mode, lives(len(kind), 15, 15)).play()
    print(f"{kind} {mode}: died at {', '.join(stage.died_at)}")
    assert len(stage.died_at) >= 8  # how many versions there are depends on who was faster
    stage.check_books()


INSTANTS = {
    "Keeper.keep": 3,  # between the copy of the state, the word that says it counts, and what follows
    "Journal.hold": 4,
    "LearnerPace._consume": 1,  # between a unit's place in the journal and its release
    "LearnerPace.publish": 1,  # between the books and the version
    "LearnerPace.close": 2,
    "LearnerPace._next_epoch": 2,
    "Keeper.recover": 40,
}
"""Functions in which a learner dies at the first line, its successor some lines on, ...: by how many."""


@pytest.mark.parametrize(
    ("inside", "mode"), [*((inside, "sync") for inside in INSTANTS), ("LearnerPace._consume", "async"), ("LearnerPace.publish", "async")]
)
def test_learners_that_die_at_every_instant_of(tmp_path, monkeypatch, inside, mode):
    """Of each step of the protocol, one after the other, while the replay is full and has priorities."""
    keep(monkeypatch, "always" if inside == "Keeper.keep" else "seldom")
    first = 0 if inside in ("LearnerPace._next_epoch", "LearnerPace.close") else 20  # these come twice in all
    deaths = [Death(lines, first, inside) for lines in range(1, 100 * INSTANTS[inside], INSTANTS[inside])]
    if inside == "Keeper.recover":
        deaths.insert(0, Death(200, first))
    stage = Stage(tmp_path, "td3", mode, deaths).play()
    print(f"{inside} {mode}: died at {', '.join(stage.died_at)}")
    assert len(stage.died_at) >= 5
    stage.check_books()
    if mode == "sync":
        (tmp_path / "whole").mkdir()
        told, expected = stage.told(), Stage(tmp_path / "whole", "td3", mode, []).play().told()
        assert [name for name in expected if told[name] != expected[name]] == []
