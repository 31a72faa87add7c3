"""Tables as people have them: each row is a row or a failure under its line, whatever its
neighbours hold."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import Source
from pipelines.corpus.tables.hints import parse_hints
from pipelines.corpus.tables.lines import BadLine, Rows
from pipelines.corpus.tables.values import plain, take_fields
from pipelines.output.formats.schema import encode_meta
from tokenizer.errors import FailureKind, RecordingError, SourceError, UsageError
from tokenizer.types import Recording


def scan(source: str | Path | Source) -> tuple[list[Recording], list[tuple[str, str]]]:
    """Recordings that can be opened, and kind and message of the others."""
    source = source if isinstance(source, Source) else open_source(str(source))
    good, bad = [], []
    for recording in source.scan():
        if "rejected" in recording.locator:
            bad.append(tuple(recording.locator["rejected"]))
        else:
            good.append(recording)
    return good, bad


def lines(folder: Path, *rows: object) -> Path:
    path = folder / "m.jsonl"
    path.write_text(
        "".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return path


SENTENCES = ['"Stop it, came', "plain", 'a "b" c', 'ends." ', '"whole"', "tab-free", '"', '""', "'"]


def test_a_tsv_keeps_every_row_whatever_quotes_it_holds(tmp_path: Path) -> None:
    body = "".join(f"c{n}\t{n}.wav\t{text}\ten\n" for n, text in enumerate(SENTENCES))
    (tmp_path / "m.tsv").write_text("client_id\tpath\tsentence\tlocale\n" + body)
    good, bad = scan(tmp_path / "m.tsv")
    assert not bad and [(r.id, r.text) for r in good] == [
        (f"{n}.wav", text.strip()) for n, text in enumerate(SENTENCES)
    ]
    assert {(r.language, r.speaker) for r in good} == {
        ("en", f"c{n}") for n in range(len(SENTENCES))
    }


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_what_the_csv_module_writes_is_read_back(tmp_path: Path, ending: str, quoting: int) -> None:
    texts = ['say ""no"" twice', 'a "b", c', "one, two", '"', "x" * 200_000]
    with (tmp_path / f"m.{ending}").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if ending == "tsv" else ",", quoting=quoting)  # type: ignore[arg-type]
        writer.writerows([("path", "text"), *((f"{n}.wav", text) for n, text in enumerate(texts))])
    good, bad = scan(tmp_path / f"m.{ending}")
    assert not bad and [r.text for r in good] == texts


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(
        st.text(st.sampled_from("ab,;\"\n\r' "), min_size=1, max_size=12), min_size=1, max_size=8
    )
)
def test_any_csv_of_the_csv_module_is_read_as_it_reads_it(texts: list[str]) -> None:
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows(
        [("path", "note"), *((f"{n}.wav", text) for n, text in enumerate(texts))]
    )
    wanted = list(csv.DictReader(io.StringIO(sink.getvalue(), newline="")))
    found = [row for _, row in Rows("m.csv").delimited(io.BytesIO(sink.getvalue().encode()), ",")]
    assert found == [{name: cell for name, cell in row.items() if cell} for row in wanted]


def test_a_quote_that_never_closes_costs_its_own_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'path,text\n0.wav,"Stop it\n1.wav,one\n2.wav,"two\nlines"\n3.wav,three"\n4.wav,"x"y\n'
        "5.wav,five\n"
    )
    good, bad = scan(tmp_path / "m.csv")
    assert [(r.id, r.text) for r in good] == [
        ("1.wav", "one"),
        ("2.wav", "two\nlines"),
        ("3.wav", 'three"'),
        ("5.wav", "five"),
    ]
    assert [message.split("line ")[1][0] for _, message in bad] == ["2", "7"]
    assert {kind for kind, _ in bad} == {"bad_row"}


def test_rows_too_short_and_too_long_and_empty(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text\n0.wav,one\n,\n1.wav\n2.wav,a,b\n3.wav,two\n\n")
    source = open_source(str(tmp_path / "m.csv"))
    good, bad = scan(source)
    assert [r.id for r in good] == ["0.wav", "3.wav"]
    assert [message.split(": ")[1] for _, message in bad] == [
        f"{n} columns, the header names 2" for n in (1, 3)
    ]
    assert any("1 empty row" in note for note in source.notes)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("path,text,text\n0.wav,a,b\n", "two columns are called `text`"),
        ("A1|Hello there|hello there\nA2|More|more\n", r"\|"),
        ("name,text\n0.wav,a\n", "its columns are name, text"),
        ("", "empty"),
    ],
)
def test_headers_that_cannot_be_used_are_refused_in_one_line(
    tmp_path: Path, content: str, word: str
) -> None:
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(SourceError, match=word) as caught:
        list(open_source(str(tmp_path / "m.csv")).scan())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_than_the_ending_says(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "m.csv").write_text(f"path{delimiter}text\n0.wav{delimiter}one, and a half\n")
    assert scan(tmp_path / "m.csv")[0][0].text == "one, and a half"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_encodings_with_a_mark(tmp_path: Path, encoding: str, ending: str) -> None:
    text = "path\ttext\n0.wav\tžluť\n" if ending == "tsv" else '{"path": "0.wav", "text": "žluť"}\n'
    (tmp_path / f"m.{ending}").write_bytes(text.encode(encoding))
    assert scan(tmp_path / f"m.{ending}")[0][0].text == "žluť"


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_line_that_is_not_utf8_costs_its_row(tmp_path: Path, ending: str) -> None:
    row = {
        "tsv": b"%d.wav\t%s\n",
        "csv": b"%d.wav,%s\n",
        "jsonl": b'{"path": "%d.wav", "text": "%s"}\n',
    }[ending]
    head = {"tsv": b"path\ttext\n", "csv": b"path,text\n", "jsonl": b""}[ending]
    (tmp_path / f"m.{ending}").write_bytes(
        head + row % (0, b"a") + row % (1, b"caf\xe9") + row % (2, b"b")
    )
    good, bad = scan(tmp_path / f"m.{ending}")
    assert [r.id for r in good] == ["0.wav", "2.wav"] and len(bad) == 1 and "UTF-8" in bad[0][1]


def test_spans_by_every_name(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"audio_filepath": "t.wav", "offset": 0.5, "duration": 0.75},
        {"path": "t.wav", "start": 0.5, "duration": 0.25},
        {"file_name": "t.wav", "start": 1.0, "end": 2.0, "duration": 9},
        {"path": "t.wav", "duration": 3.5},
        {"path": "t.wav", "start": 1234.5611, "end": 1234.5622},
        {"path": "t.wav", "start": 1, "offset": 2},
        {"path": "t.wav", "start": -0.02, "end": 1},
        {"path": "t.wav", "start": 1, "end": 1},
        {"path": "t.wav", "start": True},
    )
    good, bad = scan(path)
    assert [(r.start, r.end, r.seconds) for r in good[:4]] == [
        (0.5, 1.25, 0.75),
        (0.5, 0.75, 0.25),
        (1.0, 2.0, 1.0),
        (None, None, 3.5),
    ]
    assert good[4].id == "t.wav#1234.5611-1234.5622", (
        "no two segments share an id for want of digits"
    )
    assert len(bad) == 4


def test_values_that_are_no_strings(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"path": "0.wav", "text": ["a", "b"]},
        {"path": "1.wav", "text": True},
        {"path": "2.wav", "text": {"en": "x"}},
        {"path": "3.wav", "speaker": 7, "text": 12},
        {"path": ["4.wav"]},
        {"path": "5.wav", "id": ["x"]},
        '{"path": "6.wav", "text": NaN, "speaker": NaN, "snr": NaN, "peak": [Infinity, 1.5]}',
        '{"path": "7.wav", "text": "cut \\ud83d"}',
        '{"path": "8.wav", "deep": ' + "[" * 200 + "]" * 200 + "}",
        '{"path": "9.wav", "deep": ' + "[" * 100_000 + "}",
        '{"path": "10.wav", "id": 7}',
    )
    good, bad = scan(path)
    assert [r.id for r in good] == ["3.wav", "6.wav", "7.wav", "8.wav", "7"] and len(bad) == 6
    assert (good[0].speaker, good[0].text) == ("7", "12")
    assert (good[1].text, good[1].speaker, good[1].meta) == (None, None, {"peak": [None, 1.5]})
    assert good[2].text == "cut \ufffd" and good[2].meta == {"repaired": ["text"]}
    assert good[3].meta["repaired"] == ["deep"]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters()),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(st.characters())
            | st.binary()
            | st.builds(object),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(st.characters()), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_meta_is_strict_json_of_whatever_values(values: dict[str, object]) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    meta = take_fields({f"x{key}": value for key, value in values.items()})[1]
    text = encode_meta(meta)
    assert json.loads(text.encode("utf-8"), parse_constant=refuse) == meta
    assert "object at 0x" not in text
    assert plain(object()) is None and plain(float("nan")) is None


def test_paths_in_other_forms_than_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / unicodedata.normalize("NFD", "Été")
    names = [unicodedata.normalize("NFD", "élise.wav"), "a b.wav", "c%20d.wav", "e f.wav"]
    for place in (folder, tmp_path / "home"):
        place.mkdir()
        for name in names:
            (place / name).write_bytes(name.encode())
    path = lines(
        tmp_path,
        {"path": unicodedata.normalize("NFC", "Été/élise.wav")},
        {"path": str(tmp_path / unicodedata.normalize("NFC", "Été/élise.wav")), "id": "absolute"},
        {"path": f"file://{tmp_path}/home/a b.wav"},
        {"path": f"file://{tmp_path}/home/c%20d.wav"},
        {"path": f"file://localhost{tmp_path}/home/e%20f.wav"},
        {"path": "~/a b.wav"},
    )
    source = open_source(f"file://{path}")
    good, _ = scan(source)
    opened = [Path(str(source.open(recording))).read_bytes().decode() for recording in good]
    assert opened == [names[0], names[0], "a b.wav", "c%20d.wav", "e f.wav", "a b.wav"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/x.wav",
        "s3://b/x.wav",
        "reference://::x.json",
        "memory://x.wav",
        "zip://a.wav::x.zip",
    ],
)
def test_a_url_in_a_local_manifest_is_a_failure(tmp_path: Path, url: str) -> None:
    good, bad = scan(lines(tmp_path, {"path": url}, {"path": "a.wav"}))
    assert len(good) == 1 and bad[0][0] == "unreadable" and "--follow-links" in bad[0][1]
    assert len(scan(open_source(str(tmp_path / "m.jsonl"), follow_links=True))[0]) == 2


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "file:///etc/hostname", "~/x.wav", "../x.wav", "s3://b/x.wav"]
)
def test_a_manifest_from_elsewhere_reaches_nothing_here(path: str) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/far/m.jsonl", (json.dumps({"path": path}) + '\n{"path": "a.wav"}\n').encode())
    good, bad = scan("memory://far/m.jsonl")
    assert [r.uri for r in good] == ["memory://far/a.wav"] and len(bad) == 1


def test_a_command_in_a_table_is_only_a_name(tmp_path: Path) -> None:
    source = open_source(str(lines(tmp_path, {"path": f"touch {tmp_path}/made |"})))
    with pytest.raises(RecordingError) as caught:
        source.open(next(iter(source.scan())))
    assert caught.value.kind is FailureKind.NOT_FOUND and not (tmp_path / "made").exists()


def test_a_file_that_changed_since_the_plan(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, ns=(0, ord(name[0])))
    for source in (
        open_source(str(lines(tmp_path, {"path": "a.wav"}, {"path": "b.wav"}))),
        open_source(f"folder:{tmp_path}"),
    ):
        recordings = list(source.scan())
        (tmp_path / "a.wav").rename(tmp_path / "c")
        (tmp_path / "b.wav").rename(tmp_path / "a.wav")
        for recording in recordings[:2]:
            with pytest.raises(RecordingError) as caught:
                source.open(recording)
            assert caught.value.kind in (FailureKind.CHANGED, FailureKind.NOT_FOUND)
        (tmp_path / "a.wav").rename(tmp_path / "b.wav")
        (tmp_path / "c").rename(tmp_path / "a.wav")
        assert all(source.open(recording) for recording in recordings[:2])


def test_a_cut_set_without_audio_and_a_kaldi_folder_of_missing_files_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceError, match="Lhotse"):
        scan(lines(tmp_path, {"id": "c", "start": 0, "supervisions": [], "recording": {}}))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text("u0 /x.wav\n")
    for spec in (tmp_path / "data", tmp_path / "data" / "wav.scp"):
        with pytest.raises(SourceError, match=r"(?i)wav\.scp|kaldi"):
            scan(spec)


def test_parquet_manifests_leave_bytes_out_of_meta(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"path": ["a.wav"], "thumb": [b"png"], "n": [1]}), tmp_path / "m.parquet"
    )
    good, _ = scan(tmp_path / "m.parquet")
    assert good[0].meta == {"n": 1}


def test_bad_lines_say_why() -> None:
    rows = list(Rows("m.jsonl").jsonl(io.BytesIO(b"[1]\n\n{}\n")))
    assert isinstance(rows[0][1], BadLine) and rows[1] == (3, {})


def hinted(path: Path, **hints: object) -> tuple[list[Recording], list[tuple[str, str]], str]:
    """As `scan` has it, and the notes, of a table about which the user has said something."""
    source = open_source(str(path), hints=parse_hints(**hints))  # type: ignore[arg-type]
    good, bad = scan(source)
    return good, bad, "\n".join(source.notes)


def test_any_column_may_be_any_field(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("clip;key;words;who;from;long\n0.wav;k;hi;ann;0.5;2\n")
    mapped = "path=clip,id=key,text=words,speaker=who,start=from,duration=long"
    good, bad, said = hinted(tmp_path / "m.csv", map=mapped, audio_root=str(tmp_path / "clips"))
    (row,) = good
    assert not bad and (row.id, row.text, row.speaker, row.meta) == ("k", "hi", "ann", {})
    assert (row.start, row.end) == (0.5, 2.5) and row.uri == f"{tmp_path}/clips/0.wav"
    assert "separated by semicolons" in said
    with pytest.raises(SourceError, match=r"--map text=word: .* only clip, key"):
        hinted(tmp_path / "m.csv", map="path=clip,text=word")


def test_a_table_without_a_header_by_numbers(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("0.wav|ann|one, and a half\n1.wav|bob|two\n")
    good, bad, said = hinted(tmp_path / "m.csv", map="path=1,speaker=2,text=3")
    assert not bad and [(r.id, r.speaker, r.text) for r in good] == [
        ("0.wav", "ann", "one, and a half"),
        ("1.wav", "bob", "two"),
    ]
    assert "3 columns without a header" in said
    with pytest.raises(SourceError, match="--map path=1"):
        scan(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("columns", "span"),
    [
        ({"begin_time": "1.5", "end_time": 2.25}, (1.5, 2.25)),
        ({"start_ms": 1500, "end_ms": "2250"}, (1.5, 2.25)),
        ({"offset_ms": 1500, "duration_ms": 750}, (1.5, 2.25)),
        ({"offset": 1.5, "duration": 0.75}, (1.5, 2.25)),
        ({"start_time": "2021-03-04T10:00"}, (None, None)),
        ({"duration_ms": 750}, (None, None)),
    ],
)
def test_times_under_the_names_that_tables_have(
    tmp_path: Path, columns: dict[str, object], span: tuple[float | None, float | None]
) -> None:
    good, _, said = hinted(lines(tmp_path, {"path": "a.wav", **columns}))
    assert (good[0].start, good[0].end) == span
    assert ("not used: column `start_time`" in said) == ("start_time" in columns)


def test_columns_that_look_used_and_are_not_are_named_once(tmp_path: Path) -> None:
    rows = [{"path": f"{n}.wav", "text": "x", "raw_text": "y", "n": n} for n in range(3)]
    good, _, said = hinted(lines(tmp_path, *rows))
    assert len(good) == 3 and said.count("raw_text") == 2 and "--map text=raw_text" in said
    assert "`n`" not in said


@pytest.mark.parametrize("name", ["m.jsonl.gz", "m.csv.gz", "m.json"])
def test_packed_tables_and_json_lines_by_another_name(tmp_path: Path, name: str) -> None:
    content = (
        b'{"audio_filepath": "a.wav", "text": "x"}\n' if "json" in name else b"wav,text\na.wav,x\n"
    )
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    good, bad = scan(tmp_path / name)
    assert not bad and [(r.id, r.text) for r in good] == [("a.wav", "x")]


@pytest.mark.parametrize(
    "hints", [{"map": "txt=a"}, {"map": "text"}, {"map": "path=1,text=b"}, {"delimiter": "ab"}]
)
def test_hints_that_cannot_be_followed(hints: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--map|--delimiter"):
        parse_hints(**hints)  # type: ignore[arg-type]


def test_a_zero_byte_in_a_sentence_costs_no_table(tmp_path: Path) -> None:
    lines = "path,text\na.wav,one\0two\nb.wav,three\n"
    (tmp_path / "x.csv").write_text(lines)
    texts = [recording.text for recording in open_source(str(tmp_path / "x.csv")).scan()]
    assert texts == [row[1] for row in csv.reader(io.StringIO(lines))][1:]
    (tmp_path / "y.csv").write_bytes(lines.encode("utf-16-le"))
    with pytest.raises(SourceError, match="holds zero bytes"):
        list(open_source(str(tmp_path / "y.csv")).scan())
