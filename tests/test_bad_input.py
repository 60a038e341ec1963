"""Bad input: one clear line, exit code 2, and nothing left behind - no run folder, no process, no hang."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import pytest
from environments import ContinuousTargetEnv, CountingEnv, NaNEnv, RaisingEnv, WrongShapeEnv

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.cli.main import main
from asyncrl.errors import AsyncrlError, UserError, WorkerFailed
from asyncrl.shared import arrays

SMALL = {"workers": 2, "steps": 400, "quiet": True, "evaluation_episodes": 0}


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """Every test of this file runs in an empty folder, which is empty afterwards too; no worker lives on."""
    monkeypatch.chdir(tmp_path)
    yield
    assert ours() == []


def ours() -> list[str]:
    """Processes of this one's beside those that serve Python itself: the fork server and the tracker of resources."""
    servers = ("forkserver", "resource_tracker")
    found = []
    for child in psutil.Process().children():
        line = " ".join(child.cmdline())
        if not any(name in line for name in servers):
            found.append(line)
        elif "forkserver" in line:
            found += [" ".join(grandchild.cmdline()) for grandchild in child.children() if grandchild.status() != psutil.STATUS_ZOMBIE]
    return found


def refused(env: Any, kind: type[AsyncrlError] = UserError, **settings: Any) -> str:
    """What training refuses with, from Python; the first line is what matters, a traceback may follow."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        asyncrl.train("a3c", env, **{**SMALL, **settings})
    assert time.monotonic() - began < 30.0
    assert not list(Path().rglob("experiment.json")), "no run folder may be left"
    return str(caught.value)


def command(capsys: Any, *args: str) -> str:
    """The one line that a command answers with."""
    code = main(list(args))
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith("asyncrl: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def in_a_process(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command as the user gives it, in the present folder."""
    return subprocess.run([sys.executable, "-m", "asyncrl", *args], capture_output=True, text=True, timeout=90, **more)


# --- names and numbers ---


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ("train a3x CartPole-v1", ["unknown algorithm 'a3x'", "did you mean 'a3c'", "allowed: a3c, a2c"]),
        ("train zzz CartPole-v1", ["unknown algorithm 'zzz'", "allowed: a3c", *ALGORITHMS]),
        ("train CartPole-v1 a3c", ["'CartPole-v1' is no algorithm", "the algorithm comes first"]),
        ("train CartPole-v1 --name a3c", ["unknown algorithm 'CartPole-v1'"]),
        ("train q1 CartPole-v1 --trunk shared", ["'--trunk' cannot be used with q1"]),
        ("train es CartPole-v1 --envs-per-worker 2", ["'--envs-per-worker' cannot be used with es"]),
        ("train a3c CartPole-v9", ["unknown environment 'CartPole-v9'", "did you mean 'CartPole-v1'"]),
        ("train a3c Cartpol-v1", ["unknown environment 'Cartpol-v1'", "did you mean 'CartPole-v1'"]),
        ("train a3c nowhere:Env-v0", ["there is no module named 'nowhere'"]),
        ("train a3c CartPole-v1 --head categorial", ["unknown head 'categorial'", "did you mean 'categorical'", "gaussian"]),
        ("train a3c Pendulum-v1 --head categorical", ["categorical", "Discrete", "Box"]),
        ("train a3c CartPole-v1 --head gaussian", ["'gaussian' needs Box actions", "use 'categorical'"]),
        ("train a3c CartPole-v1 --mode asyn", ["unknown mode 'asyn'", "did you mean 'async'", "sync, pipelined, bounded:K, async"]),
        ("train a3c CartPole-v1 --mode bounded:-1", ["'bounded:-1'", ">= 0"]),
        ("train a3c CartPole-v1 --mode bounded", ["'bounded'", "bounded:2"]),
        ("train a3c CartPole-v1 --mode async@5,sync@9", ["begin with 0"]),
        ("train a3c CartPole-v1 --explore entrop:0.1", ["unknown exploration 'entrop'", "did you mean 'entropy'"]),
        ("train a3c CartPole-v1 --explore ou:0.1", ["ou:0.1", "needs Box actions"]),
        ("train a3c CartPole-v1 --explore epsilon:2", ["epsilon:2", "between 0 and 1"]),
        ("train a3c CartPole-v1 --explore epsilon", ["'epsilon' can't be read"]),
        ("train a3c Pendulum-v1 --initial-log-std 3", ["initial_log_std = 3", "from -5 to 2"]),
        ("train npg Pendulum-v1 --initial-log-std -5.5", ["initial_log_std = -5.5", "from -5 to 2"]),
        ("train a3c CartPole-v1 --workers 0", ["workers = 0", "from 1"]),
        ("train a3c CartPole-v1 --workers -1", ["workers = -1", "from 1"]),
        ("train a3c CartPole-v1 --workers 5000", ["workers = 5000"]),
        ("train a3c CartPole-v1 --steps 4 --t-max 5", ["steps = 4", "t_max = 5"]),
        ("train a3c CartPole-v1 --runs /proc/here", ["/proc/here", "can't be made"]),
        ("resume nowhere", ["nowhere"]),
        ("evaluate nowhere", ["nowhere"]),
        ("play nowhere --video a.gif", ["nowhere"]),
    ],
)
def test_one_line(capsys, args, parts):
    line = command(capsys, *args.split())
    for part in parts:
        assert part in line
    assert list(Path().iterdir()) == []


def test_an_existing_run_folder(capsys):
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/note.txt").write_text("keep me")
    assert "exists already" in command(capsys, "train", "a3c", "CartPole-v1", "--name", "mine")
    assert Path("runs/mine/note.txt").read_text() == "keep me"


def test_a_run_folder_that_appears_meanwhile(monkeypatch):
    """Two commands with one name at a time: the second must not take, nor remove, the first one's folder."""
    monkeypatch.setattr("asyncrl.session.session.check_experiment", lambda experiment, new: None)
    Path("runs/mine").mkdir(parents=True)
    assert "exists already" in refused("CartPole-v1", name="mine")
    assert Path("runs/mine").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody without rights")
def test_an_unwritable_run_folder(tmp_path):
    from asyncrl.experiment.checks import check_run_folder

    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    tmp_path.chmod(0o755)

    def ask() -> int:
        os.setuid(65534)
        try:
            check_run_folder(locked / "runs", None)
        except UserError as error:
            return 7 if "not writable" in str(error) else 8
        return 9

    child = os.fork()
    if child == 0:
        os._exit(ask())
    # The folders above belong to the user of the tests; where they are closed, the answer is another one.
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# --- environments ---


def test_an_environment_that_raises_in_the_first_reset():
    text = refused(lambda: RaisingEnv(0, in_reset=True))
    first = text.splitlines()[0]
    assert "RuntimeError" in first
    assert "raised in reset after 0 steps" in first
    assert "environments.py" in text, "the traceback says where"


def raises_when_it_is_made():
    raise RuntimeError("no licence")


class WithoutASpace(CountingEnv):
    """Forgets one of its two spaces."""

    def __init__(self, which: str) -> None:
        super().__init__()
        delattr(self, which)


def test_an_environment_that_raises_when_it_is_made():
    first, *trace = refused(raises_when_it_is_made).splitlines()
    assert first.startswith("environment 'raises_when_it_is_made' cannot be made: RuntimeError: no licence (")
    assert f"{__file__}:" in first
    assert trace[0].startswith("Traceback")
    assert not any("asyncrl/envs/make.py" in line for line in trace), "the frames are those of the user's code"


@pytest.mark.parametrize("which", ["observation_space", "action_space"])
def test_an_environment_without_a_space(which):
    text = refused(lambda: WithoutASpace(which))
    assert f"has no {which}" in text
    assert "__init__ of WithoutASpace" in text
    assert "\n" not in text


def test_a_function_that_needs_an_argument():
    def made(size):
        return CountingEnv()

    text = refused(made)
    for part in ("needs 'size'", __file__, "env_kwargs={'size': ...}"):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": "1000"}, "steps = '1000' cannot be used (allowed: whole numbers"),
        ({"gamma": "0.9"}, "gamma = '0.9' cannot be used (allowed: finite numbers"),
        ({"hidden": ("64", 64)}, "contains '64' cannot be used"),
    ],
)
def test_a_number_given_as_text(settings, said):
    text = refused("CartPole-v1", **settings)
    assert said in text
    assert "\n" not in text


def test_numbers_of_other_calls_given_as_text():
    for call in (asyncrl.evaluate, asyncrl.play):
        with pytest.raises(UserError, match="episodes = '3' cannot be used"):
            call("nowhere", episodes="3")


def test_algorithm_and_environment_in_the_wrong_order():
    with pytest.raises(UserError, match="the algorithm comes first, then the environment"):
        asyncrl.train("CartPole-v1", "a3c")


@pytest.mark.parametrize(("at_step", "in_reset", "word"), [(5, False, "step"), (10, True, "reset")])
def test_an_environment_that_raises_in_a_worker(at_step, in_reset, word):
    def broken():
        return RaisingEnv(at_step, in_reset=in_reset)

    text = refused(broken, seed=7)
    first = text.splitlines()[0]
    for part in ("worker", "broken", "seed 7", "step ", f"{word} raised RuntimeError"):
        assert part in first, first
    assert "Traceback" in text
    assert "environments.py" in text


def test_an_environment_that_raises_later():
    """What was learned until then is kept: the run's folder says that it failed, and has a checkpoint."""
    with pytest.raises(UserError, match="raised at step 300") as caught:
        asyncrl.train("a3c", lambda: RaisingEnv(300), **{**SMALL, "steps": 100_000})
    assert "worker" in str(caught.value).splitlines()[0]
    (folder,) = Path("runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["steps"] > 0
    assert summary["restarts"] >= 1
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step-{summary['steps']}"]


class RefusesToBeMade(gymnasium.Env[Any, Any]):
    """Cannot be made twice at a time: the probe makes it, the workers do not."""

    def __init__(self, where: str) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.action_space = gymnasium.spaces.Discrete(2)
        if Path(where).exists():
            raise OSError("the licence is used up")
        Path(where).touch()

    def reset(self, **_: Any) -> Any:
        return self.observation_space.sample() * 0, {}


def test_an_environment_that_cannot_be_made_in_a_worker(tmp_path):
    text = refused(lambda: RefusesToBeMade(str(tmp_path / "made")), AsyncrlError)
    assert "the licence is used up" in text.splitlines()[0]
    assert "worker" in text.splitlines()[0]


@pytest.mark.parametrize("at_step", [0, 5])
def test_an_environment_that_returns_nan(at_step):
    first = refused(lambda: NaNEnv(at_step)).splitlines()[0]
    assert "nan at index 1 of 3" in first


@pytest.mark.parametrize("at_step", [0, 5])
def test_an_environment_that_returns_another_shape(at_step):
    first = refused(lambda: WrongShapeEnv(at_step)).splitlines()[0]
    assert "shape (4,)" in first
    assert "declared is (3,)" in first


class BadReward(CountingEnv):
    """Rewards of NaN, or of no number at all."""

    def __init__(self, reward: Any) -> None:
        super().__init__()
        self.reward = reward

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, self.reward, *rest


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), "much", None])
def test_a_reward_that_is_no_number(reward):
    first = refused(lambda: BadReward(reward)).splitlines()[0]
    assert "reward" in first
    assert "worker" in first


class OldApi(CountingEnv):
    """Four values from step, as gym had it before 0.26."""

    def step(self, action: Any) -> Any:
        return super().step(action)[:4]


def test_the_old_interface():
    first = refused(OldApi).splitlines()[0]
    assert "step" in first
    assert "worker" in first


def test_an_environment_that_cannot_be_sent():
    lock = threading.Lock()

    def locked():
        lock.acquire()
        return CountingEnv()

    text = refused(locked)
    assert "\n" not in text
    for part in ("locked'", "variable 'lock'", "lock", "create it inside the function"):
        assert part in text


def test_something_else_than_an_environment():
    assert "not as int" in refused(3)
    assert "not a gymnasium.Env" in refused(lambda: "CartPole-v1")


def test_an_action_space_that_no_head_serves():
    class Texts(CountingEnv):
        def __init__(self):
            super().__init__()
            self.action_space = gymnasium.spaces.Text(5)

    assert "Text" in refused(Texts)
    assert "Box" in refused(ContinuousTargetEnv, head="categorical")


# --- memory, files, disk ---


def test_too_little_memory_is_said_before_any_is_taken():
    began = psutil.Process().memory_info().rss
    text = refused("CartPole-v1", hidden=(120_000, 120_000))
    assert "too little shared memory" in text
    assert "\n" not in text
    assert psutil.Process().memory_info().rss - began < 300e6


def test_too_little_memory_for_workers(monkeypatch):
    monkeypatch.setattr(arrays, "free_bytes", lambda directory: 100_000)
    text = refused("CartPole-v1")
    assert "100,000 are free" in text
    assert "fewer workers or a smaller network" in text


@pytest.mark.parametrize("limit", [8, 12, 16, 20, 24, 28, 32])
def test_too_many_open_files(limit):
    shell = f'ulimit -n {limit}; exec "{sys.executable}" -m asyncrl train a3c CartPole-v1 --workers 2 --steps 400 --quiet'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "ulimit -n" in done.stderr
    assert list(Path().iterdir()) == []


@contextmanager
def small_disk(folder: Path, size: str):
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_does_not_stop_training(tmp_path):
    with small_disk(tmp_path / "disk", "64k"):
        args = "train a3c CartPole-v1 --workers 2 --steps 40000 --runs disk --name x --report-seconds 0.1 --checkpoint-every 10000"
        done = in_a_process(*args.split())
    assert "warning: the checkpoint at step" in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr, "a full disk is no bug of ours"
    assert done.returncode == 1, "what was learned could not be kept"


# --- checkpoints ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of 400 steps, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    return asyncrl.train("a3c", "CartPole-v1", **{**SMALL, "mode": "sync"}, runs=str(folder), name="whole").folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "copy"))


def checkpoint_of(run: Path) -> Path:
    (folder,) = (run / "checkpoints").iterdir()
    return folder


def all_refuse(capsys: Any, run: Path, kinds: int = 1) -> str:
    """Resume, evaluate and play say the same (or, where they look at something else, `kinds` different lines)."""
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    lines = {
        command(capsys, *args)
        for args in (["resume", str(run), "--steps", "800"], ["evaluate", str(run)], ["play", str(run), "--video", "a.gif"])
    }
    assert len(lines) == kinds, lines
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before
    assert not Path("a.gif").exists()
    return " ".join(lines)


@pytest.mark.parametrize("name", ["run.safetensors", "run.json", "worker-1.safetensors", "worker-0.json", "done"])
def test_a_damaged_checkpoint(capsys, run, name):
    path = checkpoint_of(run) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    line = all_refuse(capsys, run)
    assert "damaged" in line
    assert name in line


def test_a_truncated_and_a_missing_part(capsys, run):
    path = checkpoint_of(run) / "run.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in all_refuse(capsys, run)
    path.unlink()
    assert "damaged" in all_refuse(capsys, run)
    (checkpoint_of(run) / "done").unlink()
    assert "no whole checkpoint" in all_refuse(capsys, run)


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_checkpoint_of_another_environment(capsys, run):
    edit(run / "experiment.json", lambda data: data["settings"].update(env="Acrobot-v1"))
    line = all_refuse(capsys, run)
    assert "'CartPole-v1'" in line
    assert "'Acrobot-v1'" in line


def test_a_checkpoint_of_another_network(capsys, run):
    edit(run / "experiment.json", lambda data: data["settings"]["network"].update(hidden=[64, 32]))
    assert all_refuse(capsys, run, kinds=2).count("does not fit") == 2


def test_a_newer_version(capsys, run):
    edit(checkpoint_of(run) / "done", lambda data: data.update(format=99))
    assert "newer version" in all_refuse(capsys, run)
    edit(run / "experiment.json", lambda data: data.update(format=99))
    assert "newer version" in all_refuse(capsys, run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "\x00\x01", '{"format": "1", "settings": {}}', "null"])
def test_a_damaged_experiment(capsys, run, content):
    (run / "experiment.json").write_text(content)
    assert "experiment.json" in all_refuse(capsys, run)


def test_settings_from_elsewhere(capsys, run):
    edit(run / "experiment.json", lambda data: data["settings"].update(algo="unheard-of"))
    assert "unheard-of" in all_refuse(capsys, run)
    edit(run / "experiment.json", lambda data: data["settings"].update(algo="a3c", color="red"))
    assert "color" in all_refuse(capsys, run)


def test_a_run_that_is_done(capsys, run):
    assert "400" in command(capsys, "resume", str(run))


def test_a_worker_that_keeps_dying():
    """Not the input's fault: exit code 1, and still nothing is left."""

    class Dies(CountingEnv):
        def step(self, action):
            os._exit(3)

    text = refused(Dies, WorkerFailed)
    assert "exit code 3" in text
    assert WorkerFailed.exit_code == 1


def test_an_environment_of_a_module_from_the_command_line(tmp_path):
    """Worker, seed, step and traceback reach standard error; the exit code is that of bad input."""
    Path("broken.py").write_text(
        textwrap.dedent("""
        import gymnasium
        from gymnasium.envs.classic_control import CartPoleEnv
        class Broken(CartPoleEnv):
            count = 0
            def step(self, action):
                self.count += 1
                assert self.count < 9, "nine is too much"
                return super().step(action)
        gymnasium.register("Broken-v0", Broken)
        """)
    )
    args = "train a3c broken:Broken-v0 --workers 2 --steps 4000 --seed 3"
    done = in_a_process(*args.split(), env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("asyncrl: "))
    for part in ("worker", "broken:Broken-v0", "seed 3", "step ", "nine is too much"):
        assert part in line
    assert "broken.py" in done.stderr
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
