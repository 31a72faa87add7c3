"""Data sets of the Hub and folders as people have them: other columns, ids that repeat, names,
links and outputs inside."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import Source, is_audio
from pipelines.output.plan import Plan, make_plan
from pipelines.system.places import is_remote
from pipelines.system.words import printable
from tokenizer.audio.readers.pyav import FORMATS
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sound(number: int) -> bytes:
    return b"RIFF%04d" % number


def columns(count: int = 3, **more: tuple[Any, list[Any]]) -> dict[str, pa.Array]:
    cells = [{"bytes": sound(n), "path": None} for n in range(count)]
    return {"audio": pa.array(cells, FILE)} | {
        name: pa.array(values, kind) for name, (kind, values) in more.items()
    }


def written(folder: Path, **more: tuple[Any, list[Any]]) -> Source:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns(**more)), folder / "train.parquet", row_group_size=2)
    return open_source(str(folder))


def saved(folder: Path, features: dict[str, Any], values: dict[str, list[Any]]) -> Source:
    data_set(features, values).save_to_disk(str(folder))
    return open_source(str(folder))


def data_set(features: dict[str, Any], values: dict[str, list[Any]]) -> Any:
    """Made of an Arrow table, as the library's own encoder of audio needs another package."""
    import datasets

    schema = datasets.Features(features)
    table = datasets.table.InMemoryTable(pa.table(values, schema=schema.arrow_schema))
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=schema))


def test_columns_that_are_written_otherwise(tmp_path: Path) -> None:
    """As in a table of paths; a column that is called as usual comes first."""
    text = pa.string()
    (first, _) = written(
        tmp_path / "a",
        **{"Transcription": (text, ["x", "y"]), "Speaker ID": (pa.int64(), [7, 8])},
        count=2,
    ).scan()
    assert (first.text, first.speaker, first.meta) == ("x", "7", {})
    (first,) = written(
        tmp_path / "b", text=(text, ["x"]), Transcript=(text, ["X!"]), count=1
    ).scan()
    assert (first.text, first.meta) == ("x", {"Transcript": "X!"})
    (first,) = written(
        tmp_path / "c", Sentence=(pa.list_(text), [["x"]]), Speaker=(text, ["y"]), count=1
    ).scan()
    assert (first.text, first.speaker, first.meta) == (None, "y", {"Sentence": ["x"]})


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/test-00000-of-00001-0123abcd.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "test.parquet"),
        ("train-7.parquet", "test_00.parquet"),
    ],
)
def test_files_of_several_splits_are_not_mixed(tmp_path: Path, names: tuple[str, str]) -> None:
    """A data set as it is downloaded from the Hub: what is to be tested on is not trained on."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns(2)), tmp_path / name)
    found = {each.id: each.meta for each in open_source(str(tmp_path)).scan()}
    assert {meta["split"] for id, meta in found.items() if "test" in id} == {"test"}
    assert {meta["split"] for id, meta in found.items() if "train" in id} == {"train"}
    pq.write_table(
        pa.table(columns(1, split=(pa.string(), ["dev"]))), tmp_path / names[0]
    )  # a column says it better
    assert {each.meta["split"] for each in open_source(str(tmp_path)).scan()} == {"dev", "test"}
    (tmp_path / names[1]).unlink()
    pq.write_table(pa.table(columns(1)), tmp_path / names[0])
    (alone,) = open_source(str(tmp_path)).scan()
    assert alone.meta == {}


def test_an_id_that_is_no_number_is_missing(tmp_path: Path) -> None:
    ids = [1.0, float("nan"), 3.0]
    source = written(tmp_path / "a", id=(pa.float64(), ids))
    assert [each.id for each in source.scan()] == [f"train-{n:08d}" for n in range(3)]
    assert "values repeat or are missing: id" in source.notes[0]


@pytest.mark.parametrize("kind", [pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())])
def test_bytes_of_any_type_of_arrow(tmp_path: Path, kind: pa.DataType) -> None:
    cells = pa.array([sound(n) for n in range(3)]).cast(kind)
    pq.write_table(pa.table({"audio": cells, "text": ["a", "b", "c"]}), tmp_path / "t.parquet")
    source = open_source(str(tmp_path / "t.parquet"))
    found = list(source.scan())
    assert [each.text for each in found] == ["a", "b", "c"]
    assert [content(source, each) for each in found] == [sound(n) for n in range(3)]


def test_paths_that_are_no_audio_column_say_how_to_make_one(tmp_path: Path) -> None:
    import datasets

    values = {"audio": datasets.Value("string")}
    source = saved(tmp_path / "d", values, {"audio": ["x.wav"]})
    with pytest.raises(SourceError, match=r"among audio; .*cast_column\(NAME, datasets.Audio"):
        list(source.scan())


def content(source: Source, recording: Recording) -> bytes:
    file = source.open(recording)
    if isinstance(file, str):
        return Path(file).read_bytes()
    with file:
        return file.read()


def kind(source: Source, recording: Recording) -> FailureKind | None:
    try:
        content(source, recording)
    except RecordingError as error:
        return error.kind
    return None


def test_other_columns_of_bytes_stay_out_of_meta_and_are_named(tmp_path: Path) -> None:
    cells = [{"bytes": b"x" * 1000, "path": "p.wav"}] * 3
    source = written(
        tmp_path / "d",
        prompt=(FILE, cells),
        cover=(pa.binary(), [b"png"] * 3),
        text=(pa.string(), ["a", "b", "c"]),
    )
    found = list(source.scan())
    assert [(r.text, r.meta, content(source, r)) for r in found] == [
        (t, {}, sound(n)) for n, t in enumerate("abc")
    ]
    assert any("cover, prompt" in note for note in source.notes)


def test_a_saved_set_with_pictures_and_two_sounds(tmp_path: Path) -> None:
    import datasets

    sounds = [{"bytes": sound(n), "path": None} for n in range(3)]
    features = {
        "prompt": datasets.Audio(),
        "audio": datasets.Audio(),
        "image": datasets.Image(),
        "text": datasets.Value("string"),
    }
    pictures = [{"bytes": b"png", "path": None}] * 3
    source = saved(
        tmp_path / "s",
        features,
        {"prompt": sounds[::-1], "audio": sounds, "image": pictures, "text": ["a", "b", "c"]},
    )
    found = list(source.scan())
    assert [(r.text, r.meta, content(source, r)) for r in found] == [
        (t, {}, sound(n)) for n, t in enumerate("abc")
    ]
    assert list(open_source(source.spec).scan()) == found
    assert any("image, prompt" in note for note in source.notes)


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_ids_that_repeat_give_way_and_are_kept(tmp_path: Path, form: str) -> None:
    values = {"id": [7, 7, 8], "audio_id": ["P", "P", "Q"], "segment_id": ["S1", "S2", "S3"]}
    for names, wanted in ((list(values), ["S1", "S2", "S3"]), (["id", "audio_id"], None)):
        place = tmp_path / str(len(names))
        if form == "parquet":
            types = {
                name: (pa.int64() if name == "id" else pa.string(), values[name]) for name in names
            }
            source = written(place, **types)
        else:
            import datasets

            features = {"audio": datasets.Audio()} | {
                name: datasets.Value("int64" if name == "id" else "string") for name in names
            }
            cells = [{"bytes": sound(n), "path": None} for n in range(3)]
            source = saved(
                place, features, {"audio": cells} | {name: values[name] for name in names}
            )
        found = list(source.scan())
        assert [r.meta["id"] for r in found] == [7, 7, 8] and len({r.id for r in found}) == 3
        assert wanted is None or [r.id for r in found] == wanted
        assert any("values repeat" in note and "id" in note for note in source.notes)


def test_a_row_with_a_list_for_its_text_is_a_failure(tmp_path: Path) -> None:
    source = written(tmp_path / "d", text=(pa.list_(pa.string()), [["a"], None, ["b", "c"]]))
    kinds = [kind(source, recording) for recording in source.scan()]
    assert kinds == [FailureKind.BAD_ROW, None, FailureKind.BAD_ROW]


def test_one_shard_by_itself_and_empty_splits(tmp_path: Path) -> None:
    folder = written(tmp_path / "d", text=(pa.string(), ["a", "b", "c"]))
    alone = open_source(str(tmp_path / "d" / "train.parquet"))
    assert [r.text for r in alone.scan()] == ["a", "b", "c"] == [r.text for r in folder.scan()]
    import datasets

    empty = saved(
        tmp_path / "e",
        {"audio": datasets.Audio(), "text": datasets.Value("string")},
        {"audio": [], "text": []},
    )
    with pytest.raises(SourceError, match="the data set is empty"):
        list(empty.scan())


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_rows_in_another_order_since_the_plan_are_failures(
    tmp_path: Path, form: str, texts: bool
) -> None:
    import datasets

    def write(order: list[int]) -> Source:
        cells = [{"bytes": sound(n), "path": None} for n in order]
        words = {"text": [f"words {n}" for n in order]} if texts else {}
        if form == "saved":
            features = {"audio": datasets.Audio()} | (
                {"text": datasets.Value("string")} if texts else {}
            )
            place = tmp_path / "s"
            data = data_set(features, {"audio": cells} | words)
            if place.exists():
                for path in place.iterdir():
                    path.unlink()
            data.save_to_disk(str(place))
            return open_source(str(place))
        (tmp_path / "p").mkdir(exist_ok=True)
        pq.write_table(
            pa.table({"audio": pa.array(cells, FILE)} | words), tmp_path / "p" / "t.parquet"
        )
        return open_source(str(tmp_path / "p"))

    planned = list(write([0, 1, 2, 3]).scan())
    source = write([3, 2, 1, 0])
    assert [kind(source, recording) for recording in planned] == [FailureKind.CHANGED] * 4
    source = write([0, 1])
    assert {kind(source, recording) for recording in planned[2:]} <= {
        FailureKind.CHANGED,
        FailureKind.NOT_FOUND,
    }
    if texts:
        source = write([0, 1, 2, 3])
        assert [kind(source, recording) for recording in planned] == [FailureKind.CHANGED] * 4, (
            "the same rows written again: that the audio is the same nobody knows"
        )


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "../out.wav",
        "file:///etc/hostname",
        "http://localhost:1/x",
        "~/x.wav",
        "link.wav",
    ],
)
def test_a_path_in_a_cell_stays_inside_the_data(tmp_path: Path, path: str) -> None:
    (tmp_path / "out.wav").write_bytes(b"secret")
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "link.wav").symlink_to(tmp_path / "out.wav")
    (folder / "in.wav").write_bytes(b"inside")
    cells = [{"bytes": None, "path": path}, {"bytes": None, "path": "in.wav"}]
    pq.write_table(pa.table({"audio": pa.array(cells, FILE)}), folder / "t.parquet")
    source = open_source(f"parquet:{folder}")
    first, second = source.scan()
    with pytest.raises(RecordingError, match="--follow-links"):
        content(source, first)
    assert content(source, second) == b"inside"
    if path in ("../out.wav", "link.wav"):
        source.follow_links = True
        assert content(source, first) == b"secret"


def test_a_hub_set_is_pinned_to_the_commit_that_was_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from pipelines.corpus.sources import hub

    asked = []

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
        asked.append(revision)
        words = {"c1": ["one", "two"], "c2": ["two", "one"]}[str(revision)]
        cells = [{"bytes": word.encode(), "path": None} for word in words]
        return data_set(
            {"audio": datasets.Audio(), "text": datasets.Value("string")},
            {"audio": cells, "text": words},
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "_commit", lambda name: "c1")
    planned = list(open_source("hf:some/set:train").scan())
    monkeypatch.setattr(hub, "_commit", lambda name: "c2")
    source = open_source("hf:some/set:train")
    assert [content(source, recording) for recording in planned] == [b"one", b"two"] and set(
        asked
    ) == {"c1"}


# --- folders
# ------------------------------------------------------------------------------


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_odd_names_are_rows_and_the_rest_is_counted(tmp_path: Path) -> None:
    rows = [
        "...And So On/01.wav",
        "...x.wav",
        "A :: B.wav",
        "Re::Start.wav",
        "zip::d.wav",
        "s3:x.wav",
        "a.ts",
        "b.BWF",
        "c.wmv",
    ]
    put(
        tmp_path,
        *rows,
        "Re::Start.txt",
        ".hid.wav",
        ".hack/1.wav",
        "._a.ts",
        "__MACOSX/x.wav",
        "notes.md",
        "no_ending",
        "t.trans.txt",
    )
    put(
        tmp_path,
        "metadata.csv",
        "alone.json",
        "Thumbs.db",
        "out/manifest/config.json",
        "out/audit/clip.wav",
    )
    source = open_source(str(tmp_path))
    found = {recording.id: recording for recording in source.scan()}
    assert sorted(found) == sorted(rows)
    assert all(content(source, recording) == name.encode() for name, recording in found.items())
    assert found["Re::Start.wav"].text == "Re::Start.txt"
    said = "\n".join(source.notes)
    for word in (
        ".hack, .hid.wav",
        "hidden",
        "out",
        "notes.md",
        "without an ending",
        "t.trans.txt",
        "metadata.csv",
        "alone.json",
    ):
        assert word in said
    assert "Thumbs.db" not in said and "MACOSX" not in said


def test_a_remote_folder_tells_the_same(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    for name in ("a.wav", ".b.wav", "out/manifest/plan.parquet", "out/audit/c.wav", "x.md"):
        fs.pipe_file(f"/told/{name}", b"x")
    source = open_source("memory://told")
    assert [recording.id for recording in source.scan()] == ["a.wav"]
    assert [word for word in (".b.wav", "out", "x.md") if word not in "\n".join(source.notes)] == []


def test_links_that_leave_the_source_fail_unless_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "x.wav", "x.txt", "more/y.wav")
    folder = put(tmp_path / "source", "a.wav", "in/b.wav")
    for name, target in {
        "x.wav": "elsewhere/x.wav",
        "more": "elsewhere/more",
        "a.txt": "elsewhere/x.txt",
    }.items():
        (folder / name).symlink_to(tmp_path / target)
    (folder / "c.wav").symlink_to("a.wav")
    source = open_source(str(folder))
    found = {recording.id: recording for recording in source.scan()}
    assert {name for name, recording in found.items() if kind(source, recording)} == {
        "x.wav",
        "more",
    }
    assert sorted(found) == ["a.wav", "c.wav", "in/b.wav", "more", "x.wav"]
    assert found["a.wav"].text is None and "--follow-links" in found["a.wav"].meta["sidecar_error"]
    source = open_source(str(folder), follow_links=True)
    assert {recording.id for recording in source.scan() if content(source, recording)} == {
        *("a.wav", "c.wav", "in/b.wav", "more/y.wav", "x.wav")
    }


def test_a_sidecar_of_odd_values_never_costs_the_recording(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(4)))
    (tmp_path / "0.json").write_text('{"text": ["a"], "speaker": "s", "x": NaN}')
    (tmp_path / "1.json").write_text("[" * 100_000)
    (tmp_path / "2.json").write_text('{"text": "\\ud83d", "deep": ' + "[" * 300 + "]" * 300 + "}")
    os.mkfifo(tmp_path / "3.txt")
    found = list(open_source(str(tmp_path)).scan())
    assert (
        found[0].speaker == "s"
        and found[0].text is None
        and "`text` is a list" in found[0].meta["sidecar_error"]
    )
    assert (
        "deep" in found[1].meta["sidecar_error"]
        and found[2].text == "\ufffd"
        and "sidecar_error" in found[3].meta
    )
    for recording in found:
        json.dumps(dict(recording.meta), allow_nan=False).encode("utf-8")


def test_every_ending_of_what_ffmpeg_may_open_is_audio() -> None:
    from av.format import ContainerFormat

    endings = {
        ending for name in FORMATS.split(",") for ending in ContainerFormat(name, "r").extensions
    }
    no_audio = {"avif", "heic", "heif", "mj2", "ism"}  # pictures, and a list of files
    assert {ending for ending in endings if not is_audio(f"x.{ending}")} <= no_audio
    assert all(
        is_audio(f"x.{ending}")
        for ending in ("ts", "m4v", "wmv", "asf", "rf64", "bwf", "mp1", "mpga", "m4r")
    )


def test_notes_are_kept_in_the_plan() -> None:
    plan = make_plan([Recording("a", "a.wav")], shard_hours=1)
    noted = make_plan(plan.recordings, shard_hours=1, notes=lambda: ("2 hidden", "a\x1bb"))
    assert (
        Plan.from_bytes(noted.to_bytes()) == noted and Plan.from_bytes(plan.to_bytes()).notes == ()
    )


def test_control_characters_are_shown_and_not_sent() -> None:
    assert printable("a\x1b[2Jb\x07\u202ec\ud800\td\n") == "a\\x1b[2Jb\\x07\\u202ec\\ud800\td\n"
    assert printable("été 日本") == "été 日本"


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        ("s3://b/x", True),
        ("simplecache::s3://b/x", True),
        ("zip::x.wav", False),
        ("A :: B/x", False),
        ("file:///x", False),
        ("/a://b", False),
    ],
)
def test_urls_and_names(name: str, remote: bool) -> None:
    assert is_remote(name) is remote


def numbered(first: int, count: int) -> Any:
    import datasets

    cells = [{"bytes": b"%d" % n, "path": None} for n in range(first, first + count)]
    return data_set({"audio": datasets.Audio()}, {"audio": cells})


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ("train[:10%]", [*range(10)]),
        ("train[90:]", [*range(90, 100)]),
        ("train[10:12]+test[:50%]", [10, 11, 100, 101]),
        ("train[-2:]", [98, 99]),
        ("test+train[:1]", [100, 101, 102, 103, 0]),
    ],
)
def test_parts_of_splits_as_datasets_has_them(
    asked: str, rows: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from pipelines.corpus.sources import hub

    splits = {"train": numbered(0, 100), "test": numbered(100, 4)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "set"))
    wanted: list[tuple[str | None, str | None]] = []

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
        wanted.append((name, revision))
        return splits[split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "_commit", lambda name, asked=None: f"commit of {asked}")
    names = [f"train-{n:08d}" if n < 100 else f"test-{n - 100:08d}" for n in rows]
    for spec in (f"hf:{tmp_path / 'set'}:{asked}", f"hf:some/set@v1.0:plain:{asked}"):
        source = open_source(spec)
        found = list(source.scan())
        assert [one.id for one in found] == names
        again = open_source(str(source.address))
        assert [content(again, one) for one in found] == [b"%d" % n for n in rows]
    assert found[0].locator["revision"] == "commit of v1.0"
    assert set(wanted) == {("some/set", "commit of v1.0")}


@pytest.mark.parametrize("asked", ["train[", "train[5:3]", "other[:5]", "train[:x]"])
def test_no_part_of_a_split_is_one_line(asked: str, tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": numbered(0, 9)}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(SourceError, match="part") as caught:
        list(open_source(f"hf:{tmp_path / 'set'}:{asked}").scan())
    assert "\n" not in str(caught.value)


LISTS = """
import sys
from pipelines.corpus.sources import open_source
source = open_source(sys.argv[1])
for recording in source.scan():
    try:
        source.open(recording)
    except Exception as error:
        print(recording.id, type(error).__name__, error)
    else:
        print(recording.id, "opens")
"""


def test_a_footer_that_contradicts_itself_costs_its_rows(tmp_path: Path) -> None:
    """Arrow ended the process as it was asked about such a column: this is another one."""
    sink = io.BytesIO()
    cells = [{"bytes": b"x", "path": "x.wav"}] * 2
    pq.write_table(pa.table({"id": ["a", "b"], "audio": cells}), sink, row_group_size=1)
    whole, column = sink.getvalue(), b"\x15\x0c\x25\x02\x18\x05bytes"  # in the schema: BYTE_ARRAY
    assert whole.count(column) == 1
    (tmp_path / "x.parquet").write_bytes(whole.replace(column, b"\x15\x08" + column[2:]))  # FLOAT
    command = [sys.executable, "-c", LISTS, tmp_path / "x.parquet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:16] for line in lines] == ["a RecordingError", "b RecordingError"]
    assert all("x.parquet" in line for line in lines)


@pytest.mark.parametrize("name", ["text", "audio"])
def test_two_columns_of_one_name_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    cells = pa.array([{"bytes": b"x", "path": "x.wav"}], FILE)
    other = cells if name == "audio" else pa.array(["b"])
    table = pa.Table.from_arrays([cells, pa.array(["a"]), other], names=["audio", "text", name])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=f"two columns are called `{name}`"):
        list(open_source(str(tmp_path / "x.parquet")).scan())


@pytest.mark.parametrize(("of_audio", "of_text"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_text_in_another_unicode_form_is_beside_its_audio(
    tmp_path: Path, of_audio: Any, of_text: Any
) -> None:
    name = "caf\u00e9"
    (tmp_path / f"{unicodedata.normalize(of_audio, name)}.wav").write_bytes(b"x")
    (tmp_path / f"{unicodedata.normalize(of_text, name)}.txt").write_text("words")
    source = open_source(str(tmp_path))
    assert [recording.text for recording in source.scan()] == ["words"] and not source.notes


def test_an_empty_split_beside_others_costs_nothing(tmp_path: Path) -> None:
    import datasets

    features = {"audio": datasets.Audio(), "text": datasets.Value("string")}
    full = data_set(features, {"audio": [{"bytes": sound(0), "path": None}], "text": ["a"]})
    splits = datasets.DatasetDict({"train": full, "test": full.select([])})
    splits.save_to_disk(str(tmp_path / "d"))
    assert [row.text for row in open_source(f"hf:{tmp_path / 'd'}:train").scan()] == ["a"]
    for spec in (f"hf:{tmp_path / 'd'}:test", f"hf:{tmp_path / 'd'}:test[:1]"):
        with pytest.raises(SourceError, match="empty"):
            list(open_source(spec).scan())
    with pytest.raises(SourceError, match="has splits train, test"):
        list(open_source(str(tmp_path / "d")).scan())


def test_parquet_without_rows_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table(columns(0)), tmp_path / "train.parquet")
    for spec in (tmp_path, tmp_path / "train.parquet"):
        with pytest.raises(SourceError, match="no rows"):
            list(open_source(str(spec)).scan())
