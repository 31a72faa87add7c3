"""Codecs: waveforms to codes and back. `registry` says which there are; importing this package
needs no torch."""

from __future__ import annotations

from tokenizer.codecs.devices import batch_chunks
from tokenizer.codecs.registry import CODECS, DEFAULT_CODEC, Builtin, describe_codec, load_codec

__all__ = ["CODECS", "DEFAULT_CODEC", "Builtin", "batch_chunks", "describe_codec", "load_codec"]
