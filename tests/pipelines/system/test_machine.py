"""What of a machine a run may use, and what it is refused."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.system.machine import _quota, of_this_machine, own_command, usable_cores

PRINT = [
    sys.executable,
    "-c",
    "from pipelines.system.machine import usable_cores; print(usable_cores())",
]
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity masks are Linux's")
def test_an_affinity_mask_is_kept() -> None:
    one = min(os.sched_getaffinity(0))
    done = subprocess.run(
        PRINT,
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"


def test_there_is_always_a_core() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("written", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("250000 100000", 3), ("50000 100000", 1)],
)
def test_a_container_s_quota_is_kept(tmp_path: Path, written: str, cores: int | None) -> None:
    """Files as version 2 of control groups has them, set on a group around this one."""
    group = tmp_path / "fs" / "docker" / "inner"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (group.parent / "cpu.max").write_text(f"{written}\n")
    (tmp_path / "own").write_text("0::/docker/inner\n")
    assert _quota(tmp_path / "fs", tmp_path / "own") == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("200000", 2)])
def test_quotas_of_the_older_kind_are_kept(tmp_path: Path, quota: str, cores: int | None) -> None:
    group = tmp_path / "fs" / "cpu,cpuacct" / "job"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota)
    (group / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "own").write_text("5:memory:/job\n4:cpu,cpuacct:/job\n")
    assert _quota(tmp_path / "fs", tmp_path / "own") == cores


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert _quota(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "", "/a/b"), "/a/b cannot be used: Permission denied: "),
        (OSError(errno.ENOSPC, ""), "temporary files are in "),
        (OSError(errno.EIO, "", b"/a/\xfc"), "cannot be used: Input/output error: look at "),
        (BlockingIOError(errno.EAGAIN, ""), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []"), "TMPDIR"),
    ],
)
def test_what_a_machine_refuses_is_one_line(error: Exception, words: str) -> None:
    text = of_this_machine(error)
    assert text is not None and words in text and "\n" not in text
    assert text.endswith("then run the same command again")


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "", "x"), RuntimeError("odd")])
def test_other_errors_are_nobody_s_machine_s(error: Exception) -> None:
    assert of_this_machine(error) is None


def test_ctrl_c_while_a_child_imports_is_its_parent_s_business(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import signal; signal.raise_signal(signal.SIGINT)\ndef main(): print('there')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        own_command("slow"), env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "there\n", "")


def test_a_name_that_no_library_opens_is_one_line() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "out/\udcff".encode()
    assert of_this_machine(caught.value) == (
        r"out/\udcff: a name that is not UTF-8: choose another"
    )
