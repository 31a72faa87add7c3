"""One audio file as SOURCE, and several sources as one corpus."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
import soundfile
from test_sources import COUNT, WRITERS, audio_bytes, content

import codecshards
from pipelines.auditing.run import audit
from pipelines.cli.main import main
from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import Source
from pipelines.corpus.tables.hints import parse_hints
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from tokenizer import SourceError, UsageError
from tokenizer.errors import SourceUnavailable

HERE = RunOptions(workers=0, quiet=True)
AUDIT = {"reencode": True, "workers": 0, "page": False, "quiet": True}


def write_meeting(folder: Path, name: str = "meeting.wav") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(audio_bytes(1))
    path.with_suffix(".txt").write_text("well met\n")
    path.with_suffix(".json").write_text(json.dumps({"speaker": "ann", "room": 3}))
    return path


def rows(out: Path) -> dict[str, dict[str, object]]:
    """What pyarrow reads of the shards."""
    found: dict[str, dict[str, object]] = {}
    for path in sorted((out / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            found[row["id"]] = row
    return found


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file:{path}", "meeting.wav", "~"])
def test_a_file_is_a_source_of_one_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    path = write_meeting(tmp_path)
    (tmp_path / "another.wav").write_bytes(audio_bytes(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = "~/meeting.wav" if form == "~" else form.format(path=path)
    source = open_source(spec)
    (recording,) = source.scan()
    assert (recording.id, recording.text, recording.speaker) == ("meeting.wav", "well met", "ann")
    assert recording.meta == {"room": 3} and recording.uri == str(path)
    assert content(source, recording) == audio_bytes(1)
    again = open_source(str(source.address))
    assert list(again.scan()) == [recording] and content(again, recording) == audio_bytes(1)


def test_a_file_is_read_as_its_folder_reads_it(tmp_path: Path) -> None:
    path = write_meeting(tmp_path / "a", "x.y.wav")
    (alone,) = open_source(str(path)).scan()
    (among,) = open_source(str(tmp_path / "a")).scan()
    for name in ("id", "uri", "seconds", "text", "speaker", "language", "meta"):
        assert getattr(alone, name) == getattr(among, name)


def test_a_link_that_is_named_is_followed_and_keeps_its_name(tmp_path: Path) -> None:
    path = write_meeting(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link.wav").symlink_to(path)
    source = open_source(str(tmp_path / "here" / "link.wav"))
    (recording,) = source.scan()
    assert recording.id == "link.wav" and recording.text is None
    assert content(source, recording) == audio_bytes(1)


def test_a_name_that_is_not_utf8_or_says_nothing(tmp_path: Path) -> None:
    for name, spec in ((os.fsdecode(b"caf\xe9.wav"), "{}"), ("voice.dat", "file:{}")):
        (tmp_path / name).write_bytes(audio_bytes(1))
        source = open_source(spec.format(tmp_path / name))
        (recording,) = source.scan()
        recording.id.encode()
        assert content(source, recording) == audio_bytes(1)
    with pytest.raises(SourceError, match="file:NAME"):
        open_source(str(tmp_path / "voice.dat"))


def test_what_yt_dlp_wrote_beside_a_file(tmp_path: Path) -> None:
    path = write_meeting(tmp_path)
    path.with_suffix(".info.json").write_text(json.dumps({"title": "A talk", "language": "de"}))
    source = open_source(str(path))
    (recording,) = source.scan()
    assert (recording.id, recording.text) == ("meeting.wav", "well met")
    assert recording.meta["title"] == "A talk" and recording.language == "de"
    assert "yt-dlp" in source.notes[0] and content(source, recording) == audio_bytes(1)


def test_a_file_on_any_file_system() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/forms/a.wav", audio_bytes(3))
    fs.pipe_file("/forms/a.txt", b"remote text")
    source = open_source("memory://forms/a.wav")
    (recording,) = source.scan()
    assert (recording.id, recording.text) == ("a.wav", "remote text")
    assert content(source, recording) == audio_bytes(3)
    with pytest.raises(SourceError, match="no such"):
        open_source("memory://forms/b.wav")
    fs.rm("/forms", recursive=True)


class AnswersToAnyName(SimpleHTTPRequestHandler):
    """As web servers with a page for everything do."""

    def do_GET(self) -> None:
        body = audio_bytes(3) if ".wav" in self.path else b"<html>sorry</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), AnswersToAnyName) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_of_the_web_has_the_name_before_the_query_and_no_text(web: str) -> None:
    source = open_source(f"{web}/talks/a%20b.wav?token=1/2")
    (recording,) = source.scan()
    assert (recording.id, recording.text) == ("a b.wav", None)
    assert content(source, recording) == audio_bytes(3)


def test_files_and_folders_together_have_ids_that_no_later_one_changes(tmp_path: Path) -> None:
    for name in ("en/clips", "de/clips", "music"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.wav").write_bytes(audio_bytes(len(name)))
    files = [write_meeting(tmp_path / day) for day in ("monday", "tuesday")]
    specs = [
        *(str(tmp_path / name) for name in ("en/clips", "de/clips", "music")),
        *map(str, files),
    ]
    ids = ["clips/1.wav", "clips-2/1.wav", "music/1.wav", "meeting.wav", "meeting-2.wav"]
    for many in range(2, len(specs) + 1):
        source = open_source(specs[:many])
        assert [recording.id for recording in source.scan()] == ids[:many]
    again = pickle.loads(pickle.dumps(open_source(source.address)))
    for number, recording in enumerate(source.scan()):
        expected = audio_bytes(len(Path(specs[number]).relative_to(tmp_path).as_posix()))
        if number > 2:
            expected = audio_bytes(1)
        assert content(again, recording) == expected


def test_every_kind_of_source_is_opened_by_its_own(tmp_path: Path) -> None:
    specs = []
    for kind, write in WRITERS.items():
        (tmp_path / kind).mkdir()
        specs.append(f"{kind}:{write(tmp_path / kind)}")
    source = open_source(specs)
    found = list(source.scan())
    assert len(found) == COUNT * len(WRITERS) == len({recording.id for recording in found})
    stored = [pickle.loads(pickle.dumps(recording)) for recording in found]
    again = open_source(list(source.address))
    for recording in stored:
        number = int(str(recording.text).split()[1])
        assert content(again, recording) == audio_bytes(number)
        assert recording.speaker == f"s{number}"


def test_one_that_is_missing_or_twice_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_meeting(tmp_path / "a"), tmp_path / "out"
    more = ["--codec", "mulaw", "--workers", "0"]
    for specs, said in (
        ([str(path), str(tmp_path / "gone")], "gone: no such folder"),
        ([str(path), str(tmp_path / "a"), str(path)], "is given twice"),
    ):
        assert main(["tokenize", *specs, str(out), *more]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert said in lines[-1] and not out.exists()
    with pytest.raises(UsageError, match="SOURCE is empty"):
        TokenizeConfig(())


def test_what_is_said_goes_to_those_that_it_means_something_to(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(2):
        (tmp_path / "clips" / f"{number}.wav").write_bytes(audio_bytes(number))
    (tmp_path / "list.csv").write_text("file|said\n0.wav|nil\n1.wav|one\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x.wav").write_bytes(audio_bytes(4))
    specs = [str(tmp_path / "list.csv"), str(tmp_path / "plain")]
    hints = parse_hints(map="path=file,text=said", audio_root=str(tmp_path / "clips"))
    source = open_source(specs, hints=hints)
    assert [(r.id, r.text) for r in source.scan()] == [
        ("list/0.wav", "nil"),
        ("list/1.wav", "one"),
        ("plain/x.wav", None),
    ]
    with pytest.raises(UsageError, match="--map: means nothing to"):
        open_source([*specs[1:], str(tmp_path / "clips")], hints=hints)


def test_a_layout_is_for_those_that_have_it_and_must_be_for_one(tmp_path: Path) -> None:
    (tmp_path / "lj" / "wavs").mkdir(parents=True)
    (tmp_path / "lj" / "wavs" / "a.wav").write_bytes(audio_bytes(1))
    (tmp_path / "lj" / "metadata.csv").write_text("a|One, two.|one two\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x.wav").write_bytes(audio_bytes(4))
    (tmp_path / "plain" / "notes.md").write_text("no recording")
    source = open_source(
        [str(tmp_path / "plain"), str(tmp_path / "lj")], hints=parse_hints(layout="ljspeech")
    )
    assert [(r.id, r.text) for r in source.scan()] == [
        ("plain/x.wav", None),
        ("lj/wavs/a.wav", "one two"),
    ]
    assert any(note.startswith("lj: LJSpeech layout: 1 recordings") for note in source.notes)
    assert any(note.startswith("plain: ") and "notes.md" in note for note in source.notes)
    other = open_source(
        [str(tmp_path / "plain"), str(tmp_path / "lj")], hints=parse_hints(layout="vctk")
    )
    with pytest.raises(SourceError, match="--layout vctk"):
        list(other.scan())


def test_a_source_in_another_is_told(tmp_path: Path) -> None:
    path = write_meeting(tmp_path / "a")
    source = open_source([str(tmp_path / "a"), str(path)])
    assert [recording.id for recording in source.scan()] == ["a/meeting.wav", "meeting.wav"]
    assert "its recordings may be there twice" in source.notes[0]


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_several_from_end_to_end(tmp_path: Path, form: str) -> None:
    out, path = tmp_path / "out", write_meeting(tmp_path)
    for kind in ("folder", "tar", "manifest"):
        (tmp_path / kind).mkdir()
    specs = [WRITERS[kind](tmp_path / kind) for kind in ("folder", "tar", "manifest")]
    done = codecshards.tokenize(
        [*specs, str(path)],
        str(out),
        codec="mulaw",
        workers=0,
        quiet=True,
        format=form,
        shard_hours=0.0001,
    )
    assert (done.recordings, done.failures) == (3 * COUNT + 1, 0) and done.shards > 3
    assert verify(str(out)) == []
    assert inspect(str(out)).stored.config.sources == (
        str(tmp_path / "folder" / "folder"),
        specs[1],
        specs[2],
        str(path),
    )
    if form == "parquet":
        found = rows(out)
        for id, row in found.items():
            number = 1 if id == "meeting.wav" else int(str(row["text"]).split()[1])
            frames = soundfile.info(tmp_path / f"folder/folder/sub{number % 2}/{number}.wav").frames
            assert row["num_samples"] == 3 * frames, id  # 16 kHz to 48 kHz
        assert found["meeting.wav"]["text"] == "well met"
        checked = audit(
            str(out), ids=[id for id in found if id.endswith("g.wav") or "/0" in id], **AUDIT
        )
        assert len(checked.recordings) >= 3
        for one in checked.recordings:
            assert one.error is None and set(one.equal_codes or ()) == {1.0}, one.id


def test_an_interrupted_run_over_several_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_folder, write_tar = WRITERS["folder"], WRITERS["tar"]
    config = TokenizeConfig(
        (write_folder(tmp_path), write_tar(tmp_path), str(write_meeting(tmp_path / "m"))),
        codec="mulaw",
        shard_hours=0.0001,
    )
    out = tmp_path / "out"
    tokenize_corpus(config, str(out), HERE)
    whole = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    for path in sorted((out / "manifest" / "commits").iterdir())[::2]:
        path.unlink()
    shutil.rmtree(out / "data")
    tokenize_corpus(config, str(out), HERE)
    assert {path.name: path.read_bytes() for path in (out / "data").iterdir()} == whole


def test_a_folder_that_is_away_stops_the_run(tmp_path: Path) -> None:
    folder = Path(WRITERS["folder"](tmp_path))
    files = [write_meeting(tmp_path / str(number), f"{number}.wav") for number in range(3)]
    config = TokenizeConfig((str(folder), *map(str, files)), codec="mulaw", shard_hours=0.0001)
    out = tmp_path / "out"
    tokenize_corpus(config, str(out), HERE)
    (out / "manifest" / "commits").rename(tmp_path / "commits")
    shutil.rmtree(out / "data")
    for path in folder.rglob("*.wav"):
        path.unlink()
    for sub in list(folder.iterdir()):
        shutil.rmtree(sub)
    with pytest.raises(SourceUnavailable, match="is empty now"):
        tokenize_corpus(config, str(out), HERE)


def test_files_that_lie_in_out_are_no_part_of_several(tmp_path: Path) -> None:
    folder = Path(WRITERS["folder"](tmp_path))
    path = write_meeting(tmp_path / "m")
    config = TokenizeConfig((str(folder), str(path)), codec="mulaw")
    tokenize_corpus(config, str(folder / "out"), HERE)
    assert tokenize_corpus(config, str(folder / "out"), HERE).recordings == COUNT + 1
    source = open_source(config.source)
    assert len(list(source.scan())) == COUNT + 1
    assert any("1 output folder" in note for note in source.notes)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "memory"])
def test_the_clips_of_an_audit_are_no_recordings_where_source_is_out(
    tmp_path: Path, remote: bool
) -> None:
    """Neither beside a corpus, nor in place of one; a corpus may have a folder of that name."""
    folder = Path(WRITERS["folder"](tmp_path))
    (folder / "audit").mkdir()
    next(folder.rglob("*.wav")).rename(folder / "audit" / "mine.wav")

    def listed() -> Source:
        if not remote:
            return open_source(str(folder))
        place = f"/{tmp_path.name}{uuid.uuid4().hex}"
        fsspec.filesystem("memory").put(str(folder), place, recursive=True)
        return open_source(f"memory:/{place}")

    ids = {one.id for one in listed().scan()}
    assert "audit/mine.wav" in ids and len(ids) == COUNT
    tokenize_corpus(TokenizeConfig(str(folder), codec="mulaw"), str(folder), HERE)
    clips = folder / "audit" / "media" / "x"
    clips.mkdir(parents=True)
    for name in ("source.flac", "6kbps.flac"):
        soundfile.write(clips / name, [0.0] * 99, 16_000)
    source = listed()
    assert {one.id for one in source.scan()} == ids
    assert any("left out: audit/media" in note for note in source.notes)
    for id in ids:
        (folder / id).unlink()
    with pytest.raises(SourceError, match="an output folder of codecshards, not a corpus"):
        listed()


@pytest.mark.parametrize(
    "order", ["A B OUT FLAGS", "FLAGS A B OUT", "A FLAGS B OUT", "A B FLAGS OUT"]
)
def test_flags_may_stand_anywhere_among_several(tmp_path: Path, order: str) -> None:
    paths = [write_meeting(tmp_path / name, f"{name}.wav") for name in "ab"]
    words: dict[str, list[str]] = {
        "A": [str(paths[0])],
        "B": [str(paths[1])],
        "OUT": [str(tmp_path / "out")],
        "FLAGS": ["--codec", "mulaw", "--workers", "0", "--quiet"],
    }
    assert main(["tokenize", *(word for part in order.split() for word in words[part])]) == 0
    assert set(rows(tmp_path / "out")) == {"a.wav", "b.wav"}


def test_an_unknown_flag_among_several_is_still_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["tokenize", "a", "--bogus", "b", str(tmp_path / "out")])
    assert "unrecognized arguments: --bogus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_codec_is_trained_on_several(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("music", "speech")]
    for folder in folders:
        folder.mkdir()
        (folder / "1.wav").write_bytes(audio_bytes(1))
    run = partial(main, ["train-codec", *map(str, folders), str(tmp_path / "run"), "--pack-only"])
    assert run() == 0 and run() == 0
    index = json.loads((tmp_path / "run" / "pack" / "index.json").read_text())
    assert index["made_from"]["source"] == list(map(str, folders))
