"""Batches: what a training step gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

from pipelines.loader.batching import Segment
from pipelines.loader.patterns import EachChannel, Interleaved, Pattern
from pipelines.loader.sample import Sample
from pipelines.loader.sequence.stream import Pick, Stream
from tokenizer.errors import UsageError

AnyBatch = TypeVar("AnyBatch", bound="_Moves")


class _Moves:
    """Batches whose tensors move together."""

    __slots__ = ()

    def to(self: AnyBatch, device: torch.device | str, non_blocking: bool = False) -> AnyBatch:
        """The same batch with its tensors on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: AnyBatch) -> AnyBatch:
        """The same batch in page-locked memory, from which copies to a GPU overlap with its
        work."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self: AnyBatch, function: Any) -> AnyBatch:
        values = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        changed = {
            name: function(value)
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **changed)  # type: ignore[type-var]

    @property
    def text(self) -> Any:
        """The transcripts, or None where a recording has none."""
        extra: Mapping[str, Any] = self.fields  # type: ignore[attr-defined]
        if "text" not in extra:
            raise UsageError("the batch has no text: give the loader fields=('text',)")
        return extra["text"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch(_Moves):
    """One recording, or a cut of one, in each row."""

    codes: torch.Tensor
    """int64 `[B, n_q, steps]`, or `[B, steps]` for flattened codes; the pattern's padding where
    there is no code. Of data sets with `channels`, `[B, channels * n_q, steps]`"""
    mask: torch.Tensor
    """bool, the shape of `codes`: where there is a code"""
    frames: torch.Tensor
    """int64 `[B]`: frames of each row, before the pattern"""
    start_seconds: torch.Tensor
    """float64 `[B]`: where each cut begins in its recording: its first chunk's number times 0.99 s,
    for EnCodec at 48 kHz"""
    source: torch.Tensor
    """int64 `[B]`: number of each row's data set in the mix"""
    ids: tuple[str, ...]
    scales: torch.Tensor | None
    """float32 `[B, chunks]`, zero after a row's last chunk; None unless asked for. Of data sets
    with `channels`, `[B, channels, chunks]`"""
    fields: Mapping[str, tuple[Any, ...]]
    """whatever else was asked for, an entry a row"""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch(_Moves):
    """Recordings one after the other in rows of one length."""

    codes: torch.Tensor
    """int64 `[B, n_q, steps]`, or `[B, steps]` for flattened codes"""
    mask: torch.Tensor
    """bool, the shape of `codes`: where there is a code"""
    documents: torch.Tensor
    """int64 `[B, steps]`: number of the recording within its row, -1 after the last; attention
    should not cross it"""
    positions: torch.Tensor
    """int64 `[B, steps]`: step within the recording's own sequence, which may have begun in an
    earlier row"""
    ids: tuple[tuple[str, ...], ...]
    """of each row's recordings, by document number"""
    start_seconds: tuple[tuple[float, ...], ...]
    """where each recording's cut begins (not where its part of this row does)"""
    fields: Mapping[str, tuple[tuple[Any, ...], ...]]
    """whatever else was asked for, of whole recordings or cuts; scales as float32 arrays"""

    def __len__(self) -> int:
        return len(self.ids)


class Collator:
    """Reads what is planned and makes batches of it. Safe to use from several threads."""

    def __init__(
        self, stream: Stream, pattern: Pattern, names: Sequence[str], width: int | None
    ) -> None:
        self._stream = stream
        self._pattern = pattern
        self._names = tuple(names)
        self._width = width
        """steps of every row; None is as long as the longest one"""

    def batch(self, picks: Sequence[Pick]) -> Batch:
        """A batch of one pick a row."""
        samples = [self._read(pick) for pick in picks]
        steps = [self._pattern.steps(*sample.codes.shape) for sample in samples]
        codes, mask = self._blank(len(samples), self._width or max(steps, default=0))
        for sample, row, valid in zip(samples, codes.numpy(), mask.numpy(), strict=True):
            self._pattern.write(sample.codes, row, valid)
        return Batch(
            codes=codes,
            mask=mask,
            frames=torch.tensor([sample.frames for sample in samples], dtype=torch.int64),
            start_seconds=torch.tensor(
                [sample.start_seconds for sample in samples], dtype=torch.float64
            ),
            source=torch.tensor([pick.source for pick in picks], dtype=torch.int64),
            ids=tuple(sample.id for sample in samples),
            scales=_pad_scales(samples) if "scales" in self._names else None,
            fields={
                name: tuple(sample.fields[name] for sample in samples)
                for name in self._names
                if name != "scales"
            },
        )

    def packed(self, rows: Sequence[Sequence[Segment]]) -> PackedBatch:
        """A batch of several segments a row."""
        steps = self._width or 0
        codes, mask = self._blank(len(rows), steps)
        documents = np.full((len(rows), steps), -1, np.int64)
        positions = np.zeros((len(rows), steps), np.int64)
        read: dict[int, Sample] = {}
        for number, row in enumerate(rows):
            at = 0
            for document, segment in enumerate(row):
                if segment.document not in read:
                    read[segment.document] = self._read(segment.pick)
                place = slice(at, at + segment.steps)
                tokens, valid = self._sequence(read[segment.document])
                taken = slice(segment.first, segment.first + segment.steps)
                codes.numpy()[number, ..., place] = tokens[..., taken]
                mask.numpy()[number, ..., place] = valid[..., taken]
                documents[number, place] = document
                positions[number, place] = np.arange(taken.start, taken.stop)
                at += segment.steps
        samples = [[read[segment.document] for segment in row] for row in rows]
        return PackedBatch(
            codes=codes,
            mask=mask,
            documents=torch.from_numpy(documents),
            positions=torch.from_numpy(positions),
            ids=tuple(tuple(sample.id for sample in row) for row in samples),
            start_seconds=tuple(tuple(sample.start_seconds for sample in row) for row in samples),
            fields={
                name: tuple(tuple(_value(one, name) for one in row) for row in samples)
                for name in self._names
            },
        )

    def _read(self, pick: Pick) -> Sample:
        return self._stream.datasets[pick.source].peek(pick.number, pick.span, self._names)

    def _blank(self, rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (rows, steps) if self._pattern.flat else (rows, self._stream.n_q, steps)
        return torch.full(shape, self._pattern.pad, dtype=torch.int64), torch.zeros(
            shape, dtype=torch.bool
        )

    def _sequence(self, sample: Sample) -> tuple[Any, Any]:
        codes, mask = self._blank(1, self._pattern.steps(*sample.codes.shape))
        self._pattern.write(sample.codes, codes.numpy()[0], mask.numpy()[0])
        return codes.numpy()[0], mask.numpy()[0]


def _value(sample: Sample, name: str) -> Any:
    return sample.scales if name == "scales" else sample.fields[name]


def _pad_scales(samples: Sequence[Sample]) -> torch.Tensor | None:
    if any(sample.scales is None for sample in samples):
        return None
    longest = max((len(sample.chunk_frames) for sample in samples), default=0)
    channels = next(((len(sample.channels),) for sample in samples if sample.channels), ())
    scales = np.zeros((len(samples), *channels, longest), np.float32)
    for row, sample in zip(scales, samples, strict=True):
        row[..., : len(sample.chunk_frames)] = sample.scales
    return torch.from_numpy(scales)


def of_channels(pattern: Pattern, channels: int) -> Pattern:
    """A pattern for recordings of so many channels, codes `[channels * n_q, frames]`.

    Raises:
        UsageError: it is one for another number of channels.
    """
    if isinstance(pattern, EachChannel):
        if pattern.channels != channels:
            raise UsageError(f"{pattern}: the data set has channels={channels}")
        return pattern
    if isinstance(pattern, Interleaved):
        return replace(pattern, channels=channels)
    return pattern if pattern.flat else EachChannel(pattern, channels)
