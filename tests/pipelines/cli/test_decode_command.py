"""`decode` of one recording as a user meets it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from loader_data import make_rows, write_output

from pipelines.cli.main import main
from tokenizer.codecs.mulaw import describe_mulaw


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_rows(12, describe_mulaw(6.0), 3.0)
    return write_output(tmp_path_factory.mktemp("codes") / "out", rows)


def decoded(out: Path, file: Path, *more: str) -> int:
    row = make_rows(12, describe_mulaw(6.0), 3.0)[0]
    return main(["decode", str(out), row.id, "-o", str(file), *more])


@pytest.mark.parametrize("ending", ["raw", "htk", "voc", "xi", "sds", "wve", "m4a", ""])
def test_a_format_that_cannot_hold_it_is_told(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    """Some have no rate at all, and others would have had another one."""
    assert decoded(out, tmp_path / f"x.{ending}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot write" in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more", [["--format", "flac"], ["--workers", "2"], ["--gpus", "1"], ["--partial"]]
)
def test_what_is_for_many_is_refused_for_one(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert decoded(out, tmp_path / "x.wav", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{more[0]} is for many recordings" in line and not list(tmp_path.iterdir())


def test_a_full_disk_is_told(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert decoded(out, tmp_path / "x.wav") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.wav cannot be written: System error: a full disk?" in line
    assert not list(tmp_path.iterdir())
    assert decoded(out, tmp_path / "x.wav") == 0
