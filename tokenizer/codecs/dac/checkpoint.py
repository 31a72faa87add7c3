"""A checkpoint of transformers' `DacModel`: its configuration, and what it is as a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizer.codecs.amounts import plain_spec
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings
from tokenizer.errors import CodecLoadError

if TYPE_CHECKING:
    from transformers import DacConfig


def read_config(checkpoint: Checkpoint) -> DacConfig:
    """
    Raises:
        CodecLoadError: its config.json has settings that a DAC cannot have.
    """
    from transformers import DacConfig

    config: DacConfig = read_settings(checkpoint, DacConfig, "a DAC's")
    if wrong := _wrong(config):
        raise CodecLoadError(f"codec {checkpoint.name}: its config.json has {wrong}")
    return config


def describe_dac(
    checkpoint: Checkpoint, bandwidth: float | None = None, n_q: int | None = None
) -> CodecSpec:
    """The facts of a checkpoint on disk, whose weight files are read for their hash.

    Raises:
        CodecLoadError: as `read_config`; it has no such bandwidth or number of codebooks.
    """
    config = read_config(checkpoint)
    return plain_spec(
        checkpoint,
        [config.codebook_size] * config.n_codebooks,
        bandwidth,
        n_q,
        sample_rate=config.sampling_rate,
        frame_length=config.hop_length,
    )


def _wrong(config: DacConfig) -> str | None:
    """A setting that no DAC has."""
    size = config.codebook_size
    if not config.downsampling_ratios or min(config.downsampling_ratios) < 2:
        return f"downsampling_ratios {list(config.downsampling_ratios)}: each must be 2 or more"
    if config.sampling_rate < 1 or config.n_codebooks < 1:
        return f"sampling_rate {config.sampling_rate} and n_codebooks {config.n_codebooks}"
    if size < 2 or size & (size - 1):
        return f"codebook_size {size}: it must be a power of 2"
    return None
