"""What may look on while a corpus is tokenized: an audit, for one. Tokenizing knows no more of it
than this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipelines.corpus.reader import DecodeReport
from pipelines.output.formats.schema import Row
from pipelines.output.storage import Storage
from pipelines.tokenizing.encoders import Chunk
from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.errors import RecordingError


class Watch(Protocol):
    """Looks on while one recording is tokenized."""

    def push(self, chunk: Chunk) -> None:
        """The next chunk, as the encoder gets it; it must not be changed afterwards."""

    def advance(self, codes: Mapping[int, ChunkCodes]) -> None:
        """`codes` are those that have come, by the chunk's index."""

    def fail(self, error: RecordingError) -> None:
        """The recording has failed: no more codes will come."""


class Observer(Protocol):
    """Looks on while the recordings of a shard are tokenized, and keeps what it has seen."""

    def begin(self, id: str) -> Watch | None:
        """A recording begins; None when it is of no interest."""

    def drop(self, id: str) -> None:
        """A recording that has begun, or was never begun, makes no row."""

    def end(
        self, row: Row, shard: str, report: DecodeReport, codes: Mapping[int, ChunkCodes]
    ) -> None:
        """A recording has become a row.

        Raises:
            OutputError: OUT cannot be written.
        """

    def write(self, shard: str) -> None:
        """The shard is about to be committed.

        Raises:
            OutputError: OUT cannot be written.
        """


class ObserverSettings(Protocol):
    """How to make an observer in any process; picklable."""

    def observer(self, storage: Storage, codec: Codec) -> Observer:
        """One for one shard, which writes to `storage` and decodes with `codec`."""
