"""A corpus that was read in one place and lies in another when a run goes on, or is audited."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.cli.main import main
from pipelines.corpus.sources.forms.moved import Move, now
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer import UsageError
from tokenizer.errors import OutputError, SourceError

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


def rows(out: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in sorted((out / "data").glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def was(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, TokenizeConfig]:
    """Which way, the corpus, and what it is tokenized with, a recording a shard."""
    root = tmp_path / "disk" / "lang=en"
    specs = request.param(root)
    source = specs[0] if len(specs) == 1 else tuple(specs)
    return request.param.__name__, root, TokenizeConfig(source, codec="mulaw", shard_hours=1e-4)


def go_away(root: Path) -> tuple[Path, tuple[str, ...]]:
    """Where it is now, and how that is said."""
    new = root.parents[1] / "mnt" / "en"
    new.parent.mkdir()
    root.rename(new)
    return new, (f"{root}={new}",)


def test_an_audit_hears_a_corpus_where_it_lies_now(
    was: tuple[str, Path, TokenizeConfig], tmp_path: Path
) -> None:
    way, root, config = was
    out, options = str(tmp_path / "out"), {"all": True, "quiet": True, "page": False, "workers": 0}
    tokenize_corpus(config, out, RunOptions(workers=0, quiet=True))
    before = audit(out, options=AuditOptions(**options))
    _, moved = go_away(root)
    if way in ("absolute_table", "relative_table", "tars"):  # files are looked for one by one
        lost = audit(out, options=AuditOptions(**options))
        assert not lost.passed and all(one.error for one in lost.recordings)
    else:
        with pytest.raises(SourceError, match=r"if it has moved: --moved .*=NEW$"):
            audit(out, options=AuditOptions(**options))
    found = audit(out, options=AuditOptions(**options, moved=moved))
    assert found.passed and not [one.error for one in found.recordings if one.error]
    figures = [
        {one.id: dict(one.figures) for one in report.recordings} for report in (before, found)
    ]
    assert figures[0] == figures[1] and len(figures[0]) == (4 if way == "several" else 2)


@pytest.mark.parametrize("by", ["the old name", "the new name"])
def test_a_run_goes_on_where_the_corpus_lies_now(
    was: tuple[str, Path, TokenizeConfig], tmp_path: Path, by: str
) -> None:
    """Rows are those of a run that was never broken off, and nothing is taken for new."""
    way, root, config = was
    whole, out = tmp_path / "whole", tmp_path / "out"
    tokenize_corpus(config, str(whole), RunOptions(workers=0, quiet=True))
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True, part="1/2"))
    some = rows(out)
    assert 0 < len(some) < len(rows(whole))
    new, moved = go_away(root)
    if by == "the new name":
        sources = tuple(one.replace(str(root), str(new)) for one in config.sources)
        config = replace(config, source=sources[0] if len(sources) == 1 else sources)
        if way != "absolute_table":
            with pytest.raises(OutputError, match=r"if SOURCE has moved: --moved OLD=NEW"):
                tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    options = RunOptions(workers=0, quiet=True, moved=moved)
    done = tokenize_corpus(config, str(out), options)
    assert (done.failures, done.missing) == (0, 0)
    assert rows(out) == rows(whole)
    if way != "absolute_table":  # which still names files where they were
        again = tokenize_corpus(config, str(out), replace(options, append=True))
        assert rows(out) == rows(whole) and again.failures == 0
    assert main(["verify", str(out)]) == 0


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
    up = Move.of("/mnt/disk=/", [])
    assert (up.forth("/mnt/disk/a"), up.back("/a"), up.back("s3://a")) == (
        "/a",
        "/mnt/disk/a",
        "s3://a",
    )
    assert {name: now(name, moves, ["tar"]) for name in expected} == expected
