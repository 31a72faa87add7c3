"""Fields of a source that are called as what we say of a recording: both are in its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile

from codecshards import tokenize
from pipelines.corpus.own_keys import beside

OWN = {"flags": "noisy", "channel": "A", "gaps": [1], "channels": 7, "recording": "tape 4"}


def rows(home: Path, **how: Any) -> list[dict[str, Any]]:
    """`meta` of what becomes of two silent recordings, by pyarrow."""
    soundfile.write(home / "a.wav", np.zeros((4_000, 2)), 8_000)
    soundfile.write(home / "b.wav", np.zeros((4_000, 2)), 8_000)
    lines = [{"path": "a.wav", **OWN}, {"path": "b.wav", "flags": ["silent"]}]
    (home / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tokenize(home / "list.jsonl", home / "out", codec="mulaw", workers=0, quiet=True, **how)
    (shard,) = (home / "out/data").iterdir()
    return [json.loads(meta) for meta in pq.read_table(shard)["meta"].to_pylist()]


def test_a_sources_flags_are_kept_beside_ours(tmp_path: Path) -> None:
    first, second = rows(tmp_path)
    assert first == {**OWN, "flags": ["silent"], "source_flags": "noisy"}
    assert second == {"flags": ["silent"]}


def test_so_are_its_channels_where_each_is_a_row(tmp_path: Path) -> None:
    left, right = rows(tmp_path, channels="split")[:2]
    kept = {f"source_{name}": OWN[name] for name in ("flags", "channel", "channels", "recording")}
    ours = {"flags": ["silent"], "gaps": [1], "channels": 2, "recording": "a.wav"}
    assert left == ours | kept | {"channel": 0} and right == ours | kept | {"channel": 1}


def test_a_name_that_is_taken_too_gets_another() -> None:
    said = {"flags": 1, "source_flags": 2, "x": 3}
    assert beside(said, {"flags": 4}) == {**said, "flags": 4, "source_source_flags": 1}
