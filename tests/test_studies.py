"""Studies that are run: on the machine's cores, through interruptions and kills, to their report."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import asyncrl
from asyncrl.errors import UserError
from asyncrl.studies.comparison import Reach, tasks_of
from asyncrl.studies.files import study_of
from asyncrl.studies.results import age_of, results_of
from asyncrl.studies.running import run_trials
from asyncrl.studies.tables import reached
from asyncrl.studies.trials import cores_of, experiment_for

SMALL = {"algo": "a3c", "env": "CartPole-v1", "steps": 3000, "workers": 1, "evaluation_episodes": 0}


def run_small(folder: Path, **tables):
    tables = {"experiment": SMALL, "vary": {"mode": ["sync", "async"]}, "seeds": 2, **tables}
    return asyncrl.study(tables, folder, quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of two modes and two seeds, each twice."""
    folder = tmp_path_factory.mktemp("study") / "small"
    return run_small(folder, repeats=2, experiment={**SMALL, "diagnose": 5})


def test_every_run_is_there_and_is_what_train_makes(made, tmp_path):
    assert made.status == "completed"
    names = sorted(path.name for path in (made.folder / "runs").iterdir())
    repeats = ("", ",repeat=1")
    assert names == sorted(f"mode={mode},seed={seed}{repeat}" for mode in ("sync", "async") for seed in (0, 1) for repeat in repeats)
    given = {name: value for name, value in SMALL.items() if name not in ("algo", "env")}
    alone = asyncrl.train("a3c", "CartPole-v1", mode="sync", seed=1, runs=str(tmp_path), quiet=True, **given).summary
    summary = json.loads((made.folder / "runs" / "mode=sync,seed=1" / "summary.json").read_text())
    assert summary["return_mean_last_100"] == alone["return_mean_last_100"]
    assert summary["steps"] == sum(summary["steps_by_worker"]) == alone["steps"]


def test_sync_does_not_vary_over_repeats(made):
    rows = {row.variant: row for row in made.report.tasks[0].rows}
    assert rows["sync"].over_repeats == 0.0
    assert rows["sync"].over_seeds > 0.0
    assert rows["async"].over_repeats == 0.0  # one worker


def test_the_table_of_runs(made):
    with (made.folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {(row["mode"], row["seed"], row["repeat"]) for row in rows} == {(m, s, r) for m in ("sync", "async") for s in "01" for r in "01"}
    assert all(float(row["steps"]) >= 3000 and float(row["lag_max"]) == 0 for row in rows)
    reached = [row for row in rows if row["steps_to_threshold"]]
    assert reached  # the threshold lies nine tenths on the way to the baseline's last returns
    assert all(0 < float(row["steps_to_threshold"]) <= float(row["steps"]) and float(row["updates_to_threshold"]) > 0 for row in reached)


def test_what_age_does_has_a_table_of_its_own(made):
    """One worker is never late."""
    rows = made.report.tasks[0].rows
    assert [row.age["gradient_cosine"] for row in rows] == pytest.approx([1.0, 1.0])
    assert [row.age["parameter_drift"] for row in rows] == [0.0, 0.0]
    with (made.folder / "results.csv").open() as file:
        assert {row["parameter_drift"] for row in csv.DictReader(file)} == {"0.0"}
    if made.report.html is not None:
        assert "cosine of late and fresh gradient" in made.report.html.read_text()


def test_of_a_stream_lag_is_split_and_divergences_are_means_over_the_run():
    lag = {"mean": 2.0, "p50": 2.0, "p95": 4.0, "max": 5.0, "histogram": {"2": 1}}
    summary = {"diagnosis": {"lag_in_flight": {**lag, "mean": 0.5}, "lag_in_queue": lag, "worker_shares": [0.5, 0.5]}}
    entries = [{"learn/kl_acting": 0.1}, {"learn/kl_acting": 0.3, "learn/effective_samples": 0.9}, {"evaluation/return": 1.0}]
    told = {"lag_in_flight_mean": 0.5, "lag_in_flight_p95": 4.0, "lag_in_queue_mean": 2.0, "lag_in_queue_p95": 4.0}
    assert age_of(entries, summary) == {**told, "kl_acting": pytest.approx(0.2), "effective_samples": 0.9}


def test_the_report_needs_nothing_but_itself(made):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    page = made.report.html.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert {base64.b64decode(picture)[1:4] for picture in pictures} == {b"PNG"}
    assert len(pictures) == len(list((made.folder / "figures").iterdir())) == page.count("<figcaption>") >= 5
    assert page.count("4 runs of each variant") >= 3
    assert "8 of 8 runs" in page


def test_curves_for_tensorboard(made):
    folder = made.folder / "curves" / "a3c-on-CartPole-v1" / "sync"
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    assert {"return/mean", "return/mean_low", "return/mean_high", "return/by_updates"} <= {*tags}
    last = events.Scalars("return/mean")[-1]
    runs = [run for run in made.report.results if run.variant == "sync"]
    assert last.step == pytest.approx(min(run.curve["steps"][-1] for run in runs), abs=1)


def test_runs_that_are_done_are_kept(made):
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("summary.json")}
    again = asyncrl.study(made.folder, seeds=3, quiet=True)
    assert again.status == "completed"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(again.report.results) == 12


def test_a_study_of_an_earlier_version_goes_on(made, tmp_path):
    """Its runs do not name the options that have come since."""
    folder = tmp_path / "earlier"
    shutil.copytree(made.folder, folder)
    for path in folder.glob("runs/*/experiment.json"):
        data = json.loads(path.read_text())
        del data["settings"]["whole"], data["settings"]["run"]["engine"]
        path.write_text(json.dumps(data))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("summary.json")}
    assert asyncrl.study(folder, quiet=True).status == "completed"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_than_those_of_a_run_that_is_done_are_refused(made):
    with pytest.raises(UserError, match=r"was run with steps = 3000, the study has 4000 \(allowed: another --folder, or remove that run\)"):
        run_small(made.folder, experiment={**SMALL, "steps": 4000})


@pytest.mark.slow
def test_what_the_folder_does_not_have_is_made_and_what_was_begun_is_made_anew(made):
    (made.folder / "runs" / "mode=sync,seed=0" / "summary.json").unlink()
    again = asyncrl.study(made.folder, seeds=2, quiet=True)
    assert again.status == "completed"
    assert len(again.report.results) == 8


class Failing(gymnasium.Env):
    """Raises after some steps, where its seed says so."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fails: bool):
        self._fails, self._steps = fails, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self._steps += 1
        if self._fails and self._steps == 500:
            raise ValueError("the bearing broke")
        return np.zeros(2, np.float32), 1.0, self._steps % 20 == 0, False, {}


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path):
    vary = {"bearing": {"good": {"env_kwargs": {"fails": False}}, "bad": {"env_kwargs": {"fails": True}}}}
    result = run_small(tmp_path, experiment={**SMALL, "env": Failing}, vary=vary, seeds=2)
    assert result.status == "failed"
    assert list(result.failures) == ["bearing=bad,seed=0", "bearing=bad,seed=1"]
    assert all("the bearing broke" in problem for problem in result.failures.values())
    assert [run.trial.name for run in result.report.results] == ["bearing=good,seed=0", "bearing=good,seed=1"]


def started(folder: Path) -> subprocess.Popen:
    """A study from the command line, of a short run and one without end."""
    file = folder / "long.toml"
    file.write_text(
        """
        seeds = 1
        experiment = {algo = "a3c", env = "CartPole-v1", workers = 1, evaluation_episodes = 0, steps = 3000}
        vary = {mode = ["sync", "async"]}
        where = [{is = {mode = "async"}, set = {steps = 1_000_000_000}}]
        """
    )
    command = [sys.executable, "-m", "asyncrl", "study", str(file), "--folder", str(folder / "made"), "--cores", "1", "--yes"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def begin(folder: Path) -> subprocess.Popen:
    """The same, once the first is done and the second learns."""
    process = started(folder)
    metrics, deadline = folder / "made" / "runs" / "mode=async,seed=0" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and '"return/mean"' in metrics.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    return process


def processes_of(folder: Path) -> list[psutil.Process]:
    """Those whose files lie in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until_nothing_is_left(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.stress
def test_ctrl_c_ends_all_runs_and_nothing_is_left(tmp_path):
    process = begin(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_until_nothing_is_left(tmp_path)


@pytest.mark.stress
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_ctrl_c_before_a_run_has_begun_is_not_lost_and_no_failure(tmp_path, seconds):
    """The lane is loading libraries, or has just been given its run: the run without end would be waited for."""
    process, made = started(tmp_path), tmp_path / "made"
    while not (made / "log.txt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads((made / "failures.json").read_text()) == {}
    wait_until_nothing_is_left(tmp_path)


def test_an_environment_is_tried_with_its_own_arguments(tmp_path):
    """The estimate of days makes it once; that it needs an argument is no reason not to run."""
    (tmp_path / "failing.py").write_text("from test_studies import Failing as make\n")
    given = {**SMALL, "env": f"{tmp_path / 'failing.py'}:make", "env_kwargs": {"fails": False}, "steps": 10**12}
    with pytest.raises(UserError, match="whose environments alone take"):
        run_small(tmp_path / "made", experiment=given, vary={}, seeds=1)


@pytest.mark.stress
def test_a_study_that_is_killed_leaves_nothing_and_goes_on_where_it_was(tmp_path):
    process = begin(tmp_path)
    process.kill()
    process.communicate()
    wait_until_nothing_is_left(tmp_path)
    runs = tmp_path / "made" / "runs"
    first = (runs / "mode=sync,seed=0" / "summary.json").stat().st_mtime_ns
    again = run_small(tmp_path / "made", seeds=1)
    assert again.status == "completed"
    assert [run.trial.name for run in again.report.results] == ["mode=sync,seed=0", "mode=async,seed=0"]
    assert (runs / "mode=sync,seed=0" / "summary.json").stat().st_mtime_ns == first


@pytest.mark.stress
def test_a_lane_that_is_killed_loses_its_run_alone(tmp_path):
    made = study_of("small", {"experiment": SMALL, "seeds": 3})
    killed = []

    def kill_one(self, outcomes, names, left):
        lanes = [child for child in psutil.Process().children() if "asyncrl.studies.lanes" in child.cmdline()]
        if lanes and names and not killed:
            killed.append(lanes[0].pid)
            lanes[0].kill()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("asyncrl.studies.progress.Progress.show", kill_one)
        outcomes = run_trials(made, tmp_path, cores=1, quiet=True)
    assert outcomes.done == 2
    assert "signal SIGKILL" in next(iter(outcomes.failures.values()))


@pytest.mark.slow
def test_no_more_runs_at_once_than_there_are_cores_for(tmp_path):
    made = study_of("small", {"experiment": SMALL, "vary": {"workers": [1, 2]}, "seeds": 2})
    most = []

    def count(self, outcomes, names, left):
        most.append(sum(2 if "workers=2" in name else 1 for name in names))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("asyncrl.studies.progress.Progress.show", count)
        run_trials(made, tmp_path, cores=2, quiet=True)
    assert max(most) <= 2


def test_seconds_of_a_simulated_run_are_virtual_and_it_keeps_one_core_busy(tmp_path):
    simulated = {**SMALL, "mode": "async", "workers": 4, "t_max": 20, "simulate": "constant:1.0"}
    result = run_small(tmp_path, experiment=simulated, vary={}, seeds=1)
    run = result.report.results[0]
    assert run.rate == pytest.approx(80, rel=0.1)
    assert run.curve["seconds"][-1] == pytest.approx(3000 / 80, rel=0.2)
    assert cores_of(experiment_for(run.trial, tmp_path), 2) == 1


def test_seconds_of_an_easy_problem_are_not_zero():
    assert [reached(Reach.of([seconds]), "seconds") for seconds in (0.273, 42.16, 300.0)] == ["0.273 s", "42.2 s", "5 min"]


def test_a_threshold_that_is_not_reached_is_censored(made):
    report = {"threshold": {"CartPole-v1": 501}}
    study = study_of("small", {"experiment": SMALL, "vary": {"mode": ["sync", "async"]}, "seeds": 2, "report": report})
    task = tasks_of(study, results_of(study, made.folder))[0]
    assert task.given
    for row in task.rows:
        assert (row.steps_to.median, row.steps_to.reached, row.steps_to.runs) == (None, 0, 2)
        assert row.speed_up is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mods"], "unknown study 'mods'; did you mean 'modes'?"),
        (["modes", "--seeds", "0"], "seeds = 0 cannot be used"),
        (["modes", "--set", "env=CartPol-v1"], "CartPole-v1"),
        (["modes", "--set", "workers"], "set = 'workers' cannot be read"),
        (["modes", "--report"], "there is nothing to report"),
        (["modes", "--repot"], "unknown option '--repot'; did you mean '--report'?"),
    ],
)
def test_slips_on_the_command_line(words, said, tmp_path, monkeypatch, capsys):
    from asyncrl.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
