"""A bad row costs a row, in every form that rows come in: the same rows, good and bad, are written
as each, and the same must come out."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.corpus.sources import open_source
from pipelines.output.formats.schema import encode_meta
from tokenizer.errors import RecordingError
from tokenizer.types import Recording

NAN, INFINITE = math.nan, math.inf
ROWS: list[dict[str, Any]] = [
    {"path": "a.wav", "start": 0.25, "end": 0.5, "text": "first"},
    {"path": "a.wav", "start": 0.5, "end": 0.25, "text": "reversed"},
    {"path": "a.wav", "start": 0.5, "end": 0.5, "text": "empty"},
    {"path": "a.wav", "start": -0.5, "end": 0.25, "text": "before the beginning"},
    {"path": "a.wav", "start": "soon", "end": 0.5, "text": "no number"},
    {"path": "a.wav", "start": 0.0, "end": INFINITE, "text": "endless"},
    {"path": "gone.wav", "start": 0.0, "end": 0.5, "text": "no file"},
    {"path": "a.wav", "start": 0.75, "end": 1.0, "text": "last"},
]
"""rows 1 and 8 are good"""
ODD: list[dict[str, Any]] = [
    {"path": "a.wav", "start": 0.0, "end": 0.5, "text": NAN, "speaker": NAN, "snr": NAN},
    {"path": "a.wav", "start": 0.5, "end": 1.0, "text": "cut \ud83d", "peaks": [INFINITE, 1.5]},
]
"""rows that JSON can hold, and are good but for a value"""
Write = Callable[[Path, list[dict[str, Any]]], str]


def jsonl(folder: Path, rows: list[dict[str, Any]], name: str = "m.jsonl") -> str:
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return name


def array(folder: Path, rows: list[dict[str, Any]], indent: int | None = None) -> str:
    (folder / "m.json").write_text(json.dumps(rows, indent=indent))
    return "m.json"


def by_id(folder: Path, rows: list[dict[str, Any]]) -> str:
    (folder / "m.json").write_text(json.dumps({f"u{n}": row for n, row in enumerate(rows)}))
    return "m.json"


def delimited(folder: Path, rows: list[dict[str, Any]], name: str, delimiter: str) -> str:
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return name


def parquet(folder: Path, rows: list[dict[str, Any]], name: str = "m.parquet") -> str:
    columns = {
        key: [str(row[key]) if key in ("start", "end") else row[key] for row in rows]
        for key in rows[0]
    }
    pq.write_table(pa.table(columns), folder / name)
    return name


def _length(row: dict[str, Any]) -> Any:
    both = all(isinstance(row[key], float) for key in ("start", "end"))
    return row["end"] - row["start"] if both else row["end"]


def nemo(folder: Path, rows: list[dict[str, Any]]) -> str:
    named = {"path": "audio_filepath", "start": "offset", "end": "duration"}
    made = [{**row, "end": _length(row)} for row in rows]
    renamed = [{named.get(key, key): value for key, value in row.items()} for row in made]
    jsonl(folder, renamed, "train_manifest.json")
    return ""


def audiofolder(name: str) -> Write:
    def write(folder: Path, rows: list[dict[str, Any]]) -> str:
        made = [{"file_name": row["path"], **row} for row in rows]
        for row in made:
            del row["path"]
        if name.endswith("csv"):
            delimited(folder, made, name, ",")
        elif name.endswith("parquet"):
            parquet(folder, made, name)
        else:
            jsonl(folder, made, name)
        return ""

    return write


def kaldi(folder: Path, rows: list[dict[str, Any]]) -> str:
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\ngone {folder}/gone.wav\n")
    spans = [f"u{n} {row['path'][:-4]} {row['start']} {row['end']}" for n, row in enumerate(rows)]
    (folder / "segments").write_text("\n".join(spans) + "\n")
    texts = "".join(f"u{n} {row['text']}\n" for n, row in enumerate(rows))
    (folder / "text").write_text(texts)
    return ""


def _supervision(n: int, row: dict[str, Any], **also: Any) -> dict[str, Any]:
    told = {key: row[key] for key in row.keys() - {"path", "start", "end"}}
    return {"id": f"u{n}", "start": row["start"], "duration": _length(row), **told, **also}


def _source(path: str) -> dict[str, Any]:
    return {
        "id": path,
        "sources": [{"type": "file", "channels": [0], "source": path}],
        "sampling_rate": 48_000,
        "duration": 1.0,
    }


def lhotse(folder: Path, rows: list[dict[str, Any]]) -> str:
    files = sorted({row["path"] for row in rows})
    jsonl(folder, [_source(path) for path in files], "recordings_x.jsonl")
    said = [_supervision(n, row, recording_id=row["path"]) for n, row in enumerate(rows)]
    jsonl(folder, said, "supervisions_x.jsonl")
    return ""


def cuts(folder: Path, rows: list[dict[str, Any]]) -> str:
    made = [
        {
            **{key: said[key] for key in ("id", "start", "duration")},
            "supervisions": [{**said, "start": 0.0}],
            "recording": _source(row["path"]),
        }
        for n, row in enumerate(rows)
        for said in [_supervision(n, row)]
    ]
    jsonl(folder, made, "cuts_x.jsonl.gz")
    return ""


FORMS: dict[str, tuple[Write, int]] = {
    "jsonl": (jsonl, 1),
    "jsonl.gz": (lambda folder, rows: jsonl(folder, rows, "m.jsonl.gz"), 1),
    "array": (array, 1),
    "pretty array": (lambda folder, rows: array(folder, rows, 2), 1),
    "by id": (by_id, 1),
    "csv": (lambda folder, rows: delimited(folder, rows, "m.csv", ","), 2),
    "tsv": (lambda folder, rows: delimited(folder, rows, "m.tsv", "\t"), 2),
    "parquet": (parquet, 1),
    "nemo": (nemo, 1),
    "audiofolder csv": (audiofolder("metadata.csv"), 2),
    "audiofolder jsonl": (audiofolder("metadata.jsonl"), 1),
    "audiofolder parquet": (audiofolder("metadata.parquet"), 1),
    "kaldi": (kaldi, 1),
    "lhotse": (lhotse, 1),
    "cuts": (cuts, 1),
}
"""form → how it is written, and the number that its first row goes by"""
JSON = ("jsonl", "array", "by id", "nemo", "audiofolder jsonl", "lhotse", "cuts")


def read(folder: Path, form: str, rows: list[dict[str, Any]]) -> tuple[list[Recording], list[str]]:
    """Recordings that open, and what is said of the others."""
    soundfile.write(folder / "a.wav", [0.0] * 48_000, 48_000)
    source = open_source(str(folder / FORMS[form][0](folder, rows)))
    good, bad = [], []
    for recording in source.scan():
        try:
            source.open(recording)
            good.append(recording)
        except RecordingError as error:
            bad.append(str(error))
    return good, bad


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_row_costs_itself_and_is_told_by_its_number(tmp_path: Path, form: str) -> None:
    good, bad = read(tmp_path, form, ROWS)
    assert [(row.text, row.start, row.end) for row in good] == [
        ("first", 0.25, 0.5),
        ("last", 0.75, 1.0),
    ]
    for number, message in zip(range(1, 7), bad, strict=True):
        # Kaldi's and Lhotse's files are lists of their own: it is their line, or the row's name.
        named = f" {number + FORMS[form][1]}"
        assert f"line{named}" in message or f"row{named}" in message or f"item{named}" in message
        assert "\n" not in message and ("no such file" in message) == (number == 6)


@pytest.mark.parametrize("form", JSON)
def test_values_that_are_none_are_null_and_halves_of_characters_are_marked(
    tmp_path: Path, form: str
) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    good, bad = read(tmp_path, form, ODD)
    assert not bad and [row.text for row in good] == [None, "cut \ufffd"]
    assert good[0].speaker is None and "text" in good[1].meta["repaired"]
    for row in good:
        text = encode_meta(row.meta).encode("utf-8")
        assert json.loads(text, parse_constant=refuse) == row.meta


@pytest.mark.parametrize(
    ("form", "line"),
    [("jsonl", '{"path": "a.wav", "text": "cut'), ("nemo", "{"), ("cuts", "[1]"), ("lhotse", "7")],
)
def test_a_line_that_is_no_row_at_all(tmp_path: Path, form: str, line: str) -> None:
    name = FORMS[form][0](tmp_path, ROWS[:1])
    soundfile.write(tmp_path / "a.wav", [0.0] * 48_000, 48_000)
    table = next(path for path in tmp_path.iterdir() if path.suffix in (".gz", ".jsonl", ".json"))
    if form == "lhotse":
        table = tmp_path / "supervisions_x.jsonl"
    raw = table.read_bytes()
    old = gzip.decompress(raw) if table.suffix == ".gz" else raw
    new = old + f"{line}\n".encode() + old.replace(b'"u0"', b'"u1"').replace(b"0.25", b"0.125")
    table.write_bytes(gzip.compress(new) if table.suffix == ".gz" else new)
    found = list(open_source(str(tmp_path / name)).scan())
    assert [bool(each.locator.get("rejected")) for each in found].count(True) == 1
    assert len(found) == 3
