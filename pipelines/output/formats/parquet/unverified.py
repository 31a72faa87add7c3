"""Parquet files that another program has written anew: the columns are there, the footer is not,
and so the codec's facts are found out from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tokenizer.chunking import Layout
from tokenizer.codecs.base import MAX_CODEBOOK, CodecSpec
from tokenizer.errors import ShardError

UNKNOWN = "unknown"
"""name of a codec that no footer tells of"""
REQUIRED = ("id", "codes", "chunk_frames", "num_samples", "sample_rate", "channels")
_LEAST_CODEBOOK = 1024
_WINDOWS = ((48_000, 48_000, 47_520, 320),)
"""sample rate, chunk, stride and frame of codecs with windows: EnCodec at 48 kHz"""
_HOPS = (320, 640, 512, 1920, 960, 480, 256, 1024, 2048, 160)
"""frames of codecs without windows, those that are used most first"""


@dataclass(frozen=True, slots=True)
class _Rows:
    lengths: NDArray[np.int64]
    chunks: list[list[int]]


def guess_spec(shard: pq.ParquetFile) -> CodecSpec:
    """The codec's facts as the rows of a file have them; its name and weights are unknown.

    Raises:
        ShardError: these are no rows of codes, or of several codecs.
    """
    missing = [name for name in REQUIRED if name not in shard.schema_arrow.names]
    if missing:
        raise ShardError(f"no shard of codes: it has no column {missing[0]}")
    names = [name for name in (*REQUIRED[2:], "scales") if name in shard.schema_arrow.names]
    table = shard.read(columns=names, use_threads=False)
    rates, channels = (
        table[name].combine_chunks().unique().to_pylist() for name in ("sample_rate", "channels")
    )
    if len(rates) != 1 or len(channels) != 1 or None in (*rates, *channels):
        raise ShardError(
            "no rows, or rows of several codecs: sample rates "
            f"{_listed(rates)}, channels {_listed(channels)}"
        )
    rows = _Rows(
        table["num_samples"].to_numpy().astype(np.int64), table["chunk_frames"].to_pylist()
    )
    chunk, stride, hop = _geometry(rows, int(rates[0]))
    n_q, size = _codebooks(shard)
    scales = "scales" in names and table["scales"].null_count < len(table)
    bits = (size - 1).bit_length()
    return CodecSpec(
        codec=UNKNOWN,
        revision=None,
        weights_sha256=UNKNOWN,
        bandwidth=round(n_q * bits * rates[0] / hop / 1000, 6),
        n_q=n_q,
        codebook_size=size,
        sample_rate=int(rates[0]),
        channels=int(channels[0]),
        frame_length=hop,
        chunk_length=chunk,
        chunk_stride=stride,
        has_scales=scales,
        device="none",
    )


def one_spec(found: Sequence[CodecSpec], names: Sequence[str]) -> CodecSpec:
    """The codec of several files, of which some may have no footer.

    Raises:
        ShardError: they are of several codecs.
    """
    known = [spec for spec in found if spec.codec != UNKNOWN]
    size = max(spec.codebook_size for spec in found)
    first = known[0] if known else with_codebook(found[0], size)
    for spec, name in zip(found, names, strict=True):
        if spec.codec == UNKNOWN:
            most = max(first.codebook_size, _LEAST_CODEBOOK)  # what is guessed of few codes
            same = _shape(spec) == _shape(first) and spec.codebook_size <= most
        else:
            same = spec == first
        if not same:
            raise ShardError(f"{name}: its footer names another codec than {names[0]}")
    return first


def with_codebook(spec: CodecSpec, size: int) -> CodecSpec:
    """The same with a larger codebook, and the bandwidth that goes with it."""
    before, bits = ((one - 1).bit_length() for one in (spec.codebook_size, size))
    return replace(spec, codebook_size=size, bandwidth=spec.bandwidth * bits / before)


def _shape(spec: CodecSpec) -> tuple[Any, ...]:
    return (
        spec.n_q,
        spec.sample_rate,
        spec.channels,
        spec.frame_length,
        spec.chunk_length,
        spec.chunk_stride,
        spec.has_scales,
    )


def _geometry(rows: _Rows, rate: int) -> tuple[int | None, int | None, int]:
    """Chunk, stride and frame in samples, with which every row has the chunks that it has."""
    for of, chunk, stride, hop in _WINDOWS:
        if of == rate and _fits(rows, chunk, stride, hop):
            return chunk, stride, hop
    for hop in _HOPS:
        if _fits(rows, None, None, hop):
            return None, None, hop
    raise ShardError(
        "it has no footer of codecshards, and its chunks are those of no codec that is known here"
    )


def _fits(rows: _Rows, chunk: int | None, stride: int | None, hop: int) -> bool:
    return all(
        length > 0 and frames == Layout(hop, chunk, stride).chunk_frames(length)
        for length, frames in zip(rows.lengths.tolist(), rows.chunks, strict=True)
    )


def _codebooks(shard: pq.ParquetFile) -> tuple[int, int]:
    """How many, and how large at least: a power of two."""
    n_q, most = set(), 0
    for number in range(shard.num_row_groups):
        codes = shard.read_row_group(number, columns=["codes"], use_threads=False)["codes"]
        for part in codes.chunks:
            if not pa.types.is_nested(part.type) or not pa.types.is_nested(part.type.value_type):
                raise ShardError("no shard of codes: its column codes is no list of lists")
            n_q.update(part.value_lengths().unique().to_pylist())
            values = part.flatten().flatten()
            if len(values):
                most = max(most, int(values.to_numpy(zero_copy_only=False).max()))
    if len(n_q) != 1 or None in n_q or 0 in n_q:
        raise ShardError(f"rows of {_listed(sorted(map(str, n_q)))} codebooks")
    if most >= MAX_CODEBOOK:
        raise ShardError(f"code {most}: codes have at most 16 bits here")
    return n_q.pop(), max(_LEAST_CODEBOOK, 1 << most.bit_length())


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
