"""The short way of reading rows gives what the long way gives, for rows of every kind."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.plain_rows import PlainRows
from pipelines.output.plan import make_plan
from pipelines.output.plans.rows import _locator, _meta
from tokenizer.types import Recording

VALUES: tuple[Any, ...] = (
    *(None, "", " ", "x", " x ", "ü", "u\u0308", "\ud800", "日本", "a\tb", 'q"'),
    *(0, 1, 5, -1, 1 << 60, 10**400, 0.5, 1e300, float("nan"), float("inf"), -0.0, True, False),
    *("0.5", "1:02", "00:01:02.5", "nan", "1e3", " 7 ", "never"),
    *([], [1, "a"], {}, {"a": None}, [[0, 1, "word"]]),
)
NAMES = (
    *("path", "audio", "file_name", "id", "text", "sentence", "speaker", "client_id", "language"),
    *("duration", "duration_ms", "dur", "start", "end", "offset", "words", "alignment", "quality"),
    *("split", "Path", "Speaker ID", "ctm_filepath", "notes", "repaired", "\ud800"),
)
PATHS = ("a.wav", "b/c.flac", "ü.mp3", "/tmp/x.wav", "~/y.wav", "s3://b/z.wav", "file:///t.wav", "")


def rows() -> list[dict[str, Any]]:
    rng = random.Random(1)
    made = []
    for number in range(3_000):
        row = {name: rng.choice(VALUES) for name in rng.sample(NAMES, rng.randrange(6))}
        usual = {"path": f"{number}.wav", "duration": 1.5, "text": "one two", "level": 3}
        row = usual | row if rng.random() < 0.7 else row | {"path": rng.choice(PATHS)}
        made.append(row)
    return made


def listed(path: Path) -> tuple[list[Recording], tuple[str, ...]]:
    source = open_source(f"manifest:{path}")
    return list(source.scan()), source.notes


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_both_ways_give_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    else:
        cells = [
            [str(row.get(name, "")) for name in ("path", "duration", "text", "id", "notes")]
            for row in rows()
        ]
        lines = ["path,duration,text,id,notes"] + [
            ",".join('"' + cell.replace('"', '""') + '"' for cell in each) for each in cells
        ]
        table.write_bytes("\n".join(lines).encode("utf-8", "replace"))
    (tmp_path / "7.wav").write_bytes(b"")
    short = listed(table)
    taken = 0
    read = PlainRows.read

    def count(self: PlainRows, row: dict[str, Any]) -> Any:
        nonlocal taken
        taken += read(self, row) is not None
        return None

    monkeypatch.setattr(PlainRows, "read", count)
    assert repr(listed(table)) == repr(short)
    assert 300 < taken < 3_000


def test_json_in_plans_is_what_the_standard_library_writes() -> None:
    for value in ({"b": 1, "a": {"ü": [1.5, None, True, "\n\u2028"]}}, {"x": 1e300, "": "\x00"}):
        assert _locator(value) == json.dumps(value, sort_keys=True)
        assert _meta(value) == json.dumps(value, sort_keys=True, ensure_ascii=False)


def test_a_plan_is_the_same_whichever_way_its_rows_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "t.jsonl"
    made = [
        {"path": f"{number}.wav", "duration": 1 + number % 3, "text": "ä b", "quality": number}
        for number in range(2_000)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in made))
    short = make_plan(open_source(str(table)).scan(), shard_hours=0.1)
    monkeypatch.setattr(PlainRows, "read", lambda self, row: None)
    assert make_plan(open_source(str(table)).scan(), shard_hours=0.1) == short
