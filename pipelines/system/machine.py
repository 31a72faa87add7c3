"""What a run may use of this machine, how it starts other processes on it, and what it is refused
there."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipelines.system.words import printable

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_HERE = Path(__file__).resolve().parents[2]
"""the folder that holds this package"""


def own_command(module: str, *arguments: str) -> Sequence[str]:
    """A command that runs `main` of one of this project's modules in a process of its own.

    Only the interpreter's own folders are searched for modules, and the one that holds this
    package: with `-m`, a `queue.py` or `tokenizer.py` in the user's working folder would be run
    instead. Ctrl-C, which a terminal sends to all, is the parent's business, also while the child
    imports.
    """
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    own = "from codecshards.own import own_packages; own_packages()"
    start = (
        f"{deaf}; import sys; sys.path += {own_paths()!r}; {own}; from {module} import main; main()"
    )
    return [sys.executable, "-P", "-c", start, *arguments]


def own_paths() -> list[str]:
    """Folders beyond the interpreter's own in which this package is found; none where it is
    installed."""
    return [] if _HERE.name in ("site-packages", "dist-packages") else [str(_HERE)]


def usable_cores() -> int:
    """CPU cores that this process may keep busy: those of its affinity mask, and no more than its
    control group's quota."""
    return max(1, min(_allowed(), _quota() or _allowed()))


def _allowed() -> int:
    """Cores that the scheduler may put this process on: what `taskset`, Slurm and cpusets set."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int | None:
    """Cores' worth of time that control groups grant, as `docker --cpus` and Kubernetes limits set
    it; None without a limit.

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
        found += [
            inner,
            *(folder for folder in inner.parents if folder == root or root in folder.parents),
            root,
        ]
    return found


def _limit(folder: Path) -> float | None:
    """The quota of one group, in cores: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


_OF_THE_MACHINE = {
    errno.EACCES: "have its permissions changed",
    errno.EPERM: "have its permissions changed",
    errno.EROFS: "choose another place",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise `ulimit -f`",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "raise `ulimit -n`",
    errno.EAGAIN: "raise `ulimit -u`, or end some processes",
    errno.EIO: "look at the disk or share",
    errno.ESTALE: "look at the share",
    errno.ENODEV: "look at the disk or share",
    errno.ENXIO: "look at the disk or share",
    errno.ENOTCONN: "look at the share",
    errno.ETIMEDOUT: "look at the share",
    errno.EISDIR: "remove or rename it",
    errno.ENOTDIR: "remove or rename it",
    errno.ELOOP: "remove or rename it",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""errors that no code of ours can mend, and what to do about them"""


def of_this_machine(error: BaseException) -> str | None:
    """One line, where an error says what this machine does not let us use or have, wherever that
    was met; None for every other."""
    again = "then run the same command again"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"no more threads or processes can be started: raise `ulimit -u`, {again}"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return f"{printable(error.object)}: a name that is not UTF-8: choose another"
    if not isinstance(error, OSError):
        return None
    if "usable temporary directory" in str(error):
        return f"no folder for temporary files can be written: set TMPDIR to one, {again}"
    if error.errno not in _OF_THE_MACHINE:
        return None
    what = os.strerror(error.errno)
    if error.filename is not None:
        what = f"{os.fsdecode(error.filename)} cannot be used: {what}"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"{what} (temporary files are in {tempfile.gettempdir()}: TMPDIR says where)"
    return f"{what}: {_OF_THE_MACHINE[error.errno]}, {again}"
