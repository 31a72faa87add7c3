"""Audio in: any common file to float32 samples at a codec's rate and channels, streamed in bounded
memory.

The names load on first use: `tokenizer.audio.check` serves the codecs, which need no decoder.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizer.audio.stream import AudioReport, AudioStream, read_audio, stream_audio

__all__ = ["AudioReport", "AudioStream", "read_audio", "stream_audio"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("tokenizer.audio.stream"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
