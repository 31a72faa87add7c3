"""Who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "tokenizer").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")])


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def top_level(path: Path) -> Iterator[str]:
    """The modules that are imported just by importing a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
        "import sys, pipelines; [getattr(pipelines, name) for name in pipelines.__all__ if 'udit' "
        "not in name];"
        "print([name for name in sys.modules if name in ('ray', 'transformers', 'av', "
        "'tokenizer.codecs.encodec.codec')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
