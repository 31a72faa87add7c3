"""A corpus that is away stops the run; a recording that is gone is a failure."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import pytest
from corpora import Maker

from pipelines.corpus.absence import IN_A_ROW, Absence, away_folder
from pipelines.corpus.reader_process import _input_output
from pipelines.corpus.sources.identity import FILE
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from pipelines.run import tokenize_corpus
from tokenizer.errors import FailureKind, RecordingError, SourceError, SourceUnavailable
from tokenizer.types import Recording

GONE = RecordingError(FailureKind.NOT_FOUND, "x.wav: no such file", "open")
DAMAGED = RecordingError(FailureKind.DAMAGED, "x.wav: damaged", "decode")
_numbers = count()


def x() -> Recording:
    """A file that no other is of."""
    return Recording(f"{next(_numbers)}", "x.wav")


def tokenize(corpus: Path, out: Path, **options: int) -> None:
    config = TokenizeConfig(str(corpus), codec="mulaw", shard_hours=0.0005)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True, **options))


def planned(corpus: Path, out: Path) -> None:
    """An output whose plan is made and which holds nothing yet."""
    tokenize(corpus, out)
    for path in [*(out / "manifest" / "commits").iterdir(), *(out / "data").iterdir()]:
        path.unlink()


@pytest.mark.parametrize("how", ["away", "empty"])
def test_a_folder_that_is_away_commits_nothing_and_the_next_run_goes_on(
    make_corpus: Maker, tmp_path: Path, how: str
) -> None:
    corpus, out = make_corpus(count=6, broken=False), tmp_path / "out"
    planned(corpus, out)
    (tmp_path / "moved").mkdir()
    corpus.rename(tmp_path / "moved" / "corpus")
    if how == "empty":
        corpus.mkdir()
    with pytest.raises(SourceError, match="mounted" if how == "empty" else "no such folder"):
        tokenize(corpus, out)
    assert not Manifest(open_storage(str(out))).committed()
    if how == "empty":
        corpus.rmdir()
    (tmp_path / "moved" / "corpus").rename(corpus)
    tokenize(corpus, out)
    assert len(inspect(str(out)).failures) == 0


def test_a_recording_that_is_gone_is_a_failure(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = make_corpus(count=6, broken=False), tmp_path / "out"
    planned(corpus, out)
    (corpus / "002.wav").unlink()
    tokenize(corpus, out)
    assert [(failure.id, failure.kind) for failure in inspect(str(out)).failures] == [
        ("002.wav", "not_found")
    ]


def test_whoever_names_a_number_of_failures_is_not_asked(
    make_corpus: Maker, tmp_path: Path
) -> None:
    corpus, out = make_corpus(count=6, broken=False), tmp_path / "out"
    planned(corpus, out)
    shutil.rmtree(corpus / "a")
    with pytest.raises(SourceUnavailable):
        tokenize(corpus, out)
    tokenize(corpus, out, max_failures=3)
    assert len(inspect(str(out)).failures) == 3


def test_ten_in_a_row_of_a_table_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "corpus.csv").touch()
    absence = Absence([str(tmp_path / "corpus.csv")], allowed=False)
    for _ in range(3):
        for error in [GONE] * (IN_A_ROW - 1) + [DAMAGED]:
            absence.failed(error, x(), [])
        absence.found()
    with pytest.raises(SourceUnavailable, match="10 recordings in a row"):
        for _ in range(IN_A_ROW):
            absence.failed(GONE, x(), [])


def test_segments_of_one_file_that_is_gone_do_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "corpus.csv").touch()
    for root in (tmp_path, tmp_path / "away"):
        absence = Absence([str(tmp_path / "corpus.csv")], allowed=False)
        stops = root != tmp_path
        with pytest.raises(SourceUnavailable) if stops else nullcontext():
            for number in range(3 * IN_A_ROW):
                segment = Recording(f"{number}", str(root / "x.wav"), start=1.0 * number)
                absence.failed(GONE, segment, [])


def test_members_of_a_tar_that_is_gone_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    absence = Absence([], allowed=False)
    with pytest.raises(SourceUnavailable, match="10 recordings in a row"):
        for number in range(IN_A_ROW):
            locator = {FILE: "12-34", "offset": number}
            member = Recording(f"{number}", str(tmp_path / "x.tar"), locator, start=0.0, end=1.0)
            absence.failed(GONE, member, [])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_share_that_refuses_every_file_stops_the_run(tmp_path: Path, number: int) -> None:
    (tmp_path / "corpus.csv").touch()
    error = _input_output(x(), OSError(number, os.strerror(number)))
    absence = Absence([str(tmp_path / "corpus.csv")], allowed=False)
    assert isinstance(error, RecordingError)
    with pytest.raises(SourceUnavailable, match="10 recordings in a row cannot be opened"):
        for _ in range(IN_A_ROW):
            absence.failed(error, x(), [])


def test_remote_corpora_and_data_sets_have_no_folder(tmp_path: Path) -> None:
    assert away_folder("s3://bucket/corpus", ["s3://bucket/corpus/a.wav"]) is None
    assert away_folder("hf:name:train", []) is None and away_folder("data-{0..2}.tar", []) is None
    assert away_folder(str(tmp_path / "gone"), []) is not None
