"""A recording, or a cut of one, as the loader hands it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import Layout, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError
from tokenizer.types import Codes

FIELDS = ("text", "language", "speaker", "source_uri", "meta", "scales", "alignment", "quality")
"""what can be asked for beside the codes, and so can each column of quality by its name"""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A cut of a recording, in units: chunks, or frames for codecs without windows."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Codes of consecutive chunks of one recording."""

    id: str
    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`; of several channels `[channels * n_q, frames]`, the first channel's
    codebooks first"""
    chunk_frames: NDArray[np.uint16]
    """uint16 `[chunks]`: valid frames of each chunk; for codecs without windows all of them, in one
    entry where that holds them"""
    start_seconds: float
    """where the cut begins in the recording: a chunk's number times 0.99 s for EnCodec at 48 kHz"""
    num_samples: int
    """samples per channel from the cut's start to its end; where it is no recording's end, up to
    the next chunk's start"""
    sample_rate: int
    frame_length: int
    """samples per frame"""
    scales: NDArray[np.float32] | None = None
    """float32 `[chunks]`, of several channels `[channels, chunks]`; None when they were not asked
    for, or the codec has none"""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """the others that were asked for: strings or None; `meta` is a dictionary, `alignment` a list
    of (start, end, text), or of (start, end, text, speaker) where several speak; `quality` a
    dictionary of what each measure says of the whole recording, a float or None; of several
    channels a tuple with one of each"""
    last_start: int = 0
    """sample, from the cut's start, at which its last chunk begins"""
    channels: tuple[Sample, ...] = ()
    """each channel alone, where they come together"""
    layout: Layout | None = None
    """where the codec's frames and chunks lie"""

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    def to_codes(self) -> Codes:
        """What `codec.decode` takes.

        A cut that ends within the recording ends where its next chunk would begin: the last chunk
        gives up the overlap, which is one frame for EnCodec at 48 kHz. Scales must have been asked
        for if the codec has them.

        Raises:
            UsageError: several channels, which are decoded each alone.
        """
        if self.channels:
            raise UsageError(f"{self.id}: several channels: give those of .channels one by one")
        chunks = self.chunk_frames.astype(np.int64)
        surplus = int(chunks.sum()) - self._frames_to_end()
        chunks[-1] -= surplus
        codes = np.ascontiguousarray(self.codes[:, : self.frames - surplus])
        return Codes(
            codes,
            self.scales,
            chunks.astype(np.uint16),
            self.num_samples,
            self.sample_rate,
            self.layout,
        )

    def _frames_to_end(self) -> int:
        """Frames up to `num_samples`: earlier chunks whole, the last one as far as it goes."""
        before = self.chunk_frames[:-1].astype(np.int64)
        last = frames_of(self.num_samples - self.last_start, self.frame_length)
        return int(before.sum()) + min(int(self.chunk_frames[-1]), last)


def together(channels: Sequence[Sample]) -> Sample:
    """The channels of a recording, of the same times, as one sample."""
    first = channels[0]
    scales = [one.scales for one in channels if one.scales is not None]
    return replace(
        first,
        id=id_of(first.id),
        codes=np.concatenate([one.codes for one in channels]),
        scales=np.stack(scales) if scales else None,
        fields={name: tuple(one.fields[name] for one in channels) for name in first.fields},
        channels=tuple(channels),
    )


def id_of(row: str) -> str:
    """The id of a recording, from that of its first channel's row: `call.wav` of `call.wav#0`."""
    stem, _, number = row.rpartition("#")
    return stem if stem and number.isdigit() else row


def cut_alignment(meta: Mapping[str, Any], start: float, end: float) -> list[tuple[Any, ...]]:
    """`meta["alignment"]`, a list of `[start, end, text]` in seconds, as far as it touches the cut,
    from the cut's start on: tuples of two floats and a string, and where several speak of the
    speaker, a string or None."""
    entries = meta.get("alignment") or []
    try:
        timed = [
            (float(first), float(last), str(text), *speaker[:1])
            for first, last, text, *speaker in entries
        ]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"meta alignment must be a list of [start, end, text], not {entries!r:.80}"
        ) from error
    return [
        (first - start, last - start, *rest)
        for first, last, *rest in timed
        if last > start and first < end
    ]


def check_fields(
    fields: Sequence[str], measures: Callable[[], tuple[str, ...]] = tuple
) -> tuple[str, ...]:
    """Refuse fields that no shard has.

    Args:
        fields: that are asked for.
        measures: the columns of quality that there are, asked where nothing else has such a name.

    Raises:
        UsageError: an unknown one.
    """
    unknown = [name for name in fields if name not in FIELDS]
    there = measures() if unknown and not isinstance(fields, str) else ()
    unknown = [name for name in unknown if name not in there]
    if isinstance(fields, str) or unknown:
        raise UsageError(
            f"no field {fields if isinstance(fields, str) else unknown[0]!r}: give a tuple of "
            f"{', '.join((*FIELDS, *there))}"
        )
    return tuple(fields)


def units_per_second(spec: CodecSpec) -> float:
    """Chunks (codecs with windows) or frames that begin in a second."""
    return spec.sample_rate / (spec.chunk_stride or spec.frame_length)


def parse_meta(text: str | None) -> dict[str, Any]:
    """The meta column's JSON."""
    values: dict[str, Any] = json.loads(text or "{}")
    return values
