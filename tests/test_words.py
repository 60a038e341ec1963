"""Docstrings of the whole package: every public function has one, names the shapes of its arrays, and is annotated.

What is public: modules' functions and classes, and classes' methods and properties, whose names (and whose classes' names) do not begin
with an underscore. Special methods are not counted, functions inside functions neither.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asyncrl"

ANNOTATED = 0.98

ARRAYS = {"NDArray", "ndarray", "Tensor"}
LIKE_AN_ARRAY = {"shape", "size", "ndim", "copy"}  # what compiled functions, which have no annotations, read of their arrays
SHAPE = re.compile(r"\[(?!S\d)(?!\s*[-+.\d]+\s*,\s*[-+.\d]+\s*\])[^\[\]`]+\]")  # such as [T, E]; no interval and no source such as [S001]
ONLY_SEE = re.compile(r"See\s+(the\s+)?(`[^`]+`|module|class|protocol)(\s+and\s+`[^`]+`)*\s*\.?", re.IGNORECASE)


@dataclass
class Definition:
    """A function or a class of the package, as it stands in its file."""

    room: str
    module: str
    name: str
    node: ast.FunctionDef | ast.ClassDef
    aliases: frozenset[str]
    """Names that the package's modules give to types of arrays (``Vector = NDArray[np.float64]``)."""
    owner: ast.ClassDef | None = None
    bases: list[ast.ClassDef] = field(default_factory=list)
    """The owner's bases within the package, in the order in which a method is looked up."""

    def __str__(self) -> str:
        return f"{self.module}:{self.node.lineno}: {self.name}"

    @property
    def compiled(self) -> bool:
        """Whether Numba compiles it: then it has no annotations."""
        return any(_name_of(decorator) in {"njit", "intrinsic"} for decorator in self.node.decorator_list)

    @property
    def docstring(self) -> str | None:
        """Its own, or that of the nearest base which defines the method and documents it."""
        own = ast.get_docstring(self.node)
        inherited = (ast.get_docstring(method) for base in self.bases for method in base.body if _is_named(method, self.node.name))
        return own or next(filter(None, inherited), None)


@cache
def definitions(package: Path) -> list[Definition]:
    """Every public function, class, method and property of a package."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    aliases = frozenset(name for tree in trees.values() for name in _aliases(tree))
    classes = [node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    named: dict[str, list[ast.ClassDef]] = {}
    for node in classes:
        named.setdefault(node.name, []).append(node)
    found = []
    for path, tree in trees.items():
        place = path.relative_to(package)
        room = place.parts[0].removesuffix(".py")
        for node in _public(tree.body):
            found.append(Definition(room, str(place), node.name, node, aliases))
            if isinstance(node, ast.ClassDef):
                bases = list(_bases(node, named))
                found += [
                    Definition(room, str(place), f"{node.name}.{method.name}", method, aliases, node, bases)
                    for method in _public(node.body)
                    if isinstance(method, ast.FunctionDef) and not _is_setter(method)
                ]
    return found


def _public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    return (node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"))


def _bases(node: ast.ClassDef, named: Mapping[str, list[ast.ClassDef]]) -> Iterator[ast.ClassDef]:
    for base in node.bases:
        for found in named.get(_name_of(base), []):
            if found is not node:
                yield found
                yield from _bases(found, named)


def _name_of(node: ast.expr) -> str:
    """The last name of ``a.b.c``, ``c[...]`` and ``c(...)``."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_named(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _is_setter(node: ast.FunctionDef) -> bool:
    return any(isinstance(decorator, ast.Attribute) and decorator.attr == "setter" for decorator in node.decorator_list)


# What is counted.


def without_docstring(package: Path = PACKAGE) -> list[Definition]:
    """Public things without a docstring, of their own or inherited."""
    return [found for found in definitions(package) if not found.docstring]


def only_see(package: Path = PACKAGE) -> list[Definition]:
    """Docstrings that say nothing but where to look."""
    return [found for found in definitions(package) if ONLY_SEE.fullmatch((ast.get_docstring(found.node) or "").strip())]


def without_shapes(package: Path = PACKAGE) -> list[Definition]:
    """Functions of arrays whose docstring, and whose class's, names no shape; compiled ones also if they leave out an array's name."""
    return [found for found in definitions(package) if isinstance(found.node, ast.FunctionDef) and _lacks_shapes(found)]


def _lacks_shapes(function: Definition) -> bool:
    assert isinstance(function.node, ast.FunctionDef)
    docstring = function.docstring or ""
    if function.compiled:
        arrays = _arrays_by_use(function.node)
        return bool(arrays) and not (SHAPE.search(docstring) and all(re.search(rf"\b{name}\b", docstring) for name in arrays))
    if not any(_is_array(annotation, function.aliases) for annotation in _annotations(function.node)):
        return False
    classes = [function.owner, *function.bases] if function.owner else []
    return not any(SHAPE.search(text) for text in [docstring, *(ast.get_docstring(node) or "" for node in classes)])


def _annotations(node: ast.FunctionDef) -> list[ast.expr]:
    return [part for part in (*(argument.annotation for argument in _arguments(node)), node.returns) if part]


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *rest]


def _is_array(annotation: ast.expr, aliases: frozenset[str]) -> bool:
    """Whether an annotation names an array, alone, in a tuple, or as one of several possibilities.

    Mappings of named arrays do not count: their shapes are those of the layout that goes with them.
    """
    match annotation:
        case ast.Constant(value=str(text)):
            return _is_array(ast.parse(text, mode="eval").body, aliases)
        case ast.Subscript(value=outer) if _name_of(outer) in {"dict", "Mapping", "MutableMapping", "Callable"}:
            return False
        case ast.Name() | ast.Attribute():
            return _name_of(annotation) in ARRAYS | aliases
        case _:
            return any(_is_array(part, aliases) for part in ast.iter_child_nodes(annotation) if isinstance(part, ast.expr))


def _aliases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value) if _name_of(value) in ARRAYS:
                yield name


def _arrays_by_use(node: ast.FunctionDef) -> set[str]:
    """The arguments of a compiled function that it treats as arrays."""
    names = {argument.arg for argument in _arguments(node)}
    used = set()
    for part in ast.walk(node):
        match part:
            case ast.Subscript(value=ast.Name(id=name)):
                used.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in LIKE_AN_ARRAY:
                used.add(name)
    return names & used


def annotated(package: Path = PACKAGE) -> tuple[int, list[str]]:
    """How many functions there are outside compiled ones, and those of them that leave out a type."""
    count, lacking = 0, []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        methods = {node for owner in ast.walk(tree) if isinstance(owner, ast.ClassDef) for node in owner.body}
        for node in _not_compiled(tree):
            count += 1
            bound = node in methods and not any(_name_of(decorator) == "staticmethod" for decorator in node.decorator_list)
            returns = node.returns is not None or node.name == "__init__"
            if not returns or any(argument.annotation is None for argument in _arguments(node)[bound:]):
                lacking.append(f"{path.relative_to(package)}:{node.lineno}: {node.name}")
    return count, lacking


def _not_compiled(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            if any(_name_of(decorator) in {"njit", "intrinsic"} for decorator in node.decorator_list):
                continue
            yield node
        yield from _not_compiled(node)


# The tests.

KINDS = {"docstring": without_docstring, "only see": only_see, "shapes": without_shapes}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_lacks_it(kind):
    found = KINDS[kind]()
    assert not found, "\n".join(map(str, found))


def test_functions_outside_compiled_ones_are_annotated():
    count, lacking = annotated()
    assert 1 - len(lacking) / count >= ANNOTATED, "\n".join(lacking)


WRITTEN = '''
class Port(Protocol):
    def open(self, vector: NDArray) -> None:
        """Write vector [N]."""

class Door(Port):
    """A port."""
    def open(self, vector: NDArray) -> None: ...
    def shut(self, vector: Vector) -> None:
        """See `Port.open`."""
    def bare(self): ...

Vector = NDArray[float]

@njit(cache=True)
def kernel(x, y):
    """x[N] is read, with values in [0, 1]."""
    y[0] = x[0]

def scaled(x: tuple[Vector, int]) -> None:
    """Within [-1, 1] (source: [S001])."""

def named(arrays: Mapping[str, Vector]) -> None:
    """The arrays of a layout."""
'''


def test_what_is_missing_is_found(tmp_path):
    (tmp_path / "room.py").write_text(WRITTEN)

    def names(found):
        return [definition.name for definition in found]

    assert names(without_docstring(tmp_path)) == ["Port", "Door.bare"]
    assert names(only_see(tmp_path)) == ["Door.shut"]
    assert names(without_shapes(tmp_path)) == ["Door.shut", "kernel", "scaled"]
    assert annotated(tmp_path) == (6, ["room.py:11: bare"])
