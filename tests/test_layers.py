"""Imports point down and form no circle, none is hidden without a reason, and the ground knows no reinforcement learning."""

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
    {"studies"},
    {"__init__", "api", "bench", "landscapes", "minimization"},
    {"session"},
    {"cluster"},
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
    {"heads", "envs", "registration", "progress", "trajectory", "replays"},
    {"shared"},
    {"processes"},
    {"fields", "sources"},
    {"errors"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
APART = {frozenset({"actors", "learners"})}
SIMULATORS = {"gymnasium", "mujoco"}
VERSION = ("asyncrl", ("__version__",))  # may be imported from anywhere

# Imports inside functions, which a reader of a file's head does not see.
HEAVY = {
    *("torch", "numba", "cloudpickle", "psutil", "gymnasium", "mujoco", "imageio", "matplotlib", "rich", "cma", "ale_py", "onnxruntime"),
    *("jinja2", "ray"),
}
"""Libraries that take long to load, or that not everybody has: loaded where they are first needed."""
_WITH_TORCH = ("modules", "devices", "towers", "cascades", "nearest", "greedy_modules")
OURS_THAT_LOAD_TORCH = {f"asyncrl.heads.networks.{file}" for file in _WITH_TORCH}
"""Files of ours with torch at their head, which is why whoever can do without torch loads them late."""
LAZY = {"__main__.py", "__init__.py", "cli/"}
"""The command line: its help and its error messages come at once, and a command loads what it needs. `import asyncrl` likewise."""


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
    return found


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


def hidden(package: Path) -> list[tuple[str, str]]:
    """(file, module) of every import inside a function that is neither of a heavy library nor the command line's."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        if any(place == lazy or (lazy.endswith("/") and place.startswith(lazy)) for lazy in LAZY):
            continue
        for function in _functions(path):
            for node in ast.walk(function):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                light = [module for module in modules if module.split(".")[0] not in HEAVY and module not in OURS_THAT_LOAD_TORCH]
                found += [(place, module) for module in light]
    return sorted(set(found))


def _functions(path: Path) -> Iterator[ast.AST]:
    yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def named_above(package: Path) -> list[tuple[str, str]]:
    """(file, name) of every string that is nothing but the name of a module of a higher layer, or of a class in it."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        part = place.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"asyncrl(\.\w+)+(:\w+)?", node.value):
                named = re.split(r"[.:]", node.value)[1]
                if LEVEL.get(named, len(LAYERS)) < LEVEL.get(part, 0):
                    found.append((place.as_posix(), node.value))
    return found


def circles(package: Path) -> list[list[str]]:
    """Files that import each other, by way of others or not, in whatever place the imports stand; for types alone does not count."""
    files = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    arrows = {place: _files_of(package / place, files) for place in files}
    reached = {place: _reached(place, arrows) for place in files}
    groups = {tuple(sorted(other for other in reached[place] if place in reached[other])) for place in files if place in reached[place]}
    return [list(group) for group in sorted(groups)]


def _files_of(path: Path, files: set[str]) -> set[str]:
    """The files of the package that a file imports from."""
    found = set()
    for _, module, names in _imports(path):
        if module.split(".")[0] != "asyncrl" or (module, names) == VERSION:
            continue
        base = "/".join(module.split(".")[1:])
        for name in names or ():
            candidates = (f"{base}/{name}.py", f"{base}/{name}/__init__.py", f"{base}.py", f"{base}/__init__.py")
            found |= set([candidate for candidate in (one.lstrip("/") for one in candidates) if candidate in files][:1])
    return found


def _reached(place: str, arrows: dict[str, set[str]]) -> set[str]:
    """Everything that can be reached along one or more arrows."""
    found: set[str] = set()
    following = set(arrows[place])
    while following:
        found |= following
        following = {further for one in following for further in arrows[one]} - found
    return found


def test_no_file_imports_what_imports_it():
    assert circles(PACKAGE) == []


def test_imports_stand_at_the_head_of_a_file():
    assert hidden(PACKAGE) == []


def test_what_is_said_to_load_torch_does():
    for module in OURS_THAT_LOAD_TORCH:
        body = ast.parse((PACKAGE.parent / f"{module.replace('.', '/')}.py").read_text()).body
        assert any(alias.name == "torch" for node in body if isinstance(node, ast.Import) for alias in node.names), module


def test_no_string_names_what_lies_above():
    assert named_above(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.py": "from asyncrl.b import y", "b.py": "from asyncrl.a import x"}, [["a.py", "b.py"]]),
        ({"a.py": "from asyncrl.b import y", "b.py": "def f():\n    from asyncrl.a import x"}, [["a.py", "b.py"]]),
        ({"a.py": "from asyncrl.b import c", "b/__init__.py": "", "b/c.py": "from asyncrl.a import x"}, [["a.py", "b/c.py"]]),
        (
            {"a.py": "from asyncrl.b import y", "b.py": "from asyncrl.c import y", "c.py": "from asyncrl.a import x"},
            [["a.py", "b.py", "c.py"]],
        ),
        (
            {"a.py": "from asyncrl.b import y", "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncrl.a import x"},
            [],
        ),
        ({"a.py": "from asyncrl.b import y\nfrom asyncrl.c import z", "b.py": "from asyncrl.c import z", "c.py": ""}, []),
    ],
)
def test_a_circle_is_found(tmp_path, files, found):
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    assert circles(tmp_path) == found


@pytest.mark.parametrize(
    ("place", "text", "found"),
    [
        ("heads/mlp.py", "def f():\n    from asyncrl.heads.kernels import forward", ["asyncrl.heads.kernels"]),
        ("heads/mlp.py", "class A:\n    def f(self):\n        import json, torch", ["json"]),
        ("heads/mlp.py", "def f():\n    import torch\n    import imageio.v2", []),
        ("heads/mlp.py", "if True:\n    import json", []),
        ("cli/main.py", "def f():\n    from asyncrl.api import train", []),
        ("heads/__init__.py", "def f():\n    from asyncrl.heads.kernels import forward", ["asyncrl.heads.kernels"]),
    ],
)
def test_a_hidden_import_is_found(tmp_path, place, text, found):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    assert hidden(tmp_path) == [(place, module) for module in found]


@pytest.mark.parametrize(
    ("place", "text", "found"),
    [
        ("learners/replays.py", 'x = "asyncrl.algos.td3:Td3Updater"', ["asyncrl.algos.td3:Td3Updater"]),
        ("learners/replays.py", '"""asyncrl.algos.td3"""', ["asyncrl.algos.td3"]),
        ("learners/replays.py", '"""As in asyncrl.algos.td3."""', []),
        ("algos/td3.py", 'x = "asyncrl.learners.replays"', []),
    ],
)
def test_a_name_of_what_lies_above_is_found(tmp_path, place, text, found):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    assert named_above(tmp_path) == [(place, name) for name in found]


def test_the_package_keeps_to_its_layers():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "text", "why"),
    [
        ("scheduler/gate.py", "from asyncrl.workers.actor import act", "above"),
        ("algos/a3c.py", "def f():\n    from asyncrl.experiment.experiment import run", "above"),
        ("learners/update.py", "from asyncrl.algos.a3c import loss", "above"),
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
        ("progress.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncrl.cli.main import main"),
        ("actors/act.py", "from asyncrl.scheduler.modes import parse_modes\nfrom asyncrl.actors.exploration import EXPLORATIONS"),
    ],
)
def test_an_allowed_import_is_let_through(tmp_path, place, text):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    assert violations(tmp_path) == []
