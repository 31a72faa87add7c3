"""How large the new shards are to be, in hours or megabytes, and which of them a recording goes
to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.output.formats.schema import SECONDS
from pipelines.output.plans.placing import LEAST_SECONDS, are_together
from pipelines.reshaping.moves import Move
from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError
from tokenizer.types import Recording

_TEXTS = ("id", "text", "speaker", "language", "source_uri", "meta")
_TAR_MEMBER = 512
"""bytes of a header, and what a member is filled up to"""
_TAR_MEMBERS = 4
_TAR_REST = 700
"""of a row: heads of the .npy members, names of the JSON"""
_PARQUET_REST = 60
_CODED = 0.8
"""of codes after an arithmetic coder, about"""
_PACKED_TEXT = 0.5
"""of text after compression, about"""


@dataclass(frozen=True, slots=True)
class ShardSize:
    """How much a shard holds, at most: hours of audio, or megabytes of file."""

    hours: float | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        if self.hours is not None and self.megabytes is not None:
            raise UsageError("--shard-hours and --shard-mb: give one of them")
        if self.hours is not None and not 0 < self.hours <= 1000:
            raise UsageError(f"--shard-hours {self.hours}: give a number above 0 and at most 1000")
        if self.megabytes is not None and not 0 < self.megabytes <= 100_000:
            raise UsageError(
                f"--shard-mb {self.megabytes}: give a number above 0 and at most 100000"
            )

    @property
    def most(self) -> float:
        """In what `of` counts: bytes or seconds."""
        return self.megabytes * 1e6 if self.megabytes is not None else (self.hours or 2.0) * 3600

    def of(self, facts: Mapping[str, Any], spec: CodecSpec, form: str) -> float:
        """What a row adds; nothing but the least for a failure, which has no facts.

        Args:
            facts: the row's columns.
            spec: of the new folder.
            form: name of the new folder's format.
        """
        if self.megabytes is None:
            return max(facts[SECONDS], LEAST_SECONDS) if facts else LEAST_SECONDS
        return _bytes(facts, spec, form) if facts else 0.0


def _bytes(facts: Mapping[str, Any], spec: CodecSpec, form: str) -> float:
    """About what a row takes in a file: codes are hardly compressed."""
    spans = chunk_spans(facts["num_samples"], spec.chunk_length, spec.chunk_stride)
    frames = sum(frames_of(stop - start, spec.frame_length) for start, stop in spans)
    texts = sum(len((facts.get(name) or "").encode()) for name in _TEXTS)
    codes, chunks = frames * spec.n_q, len(spans) * 6
    if form in ("parquet", "coded"):
        bits = max(1, (spec.codebook_size - 1).bit_length())
        share = 1.005 if form == "parquet" else _CODED
        return codes * bits / 8 * share + chunks + texts * _PACKED_TEXT + _PARQUET_REST
    return codes * 2 + chunks + texts + _TAR_REST + _TAR_MEMBERS * 1.5 * _TAR_MEMBER


def place(
    moves: Iterator[Move], most: float, seen: Callable[[Move, int], None]
) -> Iterator[tuple[int, Recording]]:
    """Each recording with the number of its shard, from 0; channels of one recording stay together.

    Args:
        moves: in order.
        most: size of a shard; a single recording may have more.
        seen: told of each move and its shard's number.
    """
    shard, filled = 0, 0.0
    before: Move | None = None
    for move in moves:
        other_split = before is not None and before.rank != move.rank
        full = filled > 0 and filled + move.size > most
        last = None if before is None else before.recording
        if other_split or (full and not are_together(last, move.recording)):
            shard, filled = shard + 1, 0.0
        before, filled = move, filled + move.size
        seen(move, shard)
        yield shard, move.recording
