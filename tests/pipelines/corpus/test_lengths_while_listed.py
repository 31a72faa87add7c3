"""Lengths that a corpus is planned with, whichever way it comes in."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audio_files import by_ffmpeg, by_soundfile, noise

from pipelines.corpus import lengths
from pipelines.corpus.by_channel import planned
from pipelines.corpus.sources import Source, open_source
from pipelines.corpus.sources.base import FromHeader, Guess
from pipelines.corpus.tables import audio_cells
from pipelines.output.plan import make_plan
from tokenizer.types import Recording

LENGTHS = {
    "a.flac": 1.5,
    "b.mp3": 0.8,
    "c.wav": 0.25,
    "d.ogg": 2.0,
    "deep/e.wav": 1.0,
}


def content(name: str) -> bytes:
    sound = noise(LENGTHS[name], 1, seed=len(name))
    kind = name.rpartition(".")[2]
    if kind == "mp3":
        return by_ffmpeg("mp3", ("libmp3lame", sound))
    form = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16"), "ogg": ("OGG", "VORBIS")}
    return by_soundfile(sound, *form[kind])


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: content(name) for name in LENGTHS}


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    for name, each in files.items():
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).write_bytes(each)
    return tmp_path / "c"


def listed(source: str | Source | list[str]) -> list[Recording]:
    opened = source if isinstance(source, Source) else open_source(source)
    return list(planned(opened, None, None, 10.0))


def as_said(recordings: list[Recording]) -> dict[str, float]:
    """By the end of its id."""
    return {
        next(name for name in LENGTHS if one.id.endswith(name)): one.seconds or 0.0
        for one in recordings
    }


def packed(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, each in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(each)
            tar.addfile(member, io.BytesIO(each))
    return path


def test_a_folder_is_as_long_as_its_headers_say(folder: Path) -> None:
    found = listed(str(folder))
    assert [one.id for one in found] == sorted(LENGTHS)
    assert as_said(found) == pytest.approx(LENGTHS, abs=1e-4)
    assert all(type(one.seconds) is FromHeader for one in found)


def test_members_of_tars_and_several_sources_too(files: dict[str, bytes], folder: Path) -> None:
    tar = packed(files, folder.parent / "x.tar")
    assert as_said(listed(str(tar))) == pytest.approx(LENGTHS, abs=1e-4)
    both = listed([str(tar), str(folder)])
    assert as_said(both[:5]) == as_said(both[5:]) == pytest.approx(LENGTHS, abs=1e-4)


def test_rows_without_a_length_and_parts_up_to_the_end(folder: Path) -> None:
    table = folder / "t.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "duration", "start", "end"])
        writer.writerow(["a.flac", "", "", ""])
        writer.writerow(["d.ogg", "", 0.5, ""])
        writer.writerow(["d.ogg", "", 0.5, 0.75])
        writer.writerow(["c.wav", 7.0, "", ""])
        writer.writerow(["gone.wav", "", "", ""])
    seconds = [one.seconds for one in listed(str(table))]
    assert seconds[:4] == pytest.approx([1.5, 1.5, 0.25, 7.0], abs=1e-4)
    assert seconds[4] is None


def test_rows_that_say_their_length_open_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = folder / "t.jsonl"
    rows = [{"path": f"{number}.wav", "duration": 2.5} for number in range(500)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def fail(place: object) -> None:
        raise AssertionError(place)

    monkeypatch.setattr(lengths, "length_at", fail)
    assert [one.seconds for one in listed(str(table))] == [2.5] * 500


def test_a_store_is_asked_for_little_of_each_file(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = fsspec.filesystem("memory")
    for name, each in files.items():
        fs.pipe_file(f"/lengths/{name}", each)
    long = by_soundfile(noise(30.0), "FLAC", "PCM_16")
    fs.pipe_file("/lengths/long.flac", long)
    asked: list[int] = []
    whole = type(fs).cat_file

    def counted(self: object, path: str, start: int, end: int) -> bytes:
        asked.append(end - start)
        return bytes(whole(self, path, start=start, end=end))

    monkeypatch.setattr(type(fs), "cat_file", counted)
    try:
        found = listed("memory://lengths")
        assert found.pop().seconds == pytest.approx(30.0)
        assert as_said(found) == pytest.approx(LENGTHS, abs=1e-4)
        assert len(asked) <= 2 * len(found) + 1 and max(asked) <= 1 << 16 < len(long)
    finally:
        fs.rm("/lengths", recursive=True)


def test_what_says_nothing_keeps_what_its_size_suggests(folder: Path) -> None:
    (folder / "b.mp3").write_bytes(b"no audio" * 500)
    (folder / "c.wav").unlink()
    os.mkfifo(folder / "c.wav")
    found = {one.id: one.seconds for one in listed(str(folder))}
    assert type(found["b.mp3"]) is Guess and found["b.mp3"] == pytest.approx(0.2)
    assert type(found["c.wav"]) is Guess


def test_a_name_that_is_no_text(files: dict[str, bytes], tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")).write_bytes(files["c.wav"])
    (found,) = listed(str(tmp_path))
    assert found.seconds == pytest.approx(0.25)


class Slow(Source):
    """Lists more than is looked at at a time."""

    spec = "slow"

    def __init__(self, count: int) -> None:
        self.count, self.most, self.taken = count, 0, 0

    def scan(self) -> Iterator[Recording]:
        for number in range(self.count):
            self.taken = number
            yield Recording(f"{number:05d}", f"/{number}")

    def place(self, recording: Recording) -> lengths.Place:
        return lengths.Place(recording.uri)

    def open(self, recording: Recording) -> str:
        raise NotImplementedError


def test_order_and_plan_do_not_depend_on_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = threading.Event()

    def slow(place: lengths.Place) -> lengths.Length:
        number = int(place.uri[1:])
        wait.wait(0.0005 if number % 97 == 0 else 0.0)
        return lengths.Length(1.0 + number % 7, exact=True)

    monkeypatch.setattr(lengths, "length_at", slow)
    monkeypatch.setattr(lengths, "_AHEAD", 4)
    source = Slow(3_000)
    plans = [make_plan(planned(source, None, None, 10.0), shard_hours=0.1).sha256 for _ in range(2)]
    assert plans[0] == plans[1]
    coming = planned(source, None, None, 10.0)
    first = next(coming)
    assert (first.id, first.seconds) == ("00000", 1.0)
    assert source.taken < 1_000, "few files are looked at at a time"
    assert [one.id for one in coming] == [f"{number:05d}" for number in range(1, 3_000)]


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "disk"])
def test_cells_of_data_sets(
    kind: str, stated: bool, files: dict[str, bytes], tmp_path: Path
) -> None:
    import datasets

    cells = [{"bytes": each, "path": None} for each in files.values()]
    cells += [{"bytes": b"", "path": None}, {"bytes": b"no audio", "path": None}]
    values: dict[str, object] = {"audio": cells}
    kinds: dict[str, object] = {"audio": datasets.Audio()}
    if stated:
        values["duration"], kinds["duration"] = [4.0] * len(cells), datasets.Value("float64")
    features = datasets.Features(kinds)
    table = pa.table(values, schema=features.arrow_schema)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    else:
        held = datasets.table.InMemoryTable(table)
        made = datasets.Dataset(held, info=datasets.DatasetInfo(features=features))
        made.save_to_disk(str(tmp_path / "set"))
    found = listed(str(tmp_path if kind == "parquet" else tmp_path / "set"))
    wanted = [4.0] * 7 if stated else [*LENGTHS.values(), None, None]
    assert [one.seconds for one in found] == [
        each if each is None else pytest.approx(each, abs=1e-4) for each in wanted
    ]


def test_large_parquet_files_are_not_read_for_their_lengths(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [{"bytes": each, "path": None} for each in files.values()]
    pq.write_table(pa.table({"audio": cells}), tmp_path / "t.parquet")
    monkeypatch.setattr(audio_cells, "_MOST_BYTES", 1)
    found = listed(str(tmp_path))
    assert all(type(one.seconds) is Guess for one in found)
    whole = sum(map(len, files.values())) / 20_000
    assert sum(one.seconds or 0.0 for one in found) == pytest.approx(whole, rel=0.01)
