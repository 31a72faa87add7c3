"""Do two runs give the same bytes, and do the tests that need a GPU pass?"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from sounds import structured

from benchmarks.gpu.bench import Bench, Chunk, clip_chunks, encode, full_chunks

ROOT = Path(__file__).resolve().parents[2]
_TESTS = ("test_batched_network.py", "test_graphs.py", "test_settling.py", "test_fast_codes.py")


def digest(bench: Bench, precision: str, at_once: int = 512) -> str:
    """Of all codes and scales of a fixed set of sounds, of which so many are encoded at a time."""
    chunks: list[Chunk] = full_chunks(3 if bench.toy else 300)
    chunks += clip_chunks(0.7, 2 if bench.toy else 200, 0.6)
    chunks += [one.samples for one in structured(9_000, 1).values()]
    found = hashlib.sha256()
    for one in encode(bench.network(24.0, precision), chunks, at_once):
        found.update(one.codes.tobytes() + repr(one.scale).encode())
    return found.hexdigest()[:16]


def run(bench: Bench, arguments: list[str]) -> None:
    """Twice in this process, the second time in smaller batches, and once in another."""
    bench.report.table("precision", "this process", "smaller batches", "another process", "equal")
    for precision in ("exact",) if bench.toy else ("exact", "fast"):
        mine = [digest(bench, precision, at_once) for at_once in (512, 3 if bench.toy else 40)]
        bench.forget()
        command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--digest", precision]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
        lines = done.stdout.split() or [f"failed: {done.stderr[-200:]}"]
        other = lines[-1]
        verdict = "yes" if {*mine, other} == {mine[0]} else "**no**"
        bench.report.row(precision, *mine, other, verdict)


def tests(bench: Bench) -> None:
    """Those that are skipped where there is no GPU."""
    if not bench.on_gpu:
        bench.report.line("Not run: there is no GPU here.")
        return
    lacking = [name for name in ("pytest", "hypothesis", "numba") if find_spec(name) is None]
    if lacking:
        bench.report.line(f"Not run: {', '.join(lacking)} not installed here.")
        return
    folder = ROOT / "tests" / "tokenizer" / "codecs" / "encodec"
    command = [sys.executable, "-m", "pytest", "-q", "-k", "gpu", "-p", "no:cacheprovider"]
    command += [str(folder / name) for name in _TESTS]
    command.append(str(folder.parent / "test_whole_batches.py"))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=max(bench.left(), 30),
            env={**os.environ, "TRITON_INTERPRET": "0"},
            check=False,
        )
        bench.report.line("    " + "\n    ".join(done.stdout.splitlines()[-8:]))
    except subprocess.TimeoutExpired:
        bench.report.line("Not through when the time was up.")
