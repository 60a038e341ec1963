"""What holds in the caller at the call holds in the workers, the evaluator and the writer of that run."""

from __future__ import annotations

import json
import locale
import logging
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from environments import CountingEnv
from running import kill, wait_for

import asyncrl
from asyncrl.processes import starting as processes
from asyncrl.processes.fork_server import Context
from asyncrl.processes.surroundings import THREAD_CAPS, Surroundings
from asyncrl.topologies import run_context

FILES = resource.RLIMIT_NOFILE


class Telling(CountingEnv):
    """Writes down, where it is made, what it finds around it."""

    def __init__(self, folder: str, module: str) -> None:
        super().__init__()
        Path(folder, str(os.getpid())).write_text(json.dumps(found(module)))


def found(module: str) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        try:
            warnings.warn("of the test", ResourceWarning, stacklevel=1)
            heard = len(caught)
        except ResourceWarning:
            heard = -1
    mask = os.umask(0o022)
    os.umask(mask)
    return {
        "variable": os.environ.get("ASYNCRL_TEST"),
        "gone": os.environ.get("ASYNCRL_GONE"),
        "in C": subprocess.run(["printenv", "ASYNCRL_TEST"], capture_output=True, text=True).stdout.strip(),
        "folder": os.getcwd(),
        "module": __import__(module).VALUE,
        "heard": heard,
        "umask": mask,
        "files": resource.getrlimit(FILES)[0],
        "cores": sorted(os.sched_getaffinity(0)),
        "collation": locale.setlocale(locale.LC_COLLATE),
        "level": logging.getLogger("asyncrl.test").level,
        "disabled": logging.root.manager.disable,
        "temporary": tempfile.gettempdir(),
        "recursion": sys.getrecursionlimit(),
    }


@pytest.fixture
def put_back(monkeypatch):
    """The caller's surroundings, after the test, as they were before it."""
    before = Surroundings.of_caller()
    files = resource.getrlimit(FILES)
    with warnings.catch_warnings():
        yield
    logging.disable(before.logging_disabled)
    logging.getLogger("asyncrl.test").setLevel(logging.NOTSET)
    os.umask(before.umask)
    resource.setrlimit(FILES, files)
    os.sched_setaffinity(0, before.cores)
    locale.setlocale(locale.LC_ALL, before.locale)
    tempfile.tempdir = before.temporary_folder
    sys.setrecursionlimit(before.recursion_limit)


def change(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Other surroundings, the `number`-th."""
    own = folder / f"own{number}"
    own.mkdir()
    (own / f"beside{number}.py").write_text(f"VALUE = {number}")
    monkeypatch.setenv("ASYNCRL_TEST", f"value {number}")
    monkeypatch.setenv("ASYNCRL_GONE", "there") if number == 1 else monkeypatch.delenv("ASYNCRL_GONE")
    monkeypatch.chdir(own)
    monkeypatch.syspath_prepend(str(own))
    warnings.simplefilter(["ignore", "always", "error"][number], ResourceWarning)
    os.umask(0o020 + number)
    resource.setrlimit(FILES, (900 + number, resource.getrlimit(FILES)[1]))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0], cores[-1]} if number == 1 else {cores[-1]})
    locale.setlocale(locale.LC_COLLATE, ["", "C.UTF-8", "POSIX"][number])
    logging.getLogger("asyncrl.test").setLevel(10 + number)
    logging.disable(number)
    tempfile.tempdir = str(own)
    sys.setrecursionlimit(1000 + number)


def test_workers_and_evaluator_find_what_the_caller_has(tmp_path, monkeypatch, put_back):
    """At the second call too, though the fork server was started at the first."""
    for number in (1, 2):
        change(tmp_path, monkeypatch, number)
        told = tmp_path / f"told{number}"
        told.mkdir()
        wanted = found(f"beside{number}")
        source = lambda told=told, number=number: Telling(str(told), f"beside{number}")  # noqa: E731
        settings = {"workers": 2, "steps": 80, "quiet": True, "evaluation_episodes": 1, "runs": str(tmp_path)}
        asyncrl.train("a3c", source, **settings)
        assert wanted["variable"] == f"value {number}" and wanted["heard"] == (1 if number == 1 else -1)
        told_by = {path.name: json.loads(path.read_text()) for path in told.iterdir()}
        assert len(told_by) == 1 + 2 + 1  # the caller itself, two workers, the evaluator
        for who, what in told_by.items():
            assert what == wanted, who


def tell(connection: Any) -> None:
    connection.send((os.environ.get("ASYNCRL_TEST"), os.getcwd(), {name: os.environ.get(name) for name in THREAD_CAPS}))


def asked(context: Context) -> Any:
    process, connection = processes.start(context, tell, "asyncrl-probe", ())
    assert connection.poll(60)
    answer = connection.recv()
    process.join(30)
    return answer


def test_a_run_keeps_what_held_at_its_call(tmp_path, monkeypatch):
    """Whoever is started later in that run, as a replacement, finds the same; thread caps are ours and not left in the caller."""
    monkeypatch.setenv("ASYNCRL_TEST", "at the call")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    context, folder = run_context(), os.getcwd()
    monkeypatch.setenv("ASYNCRL_TEST", "later")
    monkeypatch.chdir(tmp_path)
    assert asked(context) == ("at the call", folder, dict.fromkeys(THREAD_CAPS, "1"))
    assert asked(run_context())[:2] == ("later", str(tmp_path))
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_category_of_the_callers_script(tmp_path):
    """A filter for a warning that is defined in a script, which its workers do not run, makes errors of it there too."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncrl.errors, gymnasium, os, warnings
            class Own(UserWarning):
                pass
            warnings.filterwarnings("error", "this and", Own)
            main = os.getpid()
            class Warning(gymnasium.Wrapper):
                def step(self, action):
                    if os.getpid() != main:
                        warnings.warn("that", Own)
                        warnings.warn("this and that", Own)
                    return super().step(action)
            try:
                make = lambda: Warning(gymnasium.make("CartPole-v1"))
                asyncrl.train("a3c", make, workers=1, steps=40, quiet=True, runs={str(tmp_path)!r})
            except asyncrl.errors.AsyncrlError as error:
                print(str(error).splitlines()[0])
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240)
    assert "raised Own: this and that" in done.stdout, (done.stdout, done.stderr)


def test_the_module_of_a_category_may_warn_when_it_is_imported(tmp_path):
    """As the library `cma` does without matplotlib. A child imports it to know the category, before any filter is in force."""
    (tmp_path / "module.py").write_text("import warnings\n\nclass Own(UserWarning): ...\n\nwarnings.warn('imported')\n")
    program = """
        import pickle, subprocess, sys, warnings
        from asyncrl.processes.surroundings import Surroundings
        if len(sys.argv) > 1:
            pickle.load(sys.stdin.buffer).put_up()
        else:
            warnings.simplefilter("ignore")
            import module
            warnings.simplefilter("default", module.Own)
            subprocess.run([sys.executable, __file__, "child"], input=pickle.dumps(Surroundings.of_caller()), check=True)
        """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(program))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_fork_server_changes_nothing(monkeypatch):
    from test_deaths import fork_server

    monkeypatch.setenv("ASYNCRL_TEST", "at the call")
    context = run_context()
    first = asked(context)
    monkeypatch.setenv("ASYNCRL_TEST", "later")
    old = fork_server()
    kill(old)
    wait_for(lambda: not Path(f"/proc/{old}/cmdline").read_bytes())
    assert asked(context) == first
