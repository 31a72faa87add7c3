"""The folder of a run's own Ray, and the watch over a head, without Ray."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from pipelines.cluster.local import HeadWatch, last_fatal, private_folder


def test_the_folder_is_short_private_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 90)))
    with private_folder() as folder:
        socket_name = f"{folder}/session_2026-11-25_23-18-23_130185_4194304/sockets/plasma_store.1"
        assert len(socket_name) <= 107
        outer = Path(folder).parent
        assert stat.S_IMODE(outer.stat().st_mode) == 0o700
        Path(folder).mkdir()
    assert not outer.exists()


def test_folders_of_killed_runs_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    orphan, ours = (
        Path("/tmp/codecshards-ray-4194999-x"),
        Path(f"/tmp/codecshards-ray-{os.getpid()}-x"),
    )
    for folder in (orphan, ours):
        folder.mkdir(exist_ok=True)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with private_folder():
        assert not orphan.exists() and ours.exists()
    ours.rmdir()


def test_a_head_that_goes_away_interrupts_and_one_that_stays_does_not() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    watch = HeadWatch(f"127.0.0.1:{listener.getsockname()[1]}", patience=0.6)
    time.sleep(1.5)
    assert not watch.lost
    with pytest.raises(KeyboardInterrupt):
        listener.close()
        time.sleep(30)
    assert watch.lost and "run the same command again" in watch.message
    watch.close()


def test_why_a_daemon_gave_up_is_told(tmp_path: Path) -> None:
    assert last_fatal(None) == last_fatal(str(tmp_path)) == ""
    logs = tmp_path / "session_latest/logs"
    logs.mkdir(parents=True)
    (logs / "raylet.err").write_text(
        "[2026-11-27 13:34:18,851 I 21082 21092] (raylet) main.cc:1: begins\n"
        "[2026-11-27 13:34:18,851 C 1 2] (raylet) dl.cc:161: failed to open /dev/shm\n"
        "*** StackTrace Information ***\n"
    )
    assert last_fatal(str(tmp_path)) == "failed to open /dev/shm"
