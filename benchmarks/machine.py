"""What a benchmark ran on, for its report."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Such as "2 cores, AMD EPYC, x86_64"."""
    return ", ".join(
        part for part in (f"{os.cpu_count()} cores", _processor(), platform.machine()) if part
    )


def _processor() -> str:
    """The processor's name where the system tells it (Linux), or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""
