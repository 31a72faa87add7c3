"""`CodesDataset`: the recordings of one data set of codes, at random."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike, fspath
from threading import Lock
from typing import Any

import numpy as np

from pipelines.loader.catalog import Catalog, first_codebooks, read_catalog
from pipelines.loader.sample import (
    Sample,
    Span,
    check_fields,
    cut_alignment,
    id_of,
    parse_meta,
    together,
    units_per_second,
)
from pipelines.loader.scales import median_of, spread_over
from pipelines.output.cache import ByteCache
from pipelines.output.formats.reading import Part, ShardReader, open_reader
from pipelines.output.formats.reading.base import damage
from tokenizer.chunking import runs_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import ShardError, UsageError

ALL_FIELDS = ("text", "language", "speaker", "scales", "meta")
"""what `dataset[i]` and `by_id` give beside the codes"""


class CodesDataset:
    """Recordings of codes, by number, by id, and cut in time.

    Args:
        root: an output of `codecshards tokenize`, or a copy of its `data/`: a folder, or any URL
            that fsspec opens (`s3://…`, `hf://datasets/…`; `simplecache::s3://…` keeps what was
            fetched on disk).
        n_q: how many codebooks, from the first; None is all. Residual codebooks nest: the first 4
            of a 24 kbps set are its 6 kbps encoding. Of levels that run at different rates, all
            rows or none.
        channels: give recordings of which each channel is a row (`tokenize --channels split`) as
            one sample of so many, of codes `[channels * n_q, frames]` and one cut for all. Others
            are left out: those of more or fewer channels, and those of which a channel failed
            (`left_out` counts their rows).
        split: the one to read where a folder without manifest holds several.
        verify: "shards" compares each shard with its committed SHA-256 when it is first touched,
            and page checksums at every read; "pages" is the latter alone, which leaves footers
            unprotected.
        partial: accept a data set that lacks some of its shards.
        cache_mb: decompressed pages to keep in memory, and as much again of fetched shards: for
            remote data give the size of at least eight shards, which is what a shuffled block draws
            from.

    Raises:
        UsageError: nothing there, an unfinished run, fewer codebooks than asked for, half a level.
        ShardError: damage; it names the shard.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        n_q: int | None = None,
        *,
        channels: int | None = None,
        split: str | None = None,
        verify: str = "shards",
        partial: bool = False,
        cache_mb: int = 256,
    ) -> None:
        if verify not in ("shards", "pages"):
            raise UsageError(f"verify={verify!r}: choose shards or pages")
        if cache_mb < 0:
            raise UsageError(f"cache_mb={cache_mb}: give 0 or more")
        if channels is not None and channels < 2:
            raise UsageError(f"channels={channels}: give 2 or more, or None")
        self._arguments = (fspath(root), n_q, channels, split, verify, partial, cache_mb)
        self.channels = channels
        limit = cache_mb << 20
        self._parts: ByteCache[Part] = ByteCache(limit, lambda part: part.nbytes)
        self._catalog: Catalog = read_catalog(
            fspath(root), verify, ByteCache(limit, len), split, partial
        )
        self.n_q = first_codebooks(fspath(root), self.spec, n_q)
        self._parts.expect(_unpacked(self._catalog))
        self._readers: list[ShardReader | None] = [None] * len(self._catalog.shards)
        self._locks = [Lock() for _ in self._catalog.shards]
        self._rows = self._group(channels)
        self._first_rows: list[int] = [0, *np.cumsum([len(rows) for rows in self._rows]).tolist()]
        if not len(self):
            raise UsageError(
                f"{fspath(root)} has no recording with {channels} rows, one a channel: tokenize it "
                "with --channels split, or leave channels out"
            )
        self._ids: dict[str, int] = {}
        self._ids_known = 0

    @property
    def root(self) -> str:
        return self._catalog.root

    @property
    def spec(self) -> CodecSpec:
        """The codec's facts: its rate, chunks and codebooks."""
        return self._catalog.spec

    @property
    def history(self) -> tuple[int, int]:
        """How often the folder was appended to, and edited."""
        return self._catalog.history

    @property
    def remote(self) -> bool:
        """Whether shards are fetched whole before they are read."""
        return self._catalog.remote

    @property
    def shard_rows(self) -> tuple[int, ...]:
        """Recordings of each shard."""
        return tuple(len(rows) for rows in self._rows)

    @property
    def codebooks(self) -> int:
        """Rows of a sample's codes: `n_q`, of each channel."""
        return self.n_q * (self.channels or 1)

    @property
    def left_out(self) -> int:
        """Rows that no sample has."""
        return self._catalog.rows - len(self) * (self.channels or 1)

    def _group(self, channels: int | None) -> list[Sequence[int]]:
        """The first row of every sample of each shard."""
        if channels is None:
            return [range(shard.rows) for shard in self._catalog.shards]
        groups = [
            self._reader(number).groups() if shard.groups is None else shard.groups
            for number, shard in enumerate(self._catalog.shards)
        ]
        return [first_rows(sizes, channels) for sizes in groups]

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns of quality that its shards have."""
        return self._reader(0).measures

    @cached_property
    def median_scale(self) -> float | None:
        """What a chunk's scale commonly is, for `codec.decode_codes(made, scales=…)`: the median
        that OUT says of itself, or else of recordings all over it; None for a codec without."""
        found = map(self._find, spread_over(len(self)))
        return self._catalog.median_scale or median_of(of.scales(row) for of, row in found)

    def __len__(self) -> int:
        return self._first_rows[-1]

    def __repr__(self) -> str:
        return (
            f"CodesDataset({self.root!r}, {len(self)} recordings, {len(self._readers)} shards, "
            f"n_q={self.n_q}{f', channels={self.channels}' if self.channels else ''})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes open the data set for themselves.
        return _reopen, (self._arguments,)

    def identity(self) -> str:
        """Changes when any row may have: a hash over the shards' hashes (16 hex digits)."""
        lines = [[shard.name, shard.rows, shard.identity] for shard in self._catalog.shards]
        of = lines if self.channels is None else [self.channels, *lines]
        return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]

    def __getitem__(self, number: int) -> Sample:
        """A whole recording, with its texts and scales; negative numbers count from the end."""
        return self.read(range(len(self))[number], None, ALL_FIELDS)

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def by_id(self, id: str) -> Sample:
        """A whole recording by its id. The first call for an id reads shards' indices until it is
        found.

        Raises:
            KeyError: no recording has it.
        """
        while id not in self._ids and self._ids_known < len(self._readers):
            first, shard = self._first_rows[self._ids_known], self._ids_known
            ids = self._reader(shard).index.ids.to_pylist()
            self._ids.update(
                (id_of(ids[row]) if self.channels else ids[row], first + number)
                for number, row in enumerate(self._rows[shard])
            )
            self._ids_known += 1
        return self[self._ids[id]]

    def units(self, number: int) -> int:
        """Length of a recording in what cuts are made of: chunks, or frames for codecs without
        windows."""
        reader, row = self._find(number)
        index = reader.index
        return index.frames_of(row) if self.spec.chunk_stride is None else index.chunks_of(row)

    def frames(self, number: int, span: Span | None = None) -> int:
        """Frames of a recording, or of a cut."""
        reader, row = self._find(number)
        start, stop = self._frame_range(reader, row, span)
        return stop - start

    def slice(
        self, number: int, start: float, end: float, fields: Sequence[str] = ALL_FIELDS
    ) -> Sample:
        """The chunks that cover `start` to `end`, in seconds: the cut begins at or before `start`
        (see `start_seconds`).

        A chunk `i` begins at `i × 0.99 s` with EnCodec at 48 kHz; a time stamp times 150 is not a
        frame index.

        Raises:
            UsageError: an empty stretch, or one outside the recording.
        """
        units, rate = self.units(number), units_per_second(self.spec)
        first = int(start * rate + 1e-9)
        last = min(units, max(first + 1, -int(-(end * rate - 1e-9) // 1)))
        if not 0 <= start < end or first >= units:
            raise UsageError(
                f"no audio from {start} to {end} s in recording {number}, which has "
                f"{units / rate:.2f} s"
            )
        return self.read(number, Span(first, last), fields)

    def read(self, number: int, span: Span | None = None, fields: Sequence[str] = ()) -> Sample:
        """A recording, or a cut of it, with the fields asked for.

        Raises:
            IndexError: no such recording.
            UsageError: an unknown field, or a span outside the recording.
            ShardError: damage; it names the shard.
        """
        sample = self.peek(number, span, fields)
        return (
            sample if sample.codes.flags.writeable else replace(sample, codes=sample.codes.copy())
        )

    def peek(self, number: int, span: Span | None = None, fields: Sequence[str] = ()) -> Sample:
        """As `read`, but for codes that may be a read-only view of the cache: for those who copy
        them elsewhere at once."""
        reader, row = self._find(number)
        start, stop = self._frame_range(reader, row, span)
        if self.channels is not None:
            self._require_same_times(reader, row, self.channels)
        found = []
        for channel in range(row, row + (self.channels or 1)):
            codes = reader.codes(channel, start, stop, self.n_q)
            found.append(_sample(reader, channel, span, codes, fields, self.spec))
        return found[0] if self.channels is None else together(found)

    def _require_same_times(self, reader: ShardReader, row: int, channels: int) -> None:
        index = reader.index
        lengths = index.num_samples[row : row + channels]
        if (lengths != lengths[0]).any():
            ids = index.ids[row : row + channels].to_pylist()
            raise ShardError(
                f"{reader.blob.name}: {', '.join(ids)} are channels of one recording, of "
                f"{', '.join(map(str, lengths.tolist()))} samples"
            )

    def _frame_range(self, reader: ShardReader, row: int, span: Span | None) -> tuple[int, int]:
        index = reader.index
        if span is None:
            return 0, index.frames_of(row)
        units = index.frames_of(row) if self.spec.chunk_stride is None else index.chunks_of(row)
        if not 0 <= span.start < span.stop <= units:
            raise UsageError(f"no cut from {span.start} to {span.stop}: the recording has {units}")
        if self.spec.chunk_stride is None:
            return span.start, span.stop
        return index.frame_of(row, span.start), index.frame_of(row, span.stop)

    def _find(self, number: int) -> tuple[ShardReader, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.root} has {len(self)} recordings, not a number {number}")
        shard = bisect_right(self._first_rows, number) - 1
        return self._reader(shard), self._rows[shard][number - self._first_rows[shard]]

    def _reader(self, shard: int) -> ShardReader:
        found = self._readers[shard]
        if found is not None:
            return found
        with self._locks[shard]:
            found = self._readers[shard]
            if found is None:
                entry = self._catalog.shards[shard]
                found = open_reader(self._catalog.format, entry.blob, self.spec, self._parts)
                if found.index.rows != entry.rows:
                    raise ShardError(
                        f"{entry.blob.name}: damaged: {found.index.rows} rows, {entry.rows} were "
                        "committed"
                    )
                self._readers[shard] = found
        return found


def _unpacked(catalog: Catalog) -> int:
    """About the bytes of all codes as uint16: in shards they have as many bits as the codebook
    needs, and little else."""
    bits = max(1, (catalog.spec.codebook_size - 1).bit_length())
    return sum(shard.size for shard in catalog.shards) * 16 // bits


def first_rows(sizes: Sequence[int], channels: int) -> list[int]:
    """Rows at which recordings of so many channels begin; `sizes` is how many rows each has, empty
    where all have one."""
    ends = np.cumsum(sizes, dtype=np.int64)
    firsts = ends - np.asarray(sizes, np.int64)
    found: list[int] = firsts[np.asarray(sizes) == channels].tolist()
    return found


def _reopen(arguments: tuple[Any, ...]) -> CodesDataset:
    root, n_q, channels, split, verify, partial, cache_mb = arguments
    return CodesDataset(
        root,
        n_q,
        channels=channels,
        split=split,
        verify=verify,
        partial=partial,
        cache_mb=cache_mb,
    )


def _sample(
    reader: ShardReader,
    row: int,
    span: Span | None,
    codes: Any,
    fields: Sequence[str],
    spec: CodecSpec,
) -> Sample:
    index = reader.index
    total, chunks = int(index.num_samples[row]), index.chunks_of(row)
    windows = spec.chunk_stride is not None
    stride = spec.chunk_stride or spec.frame_length
    first, last = (
        (0, chunks if windows else codes.shape[1]) if span is None else (span.start, span.stop)
    )
    at_end = last == (chunks if windows else index.frames_of(row))
    end = total if at_end else last * stride
    frames = (
        index.chunk_frames(row, first, last)
        if windows
        else np.array(runs_of(codes.shape[1]), np.uint16)
    )
    start_seconds = first * stride / spec.sample_rate
    scales, values = _fields(reader, row, fields, start_seconds, end / spec.sample_rate)
    return Sample(
        id=index.ids[row].as_py(),
        codes=codes,
        chunk_frames=frames,
        start_seconds=start_seconds,
        num_samples=end - first * stride,
        sample_rate=spec.sample_rate,
        frame_length=spec.frame_length,
        scales=scales if scales is None or not windows else scales[first:last],
        fields=values,
        last_start=(last - 1 - first) * stride if windows else 0,
        layout=spec.layout,
    )


def _fields(
    reader: ShardReader, row: int, fields: Sequence[str], start: float, end: float
) -> tuple[Any, dict[str, Any]]:
    """Scales of the whole row, and the other fields."""
    values: dict[str, Any] = {}
    scales = None
    for name in check_fields(fields, lambda: reader.measures):
        if name == "quality" or name in reader.measures:
            found = reader.quality(row)
            values[name] = found if name == "quality" else found[name]
        elif name == "scales":
            scales = reader.scales(row)
        elif name in ("meta", "alignment"):
            with damage(reader.blob.name):
                meta = parse_meta(reader.field(row, "meta"))
            values[name] = meta if name == "meta" else cut_alignment(meta, start, end)
        else:
            values[name] = reader.field(row, name)
    return scales, values
