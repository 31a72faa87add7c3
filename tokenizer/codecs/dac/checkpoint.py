"""A checkpoint of transformers' `DacModel`: its configuration, and what it is as a codec."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tokenizer.codecs.amounts import plain_spec
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings
from tokenizer.codecs.settings import (
    MOST_CODEBOOKS,
    require_settings,
    wrong_counts,
    wrong_ratios,
    wrong_strides,
)

if TYPE_CHECKING:
    from transformers import DacConfig

_COUNTS = (
    "sampling_rate",
    "codebook_size",
    "codebook_dim",
    "encoder_hidden_size",
    "decoder_hidden_size",
    "hidden_size",
    "hop_length",
)


def read_config(checkpoint: Checkpoint) -> DacConfig:
    """
    Raises:
        CodecLoadError: its config.json has settings that a DAC cannot have.
    """
    from transformers import DacConfig

    config: DacConfig = read_settings(checkpoint, DacConfig, "a DAC's")
    require_settings(checkpoint, _wrong(config))
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
    """A setting that no DAC has, or two that contradict each other."""
    size = config.codebook_size
    wrong = (
        wrong_ratios(config, "downsampling_ratios", least=2)
        or wrong_ratios(config, "upsampling_ratios", least=2)
        or wrong_counts(config, *_COUNTS)
        or wrong_counts(config, "n_codebooks", most=MOST_CODEBOOKS)
    )
    if wrong:
        return wrong
    if size < 2 or size & (size - 1):
        return f"codebook_size {size}: it must be a power of 2"
    down = ("downsampling_ratios", math.prod(config.downsampling_ratios))
    up = ("upsampling_ratios", math.prod(config.upsampling_ratios))
    return wrong_strides(("hop_length", config.hop_length), down) or wrong_strides(down, up)
