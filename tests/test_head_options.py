"""A head's own options: shown, accepted and kept where the head is named, and refused elsewhere; for every head of the registry."""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
from environments import ContinuousTargetEnv
from tilted_head import TiltedHead, TiltedOptions

import asyncrl
from asyncrl import api
from asyncrl.algos import ALGORITHMS
from asyncrl.cli.main import main
from asyncrl.cli.parsing import option_names
from asyncrl.cli.train import experiment_type, train
from asyncrl.errors import UserError
from asyncrl.experiment.checks import check_experiment
from asyncrl.experiment.experiment import Experiment, RunOptions
from asyncrl.fields import Range, hints_of
from asyncrl.heads import HEADS
from asyncrl.heads.head import Head
from asyncrl.heads.implicit.options import ImplicitOptions, TwoTowerOptions
from asyncrl.heads.networks.compact import LAYERS
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.session.folder import read_experiment, write_experiment
from asyncrl.topologies.players import policy_of
from asyncrl.workers.plan import task_of

TESTED = {**HEADS, TiltedHead.name: TiltedHead}
UNDER = {Role.SEARCH: "es", Role.ACTOR_CRITIC: "a3c", Role.ACTION_VALUES: "q1", Role.REPLAY: "td3", Role.SOFT_REPLAY: "sac"}
CASES = [(name, field.name) for name, head in TESTED.items() for field in fields(head.options_type)]
every_option = pytest.mark.parametrize(("head", "option"), CASES)
ENV = "CartPole-v1"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(HEADS, TiltedHead.name, TiltedHead)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Experiments that were made, in place of runs."""
    made: list[Experiment] = []
    monkeypatch.setattr(api, "run", lambda experiment: made.append(experiment) or SimpleNamespace(status="completed"))
    monkeypatch.chdir(tmp_path)
    return made


def algo_of(head, option=""):
    """An algorithm that a head and one of its options go with: a search, if it can."""
    if option == "pair_steps":
        return "a3c"
    return next(algo for role, algo in UNDER.items() if role in TESTED[head].roles)


def another_value(kind: type[HeadOptions], option: str):
    """A value that is allowed and not the default."""
    (hint, allowed), default = hints_of(kind)[option], getattr(kind(), option)
    if typing.get_origin(hint) is Literal:
        return next(word for word in typing.get_args(hint) if word != default)
    if hint is bool:
        return not default
    if allowed is None:
        return "other"
    value = (default or 1) + 2 if allowed.whole else (default or 1.0) * 0.5
    assert isinstance(allowed, Range) and allowed.allows(value)
    return value


def words_of(option, value):
    dashed = option.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    return [f"--{dashed}", str(value)]


def refusal(call):
    with pytest.raises(UserError) as told:
        call()
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("head", TESTED)
def test_the_help_shows_the_options_of_the_head_that_is_named(capsys, head):
    own = set(option_names(TESTED[head].options_type)[0]) - {"--help"}
    assert main(["train", "es", "--head", head, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in own)
    of_heads = {option for other in TESTED.values() for option in option_names(other.options_type)[0]} - {"--help"}
    assert of_heads & set(option_names(experiment_type("es", head))[0]) == own


def test_the_help_names_the_heads_that_have_options(capsys):
    assert main(["train", "es", "--help"]) == 0
    assert "itt, iot, explicit, tilted" in " ".join(capsys.readouterr().out.replace("\u2502", " ").split())


@every_option
def test_an_option_is_accepted_and_kept(trained, tmp_path, head, option):
    algo, kind = algo_of(head, option), TESTED[head].options_type
    value = another_value(kind, option)
    assert main(["train", algo, ENV, "--head", head, *words_of(option, value)]) == 0
    asyncrl.train(algo, ENV, head=head, **{option: value})
    for made in trained:
        assert made.network.head_options == replace(kind(), **{option: value})
        assert type(made.network) is NetworkOptions
        check_experiment(made)
    write_experiment(tmp_path, trained[0], {})
    assert json.loads((tmp_path / "experiment.json").read_text())["settings"]["network"]["head_options"][option] == value
    assert read_experiment(tmp_path) == trained[0]


@every_option
def test_an_option_is_refused_with_every_other_head(head, option):
    having = [name for name, other in HEADS.items() if option in {field.name for field in fields(other.options_type)}]
    words = words_of(option, another_value(TESTED[head].options_type, option))
    for other in ("auto", *LAYERS, *(name for name in HEADS if name not in having)):
        for told in (
            refusal(lambda other=other: api.train("es", ENV, head=other, **{option: 1})),
            refusal(lambda other=other: train(["es", ENV, "--head", other, *words])),
        ):
            assert f"cannot be used with head {other!r}" in told and f"(it is an option of {', '.join(having)})" in told


@pytest.mark.parametrize("head", TESTED)
def test_options_have_names_of_their_own(head):
    """What a user names belongs to one owner: other heads' options may have the name, those of anything else may not."""
    taken = [Experiment, RunOptions, NetworkOptions, *(entry.options_type for entry in ALGORITHMS.values())]
    names = {field.name for kind in taken for field in fields(kind)}
    assert names.isdisjoint(field.name for field in fields(TESTED[head].options_type))


@pytest.mark.parametrize("head", ["auto", *LAYERS, *TESTED])
def test_an_experiment_has_the_defaults_of_its_head(head):
    kind = TESTED[head].options_type if head in TESTED else HeadOptions
    assert Experiment("es", ENV, head=head).network.head_options == kind()


@dataclass(frozen=True)
class OtherOptions(HeadOptions):
    latent: Annotated[float, Range(0, 1)] = 0.5
    """Another thing than that of itt."""


class OtherHead(TiltedHead):
    name = "other"
    options_type = OtherOptions


def test_two_heads_may_have_an_option_of_the_same_name(trained, monkeypatch):
    monkeypatch.setitem(HEADS, "other", OtherHead)
    for head, word in (("other", "0.25"), ("itt", "3")):
        assert main(["train", "es", ENV, "--head", head, "--latent", word]) == 0
    assert [made.network.head_options.latent for made in trained] == [0.25, 3]
    assert "(it is an option of itt, iot, explicit, other)" in refusal(lambda: api.train("es", ENV, latent=3))
    assert "latent = 3 cannot be used (allowed: finite numbers from 0 to 1)" in refusal(
        lambda: check_experiment(Experiment("es", ENV, head="other", network=NetworkOptions(head_options=OtherOptions(latent=3))))
    )


def test_auto_has_the_options_of_the_algorithms_own_head(trained, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "td3", replace(ALGORITHMS["td3"], head="tilted"))
    assert Experiment("td3", ENV).network.head_options == TiltedOptions()
    assert main(["train", "td3", ENV, "--tilt", "0.3"]) == 0
    assert trained[0].network.head_options == TiltedOptions(tilt=0.3)


@pytest.mark.parametrize("algo", ["a3c", "td3", "es"])
def test_options_reach_the_head_in_every_family(algo):
    network = NetworkOptions(head_options=TiltedOptions(tilt=0.4))
    task = task_of(Experiment(algo, ContinuousTargetEnv, head="tilted", network=network, workers=1))
    assert policy_of(task).head.chosen_options == TiltedOptions(tilt=0.4)


@pytest.mark.parametrize(("head", "given"), [("mlp", TwoTowerOptions()), ("iot", TwoTowerOptions()), ("itt", ImplicitOptions())])
def test_options_of_another_head_are_refused(head, given):
    experiment = Experiment("es", ENV, head=head, network=NetworkOptions(head_options=given))
    assert f"head_options of type {type(given).__name__} cannot be used with head {head!r}" in refusal(lambda: check_experiment(experiment))


# --- runs from before heads had options of their own ---

IMPLICIT = {field.name: field.default for field in fields(TwoTowerOptions)}
"""What `network.implicit` held in those runs, whatever the head."""


def made_old(folder: Path, **changed):
    """Rewrite experiment.json as such a run's: every head had the options of the implicit heads."""
    data = json.loads((folder / "experiment.json").read_text())
    given = data["settings"]["network"].pop("head_options")
    data["settings"]["network"]["implicit"] = {**IMPLICIT, **given, **changed}
    (folder / "experiment.json").write_text(json.dumps(data))


@pytest.mark.parametrize("head", ["auto", "mlp", "gaussian", "itt", "iot", "explicit"])
def test_an_old_run_is_read(tmp_path, head):
    given = {"itt": {"lazy": 3, "catalogue": [[1.0], [2.0]]}, "iot": {"set_size": 7}, "explicit": {"latent": 5}}.get(head, {})
    kind = HEADS[head].options_type if head in HEADS else HeadOptions
    experiment = Experiment("es", ENV, head=head, network=NetworkOptions(hidden=(8,), head_options=kind(**given)))
    write_experiment(tmp_path, experiment, {})
    made_old(tmp_path, **{} if head in ("itt", "iot") else {"set_size": 9})  # which explicit heads never read
    assert read_experiment(tmp_path) == experiment


def test_an_old_run_is_played_and_goes_on(tmp_path):
    given = {"head": "itt", "set_size": 20, "latent": 3, "encoding": "one-hot", "population": 4, "workers": 1, "steps": 200}
    result = asyncrl.train("es", ENV, runs=str(tmp_path), quiet=True, evaluation_episodes=0, **given)
    now = asyncrl.evaluate(result.folder, episodes=1)
    made_old(result.folder)
    assert asyncrl.evaluate(result.folder, episodes=1) == now
    assert asyncrl.play(result.folder, video=tmp_path / "run.gif")["episodes"] == 1
    resumed = asyncrl.resume(result.folder, steps=400, quiet=True)
    assert resumed.status == "completed" and resumed.summary["steps"] >= 400


def test_a_run_older_than_these_heads_is_read(tmp_path):
    write_experiment(tmp_path, Experiment("a3c", ENV), {})
    made_old(tmp_path)
    data = json.loads((tmp_path / "experiment.json").read_text())
    del data["settings"]["network"]["implicit"]
    (tmp_path / "experiment.json").write_text(json.dumps(data))
    assert read_experiment(tmp_path) == Experiment("a3c", ENV, workers=data["settings"]["workers"])


def test_a_head_says_nothing_where_it_has_no_options():
    assert Head.options_type is HeadOptions and not fields(HeadOptions)
    assert HeadOptions().lazy == "1"
