"""Where it is installed and from where it is called: long names, nothing writable, modules beside the caller."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import asyncrl

RUN = ["train", "a2c", "CartPole-v1", "--steps", "400", "--workers", "1", "--evaluation-episodes", "0", "--quiet"]


def call(folder: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=280
    )


@pytest.mark.slow
def test_a_long_name_of_the_temporary_folder(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    done = call(tmp_path, ["-m", "asyncrl", *RUN], TMPDIR=str(long))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(long.iterdir()) == [], "nothing is left"


@pytest.fixture
def sealed(tmp_path) -> dict[str, str]:
    """A copy in which nothing can be written beside the sources, whoever we are, and no home: what its processes need to be told."""
    copy = tmp_path / "installed" / "asyncrl"
    shutil.copytree(Path(asyncrl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in {path.parent for path in copy.rglob("*.py")}:
        (folder / "__pycache__").touch()  # a file: no folder of that name can be made
    nowhere = str(tmp_path / "installed" / "asyncrl" / "py.typed" / "home")
    (tmp_path / "tmp").mkdir()
    told = {"PYTHONPATH": str(copy.parent), "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "TMPDIR": str(tmp_path / "tmp")}
    return {**told, "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": ""}


COMPILE = ["-c", "import numpy as np; from asyncrl.shared.optimizers import norm; print(norm(np.ones(4, np.float32)))"]


@pytest.mark.parametrize("before", ["", "import numba; "])
def test_a_read_only_installation_and_home(tmp_path, sealed, before):
    done = call(tmp_path, ["-c", before + COMPILE[1]], **sealed)
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr
    (cache,) = (tmp_path / "tmp").iterdir()
    assert list(cache.rglob("*.nbi")), "the next run need not compile"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_compiled_code_is_not_taken_from_a_folder_that_others_can_write_to(tmp_path, sealed):
    theirs = tmp_path / "tmp" / f"asyncrl-numba-{os.getuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    done = call(tmp_path, COMPILE, **sealed)
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr
    assert list((tmp_path / "tmp").iterdir()) == [theirs], "the other one is gone"
    assert list(theirs.iterdir()) == []


@pytest.mark.slow
def test_a_run_from_a_read_only_installation(tmp_path, sealed):
    done = call(tmp_path, ["-m", "asyncrl", *RUN], **sealed)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_module_beside_the_caller(tmp_path):
    """As with `python -m asyncrl`: where the first place of the path is the script's folder, as for any console script."""
    script = tmp_path / "bin" / "asyncrl"
    script.parent.mkdir()
    script.write_text("import sys\nfrom asyncrl.__main__ import main\nsys.exit(main())\n")  # what pip writes
    here = tmp_path / "here"
    here.mkdir()
    text = 'import gymnasium\ngymnasium.register("Mine-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=50)\n'
    (here / "beside_the_caller.py").write_text(text)
    arguments = [word.replace("CartPole-v1", "beside_the_caller:Mine-v0") for word in RUN]
    done = call(here, [str(script), *arguments, "--name", "mine"])
    assert (done.returncode, done.stderr) == (0, "")
    safe = call(here, ["-P", str(script), *arguments])
    assert safe.returncode == 2
    assert "there is no module named 'beside_the_caller'" in safe.stderr


def test_compiled_code_is_made_anew_where_what_it_calls_has_changed(tmp_path):
    """Also where only a number has changed that it names, in a module that it imports by another one."""
    copy = tmp_path / "asyncrl"
    shutil.copytree(Path(asyncrl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    kernel = "from asyncrl.shared.compiled import njit\n{}\n@njit(cache=True)\ndef {}():\n    return {}\n"
    (copy / "shared" / "number.py").write_text("NUMBER = 1\n")
    (copy / "shared" / "inner.py").write_text(kernel.format("from asyncrl.shared.number import NUMBER", "inner", "NUMBER"))
    (copy / "shared" / "outer.py").write_text(kernel.format("from asyncrl.shared import (\n    inner,\n)", "outer", "10 * inner.inner()"))
    program = "from asyncrl.shared.outer import outer; print(outer(), sum(outer.stats.cache_hits.values()))"

    def printed():
        done = call(tmp_path, ["-c", program], PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert [printed(), printed()] == [["10", "0"], ["10", "1"]]
    (copy / "shared" / "number.py").write_text("NUMBER = 2\n")
    assert [printed(), printed()] == [["20", "0"], ["20", "1"]]
    (copy / "shared" / "inner.py").write_text((copy / "shared" / "inner.py").read_text().replace("return", "return 3 +"))
    assert printed() == ["50", "0"]
