"""A checkpoint of transformers' `MimiModel`: its configuration, and what it is as a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizer.codecs.amounts import plain_spec
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings
from tokenizer.errors import CodecLoadError

if TYPE_CHECKING:
    from transformers import MimiConfig


def read_config(checkpoint: Checkpoint) -> MimiConfig:
    """
    Raises:
        CodecLoadError: its config.json has settings that a Mimi cannot have, or such that what it
            is made of looks ahead.
    """
    from transformers import MimiConfig

    config: MimiConfig = read_settings(checkpoint, MimiConfig, "a Mimi's")
    if unusual := _unusual(config):
        raise CodecLoadError(
            f"codec {checkpoint.name}: a Mimi with {', '.join(unusual)} is not supported: only "
            "one that is causal, as the published one is, can be encoded in pieces"
        )
    return config


def describe_mimi(
    checkpoint: Checkpoint, bandwidth: float | None = None, n_q: int | None = None
) -> CodecSpec:
    """The facts of a checkpoint on disk, whose weight files are read for their hash.

    Raises:
        CodecLoadError: as `read_config`; it has no such bandwidth or number of codebooks.
    """
    config = read_config(checkpoint)
    spec = plain_spec(
        checkpoint,
        [config.codebook_size] * config.num_quantizers,
        bandwidth,
        n_q,
        sample_rate=config.sampling_rate,
        frame_length=hop(config) * config.latent_stride,
        channels=config.audio_channels,
    )
    if spec.n_q < config.num_semantic_quantizers:
        raise CodecLoadError(
            f"codec {checkpoint.name}: its first {config.num_semantic_quantizers} codebooks go "
            f"together, {spec.n_q} is too few"
        )
    return spec


def hop(config: MimiConfig) -> int:
    """Samples of one position of the transformers: 960."""
    length = 1
    for ratio in config.upsampling_ratios or ():
        length *= ratio
    return length


def _unusual(config: MimiConfig) -> list[str]:
    """Settings with which pieces would not be what the whole is."""
    found = []
    if not config.use_causal_conv:
        found.append("use_causal_conv false")
    if config.pad_mode != "constant":
        found.append(f"pad_mode {config.pad_mode}")
    if config.trim_right_ratio != 1.0:
        found.append(f"trim_right_ratio {config.trim_right_ratio:g}")
    if config.latent_stride < 2:
        found.append(f"frame_rate {config.frame_rate:g}")
    if config.sampling_rate % hop(config):
        found.append(f"sampling_rate {config.sampling_rate}")
    rope = config.rope_parameters
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
    if kind != "default":
        found.append(f"rope_type {kind}")
    if config.vector_quantization_hidden_dimension != config.codebook_dim:
        found.append(f"codebook_dim {config.codebook_dim}")
    return found
