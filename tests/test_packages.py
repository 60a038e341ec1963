"""The wheel and the source archive: no file missing, and a run from what they install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ["train", "a3c", "CartPole-v1", "--steps", "2000", "--workers", "1", "--evaluation-episodes", "1", "--quiet", "--name", "installed"]
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2])"


def call(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> set[str]:
    """The package's files, as the repository has them; those that are new and not ignored too."""
    listed = call(["git", "ls-files", "--cached", "--others", "--exclude-standard", "asyncrl"], ROOT).split()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what an archive is made of: builds leave files beside it."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "asyncrl", copy / "asyncrl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def built(kind: str, source: Path, folder: Path) -> Path:
    call([sys.executable, "-c", BUILD, kind, str(folder)], source)
    (archive,) = folder.iterdir()
    return archive


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder that holds `asyncrl`."""
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(folder)
        return folder
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request, source, tmp_path_factory) -> Path:
    """What the wheel installs; and what the wheel installs that is built from the source archive alone."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sdist":
        source = unpacked(built("sdist", source, folder / "archive"), folder / "unpacked")
    return unpacked(built("wheel", source, folder / "built"), folder / "installed")


def test_no_file_is_missing(installed):
    found = {str(path.relative_to(installed)) for path in (installed / "asyncrl").rglob("*") if path.is_file()}
    assert {name for name in found if "__pycache__" not in name} == tracked()
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "asyncrl = asyncrl.__main__:main" in entry.read_text()


@pytest.mark.slow
def test_it_trains(installed, tmp_path):
    """Outside of the repository, from what was installed alone; its kernels are compiled, which takes about half a minute."""
    told = {"PYTHONPATH": str(installed), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    place = call([sys.executable, "-c", "import asyncrl; print(asyncrl.__file__)"], tmp_path, **told).strip()
    assert Path(place).is_relative_to(installed)
    call([sys.executable, "-m", "asyncrl", *RUN], tmp_path, **told)
    assert (tmp_path / "runs" / "installed" / "summary.json").is_file()


@pytest.mark.slow
def test_pip_installs_it_into_a_fresh_environment(tmp_path):
    """As a user does. Its dependencies are those of this environment, so nothing is fetched."""
    call([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(tmp_path / "fresh")], tmp_path)
    fresh = tmp_path / "fresh" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(fresh)]
    copy = tmp_path / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", "runs", "site"))
    wheel = built("wheel", copy, tmp_path / "built")
    call([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], tmp_path)
    others = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))}
    place = call([str(fresh), "-c", "import asyncrl; print(asyncrl.__file__)"], tmp_path, **others).strip()
    assert Path(place).is_relative_to(tmp_path / "fresh"), "not the one beside it"
    call([str(fresh.with_name("asyncrl")), *RUN], tmp_path, **others)
