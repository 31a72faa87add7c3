"""The values that flow through everything: frozen, checked on construction, printed as shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import ShapeError

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
    """One recording as the codec sees it: valid frames only, no padding."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`, the frames of all chunks one after the other"""
    scales: NDArray[np.float32] | None
    """float32 `[chunks]`: the RMS that each chunk was divided by; None for codecs that do not
    normalise"""
    chunk_frames: NDArray[np.uint16]
    """uint16 `[chunks]`: valid frames of each chunk; they add up to `frames`"""
    num_samples: int
    """length of the recording in samples per channel, at the codec's rate, before any padding"""
    sample_rate: int
    """the codec's rate"""

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
        if self.num_samples < 1:
            raise ShapeError(f"num_samples must be at least 1, not {self.num_samples}")

    @property
    def n_q(self) -> int:
        return int(self.codes.shape[0])

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

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


def _describe(array: object) -> str:
    if isinstance(array, np.ndarray):
        return f"{array.dtype}{list(array.shape)}"
    return type(array).__name__
