"""What `python -m benchmarks.gpu` needs of a machine without a network, and wheels of the rest.

    python -m benchmarks.gpu.wheels                            # there: what is missing
    python -m benchmarks.gpu.wheels --fetch FOLDER --missing numba,llvmlite   # here: its wheels
    PYTHONPATH=.:tests:FOLDER python -m benchmarks.gpu         # there, with FOLDER carried along

torch, transformers and NumPy must be there: they are too large to be carried, and torch has to fit
the driver.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from packaging.version import Version

THERE = {"torch": "2.11", "transformers": "5.17", "numpy": "2.0"}
"""and the least versions that are known to do"""
CARRIED = {
    "safetensors": "weights",
    "huggingface_hub": "looking for a checkpoint",
    "pytest": "the tests that need a GPU",
    "hypothesis": "the tests that need a GPU",
    "numba": "the tests that need a GPU",
    "llvmlite": "the tests that need a GPU",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.wheels")
    parser.add_argument("--fetch", type=Path, help="download and unpack wheels into this folder")
    parser.add_argument("--missing", default="", help="names, with commas (default: all carried)")
    parser.add_argument("--python", default="3.12", help="of that machine (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.fetch:
        names = options.missing.split(",") if options.missing else [*CARRIED]
        return fetch(options.fetch, names, options.python)
    lines, complete = check()
    print("\n".join(lines))
    return 0 if complete else 1


def check() -> tuple[list[str], bool]:
    """A line for each package, and whether the command runs here."""
    lines, complete = [], True
    for name, least in THERE.items():
        found = installed(name)
        enough = found is not None and Version(found) >= Version(least)
        complete &= enough
        lines.append(f"{name:16} {found or 'missing':12} {'' if enough else f'{least} needed'}")
    for name, purpose in CARRIED.items():
        there = find_spec(name) is not None
        complete &= there or "tests" in purpose
        said = installed(name) or "there" if there else "missing"
        lines.append(f"{name:16} {said:12} for {purpose}")
    return [line.rstrip() for line in lines], complete


def installed(name: str) -> str | None:
    """Its version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def fetch(folder: Path, names: list[str], python: str = "3.12") -> int:
    """Wheels for that Python on 64-bit Linux, unpacked: a folder for PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    command += ["--only-binary", ":all:", "--python-version", python]
    command += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    done = subprocess.run([*map(str, command), *names], check=False)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder)
        wheel.unlink()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
