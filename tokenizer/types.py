"""The values that flow through everything: frozen, checked on construction, printed as shapes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import Layout, runs_of
from tokenizer.errors import ShapeError, UsageError

MIX, LEFT, RIGHT, SPLIT = CHANNEL_CHOICES = ("mix", "left", "right", "split")
"""which channels of a recording are meant, where it is not all of them: their mean, one of a pair,
or each in a row of its own"""


@dataclass(frozen=True, slots=True)
class Recording:
    """One source item, known by name before any of its audio is read."""

    id: str
    """stable and unique within its corpus"""
    uri: str
    """the file or archive that holds the audio: a local path or anything fsspec opens"""
    locator: Mapping[str, Any] = field(default_factory=dict)
    """where inside `uri`, in the source's own terms (JSON values); empty when the file is the
    recording"""
    start: float | None = None
    """seconds into the file at which the recording starts; None is its beginning"""
    end: float | None = None
    """seconds into the file at which it ends; None is its end"""
    seconds: float | None = None
    """length as estimated by the source, to size shards with; None if it cannot tell"""
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    """whatever else the source carries (JSON values)"""
    channel: int | None = None
    """the one channel of the file that is meant, from 0; None is all of them"""

    def __post_init__(self) -> None:
        if not self.id:
            raise ShapeError(f"a recording needs an id (uri {self.uri!r})")
        if self.channel is not None and self.channel < 0:
            raise ShapeError(f"recording {self.id!r}: there is no channel {self.channel}")
        if self.start is not None and self.start < 0:
            raise ShapeError(f"recording {self.id!r}: start {self.start} is before the beginning")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ShapeError(
                f"recording {self.id!r}: end {self.end} is not after start {self.start or 0.0}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Audio as samples."""

    samples: NDArray[np.float32]
    """float32 `[channels, samples]`, full scale is 1.0"""
    sample_rate: int
    """samples per second"""

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 2:
            raise ShapeError(
                f"samples must be float32 [channels, samples], not {_describe(samples)}"
            )
        if samples.shape[0] < 1:
            raise ShapeError(f"samples need at least one channel, not {_describe(samples)}")
        if self.sample_rate <= 0:
            raise ShapeError(f"sample_rate must be positive, not {self.sample_rate}")

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def num_samples(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    def __repr__(self) -> str:
        return f"Waveform(samples={_describe(self.samples)}, sample_rate={self.sample_rate})"


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """One recording as the codec sees it, or a stretch of one: valid frames only, no padding.

    `codes[a:b]` is a stretch, `Codes.join` puts stretches together again, `==` compares, `save` and
    `load` keep one in an .npz file.
    """

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`, the frames of all chunks one after the other"""
    scales: NDArray[np.float32] | None
    """float32 `[chunks]`: the RMS that each chunk was divided by; None for codecs that do not
    normalise"""
    chunk_frames: NDArray[np.uint16]
    """uint16 `[chunks]`: valid frames of each chunk; they add up to `frames`. Of a codec without
    chunks: all frames, in several entries where they are more than one holds
    (`tokenizer.chunking.runs_of`)"""
    num_samples: int
    """length of the recording in samples per channel, at the codec's rate, before any padding"""
    sample_rate: int
    """the codec's rate"""
    layout: Layout | None = None
    """where the codec's frames and chunks lie, to cut and to join by; None where nobody said. Not
    compared"""
    weights: str | None = None
    """SHA-256 of the weights that made them, which only codecs with the same decode; None where
    nobody said. Not compared"""

    def __post_init__(self) -> None:
        if self.codes.dtype != np.uint16 or self.codes.ndim != 2:
            raise ShapeError(f"codes must be uint16 [n_q, frames], not {_describe(self.codes)}")
        if self.chunk_frames.dtype != np.uint16 or self.chunk_frames.ndim != 1:
            raise ShapeError(
                f"chunk_frames must be uint16 [chunks], not {_describe(self.chunk_frames)}"
            )
        if int(self.chunk_frames.sum(dtype=np.int64)) != self.codes.shape[1]:
            raise ShapeError(
                f"chunk_frames add up to {int(self.chunk_frames.sum(dtype=np.int64))} frames, "
                f"codes hold {self.codes.shape[1]}"
            )
        if self.scales is not None and (
            self.scales.dtype != np.float32 or self.scales.shape != self.chunk_frames.shape
        ):
            raise ShapeError(
                f"scales must be float32 [{len(self.chunk_frames)}], one a chunk, not "
                f"{_describe(self.scales)}"
            )
        least = min(1, self.codes.shape[1])
        if self.num_samples < least:
            raise ShapeError(f"num_samples must be at least {least}, not {self.num_samples}")

    @property
    def n_q(self) -> int:
        return int(self.codes.shape[0])

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def chunked(self) -> bool:
        """Whether `chunk_frames` are chunks of the codec, and not only how its frames are
        stored."""
        return self.scales is not None if self.layout is None else self.layout.chunked

    @property
    def units(self) -> int:
        """What `codes[a:b]` counts: chunks, or frames of a codec without chunks."""
        return len(self.chunk_frames) if self.chunked else self.frames

    def __getitem__(self, cut: slice) -> Codes:
        """A stretch, in chunks, or in frames of a codec without chunks.

        One that ends within the recording ends where the next chunk or frame begins, so that
        `Codes.join([codes[:a], codes[a:]]) == codes`; it decodes on its own, as a recording would
        that begins there.

        Raises:
            ShapeError: no slice of steps of one, or codes that do not say where their frames lie.
        """
        if not isinstance(cut, slice) or cut.step not in (None, 1):
            raise ShapeError(f"codes are cut by a slice, codes[a:b], not by {cut!r}")
        if self.layout is None:
            raise ShapeError(
                "these codes do not say where their frames lie: set their layout "
                "(dataclasses.replace(codes, layout=codec.spec.layout)) to cut them"
            )
        start, stop, _ = cut.indices(self.units)
        stop = max(start, stop)
        at = [start, stop]
        if self.chunked:
            ends = np.concatenate([[0], np.cumsum(self.chunk_frames, dtype=np.int64)])
            at = [int(ends[start]), int(ends[stop])]
        places = [
            self.num_samples if place == self.units else place * self.layout.stride
            for place in (start, stop)
        ]
        frames = (
            self.chunk_frames[start:stop]
            if self.chunked
            else np.array(runs_of(stop - start), np.uint16)
        )
        scales = None if self.scales is None else self.scales[start:stop]
        codes = np.ascontiguousarray(self.codes[:, at[0] : at[1]])
        samples = places[1] - places[0]
        return replace(self, codes=codes, scales=scales, chunk_frames=frames, num_samples=samples)

    @staticmethod
    def join(parts: Iterable[Codes]) -> Codes:
        """Stretches of one recording, in order, as one: what `push` and `finish` of a stream gave,
        or what `codes[a:b]` did. Empty ones may be among them.

        Raises:
            ShapeError: parts of several codecs, or that do not follow each other.
        """
        parts = _all_codes(parts)
        first = next((part for part in parts if part.frames), parts[0])
        parts = [part for part in parts if part.frames] or [first]
        for part in parts:
            if _kind(part) != _kind(first):
                raise ShapeError(f"codes of two kinds cannot be joined: {first} and {part}")
        weights = {part.weights for part in parts if part.weights is not None}
        if len(weights) > 1:
            raise ShapeError("codes of two codecs cannot be joined: their weights are not the same")
        codes = np.concatenate([part.codes for part in parts], axis=1)
        frames = np.concatenate([part.chunk_frames for part in parts])
        if not first.chunked:
            frames = np.array(runs_of(codes.shape[1]), np.uint16)
        samples, layout = sum(part.num_samples for part in parts), first.layout
        if (
            layout is not None
            and samples
            and not (
                all(part.num_samples % layout.stride == 0 for part in parts[:-1])
                and layout.fits(frames.tolist(), samples)
            )
        ):
            raise ShapeError(
                f"these {len(parts)} parts do not follow each other: together {codes.shape[1]} "
                f"frames for {samples} samples; only the last one may end within a chunk or frame"
            )
        scales = [part.scales for part in parts if part.scales is not None]
        return Codes(
            codes,
            np.concatenate(scales) if scales else None,
            frames,
            samples,
            first.sample_rate,
            layout,
            next(iter(weights), None),
        )

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write an .npz file that `Codes.load`, and `numpy.load`, read: the arrays and facts by
        their names here.

        Raises:
            UsageError: a name that does not end in .npz, or a place that cannot be written.
        """
        if Path(file).suffix != ".npz":
            raise UsageError(f"{file}: codes are saved as .npz: give a name that ends so")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _FACTS}
        if self.scales is not None:
            arrays["scales"] = self.scales
        if self.layout is not None:
            layout = self.layout
            arrays["layout"] = [
                layout.frame_length,
                layout.chunk_length or 0,
                layout.chunk_stride or 0,
            ]
        if self.weights is not None:
            arrays["weights"] = self.weights
        try:
            np.savez_compressed(file, **arrays)
        except OSError as error:
            raise UsageError(f"{file}: cannot be written: {error.strerror or error}") from error

    @staticmethod
    def load(file: str | os.PathLike[str]) -> Codes:
        """Read what `save` wrote.

        Raises:
            UsageError: no such file, or none of codes.
        """
        try:
            with np.load(file, allow_pickle=False) as held:
                found = {name: held[name] for name in held.files}
            layout = [int(value) or None for value in found.get("layout", ())]
            return Codes(
                found["codes"],
                found.get("scales"),
                found["chunk_frames"],
                int(found["num_samples"]),
                int(found["sample_rate"]),
                Layout(layout[0] or 0, *layout[1:]) if layout else None,
                str(found["weights"]) if "weights" in found else None,
            )
        except FileNotFoundError as error:
            raise UsageError(f"{file}: no such file") from error
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            raise UsageError(f"{file}: not a file of Codes.save ({error})") from error

    def __eq__(self, other: object) -> bool:
        return self.equals(other) if isinstance(other, Codes) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.codes.shape, self.num_samples, self.sample_rate))

    def equals(self, other: Codes) -> bool:
        """True when every code, scale, chunk and length is the same."""
        same_scales = (self.scales is None) == (other.scales is None) and (
            self.scales is None or other.scales is None or np.array_equal(self.scales, other.scales)
        )
        return (
            self.num_samples == other.num_samples
            and self.sample_rate == other.sample_rate
            and np.array_equal(self.codes, other.codes)
            and np.array_equal(self.chunk_frames, other.chunk_frames)
            and same_scales
        )

    def __repr__(self) -> str:
        scales = "None" if self.scales is None else _describe(self.scales)
        return (
            f"Codes(codes={_describe(self.codes)}, scales={scales}, "
            f"chunk_frames={_describe(self.chunk_frames)}, "
            f"num_samples={self.num_samples}, sample_rate={self.sample_rate})"
        )


_FACTS = ("codes", "chunk_frames", "num_samples", "sample_rate")
"""of `Codes`, as files have them"""


def _all_codes(parts: Any) -> list[Codes]:
    several = hasattr(parts, "__iter__") and not isinstance(parts, Codes)
    found = list(parts) if several else []
    if not found:
        raise ShapeError("nothing to join: give a list of Codes")
    for part in found:
        if not isinstance(part, Codes):
            raise ShapeError(f"only Codes can be joined, not {_describe(part)}")
    return found


def _kind(codes: Codes) -> tuple[object, ...]:
    """What codes must have in common to be parts of one recording."""
    return codes.n_q, codes.sample_rate, codes.scales is None, codes.layout


def _describe(array: object) -> str:
    if isinstance(array, np.ndarray):
        return f"{array.dtype}{list(array.shape)}"
    return type(array).__name__
