"""What looks on while shards are made: any object with an observer's methods."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipelines.corpus.reader import DecodeReport
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.formats.schema import Row
from pipelines.output.storage import Storage
from pipelines.run import tokenize_corpus
from pipelines.running.work import Work
from pipelines.tokenizing.encoders import Chunk
from pipelines.tokenizing.observer import ObserverSettings
from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.errors import RecordingError


class Samples:
    """Counts what one recording sends to the encoder."""

    def __init__(self) -> None:
        self.chunks = 0
        self.failed: RecordingError | None = None

    def push(self, chunk: Chunk) -> None:
        self.chunks += 1

    def advance(self, codes: Mapping[int, ChunkCodes]) -> None:
        pass

    def fail(self, error: RecordingError) -> None:
        self.failed = error


class Counter:
    """Writes how many chunks each recording of a shard had."""

    def __init__(self, storage: Storage, codec: Codec) -> None:
        self._storage, self._codec = storage, codec
        self._begun: dict[str, Samples] = {}
        self._lines: list[str] = []

    def begin(self, id: str) -> Samples | None:
        if id.startswith("a/"):
            return None
        self._begun[id] = Samples()
        return self._begun[id]

    def drop(self, id: str) -> None:
        self._lines.append(f"{id} dropped")

    def end(
        self, row: Row, shard: str, report: DecodeReport, codes: Mapping[int, ChunkCodes]
    ) -> None:
        if row.id in self._begun:
            assert len(codes) == self._begun[row.id].chunks
            decoded = self._codec.decode_chunks([codes[0]])[0]
            assert np.isfinite(decoded).all()
            self._lines.append(f"{row.id} {len(codes)} {report.audio.source_channels}")

    def write(self, shard: str) -> None:
        self._storage.write(f"seen/{shard}", "\n".join(self._lines).encode())


@dataclass(frozen=True)
class CounterSettings:
    def observer(self, storage: Storage, codec: Codec) -> Counter:
        return Counter(storage, codec)


def test_an_observer_from_outside_sees_every_recording_and_changes_none(
    make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TokenizeConfig(str(make_corpus(8)), codec="mulaw", bandwidth=6.0)
    here = RunOptions(workers=0, quiet=True, device="cpu")
    tokenize_corpus(config, str(tmp_path / "plain"), here)
    settings: ObserverSettings = pickle.loads(pickle.dumps(CounterSettings()))
    monkeypatch.setattr(Work, "_observer", lambda self: settings)
    tokenize_corpus(config, str(tmp_path / "seen"), here)
    for path in (tmp_path / "plain" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "seen" / "data" / path.name).read_bytes()
    lines = [
        line
        for path in sorted((tmp_path / "seen" / "seen").iterdir())
        for line in path.read_text().splitlines()
    ]
    assert lines[-1] == "broken.wav dropped"
    assert [line.split()[0] for line in lines[:-1]] == ["000.wav", "002.wav", "004.wav", "006.wav"]
