"""A checkpoint of transformers' `EncodecModel`: its configuration and its weights, each through one
guarded function."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import EncodecConfig

from tokenizer.codecs.amounts import (
    DEFAULT_BANDWIDTH,
    kbps,
    require_codebooks,
    require_one_amount,
)
from tokenizer.codecs.base import MAX_CODEBOOK, CodecSpec
from tokenizer.codecs.lookup import Checkpoint, find_checkpoint, read_settings, weights_hash
from tokenizer.codecs.settings import (
    MOST_LAYERS,
    SEANET_COUNTS,
    guarded_settings,
    require_settings,
    wrong_bandwidths,
    wrong_counts,
    wrong_ratios,
)
from tokenizer.codecs.weights import load_pretrained
from tokenizer.errors import CodecLoadError

_PAD_MODES = ("constant", "reflect", "replicate", "circular")
"""those of torch"""


def read_config(checkpoint: Checkpoint) -> EncodecConfig:
    """
    Raises:
        CodecLoadError: its config.json has settings that an EnCodec cannot have.
    """
    config: EncodecConfig = read_settings(checkpoint, EncodecConfig, "an EnCodec's")
    with guarded_settings(checkpoint):
        require_settings(checkpoint, _wrong(config))
    return config


def _wrong(config: EncodecConfig) -> str | None:
    """A setting that no EnCodec has, or two that contradict each other."""
    wrong = (
        wrong_counts(config, *SEANET_COUNTS)
        or wrong_counts(config, "num_lstm_layers", most=MOST_LAYERS)
        or wrong_counts(config, "num_residual_layers", least=0, most=MOST_LAYERS)
        or wrong_counts(config, "codebook_size", least=2)
        or wrong_ratios(config, "upsampling_ratios")
        or wrong_bandwidths(config)
    )
    if wrong:
        return wrong
    if config.codebook_dim != config.hidden_size:
        return f"codebook_dim {config.codebook_dim}: it must be hidden_size, {config.hidden_size}"
    if config.pad_mode not in _PAD_MODES:
        return f"pad_mode {config.pad_mode!r}: choose one of {', '.join(_PAD_MODES)}"
    if not 0 <= config.trim_right_ratio <= 1:
        return f"trim_right_ratio {config.trim_right_ratio}: it must be a share, 0 to 1"
    if config.chunk_length is not None and config.chunk_length < 1:
        return f"chunk_length_s {config.chunk_length_s}: a chunk must have samples"
    if config.chunk_stride is not None and not 0 <= (config.overlap or 0.0) < 1:
        return f"overlap {config.overlap}: it must be a share of a chunk, 0 or more and below 1"
    return None


def find_encodec(name: str, revision: str | None = None) -> Checkpoint:
    """`find_checkpoint` for what works with an EnCodec only.

    Raises:
        CodecLoadError: likewise, or the checkpoint is of another model.
    """
    checkpoint = find_checkpoint(name, revision)
    if checkpoint.model_type != "encodec":
        raise CodecLoadError(
            f"codec {checkpoint.name} is not an EnCodec but {checkpoint.model_type!r}: give a "
            "checkpoint of EncodecModel"
        )
    return checkpoint


def describe_checkpoint(
    checkpoint: Checkpoint, bandwidth: float | None = None, n_q: int | None = None
) -> CodecSpec:
    """`encodec_spec` of a checkpoint on disk, whose weight files are read for their hash."""
    return encodec_spec(
        read_config(checkpoint),
        codec=checkpoint.name,
        revision=checkpoint.revision,
        weights=weights_hash(checkpoint),
        bandwidth=bandwidth,
        n_q=n_q,
    )


def encodec_spec(
    config: EncodecConfig,
    *,
    codec: str,
    revision: str | None,
    weights: str,
    bandwidth: float | None = None,
    n_q: int | None = None,
) -> CodecSpec:
    """The facts of a checkpoint at one bandwidth, from its configuration alone.

    Args:
        config: of the checkpoint.
        codec: its name.
        revision: hub commit.
        weights: hash of its weights.
        bandwidth: kbps; 6 by default where the checkpoint offers it, else the highest.
        n_q: any number of its codebooks instead of a bandwidth.

    Raises:
        CodecLoadError: a bandwidth that the checkpoint was not trained for, more codebooks than it
            has, chunks without an overlap to join them by, or codes that 16 bits do not hold.
    """
    require_one_amount(bandwidth, n_q)
    offered = [float(b) for b in config.target_bandwidths]
    if bandwidth is not None and float(bandwidth) not in offered:
        choices = ", ".join(f"{b:g}" for b in offered)
        raise CodecLoadError(
            f"codec {codec} has no bandwidth {bandwidth:g}: choose one of {choices}"
        )
    chunk, stride = config.chunk_length, config.chunk_stride
    if (chunk is None) != (stride is None):
        raise CodecLoadError(
            f"codec {codec}: its configuration has chunk_length_s without overlap, or the reverse"
        )
    if config.codebook_size > MAX_CODEBOOK:
        raise CodecLoadError(
            f"codec {codec}: codebooks of {config.codebook_size:,} entries; 16 bits hold "
            f"{MAX_CODEBOOK:,}"
        )
    if config.num_quantizers < 1:
        raise CodecLoadError(
            f"codec {codec}: its last target bandwidth, {offered[-1]:g}, is too low for one "
            "codebook"
        )
    rate, count = _amount(config, codec, offered, bandwidth, n_q)
    return CodecSpec(
        codec=codec,
        revision=revision,
        weights_sha256=weights,
        bandwidth=rate,
        n_q=count,
        codebook_size=config.codebook_size,
        sample_rate=config.sampling_rate,
        channels=config.audio_channels,
        frame_length=config.hop_length,
        chunk_length=chunk,
        chunk_stride=stride,
        has_scales=bool(config.normalize),
    )


def _amount(
    config: EncodecConfig,
    codec: str,
    offered: list[float],
    bandwidth: float | None,
    n_q: int | None,
) -> tuple[float, int]:
    """kbps and codebooks; of a number that several bandwidths have, the lowest of them."""
    if n_q is None:
        if bandwidth is None:
            bandwidth = DEFAULT_BANDWIDTH if DEFAULT_BANDWIDTH in offered else max(offered)
        return float(bandwidth), _codebooks(config, float(bandwidth))
    require_codebooks(codec, n_q, config.num_quantizers)
    trained = [one for one in sorted(offered) if _codebooks(config, one) == n_q]
    rate = config.sampling_rate / config.hop_length
    return (trained[0] if trained else kbps([config.codebook_size] * n_q, rate)), n_q


def _codebooks(config: EncodecConfig, bandwidth: float) -> int:
    """As `EncodecResidualVectorQuantizer.get_num_quantizers_for_bandwidth` counts them, operation
    by operation."""
    bits_per_codebook = math.log2(config.codebook_size) * config.frame_rate
    return min(int(max(1, math.floor(bandwidth * 1000 / bits_per_codebook))), config.num_quantizers)


def load_encodec(name: str, device: torch.device) -> Any:
    """The `EncodecModel` of a checkpoint by name, see `load_model`.

    Raises:
        CodecLoadError: there is no such checkpoint, it is of another model, or it is damaged.
    """
    checkpoint = find_encodec(name)
    read_config(checkpoint)
    return load_model(checkpoint.folder, device)


def load_model(folder: Path, device: torch.device) -> Any:
    """An `EncodecModel` in float32, ready for inference.

    Raises:
        CodecLoadError: no usable weights in the folder.
    """
    from transformers import EncodecModel

    return load_pretrained(EncodecModel, folder, device)
