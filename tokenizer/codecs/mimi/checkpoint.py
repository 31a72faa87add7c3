"""A checkpoint of transformers' `MimiModel`: its configuration, and what it is as a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizer.codecs.amounts import plain_spec
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import Checkpoint, read_settings
from tokenizer.codecs.settings import (
    MOST_CODEBOOKS,
    MOST_LAYERS,
    SEANET_COUNTS,
    guarded_settings,
    require_settings,
    wrong_counts,
    wrong_ratios,
)
from tokenizer.errors import CodecLoadError

if TYPE_CHECKING:
    from transformers import MimiConfig

_COUNTS = (
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "sliding_window",
    "upsample_groups",
)


def read_config(checkpoint: Checkpoint) -> MimiConfig:
    """
    Raises:
        CodecLoadError: its config.json has settings that a Mimi cannot have, or such that what it
            is made of looks ahead.
    """
    from transformers import MimiConfig

    config: MimiConfig = read_settings(checkpoint, MimiConfig, "a Mimi's")
    with guarded_settings(checkpoint):
        require_settings(checkpoint, _wrong(config))
        unusual = _unusual(config)
    if unusual:
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
        frame_length=hop(config) * latent_stride(config),
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


def latent_stride(config: MimiConfig) -> int:
    """Positions of one frame: 2. A `MimiConfig` before transformers 5.21 does not say it."""
    return int(config.encodec_frame_rate / config.frame_rate)


def _wrong(config: MimiConfig) -> str | None:
    """A setting that no Mimi has, or two that contradict each other."""
    wrong = (
        wrong_counts(config, *SEANET_COUNTS, *_COUNTS)
        or wrong_counts(config, "num_hidden_layers", least=0, most=MOST_LAYERS)
        or wrong_counts(config, "codebook_size", least=2)
        or wrong_counts(config, "num_quantizers", most=MOST_CODEBOOKS)
        or wrong_counts(config, "num_semantic_quantizers", most=config.num_quantizers - 1)
        or wrong_ratios(config, "upsampling_ratios")
    )
    if wrong:
        return wrong
    if config.sampling_rate % hop(config):
        return (
            f"sampling_rate {config.sampling_rate}: it must be a multiple of {hop(config)}, the "
            "product of its upsampling_ratios"
        )
    if config.vector_quantization_hidden_dimension != config.codebook_dim:
        return (
            f"codebook_dim {config.codebook_dim}: it must be "
            f"vector_quantization_hidden_dimension, {config.vector_quantization_hidden_dimension}"
        )
    rate: object = config.frame_rate  # of what the file says, which nothing has checked
    if not isinstance(rate, int | float) or rate <= 0 or latent_stride(config) < 2:
        return (
            f"frame_rate {rate!r}: it must be above 0, and at most half of "
            f"{config.encodec_frame_rate}, that of its convolutions"
        )
    return None


def _unusual(config: MimiConfig) -> list[str]:
    """Settings with which pieces would not be what the whole is."""
    found = []
    if not config.use_causal_conv:
        found.append("use_causal_conv false")
    if config.pad_mode != "constant":
        found.append(f"pad_mode {config.pad_mode}")
    if config.trim_right_ratio != 1.0:
        found.append(f"trim_right_ratio {config.trim_right_ratio:g}")
    rope = config.rope_parameters
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
    if kind != "default":
        found.append(f"rope_type {kind}")
    for half in ("encoder", "decoder"):
        if getattr(config, f"{half}_config", half) is None:
            found.append(f"{half}_config null")
    if latent_stride(config) != 2 and not hasattr(config, "latent_stride"):
        # Whatever the rate, the model would have a stride of 2.
        found.append(f"frame_rate {config.frame_rate} (before transformers 5.21)")
    return found
