"""Checkpoints of codecs with a semantic branch: their configurations, and what follows of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tokenizer.codecs.amounts import choose_codebooks, kbps
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings, weights_hash
from tokenizer.codecs.settings import (
    MOST_CODEBOOKS,
    MOST_LAYERS,
    guarded_settings,
    require_settings,
    wrong_bandwidths,
    wrong_counts,
    wrong_ratios,
    wrong_strides,
)

MEL_RATE, MEL_FRAME = 16_000, 320
"""hertz that mel features are computed at, and samples of two of their steps, which are a frame"""


def read_config(checkpoint: Checkpoint) -> Any:
    """The configuration of a checkpoint, of the class that its `model_type` names.

    Raises:
        CodecLoadError: its config.json has settings that such a model cannot have.
    """
    from transformers import AutoConfig

    config = read_settings(checkpoint, AutoConfig, f"that of a {checkpoint.model_type}")
    wrong = _wrong_levels if hasattr(config, "quantization_levels") else _wrong_residual
    with guarded_settings(checkpoint):
        require_settings(checkpoint, wrong(config))
    return config


def _wrong_levels(config: Any) -> str | None:
    """A setting that no X-Codec2 or NeuCodec has, or two that contradict each other."""
    name = "input_sampling_rate" if hasattr(config, "input_sampling_rate") else "sampling_rate"
    wrong = (
        wrong_counts(config, name, "encoder_hidden_size", "hidden_size", "quantization_dim")
        or wrong_counts(config, "num_hidden_layers", least=0, most=MOST_LAYERS)
        or wrong_counts(
            config.semantic_model_config, "num_hidden_layers", least=0, most=MOST_LAYERS
        )
        or wrong_ratios(config, "downsampling_ratios")
        or wrong_ratios(config, "quantization_levels", least=2)
    )
    if wrong:
        return wrong
    if getattr(config, name) != MEL_RATE:
        return f"{name} {getattr(config, name)}: its mel features are those of {MEL_RATE:,} Hz"
    hop, features = math.prod(config.downsampling_ratios), ("mel features", MEL_FRAME)
    if wrong := wrong_strides(("downsampling_ratios", hop), features):
        return wrong
    if name == "sampling_rate":
        return None
    if wrong := wrong_counts(config, "output_sampling_rate"):
        return wrong
    rate = config.output_sampling_rate
    whole = f"output_sampling_rate {rate}: {hop} samples must come to a whole number of its own"
    return whole if hop * rate % MEL_RATE else None


def _wrong_residual(config: Any) -> str | None:
    """The same of X-Codec and Higgs, whose convolutions have a configuration of their own."""
    acoustic, semantic = config.acoustic_model_config, config.semantic_model_config
    wrong = (
        wrong_counts(config, "sample_rate", "codebook_dim")
        or wrong_counts(config, "codebook_size", least=2)
        or wrong_ratios(acoustic, "downsampling_ratios")
        or wrong_ratios(acoustic, "upsampling_ratios")
        or wrong_counts(acoustic, "encoder_hidden_size", "decoder_hidden_size", "hidden_size")
        or wrong_counts(acoustic, "n_codebooks", least=0, most=MOST_CODEBOOKS)
        or wrong_ratios(semantic, "conv_stride")
        or wrong_counts(semantic, "num_hidden_layers", least=0, most=MOST_LAYERS)
        or wrong_ratios(config, "strides")
        or (wrong_ratios(config, "block_dilations") if config.block_dilations else None)
        or wrong_bandwidths(config)
    )
    if wrong:
        return wrong
    if config.num_quantizers < 1:
        return f"target_bandwidths {list(config.target_bandwidths)}: too low for one codebook"
    down = ("downsampling_ratios", math.prod(acoustic.downsampling_ratios))
    up = ("upsampling_ratios", math.prod(acoustic.upsampling_ratios))
    return wrong_strides(down, up) or _wrong_features(config, down[1])


def _wrong_features(config: Any, hop: int) -> str | None:
    """Features of a semantic model that come at another rate than what convolutions make."""
    stride = math.prod(config.semantic_model_config.conv_stride) * math.prod(config.strides)
    rate = config.sample_rate
    if hasattr(config, "semantic_sample_rate"):
        if wrong := wrong_counts(config, "semantic_sample_rate", "downsample_factor"):
            return wrong
        rate = config.semantic_sample_rate
        stride *= max(1, config.semantic_downsample_factor)
    if hop * rate == stride * config.sample_rate:
        return None
    return (
        f"downsampling_ratios of {config.sample_rate / hop:g} frames a second, but a semantic "
        f"model of {rate / stride:g}"
    )


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
