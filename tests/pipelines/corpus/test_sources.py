"""Sources: the same recordings in every form, with stable ids, and refusals that say where."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from sounds import sound

from pipelines.corpus.sources import SOURCES, open_source
from pipelines.corpus.sources.base import Source, estimate_seconds
from pipelines.corpus.tables.values import plain
from tokenizer import FailureKind, RecordingError, SourceError, read_audio
from tokenizer.errors import UsageError
from tokenizer.types import Recording

COUNT = 5


def audio_bytes(number: int) -> bytes:
    sink = io.BytesIO()
    soundfile.write(
        sink, sound(1000 + number, 1, 16_000, seed=number).samples.T, 16_000, format="WAV"
    )
    return sink.getvalue()


def write_folder(root: Path) -> str:
    for number in range(COUNT):
        folder = root / "folder" / f"sub{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.wav").write_bytes(audio_bytes(number))
        (folder / f"{number}.txt").write_text(f" text {number}\n")
        (folder / f"{number}.json").write_text(
            json.dumps({"speaker": f"s{number}", "take": number})
        )
        (folder / "notes.md").write_text("no recording")
        (folder / ".hidden.wav").write_bytes(b"")
    return str(root / "folder")


def write_manifest(root: Path) -> str:
    write_folder(root)
    lines = [
        {
            "path": f"folder/sub{n % 2}/{n}.wav",
            "id": f"r{n}",
            "text": f"text {n}",
            "speaker": f"s{n}",
            "take": n,
        }
        for n in range(COUNT)
    ]
    (root / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(root / "list.jsonl")


def write_tar(root: Path) -> str:
    for archive in range(2):
        with tarfile.open(root / f"data-{archive:03d}.tar", "w") as tar:
            for number in range(archive, COUNT, 2):
                for ending, content in {
                    "wav": audio_bytes(number),
                    "txt": f"text {number}".encode(),
                    "json": json.dumps({"speaker": f"s{number}", "take": number}).encode(),
                }.items():
                    member = tarfile.TarInfo(f"{number:04d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return str(root / "data-{000..001}.tar")


def write_parquet(root: Path) -> str:
    (root / "table").mkdir()
    for part in range(2):
        numbers = range(part, COUNT, 2)
        table = pa.table(
            {
                "audio": [{"bytes": audio_bytes(n), "path": f"{n}.wav"} for n in numbers],
                "text": [f"text {n}" for n in numbers],
                "speaker": [f"s{n}" for n in numbers],
                "take": list(numbers),
            }
        )
        pq.write_table(table, root / "table" / f"part-{part}.parquet", row_group_size=2)
    return str(root / "table")


def write_saved(root: Path) -> str:
    import datasets

    rows = {
        "audio": [{"bytes": audio_bytes(n), "path": None} for n in range(COUNT)],
        "transcription": [f"text {n}" for n in range(COUNT)],
        "speaker_id": [f"s{n}" for n in range(COUNT)],
        "take": list(range(COUNT)),
    }
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    table.save_to_disk(str(root / "saved"))
    return str(root / "saved")


def write_list(root: Path) -> str:
    """A cut set of Lhotse."""
    write_folder(root)
    lines = [
        {
            "id": f"r{n}",
            "start": 0.0,
            "duration": (1000 + n) / 16_000,
            "supervisions": [{"text": f"text {n}", "speaker": f"s{n}", "custom": {"take": n}}],
            "recording": {
                "sources": [{"type": "file", "source": f"folder/sub{n % 2}/{n}.wav"}],
                "duration": (1000 + n) / 16_000,
            },
        }
        for n in range(COUNT)
    ]
    (root / "cuts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(root / "cuts.jsonl")


WRITERS: dict[str, Callable[[Path], str]] = {
    "folder": write_folder,
    "list": write_list,
    "manifest": write_manifest,
    "tar": write_tar,
    "parquet": write_parquet,
    "hf": write_saved,
}


def content(source: Source, recording: Recording) -> bytes:
    file = source.open(recording)
    if isinstance(file, str):
        return Path(file).read_bytes()
    with file:
        return file.read()


def test_every_kind_of_source_is_tested() -> None:
    of_one = {"file"}  # `test_source_forms`
    assert WRITERS.keys() == SOURCES.keys() - of_one


@pytest.fixture(params=sorted(WRITERS))
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return WRITERS[request.param](tmp_path)


def test_the_same_recordings_come_from_every_kind(spec: str) -> None:
    source = open_source(spec)
    recordings = list(source.scan())
    assert len({r.id for r in recordings}) == COUNT
    by_text = {r.text: r for r in recordings}
    for number in range(COUNT):
        recording = by_text[f"text {number}"]
        assert recording.speaker == f"s{number}"
        assert recording.meta["take"] == number
        assert recording.seconds is None or recording.seconds > 0
        assert content(source, recording) == audio_bytes(number)


def test_scans_are_repeatable_and_survive_pickling(spec: str) -> None:
    source = open_source(spec)
    first = list(source.scan())
    again = pickle.loads(pickle.dumps(source))
    assert list(again.scan()) == first
    assert content(again, first[-1]) == content(source, first[-1])
    assert list(open_source(source.spec).scan()) == first, (
        "what a source calls itself opens it again"
    )


def test_opened_files_decode(spec: str) -> None:
    source = open_source(spec)
    for recording in source.scan():
        assert read_audio(source.open(recording)).sample_rate == 16_000


def test_a_prefix_names_the_kind_outright(tmp_path: Path) -> None:
    for kind, write in WRITERS.items():
        (tmp_path / kind).mkdir()
        assert len(list(open_source(f"{kind}:{write(tmp_path / kind)}").scan())) == COUNT


def test_folder_ids_are_paths_in_the_folder(tmp_path: Path) -> None:
    ids = [r.id for r in open_source(write_folder(tmp_path)).scan()]
    assert ids == ["sub0/0.wav", "sub0/2.wav", "sub0/4.wav", "sub1/1.wav", "sub1/3.wav"]


def test_a_folder_on_any_file_system(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    for number in range(2):
        fs.pipe_file(f"/corpus/x/{number}.wav", audio_bytes(number))
        fs.pipe_file(f"/corpus/x/{number}.txt", f"text {number}".encode())
    source = open_source("memory://corpus")
    recordings = list(source.scan())
    assert [(r.id, r.text) for r in recordings] == [("x/0.wav", "text 0"), ("x/1.wav", "text 1")]
    assert content(source, recordings[1]) == audio_bytes(1)
    fs.rm("/corpus", recursive=True)
    with pytest.raises(RecordingError) as caught:
        source.open(recordings[0])
    assert caught.value.kind is FailureKind.NOT_FOUND


def test_tars_on_any_file_system(tmp_path: Path) -> None:
    write_tar(tmp_path)
    fs = fsspec.filesystem("memory")
    for path in tmp_path.glob("*.tar"):
        fs.pipe_file(f"/tars/{path.name}", path.read_bytes())
    source = open_source("memory://tars/data-{000..001}.tar")
    recordings = list(source.scan())
    assert len(recordings) == COUNT and recordings[0].id == "data-000/0000.wav"
    assert (
        hashlib.sha256(content(source, recordings[0])).digest()
        == hashlib.sha256(audio_bytes(0)).digest()
    )
    fs.rm("/tars", recursive=True)


def test_a_folder_of_tars(tmp_path: Path) -> None:
    write_tar(tmp_path)
    assert len(list(open_source(str(tmp_path)).scan())) == COUNT


def test_compressed_tars_are_refused_with_advice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(SourceError, match="unpack it"):
        list(open_source(str(tmp_path / "a.tar.gz")).scan())


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    root = Path(write_folder(tmp_path))
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert len(list(open_source(str(root)).scan())) == COUNT


def test_names_that_are_not_utf8_are_readable_and_open(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(audio_bytes(1))
    source = open_source(str(tmp_path))
    (recording,) = source.scan()
    recording.id.encode("utf-8")
    assert "caf" in recording.id
    assert content(source, recording) == audio_bytes(1)


def test_a_sidecar_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(audio_bytes(0))
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    (recording,) = open_source(str(tmp_path)).scan()
    assert ".json" in recording.meta["sidecar_error"] and ".txt" in recording.meta["sidecar_error"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "parquet"])
def test_manifests_in_every_form(tmp_path: Path, form: str) -> None:
    write_folder(tmp_path)
    rows = [
        {"path": "folder/sub0/0.wav", "start": 0.01, "end": 0.05, "language": "en"},
        {"path": "folder/sub0/0.wav", "start": 0.05, "end": None, "language": "en"},
        {"path": str(tmp_path / "folder/sub1/1.wav"), "start": None, "end": None, "language": None},
    ]
    path = tmp_path / f"list.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="," if form == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    found = list(open_source(str(path)).scan())
    assert [r.id for r in found[:2]] == ["folder/sub0/0.wav#0.01-0.05", "folder/sub0/0.wav#0.05-"]
    assert [(r.start, r.end, r.language) for r in found] == [
        (0.01, 0.05, "en"),
        (0.05, None, "en"),
        (None, None, None),
    ]
    assert found[0].seconds == pytest.approx(0.04)
    assert [content(open_source(str(path)), r) for r in found] == [
        audio_bytes(0),
        audio_bytes(0),
        audio_bytes(1),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"path": "a.wav"}\n{"text": "x"}\n', "line 2: no `path`"),
        ('{"path": "a.wav"}\nnonsense\n', "line 2: not JSON"),
        ("[1]\n", "line 1: a JSON object"),
        ('{"path": "a.wav", "start": "soon"}\n', "line 1: `start` is 'soon'"),
        ('{"path": "a.wav", "start": -1}\n', "line 1: `start`"),
        ('{"path": "a.wav", "start": 2, "end": 1}\n', "line 1: .*end 1 is not after start"),
    ],
)
def test_a_bad_line_costs_its_row_and_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text + '{"path": "last.wav", "id": "last"}\n')
    source = open_source(str(tmp_path / "bad.jsonl"))
    recordings = list(source.scan())
    assert recordings[-1].id == "last" and len(recordings) == text.count("\n") + 1
    (bad,) = [recording for recording in recordings if "rejected" in recording.locator]
    with pytest.raises(RecordingError, match=reason) as caught:
        source.open(bad)
    assert caught.value.kind is FailureKind.BAD_ROW and bad.id.startswith("bad.jsonl#line-")


def test_a_manifest_without_one_usable_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("nonsense\n" * 3)
    with pytest.raises(SourceError, match="line 1: not JSON"):
        list(open_source(str(tmp_path / "bad.jsonl")).scan())


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.parquet", "no parquet"), ("a.csv", "path\na.wav,too,many\n"), ("a.tar", "no tar")],
)
def test_damaged_lists_are_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=name):
        list(open_source(str(tmp_path / name)).scan())


def test_what_is_no_source_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    for spec in (
        str(tmp_path / "missing"),
        str(tmp_path / "file.txt"),
        "hf:only-a-name",
        "nosuch://bucket/x",
    ):
        with pytest.raises(SourceError) as caught:
            list(open_source(spec).scan())
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="SOURCE is empty"):
        open_source("")


def test_a_saved_data_set_with_splits_needs_one_named(tmp_path: Path) -> None:
    import datasets

    table = datasets.load_from_disk(write_saved(tmp_path))
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(SourceError, match="train, test"):
        list(open_source(str(tmp_path / "both")).scan())
    assert len(list(open_source(f"hf:{tmp_path / 'both'}:test").scan())) == COUNT


def test_files_that_have_gone_are_failures(tmp_path: Path) -> None:
    source = open_source(write_folder(tmp_path))
    recordings = list(source.scan())
    Path(recordings[0].uri).unlink()
    Path(recordings[1].uri).unlink()
    os.mkfifo(recordings[1].uri)
    kinds = []
    for recording in recordings[:2]:
        with pytest.raises(RecordingError) as caught:
            source.open(recording)
        kinds.append(caught.value.kind)
    assert kinds == [FailureKind.NOT_FOUND, FailureKind.UNREADABLE]


def test_estimates_are_of_the_right_order() -> None:
    assert estimate_seconds("a.wav", 17_640_000) == pytest.approx(100)
    assert 20 < estimate_seconds("a.mp3", 1_000_000) < 100


def test_any_value_becomes_json() -> None:
    odd = {"a": np.float32(1.5), "b": [np.int64(2)], "c": {"d": b"x"}, "e": None}
    assert json.loads(json.dumps(plain(odd)))["a"] == 1.5
