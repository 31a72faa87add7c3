"""How much of this machine a run may use: less than all of it in a container, a job of a scheduler, or under `taskset`."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """CPU cores that this process may keep busy: those of its affinity mask, and no more than its control group's quota."""
    return max(1, min(_allowed(), _quota() or _allowed()))


def _allowed() -> int:
    """Cores that the scheduler may put this process on: what `taskset`, Slurm and cpusets set."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int | None:
    """Cores' worth of time that control groups grant, as `docker --cpus` and Kubernetes limits set it; None without a limit.

    A part of a core counts as one: a quota of 1.5 keeps two processes busier than one.
    """
    limits = [limit for folder in _groups(cgroups, own) if (limit := _limit(folder)) is not None]
    return max(1, -int(-min(limits) // 1)) if limits else None


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """This process's control group and those around it, each of which may set a limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        inner = root / path.lstrip("/")
        found += [inner, *(folder for folder in inner.parents if folder == root or root in folder.parents), root]
    return found


def _limit(folder: Path) -> float | None:
    """The quota of one group, in cores: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None
