"""What was rewritten between plan and reading, so that all that can be told without reading it is
as it was: never another's audio under an id, for every way in."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3
import soundfile
from test_sources_sets import data_set

from pipelines.corpus.sources import Source, open_source
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

Write = Callable[[Path, int], str]
"""writes two recordings of one length, with silence at either end, which differ by version in the
middle only; returns SOURCE"""


def wave(number: int, version: int) -> bytes:
    samples = np.zeros(24_000, np.float32)
    rng = np.random.default_rng(10 * number + version)
    samples[8_000:16_000] = rng.uniform(-0.5, 0.5, 8_000)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV")
    return file.getvalue()


def as_files(home: Path, version: int) -> str:
    for number in range(2):
        (home / f"{number}.wav").write_bytes(wave(number, version))
    return str(home)


def as_table(home: Path, version: int) -> str:
    as_files(home, version)
    (home / "t.csv").write_text("path,text\n0.wav,one\n1.wav,two\n")
    return str(home / "t.csv")


def as_tar(home: Path, version: int) -> str:
    with tarfile.open(home / "t.tar", "w") as archive:
        for number in range(2):
            content, member = wave(number, version), tarfile.TarInfo(f"{number}.wav")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(home / "t.tar")


def as_nemo(home: Path, version: int) -> str:
    as_tar(home, version)
    (home / "t.tar").rename(home / "audio_0.tar")
    lines = [f'{{"audio_filepath": "{n}.wav", "text": "t", "shard_id": 0}}' for n in range(2)]
    (home / "tarred_audio_manifest.json").write_text("\n".join(lines) + "\n")
    return str(home)


def as_parquet(home: Path, version: int) -> str:
    cells = [{"bytes": wave(number, version), "path": f"{number}.wav"} for number in range(2)]
    table = pa.table({"audio": cells, "text": ["one", "two"]})
    pq.write_table(table, home / "t.parquet", compression="none", use_dictionary=False)
    return str(home)


def as_saved(home: Path, version: int) -> str:
    import datasets

    cells = [{"bytes": wave(number, version), "path": None} for number in range(2)]
    for path in home.iterdir():
        path.unlink()
    features = {"audio": datasets.Audio(), "text": datasets.Value("string")}
    data = data_set(features, {"audio": cells, "text": ["one", "two"]})
    data.save_to_disk(str(home))
    return str(home)


WAYS: dict[str, Write] = {
    "folder": as_files,
    "table": as_table,
    "tar": as_tar,
    "nemo": as_nemo,
    "parquet": as_parquet,
    "saved": as_saved,
}


def read(source: Source, recording: Recording) -> bytes:
    opened = source.open(recording)
    if isinstance(opened, str):
        return Path(opened).read_bytes()
    with opened:
        return opened.read()


@pytest.mark.parametrize("way", WAYS)
def test_another_audio_of_the_same_size_is_no_ones(way: str, tmp_path: Path) -> None:
    write = WAYS[way]
    planned = list(open_source(write(tmp_path, 0)).scan())
    source = open_source(str(write(tmp_path, 0)))
    fresh = list(source.scan())
    assert [read(source, one) for one in fresh] == [wave(0, 0), wave(1, 0)]
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.*")}

    source = open_source(write(tmp_path, 1))
    assert {path.name: path.stat().st_size for path in tmp_path.glob("*.*")} == sizes
    for recording in (*planned, *fresh):
        with pytest.raises(RecordingError) as caught:
            read(source, recording)
        assert caught.value.kind is FailureKind.CHANGED, caught.value
    now = list(source.scan())
    assert [read(source, one) for one in now] == [wave(0, 1), wave(1, 1)]


@pytest.mark.parametrize("way", WAYS)
def test_plans_from_before_go_on(way: str, tmp_path: Path) -> None:
    """They say less, and what they say is looked at."""
    source = open_source(WAYS[way](tmp_path, 0))
    for number, recording in enumerate(list(source.scan())):
        old = {key: each for key, each in recording.locator.items() if key not in ("file", "audio")}
        kept = Recording(recording.id, recording.uri, old)
        assert read(source, kept) == wave(number, 0)


@pytest.mark.parametrize("way", ["folder", "tar", "parquet"])
def test_objects_of_a_store_are_told_by_their_tags(
    way: str, tmp_path: Path, bucket: s3.Bucket
) -> None:
    def upload(version: int) -> None:
        WAYS[way](tmp_path, version)
        for path in tmp_path.iterdir():
            bucket.put(f"corpus/{path.name}", path.read_bytes())

    upload(0)
    spec = bucket.url("corpus/t.tar" if way == "tar" else "corpus")
    source = open_source(spec)
    planned = list(source.scan())
    assert [read(source, one) for one in planned] == [wave(0, 0), wave(1, 0)]
    upload(1)
    for recording in planned:
        with pytest.raises(RecordingError) as caught:
            read(_elsewhere(spec), recording)
        assert caught.value.kind is FailureKind.CHANGED


@pytest.mark.parametrize("way", ["folder", "table", "tar"])
def test_a_process_that_comes_back_to_a_store_sees_what_is_there_now(
    way: str, tmp_path: Path, bucket: s3.Bucket
) -> None:
    """As a notebook does: clients remember what they were told."""

    def upload(count: int) -> None:
        for number in range(count):
            bucket.put(f"corpus/{number}.wav", wave(number, 0))
        rows = "".join(f"corpus/{number}.wav\n" for number in range(count))
        bucket.put("t.csv", f"path\n{rows}".encode())
        with tarfile.open(tmp_path / "t.tar", "w") as archive:
            for number in range(count):
                (tmp_path / "a.wav").write_bytes(wave(number, 0))
                archive.add(tmp_path / "a.wav", f"{number}.wav")
        bucket.put("t.tar", (tmp_path / "t.tar").read_bytes())

    spec = bucket.url({"folder": "corpus", "table": "t.csv", "tar": "t.tar"}[way])
    for count in (2, 5):
        upload(count)
        source = open_source(spec)
        found = list(source.scan())
        assert [read(source, each) for each in found] == [wave(n, 0) for n in range(count)]
    upload(6)
    if way != "folder":  # without a new look there is one line, and no wait of 90 s
        with pytest.raises(SourceError, match="written again while it was read"):
            list(source.scan())


@pytest.mark.parametrize("name", ["none.tar", "none.csv"])
def test_a_list_that_a_store_does_not_have_is_said_to_be_missing(
    name: str, bucket: s3.Bucket
) -> None:
    with pytest.raises(SourceError, match="no such file"):
        list(open_source(bucket.url(name)).scan())


def _elsewhere(spec: str) -> Source:
    """A source in a process that has not looked before."""
    from pipelines.corpus.sources import identity

    identity._lately.cache_clear()
    s3.forget_clients()
    return open_source(spec)


def test_a_touched_file_is_not_told_from_a_rewritten_one(tmp_path: Path) -> None:
    source = open_source(as_tar(tmp_path, 0))
    first, _ = source.scan()
    os.utime(tmp_path / "t.tar", ns=(0, 0))
    with pytest.raises(RecordingError, match="--retry-failed takes what is there now"):
        read(source, first)


def test_files_of_a_store_that_a_list_names_are_remembered(bucket: s3.Bucket) -> None:
    for number in range(70):  # some asked for one by one, the others from the list of the folder
        bucket.put(f"corpus/{number:02d}.wav", wave(0, 0))
    rows = "\n".join(f"{number:02d}.wav" for number in range(70))
    bucket.put("corpus/t.csv", f"path\n{rows}\nmissing.wav\n".encode())
    spec = bucket.url("corpus/t.csv")
    *planned, missing = open_source(spec).scan()
    assert "version" not in missing.locator
    for number in (0, 69):
        bucket.put(f"corpus/{number:02d}.wav", wave(0, 1))
    source = _elsewhere(spec)
    for recording in (planned[0], planned[69]):
        with pytest.raises(RecordingError) as caught:
            read(source, recording)
        assert caught.value.kind is FailureKind.CHANGED
    assert read(source, planned[1]) == read(source, planned[68]) == wave(0, 0)


@pytest.mark.parametrize("way", ["tar", "parquet", "saved"])
def test_files_alone_say_that_nothing_has_changed(way: str, tmp_path: Path) -> None:
    source = open_source(WAYS[way](tmp_path, 0))
    planned = {(one.uri, one.locator["file"]) for one in source.scan()}
    assert source.files() is not None and {*(source.files() or {}).items()} == planned
    again = open_source(WAYS[way](tmp_path, 1)).files() or {}
    assert again.keys() == {uri for uri, _ in planned} and {*again.items()} != planned
