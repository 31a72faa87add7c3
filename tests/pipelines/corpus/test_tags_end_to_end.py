"""`--tags`: what files say of themselves reaches the rows, in both formats, and only then."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus


def tagged(title: str, ending: str = "flac") -> bytes:
    sink = io.BytesIO()
    with soundfile.SoundFile(sink, "w", 48_000, 1, format=ending) as file:
        file.title, file.artist, file.date = title, "Ann", "1999"
        file.write(np.zeros(4_800, np.float32))
    return sink.getvalue()


def metas(source: Path, out: Path, **also: Any) -> dict[str, dict[str, Any]]:
    config = TokenizeConfig(source=str(source), codec="mulaw", **also)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    data = CodesDataset(str(out))
    rows = (data.read(number, fields=("meta",)) for number in range(len(data)))
    return {row.id: row.fields["meta"] for row in rows}


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_tags_reach_the_rows_where_they_are_asked_for(tmp_path: Path, format: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.flac").write_bytes(tagged("One"))
    (corpus / "b.flac").write_bytes(tagged("Two"))
    (corpus / "b.json").write_text('{"tags": ["live"]}')
    (corpus / "list.csv").write_text(
        "id,path,start,end\nx,a.flac,0,0.05\ny,a.flac,0.05,0.1\nz,b.flac,,\n"
    )
    wanted = {"title": "One", "artist": "Ann", "date": "1999", "year": 1999}
    found = metas(corpus, tmp_path / "out", tags=True, format=format)
    assert found["a.flac"] == {"tags": wanted, "flags": ["silent"]}
    assert found["b.flac"]["tags"] == ["live"]
    assert found["b.flac"]["file_tags"] == {**wanted, "title": "Two"}
    rows = metas(corpus / "list.csv", tmp_path / "rows", tags=True, format=format)
    assert [rows[id]["tags"]["title"] for id in "xyz"] == ["One", "One", "Two"]
    plain = metas(corpus, tmp_path / "plain", format=format)
    assert "tags" not in plain["a.flac"] and "file_tags" not in plain["b.flac"]


def test_tags_of_members_of_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("x.ogg")
        content = tagged("Packed", "ogg")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    found = metas(tmp_path / "a.tar", tmp_path / "out", tags=True)
    assert found["a/x.ogg"]["tags"]["title"] == "Packed"
