"""How tables are written: JSON documents, encodings, names of columns, times, headers that are not
there; what is found out is said, and what cannot be is a line that says what to pass."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.alignment import read_words
from pipelines.corpus.tables.documents import BadValue, document_rows
from pipelines.corpus.tables.hints import parse_hints
from tokenizer.errors import SourceError, UsageError
from tokenizer.types import Recording


def scan(path: Path, content: str | bytes, **hints: Any) -> tuple[list[Recording], list[str], str]:
    """Recordings, messages of rows that are none, and notes."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = open_source(str(path), hints=parse_hints(**hints))
    found = list(source.scan())
    good = [each for each in found if "rejected" not in each.locator]
    bad = [each.locator["rejected"][1] for each in found if "rejected" in each.locator]
    return good, bad, "\n".join(source.notes)


ROWS = [
    {"path": "a.wav", "text": "x"},
    {"path": "b.wav", "text": "y, z", "offset": 1.0, "duration": 2.0},
]
DOCUMENTS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "object by id": json.dumps({"u0": ROWS[0], "u1": ROWS[1]}),
    "pretty object": json.dumps({"u0": ROWS[0], "u1": ROWS[1]}, indent=2),
    "wrapped": json.dumps({"version": "1", "tags": ["x"], "data": ROWS}, indent=1),
    "one after the other": "\n".join(json.dumps(row, indent=1) for row in ROWS),
}


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("form", DOCUMENTS)
def test_json_that_is_one_document(tmp_path: Path, form: str, ending: str) -> None:
    good, bad, said = scan(tmp_path / f"m.{ending}", DOCUMENTS[form])
    assert not bad and "one JSON document" in said
    assert [(row.text, row.start, row.end) for row in good] == [
        ("x", None, None),
        ("y, z", 1.0, 3.0),
    ]
    assert [row.id for row in good] == (
        ["u0", "u1"] if "object" in form else ["a.wav", "b.wav#1-3"]
    )


def test_transcripts_by_file_name(tmp_path: Path) -> None:
    good, _, _ = scan(tmp_path / "m.json", '{"a.wav": "hello", "b.wav": {"sentence": "you"}}')
    assert [(row.id, row.text) for row in good] == [("a.wav", "hello"), ("b.wav", "you")]


def test_what_is_broken_in_a_document_costs_itself(tmp_path: Path) -> None:
    good, bad, _ = scan(
        tmp_path / "m.json", '[7, {"path":"a.wav"},{"path":"b.wav" "n":1},{"path":"c.wav"},{"pa'
    )
    assert [row.id for row in good] == ["a.wav", "c.wav"]
    assert [f"item {n}" in message for n, message in zip((1, 3, 5), bad, strict=True)] == [True] * 3


def test_a_document_is_read_in_bounded_memory() -> None:
    row = json.dumps({"path": "a.wav", "text": "x" * 1_000})
    blocks = iter(["[", *(f"{row}," for _ in range(20_000)), "]"])
    tracemalloc.start()
    count = sum(not isinstance(each, BadValue) for each in document_rows(_reader(blocks), None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000 and peak < 4_000_000


def _reader(blocks: Any) -> Any:
    return lambda _: next(blocks, "")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_document_is_the_same_in_blocks_of_any_size(size: int) -> None:
    text = json.dumps(
        [{"path": "a.wav", "n": -12.5e3, "deep": {"x": [True, None]}}, ROWS], indent=1
    )
    blocks = iter([text[at : at + size] for at in range(0, len(text), size)])
    assert list(document_rows(_reader(blocks), None)) == json.loads(text)


NAMES = {
    "text": "text Text transcription transcript sentence Sentence normalized_text",
    "speaker": "speaker speaker_id client_id SpeakerID speakerId Speaker",
    "language": "language lang locale Locale",
    "path": "path Path audio_filepath file_name wav audio audioFilepath wav_filename",
}


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, names in NAMES.items() for name in names.split()]
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_usual_names_unmapped(tmp_path: Path, field: str, name: str, ending: str) -> None:
    row = {"path": "a.wav", "text": "said", "speaker": "ann", "language": "en"}
    row = {name if key == field else key: value for key, value in row.items()}
    content = (
        json.dumps(row) if ending == "jsonl" else f"{','.join(row)}\n{','.join(row.values())}\n"
    )
    (found,), _, _ = scan(tmp_path / f"m.{ending}", content)
    assert (found.uri, found.text) == (str(tmp_path / "a.wav"), "said")
    assert (found.speaker, found.language, found.meta) == ("ann", "en", {})


@pytest.mark.parametrize(
    "columns",
    [
        {"start": 1.5, "end": 3.5},
        {"offset": 1.5, "duration": 2},
        {"begin_time": 1.5, "end_time": 3.5},
        {"start_ms": 1500, "end_ms": 3500},
        {"start_ms": 1500, "duration_ms": 2000},
        {"offset_ms": 1500, "duration": 2},
        {"startMs": 1500, "endMs": 3500},
        {"Start (ms)": 1500, "Duration (s)": 2},
        {"start_milliseconds": 1500, "end_msec": 3500},
        {"begin_time_ms": 1500, "end_time_ms": 3500},
        {"start_seconds": 1.5, "duration_seconds": 2},
        {"start": "00:00:01.5", "end": "0:03,5"},
    ],
)
def test_the_usual_times_unmapped(tmp_path: Path, columns: dict[str, Any]) -> None:
    (found,), _, said = scan(tmp_path / "m.jsonl", json.dumps({"path": "a.wav", **columns}))
    assert (found.start, found.end, found.seconds) == (1.5, 3.5, 2.0)
    assert found.meta == {} and "not used" not in said


def test_times_in_units_that_cannot_be_told_are_named(tmp_path: Path) -> None:
    row = {"path": "a.wav", "start_sample": 100, "num_frames": 5, "lyrics": "la"}
    _, _, said = scan(tmp_path / "m.jsonl", json.dumps(row))
    for name in ("start_sample", "num_frames"):
        assert f"`{name}` (kept in meta); times are read in seconds" in said
    assert "--map text=lyrics" in said


def test_another_encoding_is_named_and_then_read(tmp_path: Path) -> None:
    table = "path,text\na.wav,café\nb.wav,plain\n".encode("cp1252")
    good, bad, said = scan(tmp_path / "m.csv", table)
    assert [row.text for row in good] == ["plain"]
    assert "--encoding" in bad[0] and "1 lines are not UTF-8" in said
    good, bad, _ = scan(tmp_path / "m.csv", table, encoding="windows-1252")
    assert [row.text for row in good] == ["café", "plain"] and not bad

    with pytest.raises(UsageError, match="--encoding nope"):
        parse_hints(encoding="nope")


def test_sidecars_and_lists_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "a.wav").write_bytes(b"")
    (tmp_path / "metadata.csv").write_bytes("a|café\n".encode("cp1252"))
    source = open_source(str(tmp_path), hints=parse_hints(encoding="cp1252"))
    assert [row.text for row in source.scan()] == ["café"]
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "wavs" / "a.txt").write_bytes("thé".encode("cp1252"))
    assert [row.text for row in source.scan()] == ["thé"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.csv", "a.wav,ann,one and a half\n", "--map path=1,text=3"),
        ("m.txt", "a.wav|what is said\n", "--map path=1,text=2"),
        ("files.lst", "a.wav\nb.wav\n", "--map path=1 says"),
        ("m.csv", "name|x\n1|2\n", "--map path=COLUMN"),
        ("m.csv", b"PK\x03\x04", "workbook of Excel"),
        ("m.xlsx", b"PK\x03\x04", "save its sheet as CSV"),
        ("m.csv", "path,text\na.wav,x\n".encode("utf-16-le"), "--encoding utf-16-le"),
        ("m.csv", "path,caf\xe9\na.wav,x\n".encode("latin-1"), "--encoding"),
    ],
)
def test_a_table_that_is_none_says_what_to_pass(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(SourceError) as caught:
        scan(tmp_path / name, content)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_of_files_by_number(tmp_path: Path) -> None:
    good, _, said = scan(tmp_path / "files.txt", "a.wav\nb.wav\n", map="path=1")
    assert [row.id for row in good] == ["a.wav", "b.wav"] and "one column without" in said


def test_rows_whose_files_are_not_there_are_counted(tmp_path: Path) -> None:
    _, _, said = scan(tmp_path / "m.csv", "path\na.wav\nb.wav\n")
    assert "2 of 2 rows name files that are not there" in said and "--audio-root" in said


@pytest.mark.parametrize(
    "given",
    [
        [[0, 0.5, "hi"], [0.5, 1, "you"]],
        [["hi", 0.0, 0.5], ["you", 0.5, 1.0]],
        [["hi", [0.0, 0.5], None], ["you", [0.5, 1.0], None]],
        [{"word": "hi", "start": 0, "end": 0.5}, {"word": "you", "start": 0.5, "duration": 0.5}],
    ],
)
def test_words_in_the_forms_that_have_times(given: list[Any]) -> None:
    assert read_words(given) == [(0.0, 0.5, "hi", None), (0.5, 1.0, "you", None)]
    assert read_words(["hi", "you"]) is None and read_words([[1, 2, 3]]) is None


def test_blanks_behind_commas_are_none_of_a_name(tmp_path: Path) -> None:
    """As people type tables: quotes behind a blank hold commas, too."""
    for header in ("path,text,speaker,site", "path, text, speaker, site"):
        rows = 'a.wav, one, ann,x\nb.wav, "two, ""three""", "bob",y\n,, ,\n'
        good, bad, _ = scan(tmp_path / "m.csv", f"{header}\n{rows}")
        assert [(row.id, row.text, row.speaker) for row in good] == [
            ("a.wav", "one", "ann"),
            ("b.wav", 'two, "three"', "bob"),
        ]
        assert [row.meta for row in good] == [{"site": "x"}, {"site": "y"}]
        assert not bad or "no `path`" in bad[0]


def test_a_quote_behind_a_blank_in_a_sentence_stays(tmp_path: Path) -> None:
    content = 'path,text\n a.wav,"he said, ""no"" and left"\nb.wav, "so" said she\n'
    good, bad, _ = scan(tmp_path / "m.csv", content)
    assert [(row.id, row.text) for row in good] == [
        (" a.wav", 'he said, "no" and left'),
        ("b.wav", '"so" said she'),
    ]
    assert not bad


def test_columns_without_a_name_are_called_by_their_number(tmp_path: Path) -> None:
    good, bad, said = scan(
        tmp_path / "m.csv", ",path,column_4,,text,,\n0,a.wav,k,,one,,\n1,b.wav,k,v,two,,\n"
    )
    assert not bad and [row.text for row in good] == ["one", "two"]
    assert [row.meta for row in good] == [
        {"column_1": "0", "column_4": "k"},
        {"column_1": "1", "column_4": "k", "column_4_": "v"},
    ]
    assert said.count("without a name") == 1


@pytest.mark.parametrize(
    ("name", "content"), [("m.csv", "path,text\n"), ("m.tsv", "path\ttext\n\n"), ("m.jsonl", "")]
)
def test_a_table_without_rows_says_so(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(SourceError, match=f"{name}: the table has .*no rows"):
        scan(tmp_path / name, content)
