"""The house rules, enforced on the whole tree: sizes, names, twins, excepts, imports, locks.

Collected last (see conftest): it judges everything, and a room's own failure should be read first.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "mlauto"
TESTS = CHECKOUT / "mlauto_tests"
HEAVY = {"great_expectations", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "skops"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b|pragma: no cover|type: ignore(?!\[)")
EXCUSED_EXCEPTS = 1  # `mlauto.serving.boundary.contained`


@dataclass(frozen=True)
class Source:
    """A Python file and its syntax tree."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        return self.path.relative_to(CHECKOUT).as_posix()

    @property
    def module(self) -> str:
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def defined(self) -> set[str]:
        """Names bound at the top level by definitions and assignments."""
        names: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
        return names

    def public(self) -> set[str]:
        """Public classes and functions; the commands of the command line are reached by name, not by import."""
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        return {
            node.name
            for node in self.tree.body
            if isinstance(node, kinds)
            and not node.name.startswith("_")
            and not any(re.search(r"\.(command|group)\(", ast.unparse(decorator)) for decorator in node.decorator_list)
        }

    def exported(self) -> set[str]:
        """What `__all__` lists."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return set(ast.literal_eval(node.value))
        return set()


def sources(folder: Path) -> list[Source]:
    """All Python files below a folder, sorted."""
    return [Source(path) for path in sorted(folder.rglob("*.py"))]


def share(values: list[int], part: float) -> int:
    """The nearest-rank quantile."""
    return sorted(values)[max(0, round(part * len(values)) - 1)]


OURS = sources(PACKAGE)
EVERY = OURS + sources(TESTS)
BY_MODULE = {source.module: source for source in OURS}
each_of_ours = pytest.mark.parametrize("source", OURS, ids=lambda source: source.name)


def test_files_are_short() -> None:
    """350 lines at most, 250 at the 90th percentile."""
    sizes = {source.name: source.lines for source in OURS}

    assert {name: size for name, size in sizes.items() if size > 350} == {}
    assert share(list(sizes.values()), 0.9) <= 250


def test_functions_are_short() -> None:
    """60 lines at most, 30 at the 90th percentile."""
    sizes = {
        f"{source.name}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for source in OURS
        for node in source.functions()
    }

    assert {name: size for name, size in sizes.items() if size > 60} == {}
    assert share(list(sizes.values()), 0.9) <= 30


@each_of_ours
def test_all_is_the_public_names(source: Source) -> None:
    """`__all__` lists every public class and function, and nothing that is not defined there."""
    defined = source.defined()
    if "__getattr__" in defined:  # the package's one lazy name, which would import Dagster
        defined |= {"ModelProduct"}

    assert source.public() - source.exported() == set()
    assert source.exported() - defined == set()


@each_of_ours
def test_only_public_names_are_imported(source: Source) -> None:
    """What one module takes from another is in that module's `__all__`, or is a module itself."""
    taken = [
        (node.module, alias.name)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("mlauto")
        for alias in node.names
    ]
    hidden = [
        f"{module}.{name}"
        for module, name in taken
        if f"{module}.{name}" not in BY_MODULE and (module not in BY_MODULE or name not in BY_MODULE[module].exported())
    ]

    assert hidden == []


@each_of_ours
def test_every_module_has_a_twin_test(source: Source) -> None:
    """`mlauto/room/module.py` is tested by `mlauto_tests/room/test_module.py`."""
    if source.path.name == "__init__.py":
        return
    relative = source.path.relative_to(PACKAGE)
    twin = TESTS / relative.parent / f"test_{relative.name}"

    assert twin.is_file()
    assert any(node.name.startswith("test_") for node in Source(twin).functions())


@pytest.mark.parametrize("source", sources(TESTS), ids=lambda source: source.name)
def test_every_test_says_what_it_shows_and_shows_it(source: Source) -> None:
    """A docstring on every test, and an assertion or an expected error in it or in what it calls."""
    shared = Source(TESTS / "waiting.py").functions()
    asserting = {node.name for node in (*source.functions(), *shared) if _asserts(node, set())}
    tests = [node for node in source.functions() if node.name.startswith("test_")]

    assert [node.name for node in tests if not ast.get_docstring(node)] == []
    assert [node.name for node in tests if not _asserts(node, asserting)] == []


def _asserts(function: ast.AST, helpers: set[str]) -> bool:
    calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    known = helpers | {"pytest.raises", "pytest.fail", "pytest.warns"}
    called = bool(calls & known) or any(name.rpartition(".")[2].startswith("assert_") for name in calls)
    return called or any(isinstance(node, ast.Assert) for node in ast.walk(function))


def test_broad_excepts_are_one_documented_boundary() -> None:
    """`except Exception` and the like: in one place that others call, and the line says `boundary`."""
    broad = [
        f"{source.name}:{node.lineno} {source.text.splitlines()[node.lineno - 1].strip()}"
        for source in OURS
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type)
    ]

    assert len(broad) <= EXCUSED_EXCEPTS, broad
    assert all("boundary" in line for line in broad), broad


def _is_broad(caught: ast.expr | None) -> bool:
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def test_nothing_is_unfinished() -> None:
    """No marks of things left undone, in code or in tests; no type error waved through without its code."""
    marks = [
        f"{source.name}:{number} {line.strip()}"
        for source in EVERY
        if source.path != Path(__file__)
        for number, line in enumerate(source.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]

    assert marks == []


def test_no_mocks_and_no_drawers() -> None:
    """Fakes come with the seam, and modules are named after what they do."""
    mocks = [
        source.name
        for source in EVERY
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node).split()
    ]
    drawers = [source.name for source in OURS if source.path.stem in ("utils", "util", "helpers", "common", "misc")]

    assert mocks == []
    assert drawers == []


@each_of_ours
def test_heavy_libraries_are_imported_in_functions(source: Source) -> None:
    """A sensor or a code server that imports this module loads none of them."""
    heavy = [
        f"{source.name}:{node.lineno}"
        for node in source.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] in HEAVY
    ]

    assert heavy == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-dask.lock"])
def test_locks_are_complete_and_name_no_index(name: str) -> None:
    """Every package is pinned with hashes, every dependency is there, and no address is."""
    text = (CHECKOUT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    locked = {canonicalize_name(Requirement(entry.partition("\\")[0]).name) for entry in entries}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + (project["dependency-groups"]["dev"] if "dev" in name else [])
    if "dask" in name:  # goes on top of the others
        wanted = project["project"]["optional-dependencies"]["dask"]

    assert "://" not in text
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert {canonicalize_name(Requirement(line).name) for line in wanted} <= locked


def test_the_locks_agree() -> None:
    """Tests run on the very versions that are shipped, and the extra's lock changes none of them."""
    runtime, dev, dask = (
        dict(re.findall(r"^(\S+)==(\S+)", (CHECKOUT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock", "requirements-dask.lock")
    )

    assert runtime.items() <= dev.items()
    assert {name: version for name, version in dask.items() if dev.get(name, version) != version} == {}


def test_there_is_as_much_test_as_source() -> None:
    """Lines of tests at least equal lines of source."""
    tested, written = (sum(source.lines for source in sources(folder)) for folder in (TESTS, PACKAGE))

    assert tested >= written, f"{tested} lines of tests for {written} lines of source"
