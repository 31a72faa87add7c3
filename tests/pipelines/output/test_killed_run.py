"""A run that is killed while it holds its lease: the next one with another configuration changes
nothing, and the next one with the same takes over."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpora import write_corpus

from pipelines.cli.main import main

ROOT = Path(__file__).resolve().parents[3]


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_killed_run_is_gone_on_with_by_its_like_and_by_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 40, broken=False), tmp_path / "out"
    command = ["tokenize", str(corpus), str(out), "--codec", "mulaw", "--workers", "0"]
    command += ["--shard-hours", "0.002"]
    process = subprocess.Popen(
        [sys.executable, "-m", "codecshards", *command], cwd=ROOT, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("manifest/commits/*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=20)
    (lease,) = (out / "manifest" / "runs").iterdir()
    planned = len(list(out.glob("manifest/commits/*.json")))
    before = files_of(out)

    assert main([*command, "--bandwidth", "24"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "holds another configuration (codec.bandwidth: 6.0 there, 24.0 now" in line
    assert files_of(out) == before

    assert main(command) == 0
    assert f"resuming: {planned} of" in capsys.readouterr().err
    assert main(["verify", str(out)]) == 0
    assert not lease.exists() and not list((out / "manifest" / "runs").iterdir())
    assert not list((out / "manifest" / "staging").iterdir()) and not list(out.rglob("*.tmp"))

    undisturbed = tmp_path / "undisturbed"
    assert main([*command[:2], str(undisturbed), *command[3:], "--quiet"]) == 0
    assert {name: content for name, content in files_of(out).items() if "data/" in name} == {
        name: content for name, content in files_of(undisturbed).items() if "data/" in name
    }
