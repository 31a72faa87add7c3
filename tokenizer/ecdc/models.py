"""The two models that an `.ecdc` file can be of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from tokenizer.chunking import Layout, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import CodecLoadError

BITS, ENTRIES = 10, 1024
"""of a code, and of every codebook"""
_STORE = "https://dl.fbaipublicfiles.com/encodec/v0/"


@dataclass(frozen=True, slots=True)
class Model:
    """What the original tool knows of a model by its name."""

    name: str
    """as the header has it"""
    sample_rate: int
    channels: int
    codebooks: int
    """at its highest bandwidth; a file has any number of them, from the first"""
    layout: Layout
    has_scales: bool
    language_model: str
    """the file of the original's weights for entropy coding"""

    @property
    def codec(self) -> str:
        """transformers' checkpoint of it on the Hub."""
        return f"facebook/{self.name}"

    @property
    def frame_rate(self) -> int:
        return self.sample_rate // self.layout.frame_length

    @property
    def language_model_url(self) -> str:
        return _STORE + self.language_model

    def chunks(self, num_samples: int) -> int:
        """How many a recording has."""
        return frames_of(num_samples, self.layout.stride) if self.layout.chunked else 1

    def chunk_frames(self, num_samples: int) -> Iterator[int]:
        """Frames of each, one by one: a header may claim any length."""
        if not self.layout.chunked:
            yield frames_of(num_samples, self.layout.frame_length)
            return
        length = self.layout.chunk_length or 0
        for start in range(0, num_samples, self.layout.stride):
            yield frames_of(min(length, num_samples - start), self.layout.frame_length)

    def original_fails(self, num_samples: int) -> str | None:
        """Why the original tool cannot decode a file of this length, which it writes itself; None
        where it can.

        It counts a chunk's frames in floating point, `ceil(samples / rate * frames a second)`,
        which for some multiples of a frame gives one too many. And it adds up decoded chunks
        without cutting the last but one off where the recording ends.
        """
        tail = num_samples
        if self.layout.chunked:
            tail = num_samples - (self.chunks(num_samples) - 1) * self.layout.stride
        frames = frames_of(tail, self.layout.frame_length)
        if ceil(tail / self.sample_rate * self.frame_rate) != frames:
            return f"it looks for {frames + 1} frames where {tail} samples have {frames}"
        if tail < num_samples:
            hop, stride = self.layout.frame_length, self.layout.stride
            before = min(self.layout.chunk_length or 0, stride + tail)
            if frames_of(before, hop) * hop > stride + frames * hop:
                return f"its overlap-add fails where the last chunk has {tail} samples"
        return None


MODELS = {
    model.name: model
    for model in (
        Model("encodec_24khz", 24_000, 1, 32, Layout(320), False, "encodec_lm_24khz-1608e3c0.th"),
        Model(
            "encodec_48khz",
            48_000,
            2,
            16,
            Layout(320, 48_000, 47_520),
            True,
            "encodec_lm_48khz-7add9fc3.th",
        ),
    )
}


def model_of(spec: CodecSpec) -> Model:
    """The model whose files a codec's codes fit.

    Raises:
        CodecLoadError: a codec of another shape.
    """
    for model in MODELS.values():
        wanted = (model.sample_rate, model.channels, model.layout, model.has_scales)
        if wanted == (spec.sample_rate, spec.channels, spec.layout, spec.has_scales) and set(
            spec.sizes
        ) == {ENTRIES}:
            return model
    raise CodecLoadError(
        f"codec {spec.codec} ({spec.describe()}) has no .ecdc files: give a checkpoint with the "
        f"shape of {' or '.join(model.codec for model in MODELS.values())}"
    )
