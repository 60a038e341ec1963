"""README.md and docs: commands can be read and run, links lead somewhere, messages are those that the program has."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from documents import LANGUAGES, PAGES, ROOT, Block, anchors, blocks, commands_of, shortened, shortened_program, spans

import asyncrl.api
from asyncrl.algos import ALGORITHMS
from asyncrl.cli import bench, main, replay, runs, study
from asyncrl.cli.parsing import option_names, parse
from asyncrl.cli.train import experiment_type
from asyncrl.experiment.experiment import Experiment, Result
from asyncrl.heads.choice import heads_with_options, options_type_of
from asyncrl.sources import names_code
from asyncrl.studies.files import read_study
from asyncrl.studies.running import check_trials

OF_EXTRAS = ("ALE/", "dm_control/", "pybullet_envs_gymnasium:", "gymnasium_robotics:")
README = ROOT / "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    assert {block.language for block in blocks(page)} <= set(LANGUAGES)
    assert page.read_text().count("```") == 2 * len(blocks(page)), "a fence without its end"


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 120


def test_every_algorithm_has_a_section_with_a_command():
    page = ROOT / "docs" / "algorithms.md"
    commands = [words for block in blocks(page) if block.language == "bash" for words in block.commands()]
    assert {words[2] for words in commands} == set(ALGORITHMS)
    titles = " ".join(re.findall(r"^### (.*)$", page.read_text(), re.MULTILINE))
    assert set(ALGORITHMS) <= set(titles.replace(",", "").split())


KINDS: dict[str, Any] = {
    "resume": runs.Resume,
    "evaluate": runs.Evaluate,
    "play": runs.Play,
    "landscape": runs.Landscape,
    "export": runs.Export,
    "replay": replay.Replay,
    "study": study.Study,
    "bench throughput": bench.Throughput,
    "bench queues": bench.Queues,
    "bench heads": bench.Heads,
    "bench more-wild": bench.MoreWild,
}
"""What the arguments of each command but `train` are parsed into."""


@pytest.fixture
def experiments(monkeypatch, tmp_path) -> list[Experiment]:
    """`train` checks what it is given, and adds it to this list instead of running it."""
    given: list[Experiment] = []

    def run(experiment: Experiment) -> Result:
        given.append(experiment)
        return Result("completed", {}, tmp_path)

    monkeypatch.setattr(asyncrl.api, "run", run)
    monkeypatch.chdir(tmp_path)
    return given


def check_id(experiment: Experiment) -> None:
    """The environment is one that gymnasium has registered, or a function, or one of an extra."""
    env = str(experiment.env)
    if not names_code(env) and not env.startswith(OF_EXTRAS):
        gymnasium.spec(env)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_read(page, experiments):
    """Unknown options, values out of their ranges and unknown ids fail here, without a run."""
    for words in commands_of(page):
        if words[0] == "train" and "--help" not in words:
            assert main.main(words) == 0, words
            check_id(experiments[-1])
        elif words[0] != "train":
            count = 2 if words[0] == "bench" else 1
            parse(KINDS[" ".join(words[:count])], words[count:], "asyncrl")


def test_every_study_that_is_shown_can_be_run(tmp_path):
    shown = [block for page in PAGES for block in blocks(page) if block.language == "toml"]
    assert shown
    for block in shown:
        (tmp_path / "shown.toml").write_text(block.text)
        assert check_trials(read_study(str(tmp_path / "shown.toml")), tmp_path)


def test_every_option_that_is_named_is_there():
    kinds = [*KINDS.values(), *(experiment_type(algo, "auto") for algo in ALGORITHMS)]
    kinds += [options_type_of(head) for heads in heads_with_options().values() for head in heads]
    known = {"--version"} | {name for kind in kinds for name in option_names(kind)[0]}
    for page in PAGES:
        if page.name in ("architecture.md", "measurements.md", "savo.md", "how_to_add.md"):
            continue  # they name options of the scripts in runs too
        named = {option for span in spans(page) for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
        assert named - known - {"--logdir"} == set(), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), target


def test_what_is_shown_but_not_run_is_there():
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = [words for page in PAGES for block in blocks(page) if block.language == "console" for words in block.commands()]
    for words in shown:
        program = next(word for word in words if "=" not in word)
        assert program in ("make", "pip", "python", "asyncrl", "tensorboard"), words
        if program == "make":
            assert words[1] in made
        if program == "python":
            assert (ROOT / words[1]).is_file(), words


def test_every_file_of_runs_that_is_named_is_there():
    """In a fresh clone these are the files that git keeps: runs/ is where runs go, and what is not named in .gitignore is lost."""
    sources = [*PAGES, *(path for kind in ("*.py", "*.toml") for path in (ROOT / "runs").rglob(kind))]
    named = {name for source in sources for name in re.findall(r"runs/(?:studies|peers)/[\w-]+\.\w+", source.read_text())}
    named |= {name for page in PAGES for name in re.findall(r"runs/reference/[a-z0-9-]+\.\w+", page.read_text())}
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def text_of(node: ast.AST) -> str:
    """A text of the program's, with a mark where something is filled in; "" for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def messages() -> tuple[set[str], set[str]]:
    """All texts that may be part of a message, and those that a UserError or one of its kind is made of."""
    kinds = {"UserError", "Hopeless", "WorkerFailed", "SharedMemoryError"}
    there, raised = set(), set()
    for file in (ROOT / "asyncrl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            there.add(text_of(node))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                raised.add(text_of(node.args[0]))
    return {one for one in there if len(one) > 8 and "\n" not in one}, {one for one in raised if len(one.replace("\0", "")) > 14}


def patterns() -> list[re.Pattern[str]]:
    rows = (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
    quoted = [span for row in rows if row.startswith("| `") for span in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    return [re.compile(".*".join(re.escape(part.strip()) for part in one.split("...")), re.DOTALL) for one in quoted]


def test_every_message_is_explained_and_every_explained_message_is_there():
    known = patterns()
    there, raised = messages()
    assert [one for one in raised if not any(pattern.match(one) for pattern in known)] == []
    assert [pattern.pattern for pattern in known if not any(pattern.match(one) for one in there)] == []


def test_a_picture_is_no_larger_than_a_page_needs():
    for picture in (ROOT / "docs").glob("*.png"):
        assert picture.stat().st_size < 400_000, picture.name


def run_block(block: Block, folder: Path) -> None:
    """Run a block's commands or program, as somebody would who has come down the page to here."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "MPLBACKEND": "Agg"}
    if block.title:
        (folder / block.title).write_text(block.text)
        return
    if block.language == "python":
        (folder / "program.py").write_text(shortened_program(block.text))
        programs = [["program.py"]]
    else:
        assert all(words[0] == "asyncrl" for words in block.commands()), block.text
        programs = [["-m", "asyncrl", *shortened(words[1:])] for words in block.commands()]
    for program in programs:
        done = subprocess.run([sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{program}\n{done.stderr}"


def run_page(page: Path, folder: Path, left_out: tuple[str, ...] = ()) -> None:
    """Everything that a page shows, but for commands that are left out."""
    for block in blocks(page):
        lines = [line for line in block.text.splitlines() if not line.startswith(tuple(f"asyncrl {name} " for name in left_out))]
        if block.language in ("bash", "python"):
            run_block(dataclasses.replace(block, text="\n".join(lines)), folder)


def lacking(page: Path) -> list[str]:
    """Libraries of extras that the page's programs import, and that are not installed."""
    shown = [block for block in blocks(page) if block.language == "python"]
    own = {Path(block.title).stem for block in shown if block.title}
    nodes = [node for block in shown for node in ast.walk(ast.parse(block.text))]
    named = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    needed = {name.partition(".")[0] for name in named} - own
    needed |= {"ray"} if any(block.language == "bash" and "--engine ray" in block.text for block in blocks(page)) else set()
    return sorted(name for name in needed if importlib.util.find_spec(name) is None)


@pytest.mark.slow  # a newcomer's first steps are tests of their own files too
def test_what_the_readme_shows_runs(tmp_path):
    run_page(README, tmp_path, left_out=("play", "resume"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_runs(page, tmp_path):
    if lacking(page):
        pytest.skip(f"needs {', '.join(lacking(page))}: extras")
    run_page(page, tmp_path)


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "index.html").is_file()
