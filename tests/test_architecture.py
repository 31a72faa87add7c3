"""Who may import whom, as `docs/architecture.md` has it, and how large things may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path for package in ("tokenizer", "pipelines") for path in (ROOT / package).rglob("*.py")
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def top_level(path: Path) -> Iterator[str]:
    """The modules that are imported just by importing a file."""
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EVERYTHING = "everything"
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_MODULES = 400, 50, 12
PUBLIC = [ROOT / package / "__init__.py" for package in ("tokenizer", "pipelines")]
"""public names from all rooms, each imported when it is used"""


@cache
def rooms() -> dict[str, set[str] | None]:
    """Folder to the folders that it may import, from the page; None is everything, and a folder
    without a word of its own has its parent's."""
    table = PAGE.split("## Rooms")[1].split("## ")[0]
    found: dict[str, set[str] | None] = {}
    for folder, allowed in re.findall(r"^\| `([\w/]+)/` \|.*\| (.*)\|$", table, re.MULTILINE):
        names = set(re.findall(r"`([\w/]+)`", allowed))
        full = {name if name.startswith("tokenizer") else f"pipelines/{name}" for name in names}
        found[folder] = None if allowed.strip() == EVERYTHING else full
    return found


@cache
def modules() -> dict[str, Path]:
    """Every module's dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in FILES
    }


def targets(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
    return found


@cache
def room_of(path: Path, deepest: bool = False) -> str:
    """The folder whose rules hold for a file: the nearest around it with imports of its own on the
    page, or the nearest that the page names at all."""
    known = rooms()
    for folder in path.relative_to(ROOT).parents:
        allowed = known.get(str(folder), set())
        if allowed is None or allowed or (deepest and str(folder) in known):
            return str(folder)
    return path.relative_to(ROOT).parts[0]


def test_the_page_names_every_folder() -> None:
    folders = {str(path.parent.relative_to(ROOT)) for path in FILES} - {"pipelines"}
    small = {
        folder for folder in folders if Path(folder).name in ("parquet", "webdataset", "reading")
    }
    assert set(rooms()) == folders - small


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_what_the_page_allows(path: Path) -> None:
    room, known = room_of(path), modules()
    allowed = rooms().get(room, set())
    if room == "pipelines" or allowed is None or path in PUBLIC:
        return  # `run.py` puts the parts together
    for module in targets(path, known):
        there = room_of(known[module])
        assert there == room or there in (allowed or ()), f"{room} imports {module}"


def test_no_module_imports_itself_over_others() -> None:
    """Imports at the head of a file; what a function imports when it is called is another
    matter."""
    known = modules()
    graph = {
        name: {module for module in targets_at_the_head(path, known) if module != name}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a ring: {' -> '.join(error.args[1])}") from None


def targets_at_the_head(path: Path, known: dict[str, Path]) -> set[str]:
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"


def test_folders_are_small() -> None:
    for folder in {path.parent for path in FILES}:
        files = [path for path in folder.glob("*.py") if not path.name.startswith("__")]
        assert len(files) <= MOST_MODULES, f"{name_of(folder)} has {len(files)} modules"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    names = set(imported(path))
    if path.is_relative_to(ROOT / "tokenizer"):
        assert not [name for name in names if name.split(".")[0] == "pipelines"]
    if not path.is_relative_to(ROOT / "pipelines" / "cluster"):
        assert not [name for name in names if name.split(".")[0] == "ray"]
    assert not [name for name in names if name.split(".")[0] in ("tests", "benchmarks", "examples")]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_relative_imports_and_no_asserts(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Assert), (
            f"{path}:{node.lineno}: assert is not input validation"
        )
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"


def test_the_command_line_starts_without_heavy_imports() -> None:
    light = [
        "pipelines/cli/main.py",
        "pipelines/__init__.py",
        "tokenizer/__init__.py",
        "tokenizer/errors.py",
    ]
    for name in light:
        assert not {module.split(".")[0] for module in top_level(ROOT / name)} & {
            "torch",
            "transformers",
            "ray",
            "av",
        }


def test_the_loader_needs_neither_ray_nor_a_codec() -> None:
    """In a fresh process, as modules that it imports import others."""
    code = (
        "import sys, pipelines; [getattr(pipelines, name) for name, home in "
        "pipelines._HOMES.items() if 'loader' in home];"
        "print([name for name in sys.modules if name in ('ray', 'transformers', 'av', "
        "'tokenizer.codecs.encodec.codec')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{one.name}" for one in ROOT.glob("docs/*"))]
)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    tops = "benchmarks|codecshards|docs|examples|pipelines|tests|tokenizer"
    named = {
        one
        for one in re.findall(rf"`((?:{tops})/[\w./-]+)`", text)
        if not re.search("NAME|FAMILY", one)
    }
    linked = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    places = {ROOT / one for one in named} | {(ROOT / page).parent / one for one in linked}
    assert sorted(str(place) for place in places if not place.exists()) == []


def test_no_two_test_modules_have_one_name() -> None:
    """pytest would collect the first of them and stumble over the next."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
