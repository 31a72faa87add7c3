"""Audio in, codes out, and back.

The public names load on first use, so that reading audio does not import torch, and loading a codec
does not import audio libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tokenizer.errors import (
    CodecLoadError,
    CodecshardsError,
    FailureKind,
    OutputError,
    RecordingError,
    ShapeError,
    ShardError,
    SourceError,
    UsageError,
)
from tokenizer.types import Codes, Recording, Waveform

if TYPE_CHECKING:
    from tokenizer.audio import read_audio
    from tokenizer.chunking import Layout
    from tokenizer.codecs import load_codec
    from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
    from tokenizer.codecs.flow.encoding import EncodeStream

__all__ = [
    "ChunkCodes",
    "Codec",
    "CodecLoadError",
    "CodecSpec",
    "CodecshardsError",
    "Codes",
    "EncodeStream",
    "FailureKind",
    "Layout",
    "OutputError",
    "Recording",
    "RecordingError",
    "ShapeError",
    "ShardError",
    "SourceError",
    "UsageError",
    "Waveform",
    "load_codec",
    "read_audio",
]

_HOMES = {
    "Layout": "tokenizer.chunking",
    "EncodeStream": "tokenizer.codecs.flow.encoding",
    "read_audio": "tokenizer.audio",
    "load_codec": "tokenizer.codecs",
    "Codec": "tokenizer.codecs.base",
    "CodecSpec": "tokenizer.codecs.base",
    "ChunkCodes": "tokenizer.codecs.base",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
