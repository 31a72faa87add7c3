"""Of a table on a store only what is needed is fetched: the bytes that a real server is asked for
are counted."""

from __future__ import annotations

import io

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from s3 import Bucket

from pipelines.corpus.sources import open_source

GROUPS = 12
FOOTER = 1 << 16
"""bytes that Arrow reads at a file's end, whenever it opens one"""


@pytest.fixture(scope="module")
def sounds() -> list[bytes]:
    rng, found = np.random.default_rng(0), []
    for _ in range(GROUPS):
        file = io.BytesIO()
        soundfile.write(file, 0.1 * rng.standard_normal(100_000), 16_000, format="WAV")
        found.append(file.getvalue())
    return found


@pytest.fixture(scope="module")
def table(sounds: list[bytes]) -> bytes:
    """A group for each sound."""
    rows = [
        {"id": f"r{n}", "audio": {"bytes": sound, "path": f"{n}.wav"}, "text": f"text {n}"}
        for n, sound in enumerate(sounds)
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=1)
    return file.getvalue()


def fetched(bucket: Bucket) -> int:
    """Bytes that were asked for since the last call."""
    total = 0
    for request in bucket.proxy.seen:
        if request.method == "GET" and request.key.endswith(".parquet"):
            first, last = request.headers["range"].removeprefix("bytes=").split("-")
            total += int(last) - int(first) + 1
    bucket.proxy.seen.clear()
    return total


def test_a_list_of_rows_is_had_without_their_audio_and_a_row_without_the_others(
    bucket: Bucket, table: bytes, sounds: list[bytes]
) -> None:
    bucket.put("set/a.parquet", table)
    source = open_source(bucket.url("set/a.parquet"))
    recordings = list(source.scan())
    assert [one.text for one in recordings] == [f"text {n}" for n in range(GROUPS)]
    assert 0 < fetched(bucket) < 5 * FOOTER < 0.2 * len(table)
    for number in (7, 3):
        file = source.open(recordings[number])
        assert not isinstance(file, str) and file.read() == sounds[number]
        assert len(sounds[number]) * 0.5 < fetched(bucket) < len(sounds[number]) * 1.1 + FOOTER


def test_other_stores_give_the_same(table: bytes, sounds: list[bytes]) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/ranged/a.parquet", table)
    source = open_source("memory://ranged/a.parquet")
    file = source.open(list(source.scan())[5])
    assert not isinstance(file, str) and file.read() == sounds[5]
