"""The figures that a person waits by."""

from __future__ import annotations

import io

import pytest

from pipelines.system.words import format_duration, format_hours
from pipelines.tokenizing.progress import (
    PlainDisplay,
    RunProgress,
    ShardProgress,
    describe,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (61, "1m 01s"), (3600, "1h 00m"), (7505, "2h 05m")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_audio_time_reads_well() -> None:
    assert format_hours(90) == "1.5 min"
    assert format_hours(5400) == "1.50 h"


def test_counts_add_up_over_finished_and_running_shards() -> None:
    progress = RunProgress(planned_seconds=100.0, shards=2)
    progress.finish(
        50.0, ShardProgress("a", seconds=60.0, recordings=3, failures=1, decode_wait=1.0, wall=10.0)
    )
    progress.under_way = [
        ShardProgress("b", seconds=30.0, planned=25.0, recordings=2, decode_wait=3.0, wall=10.0)
    ]
    assert (progress.seconds, progress.all_recordings, progress.all_failures) == (90.0, 5, 1)
    assert progress.share == pytest.approx(75.0 / 100.0), (
        "in the plan's own seconds, whatever the files really held"
    )
    assert progress.waiting("decode") == pytest.approx(0.2)
    assert "1/2 shards" in describe(progress) and "ETA" in describe(progress)


def test_it_is_done_when_every_shard_is() -> None:
    progress = RunProgress(planned_seconds=100.0, shards=1)
    assert progress.share == 0.0 and progress.remaining is None
    progress.finish(100.0, ShardProgress("a", seconds=3.0))
    assert progress.share == 1.0 and "ETA" not in describe(progress)


def test_plain_lines_come_now_and_then() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, every=1000.0)
    with display:
        display.update(RunProgress(1.0, 1))
        display.message("hello")
    assert stream.getvalue() == "hello\n"
    eager = PlainDisplay(stream, every=0.0)
    eager.update(RunProgress(1.0, 1))
    assert "0/1 shards" in stream.getvalue()
