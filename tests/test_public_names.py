"""What `__all__` promises is there, is documented, and is all that `dir` shows."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import pipelines
import tokenizer

ROOT = Path(__file__).resolve().parent.parent


PUBLIC = [(package, name) for package in (tokenizer, pipelines) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_every_public_name_is_there_and_says_what_it_is(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    assert inspect.getdoc(value), f"{name} has no docstring"


@pytest.mark.parametrize("package", [tokenizer, pipelines])
def test_dir_shows_the_public_names_in_order(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(package.__all__) == dir(package)


@pytest.mark.parametrize("package", [tokenizer, pipelines])
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="load_codecs"):
        package.load_codecs  # noqa: B018


def test_the_wheel_holds_every_module_and_the_type_marker(tmp_path: Path) -> None:
    """Built from a copy, as a build leaves files behind, and without isolation, as that would need
    a network."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for package in ("tokenizer", "pipelines"):
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    files = {str(path.relative_to(source)) for path in source.glob("*/**/*") if path.is_file()}
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("codecshards-*.whl"))) as wheel:
        inside = set(wheel.namelist())
    assert {"tokenizer/py.typed", "pipelines/py.typed"} <= files <= inside
    assert {name.split("/")[0] for name in inside if ".dist-info" not in name} == {
        "tokenizer",
        "pipelines",
    }
