"""`--round-updates each`: in rounds modes an update by every worker's gradient instead of one by their mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from running import Run, files_are_closed, interrupt, kill_in_turn, patience, resume
from test_in_place import Crew
from tiny import everything, having, tiny

from asyncrl.cli.main import main
from asyncrl.shared.optimizers import Sgd, clip_scale, norm

__all__ = ["files_are_closed"]
pytestmark = pytest.mark.usefixtures("files_are_closed")

WORKERS = 3
HAVING = having("round_updates")


@dataclass(frozen=True)
class Counted(Sgd):
    """Remembers which count it was told."""

    counts: list[int] = field(default_factory=list)

    def step(self, place: Any, gradient: Any, part: slice, scale: float, rate: float, count: int) -> None:
        self.counts.append(count)


class Rounds(Crew):
    """The crew of eight in rounds, which are made by whoever stands in."""

    def __init__(self, optimizer: str, longest: float = 0.0):
        super().__init__(optimizer, "sync", statistics="shared", round_updates="each", max_gradient_norm=longest)
        self.ground = self.topology.ground

    def round(self, gradients: Any) -> None:
        """All hand over these gradients [W, N] (NaN: an empty contribution), and all apply."""
        for pace, gradient in zip(self.paces, gradients):
            usable = bool(np.isfinite(gradient).all())
            self.ground.parameters.gradients[pace.worker, pace.handed & 1][: gradient.size] = gradient if usable else 7.0
            pace._hand(float(usable))
        while any(pace.stand_in() for pace in self.paces if pace.handed > pace.applied):
            continue


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("longest", [0.0, 0.5])
def test_a_round_is_the_plain_optimizer_in_a_loop_over_the_workers(optimizer, longest):
    crew, generator = Rounds(optimizer, longest), np.random.default_rng(0)
    rule, vector = crew.ground.rule, crew.topology.current()
    statistics = np.zeros((max(rule.optimizer.statistics, 1), vector.size), np.float32)
    padded = np.zeros(vector.size, np.float32)
    for k in range(4):
        gradients = generator.standard_normal((len(crew.paces), crew.topology.size)).astype(np.float32)
        gradients[2] = np.nan if k == 1 else gradients[2]
        crew.round(gradients)
        for worker, gradient in enumerate(gradients):
            if np.isfinite(gradient).all():
                padded[: gradient.size] = gradient
                scale, count = clip_scale(norm(padded), longest), k * len(gradients) + worker + 1
                rule.optimizer.step((vector, statistics), padded, slice(0, vector.size), scale, rule.rate(0), count)
    assert np.array_equal(crew.topology.current(), vector)


def test_statistics_are_told_how_many_updates_they_have_seen():
    """Three rounds of eight, four updates in place, a round again."""
    crew, counted = Rounds("sgd"), Counted()
    object.__setattr__(crew.ground, "rule", replace(crew.ground.rule, optimizer=counted))
    gradients = np.ones((len(crew.paces), crew.topology.size), np.float32)
    for _ in range(3):
        crew.round(gradients)
    assert sorted(counted.counts) == sorted([*range(1, 25)] * len(crew.paces))
    counted.counts.clear()
    crew.begin("async")
    for worker in range(4):
        crew.step(worker)
    assert counted.counts == [25, 26, 27, 28]
    counted.counts.clear()
    crew.begin("sync")
    crew.round(gradients)
    assert sorted(set(counted.counts)) == list(range(29, 37))


@pytest.mark.slow
@pytest.mark.parametrize("algo", HAVING)
def test_a_run_makes_as_many_updates_as_async_with_the_same_bits_again(tmp_path, algo):
    for mode in ("sync", "pipelined"):
        settings = {"mode": mode, "workers": WORKERS, "round_updates": "each", "steps": 600}
        one, two = tiny(tmp_path, algo, **settings), tiny(tmp_path, algo, **settings, delay="exponential:0.003@1")
        assert everything(one.folder) == everything(two.folder)
        rounds = one.column("rounds")[0]
        assert one.summary["updates"] == WORKERS * rounds == one.summary["steps"] / 10
        delay = WORKERS if mode == "pipelined" else 0  # the first round of pipelined has none
        mean = (WORKERS - 1) / 2 + delay * (rounds - 1) / rounds
        assert one.summary["lag"]["mean"] == pytest.approx(mean)
        assert one.summary["lag"]["max"] == delay + WORKERS - 1
        mean_run = tiny(tmp_path, algo, **{**settings, "round_updates": "one"})
        assert mean_run.summary["updates"] == rounds
        assert everything(mean_run.folder) != everything(one.folder)


def test_the_norm_that_is_told_is_that_of_one_gradient(tmp_path):
    settings = {"mode": "sync", "workers": WORKERS, "round_updates": "each", "max_gradient_norm": 0.01}
    run = tiny(tmp_path, "a2c", steps=3000, report_seconds=1000.0, **settings)  # one report, at the end: all but the last round
    told = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert told["learn/gradient_norm_clipped"] == pytest.approx(0.01, rel=0.05)


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["sync", "pipelined", "async"])
def test_killed_workers_leave_the_books_exact(tmp_path, mode):
    """With old copies, which a successor has not, and a rate by lag, which all must agree about."""
    settings: dict[str, Any] = {"mode": mode, "workers": WORKERS, "staleness": 3, "rate_by_lag": "inverse", "steps": 10**8}
    each = {} if mode == "async" else {"round_updates": "each"}

    def kill_them(run: Run) -> None:
        kill_in_turn(run, [0, 2, 0])
        interrupt(run)

    with patience():
        run = tiny(tmp_path, "nq", kill_them, **settings, **each)
    assert run.summary["status"] == "interrupted" and run.summary["restarts"] == 3
    assert run.launcher is not None
    ground = run.launcher._ground
    assert len(set(ground.board.applied[::8])) == 1 and np.isfinite(ground.parameters.vectors).all()
    assert run.summary["updates"] == sum(run.column("lag_count"))
    assert sum(run.column("steps")) == 10 * sum(run.column("rounds")) == run.summary["steps"]


def test_one_worker_makes_the_same_bits_either_way(tmp_path):
    one, each = (tiny(tmp_path, "a2c", mode="sync", workers=1, round_updates=how) for how in ("one", "each"))
    assert everything(one.folder) == everything(each.folder)


def test_a_resumed_run_continues_with_the_same_bits_and_counts(tmp_path):
    settings = {"mode": "sync", "round_updates": "each", "anneal": "constant", "optimizer": "adam"}
    whole, half = tiny(tmp_path, "a2c", steps=800, **settings), tiny(tmp_path, "a2c", steps=400, **settings)
    second = resume(half.folder, steps=800)
    assert everything(half.folder) == everything(whole.folder)
    assert second.summary["updates"] == whole.summary["updates"] == 80


def test_a_schedule_counts_updates_of_both_kinds(tmp_path):
    run = tiny(tmp_path, "a3c", mode="async@0,sync@1000,pipelined@2000,async@3000", steps=4000, round_updates="each")
    assert run.summary["updates"] == run.summary["steps"] / 10


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ("a3c --mode async --round-updates each", ["round_updates = 'each'", "mode async", "sync, pipelined"]),
        ("a2c --statistics private", ["statistics = 'private'", "mode sync", "allowed: shared; or bounded:K, async"]),
        ("nq --mode sync@0,pipelined@1000 --statistics private", ["statistics = 'private'", "one update of all workers"]),
        ("a3c --round-updates both", ["'both'", "one, each"]),
        ("a3c --rate-by-lag invers", ["'invers'", "did you mean 'inverse'"]),
    ],
)
def test_what_says_nothing_is_refused_in_one_line(capsys, monkeypatch, tmp_path, args, parts):
    monkeypatch.chdir(tmp_path)
    algo, *rest = args.split()
    code = main(["train", algo, "CartPole-v1", *rest])
    line = capsys.readouterr().err
    assert (code, line.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert all(part in line for part in parts), line


@pytest.mark.parametrize("statistics", ["shared", "private"])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_every_optimizer_runs_with_shared_and_with_private_statistics(tmp_path, optimizer, statistics):
    run = tiny(tmp_path, "a3c", mode="async@0,sync@1000,async@2000", steps=3000, optimizer=optimizer, statistics=statistics)
    run.check_books(10)
    assert run.launcher is not None
    own = run.launcher._ground.parameters.own_statistics
    assert len(own) == (2 if statistics == "private" else 0)
    if len(own) and optimizer != "sgd":
        assert not np.array_equal(own[0], own[1]) and own[0].any() and own[1].any()
