"""What a shard reader is: an index of small columns, and frames of any row without reading the
other rows."""

from __future__ import annotations

import json
import struct
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.blobs import Blob
from pipelines.output.cache import ByteCache
from pipelines.output.formats.schema import ShardStats
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.ranges import outside
from tokenizer.errors import ShapeError, ShardError, UsageError


class Part(ABC):
    """A decompressed piece of a shard that readers keep in the cache."""

    nbytes: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardIndex:
    """Where rows, chunks and frames are. Checked on construction, since a reader trusts it
    blindly."""

    ids: pa.Array
    """string `[rows]`"""
    num_samples: NDArray[np.int64]
    """`[rows]`"""
    chunk_starts: NDArray[np.int64]
    """`[rows + 1]`: the first chunk of each row, counted over the shard"""
    frame_starts: NDArray[np.int64]
    """`[chunks + 1]`: the first frame of each chunk, counted over the shard"""
    _chunks: memoryview = field(init=False)
    _frames: memoryview = field(init=False)
    """the starts again: a single number costs a tenth of what an array's does"""

    def __post_init__(self) -> None:
        rows = len(self.num_samples)
        starts, frames = self.chunk_starts, self.frame_starts
        if (
            len(self.ids) != rows
            or len(starts) != rows + 1
            or (rows and len(frames) != starts[-1] + 1)
        ):
            raise ShapeError(
                f"{len(self.ids)} ids, {rows} lengths and {len(starts) - 1} lists of chunks do not "
                "fit together"
            )
        if rows and (
            starts[0] != 0
            or np.any(np.diff(starts) < 1)
            or np.any(np.diff(frames) < 1)
            or self.num_samples.min() < 1
        ):
            raise ShapeError("a row has no chunks, or a chunk no frames")
        object.__setattr__(self, "_chunks", starts.data)
        object.__setattr__(self, "_frames", frames.data)

    @property
    def rows(self) -> int:
        return len(self.num_samples)

    def chunks_of(self, row: int) -> int:
        return self._chunks[row + 1] - self._chunks[row]

    def frame_of(self, row: int, chunk: int) -> int:
        """The first frame of a chunk, counted over the row; `chunk` may be the number of chunks."""
        first = self._chunks[row]
        return self._frames[first + chunk] - self._frames[first]

    def frames_of(self, row: int) -> int:
        return self._frames[self._chunks[row + 1]] - self._frames[self._chunks[row]]

    def frames_between(self, first: int, row: int) -> int:
        """Frames of rows `first` to `row`, without `row`."""
        return self._frames[self._chunks[row]] - self._frames[self._chunks[first]]

    def chunk_frames(self, row: int, first: int, last: int) -> NDArray[np.uint16]:
        """Frames of chunks `first` to `last` of a row, uint16 `[last - first]`."""
        start = self._chunks[row]
        starts = self.frame_starts[start + first : start + last + 1]
        return (starts[1:] - starts[:-1]).astype(np.uint16)


def make_index(
    ids: pa.Array, num_samples: NDArray[np.int64], chunks: NDArray[np.int64], frames: NDArray[Any]
) -> ShardIndex:
    """An index from the number of chunks of each row and the number of frames of each chunk."""
    starts = np.concatenate([[0], np.cumsum(chunks, dtype=np.int64)])
    return ShardIndex(
        ids, num_samples, starts, np.concatenate([[0], np.cumsum(frames, dtype=np.int64)])
    )


class ShardReader(ABC):
    """One open shard. Methods may be called from several threads; all raise `ShardError` that names
    the shard."""

    fields: ClassVar[tuple[str, ...]] = ("text", "language", "speaker", "source_uri", "meta")

    def __init__(self, blob: Blob, spec: CodecSpec, cache: ByteCache[Part]) -> None:
        self.blob = blob
        self.spec = spec
        self.cache = cache
        self.measures: tuple[str, ...] = ()
        """columns of quality that the shard has, known once its index was read"""
        with damage(blob.name):
            self.index = self._read_index()

    @abstractmethod
    def codes(self, row: int, start: int, stop: int, n_q: int) -> NDArray[np.uint16]:
        """Frames `start` to `stop` of the first `n_q` codebooks of a row: uint16 `[n_q, stop -
        start]`; a view of what is cached is read-only."""

    def require_codes(self, codes: NDArray[np.integer[Any]]) -> None:
        """
        Raises:
            ValueError: codes `[n_q, frames]` that their codebooks do not have.
        """
        if wrong := outside(codes, self.spec.sizes):
            raise ValueError(wrong)

    @abstractmethod
    def scales(self, row: int) -> NDArray[np.float32] | None:
        """float32 `[chunks]` of a row; None for codecs without."""

    @abstractmethod
    def field(self, row: int, name: str) -> str | None:
        """A text column of a row: text, language, speaker, source_uri, or meta (JSON)."""

    def quality(self, row: int) -> dict[str, float | None]:
        """What each measure says of a row; nothing in formats and shards without such columns."""
        return {}

    def groups(self) -> tuple[int, ...]:
        """Rows of each recording, in order, from what rows say of themselves."""
        stats = ShardStats()
        for row in range(self.index.rows):
            text = self.field(row, "meta") or ""
            with damage(self.blob.name):
                stats.place(json.loads(text) if '"recording"' in text else {})
        return stats.groups

    @abstractmethod
    def _read_index(self) -> ShardIndex: ...

    @classmethod
    @abstractmethod
    def count(cls, blob: Blob) -> tuple[int, CodecSpec]:
        """Rows and codec, from the shard's own footer."""


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Whatever reading raises becomes an error that names the shard."""
    try:
        yield
    except ShardError as error:
        if name in str(error):
            raise
        raise ShardError(f"{name}: damaged: {error}") from error
    except (
        pa.ArrowException,
        tarfile.TarError,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        EOFError,
        OverflowError,
        MemoryError,
        struct.error,
        UsageError,  # a footer that lacks something
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShardError(f"{name}: damaged: {reason}: restore it or tokenize it again") from error
