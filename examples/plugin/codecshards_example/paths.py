"""`paths`: a text file with the path of a recording on each line, relative to the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.corpus.sources.base import (
    Source,
    estimate_seconds,
    open_file,
    refuse_rejected,
    rejected,
)
from tokenizer.errors import FailureKind
from tokenizer.types import Recording


class PathsSource(Source):
    """Recordings by their paths; the id is the path as it is written."""

    def __init__(self, spec: str) -> None:
        self.spec = str(Path(spec).resolve())

    @staticmethod
    def fits(spec: str) -> bool:
        return spec.endswith(".paths") and Path(spec).is_file()

    def scan(self) -> Iterator[Recording]:
        lines = Path(self.spec).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            path = Path(self.spec).parent / line
            if not line.strip():
                continue
            if not path.is_file():  # a bad line costs that line
                message = f"{self.spec}, line {number}: no such file"
                yield rejected(line, str(path), FailureKind.NOT_FOUND, message)
                continue
            seconds = estimate_seconds(line, path.stat().st_size)
            yield Recording(id=line, uri=str(path), seconds=seconds)

    def open(self, recording: Recording) -> str | BinaryIO:
        refuse_rejected(recording)
        return open_file(recording.uri)
