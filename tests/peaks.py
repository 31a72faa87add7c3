"""Peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

_PEAK = """
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""
_ROOT = Path(__file__).resolve().parent.parent


def peak_of(work: str) -> float:
    """What a piece of Python prints last, in MiB; `peak()` in it is the process's peak so far."""
    command = [sys.executable, "-c", _PEAK + textwrap.dedent(work)]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])
