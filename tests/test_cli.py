"""The command line: options, one line for every mistake, exit codes, and a quick start."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from asyncrl import api
from asyncrl.actors.exploration import EXPLORATIONS
from asyncrl.algos import ALGORITHMS
from asyncrl.cli.listing import EXTRAS, Extra, extras
from asyncrl.cli.main import BENCHES, COMMANDS, main
from asyncrl.cli.parsing import option_names, whole_number, without_box
from asyncrl.cli.train import experiment_type
from asyncrl.errors import UserError, WorkerFailed
from asyncrl.experiment.checks import check_experiment, check_fields
from asyncrl.experiment.experiment import Experiment, RunOptions
from asyncrl.fields import hints_of
from asyncrl.heads import HEADS
from asyncrl.scheduler import MODES

TRAIN = ["train", "a3c", "CartPole-v1"]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Experiments that the command line made, in place of runs; paths are relative to an empty folder."""
    made: list[Experiment] = []

    def run(experiment: Experiment) -> SimpleNamespace:
        made.append(experiment)
        return SimpleNamespace(status="completed", folder=Path("runs/x"), summary={})

    monkeypatch.setattr(api, "run", run)
    monkeypatch.chdir(tmp_path)
    return made


def call(capsys, *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    code = main(list(args))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *args: str) -> str:
    """The one line that a command with bad input answers with."""
    code, out, err = call(capsys, *args)
    assert code == 2
    assert out == ""
    assert err.startswith("asyncrl: ")
    assert err.count("\n") == 1, err
    return err


def in_a_process(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "asyncrl", *args], cwd=folder, capture_output=True, text=True, timeout=60)


# --- what the options mean ---


def test_every_kind_of_option(trained, capsys):
    args = "--mode sync --workers 3 --envs-per-worker 2 --steps 5e5 --seconds 12.5 --seed 7 --head auto --runs out --name first"
    own = "--t-max 5 --learning_rate 3e-4 --optimizer adam --adam-betas 0.8 0.99 --normalize-observations --hidden 32,16 --activation relu"
    assert call(capsys, *TRAIN, *args.split(), *own.split())[0] == 0
    (made,) = trained
    assert type(made) is Experiment
    assert (made.algo, made.env, made.mode, made.workers, made.envs_per_worker) == ("a3c", "CartPole-v1", "sync", 3, 2)
    assert (made.steps, made.seconds, made.seed, made.run.runs, made.run.name) == (500_000, 12.5, 7, "out", "first")
    assert type(made.steps) is int
    assert (made.options.t_max, made.options.learning_rate, made.options.optimizer) == (5, 3e-4, "adam")
    assert made.options.adam_betas == (0.8, 0.99)
    assert made.options.normalize_observations is True
    assert (made.network.hidden, made.network.activation) == ((32, 16), "relu")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_defaults_are_those_of_the_experiment(trained, capsys, algo):
    assert call(capsys, "train", algo, "CartPole-v1")[0] == 0
    entry = ALGORITHMS[algo]
    assert trained == [Experiment(algo, "CartPole-v1", mode=entry.default_mode, options=entry.options_type())]


@pytest.mark.parametrize(
    ("args", "on"), [("--version v1", False), ("--version v1 --no-normalize-observations", False), ("--normalize-observations", True)]
)
def test_versions_of_ars(trained, capsys, args, on):
    assert call(capsys, "train", "ars", "CartPole-v1", *args.split())[0] == 0
    assert trained[0].options.normalize_observations is on


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_what_tyro_remembers_of_one_option_it_never_takes_for_another(trained, algo, monkeypatch):
    """It takes False and 0.0 for one default of one type, and under pytest looks now and then whether it did: here each time."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    for _ in range(2):
        assert main(["train", algo, "CartPole-v1"]) == 0


def test_a2c_is_a3c_in_sync():
    assert ALGORITHMS["a2c"].default_mode == "sync"
    assert ALGORITHMS["a3c"].default_mode == "async"


def test_the_algorithm_may_come_after_options(trained, capsys):
    assert call(capsys, "train", "--seed", "3", "a3c", "CartPole-v1", "--hidden", "8", "8")[0] == 0
    assert (trained[0].algo, trained[0].env, trained[0].seed, trained[0].network.hidden) == ("a3c", "CartPole-v1", 3, (8, 8))


@pytest.mark.parametrize(("text", "value"), [("500000", 500_000), ("500_000", 500_000), ("5e5", 500_000), ("-3", -3), ("1e3", 1000)])
def test_whole_numbers(text, value):
    assert whole_number(text) == value


@pytest.mark.parametrize("text", ["1.5", "x", "", "inf", "nan", "5e-1"])
def test_what_is_not_a_whole_number(text):
    with pytest.raises(ValueError, match="whole number"):
        whole_number(text)


# --- mistakes ---


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ("", ["command is missing", "train"]),
        ("trian", ["unknown command 'trian'", "did you mean 'train'"]),
        ("train", ["missing", "ALGO ENV", "a3c"]),
        ("train a3d CartPole-v1", ["unknown algorithm 'a3d'", "did you mean 'a3c'", "a2c"]),
        ("train a3c", ["ENV"]),
        ("train a3c --seed 3", ["ENV"]),
        ("train a3c --env CartPole-v1", ["'--env'", "usage: asyncrl train a3c ENV"]),
        ("train a3c CartPole-v1 Pendulum-v1", ["unexpected argument 'Pendulum-v1'"]),
        ("train a3c CartPole-v1 --lerning-rate 1", ["unknown option '--lerning-rate'", "did you mean '--learning-rate'"]),
        ("train a3c --lerning-rate CartPole-v1", ["unknown option '--lerning-rate'"]),
        ("train a3c CartPole-v1 -seed 1", ["unknown option '-seed'", "did you mean '--seed'"]),
        ("train a3c CartPole-v1 --t-max", ["--t-max", "Missing value"]),
        ("train a3c CartPole-v1 --t-max five", ["--t-max", "'five' is not a whole number"]),
        ("train a3c CartPole-v1 --gamma high", ["--gamma", "'high' is not a number"]),
        ("train a3c CartPole-v1 --hidden 64,x", ["--hidden", "'x' is not a whole number"]),
        ("train a3c CartPole-v1 --optimizer adm", ["--optimizer", "'adm'", "did you mean 'adam'", "rmsprop"]),
        ("train a3c CartPole-v1 --quiet=3", ["unexpected argument '3'"]),
        ("train a3c CartPole-v1 --workers 0", ["workers = 0", "from 1"]),
        ("train a3c CartPole-v1 --workers -2", ["workers = -2", "from 1"]),
        ("train a3c CartPole-v1 --envs-per-worker 0", ["envs_per_worker = 0"]),
        ("train a3c CartPole-v1 --steps 19", ["steps = 19", "t_max = 20"]),
        ("train a3c CartPole-v1 --seed -1", ["seed = -1", "from 0"]),
        ("train a3c CartPole-v1 --gamma 1.5", ["gamma = 1.5", "from 0 to 1"]),
        ("train a3c CartPole-v1 --gamma nan", ["gamma = nan", "finite"]),
        ("train a3c CartPole-v1 --learning-rate 0", ["learning_rate = 0", "above 0"]),
        ("train a3c CartPole-v1 --learning-rate -inf", ["learning_rate = -inf", "finite"]),
        ("train a3c CartPole-v1 --hidden 64 0", ["hidden", "contains 0"]),
        ("train a3c CartPole-v1 --seconds 0", ["seconds = 0", "above 0"]),
        ("train a3c CartPole-v1 --adam-betas 0.9 1", ["adam_betas", "below 1"]),
        ("train ars CartPole-v1 --version v1 --normalize-observations", ["normalize_observations = True", "version = v1"]),
        ("train a3c CartPole-v1 --name a/b", ["'a/b'", "slashes"]),
        ("train a3c CartPole-v1 --name ..", ["'..'"]),
        ("resume", ["RUN"]),
        ("resume here --steps 0", ["steps = 0"]),
        (f"resume {__file__}", ["is not a run's folder"]),
        ("evaluate here --episodes 0", ["episodes = 0"]),
        ("evaluate here --episods 3", ["did you mean '--episodes'"]),
        ("evaluate here --json no/such/folder.json", ["no/such/folder.json", "writable"]),
        ("play here --video .", ["'.'"]),
        ("bench", ["missing", "throughput"]),
        ("bench thruput CartPole-v1", ["did you mean 'throughput'"]),
        ("bench throughput CartPole-v1 --seconds 0", ["seconds = 0"]),
        ("bench throughput CartPole-v1 --workers 0", ["workers = 0"]),
        ("bench throughput CartPole-v1 --t-max 5,0", ["t_max = 0"]),
        ("bench queues --messages 0", ["messages = 0"]),
        ("list all", ["unexpected argument 'all'"]),
    ],
)
def test_a_mistake_takes_one_line(trained, capsys, args, parts):
    line = refused(capsys, *args.split())
    for part in parts:
        assert part in line
    assert trained == []
    assert list(Path().iterdir()) == [], "nothing may be left behind"


@pytest.mark.parametrize(
    "mode",
    ["bounded:-1", "asink", "bounded:x", f"bounded:{10**13}", "sync@5", "", *(f"sync@0;async@{step}" for step in ("_", "1__0", 10**20))],
)
def test_a_wrong_mode(trained, capsys, mode):
    refused(capsys, *TRAIN, "--mode", mode.replace(";", ","))
    refused(capsys, "bench", "throughput", "CartPole-v1", "--only", f"a3c:{mode}")
    assert trained == []


def test_a_wrong_selection_of_the_benchmark(trained, capsys):
    assert "'sync'" in refused(capsys, "bench", "throughput", "CartPole-v1", "--only", "sync")
    assert "did you mean 'a3c'" in refused(capsys, "bench", "throughput", "CartPole-v1", "--only", "a3x:sync")


def test_an_existing_run_is_refused(trained, capsys):
    Path("runs/mine").mkdir(parents=True)
    assert "exists already" in refused(capsys, *TRAIN, "--name", "mine")
    assert call(capsys, *TRAIN, "--name", "other")[0] == 0


@pytest.mark.parametrize("runs", ["file", "file/below"])
def test_runs_that_cannot_be_a_folder(trained, capsys, runs):
    Path("file").touch()
    assert "not a folder" in refused(capsys, *TRAIN, "--runs", runs)


def test_an_unwritable_folder(trained, capsys, monkeypatch):
    # For root, every folder is writable: only the question to the system is replaced.
    monkeypatch.setattr("asyncrl.experiment.checks.os.access", lambda path, mode: False)
    assert "not writable" in refused(capsys, *TRAIN, "--runs", "out/there")


def test_wrong_values_from_python():
    for wrong in (
        {"workers": "4"},
        {"workers": 2.0},
        {"workers": True},
        {"steps": None},
        {"steps": 5e5},
        {"steps": 10**400},
        {"workers": (2, 2)},
        {"seconds": np.ones(2)},
        {"head": None},
        {"mode": None},
        {"explore": 0.1},
        {"network_function": 3},
        {"run": RunOptions(max_failures=0)},
    ):
        with pytest.raises(UserError, match=r"cannot be used \(allowed: "):
            check_experiment(Experiment("a3c", "CartPole-v1", **wrong))
    options = ALGORITHMS["a3c"].options_type
    betas = ({"adam_betas": given} for given in (0.9, (0.9,), (0.9,) * 3))
    for wrong in ({"normalize_observations": "no"}, {"amsgrad": 1}, *betas):
        with pytest.raises(UserError, match=rf"{next(iter(wrong))} = .* cannot be used \(allowed: (True, False|2 numbers)\)"):
            check_fields(options(**wrong))
    with pytest.raises(UserError, match="unknown optimizer 'adm'; did you mean 'adam'"):
        check_fields(options(optimizer="adm"))


# --- how it ends ---


@pytest.mark.parametrize(
    ("outcome", "code", "text"),
    [
        ("interrupted", 130, ""),
        ("failed", 1, ""),
        (KeyboardInterrupt(), 130, "asyncrl: interrupted\n"),
        (WorkerFailed("worker 3 failed\nTraceback ..."), 1, "asyncrl: worker 3 failed\nTraceback ...\n"),
        (UserError("no"), 2, "asyncrl: no\n"),
    ],
)
def test_exit_codes(trained, capsys, monkeypatch, outcome, code, text):
    def run(experiment: Experiment) -> SimpleNamespace:
        if isinstance(outcome, BaseException):
            raise outcome
        return SimpleNamespace(status=outcome)

    monkeypatch.setattr(api, "run", run)
    assert call(capsys, *TRAIN) == (code, "", text)


def test_a_bug_of_ours_keeps_its_traceback(trained, monkeypatch):
    def run(experiment: Experiment) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api, "run", run)
    with pytest.raises(ZeroDivisionError):
        main(TRAIN)


def test_evaluate_prints_a_line_and_writes_json(trained, capsys, monkeypatch):
    result = {"return_mean": 487.25, "return_std": 12.5, "episodes": 4, "length_mean": 487.25, "returns": [500.0, 474.5]}
    asked = []

    def evaluate(run: str, episodes: int, seed: int, **more: typing.Any) -> dict:
        asked.append((run, episodes, seed, more))
        return result

    monkeypatch.setitem(sys.modules, "asyncrl.api", SimpleNamespace(evaluate=evaluate))
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/experiment.json").touch()
    code, out, err = call(capsys, "evaluate", "runs/mine", "--episodes", "4", "--json", "result.json")
    assert (code, err, asked) == (0, "", [("runs/mine", 4, 0, {"env": None, "trust": False, "simulator": "auto"})])
    assert out == "return 487.25, deviation 12.5, episodes 4, length 487.25\n"
    assert json.loads(Path("result.json").read_text()) == result


# --- help ---


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_help_shows_every_option_with_its_default(capsys, algo):
    code, out, err = call(capsys, "train", algo, "--help")
    assert (code, err) == (0, "")
    options, positional = option_names(experiment_type(algo))
    assert positional == ["env"]
    assert {"--hidden", "--name", "--mode", "--quiet"} <= set(options)
    for option in options:
        assert option in out
    assert out.count("(default:") >= len([option for option in options if not option.startswith("--no-")]) - 1


@pytest.mark.parametrize(
    ("algo", "example", "other"),
    [
        ("es", "sigma:0.02,0.1", "entropy:"),
        ("q1", "epsilon:0.1", "entropy:"),
        ("td3", "gaussian:0.1", "entropy:"),
        ("a3c", "entropy:", "sigma:"),
    ],
)
def test_help_of_exploration_is_the_algorithms(capsys, algo, example, other):
    out = call(capsys, "train", algo, "--help")[1]
    assert example in out and other not in out


@pytest.mark.parametrize("command", ["", *COMMANDS, *(f"bench {name}" for name in BENCHES)])
def test_help_of_every_command(capsys, command):
    code, out, err = call(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert "usage: asyncrl" in out


def test_every_number_of_an_experiment_has_a_range():
    parts = [Experiment, *(hint for hint in typing.get_type_hints(Experiment).values() if dataclasses.is_dataclass(hint))]
    parts += [entry.options_type for entry in ALGORITHMS.values()] + [head.options_type for head in HEADS.values()]
    hints = {(part.__name__, name): both for part in parts for name, both in hints_of(part).items()}
    numbers = [field for field, (hint, _) in hints.items() if {int, float} & ({hint} | set(typing.get_args(hint)))]
    assert len(numbers) > 100
    assert [field for field in numbers if hints[field][1] is None] == []


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_options_are_the_algorithms_own(algo):
    entry = ALGORITHMS[algo]
    experiment = Experiment(algo, "CartPole-v1", mode=entry.default_mode)
    assert experiment.options == entry.options_type()
    check_experiment(experiment)
    other = "es" if algo != "es" else "td3"
    wrong = dataclasses.replace(experiment, options=ALGORITHMS[other].options_type())
    with pytest.raises(UserError, match=rf"^options of type \w+ cannot be used with {algo} \(allowed: {entry.options_type.__name__}\)$"):
        check_experiment(wrong)


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("╭─ Value error ───╮\n│ Error parsing --x: 'a' is │\n│ wrong │\n│ ──── │\n│ more │\n╰────╯\n", "--x: 'a' is wrong"),
        (" Value error \n ----- \n  Error parsing --x: 'a' is \n  wrong \n ---- \n  more \n", "--x: 'a' is wrong"),
        ("\x1b[31mplain text\x1b[0m\nin two lines", "plain text in two lines"),
        ("", "the arguments cannot be understood"),
    ],
)
def test_a_box_becomes_a_line(printed, line):
    assert without_box(printed) == line


# --- as a user calls it ---


@pytest.mark.parametrize("args", ["train a3c CartPole-v1 --workers 0", "train a3c CartPole-v1 --t-max x", "nothing"])
def test_a_process_with_bad_input(tmp_path, args):
    done = in_a_process(tmp_path, *args.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("asyncrl: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_run(tmp_path):
    done = in_a_process(tmp_path, "resume", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version(tmp_path):
    assert in_a_process(tmp_path, "--version").stdout.startswith("asyncrl ")


def test_list_in_a_process(tmp_path):
    done = in_a_process(tmp_path, "list")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("a3c", "a2c", "async", "bounded", "entropy", "categorical", "gaussian", "CartPole-v1", "HalfCheetah-v5"):
        assert part in done.stdout
    for parts in (ALGORITHMS, MODES, HEADS, EXPLORATIONS):
        assert all(name in done.stdout and part.description in done.stdout for name, part in parts.items())
    assert f"environments, {len(gymnasium.registry)}" in done.stdout
    assert "asyncrl/MiningExpedition-v0" in done.stdout
    assert all(extra.brings in done.stdout for extra in EXTRAS.values())


def test_listed_extras_are_those_that_pip_knows(monkeypatch):
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) <= set(project["optional-dependencies"])
    monkeypatch.setitem(EXTRAS, "box2d", Extra("no_such_module", "LunarLander-v3"))
    monkeypatch.setitem(EXTRAS, "adroit", Extra("json", "Hands"))
    assert {("box2d", "pip install 'asyncrl[box2d]': LunarLander-v3"), ("adroit", "installed: Hands")} <= set(extras())


QUICK = [
    "--help",
    "list",
    "train a3c --help",
    "train td3 --head savo --help",
    "train a3x CartPole-v1",
    "train a3c CartPol-v1",
    "train a3c CartPole-v1 --workers 0",
    "train a3c CartPole-v1 --steps many",
    "train a3c CartPole-v1 --stepz 1",
    "evaluate nowhere",
]


@pytest.mark.parametrize("args", QUICK)
def test_a_quick_start(tmp_path, args):
    """Nothing that takes a moment to load is loaded for help and lists, nor to refuse a name or a number."""
    code = f"import sys\nfrom asyncrl.cli.main import main\nmain({args.split()!r})\nprint(*sys.modules, sep=chr(10), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    loaded = set(done.stderr.split("\n"))
    assert "tyro" in loaded
    assert loaded.isdisjoint({"torch", "tensorboard", "mujoco", "numba", "scipy"})
    assert args != "--help" or loaded.isdisjoint({"numpy", "gymnasium"})
