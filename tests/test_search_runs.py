"""Black-box search as whole runs: real processes, real environments, kills, resumption."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from environments import CountingEnv
from gymnasium import spaces
from running import Jitter, Run, figures, interrupt, kill_in_turn, resume, train, wait_for

import asyncrl
from asyncrl.algos.es import Es, EsOptions
from asyncrl.blackbox.settings import parse_settings
from asyncrl.blackbox.space import Space
from asyncrl.envs.faults import LONGEST_EPISODE
from asyncrl.experiment.experiment import Experiment
from asyncrl.scheduler.pace import Books
from asyncrl.store.checkpoint import check, newest, read_part, seal, write_part
from asyncrl.topologies.search.limits import MOST, EpisodeLimit, evaluation_limit
from asyncrl.topologies.search.plan import learner_record
from asyncrl.topologies.search.topology import Searched, SearchTopology
from asyncrl.topologies.search.waste import WASTE_UPDATES
from asyncrl.workers.plan import go_on_from

SMALL = {"population": 8, "sigma": 0.3}
SAME = {"steps": 3000, "seed": 3}
"""What runs have in common that are compared bit by bit."""


def search(folder: Path, env: Any, beside: Any = None, algo: str = "es", **options: Any) -> Run:
    """A quiet run of two workers with small generations, unless told otherwise."""
    settings: dict[str, Any] = {"workers": 2, "mode": "sync", **SMALL, **options}
    run = train(folder, env, beside, algo=algo, **settings)
    if run.error is None:
        check_books(run, settings["population"])
    return run


def check_books(run: Run, population: int) -> None:
    """Each update was made from evaluations that were used once; steps add up."""
    arrays = read_part(newest(run.folder), "run")[1]
    used = int(arrays["state/used_steps"][0])
    played = sum(run.column("steps"))
    beyond = run.summary["mode"] == "pipelined" and run.summary["status"] == "completed"  # the next generation was begun
    assert used <= run.summary["steps"] and (run.summary["steps"] == played or (beyond and run.summary["steps"] < played))
    versions = run.column("rounds")[-1]
    assert run.summary["updates"] == run.column("updates")[-1] == versions - run.column("skipped")[-1]
    assert sum(run.column("rounds")[:-1]) >= run.column("lag_count")[-1] == versions * population


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Undisturbed runs of two workers, made once each."""

    @functools.cache
    def made(algo: str = "es", mode: str = "sync") -> Run:
        return search(tmp_path_factory.mktemp("reference"), "CartPole-v1", algo=algo, mode=mode, **SAME)

    return made


def learned(run: Run) -> dict[str, bytes]:
    """Everything that the learner remembers."""
    arrays = read_part(newest(run.folder), "run")[1]
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith("state/")}


class Cliff(CountingEnv):
    """The action a, one number, decides the episode. Good ones (a > 0) take long and return 30; bad ones end at once, with a
    little more the further they are from 0. Who sees only those that end first goes the wrong way."""

    def __init__(self, sleep: float = 0.002) -> None:
        super().__init__(length=30)
        self.sleep = sleep
        self.action_space = spaces.Box(-10.0, 10.0, (1,), np.float32)

    def step(self, action: Any) -> Any:
        observation, _, over, _, _ = super().step(action)
        a = float(action[0])
        if a <= 0:
            return observation, 0.5 * min(-a, 4.0), True, False, {}
        time.sleep(self.sleep)
        return observation, 1.0, over, False, {}

    def observe(self) -> Any:
        return np.ones(3, dtype=np.float32)


class Paying(CountingEnv):
    """Reward is the action; now and then it sleeps, by the clock."""

    def __init__(self) -> None:
        super().__init__(length=5)

    def step(self, action: Any) -> Any:
        if time.time_ns() % 5 == 0:
            time.sleep(0.002)
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action), terminated, truncated, info

    def observe(self) -> Any:
        return np.array([1.0, self.count, 0.0], dtype=np.float32)  # nothing of earlier episodes


class SlowWhile(Paying):
    """In no hurry while a file is there: the run outlasts what is done to it, and comes to the same."""

    def __init__(self, slow: Path) -> None:
        super().__init__()
        self.slow = slow

    def step(self, action: Any) -> Any:
        if self.count == 0 and self.slow.exists():
            time.sleep(0.03)
        return super().step(action)


class Sleepy(CountingEnv):
    """Some episodes take very long."""

    def step(self, action: Any) -> Any:
        if self.count == 0 and self.np_random.random() < 1 / 16:
            time.sleep(0.25)
        return super().step(action)


class OneIsHeld(CountingEnv):
    """The first episode to begin does not go on while a file is there."""

    def __init__(self, held: Path) -> None:
        super().__init__()
        self.held = held

    def step(self, action: Any) -> Any:
        with contextlib.suppress(FileExistsError):
            self.held.with_name("begun").touch(exist_ok=False)
            while self.held.exists():
                time.sleep(0.01)
        return super().step(action)


# --- the modes ---


@pytest.mark.parametrize(("algo", "counts"), [("es", [1, 3, 4]), ("tres", [3]), ("cma-es", [3])])
def test_sync_gives_the_same_bits_with_any_number_of_workers(tmp_path, reference, algo, counts):
    for count in counts:
        run = search(tmp_path, cartpole_with_jitter, algo=algo, workers=count, **SAME)
        assert run.summary["lag"]["max"] == 0
        assert learned(run) == learned(reference(algo))
        assert figures(run) == figures(reference(algo))


def test_a_ladder_does_not_depend_on_the_workers(tmp_path):
    one, three = (search(tmp_path, "CartPole-v1", workers=count, steps=1500, explore="sigma:0.1..0.8/3") for count in (1, 3))
    assert learned(one) == learned(three)
    assert figures(one) == figures(three)
    assert list(one.summary["return_by_exploration"]) == [f"sigma:{sigma:g}+directions:gaussian" for sigma in (0.1, 0.08**0.5, 0.8)]


@pytest.mark.parametrize(("population", "rungs"), [(64, 5), (10, 5), (6, 3)])
def test_a_ladder_has_five_rungs_or_as_many_as_there_are_directions(population, rungs):
    settings = parse_settings("sigma:0.1..0.4", EsOptions(population=population))
    assert (len(settings), settings[0].sigma, settings[-1].sigma) == (rungs, pytest.approx(0.1), pytest.approx(0.4))
    assert rungs <= Es(EsOptions(population=population), 2, 0, settings)._plan.directions


def cartpole_with_jitter() -> Any:
    return Jitter(gymnasium.make("CartPole-v1"), 0.003, 0.03)


def test_pipelined_has_lag_one_and_the_same_bits_however_workers_are_timed(tmp_path, reference):
    run = search(tmp_path, cartpole_with_jitter, mode="pipelined", workers=3, **SAME)
    assert learned(run) == learned(reference(mode="pipelined"))
    assert figures(run) == figures(reference(mode="pipelined"))
    assert learned(run) != learned(reference())
    assert (run.summary["lag"]["max"], run.summary["lag"]["p50"]) == (1, 1)


def test_bounded_keeps_its_bound(tmp_path):
    bounded = search(tmp_path, Sleepy, mode="bounded:2", workers=3, steps=1500)
    assert 0 < bounded.summary["lag"]["max"] <= 2


@pytest.mark.parametrize("account", ["dispatch", "arrival"])
def test_a_schedule_of_modes_loses_nothing(tmp_path, account):
    modes = "async@0,sync@150,pipelined@300,async@450,bounded:1@600,sync@750"
    run = search(tmp_path, Paying, mode=modes, workers=3, steps=900, account=account, checkpoint_every=149)
    assert run.summary["status"] == "completed"
    assert used_steps(run) == run.summary["steps"], "every evaluation was used"


def used_steps(run: Run) -> int:
    return int(read_part(newest(run.folder), "run")[1]["state/used_steps"][0])


# --- trouble ---


@pytest.mark.stress
@pytest.mark.parametrize("mode", [pytest.param("sync", marks=pytest.mark.slow), "async"])
def test_workers_and_learner_are_killed_and_every_evaluation_counts_once(tmp_path, mode):
    def kill_some(run: Run) -> None:
        try:
            kill_in_turn(run, (2, 0, 1, 2, 0, 1))  # 2 is the learner
        finally:
            slow.unlink()

    slow = tmp_path / "slow"
    slow.touch()
    steps = {"steps": 8000, "max_failures": 100}
    run = search(tmp_path, lambda: SlowWhile(slow), kill_some, mode=mode, **steps)
    assert run.summary["status"] == "completed"
    assert run.summary["restarts"] == 6
    if mode == "sync":
        assert learned(run) == learned(search(tmp_path, Paying, mode=mode, **steps))


def test_the_books_of_a_learner_that_died_before_its_version_was_there_do_not_count():
    searched = Searched(lambda x: 0.0, np.zeros(2), Space(of_function=True), 1000)
    topology = SearchTopology(Experiment("es", "", workers=1, options=EsOptions(**SMALL)), searched)
    topology.begin()
    ground = topology.ground
    books = Books(ground.ledger, ground.learner)
    for version in (1, 2):
        books.put("rounds", version)
        books.add("lag_count", 8)
        ground.ledger.publish(ground.learner, books.draft)
        told, counted = (learner_record(ground)[ground.ledger.position(name)] for name in ("rounds", "lag_count"))
        assert (told, counted) == (version - 1, 8 * (version - 1)), "killed here, it makes the version again"
        assert topology.gather()[1]["ledger"][ground.learner].tobytes() == learner_record(ground).tobytes()
        ground.snapshots.publish(np.zeros(3))
        assert learner_record(ground)[ground.ledger.position("lag_count")] == 8 * version
    topology.close()


def test_learners_that_die_in_a_row_before_their_version_is_there_do_not_count():
    searched = Searched(lambda x: 0.0, np.zeros(2), Space(of_function=True), 1000)
    topology = SearchTopology(Experiment("es", "", workers=1, options=EsOptions(**SMALL)), searched)
    topology.begin()
    ground = topology.ground

    def successor() -> Books:
        books = Books(ground.ledger, ground.learner)
        go_on_from(books, ground.ledger, ground.learner, learner_record(ground))
        return books

    for _ in range(6):
        books = successor()
        assert (books["rounds"], books["lag_count"]) == (0, 0)
        books.add("rounds", 1)
        books.add("lag_count", 8)
        ground.ledger.publish(ground.learner, books.draft)
    ground.snapshots.publish(np.zeros(3))
    assert (successor()["rounds"], ground.ledger.total("lag_count")) == (1, 8)
    topology.close()


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_resumed_run_continues_with_the_same_bits(tmp_path, reference, mode):
    whole = reference(mode=mode)
    half = search(tmp_path, "CartPole-v1", mode=mode, **{**SAME, "steps": 1500}, checkpoint_every=500, keep_checkpoints=9)
    assert half.summary["updates"] < whole.summary["updates"]
    second = resume(half.folder, steps=SAME["steps"])
    check_books(second, SMALL["population"])
    assert learned(second) == learned(whole), "neither checkpoints nor the end in between change anything"
    assert figures(second) == figures(whole)


def test_an_interrupted_generation_is_finished_after_resuming(tmp_path, reference):
    def stop_it(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.version() >= 2 and sum(run.column("rounds")) % 8 == 5)
        interrupt(run)

    stopped = search(tmp_path, lambda: Jitter(gymnasium.make("CartPole-v1"), 0.01, 0.05), stop_it, **SAME)
    assert stopped.summary["status"] == "interrupted"
    assert used_steps(stopped) < stopped.summary["steps"], "the interruption came in the middle of a generation"
    resumed = resume(stopped.folder, env=lambda: gymnasium.make("CartPole-v1"))
    assert learned(resumed) == learned(reference())
    assert figures(resumed) == figures(reference())


class Faulty(CountingEnv):
    """Rewards are not finite in some episodes: drawn from the seed of the episode."""

    def __init__(self, share: float = 0.2) -> None:
        super().__init__(length=5)
        self.share = share

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        broken = self.count == 2 and self.np_random.random() < self.share
        return observation, np.nan if broken else float(action), terminated, truncated, info


def test_returns_that_are_not_finite_are_discarded_counted_and_issued_again(tmp_path):
    run = search(tmp_path, Faulty, steps=500, common_seeds="none")
    counts = run.summary["counts"]
    assert counts["discarded"] == run.column("discarded_total")[-1] > 5
    assert counts["missing"] == run.column("missing_total")[-1] < counts["discarded"]
    theta = read_part(newest(run.folder), "run")[1]["state/search/theta"]
    assert np.isfinite(theta).all() and theta.any()
    hopeless = search(tmp_path, lambda: Faulty(1.0), steps=800)
    assert "step 0: none of the 8 evaluations of update 0 had a finite return" in str(hopeless.error)
    assert "\n" not in str(hopeless.error)


def test_a_flat_fitness_changes_nothing_and_is_said_once(tmp_path):
    run = search(tmp_path, CountingEnv, steps=500)
    assert len([note for note in run.notes if "are equal: nothing can be learned" in note]) == 1
    assert run.summary["updates"] == 0 and run.summary["skipped_updates"] == run.summary["counts"]["flat"] > 3
    assert not read_part(newest(run.folder), "run")[1]["state/search/theta"].any()


class Endless(CountingEnv):
    def __init__(self) -> None:
        super().__init__(length=10**9)


def test_a_limit_grows_as_far_as_it_can_be_told():
    assert EpisodeLimit.parse("adaptive:20,0.5,1e300").after(20, 1, 2) == MOST
    assert EpisodeLimit.parse("adaptive:20,0.5,1.01").after(20, 1, 2) == 21
    assert EpisodeLimit.parse("1_000") == EpisodeLimit(1000) == EpisodeLimit.parse(EsOptions(episode_limit=1000).episode_limit)


def test_shares_and_factors_of_a_limit_are_the_numbers_that_were_written():
    assert EpisodeLimit.parse("adaptive:20,0.07,2").after(20, 7, 100) == 40  # 0.07 * 100 is 7.000000000000001 in floats
    assert EpisodeLimit.parse("adaptive:20,0.07,2").after(20, 6, 100) == 20
    assert EpisodeLimit.parse("adaptive:100,0.5,1.1").after(100, 1, 2) == 110  # and 100 * 1.1 is 110.00000000000001


@pytest.mark.parametrize("mode", ["sync", "pipelined", "bounded:2", "async"])
def test_episodes_that_were_cut_at_a_lower_limit_do_not_raise_the_present_one(tmp_path, mode):
    """Episodes have 250 steps: all reach the limit of 200, none that of 300."""
    run = search(tmp_path, lambda: CountingEnv(250), mode=mode, episode_limit="adaptive:200,0.5,1.5", steps=40_000)
    arrays = read_part(newest(run.folder), "run")[1]
    assert int(arrays["state/limit"][0]) == 300 and int(arrays["state/limit_since"][0]) == 1
    assert run.summary["steps"] > 20 * 8 * 200


def test_a_checkpoint_without_the_version_of_its_limit_goes_on(tmp_path):
    run = search(tmp_path, lambda: CountingEnv(250), episode_limit="adaptive:200,0.5,1.5", steps=8000)
    folder = newest(run.folder)
    state, arrays = read_part(folder, "run")
    manifest = check(folder)
    del arrays["state/limit_since"]
    write_part(folder, "run", state, arrays)
    seal(folder, manifest)
    again = resume(run.folder, steps=16_000, env=lambda: CountingEnv(250))
    assert again.error is None and int(read_part(newest(run.folder), "run")[1]["state/limit"][0]) == 300


def test_a_limit_ends_an_endless_episode_and_grows(tmp_path):
    limit = {"episode_limit": "adaptive:20,0.5,2", "evaluation_episodes": 2}
    run = search(tmp_path, Endless, steps=8 * (20 + 40 + 80), **limit)
    assert run.summary["steps"] == 8 * (20 + 40 + 80)
    assert int(read_part(newest(run.folder), "run")[1]["state/limit"][0]) == 160
    assert not any("evaluation" in note for note in run.notes)
    assert run.summary["evaluation_return"] == asyncrl.evaluate(run.folder, 1, env=Endless)["return_mean"]
    assert asyncrl.evaluate(run.folder, 1, env=Endless)["length_mean"] == evaluation_limit(160) == 10_000
    assert (evaluation_limit(0), evaluation_limit(2000), evaluation_limit(MOST)) == (0, 20_000, LONGEST_EPISODE)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"population": 7}, "even number"),
        ({"algo": "cma-es", "mode": "async"}, "needs a whole generation"),
        ({"algo": "nes", "kind": "xnes", "mode": "pipelined"}, "with xnes (allowed: sync: its update needs a whole generation"),
        *(
            ({"account": "arrival", "mode": mode}, f"account = arrival cannot be used in mode '{mode}' (allowed: dispatch; or mode async)")
            for mode in ("bounded:2", "sync", "sync@0,pipelined@50")
        ),
        ({"explore": "epsilon:0.1"}, "unknown exploration"),
        *(
            ({"explore": f"sigma:{text}"}, "allowed: numbers above 0, sigma:0.02,0.1, or a ladder of 2")
            for text in ("0", "0.1,", "0..1", "1..inf", "0.1..0.2/1", "0.1..0.2/x", "0.1..0.2..0.3", "0.1/3", "0.1..0.2/99999")
        ),
        ({"explore": "sigma:0.1,0.1"}, "the setting sigma:0.1+directions:gaussian is given twice"),
        ({"explore": "sigma:0.1..0.2/5"}, "5 exploration settings cannot be used with population = 8"),
        ({"explore": "sigma:0.1..0.2", "population": 2}, "2 exploration settings cannot be used with population = 2"),
        ({"explore": "directions:gausian"}, "did you mean 'gaussian'"),
        ({"sigma": -1.0}, "sigma = -1"),
        *(
            ({"episode_limit": text}, f"episode_limit = '{text}'")
            for text in ("soon", "_", "1__0", "0", "9" * 30, "adaptive:20,0.5", "adaptive:_,0.5,2", "adaptive:20,x,2")
        ),
        *(({"episode_limit": f"adaptive:{text}"}, "START") for text in ("nan,0.5,2", "inf,0.5,2", "20,nan,2", "20,0.5,inf", "20,0.5,1")),
        ({"population": 10**8}, "population = 100000000 cannot be used (allowed: whole numbers from 0 to 1,000,000)"),
        ({"max_lag": 10**8}, "max_lag = 100000000 cannot be used"),
        ({"max_lag": 10**6, "head": "mlp"}, "for max_lag = 1000000, "),
        ({"population": 10**6, "head": "mlp", "hidden": (500, 500)}, "for population = 1000000, "),
        ({"head": "liner"}, "linear"),
        ({"envs_per_worker": 2}, "envs_per_worker = 2"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, settings, line):
    run = search(tmp_path, "CartPole-v1", **{"steps": 100, **settings})
    assert line in str(run.error)
    assert "\n" not in str(run.error)
    assert list(tmp_path.iterdir()) == []


# --- learning ---


def action_of(run: Run) -> float:
    return float(read_part(newest(run.folder), "run")[1]["parameters"].sum())  # observations are of ones


@pytest.mark.slow
def test_async_has_no_bias_towards_short_episodes(tmp_path):
    """By order of dispatch it goes where sync goes; who takes what arrives first, and drops what is late, goes the wrong way."""
    settings: dict[str, Any] = {"steps": 1500, "normalize_observations": False, "weight_decay": 0.0, "learning_rate": 0.05}
    accounts: dict[str, dict[str, Any]] = {
        "sync": {"mode": "sync"},
        "dispatch": {"mode": "async"},
        "arrival": {"mode": "async", "account": "arrival", "late": "drop"},
    }
    reached: dict[str, list[float]] = {name: [] for name in accounts}
    for seed in range(3):
        for name, account in accounts.items():
            env = functools.partial(Cliff, 0.004)
            reached[name].append(action_of(search(tmp_path, env, workers=4, population=4, seed=seed, **settings, **account)))
    print(reached)
    sync, dispatch = (float(np.mean(reached[name])) for name in ("sync", "dispatch"))
    assert min(sync, dispatch) > 0.5 > min(reached["arrival"]), "how wrong arrival goes is chance, that it does for one of the seeds is not"
    assert abs(sync - dispatch) < 0.3


def test_what_is_left_out_is_told(tmp_path):
    """In the summary, in the metrics and, where it is much, in a line; versions that changed nothing are no updates."""
    run = search(tmp_path, "CartPole-v1", algo="ars", mode="pipelined", steps=3000, learning_rate=1.0)
    counts, versions = run.summary["counts"], run.column("rounds")[-1]
    assert counts["late_dropped"] == SMALL["population"] * counts["skipped_late"] > 0.3 * versions
    assert run.summary["skipped_updates"] == counts["skipped_late"] + counts["flat"] == versions - run.summary["updates"]
    assert any("came too late to be used" in note for note in run.notes) == (versions >= WASTE_UPDATES)
    # The last report lacks them where no version was made after the one before it.
    told = set().union(*(json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()))
    assert {"learn/late_dropped", "learn/missing", "learn/discarded", "learn/skipped_late"} <= told


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_async_does_not_wait_for_the_slowest(tmp_path, mode):
    """One episode does not end before the others have made three generations, or (sync) are all waiting for it."""
    held, generation = tmp_path / "held", SMALL["population"]
    held.touch()

    def evaluations(run: Run) -> float:
        return sum(run.column("rounds")[:-1])

    def release(run: Run) -> None:
        wait_for(lambda: run.launcher)
        try:
            wait_for((tmp_path / "begun").exists)
            if mode == "async":
                wait_for(lambda: evaluations(run) >= 3 * generation)
            else:
                wait_for(lambda: evaluations(run) == generation - 1)
                time.sleep(1.0)
                assert evaluations(run) == generation - 1, "sync waits"
        finally:
            held.unlink()

    run = search(tmp_path / "runs", lambda: OneIsHeld(held), release, mode=mode, workers=4, steps=1600)
    assert run.summary["status"] == "completed"
