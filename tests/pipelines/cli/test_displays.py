"""What a run looks like on terminals of any width, in pipes, and in notebooks."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import types
from pathlib import Path
from typing import Any

import pytest

from pipelines.tokenizing.progress import (
    PlainDisplay,
    RunProgress,
    ShardProgress,
    fitted,
    open_display,
    percent,
)

ROOT = Path(__file__).resolve().parents[3]
SHOW = """
import time
from pipelines.tokenizing.progress import RunProgress, ShardProgress, open_display
progress = RunProgress(planned_seconds=1000.0, shards=12)
progress.started -= 60
progress.finish(100.0, ShardProgress("a", seconds=100.0, recordings=30, failures=2))
progress.under_way = [ShardProgress("b", seconds=320.0, planned=320.0, recordings=50)]
with open_display() as display:
    for _ in range(5):
        display.update(progress)
        time.sleep(0.15)
    long = "/a/path/longer/than/a/line/of/eighty/columns/that/stays/whole.parquet"
    display.message(f"a message with {long}")
    display.message("evil\\x1b[2Jname [bold]x")
    display.update(progress)
"""
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(columns: int, **environment: str) -> bytes:
    """What a program that shows progress writes to a terminal."""
    keep = {
        k: v
        for k, v in os.environ.items()
        if k not in ("COLUMNS", "JPY_PARENT_PID", "PAGER", "GIT_PAGER", "NO_COLOR")
    }
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", SHOW]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**keep, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    assert process.wait(timeout=30) == 0, written
    return written


@pytest.mark.parametrize("columns", [200, 120, 80, 60, 40])
def test_a_bar_and_a_percentage_in_one_line_of_any_width(columns: int) -> None:
    written = on_terminal(columns)
    lines = [
        line
        for line in re.split(r"[\r\n]+", ESCAPE.sub(b"", written).decode())
        if "12 shards" in line
    ]
    assert lines
    for line in lines:
        assert len(line) <= columns and line.startswith(" 42%") and "━" in line, line
    if columns >= 60:
        assert "ETA" in lines[0] and "2 failed" in lines[0]
    assert ("real time" in lines[0]) == (columns >= 80)


def test_names_do_not_command_the_terminal_and_paths_stay_whole() -> None:
    written = on_terminal(80)
    assert b"\x1b[2J" not in written and b"evil\\x1b[2Jname [bold]x" in written
    assert b"/a/path/longer/than/a/line/of/eighty/columns/that/stays/whole.parquet" in written


@pytest.mark.parametrize(
    "environment",
    [
        {"JPY_PARENT_PID": "1"},
        {
            "TERM": "xterm-color",
            "PAGER": "cat",
            "GIT_PAGER": "cat",
            "FORCE_COLOR": "1",
            "CLICOLOR_FORCE": "1",
        },
        {"TERM": "dumb"},
    ],
)
def test_in_a_notebooks_command_there_are_plain_lines(environment: dict[str, str]) -> None:
    written = on_terminal(80, **environment)
    assert not ESCAPE.search(written), written
    assert b"a message with" in written


def test_in_a_pipe_there_are_plain_lines_even_with_forced_colours() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, env=environment, check=True
    )
    assert (
        not ESCAPE.search(ended.stderr)
        and b"a message with" in ended.stderr
        and ended.stdout == b""
    )


def test_plain_lines_have_the_percentage(capsys: pytest.CaptureFixture[str]) -> None:
    progress = RunProgress(100.0, 2)
    progress.under_way = [ShardProgress("a", planned=41.9)]
    PlainDisplay(sys.stderr, every=0.0).update(progress)
    assert capsys.readouterr().err.startswith("41%: 0/2 shards")


def test_only_what_is_done_is_100_percent() -> None:
    progress = RunProgress(100.0, 1)
    progress.under_way = [ShardProgress("a", planned=1000.0)]
    assert percent(progress) == 99
    progress.finish(100.0, ShardProgress("a"))
    assert percent(progress) == 100
    assert all(len(fitted(progress, width)) <= width for width in range(200))


class Notebook:
    """IPython in a kernel, as far as a display knows it: outputs by their handles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[list[str]] = []

        class Handle:
            def __init__(self, all: list[str]) -> None:
                self.all = all

            def update(self, html: str) -> None:
                self.all.append(html)

        def display(html: str, display_id: bool) -> Handle:
            assert display_id
            self.shown.append([html])
            return Handle(self.shown[-1])

        module: Any = types.ModuleType("IPython")
        module.get_ipython = lambda: types.SimpleNamespace(kernel=object())
        module.display = types.SimpleNamespace(display=display, HTML=str)
        monkeypatch.setitem(sys.modules, "IPython", module)


def test_a_notebook_has_one_output_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = Notebook(monkeypatch)
    progress = RunProgress(100.0, 2)
    with open_display() as display:
        display.message("listing <b>music</b>")
        progress.under_way = [ShardProgress("a", planned=42.0)]
        display.update(progress)
        for _ in range(1000):
            display.update(progress)
        display.message("the last word")
    (output,) = notebook.shown
    assert len(output) < 10, "not a picture for every block of audio"
    assert 'value="42"' in output[-1] and "42%" in output[-1] and "0/2 shards" in output[-1]
    assert "listing &lt;b&gt;music" in output[-1] and "the last word" in output[-1]
    assert capsys.readouterr() == ("", "")


def test_a_notebook_that_is_told_to_be_quiet_is(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(monkeypatch)
    with open_display(quiet=True) as display:
        display.message("hello")
    assert notebook.shown == []
