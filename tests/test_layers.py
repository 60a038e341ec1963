"""Imports point down, and the ground knows no reinforcement learning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asyncrl"

# From the top down. A module may import from its own layer and those below it.
LAYERS = [
    {"__main__", "cli"},
    {"__init__", "api", "bench", "minimization"},
    {"session"},
    {"topologies"},
    {"launcher"},
    {"workers"},
    {"experiment"},
    {"monitor"},
    {"store"},
    {"algos"},
    {"actors", "learners"},
    {"scheduler"},
    {"blackbox"},
    {"heads", "envs", "progress", "trajectory", "replay"},
    {"shared"},
    {"processes"},
    {"fields"},
    {"errors"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
APART = {frozenset({"actors", "learners"})}
SIMULATORS = {"gymnasium", "mujoco"}
MODULE_NAME = re.compile(r"(asyncrl(?:\.\w+)+)(?::\w+)?")
VERSION = ("asyncrl", ("__version__",))  # may be imported from anywhere


def violations(package: Path) -> list[str]:
    """Every import in a package that the layers forbid, as ``path:line: why``."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        part = place.parts[0].removesuffix(".py")
        if part not in LEVEL:
            found.append(f"{place}:1: {part!r} belongs to no layer")
            continue
        for line, module, names in _imports(path):
            reason = _forbidden(part, module, names)
            if reason:
                found.append(f"{place}:{line}: {reason}")
        for line, module in _named(path):
            if LEVEL.get(module.split(".")[1], len(LAYERS)) < LEVEL[part]:
                found.append(f"{place}:{line}: {part} names {module}, which lies above it")
    return found


def _named(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every text that is a module's name, with or without ``:name`` of something in it: what could be imported by it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := MODULE_NAME.fullmatch(node.value)):
            yield node.lineno, match[1]


def _imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...] | None]]:
    """Line, module and imported names (None for ``import x``) of every import that is carried out, wherever it stands."""
    tree = ast.parse(path.read_text())
    skipped = {inner for node in ast.walk(tree) if _is_for_types_only(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _forbidden(part: str, module: str, names: tuple[str, ...] | None) -> str | None:
    root, *below = module.split(".")
    if module.startswith("."):
        return f"relative import {module}"
    if part == "shared" and root in SIMULATORS:
        return f"shared imports {root}"
    if root != "asyncrl" or (module, names) == VERSION:
        return None
    if names is None or not below:
        return f"{module} is imported in another form than `from asyncrl.x import y`"
    if below[0] not in LEVEL:
        return f"{module} belongs to no layer"
    if LEVEL[below[0]] < LEVEL[part]:
        return f"{part} imports {module}, which lies above it"
    if frozenset({part, below[0]}) in APART:
        return f"{part} and {below[0]} import each other's layer: {module}"
    return None


def test_the_package_keeps_to_its_layers():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "text", "why"),
    [
        ("scheduler/gate.py", "from asyncrl.workers.actor import act", "above"),
        ("algos/a3c.py", "def f():\n    from asyncrl.experiment.experiment import run", "above"),
        ("algos/a3c.py", "place = 'asyncrl.experiment.experiment:run'", "names"),
        ("learners/update.py", "from asyncrl.algos.a3c import loss", "above"),
        ("learners/update.py", "import_module('asyncrl.algos.a3c')", "names"),
        ("actors/act.py", "from asyncrl.learners.update import step", "each other"),
        ("learners/update.py", "from asyncrl.actors.act import act", "each other"),
        ("shared/rings.py", "import gymnasium", "gymnasium"),
        ("shared/rings.py", "from mujoco import MjModel", "mujoco"),
        ("shared/rings.py", "from asyncrl.progress import Progress", "above"),
        ("errors.py", "from asyncrl.shared.rings import Ring", "above"),
        ("heads/mlp.py", "import asyncrl.shared.rings", "form"),
        ("heads/mlp.py", "from asyncrl import shared", "form"),
        ("heads/mlp.py", "from .kernels import forward", "relative"),
        ("heads/mlp.py", "from asyncrl.helpers import x", "no layer"),
        ("helpers.py", "", "no layer"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, place, text, why):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{place}:")
    assert why in found[0]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("cli/main.py", "from asyncrl.experiment.experiment import run\nfrom asyncrl import __version__\nimport gymnasium"),
        ("shared/rings.py", "import numpy\nfrom asyncrl.shared.atomics import load\nfrom asyncrl.errors import UserError"),
        ("topologies/streams.py", "BODIES = 'asyncrl.topologies.bodies'"),
        ("algos/a3c.py", '"""A text that only speaks of asyncrl.experiment.experiment: run."""'),
        ("progress.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncrl.cli.main import main"),
        ("actors/act.py", "from asyncrl.scheduler.modes import parse_modes\nfrom asyncrl.actors.exploration import EXPLORATIONS"),
    ],
)
def test_an_allowed_import_is_let_through(tmp_path, place, text):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    assert violations(tmp_path) == []
