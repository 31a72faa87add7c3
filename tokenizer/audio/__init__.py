"""Audio in: any common file to float32 samples at a codec's rate and channels, streamed in bounded
memory."""

from __future__ import annotations

from tokenizer.audio.stream import AudioReport, AudioStream, read_audio, stream_audio

__all__ = ["AudioReport", "AudioStream", "read_audio", "stream_audio"]
