"""Checkpoints of codecs with a semantic branch: their configurations, and what follows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizer.codecs.amounts import choose_codebooks, kbps
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings, weights_hash


def read_config(checkpoint: Checkpoint) -> Any:
    """The configuration of a checkpoint, of the class that its `model_type` names.

    Raises:
        CodecLoadError: its config.json has settings that such a model cannot have.
    """
    from transformers import AutoConfig

    return read_settings(checkpoint, AutoConfig, f"that of a {checkpoint.model_type}")


def windowed_spec(
    checkpoint: Checkpoint,
    sizes: Sequence[int],
    bandwidth: float | None,
    n_q: int | None,
    *,
    sample_rate: int,
    frame_length: int,
    window_seconds: int,
    context_seconds: int,
) -> CodecSpec:
    """The facts of a mono codec that sees whole windows.

    Args:
        checkpoint: whose weight files are read for their hash.
        sizes: entries of each codebook that it has.
        bandwidth: kbps that are asked for.
        n_q: codebooks that are asked for.
        sample_rate: of what it encodes.
        frame_length: in samples.
        window_seconds: length of a window, rounded down to whole frames.
        context_seconds: likewise of the context at each end.

    Raises:
        CodecLoadError: it has no such bandwidth or number of codebooks.
    """
    frame_rate = sample_rate / frame_length
    count = choose_codebooks(checkpoint.name, sizes, frame_rate, bandwidth, n_q)
    return CodecSpec(
        codec=checkpoint.name,
        revision=checkpoint.revision,
        weights_sha256=weights_hash(checkpoint),
        bandwidth=kbps(sizes[:count], frame_rate),
        n_q=count,
        codebook_size=max(sizes[:count]),
        sample_rate=sample_rate,
        channels=1,
        frame_length=frame_length,
        chunk_length=None,
        chunk_stride=None,
        has_scales=False,
        window_length=whole_frames(window_seconds, sample_rate, frame_length),
        window_context=whole_frames(context_seconds, sample_rate, frame_length),
    )


def whole_frames(seconds: int, sample_rate: int, frame_length: int) -> int:
    """Samples of so many seconds, rounded down to whole frames."""
    return seconds * sample_rate // frame_length * frame_length
