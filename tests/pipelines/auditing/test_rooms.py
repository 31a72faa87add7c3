"""The rooms of the audit import downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pipelines.auditing

FOLDER = Path(pipelines.auditing.__file__).parent
ORDER = (("results", "places"), ("choose",), ("measure",), ("options",), ("judge",), ("page",))
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
ABOVE_ALL = len(ORDER)
FILES = [
    path for path in FOLDER.rglob("*.py") if path.relative_to(FOLDER).parts[0] != "__init__.py"
]


def room(parts: tuple[str, ...]) -> int:
    return RANK.get(parts[0].removesuffix(".py"), ABOVE_ALL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_room_imports_no_higher_one(path: Path) -> None:
    own = room(path.relative_to(FOLDER).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "pipelines.auditing."
        ):
            there = room(tuple((node.module or "").split(".")[2:]))
            assert there <= own, f"{path.name} imports {node.module}"
        if isinstance(node, ast.ImportFrom) and own < ABOVE_ALL:
            assert not (node.module or "").startswith(("pipelines.cluster", "pipelines.tokenizing"))
