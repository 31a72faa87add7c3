"""A corpus that grows: what a second run says, what `--append` and `--retry-failed` add, and that
nothing that was committed is touched."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3
import soundfile

from pipelines import CodesDataset
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import find_row
from pipelines.output.inspect import inspect
from pipelines.output.rows import Rows
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from pipelines.tokenizing.outcome import RunResult
from tokenizer.errors import OutputError, SourceError, UsageError

HERE = RunOptions(workers=0, device="cpu", quiet=True)
Write = Callable[[Path, Mapping[str, str]], str]
"""writes recordings, by name with their text, to a folder that may have some; returns SOURCE"""


def wave(name: str, version: int = 0) -> bytes:
    """A tenth of a second that belongs to a name."""
    seed = int.from_bytes(hashlib.sha256(f"{name}{version}".encode()).digest()[:4], "big")
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, 1600)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV")
    return file.getvalue()


def as_folder(home: Path, texts: Mapping[str, str]) -> str:
    for name, text in texts.items():
        (home / f"{name}.wav").write_bytes(wave(name))
        (home / f"{name}.txt").write_text(text)
    return str(home)


def as_tars(home: Path, texts: Mapping[str, str]) -> str:
    """A tar more each time."""
    number = len(list(home.iterdir()))
    with tarfile.open(home / f"part-{number}.tar", "w") as archive:
        for name, text in texts.items():
            for ending, content in (("wav", wave(name)), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return str(home)


def as_table(home: Path, texts: Mapping[str, str]) -> str:
    table = home / "corpus.csv"
    fresh = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["path", "text"])
        for name, text in texts.items():
            (home / f"{name}.wav").write_bytes(wave(name))
            writer.writerow([f"{name}.wav", text])
    return str(table)


def as_parquet(home: Path, texts: Mapping[str, str]) -> str:
    rows = [
        {"id": name, "text": text, "audio": {"bytes": wave(name), "path": f"{name}.wav"}}
        for name, text in texts.items()
    ]
    number = len(list(home.iterdir()))
    pq.write_table(pa.Table.from_pylist(rows), home / f"{number:03d}.parquet")
    return str(home)


def as_ljspeech(home: Path, texts: Mapping[str, str]) -> str:
    (home / "wavs").mkdir(exist_ok=True)
    with (home / "metadata.csv").open("a") as file:
        for name, text in texts.items():
            (home / "wavs" / f"{name}.wav").write_bytes(wave(name))
            file.write(f"{name}|{text}|{text}\n")
    return str(home)


WAYS: dict[str, Write] = {
    "folder": as_folder,
    "tars": as_tars,
    "table": as_table,
    "parquet": as_parquet,
    "ljspeech": as_ljspeech,
}
FIRST = {"a": "one", "b": "two", "c": "three"}
MORE = {"aa": "four", "d": "five"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


def run(
    source: str | Sequence[str], out: Path, options: RunOptions = HERE, **more: Any
) -> RunResult:
    """Shards of two recordings."""
    where = source if isinstance(source, str) else tuple(source)
    config = TokenizeConfig(where, codec="mulaw", **{"shard_hours": 0.2 / 3600, **more})
    return tokenize_corpus(config, str(out), options)


APPEND = replace(HERE, append=True)
RETRY = replace(HERE, retry_failed=())


def rows_of(out: Path) -> dict[str, tuple[Any, ...]]:
    """Every row by its id, as pyarrow reads the files."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted((out / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            assert row["id"] not in found, f"{row['id']} is there twice"
            found[row["id"]] = (row["codes"], row["text"], row["source_sha256"], row["meta"])
    return found


def state(out: Path) -> dict[str, tuple[str, int]]:
    """What is committed, to the last byte and the time of writing."""
    return {
        str(path.relative_to(out)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for folder in ("data", "manifest")
        for path in (out / folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("way", WAYS)
def test_append_does_what_is_new_and_touches_nothing(way: str, home: Path, tmp_path: Path) -> None:
    write, out = WAYS[way], tmp_path / "out"
    source = write(home, FIRST)
    assert run(source, out).recordings == 3

    write(home, MORE)
    before = state(out)
    found = run(source, out)
    assert (found.new, found.changed, found.gone, found.other_text) == (2, 0, 0, 0)
    assert state(out) == before

    assert run(source, out, APPEND).recordings == 5
    after = state(out)
    assert before.items() <= after.items()
    assert {name.rsplit("/", 1)[0] for name in set(after) - set(before)} == {
        "data",
        "manifest/commits",
        "manifest/generations",
        "manifest/plans",
    }
    assert run(source, out, APPEND).recordings == 5 and state(out) == after
    assert not run(source, out).outdated and verify(str(out)) == []

    scratch = tmp_path / "scratch"
    run(source, scratch)
    assert rows_of(out) == rows_of(scratch) and len(rows_of(out)) == 5


def test_append_on_several_sources_and_a_fresh_folder(home: Path, tmp_path: Path) -> None:
    one, other, out = home / "one", home / "other", tmp_path / "out"
    one.mkdir(), other.mkdir()
    sources = [as_folder(one, FIRST), as_table(other, FIRST)]
    assert run(sources, out, APPEND).recordings == 6
    as_folder(one, MORE), as_table(other, MORE)
    assert run(sources, out).new == 4
    assert run(sources, out, APPEND).recordings == 10
    run(sources, tmp_path / "scratch")
    assert rows_of(out) == rows_of(tmp_path / "scratch")


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_every_reader_counts_all_generations(
    form: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", as_folder(home, FIRST)
    run(source, out, format=form)
    as_folder(home, {f"more-{number}": "a text" for number in range(2)})
    run(source, out, APPEND, format=form)
    ids = ["a.wav", "b.wav", "c.wav", "more-0.wav", "more-1.wav"]
    assert [row["id"] for row in Rows(str(out)).rows(["id"])] == ids
    summary = inspect(str(out))
    assert (summary.recordings, summary.recordings_planned, summary.shards) == (5, 5, 3)
    assert summary.complete and [one.kind for one in summary.generations] == ["append"]
    assert main(["inspect", str(out)]) == 0
    assert "append 2 recordings in 1 shard" in capsys.readouterr().out
    assert find_row(str(out), "more-1.wav").text == "a text"
    assert verify(str(out)) == []
    assert len(CodesDataset(str(out))) == 5
    assert len(CodesDataset(str(out / "data"))) == 5
    card = (out / "README.md").read_text()
    assert "5 recordings" in card
    if form == "parquet":
        table = pq.read_table(out / "data")
        assert table.column("id").to_pylist() == ids


def test_a_second_run_says_what_has_changed_and_offers_what_mends_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", as_folder(home, FIRST)
    run(source, out)
    as_folder(home, {"b": "a corrected text", **MORE})  # written again: another time
    (home / "c.wav").unlink()
    (home / "a.wav").write_bytes(wave("a", version=1))
    command = ["tokenize", source, str(out), "--codec", "mulaw", "--workers", "0"]
    assert main([*command, "--shard-hours", str(0.2 / 3600)]) == 4
    said = capsys.readouterr().err
    assert "SOURCE has changed since: 2 new, 2 changed, 1 gone; --append does the new ones" in said
    assert (
        f"text of 1 recording differs in SOURCE (b.wav): `codecshards edit {out} --set TABLE`"
        in said
        and "nothing to do" not in said
    )
    assert main([*command, "--shard-hours", str(0.2 / 3600), "--append"]) == 0
    assert rows_of(out)["b.wav"][1] == "two" and len(rows_of(out)) == 5


def test_a_source_that_cannot_be_listed_is_no_fault_of_a_run_that_needs_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", as_folder(home, FIRST)
    run(source, out)
    for path in home.iterdir():
        path.unlink()
    result = run(source, out, replace(HERE, quiet=False))
    assert result.recordings == 3 and not result.outdated
    assert "SOURCE cannot be compared with it" in capsys.readouterr().err
    with pytest.raises(SourceError, match="no recordings"):
        run(source, out, APPEND)


def test_an_id_that_a_grown_table_has_twice_is_refused(home: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", as_table(home, FIRST)
    run(source, out)
    as_table(home, {"a": "another row of the same file"})
    before = state(out)
    with pytest.raises(SourceError, match="two recordings have the id"):
        run(source, out, APPEND)
    assert state(out) == before


def test_channels_of_new_recordings_are_rows_and_those_of_old_ones_are_not_new(
    home: Path, tmp_path: Path
) -> None:
    def stereo(name: str) -> None:
        samples = np.random.default_rng(len(name)).uniform(-0.5, 0.5, (1600, 2))
        soundfile.write(home / f"{name}.wav", samples, 16_000)

    out = tmp_path / "out"
    stereo("a")
    split = {"channels": "split", "shard_hours": 1.0}
    assert run(str(home), out, **split).recordings == 2
    assert not run(str(home), out, **split).outdated
    stereo("bb")
    assert run(str(home), out, **split).new == 1
    run(str(home), out, APPEND, **split)
    run(str(home), tmp_path / "scratch", **split)
    assert rows_of(out) == rows_of(tmp_path / "scratch")
    assert set(rows_of(out)) == {"a.wav#0", "a.wav#1", "bb.wav#0", "bb.wav#1"}


def test_failures_are_tried_again_in_new_shards_and_the_last_verdict_counts(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", as_table(home, {**FIRST, **MORE})
    (home / "b.wav").rename(home / "away")
    (home / "d.wav").write_bytes(b"<html>no audio</html>" * 10)
    assert run(source, out).failures == 2
    before = state(out)
    assert run(source, out, RETRY).failures == 2  # still away: tried, and not there
    (home / "away").rename(home / "b.wav")
    result = run(source, out, RETRY)
    assert (result.recordings, result.failures) == (4, 1)
    assert before.items() <= state(out).items() and verify(str(out)) == []
    summary = inspect(str(out))
    assert (summary.recordings_planned, summary.failed) == (5, 1)
    assert dict(summary.failure_kinds) == {"not_audio": 1}
    assert [row["id"] for row in Rows(str(out)).failures()] == ["d.wav"]
    assert find_row(str(out), "b.wav").text == "two"

    again = state(out)
    assert run(source, out, RETRY).failures == 1 and state(out) == again  # not of those kinds
    (home / "d.wav").write_bytes(wave("d"))
    assert run(source, out).changed == 1
    assert run(source, out, RETRY).failures == 0  # another file is there now
    run(source, tmp_path / "scratch")
    assert rows_of(out) == rows_of(tmp_path / "scratch")
    assert not run(source, out).outdated and len(CodesDataset(str(out))) == 5


def test_kinds_are_chosen_by_name_and_unknown_ones_refused(home: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", as_folder(home, FIRST)
    (home / "b.wav").write_bytes(b"no audio at all, but a line of text")
    assert run(source, out).failures == 1
    before = state(out)
    run(source, out, RETRY)
    assert state(out) == before
    run(source, out, replace(HERE, retry_failed=("not_audio",)))
    assert len(state(out)) == len(before) + 3  # no row: a record, a generation and its plan
    with pytest.raises(UsageError, match="--retry-failed nonsense: choose of "):
        RunOptions(retry_failed=("nonsense",))
    with pytest.raises(UsageError, match="--retry-failed filtered"):
        RunOptions(retry_failed=("filtered",))
    with pytest.raises(UsageError, match="one at a time"):
        RunOptions(append=True, retry_failed=())


def test_channels_that_failed_are_tried_again_as_channels(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    split = {"channels": "split", "shard_hours": 1.0}
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1600, 2))
    soundfile.write(home / "a.wav", samples, 16_000)
    content = (home / "a.wav").read_bytes()
    (home / "a.wav").write_bytes(b"")  # its header cannot be read: planned as it is
    as_folder(home, {"b": "mono"})
    assert run(str(home), out, **split).failures == 1
    (home / "a.wav").write_bytes(content)
    result = run(str(home), out, RETRY, **split)
    assert (result.recordings, result.failures) == (3, 0)
    assert set(rows_of(out)) == {"a.wav#0", "a.wav#1", "b.wav"}
    assert not run(str(home), out, **split).outdated and verify(str(out)) == []


def test_parts_do_all_shards_in_any_order(home: Path, tmp_path: Path) -> None:
    source = as_folder(home, {f"{number}": f"text {number}" for number in range(6)})
    one, parts = tmp_path / "one", tmp_path / "parts"
    run(source, one)
    missing = []
    for part in (3, 1, 2, 2):
        result = run(source, parts, replace(HERE, part=f"{part}/3"))
        missing.append(result.missing)
        assert (parts / "README.md").exists() is (result.missing == 0)
    assert missing == [2, 1, 0, 0]
    files = {path.name: path.read_bytes() for path in (one / "data").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (parts / "data").iterdir()}
    assert (one / "README.md").read_bytes() == (parts / "README.md").read_bytes()

    as_folder(home, {f"new-{number}": "new" for number in range(3)})  # two shards
    for part in ("2/2", "1/2"):
        result = run(source, parts, replace(APPEND, part=part))
    assert result.missing == 0 and result.recordings == 9
    run(source, tmp_path / "scratch")
    assert rows_of(parts) == rows_of(tmp_path / "scratch")


@pytest.mark.parametrize("part", ["0/4", "5/4", "a/b", "3", "1/0", "-1/4", "1/4/2", ""])
def test_parts_that_cannot_be_are_refused(part: str) -> None:
    with pytest.raises(UsageError, match=r"--part .*give K/N, as in 1/16 to 16/16"):
        RunOptions(part=part)


@pytest.fixture
def grown(home: Path, tmp_path: Path) -> Iterator[Path]:
    out, source = tmp_path / "out", as_folder(home, FIRST)
    run(source, out)
    as_folder(home, MORE)
    run(source, out, APPEND)
    yield out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "damaged"),
        (lambda path: path.unlink(), "manifest/plans/00001.parquet"),
    ],
)
def test_a_damaged_generation_is_told_in_one_line(
    damage: Callable[[Path], Any], said: str, grown: Path
) -> None:
    name = "generations/00001.json" if said == "damaged" else "plans/00001.parquet"
    damage(grown / "manifest" / name)
    (problem,) = verify(str(grown)) if said == "damaged" else verify(str(grown))[:1]
    assert said in str(problem) and "\n" not in str(problem)
    with pytest.raises(OutputError):
        inspect(str(grown))


def test_a_generation_of_another_folder_is_refused(grown: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(as_folder(tmp_path / "corpus", {}), other, bandwidth=12.0)
    (other / "manifest" / "generations").mkdir()
    (other / "manifest" / "generations" / "00001.json").write_bytes(
        (grown / "manifest" / "generations" / "00001.json").read_bytes()
    )
    with pytest.raises(OutputError, match="not a generation of this folder"):
        inspect(str(other))


def test_a_new_recording_that_was_withdrawn_from_the_list_stays_in_the_output(
    home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    table = home / "corpus.jsonl"

    def write(*names: str) -> None:
        for name in names:
            (home / f"{name}.wav").write_bytes(wave(name))
        table.write_text("".join(json.dumps({"path": f"{name}.wav"}) + "\n" for name in names))

    write("a", "b")
    run(str(table), out)
    write("b", "c")
    result = run(str(table), out)
    assert (result.new, result.gone) == (1, 1)
    assert run(str(table), out, APPEND).recordings == 3


def test_an_output_and_a_corpus_on_a_store_grow_too(tmp_path: Path, bucket: s3.Bucket) -> None:
    home, out = tmp_path / "corpus", bucket.url("out")
    home.mkdir()
    as_folder(home, FIRST)
    bucket.upload(home, "corpus")
    source = bucket.url("corpus")
    config = TokenizeConfig(source, codec="mulaw", shard_hours=0.2 / 3600)
    assert tokenize_corpus(config, out, HERE).recordings == 3
    before = {key: bucket.get(key) for key in bucket.keys("out") if "README" not in key}
    bucket.proxy.seen.clear()
    assert not tokenize_corpus(config, out, HERE).outdated
    asked = [one.key for one in bucket.proxy.seen if one.method == "GET"]
    assert not [key for key in asked if key.endswith(".txt")]  # not listed again
    as_folder(home, MORE)
    bucket.upload(home, "corpus")
    assert tokenize_corpus(config, out, HERE).new == 2
    for part in ("2/2", "1/2"):
        result = tokenize_corpus(config, out, replace(APPEND, part=part))
    assert (result.recordings, result.missing) == (5, 0)
    assert before == {key: bucket.get(key) for key in before} and verify(out) == []
    assert [row["id"] for row in Rows(out).rows(["id"])] == [
        "a.wav",
        "b.wav",
        "c.wav",
        "aa.wav",
        "d.wav",
    ]


def test_what_has_another_id_now_is_not_new(home: Path, tmp_path: Path) -> None:
    """A table that got a column of ids."""
    out, source = tmp_path / "out", as_table(home, FIRST)
    run(source, out)
    before = state(out)
    as_table(home, MORE)
    rows = [row for row in csv.reader(Path(source).read_text().splitlines()) if row[0] != "path"]
    lines = [f"{number},{path},{text}" for number, (path, text) in enumerate(rows)]
    Path(source).write_text("\n".join(["id,path,text", *lines]) + "\n")
    said = r"gives 3 recordings of it another id now \('a.wav' is '0'\)"
    with pytest.raises(OutputError, match=said):
        run(source, out, APPEND)
    assert state(out) == before
