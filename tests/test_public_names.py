"""What `__all__` promises is there, is documented, and is all that `dir` shows."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

import codecshards
import pipelines
import tokenizer

ROOT = Path(__file__).resolve().parent.parent


PUBLIC = [(package, name) for package in (tokenizer, pipelines) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_every_public_name_is_there_and_says_what_it_is(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    assert inspect.getdoc(value), f"{name} has no docstring"


@pytest.mark.parametrize("package", [tokenizer, pipelines, codecshards])
def test_dir_shows_the_public_names_in_order(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(package.__all__) == dir(package)


def test_one_package_hands_on_the_names_of_both() -> None:
    assert codecshards.__all__ == sorted([*tokenizer.__all__, *pipelines.__all__])
    assert all(
        getattr(codecshards, name) is getattr(package, name)
        for package in (tokenizer, pipelines)
        for name in package.__all__
    )


def test_tokenize_has_every_option_by_name_with_its_default() -> None:
    options = [
        field for cls in (pipelines.TokenizeConfig, pipelines.RunOptions) for field in fields(cls)
    ]
    wanted = {field.name: field.default for field in options if field.name != "source"}
    found = inspect.signature(pipelines.tokenize).parameters
    assert {name: found[name].default for name in found if name not in ("source", "out")} == wanted
    documented = inspect.getdoc(pipelines.tokenize) or ""
    assert all(f"\n    {name}: " in documented for name in found)


def run_beside(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a user's script that lies in a folder with files of theirs."""
    (folder / "script.py").write_text(script)
    for name in ("tokenizer", "pipelines"):
        (folder / f"{name}.py").write_text("mine = True\n")
    return subprocess.run(
        [sys.executable, folder / "script.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_may_have_files_of_the_same_names_beside_it(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "a.wav", np.zeros((9_000, 2), np.float32), 48_000)
    script = (
        "import codecshards as cs\n"
        f"result = cs.tokenize({str(corpus)!r}, {str(tmp_path / 'out')!r}, codec='mulaw', "
        "workers=0, quiet=True)\n"
        f"print(result.recordings, len(cs.CodesDataset({str(tmp_path / 'out')!r})))\n"
    )
    ended = run_beside(tmp_path, script)
    assert ended.stdout == "1 1\n", ended.stderr


def test_a_module_of_the_same_name_that_came_first_is_told(tmp_path: Path) -> None:
    ended = run_beside(tmp_path, "import tokenizer, codecshards\ncodecshards.load_codec\n")
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and "tokenizer.py was imported" in last


@pytest.mark.parametrize("package", [tokenizer, pipelines, codecshards])
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="load_codecs"):
        package.load_codecs  # noqa: B018


def test_the_wheel_holds_every_module_and_the_type_marker(tmp_path: Path) -> None:
    """Built from a copy, as a build leaves files behind, and without isolation, as that would need
    a network."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for package in ("codecshards", "tokenizer", "pipelines"):
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
        "codecshards",
        "tokenizer",
        "pipelines",
    }
