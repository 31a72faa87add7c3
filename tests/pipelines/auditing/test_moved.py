"""A corpus that was tokenized in one place and lies in another when it is audited."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.corpus.sources.forms.moved import Move, moved
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer import UsageError
from tokenizer.errors import SourceError

NAMES = ("a", "b")


def wave(seed: int) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, sound(24_000 + seed, seed=seed).samples.T, 48_000, format="WAV")
    return target.getvalue()


def folder(root: Path) -> list[str]:
    root.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        (root / f"{name}.wav").write_bytes(wave(seed))
    return [str(root)]


def absolute_table(root: Path) -> list[str]:
    """The table stays; what it names moves."""
    folder(root)
    table = root.parent / "list.jsonl"
    lines = [{"id": name, "audio_filepath": str(root / f"{name}.wav")} for name in NAMES]
    table.write_text("\n".join(map(json.dumps, lines)))
    return [str(table)]


def relative_table(root: Path) -> list[str]:
    folder(root)
    lines = [{"id": name, "audio_filepath": f"{name}.wav"} for name in NAMES]
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return [str(root / "list.jsonl")]


def tars(root: Path) -> list[str]:
    root.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        with tarfile.open(root / f"{seed}.tar", "w") as archive:
            member = tarfile.TarInfo(f"{name}.wav")
            member.size = len(wave(seed))
            archive.addfile(member, io.BytesIO(wave(seed)))
    return [f"tar:{root}/{{0..1}}.tar"]


def folder_of_tars(root: Path) -> list[str]:
    tars(root)
    return [str(root)]


def parquet(root: Path) -> list[str]:
    root.mkdir(parents=True)
    rows = [{"bytes": wave(seed), "path": f"{name}.wav"} for seed, name in enumerate(NAMES)]
    pq.write_table(pa.table({"audio": rows, "id": list(NAMES)}), root / "train.parquet")
    return [str(root)]


def several(root: Path) -> list[str]:
    return [*folder(root / "one"), *tars(root / "two")]


WAYS: list[Callable[[Path], list[str]]] = [
    folder,
    absolute_table,
    relative_table,
    tars,
    folder_of_tars,
    parquet,
    several,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_audit_hears_a_corpus_where_it_lies_now(
    way: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    old, new = tmp_path / "disk" / "lang=en", tmp_path / "mnt" / "en"
    specs, out = way(old), str(tmp_path / "out")
    config = TokenizeConfig(specs[0] if len(specs) == 1 else tuple(specs), codec="mulaw")
    tokenize_corpus(config, out, RunOptions(workers=0, quiet=True))
    options = {"all": True, "quiet": True, "page": False, "workers": 0}
    before = audit(out, options=AuditOptions(**options))
    new.parent.mkdir()
    old.rename(new)
    if way in (absolute_table, relative_table, tars):  # what is named is looked for one by one
        lost = audit(out, options=AuditOptions(**options))
        assert not lost.passed and all(one.error for one in lost.recordings)
    else:
        with pytest.raises(SourceError, match=r"if it has moved: --moved .*=NEW$"):
            audit(out, options=AuditOptions(**options))
    found = audit(out, options=AuditOptions(**options, moved=(f"{old}={new}",)))
    assert found.passed and not [one.error for one in found.recordings if one.error]
    figures = [
        {one.id: dict(one.figures) for one in report.recordings} for report in (before, found)
    ]
    assert figures[0] == figures[1] and len(figures[0]) == (4 if way is several else 2)


@pytest.mark.parametrize("said", ["", "a", "=b", "a=", "/=b", "="])
def test_what_is_no_move_is_refused_in_a_line(said: str) -> None:
    with pytest.raises(UsageError, match=r"--moved .*give OLD=NEW"):
        Move.of(said, ["/data/a"])


def test_a_name_is_moved_as_a_whole() -> None:
    moves = [Move.of("/data/a=/mnt/b", ["/data/a"]), Move.of("s3://old/x/=s3://new", [])]
    expected = {
        "/data/a": "/mnt/b",
        "/data/a/b.wav": "/mnt/b/b.wav",
        "/data/ab/c.wav": "/data/ab/c.wav",
        "s3://old/x/1.tar": "s3://new/1.tar",
        "tar:/data/a/1.tar": "tar:/mnt/b/1.tar",
        "/other": "/other",
    }
    assert {name: moved(name, moves, ["tar"]) for name in expected} == expected
