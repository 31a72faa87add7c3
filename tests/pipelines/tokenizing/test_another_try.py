"""Recordings that a store did not hand out one day are tried again by the next run, and what is
committed is never worse for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from sounds import sound

from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.manifest.commits import CommitRecord, Manifest
from pipelines.output.storage import open_storage
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from pipelines.tokenizing.outcome import RunResult

HERE = RunOptions(workers=0, device="cpu", quiet=True)
NAMES = ("0.wav", "1.wav", "2.wav", "3.wav")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A table of four recordings in two shards, one of which is away."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        soundfile.write(folder / name, sound(1600, 1, 8000, number).samples.T, 8000)
    rows = [json.dumps({"path": name, "duration": 0.2}) for name in NAMES]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def run(corpus: Path, out: Path) -> RunResult:
    source = str(corpus / "corpus.jsonl")
    return tokenize_corpus(
        TokenizeConfig(source, codec="mulaw", shard_hours=0.4 / 3600), str(out), HERE
    )


def records(out: Path) -> dict[str, CommitRecord]:
    return Manifest(open_storage(str(out))).committed()


def data_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.fixture
def outage(corpus: Path, tmp_path: Path) -> Path:
    """An output whose first shard was committed while its second recording was not to be had."""
    out = tmp_path / "out"
    (corpus / "1.wav").rename(corpus / "away")
    assert run(corpus, out).failures == 1
    for name, record in records(out).items():
        failures = tuple(replace(failure, kind="unavailable") for failure in record.failures)
        path = out / "manifest" / "commits" / f"{name}.json"
        path.write_bytes(replace(record, failures=failures).to_json())
    return out


def test_the_next_run_makes_rows_of_them_with_the_same_bytes(
    corpus: Path, outage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = records(outage).values()
    (corpus / "away").rename(corpus / "1.wav")
    source = TokenizeConfig(str(corpus / "corpus.jsonl"), codec="mulaw", shard_hours=0.4 / 3600)
    result = tokenize_corpus(source, str(outage), replace(HERE, quiet=False))
    assert "1 shard with recordings that were unavailable: tried again" in capsys.readouterr().err
    assert (result.recordings, result.failures) == (4, 0) and verify(str(outage)) == []
    healed, same = records(outage).values()
    assert same == second and healed.rows == 2 and first.rows == 1
    run(corpus, tmp_path / "undisturbed")
    assert data_of(outage) == data_of(tmp_path / "undisturbed")
    before = {name: record.to_json() for name, record in records(outage).items()}
    run(corpus, outage)
    assert {name: record.to_json() for name, record in records(outage).items()} == before


def test_what_is_still_away_changes_nothing(corpus: Path, outage: Path) -> None:
    before, data = records(outage), data_of(outage)
    for _ in range(2):
        assert run(corpus, outage).failures == 1
    assert records(outage) == before and data_of(outage) == data and verify(str(outage)) == []
    assert list((outage / "manifest" / "staging").iterdir()) == []


def test_no_row_is_given_up_for_another(corpus: Path, outage: Path) -> None:
    """What was away is there, and what was there is not."""
    before, data = records(outage), data_of(outage)
    (corpus / "away").rename(corpus / "1.wav")
    (corpus / "0.wav").unlink()
    assert run(corpus, outage).failures == 1
    assert records(outage) == before and data_of(outage) == data and verify(str(outage)) == []


def test_a_run_that_is_killed_between_the_two_records_is_gone_on_with(
    corpus: Path, outage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus / "away").rename(corpus / "1.wav")

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, outage)
    assert len(records(outage)) == 1
    assert run(corpus, outage).failures == 0 and verify(str(outage)) == []
    run(corpus, tmp_path / "undisturbed")
    assert data_of(outage) == data_of(tmp_path / "undisturbed")
