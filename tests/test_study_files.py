"""Studies as files describe them: their runs, and one line for what cannot be used, before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncrl.errors import UserError
from asyncrl.studies.files import read_study, ready_studies, study_of
from asyncrl.studies.forecast import duration
from asyncrl.studies.making import study
from asyncrl.studies.running import check_trials

SMALL = {"algo": "a3c", "env": "CartPole-v1", "steps": 1000, "workers": 1}


def of(**tables):
    return study_of("small", {"experiment": SMALL, **tables})


def test_every_combination_is_run_with_seeds_on_the_outside():
    made = of(seeds=2, vary={"mode": ["sync", "async"], "t_max": [5, 20]})
    names = [trial.name for trial in made.trials()]
    assert names == [f"mode={mode},t_max={t_max},seed={seed}" for seed in (0, 1) for mode in ("sync", "async") for t_max in (5, 20)]
    assert made.trials()[3].settings == {**SMALL, "mode": "async", "t_max": 20}


def test_a_value_can_be_several_settings_and_a_rule_holds_where_its_conditions_do():
    made = of(
        seeds=[7],
        vary={"step": {"small": {"optimizer": "sgd", "learning_rate": 0.01}, "usual": {}}, "env": ["CartPole-v1", "Acrobot-v1"]},
        where=[{"is": {"env": "Acrobot-v1"}, "set": {"steps": 3000}}],
    )
    by_name = {trial.name: trial.settings for trial in made.trials()}
    changed = {"env": "Acrobot-v1", "steps": 3000, "optimizer": "sgd", "learning_rate": 0.01}
    assert by_name["step=small,env=Acrobot-v1,seed=7"] == {**SMALL, **changed}
    assert by_name["step=usual,env=CartPole-v1,seed=7"] == SMALL


def test_repeats_are_runs_of_one_seed():
    assert [trial.name for trial in of(seeds=1, repeats=3).trials()] == ["seed=0", "seed=0,repeat=1", "seed=0,repeat=2"]


def test_what_is_written_describes_the_same_study():
    made = of(seeds=[3, 1], repeats=2, vary={"mode": ["sync", "bounded:1"]}, report={"threshold": {"CartPole-v1": 400}})
    assert study_of("small", made.described()) == made


OF_THE_REPOSITORY = [str(path) for path in sorted((Path(__file__).parent.parent / "runs" / "studies").glob("*.toml"))]


@pytest.mark.parametrize("name", [*ready_studies(), *OF_THE_REPOSITORY], ids=lambda name: Path(name).name)
def test_every_study_that_is_there_can_be_run(name, tmp_path):
    made = read_study(name)
    assert made.title
    assert len(check_trials(made, tmp_path)) > 1


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"sedes": 3}, "unknown key 'sedes'; did you mean 'seeds'?"),
        ({"seeds": 0}, "seeds = 0 cannot be used (allowed: whole numbers from 1)"),
        ({"seeds": [1, 1]}, "a list of different ones from 0"),
        ({"seeds": "5"}, "seeds = '5' cannot be used (allowed: a whole number or a list)"),
        ({"repeats": True}, "repeats = True cannot be used"),
        ({"vary": {"mode": []}}, "axis 'mode' = [] has no values"),
        ({"vary": {"seed": [1, 2]}}, "'seed' cannot be an axis (allowed: seeds = ...)"),
        ({"vary": {"lr": {"a": 1}}}, "axis 'lr' = {'a': 1} has no values"),
        ({"where": [{"is": {"mode": "sync"}}]}, "a [[where]] has is = {...} and set = {...}"),
        ({"where": [{"is": {"evn": "x"}, "set": {}}]}, "asks for 'evn', which no run sets; did you mean 'env'?"),
        ({"report": {"treshold": {}}}, "unknown key of [report] 'treshold'; did you mean 'threshold'?"),
        ({"report": {"measure": "trianing"}}, "unknown measure 'trianing'; did you mean 'training'?"),
        ({"report": {"threshold": 3}}, "threshold = 3 cannot be used"),
        ({"report": {"baseline": {"mode": "sync"}}}, "unknown axis of the baseline 'mode'"),
        ({"vary": {"mode": ["sync", "async"]}, "report": {"baseline": {"mode": "snyc"}}}, "'snyc'; did you mean 'sync'?"),
        ({"experiment": {**SMALL, "seed": 1}}, "seed cannot be set (seeds = ... above [experiment])"),
        ({"experiment": {"algo": "a3c"}}, "has no env"),
    ],
)
def test_what_no_study_can_have(tables, said):
    with pytest.raises(UserError) as caught:
        of(**tables)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"worker": [1, 2]}, "run worker=1,seed=0: unknown setting 'worker'; did you mean 'workers'?"),
        ({"mode": ["sync", "asynk"]}, "run mode=asynk,seed=0: unknown mode 'asynk'; did you mean 'async'?"),
        ({"env": ["CartPole-v1", "CartPol-v1"]}, "CartPole-v1"),
        ({"steps": [1000, 0]}, "run steps=0,seed=0: steps = 0 cannot be used"),
        ({"mode": ["bounded:1", "bounded-1"]}, "two values of the study have one name"),
    ],
)
def test_a_value_that_no_run_can_have_is_told_before_any_run(vary, said, tmp_path):
    with pytest.raises(UserError) as caught:
        study({"experiment": SMALL, "vary": vary, "seeds": 1}, tmp_path / "folder", quiet=True)
    assert said in str(caught.value)
    assert not (tmp_path / "folder").exists()


def test_files_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("[experiment\n")
    for given, said in {
        "mods": "unknown study 'mods'; did you mean 'modes'?",
        "no/such.toml": "there is no study 'no/such.toml'",
        "broken.toml": "study 'broken.toml' cannot be read",
        ".": "is not a study's folder: there is no study.json in it",
    }.items():
        with pytest.raises(UserError, match=said.replace("?", r"\?")):
            study(given, quiet=True)


def test_what_takes_days_wants_a_word(tmp_path):
    with pytest.raises(UserError, match=r"whose environments alone take \d+ days .* \(allowed: --yes"):
        study({"experiment": {**SMALL, "steps": 10**12}, "seeds": 2}, tmp_path / "folder", quiet=True)
    assert not (tmp_path / "folder").exists()


def test_an_axis_that_is_set_to_one_value_is_none_any_more(tmp_path):
    with pytest.raises(UserError, match="run seed=0: steps = 0"):
        study("workers", tmp_path / "folder", seeds=1, changes={"mode": "async", "workers": 2, "steps": 0}, quiet=True)


@pytest.mark.parametrize(("seconds", "said"), [(50, "50 s"), (720, "12 min"), (12_000, "3 h 20 min"), (183_600, "2 days 3 h")])
def test_durations(seconds, said):
    assert duration(seconds) == said
